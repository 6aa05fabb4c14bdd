"""Where the rooms meet: a photo becomes an avatar, speech becomes a track, both become a video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mggdub import checks
from mggdub.avatar import SUFFIX, check_given, is_avatar, load_avatar, save_avatar, write_ply
from mggdub.config import AVATAR_OPTIONS, RenderOptions
from mggdub.drive import (
    Drive,
    Eyes,
    from_file,
    onto_photo,
    orbiting,
    read_drive,
    resample,
    styled,
    track_video,
    with_mouth_units,
)
from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.geometry.camera import face_height, project
from mggdub.media.audio import read_audio, sound_notes
from mggdub.media.image import read_image
from mggdub.media.provenance import load_credentials
from mggdub.media.track import TrackFile, read_track, write_track
from mggdub.media.video import check_output, probe, read_video, write_in_segments, write_video
from mggdub.models import deform, expression, torso
from mggdub.models.head import spread, states
from mggdub.models.limits import held_back
from mggdub.models.mouth import own_share, paint_mouth
from mggdub.models.speech import speech_track
from mggdub.perception.face import FaceFinder, check_face, choose_face
from mggdub.perception.geometry import load_geometry
from mggdub.reconstruct import PREVIEW_SIZE, Models, build_avatar, load_models, output_size
from mggdub.render.composite import Backdrop, composite
from mggdub.render.rasterize import rasterize, render_frame
from mggdub.types import (
    BLENDSHAPES,
    DRIVERS,
    LIP_MODES,
    Array,
    Camera,
    ExpressionTrack,
    Gaussians,
    HeadAvatar,
    Photo,
    Waveform,
)

EASE = 0.3  # s in which the photo's own expression gives way to the track
LID_SHOWS = 0.2  # of a blink, after which the folded lid is opaque
Progress = Callable[[str, int, int], None]


# --- animation -------------------------------------------------------------------------------------------------------


def choose_device(wanted: str) -> str:
    """'cpu' or 'cuda'. Raises UsageError if CUDA is asked for and cannot be used."""
    usable = torch.cuda.is_available() and find_spec("gsplat") is not None
    if wanted == "cuda" and not usable:
        raise UsageError("--device cuda needs a CUDA build of torch and gsplat; pip install 'mggdub[cuda]' or use cpu.")
    return "cuda" if usable and wanted != "cpu" else "cpu"


def _draw(fields: tuple[Array, Array, Array, Array, Array], camera: Camera, device: str) -> tuple[Array, Array]:
    """Premultiplied colours [h, w, 3] and alphas [h, w] of one frame."""
    if device == "cpu":
        return render_frame(*fields, camera)
    drawn = rasterize(Gaussians(*(torch.from_numpy(field).to(device) for field in fields)), camera)
    return drawn.colors.cpu().numpy(), drawn.alphas.cpu().numpy()


@dataclass(frozen=True, eq=False)
class Moment:
    """What a head does in one frame, before the learned bases play a part."""

    displacement: Array  # [478, 3] cm, of the mesh from the photo's own
    growth: Array  # [478] of the splats
    rotation: Array  # [3] degrees
    translation: Array  # [3] cm
    sway: Array  # [3, 4] of `torso.sway`
    state: Array  # [42] what weighs the bases
    opacities: Array  # [N]
    mouth: tuple[Array, Array]  # colours [M, 3] and radii [M] cm of the mouth's points


def moments(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False, start: int = 0
) -> Iterator[Moment]:
    """A track as this head plays it, from frame `start` on; `relative` as in `animate`."""
    basis = models.expression
    photo_motion = expression.vertex_motion(basis, avatar.drivers)
    gains = expression.lid_gains(basis, avatar.mesh - photo_motion)
    edges = deform.mesh_edges(deform.open_triangles(basis.triangles))
    resting = deform.lengths(avatar.mesh, edges)
    opacities = avatar.gaussians.opacities.numpy()
    played = onto_photo(basis, avatar.drivers, track) if relative else _eased(avatar, track)
    frames = list(zip(played, track.rotation, track.translation, track.torso, strict=True))
    for drivers, rotation, translation, body in frames[start:]:
        state = states(rotation, translation, body, drivers, avatar.drivers)
        closing = drivers[list(expression.BLINKS)]
        drivers[list(expression.BLINKS)] *= gains
        displacement = expression.vertex_motion(basis, drivers) - photo_motion
        shown = opacities.copy()
        shown[avatar.own_mouth] *= own_share(displacement)
        for lid, amount, own in zip(avatar.lids, closing, avatar.drivers[list(expression.BLINKS)], strict=True):
            shown[lid] *= np.clip((amount - own) / LID_SHOWS, 0, 1)
        growth = deform.stretch(resting, avatar.mesh + displacement, edges)
        mouth = paint_mouth(models.mouth, avatar.painter, displacement)
        sway = torso.sway(body, avatar.camera, avatar.angle)
        yield Moment(displacement, growth, rotation, translation, sway, state, shown, mouth)


def heads(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False, start: int = 0
) -> Iterator[tuple[Array, Array, Array, Array, Array]]:
    """The fields of the Gaussians in every frame from `start` on; `relative` as in `animate`."""
    gaussians = avatar.gaussians
    means, quats, scales = (t.numpy() for t in (gaussians.means, gaussians.quats, gaussians.scales))
    for now in moments(avatar, models, track, relative, start):
        motion, shade = _weighed(avatar, models, now.state)
        pushed, colors = means.copy(), gaussians.colors.numpy().copy()
        spread(motion, avatar.place, pushed)
        spread(shade, avatar.place[: avatar.hidden.stop], colors)
        shares = (avatar.neck, avatar.body)
        moved, grows = deform.move_points(
            pushed, avatar.skin, shares, now.displacement, now.growth, now.rotation, now.translation, now.sway
        )
        grown = scales * grows[:, None]
        colors[avatar.mouth], radius = now.mouth
        grown[avatar.mouth] = radius[:, None]
        yield moved, deform.turn_patches(quats, avatar.neck, now.rotation), grown, now.opacities, colors


def animate(
    avatar: HeadAvatar,
    models: Models,
    track: ExpressionTrack,
    device: str = "cpu",
    relative: bool = False,
    start: int = 0,
) -> Iterator[Array]:
    """Frames [H, W, 3] uint8 of the picture with the head following a track, one after the other.

    `relative`: the first frame of the track is the photo's own expression (driving videos and track files).
    A frame does not depend on those before it: from `start` on they are the same as if all were drawn.
    """
    behind = backdrop(avatar)
    for fields, body in zip(heads(avatar, models, track, relative, start), track.torso[start:], strict=True):
        yield show(avatar, fields, behind, body, device)


def backdrop(avatar: HeadAvatar) -> Backdrop:
    """The picture without the head, ready to sway with the torso."""
    box = avatar.frame
    return Backdrop.of(avatar.picture, avatar.plate, box.left, box.top, avatar.sway)


def show(
    avatar: HeadAvatar,
    fields: tuple[Array, Array, Array, Array, Array],
    behind: Backdrop,
    body: Array,
    device: str = "cpu",
) -> Array:
    """The picture [H, W, 3] uint8 with the head of `heads` in it and the torso moved by `body` [4]."""
    rgb, alpha = _draw(fields, avatar.camera, device)
    return composite(rgb, alpha, *swayed(avatar, behind, body), avatar.frame.left, avatar.frame.top)


def swayed(avatar: HeadAvatar, behind: Backdrop, body: Array) -> tuple[Array, Array]:
    """Plate and picture with the torso moved by `body` [4]."""
    camera, box = avatar.camera, avatar.frame
    distance, ratio = float(camera.viewmat[2, 3]), box.width / box.render_width  # picture px per rendered px
    size_turn, shift = torso.in_plane(body, distance, avatar.angle)
    centre = (project(torso.CENTRE, camera) * ratio + [box.left, box.top]).tolist()
    return behind.moved(size_turn, shift * float(camera.K[0, 0]) / distance * ratio, complex(*centre))


@torch.inference_mode()
def _weighed(avatar: HeadAvatar, models: Models, state: Array) -> tuple[Array, Array]:
    """Motion [3, G, G] cm and change of colour [3, 2 G, 2 G] in one frame."""
    weights = models.head.weights(torch.from_numpy(state), torch.from_numpy(avatar.drivers))
    motion, shade = (torch.from_numpy(basis) for basis in (avatar.bases.motion, avatar.bases.shade))
    return tuple(torch.tensordot(w, basis, 1).numpy() for w, basis in zip(weights, (motion, shade), strict=True))


def _eased(avatar: HeadAvatar, track: ExpressionTrack) -> Array:
    """[T, 32] drivers for this head.

    Lips are absolute and ease from the photo's own state. Eyes and brows are played on top of the photo's own, since a
    single photo tells little of how a person's eyes rest.
    """
    drivers = track.drivers.copy()
    units = DRIVERS - LIP_MODES
    own = avatar.drivers
    drivers[:, :units] = own[:units] + drivers[:, :units] * (1 - own[:units])
    start = deform.smoothstep((track.times - track.times[:1]) / EASE)[:, None]
    drivers[:, units:] = own[units:] + (drivers[:, units:] - own[units:]) * start
    return drivers.astype(np.float32)


# --- the whole job ---------------------------------------------------------------------------------------------------


def make_track(speech: Waveform, models: Models, options: RenderOptions) -> ExpressionTrack:
    """What the head does while this is said."""
    frames = max(1, round(speech.duration * float(options.fps)))
    track = speech_track(
        models.speech,
        speech,
        float(options.fps),
        frames,
        mouth_scale=options.mouth_scale,
        blink=options.blink,
        pose=options.pose,
        seed=options.seed,
    )
    scale = np.array([1.0 if name.startswith("eyeBlink") else options.expression_scale for name in BLENDSHAPES])
    return replace(torso.following(track), blendshapes=(track.blendshapes * scale).astype(np.float32))


def _read_head(path: Path, options: RenderOptions) -> Photo | HeadAvatar:
    """What stands for the head: a picture, or an avatar file, whose own options must not be contradicted."""
    if is_avatar(path):
        avatar, about = load_avatar(path)
        named = {name: getattr(options, name) for name in AVATAR_OPTIONS}
        check_given(path, about, {k: v for k, v in named.items() if v != getattr(RenderOptions, k)})
        return avatar
    return _read_picture(path, options)


def _read_picture(path: Path, options: RenderOptions) -> Photo:
    picture = read_image(path)
    if options.background_color and picture.alpha is None:
        raise UsageError(f"{path} has nothing transparent that a colour could fill; leave out --background.")
    return picture


def _as_avatar(read: Photo | HeadAvatar, path: Path, models: Models, options: RenderOptions) -> HeadAvatar:
    if isinstance(read, HeadAvatar):
        return read
    try:
        return build_avatar(read, models, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _notes(read: Photo | HeadAvatar, avatar: HeadAvatar, options: RenderOptions) -> list[str]:
    """What to say of a preview whose size is not the usual one."""
    height, width = avatar.picture.shape[:2]
    if isinstance(read, HeadAvatar) or not options.preview or options.size or max(width, height) <= 2 * PREVIEW_SIZE:
        return []
    box = avatar.frame
    marks = project(avatar.mesh, avatar.camera) * (box.width / box.render_width)
    high = face_height(np.concatenate([marks, np.zeros((len(marks), 1), np.float32)], 1))
    return [
        f"The preview has {width}x{height} pixels, so that the face is {high:.0f} pixels high; --size sets another."
    ]


def check_head(path: Path, options: RenderOptions, faces: FaceFinder) -> None:
    """Raises UsageError or InputError if no head can be made of a photo or an avatar file; builds nothing."""
    read = _read_head(path, options)
    if isinstance(read, Photo):
        try:
            face = choose_face(faces.find(read.pixels), options.face)
            check_face(face)
            output_size(read.size, face_height(face.landmarks), options)
        except MggdubError as error:
            raise type(error)(f"{path}: {error}") from error


def playing_time(speech: Path | None, drive: Path | None) -> float:
    """Seconds of the video that these will make. Raises UsageError or InputError if they cannot be read."""
    heard = read_audio(speech).duration if speech else 0.0
    if drive is None:
        return heard
    if drive.suffix.lower() == ".csv":
        return float(read_track(drive).track.times[-1])
    next(read_video(drive))
    return probe(drive).duration


def avatar_file(
    photo: Path,
    output: Path,
    ply: Path | None,
    options: RenderOptions,
    progress: Progress,
    models: Models | None = None,
) -> dict[str, Any]:
    """Write the head of `photo` as an avatar file and its Gaussians as `ply`; the report. Raises MggdubError."""
    clock = time.perf_counter()
    check_output(output, options.force, (photo,), (SUFFIX,))
    if ply:
        check_output(ply, options.force, (photo, output), (".ply",))
    picture = _read_picture(photo, options)
    progress("load", 0, 1)
    models = models or load_models()
    progress("photo", 0, 1)
    avatar = _as_avatar(picture, photo, models, options)
    save_avatar(output, avatar, {"options": {k: getattr(options, k) for k in AVATAR_OPTIONS}}, options.force)
    splats = write_ply(ply, avatar, options.force) if ply else None
    height, width = avatar.picture.shape[:2]
    return {
        "output": str(output),
        "ply": str(ply) if ply else None,
        "gaussians": len(avatar.gaussians),
        "splats": splats,
        "advice": list(avatar.advice),
        "size": [width, height],
        "bytes": output.stat().st_size,
        "seconds": round(time.perf_counter() - clock, 3),
    }


def _drive(
    sound: Waveform | None,
    models: Models,
    options: RenderOptions,
    progress: Progress,
    played: TrackFile | None = None,
) -> Drive:
    """What `options.drive` says the head does, or what the speech model makes of the sound, at the video's rate.

    `played` is the track file of `options.drive`, if it is one and has been read.
    """
    if options.drive:
        drive = from_file(played, models.expression) if played else read_drive(options.drive, models.eyes, progress)
        limited = held_back(drive.track) if options.pose == "natural" else 0
        return replace(drive, track=styled(resample(drive, float(options.fps)), options), limited=limited)
    assert sound is not None, "neither speech nor a driving video"
    return Drive(make_track(sound, models, options), sound.duration)


def track_file(source: Path, output: Path, options: RenderOptions, progress: Progress) -> dict[str, Any]:
    """Write the track of a video, or what the speech model makes of a recording, as CSV. Raises MggdubError."""
    check_output(output, options.force, (source,), (".csv",))
    progress("load", 0, 1)
    notes: list[str] = []
    if _has_picture(source):
        eyes = Eyes(FaceFinder(), load_geometry(), expression.load_expression())
        progress("drive", 0, 1)
        drive = track_video(source, eyes, progress)
    else:
        sound, models = read_audio(source), load_models()
        notes = sound_notes(source, sound)
        progress("speech", 0, 1)
        drive = _drive(sound, models, options, progress)
        drive = replace(drive, track=with_mouth_units(drive.track, models.expression))
    write_track(output, drive.track, options.force)
    report = {
        "output": str(output),
        "frames": len(drive.track),
        "seconds": round(drive.seconds, 3),
        "held": drive.held,
        "cuts": len(drive.cuts),
        "notes": notes,
    }
    return report | {"remarks": remarks(source, report)}


def remarks(source: Path | None, report: dict[str, Any]) -> list[str]:
    """What to tell of what drives a head (`source`), from the report of a render or a track."""
    sentences = []
    if cuts := report.get("cuts"):
        places = "one place" if cuts == 1 else f"{cuts} places"
        sentences.append(f"{source} cuts in {places}; pose, size and rest begin anew there.")
    if held := report.get("held"):
        sentences.append(f"{source} shows no face in {held} frames; there the last expression and pose are held.")
    if limited := report.get("limited"):
        sentences.append(
            f"{source} moves the head farther than a photo bears in {limited} frames; there it moves less."
        )
    if missing := report.get("missing"):
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        sentences.append(f"{source} lacks the columns {', '.join(missing[:8])}{more}; they count as 0.")
    return [*sentences, *report.get("notes", ())]


def _has_picture(path: Path) -> bool:
    try:
        return bool(probe(path))
    except InputError:  # if it is no sound either, reading it as such will say so
        return False


def render_file(
    photo: Path,
    speech: Path | None,
    output: Path,
    options: RenderOptions,
    progress: Progress,
    models: Models | None = None,
    parts: Path | None = None,
) -> dict[str, Any]:
    """Dub `photo` with `speech`, or move it like `options.drive`, into the video `output`; returns the report.

    An avatar file may stand for the photo. A driven video lasts as long as what drives it and has its sound, if
    `speech` names no other. `models` are loaded unless they are given; in the folder `parts`, which is for this one
    video only, the work is kept if it is interrupted. Raises MggdubError.
    """
    clock = time.perf_counter()
    check_output(output, options.force, tuple(p for p in (photo, speech, options.drive) if p))
    device = choose_device(options.device)
    cert, key = options.c2pa_cert, options.c2pa_key
    credentials = load_credentials(cert, key) if cert and key else None
    picture = _read_head(photo, options)
    sound = read_audio(speech) if speech else None
    played = read_track(options.drive) if options.drive and options.drive.suffix.lower() == ".csv" else None
    progress("load", 0, 1)
    models = models or load_models()
    loaded = time.perf_counter()
    progress("photo", 0, 1)
    avatar = _as_avatar(picture, photo, models, options)
    built = time.perf_counter()
    progress("drive" if options.drive else "speech", 0, 1)
    drive = _drive(sound, models, options, progress, played)
    track = orbiting(drive.track, options.orbit, drive.seconds)
    playing = speech or drive.sound
    notes = sound_notes(playing, sound) if playing else []
    heard = time.perf_counter()
    watch = checks.Watch.of(avatar, len(track))

    def watched(start: int = 0) -> Iterator[Array]:
        for index, frame in enumerate(animate(avatar, models, track, device, bool(options.drive), start), start):
            watch.see(index, frame)
            progress("render", index + 1, len(track))
            yield frame

    height, width = avatar.picture.shape[:2]
    write = (
        partial(write_in_segments, frames=watched, folder=parts) if parts else partial(write_video, frames=watched())
    )
    write(
        output,
        fps=options.fps,
        size=(width, height),
        audio=playing,
        duration=drive.seconds,
        crf=options.crf,
        force=options.force,
        credentials=credentials,
    )
    done = time.perf_counter()
    spoken = None if options.drive else sound
    checked = checks.judge(watch, output, float(options.fps), track, models.expression, spoken)
    report = {
        "output": str(output),
        "frames": len(track),
        "fps": float(options.fps),
        "seconds": round(drive.seconds, 3),
        "size": [width, height],
        "gaussians": len(avatar.gaussians),
        "device": device,
        "silent": not options.drive and not bool(track.lip_modes.any()),
        "held": drive.held,
        "cuts": len(drive.cuts),
        "limited": drive.limited,
        "missing": list(drive.missing),
        "advice": list(avatar.advice),
        "notes": [*_notes(picture, avatar, options), *notes],
        "checks": checked,
        "times": {
            "load": round(loaded - clock, 3),
            "photo": round(built - loaded, 3),
            "speech": round(heard - built, 3),
            "render": round(done - heard, 3),
        },
    }
    return report | {"remarks": remarks(options.drive, report)}
