"""Video-driven animation: a driving video or a track file becomes a track, and a track becomes a photo's drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np

from mggdub.config import RenderOptions
from mggdub.errors import InputError
from mggdub.geometry.camera import (
    RIGID,
    cm_per_px,
    crop_camera,
    crop_matrix,
    face_height,
    head_crop,
    head_mesh,
    head_meshes,
    project,
    solve_pose,
)
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.track import LONGEST, TrackFile, read_track
from mggdub.media.video import probe, read_video
from mggdub.models import deform, expression, limits, torso
from mggdub.models.deform import PIVOT, smoothstep
from mggdub.models.expression import ExpressionBasis
from mggdub.perception.align import SIZE, Anchors, align
from mggdub.perception.face import SMALLEST_FACE, FaceFinder, canonical_face, cut
from mggdub.perception.follow import Sighting, calm_frames, displacement, fit_person, sightings, smooth_pose
from mggdub.perception.geometry import GeometryNet, estimate_geometry
from mggdub.perception.shots import settled
from mggdub.types import (
    BLENDSHAPES,
    CROP_SIZE,
    DRIVING_UNITS,
    FOCAL,
    MOUTH_UNITS,
    Array,
    Crop,
    ExpressionTrack,
    Face,
    GeometryMaps,
    Portrait,
)

MOST_FRAMES = 54_000  # that are kept in memory: 15 minutes at 60 fps
FITTED = 600  # frames that a person's mesh is fitted to
AT_ONCE = 500  # frames whose poses are solved together
ORBIT_TIME = 6.0  # s
EASE = 0.3  # s in which the opening of the photo's mouth gives way to the driver's
# How far a first frame's units and lip modes (in standard deviations of speech) may be from those of the whole track,
# and from the photo's, before it is an expression that the photo cannot be taken to have.
FAR_UNIT, FAR_MODE = 0.7, 3.0
LOWEST_UNIT = -0.3  # of a unit; the opposite of a raised brow is not a brow lowered as far
NOSE_BASE = 2  # landmark: skin below it moves when one speaks
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
SKIN_STEP = 1.5  # px of the aligned crop between the points that are followed
MOST_ANCHORS = 1500  # of the torso
TURNED_AWAY = 25.0  # degrees between a shot's first pose and its typical one, from which on the latter is its reference
OPEN_EYE = 0.5  # of a blink: more in the first frame is a blink, not how the eye rests
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Drive:
    """What moves a head, and where it came from."""

    track: ExpressionTrack
    seconds: float
    held: int = 0  # frames without a face, which repeat the one before
    cuts: tuple[float, ...] = ()  # s, where another shot begins: pose and rest begin anew there
    sound: Path | None = None  # the driving video, if it has any
    missing: tuple[str, ...] = ()  # columns that a track file lacks
    limited: int = 0  # frames in which the head would go farther than a photo bears


@dataclass(frozen=True, eq=False)
class Eyes:
    """What looks at a driving video."""

    faces: FaceFinder
    geometry: GeometryNet
    expression: ExpressionBasis


def read_drive(path: Path, eyes: Eyes, progress: Progress = lambda *_: None) -> Drive:
    """A track file (.csv) or a driving video. Raises UsageError or InputError."""
    if path.suffix.lower() == ".csv":
        return from_file(read_track(path), eyes.expression)
    return track_video(path, eyes, progress)


def from_file(file: TrackFile, basis: ExpressionBasis) -> Drive:
    """The track of a file; lips that it has no modes for follow from the mouth's units, a torso from the head."""
    track, missing = file.track, file.missing
    if not file.has_lips:
        track = replace(track, lip_modes=expression.modes_from_units(basis, track.blendshapes))
        missing = tuple(name for name in missing if not name.startswith("lip_"))
    if not file.has_torso:
        track = torso.following(track)
        missing = tuple(name for name in missing if not name.startswith("torso_"))
    half_step = float(np.median(np.diff(track.times))) / 2 if len(track) > 1 else max(float(track.times[0]), 0.02)
    return Drive(track, float(track.times[-1]) + half_step, missing=missing)


def track_video(path: Path, eyes: Eyes, progress: Progress = lambda *_: None) -> Drive:
    """Expression, pose and torso of the largest face of a video; the last two relative to its first frame.

    Where the video cuts they begin anew. Frames without a face repeat the one before (at the start: the first that has
    one). Raises UsageError or InputError, also if there is no face at all.
    """
    info = probe(path)
    watched = _followed(path, eyes, progress)
    stamps = [one.stamp for one in watched]
    shots = [list(shot) for _, shot in groupby((one for one in watched if one.face), lambda one: one.shot)]
    if not shots:
        raise InputError(f"No human face was found in {path}; use a video that shows one from the front.")
    heights = [float(np.median([face_height(one.face.landmarks) for one in shot if one.face])) for shot in shots]
    if max(heights) < SMALLEST_FACE:
        raise InputError(
            f"The face in {path} is {max(heights):.0f} px high; use a video where it is {SMALLEST_FACE:.0f} or more."
        )
    shots = [shot for shot, height in zip(shots, heights, strict=True) if height >= SMALLEST_FACE]
    step = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1 / float(info.fps)
    ends = np.append(stamps[1:], stamps[-1] + step)
    times = (np.array(stamps) + ends) / 2
    chosen = {one.stamp for shot in shots for one in shot}
    seen = np.array([one.stamp in chosen for one in watched])
    latest = np.maximum(np.cumsum(seen) - 1, 0)  # [T] of the faces that are seen
    parts = _of_shots(path, shots, times[seen], eyes)
    track = ExpressionTrack(times, *(values[latest] for values in parts))
    cuts = tuple(shot[0].stamp for shot in shots[1:])
    return Drive(track, float(ends[-1]), int((~seen).sum()), cuts, path if info.has_audio else None)


def _followed(path: Path, eyes: Eyes, progress: Progress) -> list[Sighting]:
    """Where the face is in all frames of a video. Raises InputError if there are too many."""
    info = probe(path)
    expected = round(info.duration * info.fps)

    def check(seconds: float, count: int) -> None:
        if seconds > LONGEST or count > MOST_FRAMES:
            raise InputError(
                f"{path} is too long to drive with ({LONGEST // 60} minutes or {MOST_FRAMES} frames); cut it."
            )

    def frames() -> Iterator[tuple[float, Array]]:
        for count, (stamp, frame) in enumerate(_rising(path), 1):
            check(stamp, count)  # containers may not know how long they are
            progress("drive", count, max(expected, count))
            yield stamp, frame

    check(info.duration, expected)
    return settled(list(sightings(frames(), eyes.faces)))


def _of_shots(path: Path, shots: list[list[Sighting]], times: Array, eyes: Eyes) -> list[Array]:
    """What `_measured` gives, of all shots; times [T] s of their frames."""
    chosen = {one.stamp for shot in shots for one in shot}
    frames = (frame for stamp, frame in _rising(path) if stamp in chosen)
    parts: list[tuple[Array, ...]] = []
    start = 0
    for shot in shots:
        faces = [one.face for one in shot if one.face]

        def again(index: int, shot: list[Sighting] = shot) -> Array:
            return next(frame for stamp, frame in _rising(path) if stamp == shot[index].stamp)

        units, modes, rotation, shift, sway = _measured(islice(frames, len(faces)), faces, eyes, again)
        shift, sway = limits.recentred(times[start : start + len(faces)], shift, sway)
        if parts:
            units = expression.from_rest(units, parts[0][0])
        parts.append((units, modes, rotation, shift, sway))
        start += len(faces)
    for _ in frames:  # so that the reader ends by itself
        pass
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _rising(path: Path) -> Iterator[tuple[float, Array]]:
    """Frames that appear after the one before."""
    latest = -np.inf
    for stamp, frame in read_video(path):
        if stamp > latest:
            latest = stamp
            yield stamp, frame


def _measured(
    frames: Iterable[Array], faces: list[Face], eyes: Eyes, again: Callable[[int], Array]
) -> tuple[Array, Array, Array, Array, Array]:
    """Units [T, 52], lip modes [T, 8], rotation [T, 3] degrees, translation [T, 3] cm and torso [T, 4] of a person.

    `again` is asked for one of the frames once more where the first cannot be the reference of the others.
    """
    basis, crop = eyes.expression, head_crop(np.median([face.landmarks for face in faces[:5]], 0))
    landmarks = crop.to_crop(np.stack([face.landmarks for face in faces]))  # [T, 478, 3]
    blendshapes = np.stack([face.blendshapes for face in faces])
    points = fit_person(landmarks[:: -(-len(landmarks) // FITTED)])[0][list(RIGID)]
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(landmarks), AT_ONCE)]
    poses = [solve_pose(points, landmarks[part][:, list(RIGID), :2], crop_matrix()) for part in parts]
    rotations, translations = (np.concatenate(pose) for pose in zip(*poses, strict=True))
    first = reference_frame(rotations)
    picture = again(first) if first else None
    net = eyes.geometry
    rotations, translations, sway = steadied(frames, crop, landmarks, rotations, translations, net, first, picture)
    meshes = np.concatenate(
        [head_meshes(landmarks[part], rotations[part], translations[part], crop_matrix()) for part in parts]
    )
    units, modes = read_expression(basis, meshes, rotations, blendshapes)
    units[:, list(MOUTH_UNITS)] = expression.units_from_modes(basis, modes)
    return units, modes, *relative_pose(rotations, translations, first), sway


def reference_frame(rotations: Array) -> int:
    """The frame that poses [T, 3, 3] count from: the first, unless it is turned away from what is typical."""
    angles = matrix_to_euler(rotations)
    away = np.linalg.norm(angles - np.median(angles, 0), axis=1)
    return int(np.argmin(away)) if away[0] > TURNED_AWAY else 0


def steadied(
    frames: Iterable[Array],
    crop: Crop,
    landmarks: Array,
    rotations: Array,
    translations: Array,
    net: GeometryNet,
    reference: int = 0,
    picture: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Poses [T, 3, 3] and [T, 3] cm that follow all of the skin, not landmarks alone, and the torso's motion [T, 4].

    frames [H, W, 3] uint8 are T, landmarks [T, 478, 3] px of their `crop`, the poses those of the landmarks. They are
    aligned with frame `reference`, of which `picture` is a copy if it is not the first.
    """
    rotations, translations = smooth_pose(rotations, translations)
    stream = iter(frames)
    if picture is not None:  # it comes before all others, and once more in its place
        order = np.r_[reference, : len(rotations)]
        landmarks, rotations, translations = landmarks[order], rotations[order], translations[order]
    first = next(stream) if picture is None else picture
    camera = crop_camera(rotations[0].astype(np.float32), translations[0].astype(np.float32))
    head = Portrait(cut(first, crop), crop, landmarks[0], np.zeros(len(BLENDSHAPES), np.float32), camera)
    small = replace(crop, size=SIZE)
    ratio = SIZE / crop.size
    anchors = _anchors(head, estimate_geometry(net, head), first.shape[1::-1], ratio)
    marks = landmarks[:, list(RIGID), :2] * ratio
    crops = (cut(frame, small) for frame in chain([first], stream))
    found = align(crops, anchors, marks, rotations, translations)
    if picture is not None:
        found = found.without_first()
    distance = float(translations[0, 2])
    centre = complex(*(project(torso.CENTRE, camera) * ratio).tolist())
    shifts = found.shifts + (found.turns - 1) * (centre - found.pivot)
    motion = torso.from_plane(found.turns, shifts * distance / (FOCAL * ratio), distance)
    return found.rotations, found.translations, motion


def _anchors(head: Portrait, maps: GeometryMaps, size: tuple[int, int], ratio: float) -> Anchors:
    """What `align` follows of a video's first frame, a picture of `size` px; `ratio` px of its crop per crop px."""
    marks, mesh = head.landmarks, head_mesh(head.landmarks, head.camera)
    step = np.arange(0.5, CROP_SIZE, SKIN_STEP / ratio)
    grid = np.stack(np.meshgrid(step, step), -1).reshape(-1, 2)
    _, triangles = canonical_face()
    oval = marks[deform.outline(triangles), :2]
    skin = deform.inside(grid, oval) & (grid[:, 1] < marks[NOSE_BASE, 1])
    for ring in (deform.LEFT_EYE, deform.RIGHT_EYE, *BROWS):
        around = marks[list(ring), :2]
        skin &= ~deform.inside(grid, around.mean(0) + (around - around.mean(0)) * [1.15, 1.5])
    px_cm = cm_per_px(head.camera)
    body = torso.torso_matte(marks, torso.clothes_share(maps.labels), maps.matte, px_cm)
    at = head.crop.to_picture(grid)
    shown = ((at > 2) & (at < np.array(size) - 2)).all(1)
    on_torso = grid[shown & (body[grid[:, 1].astype(int), grid[:, 0].astype(int)] > 0.5)]
    on_torso = on_torso[:: -(-len(on_torso) // MOST_ANCHORS) or 1]
    weights = deform.skin_weights(grid[skin], marks, triangles, px_cm)
    return Anchors(weights @ mesh, mesh[list(RIGID)], on_torso * ratio)


def read_expression(basis: ExpressionBasis, meshes: Array, rotations: Array, blendshapes: Array) -> tuple[Array, Array]:
    """Units [T, 52], those of the mouth 0, and lip modes [T, 8] of one person's meshes [T, 478, 3] in head space."""
    calm = calm_frames(meshes, blendshapes)
    mouth, _ = displacement(meshes[:, basis.region], rotations, calm)
    modes = mouth.reshape(len(mouth), -1) @ basis.analysis
    # How far lips are apart is measured, not relative to a rest that the video may never show.
    gap = meshes[:, expression.INNER_LOWER_LIP, 1] - meshes[:, expression.INNER_UPPER_LIP, 1] - basis.closed_gap
    modes = modes + (gap - expression.lip_gap(basis, modes))[:, None] * basis.opening
    units = np.zeros_like(blendshapes)
    units[:, list(DRIVING_UNITS)] = expression.driving_units(basis, blendshapes)
    return units, modes.astype(np.float32)


def relative_pose(rotations: Array, translations: Array, first: int) -> tuple[Array, Array]:
    """Angles [T, 3] degrees and translation [T, 3] cm against the pose of frame `first`, in its head space."""
    turn = rotations[first].T @ rotations  # [T, 3, 3]
    # Heads turn about PIVOT: what that leaves of the motion of head space is translation.
    shift = (translations - translations[first]) @ rotations[first] + turn @ PIVOT - PIVOT
    return matrix_to_euler(turn).astype(np.float32), shift.astype(np.float32)


def with_mouth_units(track: ExpressionTrack, basis: ExpressionBasis) -> ExpressionTrack:
    """The track with the units of jaw, mouth and tongue that come nearest to its lip modes, for exchange."""
    units = track.blendshapes.copy()
    units[:, list(MOUTH_UNITS)] = expression.units_from_modes(basis, track.lip_modes)
    return replace(track, blendshapes=units)


def resample(drive: Drive, fps: float) -> ExpressionTrack:
    """The track at the mid-times of a video's frames; before its first and after its last time it stands still."""
    track = drive.track
    times = (np.arange(max(1, round(drive.seconds * fps))) + 0.5) / fps

    def at(values: Array) -> Array:
        return np.stack([np.interp(times, track.times, column) for column in values.T], 1).astype(np.float32)

    parts = (track.blendshapes, track.lip_modes, track.rotation, track.translation, track.torso)
    return limits.bounded(limits.eased(ExpressionTrack(times, *map(at, parts)), drive.cuts))


def styled(track: ExpressionTrack, options: RenderOptions) -> ExpressionTrack:
    """The track with `--pose`, `--blink` and the two scales applied: expressions grow from those of its first frame."""
    blink = np.array([name.startswith("eyeBlink") for name in BLENDSHAPES])
    scale = np.where(blink, float(options.blink == "natural"), options.expression_scale)
    first = track.blendshapes[:1]
    moving = np.float32(options.pose == "natural")
    return replace(
        track,
        blendshapes=(first + (track.blendshapes - first) * scale).astype(np.float32),
        lip_modes=(track.lip_modes * options.mouth_scale).astype(np.float32),
        rotation=track.rotation * moving,
        translation=track.translation * moving,
        torso=track.torso * moving,
    )


def orbiting(track: ExpressionTrack, degrees: float, seconds: float) -> ExpressionTrack:
    """The track with the head turned to one side, the other and back, once or every ORBIT_TIME or so."""
    if degrees == 0:
        return track
    turns = max(1, round(seconds / ORBIT_TIME))
    rotation = track.rotation.copy()
    rotation[:, 1] += degrees * np.sin(2 * np.pi * turns * track.times / seconds)
    return replace(track, rotation=rotation)


def onto_photo(basis: ExpressionBasis, own: Array, track: ExpressionTrack) -> Array:
    """[T, 32] drivers that play a track on a photo whose own state is `own` [32].

    Expressions are relative: the track's first frame is the photo's own, unless it is an extreme one. Contact is not:
    eyes that close and lips that meet in the track do so on the photo; the mouth's opening eases from the photo's to
    the track's.
    """
    count = len(DRIVING_UNITS)
    drivers = track.drivers
    far = np.concatenate([np.full(count, FAR_UNIT), FAR_MODE * basis.mode_std])
    usual = np.median(drivers, 0)
    rest = np.clip(drivers[0], np.minimum(usual - far, own), np.maximum(usual + far, own)).astype(np.float32)
    moved = own + (drivers - rest)
    for blink in expression.BLINKS:
        lid = float(np.clip(min(drivers[0, blink], np.median(drivers[:, blink])), LOWEST_UNIT, OPEN_EYE))
        moved[:, blink] = own[blink] + (drivers[:, blink] - lid) / (1 - lid) * (1 - own[blink])
    moved[:, :count] = np.clip(moved[:, :count], np.minimum(own[:count], LOWEST_UNIT), np.maximum(own[:count], 1))
    start = smoothstep((track.times - track.times[0]) / EASE)
    before = expression.lip_gap(basis, own[count:])
    gap = before + (expression.lip_gap(basis, drivers[:, count:]) - before) * start
    modes = moved[:, count:]
    moved[:, count:] = modes + (gap - expression.lip_gap(basis, modes))[:, None] * basis.opening
    return moved.astype(np.float32)
