"""HEIC photos look as phones show them: tiles joined, turned, mirrored, in their colours; damaged ones are refused."""

import errno
import os
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mggdub.errors import InputError, OutputError
from mggdub.media.image import is_picture, read_image

sys.path.insert(0, str(Path(__file__).parent))
from heic import box, write_heic

HEIGHT, WIDTH = 90, 150
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
COLOURS = np.stack([40 + ROWS, 30 + 1.4 * COLUMNS, 200 - ROWS - 0.5 * COLUMNS], -1).astype(np.uint8)


def test_tiles_are_joined_and_cut(tmp_path: Path) -> None:
    for tile in (0, 64, 32):
        write_heic(tmp_path / "a.heic", COLOURS, tile=tile)
        assert is_picture(tmp_path / "a.heic")
        pixels = read_image(tmp_path / "a.heic").pixels
        assert pixels.shape == COLOURS.shape
        assert np.abs(pixels.astype(int) - COLOURS).max() <= 12


@pytest.mark.parametrize(
    ("turns", "orientation", "expected"),
    [
        ([box(b"irot", b"\1")], 1, np.rot90(COLOURS)),
        ([box(b"irot", b"\3")], 6, np.rot90(COLOURS, 3)),  # EXIF says the same once more
        ([box(b"imir", b"\0")], 1, COLOURS[::-1]),
        ([box(b"imir", b"\1")], 1, COLOURS[:, ::-1]),
        ([box(b"irot", b"\1"), box(b"imir", b"\0")], 1, np.rot90(COLOURS)[::-1]),
        ([box(b"clap", struct.pack(">IIIIiIiI", 100, 1, 60, 1, 10, 1, -5, 1))], 1, COLOURS[10:70, 35:135]),
        ([], 6, np.rot90(COLOURS, 3)),
        ([], 2, COLOURS[:, ::-1]),
    ],
    ids=["irot", "irot-and-exif", "imir-0", "imir-1", "irot-imir", "clap", "exif", "exif-mirrored"],
)
def test_it_is_turned_mirrored_and_cropped_once(
    tmp_path: Path, turns: list[bytes], orientation: int, expected: np.ndarray
) -> None:
    write_heic(tmp_path / "a.heic", COLOURS, tile=64, turns=turns, orientation=orientation)
    pixels = read_image(tmp_path / "a.heic").pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 12


def test_profiles_and_alpha_count(tmp_path: Path) -> None:
    gamma = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.repeat(np.linspace(0, 255, WIDTH)[None], HEIGHT, 0).astype(np.uint8)
    write_heic(tmp_path / "a.heic", COLOURS, profile=gamma, alpha=alpha)
    photo = read_image(tmp_path / "a.heic")
    assert photo.alpha is not None
    assert np.abs(photo.alpha.astype(int) - alpha).max() <= 8
    shown = COLOURS * (alpha[..., None] / 255) + 255 - alpha[..., None]
    assert np.abs(photo.pixels - shown).max() <= 16


def test_what_is_too_large_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    write_heic(path, COLOURS, tile=64, claimed=(40_000, 30_000))
    with pytest.raises(InputError, match="40000x30000"):
        read_image(path)
    write_heic(path, COLOURS, tile=64, claimed=(300, 90))
    with pytest.raises(InputError, match="damaged"):
        read_image(path)
    write_heic(path, COLOURS, tile=64)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for cut in (20, 60, 300, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"a\.heic"):
            read_image(path)
    for _ in range(40):
        bad = bytearray(whole)
        for at in random.integers(0, 900, 3):
            bad[at] = random.integers(256)
        path.write_bytes(bad)
        try:
            Image.fromarray(read_image(path).pixels)
        except InputError as error:
            assert "a.heic" in str(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_folder_for_temporary_files_is_not_the_photos_fault(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    write_heic(tmp_path / "a.heic", COLOURS)
    monkeypatch.setattr("mggdub.media.heif._write_stream", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        read_image(tmp_path / "a.heic")
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        read_image(tmp_path / "a.heic")
