"""Moving pictures in: one ffmpeg process each, frames through a pipe, memory of one frame."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from mggdub.errors import InputError
from mggdub.media import cicp
from mggdub.media.demux import MOST_PIXELS, SIMPLE, FirstPicture, NotMedia, contents, first_picture, raw_frames
from mggdub.media.files import check_input, scratch
from mggdub.media.process import arguments, source, start
from mggdub.media.unread import no_media
from mggdub.media.whole import cut_short
from mggdub.options import parse_fps
from mggdub.types import Array

USUAL = Fraction(25)  # fps of pictures whose container does not say
SAME_SHAPE = 0.97  # of a width or a height; what is rounded differs by less
SCALING = "bicubic+accurate_rnd+full_chroma_int"


@dataclass(frozen=True)
class VideoInfo:
    """What the container and the first picture say of the pictures that a player would show."""

    width: int  # px as seen: turned upright, pixels square
    height: int
    fps: Fraction
    duration: float  # s, 0 if the container does not say
    has_audio: bool
    rotation: int  # degrees the stored pictures are turned by; reading undoes it
    colours: cicp.Points  # of the stored pictures; reading makes them sRGB
    interlaced: bool  # so are the stored pictures; reading fills in the lines
    index: int  # of their stream in the file
    shift: float  # s to add to ffmpeg's stamps of them


def probe(path: Path) -> VideoInfo:
    """Size, rate, duration of the moving picture of a file. Raises UsageError or InputError."""
    try:
        media = contents(check_input(path))
        picture = first_picture(path, media.pictures[0].index) if media.pictures else None
    except NotMedia as problem:
        raise _no_video(path, problem.refused) from problem
    if not media.pictures:
        raise _no_video(path, refused=False)
    if picture is None:
        raise _undecodable(path)
    track = media.pictures[0]
    width, height = _upright(path, picture)
    return VideoInfo(
        width=width,
        height=height,
        fps=_plain_rate(track.fps),
        duration=media.duration,
        has_audio=bool(media.sounds),
        rotation=picture.rotation,
        colours=picture.colours,
        interlaced=picture.interlaced,
        index=track.index,
        shift=track.shift,
    )


def _no_video(path: Path, refused: bool) -> InputError:
    if named := no_media(path, "video"):
        return named
    if notes := cut_short(path):
        return InputError(notes[0])
    if refused:
        return InputError(
            f"{path} is of a kind that is not read as a video (a playlist, an animated WebP ...); convert it to MP4."
        )
    return InputError(f"{path} holds no video; give a file that plays elsewhere, such as MP4 or MOV.")


def _undecodable(path: Path) -> InputError:
    return InputError(
        f"{path} holds no picture that can be decoded (it is damaged, of a rare kind, or larger than 8192x4320); "
        "convert it to MP4 first."
    )


def _upright(path: Path, picture: FirstPicture) -> tuple[int, int]:
    """(width, height) px as seen."""
    width, height = max(1, round(picture.width * picture.aspect)), picture.height
    if width * height > MOST_PIXELS:
        raise InputError(f"{path} has pictures of {width}x{height} pixels; shrink it to 8192x4320 or less.")
    return (height, width) if abs(picture.rotation) in (90, 270) else (width, height)


def _plain_rate(fps: Fraction | None) -> Fraction:
    """A rate that was measured instead of set is rounded, NTSC's to what is meant."""
    if fps is None or fps.denominator <= SIMPLE:
        return fps or USUAL
    return parse_fps(f"{float(fps):.2f}") or fps.limit_denominator(SIMPLE) or USUAL


def read_video(path: Path) -> Iterator[tuple[float, Array]]:
    """(time stamp in s, frame [H, W, 3] uint8 sRGB) in order; the stamp is when the frame appears.

    Stamps are the container's own, counted from the start of the file as `read_audio` counts. Raises
    UsageError or InputError.
    """
    info = probe(path)
    with _srgb(source(path, info.index, info.shift), info) as frames:
        yield from _pictures(path, frames, info)


@contextmanager
def _srgb(stored: Any, info: VideoInfo) -> Iterator[Any]:
    """An ffmpeg-python stream of whole pictures in square pixels, wide and bright colours as in photos."""
    if info.interlaced:
        stored = stored.filter("bwdif", mode="send_frame", deint="interlaced")
    frames = _fitted(stored, info.width, info.height)
    if not cicp.differs(info.colours):
        yield _framed(frames, info)
        return
    with scratch() as folder:
        table = folder / "to_srgb.cube"
        table.write_text(cicp.table(info.colours), "ascii")
        yield _framed(frames.filter("format", "gbrp12").filter("lut3d", file=str(table)), info)


def _fitted(stored: Any, width: int, height: int) -> Any:
    """Pictures of this size (px), or as much of it as those fill that ffmpeg crops as their container asks."""
    wide, high = f"iw*sar*{height}/ih", f"ih*{width}/(iw*sar)"
    fit = {
        "w": f"if(gt({wide},{width * SAME_SHAPE}),{width},max(1,round({wide})))",
        "h": f"if(gt({high},{height * SAME_SHAPE}),{height},max(1,round({high})))",
    }
    return stored.filter("scale", **fit, flags=SCALING)


def _framed(frames: Any, info: VideoInfo) -> Any:
    """In RGB, with black beside what does not fill the size."""
    middle = {"x": "(ow-iw)/2", "y": "(oh-ih)/2"}
    return frames.filter("format", "rgb24").filter("pad", info.width, info.height, **middle)


def _pictures(path: Path, frames: Any, info: VideoInfo) -> Iterator[tuple[float, Array]]:
    """What an ffmpeg-python stream gives of a file: (time stamp in s, frame [H, W, 3] uint8)."""
    # NUT, since it keeps the stamps beside the pictures; they stay as they are.
    stamps = {"fps_mode": "passthrough", "enc_time_base": "demux", "avoid_negative_ts": "disabled", "map_metadata": -1}
    argv = arguments(frames.output("pipe:1", format="nut", vcodec="rawvideo", pix_fmt="rgb24", **stamps))
    count = 0
    with start(argv, stdout=subprocess.PIPE) as running:
        assert running.process.stdout is not None
        for stamp, frame in raw_frames(running.process.stdout, info.width, info.height):
            yield stamp, frame
            count += 1
    if count == 0:
        raise _undecodable(path)


def thumbnail(path: Path, seconds: float, height: int = 96) -> bytes:
    """The frame at a time, small, as a JPEG. Raises InputError."""
    small = source(path, probe(path).index, ss=f"{seconds:.3f}").filter("scale", -2, height)
    argv = arguments(small.output("pipe:1", vframes=1, format="image2pipe", vcodec="mjpeg", **{"q:v": 6}))
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise InputError(f"{path} shows nothing at {seconds:.3f} s; render it again.")
    return done.stdout
