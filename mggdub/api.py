"""What `import mggdub` offers. Every function here is a few lines around what the commands call, too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from fractions import Fraction
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mggdub import inpainting, jobs
from mggdub.animation import animate as animation
from mggdub.avatar import build, file
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError, UsageError
from mggdub.evaluation.summary import Measurement
from mggdub.evaluation.video import evaluate_file
from mggdub.inspection import inspect_file
from mggdub.media import kinds
from mggdub.media.audio import SAMPLE_RATE, read_audio
from mggdub.media.encode import write_video as write_frames
from mggdub.media.files import check_input
from mggdub.media.image import read_image
from mggdub.models import Models, choose_device, load_models
from mggdub.motion import speech as speaking
from mggdub.motion import track_file
from mggdub.motion.driving import track_video
from mggdub.motion.limits import bounded, eased
from mggdub.motion.track import play_file
from mggdub.options import AVATAR_OPTIONS, MotionOptions, RenderOptions, changed, check_used, parse_fps
from mggdub.progress import Progress, silent
from mggdub.reports import AvatarReport, RenderReport
from mggdub.types import Array, ExpressionTrack, Photo, Waveform

__all__ = [
    "animate",
    "build_avatar",
    "evaluate",
    "inspect",
    "load_avatar",
    "load_models",
    "read_track",
    "render",
    "speech_track",
    "video_track",
    "write_avatar",
    "write_video",
]
Kind = TypeVar("Kind")
ALL_OPTIONS = tuple(field.name for field in fields(RenderOptions))
SPEECH_OPTIONS = tuple(field.name for field in fields(MotionOptions) if field.name not in ("drive", "orbit"))
AnyPath = str | PathLike[str]
Rate = str | float | Fraction  # frames per second: 25, 29.97, "30000/1001"


def render(
    photo: AnyPath,
    speech: AnyPath | None,
    output: AnyPath,
    *,
    models: Models | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> RenderReport:
    """Dub a photo with speech, or move it like a driver (`drive=`), into a video; what `mggdub render` does.

    photo is a picture or an avatar file, speech a recording or a video with sound, None with a driver; options are
    those of the command with underscores. `progress(stage, done, total)` is told how far it is. Raises MggdubError.

        >>> report = mggdub.render("photo.jpg", "speech.wav", "render.mp4", size=128, motion="still", force=True)
        >>> report.frames, report.size, report.checks["ends"].ok
        (6, (128, 128), True)
    """
    heard = _path("speech", speech) if speech is not None else None
    chosen = _options(options)
    head, target = _path("photo", photo), _path("output", output)
    _all_there(head, heard, chosen.drive)
    kinds.check_render(head, heard, chosen.drive)
    return jobs.render_file(head, heard, target, chosen, progress or silent, _loaded(models))


def write_avatar(
    photo: AnyPath, output: AnyPath, *, ply: AnyPath | None = None, models: Models | None = None, **options: Any
) -> AvatarReport:
    """Build the head of a photo once, as an `.mgg` file, and its Gaussians as a PLY; what `mggdub avatar` does.

    options: preview, size (px), face, background, inpainter, force. Raises MggdubError.

        >>> mggdub.write_avatar("photo.jpg", "head.mgg", size=128, force=True).size
        (128, 128)
    """
    splats = _path("ply", ply) if ply is not None else None
    chosen = _options(options, (*AVATAR_OPTIONS, "force"))
    picture, target = _path("photo", photo), _path("output", output)
    kinds.check_portrait(check_input(picture))
    return jobs.avatar_file(picture, target, splats, chosen, silent, _loaded(models))


def build_avatar(photo: AnyPath | Photo | Array, models: Models, **options: Any) -> HeadAvatar:
    """The moving head of a photo, whose pixels [H, W, 3] uint8 sRGB may be given as they are.

    options: preview, size (px), face, background, inpainter. Raises MggdubError.

        >>> models = mggdub.load_models()
        >>> avatar = mggdub.build_avatar("photo.jpg", models, size=128)
        >>> avatar.image.shape
        (128, 128, 3)
    """
    chosen = _options(options, AVATAR_OPTIONS)
    models, picture = _of_kind("models", models, Models), _picture(photo)
    if chosen.background_color and picture.alpha is None:
        raise UsageError("The photo has no transparent background to fill; leave out background.")
    inpainting.prepare(chosen.inpainter, silent)
    return build.build_avatar(picture, models, chosen)


def load_avatar(path: AnyPath) -> HeadAvatar:
    """The head of an `.mgg` file. Raises UsageError or InputError (damaged, of another version, no avatar).

    >>> len(mggdub.load_avatar("head.mgg").gaussians) > 1000
    True
    """
    return file.load_avatar(_path("path", path))[0]


def speech_track(speech: AnyPath | Waveform, models: Models, fps: Rate = 25, **options: Any) -> ExpressionTrack:
    """What a head does while this is said: T frames at `fps`, lips absolute, the rest on top of the photo's own.

    With gaze='camera', `animate` brings the eyes of a photo that looks past the camera to it, as the command does.
    options: motion, gaze, pose, blink, mouth_scale, expression_scale, emotion, emotion_strength, seed. Raises
    MggdubError.

        >>> track = mggdub.speech_track("speech.wav", models, fps=25, seed=3)
        >>> track.lip_modes.shape, track.rotation.shape
        ((6, 8), (6, 3))
    """
    chosen = _options({**options, "fps": fps}, SPEECH_OPTIONS)
    or_else = " or a Waveform"
    sound = _sound(speech) if isinstance(speech, Waveform) else _heard(_path("speech", speech, or_else))
    return speaking.speech_track(sound, _of_kind("models", models, Models), chosen)[0]


def video_track(video: AnyPath, models: Models) -> ExpressionTrack:
    """Expression, pose and torso of the largest face of a driving video, a value a frame of it, for `relative=True`.

    Pose (degrees, cm) and expression are relative to its first frame, and the head goes no farther than a photo bears.
    Raises UsageError or InputError (no face).

        >>> len(mggdub.video_track("render.mp4", models))
        6
    """
    kinds.check_source(source := check_input(_path("video", video)))
    driver = track_video(source, _of_kind("models", models, Models))
    return bounded(eased(driver.track, driver.cuts))


def read_track(path: AnyPath, models: Models) -> ExpressionTrack:
    r"""A track file (CSV, or an export of Live Link Face), for `relative=True`; the head goes as far as a photo bears.

    Raises UsageError or InputError.

    >>> with open("nod.csv", "w") as file:
    ...     _ = file.write("time_s,jawOpen,pitch_deg\n0.02,0,0\n0.06,0.5,4\n")
    >>> mggdub.read_track("nod.csv", models).rotation[:, 0].tolist()
    [0.0, 4.0]
    """
    played = track_file.read_track(_path("path", path))
    return bounded(play_file(played, _of_kind("models", models, Models).expression).track)


def animate(
    avatar: HeadAvatar, track: ExpressionTrack, models: Models, *, relative: bool = False, device: str = "auto"
) -> Iterator[Array]:
    """Frames [H, W, 3] uint8 of the photo with its head following a track, one after the other.

    `relative`: the first frame of the track is the photo's own expression (driving videos and track files). Raises
    UsageError for a track without frames and for a device ('auto', 'cpu', 'cuda') that cannot be used.

        >>> frames = list(mggdub.animate(avatar, track, models))
        >>> len(frames), frames[0].shape, frames[0].dtype
        (6, (128, 128, 3), dtype('uint8'))
    """
    device = choose_device(device)
    _of_kind("avatar", avatar, HeadAvatar)
    _of_kind("models", models, Models)
    _of_kind("relative", relative, bool)
    if not len(_of_kind("track", track, ExpressionTrack)):
        raise UsageError("The track has no frames; give at least one.")
    values = [np.asarray(getattr(track, field.name)) for field in fields(ExpressionTrack)]
    if not all(array.dtype.kind in "fiub" and np.isfinite(array).all() for array in values):
        raise UsageError("The track holds other values than finite numbers; a missing one is 0.")
    return animation.animate(avatar, models, track, device, relative)


def write_video(
    output: AnyPath,
    frames: Iterable[Array],
    fps: Rate = 25,
    audio: AnyPath | None = None,
    *,
    crf: int = 18,
    force: bool = False,
) -> Path:
    """Frames [H, W, 3] uint8 as an MP4, with the sound of a file, marked as synthetic; the path.

    It appears when it is whole, and lasts as long as the frames. Raises MggdubError.

        >>> mggdub.write_video("frames.mp4", frames, fps=25, audio="speech.wav", force=True).name
        'frames.mp4'
    """
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise InputError("There are no frames to write; give at least one.")
    alike = _alike(chain([first], stream))
    height, width = np.shape(first)[:2] if np.ndim(first) == 3 else (0, 0)
    sound = _path("audio", audio) if audio is not None else None
    if sound:
        kinds.check_speech(check_input(sound))
    chosen = _options({"fps": fps, "crf": crf, "force": force})
    target = _path("output", output)
    write_frames(target, alike, fps=chosen.fps, size=(width, height), audio=sound, crf=chosen.crf, force=force)
    return target


def inspect(source: AnyPath) -> dict[str, Any]:
    """What a photo or a recording holds, and whether it will work, as `inspect --json` says it. Raises MggdubError.

    >>> mggdub.inspect("photo.jpg")["verdict"] in ("good", "usable")
    True
    """
    kinds.check_inspected(given := check_input(_path("source", source)))
    return inspect_file(given)


def evaluate(
    video: AnyPath, reference: AnyPath | None = None, photo: AnyPath | None = None, *, progress: Progress | None = None
) -> Measurement:
    """Figures of a talking-head video, against a true clip and a photo where they are given. Raises MggdubError.

    >>> mggdub.evaluate("render.mp4").numbers["frames"]
    6.0
    """
    truth = _path("reference", reference) if reference is not None else None
    origin = _path("photo", photo) if photo is not None else None
    clip = _path("video", video)
    _all_there(clip, truth, origin)
    kinds.check_measured(clip, truth, origin)
    return evaluate_file(clip, truth, origin, progress or silent)


def _path(name: str, given: Any, or_else: str = "") -> Path:
    """Raises TypeError for what is no path of a file, nor what may be given `or_else`, UsageError for an empty one."""
    if not isinstance(given, bytes | str | PathLike):
        raise TypeError(f"{name} is a {type(given).__name__}; give the path of a file{or_else}")
    if not (path := os.fsdecode(given)):
        raise UsageError(f"{name} is empty; give the path of a file.")
    return Path(path)


def _all_there(*paths: Path | None) -> None:
    for path in filter(None, paths):
        check_input(path)


def _heard(path: Path) -> Waveform:
    kinds.check_speech(check_input(path))
    return read_audio(path)


def _of_kind(name: str, value: Kind, kind: type[Kind]) -> Kind:
    """Raises TypeError for a value of another kind, such as arguments in another order."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}, expected {kind.__name__}")
    if isinstance(value, Models):
        value.load(())  # which says whether it can be used
    return value


def _loaded(models: Models | None) -> Models | None:
    return None if models is None else _of_kind("models", models, Models)


def _picture(given: AnyPath | Photo | Array) -> Photo:
    """Raises TypeError, UsageError for an array that is no picture, or what reading it raises."""
    if isinstance(given, Photo):
        return given
    if not isinstance(given, np.ndarray):
        return read_image(_path("photo", given, " or an array [H, W, 3] uint8, such as numpy.asarray(picture)"))
    try:
        return Photo(given)
    except ValueError as error:
        raise UsageError(f"The photo is no picture [H, W, 3] uint8: {error}.") from error


def _sound(given: Waveform) -> Waveform:
    """Raises UsageError for samples that the speech model does not take."""
    if given.sample_rate != SAMPLE_RATE:
        raise UsageError(f"The sound has {given.sample_rate} samples a second; resample it to {SAMPLE_RATE} first.")
    kind = given.samples.dtype.kind if isinstance(given.samples, np.ndarray) else ""
    if kind != "f" or not np.isfinite(given.samples).all():
        raise UsageError("The sound holds other samples than an array of finite floats; scale it to -1..1.")
    if not len(given.samples):
        raise InputError("The sound holds no samples; give at least one.")
    return given


def _alike(frames: Iterable[Array]) -> Iterator[Array]:
    """Frames of one size. Raises UsageError."""
    size: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        shape = np.shape(frame)
        if getattr(frame, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            given = f"{list(shape)} {getattr(frame, 'dtype', type(frame).__name__)}"
            raise UsageError(f"Frame {index} is {given}; give arrays [H, W, 3] uint8.")
        if shape != (size := size or shape):
            raise UsageError(f"Frame {index} is {shape[1]}x{shape[0]} px, the first is {size[1]}x{size[0]}.")
        yield frame


def _options(given: dict[str, Any], known: Iterable[str] = ALL_OPTIONS) -> RenderOptions:
    """Options by keyword; paths may be texts, rates and faces numbers, and yes and no numpy's.

    Raises UsageError, also for those that change nothing beside the others, or TypeError for those that are unknown,
    or play no part in what is called.
    """
    given = {name: bool(value) if isinstance(value, np.bool_) else value for name, value in given.items()}
    if unknown := sorted(given.keys() - set(known)):
        raise TypeError(f"there is no option {unknown[0]!r} here; choose from {', '.join(sorted(known))}")
    paths = {
        name: _path(name, given[name]) for name in ("drive", "c2pa_cert", "c2pa_key") if given.get(name) is not None
    }
    rate = {"fps": parse_fps(str(given["fps"]))} if "fps" in given else {}
    face = {"face": str(given["face"])} if "face" in given else {}
    chosen = RenderOptions(**{**given, **paths, **rate, **face})
    check_used(chosen, changed(chosen, given))
    return chosen
