"""Files in a wrong place are noticed by their first bytes, whatever they are called."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.media import kinds
from mggdub.media.kinds import check_inspected, check_measured, check_portrait, check_render, check_source, kind

Make = Callable[[str], Path]


def picture(form: str, **more: object) -> bytes:
    """A small picture, two frames with save_all."""
    data = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    more = {"append_images": frames[1:], **more} if more else {}
    frames[0].save(data, form, **more)
    return data.getvalue()


CONTENT = {
    "a.jpg": picture("JPEG"), "a.png": picture("PNG"), "a.webp": picture("WEBP"), "a.gif": picture("GIF"),
    "a.bmp": picture("BMP"), "a.tif": picture("TIFF"), "a.ppm": picture("PPM"),
    "a.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "moving.png": picture("PNG", save_all=True),
    "moving.webp": picture("WEBP", save_all=True), "moving.gif": picture("GIF", save_all=True),
    "a.wav": b"RIFF\x24\0\0\0WAVEfmt ", "a.mp3": b"ID3\4\0\0\0\0\0\0", "bare.mp3": b"\xff\xfb\x90\x64",
    "a.ogg": b"OggS\0", "a.flac": b"fLaC\0", "a.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0", "a.aiff": b"FORM\0\0\0\0AIFF",
    "a.sph": b"NIST_1A\n   1024\n",
    "a.mp4": b"\0\0\0\x20ftypisom\0\0\0\0", "a.mov": b"\0\0\0\x14ftypqt  \0\0\0\0", "a.mkv": b"\x1a\x45\xdf\xa3\1",
    "a.mka": b"\x1a\x45\xdf\xa3\1", "a.avi": b"RIFF\0\0\0\0AVI LIST", "a.flv": b"FLV\1\5",
    "a.mgg": b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"mggdub":"{}"}}', "a.csv": b"time_s,jawOpen\n0.02,0.1\n",
    "live.csv": b"Timecode,BlendShapeCount,jawOpen\n",
    "wide.csv": "\ufefftime_s;jawOpen\n0,02;0,1\n".encode("utf-16-le"),
    "noted.csv": b"sep=|\r\n\r\ntime_s|jawOpen\r\n", "utf32.csv": "time_s,jawOpen\n".encode("utf-32"),
    "manifest.csv": b"photo,speech,output\na,b,c\n", "text.txt": b"time is money\n", "noise.bin": bytes(range(7, 200)),
}  # fmt: skip
KINDS = {
    "picture": "jpg png webp gif bmp tif ppm heic", "sound": "wav mp3 ogg flac m4a aiff sph mka", "avatar": "mgg",
    "video": "mp4 mov mkv avi flv", "track": "csv", None: "txt bin",
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """The path of a file of that name; `name=other.suffix` has the content of `name`."""

    def make(name: str) -> Path:
        content, _, path = name.rpartition("=")
        (tmp_path / path).write_bytes(CONTENT[content or path])
        return tmp_path / path

    return make


@pytest.mark.parametrize("name", CONTENT)
def test_first_bytes_tell_the_kind(made: Make, name: str) -> None:
    suffix = name.rsplit(".", 1)[1]
    expected = next(key for key, suffixes in KINDS.items() if suffix in suffixes.split())
    assert kind(made(name)) == (None if name == "manifest.csv" else expected)
    if not name.startswith("a.") or suffix not in ("mka", "m4a"):  # whose name counts
        assert kind(made(f"{name}=other.bin")) == kind(made(name))


@pytest.mark.parametrize("name", ["moving.png", "moving.webp", "moving.gif"])
def test_moving_pictures_may_drive(made: Make, name: str) -> None:
    assert kinds.moves(made(name))
    check_render(made("a.jpg"), None, made(name))


@pytest.mark.parametrize(
    ("photo", "speech", "drive", "code", "told"),
    [("a.wav", "a.jpg", None, 2, "is a recording; the photo comes first"),
     ("a.mp4", "a.png", None, 2, "is a video; the photo comes first"),
     ("a.wav", "a.mp3", None, 3, "is a recording; the photo comes first"),
     ("a.wav=photo.png", "a.wav", None, 3, "is a recording"),
     ("a.mp4", "a.wav", None, 3, "save one of its frames"), ("a.mkv", None, "a.mp4", 3, "save one of its frames"),
     ("a.csv", "a.wav", None, 2, "is a track"), ("a.mgg=head.png", "a.wav", None, 3, "end in .mgg"),
     ("a.jpg=head.mgg", "a.wav", None, 3, "no avatar"),
     ("a.jpg", "a.png", None, 3, "is a picture and holds no sound"), ("a.jpg", "a.heic", None, 3, "holds no sound"),
     ("a.jpg", "a.mgg", None, 2, "is an avatar; it comes first"), ("a.jpg", "a.csv", None, 2, "give it with --drive"),
     ("a.jpg", "a.wav", "a.png", 3, "is a picture"), ("a.jpg", None, "a.jpg=clip.mp4", 3, "is a picture"),
     ("a.jpg", None, "a.mgg", 2, "is an avatar"), ("a.jpg", None, "a.csv=track.txt", 3, "end in .csv"),
     ("a.jpg", None, "a.mp4=track.csv", 3, "is a video")],
)  # fmt: skip
def test_mixed_up_files_of_a_render(
    made: Make, photo: str, speech: str | None, drive: str | None, code: int, told: str
) -> None:
    paths = [made(name) if name else None for name in (photo, speech, drive)]
    with pytest.raises(MggdubError, match=told) as refused:
        check_render(*paths)  # type: ignore[arg-type]
    assert refused.value.exit_code == code and str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("photo", "speech", "drive"),
    [("a.jpg", "a.wav", None), ("a.mgg", "a.mp3", None), ("a.heic", "a.mp4", "a.mkv"), ("a.gif", "a.mka", "a.csv"),
     ("text.txt", "noise.bin", "text.txt"), ("a.webp", None, "wide.csv"), ("noise.bin", "bare.mp3", "live.csv")],
)  # fmt: skip
def test_files_in_their_place_pass(made: Make, photo: str, speech: str | None, drive: str | None) -> None:
    check_render(made(photo), made(speech) if speech else None, made(drive) if drive else None)


def test_other_commands_know_what_they_take(made: Make) -> None:
    refused = {
        check_portrait: "a.wav a.mp4 a.mgg a.csv a.mgg=x.png", check_source: "a.jpg a.mgg a.csv a.heic a.mgg=x.wav",
        check_inspected: "a.mgg a.csv a.mgg=x.png live.csv",
    }  # fmt: skip
    for check, given in refused.items():
        for name in given.split():
            with pytest.raises((InputError, UsageError)):
                check(made(name))
    for check, given in {
        check_portrait: "a.jpg a.heic text.txt", check_source: "a.wav a.mp4 moving.gif noise.bin",
        check_inspected: "a.jpg a.wav a.mp4 text.txt manifest.csv",
    }.items():  # fmt: skip
        for name in given.split():
            check(made(name))
    for names in (("a.jpg", None, None), ("a.wav", None, None), ("a.mp4", "a.csv", None), ("a.mp4", None, "a.mov")):
        with pytest.raises(InputError):
            check_measured(*(made(name) if name else None for name in names))  # type: ignore[arg-type]
    check_measured(made("a.mp4"), made("a.mov"), made("a.jpg"))
