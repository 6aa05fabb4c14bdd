"""Files that end before they should are told, by the sizes that their containers note, where these were known."""

import struct
import subprocess
from pathlib import Path

import pytest

from mggdub.media.audio import read_audio, sound_notes
from mggdub.media.process import binary
from mggdub.media.whole import cut_short, goes_on

TONE = ("-f", "lavfi", "-i", "sine=f=300:r=16000:d=3")


def made(folder: Path, name: str, *options: str) -> Path:
    """A tone in a file of that name."""
    path = folder / name
    subprocess.run([binary(), "-loglevel", "error", *TONE, *options, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.wav", ()), ("a.aiff", ()), ("a.m4a", ("-movflags", "+faststart")), ("a.mka", ("-c:a", "pcm_s16le")),
     ("a.avi", ("-c:a", "pcm_s16le"))],
)  # fmt: skip
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = made(tmp_path, name, *options)
    assert cut_short(path) == []
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 99)
    assert cut_short(path) == []
    path.write_bytes(data[: len(data) * 6 // 10])
    (note,) = sound_notes(path)
    assert str(path) in note and "40 % of it is missing" in note


@pytest.mark.parametrize(
    ("name", "second", "told"),
    [("a.wav", (), True), ("a.aiff", (), True), ("a.m4a", (), True), ("a.mka", (), True),
     ("a.ogg", ("-ar", "22050"), True), ("a.ogg", ("-ac", "2"), True), ("a.ogg", ("-c:a", "flac"), True),
     ("a.opus", ("-ac", "2"), True), ("a.opus", (), False), ("a.ogg", (), False), ("a.avi", (), False),
     ("a.mp3", ("-ar", "22050"), False), ("a.aac", (), False)],
)  # fmt: skip
def test_a_recording_behind_another_is_heard_or_told(
    tmp_path: Path, name: str, second: tuple[str, ...], told: bool
) -> None:
    """Files that were copied one behind the other: what ffmpeg does not go on with is not left out in silence."""
    first = made(tmp_path, name).read_bytes()
    assert goes_on(tmp_path / name) == []
    (tmp_path / "other").mkdir()
    (tmp_path / name).write_bytes(first + made(tmp_path / "other", name, *second).read_bytes())
    sound = read_audio(tmp_path / name)
    assert any("goes on after its end" in note for note in sound_notes(tmp_path / name, sound)) == told
    assert sound.duration == pytest.approx(3 if told else 6, abs=0.25)


@pytest.mark.parametrize("noted", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_size_that_was_not_known_tells_nothing(tmp_path: Path, noted: int) -> None:
    data = bytearray(made(tmp_path, "a.wav").read_bytes())
    for at in (4, data.index(b"data") + 4):
        data[at : at + 4] = struct.pack("<I", noted)
    (tmp_path / "b.wav").write_bytes(data)
    assert cut_short(tmp_path / "b.wav") == []


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.flac", "a.ts"])
def test_other_containers_do_not_tell(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    path.write_bytes(path.read_bytes()[:3000])
    assert cut_short(path) == []


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3\0", b"\0\0\0\0ftyp" * 3])
def test_what_is_no_more_than_a_beginning_tells_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert cut_short(tmp_path / "a") == goes_on(tmp_path / "a") == []
