"""Files become files: a photo and a recording a video, a photo an avatar file, a video a track."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from mggdub import checks, inpainting
from mggdub.animation.animate import animate
from mggdub.avatar.box import PREVIEW_SIZE, output_size
from mggdub.avatar.build import build_avatar
from mggdub.avatar.file import SUFFIX, appearing_ply, check_given, is_avatar, load_avatar, save_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import check_face, choose_face
from mggdub.geometry.camera import face_height, project
from mggdub.media.audio import read_audio, sound_notes, sound_of_video
from mggdub.media.demux import NotMedia
from mggdub.media.encode import write_in_segments, write_video
from mggdub.media.files import check_output
from mggdub.media.image import read_image
from mggdub.media.kinds import kind, named_track
from mggdub.media.provenance import Credentials, load_credentials
from mggdub.media.video import probe, read_video
from mggdub.models import BUILDING, DRAWING, HEARING, PLAYING, WATCHING, Models, choose_device, load_models
from mggdub.motion.driving import track_video
from mggdub.motion.limits import held_back
from mggdub.motion.prosody import ears_open
from mggdub.motion.speech import speech_track
from mggdub.motion.track import Performance, add_orbit, apply_options, fill_mouth_units, play_file, resample
from mggdub.motion.track_file import TrackFile, read_track, track_notes, unplayable_notes, write_track
from mggdub.options import AVATAR_OPTIONS, AvatarOptions, MotionOptions, RenderOptions, VideoOptions
from mggdub.progress import Progress, Stage, Stopwatch
from mggdub.reports import AvatarReport, Check, RenderReport, TrackReport, remarks
from mggdub.types import Array, ExpressionTrack, Photo, Waveform

APART = 0.5  # s between the ends of a speech and of what drives that are told


def render_file(
    photo: Path,
    speech: Path | None,
    output: Path,
    options: RenderOptions,
    progress: Progress,
    models: Models | None = None,
    parts: Path | None = None,
    named: frozenset[str] = frozenset(),
) -> RenderReport:
    """Dub `photo` with `speech`, or move it like `options.drive`, into the video `output`; returns the report.

    An avatar file may stand for the photo. A driven video lasts as long as what drives it and has its sound, if
    `speech` names no other. `models` are loaded unless they are given; in the folder `parts`, which is for this one
    video only, the work is kept if it is interrupted. `named` are the options that somebody gave, defaults included.
    Raises MggdubError.
    """
    clock = [time.perf_counter()]
    if not speech and not options.drive:
        raise UsageError("There is nothing to say: give a recording of speech, or a driving video or track.")
    check_output(output, options.force, tuple(p for p in (photo, speech, options.drive) if p))
    device = choose_device(options.device)
    credentials = _credentials(options)
    picture = _read_head(photo, options, named)
    sound = _sound_of(speech, options.drive)
    played = read_track(options.drive) if options.drive and named_track(options.drive) else None
    if isinstance(picture, Photo):
        inpainting.prepare(options.inpainter, progress)
    with nullcontext() if options.drive else ears_open():
        progress(Stage.LOAD, 0, 1)
        models = models or load_models()
        models.load((*_needed_by(picture, options, played), *DRAWING))
        clock.append(time.perf_counter())
        avatar = _as_avatar(picture, photo, models, options, progress)
    clock.append(time.perf_counter())
    progress(Stage.DRIVE if options.drive else Stage.SPEECH, 0, 1)
    performance = _perform(sound, models, options, progress, played)
    performance = replace(performance, track=add_orbit(performance.track, options.orbit, performance.seconds))
    track = performance.track
    notes = _notes(picture, avatar, options, played) + _about_sound(speech, options.drive, sound, performance.seconds)
    clock.append(time.perf_counter())
    watch, stopwatch = checks.FrameStats.of(avatar, len(track)), Stopwatch()
    frames = partial(_watched, avatar, models, track, device, bool(options.drive), watch, stopwatch, progress)
    height, width = avatar.image.shape[:2]
    write = partial(write_in_segments, frames=frames, folder=parts) if parts else partial(write_video, frames=frames())
    write(
        output,
        fps=options.fps,
        size=(width, height),
        audio=speech or (options.drive if sound else None),
        duration=performance.seconds,
        crf=options.crf,
        force=options.force,
        credentials=credentials,
        planes=True,
    )
    clock.append(time.perf_counter())
    spoken = None if options.drive else sound
    checked = checks.run_checks(watch, output, float(options.fps), track, models.expression, spoken)
    return _report(output, options, device, avatar, performance, tuple(notes), checked, clock, stopwatch)


def avatar_file(
    photo: Path,
    output: Path,
    ply: Path | None,
    options: RenderOptions,
    progress: Progress,
    models: Models | None = None,
) -> AvatarReport:
    """Write the head of `photo` as an avatar file and its Gaussians as `ply`; the report. Raises MggdubError."""
    clock = time.perf_counter()
    check_output(output, options.force, (photo,), (SUFFIX,))
    if ply:
        check_output(ply, options.force, (photo, output), (".ply",))
    picture = _read_picture(photo, options)
    inpainting.prepare(options.inpainter, progress)
    progress(Stage.LOAD, 0, 1)
    models = models or load_models()
    models.load(BUILDING)
    avatar = _as_avatar(picture, photo, models, options, progress)
    with appearing_ply(ply, avatar, options.force) if ply else nullcontext() as splats:  # both files, or none
        save_avatar(output, avatar, {"options": {k: getattr(options, k) for k in AVATAR_OPTIONS}}, options.force)
    height, width = avatar.image.shape[:2]
    return AvatarReport(
        output=str(output),
        ply=str(ply) if ply else None,
        gaussians=len(avatar.gaussians),
        splats=splats,
        advice=avatar.advice,
        size=(width, height),
        inpainter=avatar.inpainter,
        bytes=output.stat().st_size,
        seconds=round(time.perf_counter() - clock, 3),
    )


def track_file(
    source: Path, output: Path, options: RenderOptions, progress: Progress, named: tuple[str, ...] = ()
) -> TrackReport:
    """Write the track of a video, or what the speech model makes of a recording, as CSV.

    `named` are options that somebody gave which are of a recording's track only. Raises MggdubError.
    """
    check_output(output, options.force, (source,), (".csv",))
    watched = _has_picture(source)
    if watched and named:
        raise UsageError(f"--{named[0]} is for recordings; {source} is a video and has its own, so leave it out.")
    progress(Stage.LOAD, 0, 1)
    notes: list[str] = []
    models = load_models()
    if watched:
        models.load(WATCHING)
        progress(Stage.DRIVE, 0, 1)
        performance = track_video(source, models, progress)
        notes = list(performance.notes)
    else:
        sound = read_audio(source)
        models.load(HEARING)
        notes = sound_notes(source, sound)
        progress(Stage.SPEECH, 0, 1)
        performance = _perform(sound, models, options, progress)
        performance = replace(performance, track=fill_mouth_units(performance.track, models.expression))
    write_track(output, performance.track, options.force)
    notes += unplayable_notes(output, performance.track.times)
    cuts = len(performance.cuts)
    return TrackReport(
        output=str(output),
        frames=len(performance.track),
        seconds=round(performance.seconds, 3),
        held=performance.held,
        cuts=cuts,
        heard=performance.heard,
        notes=tuple(notes),
        remarks=remarks(source, cuts, performance.held, 0, (), tuple(notes)),
    )


def check_head(path: Path, options: AvatarOptions, faces: FaceFinder) -> None:
    """Raises UsageError or InputError if no head can be made of a photo or an avatar file; builds nothing."""
    read = _read_head(path, options)
    if isinstance(read, Photo):
        try:
            face = choose_face(faces.find(read.pixels), options.face)
            check_face(face, read.size)
            output_size(read.size, face_height(face.landmarks), options)
            inpainting.check(options.inpainter)
        except MggdubError as error:
            raise type(error)(f"{path}: {error}") from error


def playing_time(speech: Path | None, drive: Path | None) -> float:
    """Seconds of the video that these will make. Raises UsageError or InputError if they cannot be read."""
    sound = _sound_of(speech, drive)
    if drive is None:
        return sound.duration if sound else 0.0
    if named_track(drive):
        return float(read_track(drive).track.times[-1])
    next(read_video(drive))
    return probe(drive).duration


def _read_head(path: Path, options: AvatarOptions, named: frozenset[str] = frozenset()) -> Photo | HeadAvatar:
    """What stands for the head: a picture, or an avatar file, whose own options must not be contradicted.

    Those that were `named`, or are not the defaults, may be repeated, but not changed.
    """
    if is_avatar(path):
        avatar, about = load_avatar(path)
        values = {name: getattr(options, name) for name in AVATAR_OPTIONS}
        given = {k: v for k, v in values.items() if k in named or v != getattr(AvatarOptions, k)}
        check_given(path, about, given)
        return avatar
    return _read_picture(path, options)


def _read_picture(path: Path, options: AvatarOptions) -> Photo:
    picture = read_image(path)
    if options.background_color and picture.alpha is None:
        raise UsageError(f"{path} has nothing transparent that a colour could fill; leave out --background.")
    return picture


def _credentials(options: VideoOptions) -> Credentials | None:
    """Those that sign the video, if it is to be signed. Raises InputError or UsageError."""
    cert, key = options.c2pa_cert, options.c2pa_key
    return load_credentials(cert, key) if cert and key else None


def _sound_of(speech: Path | None, drive: Path | None) -> Waveform | None:
    """What is heard in a video: the speech, or what a driving video has of sound. Raises UsageError or InputError."""
    if drive and not named_track(drive):
        probe(drive)  # what is no video is told as such, and before a head is built
    if speech:
        return read_audio(speech)
    return sound_of_video(drive) if drive and not named_track(drive) else None


def _has_picture(path: Path) -> bool:
    try:
        return bool(probe(path))
    except InputError as error:  # if it is no sound either, reading it as such will say so
        what = kind(path)
        if what == "picture" or (what == "video" and isinstance(error.__cause__, NotMedia)):
            raise
        return False


def _needed_by(picture: Photo | HeadAvatar, options: MotionOptions, played: TrackFile | None) -> tuple[str, ...]:
    """The networks that a head and its track are made with; `played` as in `_perform`."""
    tracking = HEARING if not options.drive else PLAYING if played else WATCHING
    return (*BUILDING, *tracking) if isinstance(picture, Photo) else tracking


def _as_avatar(
    read: Photo | HeadAvatar, path: Path, models: Models, options: AvatarOptions, progress: Progress
) -> HeadAvatar:
    if isinstance(read, HeadAvatar):
        return read
    progress(Stage.PHOTO, 0, 1)
    try:
        return build_avatar(read, models, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _perform(
    sound: Waveform | None,
    models: Models,
    options: MotionOptions,
    progress: Progress,
    played: TrackFile | None = None,
) -> Performance:
    """What `options.drive` says the head does, or what the speech model makes of the sound, at the video's rate.

    `played` is the track file of `options.drive`, if it is one and has been read.
    """
    if options.drive:
        driver = play_file(played, models.expression) if played else track_video(options.drive, models, progress)
        limited = held_back(driver.track) if options.liveliness else 0
        return replace(driver, track=apply_options(resample(driver, float(options.fps)), options), limited=limited)
    assert sound is not None, "neither speech nor a driving video"
    track, prosody = speech_track(sound, models, options)
    return Performance(track, sound.duration, heard=prosody.summary())


def _watched(
    avatar: HeadAvatar,
    models: Models,
    track: ExpressionTrack,
    device: str,
    relative: bool,
    watch: checks.FrameStats,
    stopwatch: Stopwatch,
    progress: Progress,
    start: int = 0,
) -> Iterator[Array]:
    """The frames from `start` on; every one is seen by the checks and told."""
    frames = animate(avatar, models, track, device, relative, start, stopwatch, planes=True)
    for index, frame in enumerate(frames, start):
        watch.see(index, frame)
        progress(Stage.RENDER, index + 1, len(track))
        yield frame


def _notes(read: Photo | HeadAvatar, avatar: HeadAvatar, options: RenderOptions, played: TrackFile | None) -> list[str]:
    """What to say of the times of a track, and of a preview whose size is not the usual one."""
    notes = track_notes(options.drive, played) if options.drive and played else []
    height, width = avatar.image.shape[:2]
    if isinstance(read, HeadAvatar) or not options.preview or options.size or max(width, height) <= 2 * PREVIEW_SIZE:
        return notes
    box = avatar.box
    marks = project(avatar.mesh, avatar.camera) * (box.width / box.render_width)
    high = face_height(np.concatenate([marks, np.zeros((len(marks), 1), np.float32)], 1))
    return [
        *notes,
        f"The preview has {width}x{height} pixels, so that the face is {high:.0f} pixels high; --size sets another.",
    ]


def _about_sound(speech: Path | None, drive: Path | None, sound: Waveform | None, seconds: float) -> list[str]:
    """What to say of what is heard, and of sound that is longer or shorter than what drives: the video lasts as long
    as the latter's pictures or lines.
    """
    playing = speech or drive
    notes = sound_notes(playing, sound) if playing and sound else []
    if not drive or not sound or abs(sound.duration - seconds) < APART:
        return notes
    lost = "the rest of it is not heard" if sound.duration > seconds else "the video ends in silence"
    which, other = (speech, drive) if speech else (f"The sound of {drive}", "its picture")
    return [f"{which} lasts {sound.duration:.1f} s and {other} {seconds:.1f} s; {lost}.", *notes]


def _still_lips(modes: Array, emotion: str) -> bool:
    """Whether lips [T, 8] never leave their rest, which is where they are held with an emotion."""
    return bool((modes == modes[0]).all()) if emotion != "neutral" and len(modes) > 1 else not modes.any()


def _report(
    output: Path,
    options: RenderOptions,
    device: str,
    avatar: HeadAvatar,
    performance: Performance,
    notes: tuple[str, ...],
    checked: dict[str, Check],
    clock: list[float],
    stopwatch: Stopwatch,
) -> RenderReport:
    """`clock`: when the job began, and when it had loaded, built, listened and rendered."""
    height, width = avatar.image.shape[:2]
    cuts, notes = len(performance.cuts), tuple(dict.fromkeys((*performance.notes, *notes)))
    parts = zip(("load", "photo", "speech", "render"), pairwise(clock), strict=True)
    times = {name: end - start for name, (start, end) in parts} | stopwatch.seconds
    return RenderReport(
        output=str(output),
        frames=len(performance.track),
        fps=float(options.fps),
        seconds=round(performance.seconds, 3),
        size=(width, height),
        gaussians=len(avatar.gaussians),
        inpainter=avatar.inpainter,
        device=device,
        silent=not options.drive and _still_lips(performance.track.lip_modes, options.emotion),
        emotion=options.emotion,
        held=performance.held,
        cuts=cuts,
        motion=options.liveliness,
        gaze=options.gaze,
        heard=performance.heard,
        limited=performance.limited,
        missing=performance.missing,
        advice=avatar.advice,
        notes=notes,
        remarks=remarks(options.drive, cuts, performance.held, performance.limited, performance.missing, notes),
        checks=checked,
        times={name: round(seconds, 3) for name, seconds in times.items()},
    )
