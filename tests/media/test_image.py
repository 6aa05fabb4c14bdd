"""Every way a picture can be stored shows the same picture; what is no picture says so."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from mggdub.errors import InputError, UsageError
from mggdub.media import image as module
from mggdub.media.image import is_picture, lay_over, read_image, resize, write_image

HEIGHT, WIDTH = 48, 64
GRID = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
COLOURS = np.stack([60 + 2 * GRID[0], 40 + 2 * GRID[1], 200 - GRID[0] - GRID[1]], -1).astype(np.uint8)
GREY = (40 + GRID[0] + 2 * GRID[1]).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [("a.png", "RGB", 0), ("a.bmp", "RGB", 0), ("a.tif", "RGB", 0), ("a.webp", "RGB", 20), ("a.jpg", "RGB", 20),
     ("a.jpg", "CMYK", 20), ("a.png", "P", 40), ("a.gif", "P", 40), ("a.png", "RGBA", 0)],
)  # fmt: skip
def test_colour_formats_show_the_same_picture(tmp_path: Path, name: str, mode: str, tolerance: int) -> None:
    picture = Image.fromarray(COLOURS)
    (picture.quantize(256) if mode == "P" else picture.convert(mode)).save(tmp_path / name)
    photo = read_image(tmp_path / name)
    assert photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels.astype(int) - COLOURS).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "stored"),
    [("a.png", GREY), ("a.png", GREY.astype(np.uint16) * 257), ("a.tif", GREY.astype(np.uint16) * 257),
     ("a.tif", GREY.astype(np.int32) * 257), ("a.tif", GREY.astype(np.float32) / 255)],
)  # fmt: skip
def test_grey_of_any_depth_becomes_eight_bit(tmp_path: Path, name: str, stored: np.ndarray) -> None:
    Image.fromarray(stored).save(tmp_path / name)
    assert np.abs(read_image(tmp_path / name).pixels.astype(int) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(COLOURS)
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # what undoes each orientation
    for turn in turns.get(orientation, []):
        upright = upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, COLOURS)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_parts_take_the_chosen_colour(tmp_path: Path, mode: str) -> None:
    alpha = np.where(GRID[1] < WIDTH // 2, 0, 255).astype(np.uint8)
    layered = Image.fromarray(np.repeat(GREY[..., None], 3, 2)).convert("RGBA")
    layered.putalpha(Image.fromarray(alpha))
    layered.convert("LA" if mode == "LA" else "RGBA").save(tmp_path / "a.png")
    if mode == "PA":
        layered.quantize(64).save(tmp_path / "a.png")
    photo = read_image(tmp_path / "a.png")
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, alpha)
    for laid, colour in ((photo.pixels, (255, 255, 255)), (lay_over(photo, (10, 200, 30)), (10, 200, 30))):
        assert (laid[:, : WIDTH // 2] == colour).all()
        assert np.abs(laid[:, WIDTH // 2 :].astype(int) - GREY[:, WIDTH // 2 :, None]).max() <= 40


def test_soft_alpha_mixes_and_opaque_alpha_is_none(tmp_path: Path) -> None:
    for kind in ("a.png", "a.tif", "a.webp"):
        layered = Image.fromarray(COLOURS).convert("RGBA")
        layered.putalpha(128)
        layered.save(tmp_path / kind, **({"lossless": True} if kind == "a.webp" else {}))
        laid = lay_over(read_image(tmp_path / kind), (0, 255, 0))
        expected = (COLOURS * 128.0 + np.array([0, 255, 0]) * 127.0) / 255
        assert np.abs(laid - expected).max() <= 1.5
    Image.fromarray(COLOURS).convert("RGBA").save(tmp_path / "b.png")
    photo = read_image(tmp_path / "b.png")
    assert photo.alpha is None
    np.testing.assert_array_equal(photo.pixels, COLOURS)


def test_a_tiff_gives_its_largest_page(tmp_path: Path) -> None:
    pages = [Image.fromarray(COLOURS).resize((WIDTH // 2, HEIGHT)), Image.fromarray(COLOURS), Image.new("L", (40, 40))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, COLOURS)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, COLOURS)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.webp", "a.avif"])
@pytest.mark.parametrize("alpha", [0, 255])
def test_an_animation_that_begins_with_nothing_gives_what_it_shows_first(tmp_path: Path, name: str, alpha: int) -> None:
    """It fades in from nothing, or from black."""
    shown = Image.radial_gradient("L").convert("RGBA")
    blank = Image.new("RGBA", shown.size, (0, 0, 0, alpha))
    blank.save(tmp_path / name, save_all=True, append_images=[blank, shown, blank], duration=40)
    wanted = np.asarray(shown.convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / name).pixels - wanted).mean() < 6


def test_a_picture_for_programs_without_animations_is_not_the_animation(tmp_path: Path) -> None:
    shown = Image.fromarray(COLOURS)
    other = Image.fromarray(255 - COLOURS)
    other.save(tmp_path / "a.png", save_all=True, append_images=[shown, other], default_image=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, COLOURS)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (profile, b"not a profile"):
        Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=data)
        assert np.abs(read_image(tmp_path / "a.png").pixels.astype(int) - COLOURS).max() <= 2
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=lab)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, COLOURS)


def _png() -> bytes:
    data = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello\n" * 99, "is a text"),
        (b"\1\2\3\n" * 99, "known kind"),
        (_png()[:400], "ends before"),
        (_png()[:20], "ends before"),
    ],
    ids=["empty", "text", "bytes", "half", "header"],
)
def test_what_is_no_picture_says_so(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("lost", "progressive", "flat", "read"),
    [(0, False, False, True), (2, False, False, True), (10, False, False, True), (0.3, False, False, False),
     (0.9, False, False, False), (2, True, False, False), (2, False, True, False)],
)  # fmt: skip
def test_a_jpeg_may_lack_its_end_but_nothing_of_the_picture(
    tmp_path: Path, lost: float, progressive: bool, flat: bool, read: bool
) -> None:
    """A photo that every viewer shows is read; where a part may be missing, it is refused."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    pixels[64:] = 128 if flat else pixels[64:]
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", progressive=progressive)
    data = (tmp_path / "whole.jpg").read_bytes()
    keep = len(data) - (lost if lost >= 1 or not lost else round(lost * len(data)))
    (tmp_path / "a.jpg").write_bytes(data[: int(keep)])
    if not read:
        with pytest.raises(InputError, match="ends before the picture does"):
            read_image(tmp_path / "a.jpg")
        return
    whole, short = (read_image(tmp_path / name).pixels for name in ("whole.jpg", "a.jpg"))
    assert (whole[:-18] == short[:-18]).all() and (whole[:, :-36] == short[:, :-36]).all()  # the last blocks


def test_missing_files_and_folders_are_usage_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            read_image(path)


def test_bombs_and_specks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MOST_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(InputError, match="shrink it"):
        read_image(tmp_path / "a.png")
    Image.fromarray(COLOURS[:8, :8]).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="8x8"):
        read_image(tmp_path / "b.png")


def test_what_another_program_would_read_is_no_picture(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.eps")  # Pillow would start Ghostscript
    Image.fromarray(COLOURS).save(tmp_path / "a.tga")
    assert is_picture(tmp_path / "a.tga")
    with pytest.raises(InputError, match="PostScript"):
        read_image(tmp_path / "a.eps")


def test_writing_and_resizing_keep_the_picture(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", COLOURS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, COLOURS)
    back = resize(resize(COLOURS, (WIDTH * 3, HEIGHT * 3)), (WIDTH, HEIGHT))
    assert np.abs(back.astype(int) - COLOURS).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_that_counts_from_white_to_black_is_no_negative(tmp_path: Path, bits: int) -> None:
    stored = GREY if bits == 8 else (255 - GREY.astype(np.uint16)) * 257  # Pillow turns 8 bits round by itself
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    assert np.abs(read_image(tmp_path / "a.tif").pixels.astype(int) - GREY[..., None]).max() <= 1


def test_twelve_bits_in_sixteen_are_not_black(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 16).save(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "a.png").pixels.astype(int) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize("kind", ["L", "LA", "I;16"])
def test_a_profile_of_grey_is_applied_to_grey_of_every_kind(tmp_path: Path, kind: str) -> None:
    light = (GREY / 255.0) ** 2.2
    stored = Image.fromarray(np.rint(255 * light).astype(np.uint8))
    if kind == "LA":
        stored = Image.merge("LA", [stored, Image.fromarray(np.where(GRID[0] < 2, 0, 255).astype(np.uint8))])
    elif kind == "I;16":
        stored = Image.fromarray(np.rint(65535 * light).astype(np.uint16))
    stored.save(tmp_path / "a.png", icc_profile=_linear_grey())
    shown = read_image(tmp_path / "a.png").pixels[2:].astype(int)
    assert np.abs(shown - GREY[2:, :, None]).max() <= 14  # eight bits of light are few for what is dark


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 2.2])
def test_the_gamma_of_a_png_is_heeded(tmp_path: Path, gamma: float) -> None:
    stored = np.rint(255 * (COLOURS / 255.0) ** (2.2 * gamma)).astype(np.uint8)
    chunks = PngInfo()
    chunks.add(b"gAMA", round(100_000 * gamma).to_bytes(4, "big"))
    Image.fromarray(stored).save(tmp_path / "a.png", pnginfo=chunks)
    assert np.abs(read_image(tmp_path / "a.png").pixels.astype(int) - COLOURS).max() <= 8


def _linear_grey() -> bytes:
    """An ICC profile of grey whose values are light itself."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(80),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 256) + bytes(2),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI12s", start + len(body), b"lcms", 0x02100000, b"mntrGRAYXYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_a_picture_that_shows_nothing_is_not_called_damaged(tmp_path: Path, ending: str) -> None:
    Image.new("RGBA", (64, 64), (200, 10, 10, 0)).save(tmp_path / f"a.{ending}")
    with pytest.raises(InputError, match="every pixel is transparent"):
        read_image(tmp_path / f"a.{ending}")
