"""What is written is what was given; what cannot be written leaves nothing behind."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import soundfile
from PIL import Image

from mggdub.errors import InputError, OutputError, UsageError
from mggdub.media import encode, process
from mggdub.media.audio import read_audio
from mggdub.media.demux import ends
from mggdub.media.encode import write_in_segments, write_video
from mggdub.media.video import probe, read_video, thumbnail

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]
WIDTH, HEIGHT = 48, 32
FPS = Fraction(25)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flat(level: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, (2 * 22050, 2)), 22050)
    return path


@pytest.mark.parametrize("fps", RATES, ids=str)
@pytest.mark.parametrize("duration", [0.3, 0.01, 1.517, 2.0, 2.345])  # the sound has 2 s: cut and padded
def test_sound_and_picture_end_together(tmp_path: Path, sound: Path, fps: Fraction, duration: float) -> None:
    out = tmp_path / "out.mp4"
    report = write_video(out, repeat(flat(90)), fps=fps, size=(WIDTH, HEIGHT), audio=sound, duration=duration)
    stamps = [stamp for stamp, _ in read_video(out)]
    assert report.frames == len(stamps) == max(1, round(duration * fps))
    np.testing.assert_allclose(stamps, np.arange(len(stamps)) / float(fps), atol=1e-4)
    heard = read_audio(out)
    assert abs(heard.duration - duration) < 2e-3
    assert abs(heard.duration - report.duration) <= 1 / fps
    assert probe(out).fps == fps and report.bytes == out.stat().st_size


@pytest.mark.parametrize("fps", [*RATES, Fraction(24000, 1001), Fraction(25, 2)], ids=str)
def test_segments_are_one_video(tmp_path: Path, sound: Path, fps: Fraction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SEGMENT", 1)
    levels = np.random.default_rng(0).integers(20, 240, 400)
    asked: list[int] = []

    def frames(first: int, last: int = 400) -> Iterator[np.ndarray]:
        asked.append(first)
        yield from (flat(int(level)) for level in levels[first:last])
        if last < 400:
            raise KeyboardInterrupt

    given = {"folder": tmp_path, "fps": fps, "size": (WIDTH, HEIGHT), "audio": sound, "duration": 3.3}
    with pytest.raises(KeyboardInterrupt):
        write_in_segments(tmp_path / "a.mp4", lambda first: frames(first, round(2.5 * fps)), **given)
    assert not (tmp_path / "a.mp4").exists()
    report = write_in_segments(tmp_path / "a.mp4", frames, **given)
    assert asked == [0, 2 * round(fps)]
    stamps, seen = zip(*read_video(tmp_path / "a.mp4"), strict=True)
    assert report.frames == len(stamps) == round(3.3 * fps)
    np.testing.assert_allclose(stamps, np.arange(len(stamps)) / float(fps), atol=1e-5)
    np.testing.assert_allclose([frame.mean() for frame in seen], levels[: len(seen)], atol=3)
    assert probe(tmp_path / "a.mp4").fps == fps and abs(read_audio(tmp_path / "a.mp4").duration - 3.3) < 2e-3


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_segment_that_a_power_cut_left_short_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(encode, "SEGMENT", 1)
    asked: list[int] = []

    def frames(first: int) -> Iterator[np.ndarray]:
        asked.append(first)
        yield from (flat(8 * k) for k in range(first, 30))

    given = {"folder": tmp_path, "fps": Fraction(10), "size": (WIDTH, HEIGHT), "audio": None, "duration": 3.0}
    write_in_segments(tmp_path / "a.mp4", frames, **given)
    whole = (tmp_path / "a.mp4").read_bytes()
    part = tmp_path / "00000010.mp4"
    os.truncate(part, int(share * part.stat().st_size))
    write_in_segments(tmp_path / "a.mp4", frames, force=True, **given)
    assert asked == [0, 10] and (tmp_path / "a.mp4").read_bytes() == whole


def test_one_segment_is_the_plain_video_and_a_thumbnail_is_its_frame(tmp_path: Path, sound: Path) -> None:
    given = {"fps": FPS, "size": (WIDTH, HEIGHT), "audio": sound, "duration": 0.8}
    write_video(tmp_path / "a.mp4", (flat(10 * k) for k in range(20)), **given)
    write_in_segments(
        tmp_path / "b.mp4", lambda first: (flat(10 * k) for k in range(first, 20)), folder=tmp_path, **given
    )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert names(tmp_path) == ["a.mp4", "b.mp4", "sound.wav"]
    shown = Image.open(io.BytesIO(thumbnail(tmp_path / "a.mp4", 18.5 / 25, 24)))
    assert shown.size == (36, 24) and abs(np.asarray(shown).mean() - 190) < 4
    with pytest.raises(InputError):
        thumbnail(tmp_path / "a.mp4", 5.0)


def test_colours_come_back(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((32, 32, 1), np.uint8))
    write_video(tmp_path / "a.mp4", repeat(picture, 3), fps=FPS, size=(192, 128), crf=1)
    for _, frame in read_video(tmp_path / "a.mp4"):
        assert np.abs(frame[16::32, 16::32].astype(int) - blocks).max() <= 4


def test_frames_keep_their_order_and_their_sound(tmp_path: Path, sound: Path) -> None:
    write_video(tmp_path / "a.mp4", (flat(8 * i) for i in range(30)), fps=FPS, size=(WIDTH, HEIGHT), audio=sound)
    levels = [frame.mean() for _, frame in read_video(tmp_path / "a.mp4")]
    np.testing.assert_allclose(levels, 8 * np.arange(30), atol=2)
    given, heard = (read_audio(path).samples for path in (sound, tmp_path / "a.mp4"))
    assert np.corrcoef(given[1000:15000], heard[1000:15000])[0, 1] > 0.95


def test_odd_sizes_grow_by_their_own_edge(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (33, 47, 1), dtype=np.uint8).repeat(3, 2)
    report = write_video(tmp_path / "a.mp4", repeat(picture, 2), fps=FPS, size=(47, 33), crf=1)
    assert (report.width, report.height) == (48, 34)
    frame = next(read_video(tmp_path / "a.mp4"))[1].astype(int)
    assert np.abs(frame[:33, :47] - picture).max() <= 6
    assert np.abs(frame[:, 47] - frame[:, 46]).max() <= 6 and np.abs(frame[33] - frame[32]).max() <= 6


@pytest.mark.parametrize(
    ("side", "said"), [(64, ("trellis=1", "subme=2 ")), (1440, ("bframes=0", "mbtree=1", "subme=1 "))]
)
def test_large_pictures_are_coded_with_less_work(tmp_path: Path, side: int, said: tuple[str, ...]) -> None:
    write_video(tmp_path / "a.mp4", repeat(flat(90, side, side), 2), fps=FPS, size=(side, side))
    options = (tmp_path / "a.mp4").read_bytes().decode("latin-1")  # x264 writes them down in its first frame
    assert all(option in options for option in (*said, "crf=18.0"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pipes have the size that they have")
def test_frames_do_not_wait_for_the_encoder_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    sizes, send = [], encode._write_frame

    def sent(running: process.Running, frame: np.ndarray, path: Path) -> None:
        sizes.append(fcntl.fcntl(running.process.stdin, fcntl.F_GETPIPE_SZ))  # type: ignore[arg-type]
        send(running, frame, path)

    monkeypatch.setattr(encode, "_write_frame", sent)
    write_video(tmp_path / "a.mp4", repeat(flat(9), 2), fps=FPS, size=(WIDTH, HEIGHT))
    assert sizes == [encode.PIPE] * 2


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, sound: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, iter(noise), fps=FPS, size=(96, 64), audio=sound, duration=0.8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_file_says_that_it_is_synthetic(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", repeat(flat(1), 2), fps=FPS, size=(WIDTH, HEIGHT))
    said = subprocess.run([process.binary(), "-i", str(tmp_path / "a.mp4")], capture_output=True, check=False).stderr
    assert b"Synthetic video" in said and b"compositeWithTrainedAlgorithmicMedia" in said and b"bt709" in said


def test_a_turned_video_is_read_upright(tmp_path: Path) -> None:
    picture = flat(20)
    picture[:, : WIDTH // 2] = 220
    write_video(tmp_path / "a.mp4", repeat(picture, 3), fps=FPS, size=(WIDTH, HEIGHT))
    argv = [process.binary(), "-v", "error", "-display_rotation", "90", "-i", str(tmp_path / "a.mp4")]
    subprocess.run([*argv, "-c", "copy", str(tmp_path / "b.mp4")], check=True)
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height, abs(info.rotation)) == (HEIGHT, WIDTH, 90)
    frame = next(read_video(tmp_path / "b.mp4"))[1]
    assert frame.shape == (WIDTH, HEIGHT, 3)
    assert abs(int(frame[4].mean()) - int(frame[-4].mean())) > 150


def test_uneven_time_stamps_are_the_containers(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", repeat(flat(50), 10), fps=FPS, size=(WIDTH, HEIGHT))
    argv = [process.binary(), "-v", "error", "-i", str(tmp_path / "a.mp4"), "-vf", "setpts=N*N/100/TB"]
    subprocess.run([*argv, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", str(tmp_path / "b.mkv")], check=True)
    stamps = [stamp for stamp, _ in read_video(tmp_path / "b.mkv")]
    np.testing.assert_allclose(stamps, np.arange(10) ** 2 / 100, atol=2e-3)


def test_what_holds_no_pictures_says_so(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    for path, what in ((sound, "holds no video"), (tmp_path / "text.mp4", "is a text and no video")):
        with pytest.raises(InputError, match=what):
            next(read_video(path))
    with pytest.raises(UsageError, match="does not exist"):
        probe(tmp_path / "none.mp4")


def write(path: Path, frames: Iterator[np.ndarray], force: bool = False, audio: Path | None = None) -> None:
    write_video(path, frames, fps=FPS, size=(WIDTH, HEIGHT), force=force, audio=audio)


def test_an_existing_output_stays_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--force"):
        write(out, repeat(flat(1), 2))
    assert out.read_bytes() == b"precious"
    write(out, repeat(flat(1), 2), force=True)
    assert probe(out).width == WIDTH


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    write(clip, repeat(flat(1), 2))
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    with pytest.raises(OutputError, match="also an input"):
        write(tmp_path / "link.mp4", repeat(flat(1), 2), force=True, audio=clip)
    assert clip.read_bytes() == before


def test_folders_that_are_missing_or_closed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write(tmp_path / "none" / "a.mp4", repeat(flat(1), 2))
    with pytest.raises(OutputError, match="is a folder"):
        (tmp_path / "b.mp4").mkdir()
        write(tmp_path / "b.mp4", repeat(flat(1), 2))
    with pytest.raises(UsageError, match="does not end in"):
        write(tmp_path / "a.avi", repeat(flat(1), 2))
    closed = Path("/proc") if os.geteuid() == 0 else tmp_path / "closed"  # root may write anywhere else
    closed.mkdir(mode=0o500, exist_ok=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write(closed / "a.mp4", repeat(flat(1), 2))


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_an_interruption_leaves_nothing(tmp_path: Path, sound: Path, problem: type[BaseException]) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield from repeat(flat(7), 40)
        raise problem

    with pytest.raises(problem):
        write(tmp_path / "a.mp4", frames(), audio=sound)
    assert names(tmp_path) == [sound.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(partial: Path) -> int:
        partial.symlink_to("/dev/full")
        return os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr("mggdub.media.files.create_partial", full)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with pytest.raises(OutputError, match="disk is full"):
        write(tmp_path / "a.mp4", repeat(noise, 2000))
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_kills_ffmpeg_and_removes_its_file(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import sys, time, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from mggdub.cli import signals\nfrom mggdub.media.encode import write_video\n"
        "signals.install()\n"
        "def frames():\n    while True:\n        time.sleep(.002)\n        yield np.zeros((64, 64, 3), np.uint8)\n"
        "write_video(Path(sys.argv[1]), frames(), fps=Fraction(25), size=(64, 64))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a.mp4")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(name.startswith(".a.") for name in names(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)  # a trial whether the folder can be written to comes first
    assert any(name.startswith(".a.") for name in names(tmp_path))
    child.send_signal(number)
    assert child.wait(120) != 0
    assert names(tmp_path) == []


@pytest.mark.parametrize(("count", "seconds"), [(5, 1.0), (30, 0.3)])
def test_without_a_duration_sound_lasts_as_long_as_the_frames(tmp_path: Path, count: int, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(round(seconds * 16000), 0.1), 16000)
    frames = (flat(k) for k in range(count))
    write_video(tmp_path / "a.mp4", frames, fps=FPS, size=(WIDTH, HEIGHT), audio=tmp_path / "a.wav")
    pictures, shown, heard = ends(tmp_path / "a.mp4")
    assert pictures == count and heard is not None and 0 <= shown - heard < 0.025


@pytest.mark.parametrize("ending", ["mp4", "mpg"])
def test_lines_of_two_moments_are_filled_in(tmp_path: Path, ending: str) -> None:
    bar = np.zeros((50, 64, 96, 3), np.uint8)
    for k, picture in enumerate(bar):
        picture[:, k : k + 24] = 230
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s="96x64", framerate=50)
    lines = raw.filter("tinterlace", mode="interleave_top").filter("setfield", mode="tff").filter("format", "yuv420p")
    path = tmp_path / f"a.{ending}"
    codec = {"mp4": "libx264", "mpg": "mpeg2video"}[ending]
    out = lines.output(str(path), vcodec=codec, qscale=1, flags="+ilme+ildct", loglevel="error")
    ffmpeg.run(out, cmd=process.binary(), input=bar.tobytes())
    read = list(read_video(path))
    assert probe(path).interlaced and len(read) == 25
    np.testing.assert_allclose(np.diff([stamp for stamp, _ in read]), 0.04, atol=1e-3)
    apart = [np.abs(np.diff(frame[16:48, :, 0].astype(int), axis=0)).mean() for _, frame in read]
    assert max(apart) < 3  # 230 in two columns of 96 where lines of two moments stand side by side: 5


def cropped(data: bytes, width: int, height: int) -> bytes:
    """An MP4 whose moov comes last, of H.264, that asks for the middle of its pictures, `width` x `height` px."""
    edited, at = bytearray(data), data.index(b"avcC") - 4
    box = struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = data.rindex(name, 0, at) - 4
        edited[start : start + 4] = struct.pack(">I", struct.unpack_from(">I", data, start)[0] + len(box))
    edited[at:at] = box
    return bytes(edited)


def test_a_picture_that_its_container_crops_keeps_its_shape(tmp_path: Path) -> None:
    disc = np.hypot(*(np.mgrid[:64, :96] - np.array([31.5, 47.5])[:, None, None])) < 20
    pixels = np.where(disc, 220, 60)[..., None].repeat(3, -1).astype(np.uint8)
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s="96x64", framerate=25)
    out = raw.output(str(tmp_path / "whole.mp4"), vcodec="libx264", crf=5, pix_fmt="yuv420p", loglevel="error")
    ffmpeg.run(out, cmd=process.binary(), input=pixels.tobytes() * 3)
    (tmp_path / "a.mp4").write_bytes(cropped((tmp_path / "whole.mp4").read_bytes(), 48, 64))
    whole, frame = (next(read_video(tmp_path / name))[1] for name in ("whole.mp4", "a.mp4"))
    assert frame.shape == whole.shape == (64, 96, 3)
    assert (frame[:, :24] == 0).all() and (frame[:, 72:] == 0).all()
    assert np.abs(frame[:, 26:70].astype(int) - whole[:, 26:70]).max() <= 6
