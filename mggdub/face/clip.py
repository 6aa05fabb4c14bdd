"""A face through a clip: where it is in every frame, the person's mesh, head poses, displacement from rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggdub.face.detector import SURE, FaceFinder
from mggdub.face.likeness import change, coarse, face_look, strangeness, unlikeness
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP, canonical_face
from mggdub.geometry.camera import RIGID, crop_matrix, face_height, head_meshes, solve_pose
from mggdub.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix
from mggdub.types import BLENDSHAPES, Array, Face

SMOOTHING = 1.0  # frames, sigma of the pose's Gaussian; symmetric, so it does not lag
ROUNDS = 3  # of poses that fit a mesh, and a mesh that fits the poses
RESTING = 0.08  # of a clip's frames, that are nearest to rest
POSE_RIDGE = 2.0  # rad^2, of a clip's head rotation about its mean; less motion than that says little
RESTLESS = (  # units whose activity means that the mouth is not at rest
    *("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft"),
    *("mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"),
)
# What a head can do between two frames: a share, more for every second between them, and the most. In face heights
# (of 7,000 pairs of frames of 91 people the farthest is 0.15) and as the logarithm of its size (0.16).
SHIFT, SWELL = (0.25, 1.5, 1.0), (0.14, 0.8, 0.4)
# Strangeness of a frame that follows another: above ODD, and so far above the MEMORY steps before it, or above BROKEN,
# it is another shot. Who moves fast is strange for several frames. Seven of 7,590 pairs, of which one is a cut.
ODD, SUDDEN, BROKEN, MEMORY = 0.6, 5.5, 10.0, 6
ALIKE = -4.3  # unlikeness below which it is the same face, whatever happens behind it; no pair of two portraits
CALM = -5.0  # strangeness where none was seen yet
BREAK = 2.2  # of unlikeness and the picture's change over TELLING: more is another shot after a person was not seen
TELLING, MOST_TOLD = 10.0, 4.0  # grey levels; a picture may change behind somebody who stays
SAME = -1.0  # unlikeness of one person elsewhere; 92 % of pairs of one person, 1.5 % of pairs of two
DOUBT = -2.0  # unlikeness to all known looks at which another face in the picture may be the person
KNOWN = -3.0  # a face less like the person's known ones becomes one of them
VIEWS = 8  # of a person that are known
CHANGED = 25.0  # grey levels, of the place of a face that was not there before
REFINED = 4  # times that the face of a new shot is looked at again
PATIENCE = 1.0  # s for which a person who is hidden is waited for


@dataclass(frozen=True, eq=False)
class Trail:
    """What is known of the person who is followed."""

    face: Face  # when last seen
    look: Array  # of it, as `face_look`
    looks: tuple[Array, ...]  # how this person has looked
    picture: Array  # then, coarse
    stamp: float  # s
    shot: int
    recent: Array  # the frame before, coarse
    steps: tuple[float, ...] = ()  # strangeness of the frames before
    others: tuple[Face, ...] = ()  # faces of the frame before, if the person was hidden in it


class _Search(NamedTuple):
    """What was found where tracking broke off."""

    face: Face | None  # to follow
    anew: bool = False  # whether a shot begins
    same: bool = True  # whether it is the same person
    others: tuple[Face, ...] = ()


@dataclass(frozen=True, eq=False)
class Sighting:
    """One frame: the face of the person who is followed, None where it is not seen.

    Within a `shot` one person is seen by one camera; what is relative begins anew where it changes.
    """

    stamp: float  # s
    face: Face | None
    shot: int
    picture: Array  # [18, 32, 3] uint8
    look: Array | None  # [168]
    faces: tuple[Face, ...] = ()  # where it was chosen as the largest, all, largest first


def follow_face(frames: Iterable[Array], finder: FaceFinder) -> list[Face | None]:
    """One person's face in every frame [H, W, 3] uint8 of 25 a second, None where there is none."""
    return [one.face for one in sightings(((k / 25, frame) for k, frame in enumerate(frames)), finder)]


def sightings(frames: Iterable[tuple[float, Array]], finder: FaceFinder) -> Iterator[Sighting]:
    """The same person in frames (s, [H, W, 3] uint8) for as long as that person is visible.

    It is the largest face at first, then the one that is tracked. Where that breaks off, it is the same person
    elsewhere in the picture, otherwise the largest face of another picture.
    """
    trail: Trail | None = None
    for stamp, frame in frames:
        sighting, trail = look_on(finder, stamp, frame, trail)
        yield sighting


def look_on(finder: FaceFinder, stamp: float, frame: Array, trail: Trail | None) -> tuple[Sighting, Trail | None]:
    """The next frame [H, W, 3] uint8 of a video, `stamp` s from its start, after those that left the `trail`."""
    picture = coarse(frame)
    if trail is None:
        faces = tuple(finder.find(frame))
        if not faces:
            return Sighting(stamp, None, 0, picture, None), None
        first, look = faces[0], face_look(frame, faces[0].landmarks)
        return Sighting(stamp, first, 0, picture, look, faces), Trail(first, look, (look,), picture, stamp, 0, picture)
    tracked = finder.track(frame, trail.face)
    look = face_look(frame, tracked.landmarks) if tracked else trail.look
    if tracked and not breaks(trail, tracked, look, picture, stamp) and _known(trail, look) < DOUBT:
        search = _Search(tracked)
    else:
        search = _searched(finder, frame, trail, tracked, picture, stamp)
    face, anew, same, others = search
    if face is None:
        return Sighting(stamp, None, trail.shot, picture, None), replace(trail, recent=picture, others=others)
    for _ in range(REFINED if anew else 0):  # or what a large face gains by it would look like a leap
        face = finder.track(frame, face) or face
    if face is not tracked:
        look = face_look(frame, face.landmarks)
    looks = trail.looks if same else ()
    if not same or _known(trail, look) > KNOWN:
        looks = (*looks, look)[-VIEWS:]
    step = strangeness(trail.look, look, change(trail.picture, picture))
    steps = () if anew else (*trail.steps, step)[-MEMORY:]
    shot = trail.shot + anew
    return Sighting(stamp, face, shot, picture, look), Trail(face, look, looks, picture, stamp, shot, picture, steps)


def breaks(trail: Trail, face: Face, look: Array, picture: Array, stamp: float) -> bool:
    """Whether this face cannot be the one that left the trail, in one shot."""
    if jumps(trail.face, face, stamp - trail.stamp):
        return True
    changed = change(trail.picture, picture)
    if trail.recent is not trail.picture:
        return _known(trail, look) + min(changed / TELLING, MOST_TOLD) > BREAK
    if unlikeness(trail.look, look) < ALIKE:
        return False
    odd = strangeness(trail.look, look, changed)
    return odd > BROKEN or (odd > ODD and odd > max(trail.steps, default=CALM) + SUDDEN)


def _known(trail: Trail, look: Array) -> float:
    """Unlikeness to the most similar look that is known of the person."""
    return min(unlikeness(look, known) for known in (trail.look, *trail.looks))


def jumps(before: Face, after: Face, seconds: float) -> bool:
    """Whether a head moves or grows faster than heads do."""
    places, sizes = zip(*(_place(face) for face in (before, after)), strict=True)
    moved = float(np.linalg.norm(places[1] - places[0])) / min(sizes)
    grown = abs(float(np.log(sizes[1] / sizes[0])))
    limits = (min(start + rate * seconds, most) for start, rate, most in (SHIFT, SWELL))
    return any(value > limit for value, limit in zip((moved, grown), limits, strict=True))


def _place(face: Face) -> tuple[Array, float]:
    """Middle [2] px of the rigid landmarks, and the face's height by how far they spread."""
    points = face.landmarks[list(RIGID), :2].astype(np.float64)
    middle = points.mean(0)
    return middle, max(3.2 * float(np.sqrt(((points - middle) ** 2).sum(1).mean())), 1.0)


def _searched(
    finder: FaceFinder, frame: Array, trail: Trail, tracked: Face | None, picture: Array, stamp: float
) -> _Search:
    """The same person in all of the frame; somebody else if the picture is another, or nobody for some time."""
    faces = finder.find(frame, trail.face)
    faces = [tracked if tracked and _same_place(tracked, face) else face for face in faces]
    if tracked and not any(face is tracked for face in faces):
        faces.append(tracked)
    if not faces:
        return _Search(None)
    looks = [face_look(frame, face.landmarks) for face in faces]
    unlike = [_known(trail, look) for look in looks]
    order = sorted(range(len(faces)), key=unlike.__getitem__)
    best = order[0]
    going_on = [k for k in order if not breaks(trail, faces[k], looks[k], picture, stamp)]
    if going_on and (going_on[0] == best or unlike[best] > SAME or unlike[going_on[0]] < DOUBT):
        return _Search(faces[going_on[0]])
    if unlike[best] < SAME:
        return _Search(faces[best], anew=True)
    waiting = stamp - trail.stamp < PATIENCE
    new = [face for face in faces if face.score > SURE and not (waiting and _was_there(trail, face, frame, picture))]
    if not new:
        return _Search(None, others=tuple(faces))
    return _Search(max(new, key=lambda face: face_height(face.landmarks)), anew=True, same=False)


def _same_place(one: Face, other: Face) -> bool:
    (here, height), (there, size) = _place(one), _place(other)
    return bool(np.linalg.norm(here - there) < 0.25 * max(height, size) and 0.7 < height / size < 1.4)


def _was_there(trail: Trail, face: Face, frame: Array, picture: Array) -> bool:
    """Whether this is somebody else in the same picture: the frame before showed the same, or a face, at this place."""
    if any(_same_place(other, face) for other in trail.others):
        return True
    if _same_place(trail.face, face):
        return False
    ratio = np.array(picture.shape[1::-1]) / np.array(frame.shape[1::-1])
    low, high = (pick(face.landmarks[:, :2], 0) * ratio for pick in (np.min, np.max))
    columns, rows = (slice(max(0, int(a)), max(1, int(np.ceil(b)))) for a, b in zip(low, high, strict=True))
    before, now = trail.recent[rows, columns], picture[rows, columns]
    return now.size == 0 or change(before, now) < CHANGED


def fit_person(landmarks: Array) -> tuple[Array, Array, Array]:
    """A person's mesh [478, 3] (the median over frames, placed like the canonical face) and every frame's pose.

    landmarks [T, 478, 3] in crop px. Poses fit the rigid landmarks of the person's own mesh.
    """
    rigid = list(RIGID)
    canonical = canonical_face()[0][rigid].astype(np.float64)
    points = canonical
    for _ in range(ROUNDS):
        rotations, translations = solve_pose(points, landmarks[:, rigid, :2], crop_matrix())
        meshes = head_meshes(landmarks, rotations, translations, crop_matrix())
        mesh = placed(np.median(meshes, 0), canonical)
        points = mesh[rigid]
    return mesh, rotations, translations


def placed(mesh: Array, canonical: Array) -> Array:
    """A mesh [478, 3] moved, turned and scaled so that its rigid landmarks fit the canonical ones [R, 3].

    Umeyama, 1991.
    """
    points = mesh[list(RIGID)]
    middle, target = points.mean(0), canonical.mean(0)
    u, singular, vt = np.linalg.svd((canonical - target).T @ (points - middle))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = singular.sum() / np.sum((points - middle) ** 2)
    return (mesh - middle) @ rotation.T * scale + target


def smooth_pose(rotations: Array, translations: Array) -> tuple[Array, Array]:
    """Poses [T, 3, 3] and [T, 3] smoothed in time without lag."""
    middle = rotations[len(rotations) // 2]
    vectors = matrix_to_rotvec(rotations @ middle.T)
    smooth = gaussian_filter1d(vectors, SMOOTHING, axis=0, mode="nearest")
    return rotvec_to_matrix(smooth) @ middle, gaussian_filter1d(translations, SMOOTHING, axis=0, mode="nearest")


def calm_frames(meshes: Array, blendshapes: Array) -> Array:
    """Indices of the frames nearest to rest: lips closed, little smile, funnel or pucker.

    meshes [T, 478, 3] cm, blendshapes [T, 52].
    """
    restless = blendshapes[:, [BLENDSHAPES.index(name) for name in RESTLESS]]
    unrest = np.maximum(restless - np.quantile(restless, 0.1, axis=0), 0).sum(1)
    unrest += 8 * np.maximum(meshes[:, INNER_LOWER_LIP, 1] - meshes[:, INNER_UPPER_LIP, 1], 0)
    return np.argsort(unrest, kind="stable")[: max(4, int(RESTING * len(meshes)))]


def displacement(meshes: Array, rotations: Array, calm: Array) -> tuple[Array, Array]:
    """(meshes [T, V, 3] minus rest, cm; rest [V, 3], their median over the `calm` frames); rotations [T, 3, 3].

    What follows the head's rotation is taken out (ridge regression within the clip): it is the error of the
    mesh's depth, not expression. Of short clips little is: there much goes with the head's rotation by chance.
    """
    rest = np.median(meshes[calm], 0)
    move = (meshes - rest).reshape(len(meshes), -1)
    turns = matrix_to_rotvec(rotations @ rotations[calm[0]].T)  # [T, 3] radians
    turns = turns - np.median(turns[calm], 0)
    centred = turns - turns.mean(0)
    moment = centred.T @ centred + POSE_RIDGE * np.eye(3)
    slope = np.linalg.solve(moment, centred.T @ (move - move.mean(0)))
    return (move - turns @ slope).reshape(meshes.shape).astype(np.float32), rest
