"""What is no photo is named for what it is, by inspect, by the reader and in a folder of photos."""

import gzip
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mggdub.batch.manifest import read_rows
from mggdub.errors import InputError
from mggdub.inspection import inspect_file
from mggdub.media.audio import read_audio
from mggdub.media.image import is_picture, read_image
from mggdub.media.video import probe

SVG = b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n'


def tiff(*tags: tuple[int, int], at: int = 8) -> bytes:
    """A TIFF file with tags of one long each and no picture; `at`: where its directory lies."""
    cells = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", at) + bytes(at - 8) + struct.pack("<H", len(tags)) + cells + bytes(4)


def brand(*brands: bytes) -> bytes:
    """The beginning of an ISO base media file."""
    body = brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I4s", 8 + len(body), b"ftyp") + body + bytes(64)


PICTURES = {
    "a.svg": (SVG, "SVG drawing"),
    "b.svgz": (gzip.compress(SVG), "SVG drawing"),
    "c.jpg": (SVG, "SVG drawing"),
    "d.pdf": (b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n", "PDF document"),
    "e.dng": (tiff((254, 1), (50706, 1025)), "raw file (DNG)"),
    "f.tif": (tiff((254, 1), (50706, 1025)), "raw file (DNG)"),
    "g.nef": (tiff((254, 1), (330, 64)), "raw file (NEF)"),
    "h.tif": (tiff((254, 1), (330, 8 + 2 + 24 + 4)) + struct.pack("<HHHII", 1, 262, 3, 1, 32803), "raw file (TIFF)"),
    "i.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "raw file (CR2)"),
    "j.cr3": (brand(b"crx ", b"isom"), "raw file (CR3)"),
    "k.raf": (b"FUJIFILMCCD-RAW 0201" + bytes(50), "raw file (RAF)"),
    "l.psb": (b"8BPS\0\2" + bytes(40), "Photoshop document (PSB)"),
    "m.jxl": (b"\xff\x0a" + bytes(40), "JPEG XL"),
    "n.ai": (b"%!PS-Adobe-3.0\n", "PostScript"),
    "o.xcf": (b"gimp xcf v011\0" + bytes(20), "GIMP"),
}
OTHERS = {
    "a.mgg": (b"anything", "avatar file"),
    "b.jpg": (b"<!DOCTYPE html><html><svg/></html>", "web page"),
    "c.docx": (b"PK\3\4" + bytes(40), "ZIP"),
    "d.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "e.ply": (b"ply\nformat binary_little_endian 1.0\n", "PLY file for 3-D viewers"),
}
MEDIA = {
    "a.mov": (brand(b"qt  "), "video"),
    "b.jpg": (brand(b"isom", b"mp42"), "video"),
    "c.webm": (b"\x1aE\xdf\xa3" + bytes(40), "video"),
    "d.mpg": (b"\0\0\1\xba" + bytes(40), "video"),
    "e.m4a": (brand(b"M4A ", b"isom"), "recording"),
    "f.wav": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "recording"),
    "g.mp3": (b"\xff\xfb\x90\x64" + bytes(400), "recording"),
    "h.png": (b"ID3\4" + bytes(400), "recording"),
}


@pytest.mark.parametrize(("name", "content", "words"), [(n, *v) for n, v in PICTURES.items()], ids=PICTURES)
def test_pictures_that_are_not_read_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_picture(tmp_path / name)
    for read in (read_image, inspect_file):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name)) and words in str(error.value)


@pytest.mark.parametrize(("name", "content", "words"), [(n, *v) for n, v in OTHERS.items()], ids=OTHERS)
def test_what_is_neither_picture_nor_sound_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_image, inspect_file):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert words in str(error.value)


@pytest.mark.parametrize(("name", "content", "words"), [(n, *v) for n, v in MEDIA.items()], ids=MEDIA)
def test_videos_and_recordings_are_no_photos(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert not is_picture(tmp_path / name)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / name)


def test_a_broken_photo_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\1\2not a picture at all\n" * 9)
    with pytest.raises(InputError, match="known kind"):
        inspect_file(tmp_path / "a.jpg")


def test_a_packed_live_photo_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.livp", "w") as file:
        file.writestr("IMG_1.heic", b"")
    with pytest.raises(InputError, match="Live Photo"):
        read_image(tmp_path / "a.livp")


def test_a_plain_tiff_is_no_raw_file(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), 9).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").size == (64, 64)


def test_a_folder_of_photos_names_its_drawings(tmp_path: Path) -> None:
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    photos.mkdir()
    sounds.mkdir()
    for name in ("a.heic", "b.svg", "c.jpg", "c.dng", "d.JFIF"):
        (photos / name).write_bytes(b"x")
    for stem in "abcd":
        (sounds / f"{stem}.wav").write_bytes(b"x")
    rows, problems = read_rows(photos, sounds, False, {}, frozenset())
    assert [row.photo.name for row in rows] == ["a.heic", "b.svg", "c.jpg", "d.JFIF"] and not problems


@pytest.mark.parametrize("suffix", ["mp3", "mp4"])
@pytest.mark.parametrize("name", ["b.jpg", "c.docx", "d.jpg", "e.ply"])
def test_downloads_that_are_no_recordings_or_videos_are_named(tmp_path: Path, name: str, suffix: str) -> None:
    content, words = OTHERS[name]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    for read, wanted in ((read_audio, "recording"), (probe, "video")):
        with pytest.raises(InputError, match=rf"{words}.* and no {wanted}; ") as error:
            read(path)
        assert "picture" not in str(error.value) and "{" not in str(error.value)


def test_raw_may_be_sound(tmp_path: Path) -> None:
    (tmp_path / "speech.raw").write_bytes(bytes(range(7, 250)) * 9)
    with pytest.raises(InputError, match="samples without a header"):
        inspect_file(tmp_path / "speech.raw")


TEXTS = {
    "a.txt": (b"Hello, I am Anna.\n", "a text"),
    "b.wav": ("Grüße an alle".encode(), "a text"),
    "c.jpg": ("Grüße an alle".encode("latin-1"), "a text"),
    "d.md": ("Grüße an alle".encode("utf-16"), "a text"),
    "e.srt": (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "a text"),
    "f.json": (b'{"text": "hello"}', "a text"),
    "g.csv": (b"photo,speech,output\na.jpg,a.wav,a.mp4\n", "a manifest"),
    "h.csv": (b"time_s,jawOpen\n0.02,0\n0.06,1\n", "a track"),
    "h.jsonl": (b'{"photo": "a.jpg", "speech": "a.wav", "output": "a.mp4"}\n', "a manifest"),
}


@pytest.mark.parametrize(("name", "content", "words"), [(n, *v) for n, v in TEXTS.items()], ids=TEXTS)
def test_texts_are_named_and_nobody_expects_them_to_be_spoken(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    instead = {"a manifest": "mggdub batch renders its rows", "a track": "with --drive", "a text": "reads texts out"}
    advice = instead[words]
    with pytest.raises(InputError, match=f"{name} is {words} and no recording; .*{advice}"):
        read_audio(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is {words} and no video; "):
        probe(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is {words}, which is not read as a photo; "):
        read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"\x7fELF\2\1\1" + bytes(60), b"\1\2\3\4 text", bytes(range(128, 256))])
def test_what_nobody_can_read_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as sound|no sound that is read"):
        read_audio(tmp_path / "a.wav")


def test_pictures_that_are_written_in_letters_are_pictures(tmp_path: Path) -> None:
    rows = "\n".join(" ".join(str(20 * (x % 12)) for x in range(64)) for _ in range(48))
    (tmp_path / "a.pgm").write_text(f"P2\n64 48\n255\n{rows}\n")
    assert read_image(tmp_path / "a.pgm").size == (64, 48)
