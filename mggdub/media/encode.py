"""Moving pictures out: H.264 and AAC by one ffmpeg process each, frames through a pipe, memory of one frame."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ffmpeg
import numpy as np

from mggdub.errors import OutputError
from mggdub.media.audio import playable
from mggdub.media.files import CONTAINERS, appearing_whole, check_output, check_there
from mggdub.media.process import Running, address, arguments, start
from mggdub.media.provenance import SOURCE_TYPE, Credentials, seal
from mggdub.media.video import SCALING
from mggdub.media.whole import cut_short
from mggdub.types import Array

X264_THREADS = 4  # fixed: the number of threads changes x264's bytes
# What x264 does with most of its time is worth little in these pictures: docs/decisions.md.
PRESET = ("superfast", "mbtree=1:rc-lookahead=10:subme=2:trellis=1")
LARGE_PRESET, MANY_PIXELS = ("superfast", "bframes=0:mbtree=1:rc-lookahead=10"), 2_000_000
PIPE = 1 << 20  # bytes on their way to ffmpeg
SEGMENT = 20  # s of picture in a file of its own, where work must survive a crash
SYNTHETIC = MappingProxyType(
    {
        "comment": "Synthetic video: made by mggdub from one photo and one recording.",
        "description": f"Digital source type: {SOURCE_TYPE}",
    }
)


@dataclass(frozen=True)
class VideoReport:
    """What was written."""

    path: Path
    frames: int
    fps: Fraction
    width: int  # px, even
    height: int
    bytes: int

    @property
    def duration(self) -> float:
        """Seconds of picture."""
        return float(self.frames / self.fps)


def write_video(
    path: Path,
    frames: Iterator[Array],
    *,
    fps: Fraction,
    size: tuple[int, int],
    audio: Path | None = None,
    duration: float | None = None,
    crf: int = 18,
    force: bool = False,
    metadata: dict[str, str] | None = None,
    credentials: Credentials | None = None,
    planes: bool = False,
) -> VideoReport:
    """Write frames [H, W, 3] uint8 of `size` (width, height) and the sound of `audio`, marked as synthetic.

    With a `duration` (s) exactly max(1, round(duration * fps)) frames are taken and the sound is cut or padded to it;
    without one, all frames are taken, and the sound lasts as long. Odd sizes grow by one repeated row or column. The
    file appears under its name only when it is whole. The same input gives the same bytes, unless it is signed with
    `credentials`.
    `planes`: frames are luma and both chromas of the even size already, [H' * 3 / 2, W'] uint8, BT.709 in TV range.
    Raises OutputError (nothing is left behind) or UsageError.
    """
    check_output(path, force, (audio,) if audio else ())
    width, height = size
    even = (width + width % 2, height + height % 2)
    shape = (even[1] * 3 // 2, even[0]) if planes else (height, width, 3)
    coding = _coding(even, fps, crf, planes)
    expected = None if duration is None else max(1, round(duration * fps))
    written = 0
    with appearing_whole(path, force) as partial:
        argv = arguments(_output(partial, path.suffix, *coding, audio, duration, dict(metadata or SYNTHETIC)))
        argv = [part for part in argv if part != "-nostdin"]  # the pictures come in there
        with start(argv, stdin=subprocess.PIPE) as running:
            _enlarge_pipe(running)
            for frame in islice(frames, expected):
                assert frame.shape == shape and frame.dtype == np.uint8, (frame.shape, frame.dtype)
                _write_frame(running, frame if planes else _padded_to_even(frame), path)
                check_there(partial, path)
                written += 1
            _end_input(running, path)
        seal(partial, credentials)
        assert expected is None or written == expected, f"{written} frames for {expected}"
        size_on_disk = partial.stat().st_size
    return VideoReport(path, written, fps, *even, size_on_disk)


def write_in_segments(
    path: Path,
    frames: Callable[[int], Iterator[Array]],
    *,
    folder: Path,
    fps: Fraction,
    size: tuple[int, int],
    audio: Path | None,
    duration: float,
    crf: int = 18,
    force: bool = False,
    credentials: Credentials | None = None,
    planes: bool = False,
) -> VideoReport:
    """`write_video` that goes on where it was interrupted: `frames(k)` gives the frames from k on.

    Every SEGMENT seconds become a file in `folder`, which must be kept for the same frames only; those that are there
    are not made again. They are joined without coding again. A video of one segment is that of `write_video`.
    """
    step = SEGMENT * max(1, round(fps))  # of the usual rates a whole number of microseconds, which the list counts in
    total = max(1, round(duration * fps))
    if total <= step:
        whole = {"audio": audio, "duration": duration, "crf": crf, "force": force, "credentials": credentials}
        return write_video(path, frames(0), fps=fps, size=size, planes=planes, **whole)  # type: ignore[arg-type]
    check_output(path, force, (audio,) if audio else ())
    starts = range(0, total, step)
    parts = [folder / f"{first:08d}.mp4" for first in starts]
    ready = next((k for k, part in enumerate(parts) if not _is_whole(part)), len(parts))
    coming = frames(starts[ready]) if ready < len(parts) else iter(())
    for first, part in list(zip(starts, parts, strict=True))[ready:]:
        count = min(step, total - first)
        lasting = float(count / fps)
        write_video(part, coming, fps=fps, size=size, duration=lasting, crf=crf, force=True, planes=planes)
    listed = folder / "parts.txt"
    length = f"duration {float(step / fps):.6f}\n"
    listed.write_text("ffconcat version 1.0\n" + "".join(f"file {part.name}\n{length}" for part in parts), "utf-8")
    with appearing_whole(path, force) as partial:
        picture = ffmpeg.input(address(listed), format="concat", protocol_whitelist="file").video
        argv = arguments(_output(partial, path.suffix, picture, {"vcodec": "copy"}, audio, duration, dict(SYNTHETIC)))
        with start(argv) as running:
            if running.wait() != 0:
                raise _failure(running, path)
        seal(partial, credentials)
        size_on_disk = partial.stat().st_size
    width, height = size
    return VideoReport(path, total, fps, width + width % 2, height + height % 2, size_on_disk)


def _is_whole(part: Path) -> bool:
    """Whether a segment is there; a power cut may have left it short."""
    return part.exists() and part.stat().st_size > 0 and not cut_short(part)


def _coding(size: tuple[int, int], fps: Fraction, crf: int, planes: bool) -> tuple[Any, dict[str, Any]]:
    """Raw frames from a pipe as an ffmpeg-python stream, and how H.264 codes them."""
    kind = "yuv420p" if planes else "rgb24"
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt=kind, s=f"{size[0]}x{size[1]}", framerate=str(fps))
    bt709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "range": "tv"}
    if not planes:
        raw = raw.filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALING).filter("format", "yuv420p")
    preset, more = PRESET if size[0] * size[1] < MANY_PIXELS else LARGE_PRESET
    coding = {"vcodec": "libx264", "preset": preset, "x264-params": more, "crf": crf, "threads:v": X264_THREADS}
    return raw.filter("setparams", **bt709), coding


def _output(
    partial: Path,
    suffix: str,
    picture: Any,
    coding: dict[str, Any],
    audio: Path | None,
    duration: float | None,
    metadata: dict[str, str],
) -> Any:
    """The file: an ffmpeg-python picture stream and how it is coded, the sound of `audio`, what it says of itself."""
    streams = [picture]
    if audio is not None:
        # The same track and clock as read_audio: late sound is preceded by silence.
        sound = playable(audio, 48_000)
        if duration is None:  # as long as the pictures, with `shortest` below
            sound = sound.filter("apad")
        else:
            sound = sound.filter("apad", whole_dur=f"{duration:.6f}").filter("atrim", end=f"{duration:.6f}")
        streams.append(sound.filter("aformat", channel_layouts="mono|stereo"))
    options: dict[str, Any] = {
        "format": CONTAINERS[suffix.lower()],
        **coding,
        "movflags": "+faststart",
        "flags": "+bitexact",  # of the encoders; on the container it would drop the metadata
        "map_metadata": -1,
    }
    if audio is not None:
        options |= {"acodec": "aac", "audio_bitrate": "192k"}
        if duration is None:
            options["shortest"] = None
    # ffmpeg-python cannot repeat an option; a number after the specifier keeps the keys apart.
    options |= {f"metadata:g:{i}": f"{key}={value}" for i, (key, value) in enumerate(metadata.items())}
    return ffmpeg.output(*streams, address(partial), **options).overwrite_output()


def _padded_to_even(frame: Array) -> Array:
    rows, columns = frame.shape[0] % 2, frame.shape[1] % 2
    if rows or columns:
        frame = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _enlarge_pipe(running: Running) -> None:
    """Let the pipe hold more than a small frame, where that can be asked for: neither end waits as often."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(running.process.stdin, fcntl.F_SETPIPE_SZ, PIPE)  # type: ignore[arg-type]


def _write_frame(running: Running, frame: Array, path: Path) -> None:
    assert running.process.stdin is not None
    try:
        running.process.stdin.write(frame.data)
    except BrokenPipeError:
        running.wait()
        raise _failure(running, path) from None


def _end_input(running: Running, path: Path) -> None:
    assert running.process.stdin is not None
    with suppress(BrokenPipeError):
        running.process.stdin.close()
    if running.wait() != 0:
        raise _failure(running, path)


def _failure(running: Running, path: Path) -> OutputError:
    """What an ffmpeg that wrote `path` died of: its exit status is the system's error, negative, in eight bits."""
    code = 256 - running.process.returncode
    if code in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path} could not be written: the disk is full; free some space or choose another folder.")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{path} could not be written: {os.strerror(code)}; choose another folder.")
    return OutputError(f"{path} could not be written: ffmpeg stopped ({running.reason}).")
