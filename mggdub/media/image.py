"""Pictures in and out: whatever Pillow reads becomes upright 8-bit sRGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mggdub.errors import InputError
from mggdub.media.files import check_input
from mggdub.types import Array, Photo

# What Pillow's decoders raise on damaged files; UnidentifiedImageError is an OSError.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError,
          RuntimeError, MemoryError, struct.error, zlib.error)  # fmt: skip
WHITE = (255, 255, 255)
MOST_PIXELS = 150_000_000  # a 150-megapixel camera; more is taken for a decompression bomb
SMALLEST = 32  # px


@cache
def _formats() -> list[str]:
    Image.init()
    return sorted(set(Image.OPEN) - {"EPS"})  # Pillow hands EPS to Ghostscript, a program of its own


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture. Raises UsageError or InputError if there is no such file."""
    check_input(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_formats()).close()
    except Image.DecompressionBombError:
        return True
    except BROKEN:
        return False
    return True


def read_image(path: Path, flatten: tuple[int, int, int] = WHITE) -> Photo:
    """A photo: EXIF turned, first frame, colour profile applied, transparent parts laid on `flatten`.

    Raises UsageError (no such file) or InputError.
    """
    check_input(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF and the bomb warning; the limit below is ours
            with Image.open(path, formats=_formats()) as image:
                _check_size(path, *image.size)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _as_photo(image, flatten)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels; shrink it below {MOST_PIXELS // 10**6} megapixels.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture of a known kind; give a JPEG, PNG or WebP.") from error
    except BROKEN as error:
        raise InputError(f"{path} is damaged and cannot be decoded ({error}); save it again.") from error


def write_image(path: Path, pixels: Array) -> None:
    """Write [H, W, 3 or 4] uint8 in the format of the suffix."""
    Image.fromarray(pixels).save(path)


def resize(pixels: Array, size: tuple[int, int], reducing_gap: float | None = None) -> Array:
    """[H, W, 3] uint8 to (width, height), Lanczos, without aliasing; a gap (Pillow's) shrinks large pictures faster."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=reducing_gap))


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(f"{path} has {width}x{height} pixels; shrink it below {MOST_PIXELS // 10**6} megapixels.")
    if min(width, height) < SMALLEST:
        raise InputError(f"{path} has only {width}x{height} pixels; give a larger photo.")


def _as_photo(image: Image.Image, flatten: tuple[int, int, int]) -> Photo:
    transparent = image.has_transparency_data
    if image.mode.startswith(("I", "F")):
        pixels = np.repeat(_wide_grey(np.asarray(image))[..., None], 3, axis=2)
        return Photo(np.ascontiguousarray(pixels))
    if not transparent:
        return Photo(np.array(_to_srgb(image)))
    layered = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = layered.getchannel("A")
    mixed = Image.new("RGB", image.size, flatten)
    mixed.paste(_to_srgb(_with_profile(layered.convert("RGB"), image)), mask=alpha)  # in bytes, not in floats
    return Photo(np.array(mixed), np.array(alpha))


def _wide_grey(values: Array) -> Array:
    """[H, W] of 16-bit, 32-bit or float grey to uint8; the range is guessed from what the values reach."""
    values = np.nan_to_num(values.astype(np.float32), copy=False)
    top = next((t for t in (1.0, 255.0, 65535.0) if values.max() <= t), float(values.max()))
    full = top if values.dtype.kind == "f" and top == 1.0 else max(top, 255.0)
    return np.rint(np.clip(values / full, 0.0, 1.0) * 255.0).astype(np.uint8)


def _with_profile(image: Image.Image, origin: Image.Image) -> Image.Image:
    if "icc_profile" in origin.info:
        image.info["icc_profile"] = origin.info["icc_profile"]
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "CMYK", "L"):
        image = _with_profile(image.convert("RGB"), image)
    if not profile:
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a profile for another colour model, or a broken one
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")
