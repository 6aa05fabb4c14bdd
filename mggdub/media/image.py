"""Pictures in and out: whatever Pillow reads becomes upright 8-bit sRGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mggdub.errors import InputError
from mggdub.media import cicp, heif
from mggdub.media.unread import HEIF, PICTURES, kind_of, not_read, plain_text
from mggdub.types import Array, Photo

# What Pillow's decoders raise on damaged files; UnidentifiedImageError is an OSError.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError,
          RuntimeError, MemoryError, struct.error, zlib.error)  # fmt: skip
WHITE = (255, 255, 255)
MOST_PIXELS = 150_000_000  # a 150-megapixel camera; more is taken for a decompression bomb
SMALLEST = 32  # px
LONGEST = 40  # times the shorter side: of what is longer, a video of 4096 px would show no face
ANIMATED = frozenset(("GIF", "WEBP", "PNG", "AVIF"))
MOST_FRAMES, FLAT = 100, 12  # that are looked at; values between which a frame is of one colour
MOST_PAGES = 100  # of a TIFF file, that are looked at for the largest one
# Pillow hands EPS to Ghostscript, a program of its own; the others are no pictures, or not decoded by it.
LEFT_OUT = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
STRIP = 64  # rows that are converted at a time
COLORIMETRY = ("icc_profile", "cicp", "gamma", "srgb")  # what is noted of how colours are meant
PHOTOMETRIC = 262  # TIFF's tag
USUAL_GAMMA, GAMMA_TOLERANCE, SMALLEST_GAMMA = 1 / 2.2, 0.03, 0.2
JPEG_END = b"\xff\xd9"
UNIFORM = 1.0  # standard deviation of luma, below which a corner may be a decoder's filling
OPAQUE = 250  # alpha, from which on nothing shines through


@cache
def _formats() -> list[str]:
    Image.init()
    return sorted(set(Image.OPEN) - LEFT_OUT)


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture, one that `read_image` can only name included.

    Raises UsageError or InputError if there is no such file.
    """
    kind = kind_of(path)
    if kind:
        return kind.family in ("heif", "picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_formats()).close()
    except Image.DecompressionBombError:
        return True
    except BROKEN:
        return path.suffix.lower() in PICTURES
    return True


class NothingShownError(Exception):
    """A picture is transparent all over."""


def read_image(path: Path) -> Photo:
    """A photo: EXIF turned, colour profile applied, transparent parts laid on white.

    It is the largest page of a TIFF, of an animation the first frame that shows something.

    Raises UsageError (no such file) or InputError.
    """
    kind = kind_of(path)
    if kind and kind != HEIF:
        raise not_read(path, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF and the bomb warning; the limit below is ours
            if kind == HEIF:
                return _as_photo(heif.read_heif(path, lambda width, height: _check_size(path, width, height)))
            with Image.open(path, formats=_formats()) as image:
                _choose_page(image)
                _check_size(path, *image.size)
                _choose_frame(image)
                whole = _loaded(path, image)
                ImageOps.exif_transpose(whole, in_place=True)
                whole.info["cicp"] = cicp.read_points(path, image.format)
                return _as_photo(whole)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels; shrink it below {MOST_PIXELS // 10**6} megapixels.") from error
    except NothingShownError:
        raise InputError(f"{path} shows nothing, since every pixel is transparent; save it opaque.") from None
    except UnidentifiedImageError as error:
        if text := plain_text(path):
            raise not_read(path, text) from error
        raise InputError(f"{path} is not a picture of a known kind; give a JPEG, PNG or WebP.") from error
    except heif.NotHevcError as error:
        raise InputError(f"{path} is a HEIF picture coded as {error}, not HEVC; export it as JPEG or PNG.") from error
    except MemoryError:
        raise InputError(f"{path} needs more memory to decode than there is; make it smaller first.") from None
    except BROKEN as error:
        if "truncated" in str(error).lower():
            raise InputError(f"{path} ends before the picture does ({error}); copy or download it again.") from error
        raise InputError(f"{path} is damaged and cannot be decoded ({error}); save it again.") from error


def write_image(path: Path, pixels: Array) -> None:
    """Write [H, W, 3 or 4] uint8 in the format of the suffix."""
    Image.fromarray(pixels).save(path)


def resize(pixels: Array, size: tuple[int, int], reducing_gap: float | None = None) -> Array:
    """[H, W(, 3)] uint8 to (width, height), Lanczos, no aliasing; a gap (Pillow's) shrinks large pictures faster."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=reducing_gap))


def lay_over(photo: Photo, colour: tuple[int, int, int]) -> Array:
    """[H, W, 3] uint8: the photo with a colour (sRGB) behind its transparent parts instead of white."""
    if photo.alpha is None or colour == WHITE:
        return photo.pixels
    laid = photo.pixels.copy()
    shown = np.nonzero((photo.alpha < 255).any(1))[0]
    for row in shown:
        through = (255 - photo.alpha[row, :, None]).astype(np.float32) / 255
        laid[row] = np.rint(np.clip(laid[row] + through * (np.array(colour) - 255.0), 0, 255))
    return laid


def _choose_page(image: Image.Image) -> None:
    """Go to the largest page of a TIFF file; the first one may be a thumbnail."""
    if image.format != "TIFF":
        return
    sizes = []
    for page in range(MOST_PAGES):
        try:
            image.seek(page)
        except BROKEN:  # EOFError after the last one
            break
        sizes.append(image.size[0] * image.size[1])
    image.seek(sizes.index(max(sizes)))


def _choose_frame(image: Image.Image) -> None:
    """Go to the first frame of an animation that shows something: many fade in from black or from nothing."""
    frames = getattr(image, "n_frames", 1)
    if image.format not in ANIMATED or frames == 1:
        return
    first = int(getattr(image, "default_image", False))  # what is shown where nothing moves
    most = max(1, MOST_PIXELS // (image.size[0] * image.size[1]))
    for frame in range(first, min(frames, first + most, MOST_FRAMES)):
        image.seek(frame)
        extrema: Any = image.convert("RGBA").getextrema()
        *colors, (_, opaque) = extrema
        if opaque > FLAT and any(high - low > FLAT for low, high in colors):
            return
    image.seek(first)


def _loaded(path: Path, image: Image.Image) -> Image.Image:
    """The picture with its pixels; a JPEG may lack the mark at its end, as some cameras leave it, but no more."""
    try:
        image.load()
        return image
    except OSError:
        if image.format != "JPEG" or "progressive" in image.info:
            raise
        ended = Image.open(io.BytesIO(path.read_bytes() + JPEG_END), formats=["JPEG"])
        ended.load()
        width, height = ended.size
        # What is missing is filled with one colour, to the last corner.
        corner = ended.convert("L").crop((3 * width // 4, height - 8, width, height))
        if np.asarray(corner).std() < UNIFORM:
            raise
        return ended


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(f"{path} has {width}x{height} pixels; shrink it below {MOST_PIXELS // 10**6} megapixels.")
    if min(width, height) < SMALLEST:
        raise InputError(f"{path} has only {width}x{height} pixels; give a larger photo.")
    if max(width, height) > LONGEST * min(width, height):
        raise InputError(
            f"{path} has {width}x{height} pixels, more than {LONGEST} times as long as wide; cut out the person first."
        )


def _as_photo(image: Image.Image) -> Photo:
    if image.mode.startswith(("I", "F")):
        grey = Image.fromarray(_wide_grey(np.asarray(image), inverted=_zero_is_white(image)))
        return Photo(np.array(_to_srgb(_with_profile(grey, image))))
    alpha = _alpha(image)
    if alpha is None:
        return Photo(np.array(_to_srgb(image if not image.has_transparency_data else _without_alpha(image))))
    if np.max(alpha) == 0:
        raise NothingShownError
    mixed = Image.new("RGB", image.size, WHITE)
    mixed.paste(_to_srgb(_without_alpha(image)), mask=Image.fromarray(alpha))  # in bytes, not in floats
    return Photo(np.array(mixed), alpha)


def _alpha(image: Image.Image) -> Array | None:
    """[H, W] uint8, or None where nothing is transparent."""
    if not image.has_transparency_data:
        return None
    layered = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    alpha = np.array(layered.getchannel("A"))
    return alpha if alpha.min() < OPAQUE else None


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "LA":
        return _with_profile(image.getchannel("L"), image)  # a profile of grey is none of colours
    layered = image if image.mode == "RGBA" else image.convert("RGBA")
    return _with_profile(layered.convert("RGB"), image)


def _zero_is_white(image: Image.Image) -> bool:
    """Whether a TIFF file counts from white to black; Pillow turns that round for 8 bits alone."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _wide_grey(values: Array, inverted: bool = False) -> Array:
    """[H, W] of 16-bit, 32-bit or float grey to uint8; the range is guessed from what the values reach."""
    highest = float(np.max(values, initial=0, where=np.isfinite(values)))
    tops = (255.0, 4095.0, 65535.0) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    top = 65535.0 if inverted else next((top for top in tops if highest <= top), highest)
    grey = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), STRIP):  # floats of all of it would take ten times its bytes
        part = np.nan_to_num(values[row : row + STRIP].astype(np.float32), copy=False)
        grey[row : row + STRIP] = np.rint(np.clip(part / top, 0.0, 1.0) * 255.0)
    return 255 - grey if inverted else grey


def _with_profile(image: Image.Image, origin: Image.Image) -> Image.Image:
    image.info |= {name: origin.info[name] for name in COLORIMETRY if name in origin.info}
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "CMYK", "L"):
        image = _with_profile(image.convert("RGB"), image)
    if not profile:
        return _by_numbers(image if image.mode == "RGB" else image.convert("RGB"), image.info)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a profile for another colour model, or a broken one
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")


def _by_numbers(image: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """RGB to sRGB, where a file says by code points, or a PNG by its gamma, that its values are shown otherwise."""
    if points := info.get("cicp"):
        return cicp.to_srgb(image, points)
    gamma = info.get("gamma", USUAL_GAMMA)
    if "srgb" in info or not SMALLEST_GAMMA < gamma <= 1 or abs(gamma - USUAL_GAMMA) < GAMMA_TOLERANCE:
        return image
    curve = cicp.encoded((np.arange(256) / 255.0) ** (1 / gamma))
    return image.point(np.rint(255 * curve).astype(int).tolist() * 3)
