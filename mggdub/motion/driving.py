"""A driving video or a track file becomes a performance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np

from mggdub.errors import InputError
from mggdub.face import expression
from mggdub.face.clip import Sighting, calm_frames, displacement, fit_person, sightings, smooth_pose
from mggdub.face.expression import ExpressionBasis
from mggdub.face.mesh import (
    BROWS,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE,
    LIDS,
    PIVOT,
    RIGHT_EYE,
    canonical_face,
    inside,
    outline,
)
from mggdub.face.portrait import SMALLEST_FACE, cut, driving_company, head_pose
from mggdub.face.skin import skin_weights
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
from mggdub.media.video import probe, read_video
from mggdub.media.whole import cut_short, goes_on
from mggdub.models import Models
from mggdub.motion import limits, torso
from mggdub.motion.alignment import SIZE, TrackedPoints, refine_poses
from mggdub.motion.shots import settled
from mggdub.motion.track import Performance
from mggdub.motion.track_file import LONGEST
from mggdub.networks import geometry
from mggdub.networks.geometry import GeometryNet, estimate_geometry
from mggdub.progress import Progress, Stage, silent
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
NOSE_BASE = 2  # landmark: skin below it moves when one speaks
SKIN_STEP = 1.5  # px of the aligned crop between the points that are followed
MOST_ANCHORS = 1500  # of the torso
SHAKEN = 4.0  # px of the aligned crop that smoothing moves a head: a camera shakes; people alone reach 3.4
AWAKE = 0.2  # of a shot's frames, in which eyes are at least as open as they usually are
SHORTEST_WAY, NARROWEST = 0.3, 0.2  # of a blink, cm: eyes that are always all but shut are measured by no less
MIDDLE_LIDS = slice(2, 5)  # of a lid's vertices, whose distance is how open an eye is
TURNED_AWAY = 25.0  # degrees between a shot's first pose and its typical one, from which on the latter is its reference


def track_video(path: Path, models: Models, progress: Progress = silent) -> Performance:
    """Expression, pose and torso of the largest face of a video; the last two relative to its first frame.

    Where the video cuts they begin anew. Frames without a face repeat the one before (at the start: the first that has
    one). Raises UsageError or InputError, also if there is no face at all.
    """
    info = probe(path)
    watched = _followed(path, models, progress)
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
    has_face = np.array([one.stamp in chosen for one in watched])
    latest = np.maximum(np.cumsum(has_face) - 1, 0)  # [T] of the faces that are seen
    parts = _of_shots(path, shots, times[has_face], models)
    track = ExpressionTrack(times, *(values[latest] for values in parts))
    cuts = tuple(shot[0].stamp for shot in shots[1:])
    notes = (*driving_company(path, shots[0][0].faces), *cut_short(path), *goes_on(path))
    return Performance(track, float(ends[-1]), int((~has_face).sum()), cuts, notes=notes)


def _followed(path: Path, models: Models, progress: Progress) -> list[Sighting]:
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
            progress(Stage.DRIVE, count, max(expected, count))
            yield stamp, frame

    check(info.duration, expected)
    return settled(list(sightings(frames(), models.faces)))


def _of_shots(path: Path, shots: list[list[Sighting]], times: Array, models: Models) -> list[Array]:
    """What `_measured` gives, of all shots; times [T] s of their frames."""
    chosen = {one.stamp for shot in shots for one in shot}
    frames = (frame for stamp, frame in _rising(path) if stamp in chosen)
    parts: list[tuple[Array, ...]] = []
    start = 0
    for shot in shots:
        faces = [one.face for one in shot if one.face]

        def again(index: int, shot: list[Sighting] = shot) -> Array:
            return next(frame for stamp, frame in _rising(path) if stamp == shot[index].stamp)

        units, modes, rotation, shift, sway = _measured(islice(frames, len(faces)), faces, models, again)
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
    frames: Iterable[Array], faces: list[Face], models: Models, again: Callable[[int], Array]
) -> tuple[Array, Array, Array, Array, Array]:
    """Units [T, 52], lip modes [T, 8], rotation [T, 3] degrees, translation [T, 3] cm and torso [T, 4] of a person.

    `again` is asked for one of the frames once more where the first cannot be the reference of the others.
    """
    basis, crop = models.expression, head_crop(np.median([face.landmarks for face in faces[:5]], 0))
    landmarks = crop.to_crop(np.stack([face.landmarks for face in faces]))  # [T, 478, 3]
    blendshapes = np.stack([face.blendshapes for face in faces])
    points = fit_person(landmarks[:: -(-len(landmarks) // FITTED)])[0][list(RIGID)]
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(landmarks), AT_ONCE)]
    poses = [solve_pose(points, landmarks[part][:, list(RIGID), :2], crop_matrix()) for part in parts]
    rotations, translations = (np.concatenate(pose) for pose in zip(*poses, strict=True))
    first = reference_frame(rotations)
    picture = again(first) if first else None
    net = models.geometry
    rotations, translations, sway = steady_poses(frames, crop, landmarks, rotations, translations, net, first, picture)
    meshes = np.concatenate(
        [head_meshes(landmarks[part], rotations[part], translations[part], crop_matrix()) for part in parts]
    )
    units, modes = read_expression(basis, meshes, rotations, blendshapes)
    units = paired_lids(units, meshes)
    units[:, list(MOUTH_UNITS)] = expression.units_from_modes(basis, modes)
    return units, modes, *relative_pose(rotations, translations, first, landmarks[first]), sway


def reference_frame(rotations: Array) -> int:
    """The frame that poses [T, 3, 3] count from: the first, unless it is turned away from what is typical."""
    angles = matrix_to_euler(rotations)
    away = np.linalg.norm(angles - np.median(angles, 0), axis=1)
    return int(np.argmin(away)) if away[0] > TURNED_AWAY else 0


def steady_poses(
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
    rotations, translations = _calmed(rotations, translations)
    stream = iter(frames)
    if picture is not None:  # it comes before all others, and once more in its place
        order = np.r_[reference, : len(rotations)]
        landmarks, rotations, translations = landmarks[order], rotations[order], translations[order]
    first = next(stream) if picture is None else picture
    camera = crop_camera(rotations[0].astype(np.float32), translations[0].astype(np.float32))
    head = Portrait(cut(first, crop), crop, landmarks[0], np.zeros(len(BLENDSHAPES), np.float32), camera)
    small = replace(crop, size=SIZE)
    ratio = SIZE / crop.size
    anchors = tracked_points(head, estimate_geometry(net, head), first.shape[1::-1], ratio)
    marks = landmarks[:, list(RIGID), :2] * ratio
    crops = (cut(frame, small) for frame in chain([first], stream))
    alignment = refine_poses(crops, anchors, marks, rotations, translations)
    if picture is not None:
        alignment = alignment.without_first()
    distance = float(translations[0, 2])
    centre = complex(*(project(torso.CENTRE, camera) * ratio).tolist())
    shifts = alignment.shifts + (alignment.turns - 1) * (centre - alignment.pivot)
    motion = torso.from_plane(alignment.turns, shifts * distance / (FOCAL * ratio), distance)
    return alignment.rotations, alignment.translations, motion


def _calmed(rotations: Array, translations: Array) -> tuple[Array, Array]:
    """Poses [T, 3, 3] and [T, 3] cm without trembling, those of heads that are shaken as they are."""
    calm = smooth_pose(rotations, translations)
    moved = np.linalg.norm((calm[1] - translations)[:, :2], axis=1) * FOCAL / translations[:, 2] * (SIZE / CROP_SIZE)
    shaken = moved > SHAKEN
    return np.where(shaken[:, None, None], rotations, calm[0]), np.where(shaken[:, None], translations, calm[1])


def tracked_points(head: Portrait, maps: GeometryMaps, size: tuple[int, int], ratio: float) -> TrackedPoints:
    """What `refine_poses` follows of a first frame, a picture of `size` px; `ratio` px of its crop per crop px."""
    marks, mesh = head.landmarks, head_mesh(head.landmarks, head.camera)
    step = np.arange(0.5, CROP_SIZE, SKIN_STEP / ratio)
    grid = np.stack(np.meshgrid(step, step), -1).reshape(-1, 2)
    _, triangles = canonical_face()
    oval = marks[outline(triangles), :2]
    skin = inside(grid, oval) & (grid[:, 1] < marks[NOSE_BASE, 1])
    for ring in (LEFT_EYE, RIGHT_EYE, *BROWS):
        around = marks[list(ring), :2]
        skin &= ~inside(grid, around.mean(0) + (around - around.mean(0)) * [1.15, 1.5])
    px_cm = cm_per_px(head.camera)
    body = geometry.torso_matte(marks, geometry.clothes_share(maps.labels), maps.matte, px_cm)
    at = head.crop.to_picture(grid)
    shown = ((at > 2) & (at < np.array(size) - 2)).all(1)
    on_torso = grid[shown & (body[grid[:, 1].astype(int), grid[:, 0].astype(int)] > 0.5)]
    on_torso = on_torso[:: -(-len(on_torso) // MOST_ANCHORS) or 1]
    weights = skin_weights(grid[skin], marks, triangles, px_cm)
    return TrackedPoints(weights @ mesh, mesh[list(RIGID)], on_torso * ratio)


def read_expression(basis: ExpressionBasis, meshes: Array, rotations: Array, blendshapes: Array) -> tuple[Array, Array]:
    """Units [T, 52], those of the mouth 0, and lip modes [T, 8] of one person's meshes [T, 478, 3] in head space."""
    calm = calm_frames(meshes, blendshapes)
    mouth, _ = displacement(meshes[:, basis.region], rotations, calm)
    modes = mouth.reshape(len(mouth), -1) @ basis.analysis
    # How far lips are apart is measured, not relative to a rest that the video may never show.
    gap = meshes[:, INNER_LOWER_LIP, 1] - meshes[:, INNER_UPPER_LIP, 1] - basis.closed_gap
    modes = modes + (gap - expression.lip_gap(basis, modes))[:, None] * basis.opening
    units = np.zeros_like(blendshapes)
    units[:, list(DRIVING_UNITS)] = expression.followed_units(basis, blendshapes, meshes, calm)
    return units, modes.astype(np.float32)


def paired_lids(units: Array, meshes: Array) -> Array:
    """Units [T, 52] whose blinks close as far as both eyes' do in the mean, and differ as the meshes' openings do.

    Lids go together but in a wink, and units of single eyes differ by up to a half where nobody winks. Openings of
    meshes [T, 478, 3] count from how wide each eye usually is, so that eyes that rest differently go on to.
    """
    columns = [DRIVING_UNITS[blink] for blink in expression.BLINKS]
    rest = np.quantile(units[:, columns], AWAKE, axis=0)
    way = np.maximum(1 - rest, SHORTEST_WAY)
    closed = ((units[:, columns] - rest) / way).mean(1, keepdims=True)
    upper, lower = np.moveaxis(np.array(LIDS)[:, MIDDLE_LIDS], -1, 0)  # [2, 3] vertices
    opening = (meshes[:, lower, 1] - meshes[:, upper, 1]).mean(-1)  # [T, 2]
    opening = opening / np.maximum(np.quantile(opening, 1 - AWAKE, axis=0), NARROWEST)
    apart = (opening[:, 1] - opening[:, 0])[:, None] / 2 * [1, -1]
    paired = units.copy()
    paired[:, columns] = rest + way * (closed + apart)
    return paired


def relative_pose(
    rotations: Array, translations: Array, first: int, landmarks: Array | None = None
) -> tuple[Array, Array]:
    """Angles [T, 3] degrees and translation [T, 3] cm against the pose of frame `first`, in its head space.

    With that frame's landmarks [478, >=2] crop px that space is the one, and its cm are those, that the frame would
    have as a photo: fitted to a person, poses differ from it by some degrees.
    """
    head, place = (rotations[first], translations[first]) if landmarks is None else head_pose(landmarks)
    turn = head.T @ (rotations @ rotations[first].T) @ head  # [T, 3, 3]
    larger = place[2] / translations[first, 2]
    # Heads turn about PIVOT: what that leaves of the motion of head space is translation.
    shift = larger * (translations - translations[first]) @ head + turn @ PIVOT - PIVOT
    return matrix_to_euler(turn).astype(np.float32), shift.astype(np.float32)
