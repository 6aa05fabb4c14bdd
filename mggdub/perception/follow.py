"""A face through a clip: where it is in every frame, the person's mesh, head poses, displacement from rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggdub.geometry.camera import RIGID, crop_matrix, face_height, head_crop, head_meshes, solve_pose
from mggdub.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix
from mggdub.perception.face import SURE, FaceFinder, canonical_face
from mggdub.perception.likeness import change, coarse, face_look, unlikeness
from mggdub.types import BLENDSHAPES, Array, Face

INNER_UPPER_LIP, INNER_LOWER_LIP = 13, 14
SMOOTHING = 1.0  # frames, sigma of the pose's Gaussian; symmetric, so it does not lag
POSE_RIDGE = 0.05  # rad^2, of a clip's head rotation about its mean; less motion than that says little
RESTLESS = (  # units whose activity means that the mouth is not at rest
    *("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft"),
    *("mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"),
)
# What a head can do between two frames: a share, more for every second between them, and the most. In face heights
# (of 7,000 pairs of frames of 91 people the farthest is 0.15) and as the logarithm of its size (0.13).
SHIFT, SWELL = (0.25, 1.5, 1.0), (0.14, 0.8, 0.4)
BREAK = 2.2  # of unlikeness and the picture's change over TELLING: more is another shot (one pair in 3,000)
TELLING, MOST_TOLD = 10.0, 4.0  # grey levels; a picture may change behind somebody who stays
SAME = -1.0  # unlikeness of one person elsewhere; 93 % of pairs of one person, 1.5 % of pairs of two
KNOWN = -3.0  # a face less like the person's known ones becomes one of them
VIEWS = 8  # of a person that are known
CHANGED, REPLACED = 12.0, 25.0  # grey levels: of another picture, of something else where the face was
PATIENCE = 1.0  # s for which a person who is hidden is waited for


@dataclass(frozen=True, eq=False)
class Trail:
    """What is known of the person who is followed."""

    face: Face  # when last seen
    look: Array  # of it, as `face_look`
    looks: tuple[Array, ...]  # how this person has looked
    picture: Array  # then, coarse
    around: Array  # then, of the head's surroundings, coarse
    stamp: float  # s
    shot: int


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


def follow(frames: Iterable[Array], finder: FaceFinder) -> list[Face | None]:
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
    face, anew, same = None, trail is None, True
    if trail is None:
        face = next(iter(finder.find(frame)), None)
    else:
        tracked = finder.track(frame, trail.face)
        if tracked and not breaks(trail, tracked, face_look(frame, tracked.landmarks), picture, stamp):
            face = tracked
        else:
            face, anew, same = _searched(finder, frame, trail, tracked, picture, stamp)
    shot = trail.shot if trail else 0
    if face is None:
        return Sighting(stamp, None, shot, picture, None), trail
    look = face_look(frame, face.landmarks)
    shot += bool(trail and anew)
    known = trail.looks if trail and same else ()
    if not known or min(unlikeness(look, one) for one in known) > KNOWN:
        known = (*known, look)[-VIEWS:]
    trail = Trail(face, look, known, picture, _around(frame, face), stamp, shot)
    return Sighting(stamp, face, shot, picture, look), trail


def breaks(trail: Trail, face: Face, look: Array, picture: Array, stamp: float) -> bool:
    """Whether this face cannot be the one that left the trail, in one shot."""
    told = min(change(trail.picture, picture) / TELLING, MOST_TOLD)
    unlike = min(unlikeness(look, known) for known in (trail.look, *trail.looks))
    return unlike + told > BREAK or jumps(trail.face, face, stamp - trail.stamp)


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
) -> tuple[Face | None, bool, bool]:
    """(the face to follow, whether a shot begins, whether it is the same person) where tracking broke off."""
    faces = finder.find(frame)
    if tracked and tracked.score > SURE and not any(_same_place(tracked, face) for face in faces):
        faces.append(tracked)
    faces = [tracked if tracked and _same_place(tracked, face) else face for face in faces]
    if not faces:
        return None, False, True
    looks = [face_look(frame, face.landmarks) for face in faces]
    unlike = [min(unlikeness(look, one) for one in trail.looks) for look in looks]
    order = sorted(range(len(faces)), key=unlike.__getitem__)
    for k in order:
        if not breaks(trail, faces[k], looks[k], picture, stamp):
            return faces[k], False, True
    best = order[0]
    if unlike[best] < SAME:
        return faces[best], True, True
    other = change(trail.picture, picture) > CHANGED or change(trail.around, _around(frame, trail.face)) > REPLACED
    if not other and stamp - trail.stamp < PATIENCE:
        return None, False, True
    return max(faces, key=lambda face: face_height(face.landmarks)), True, False


def _same_place(one: Face, other: Face) -> bool:
    (here, height), (there, size) = _place(one), _place(other)
    return bool(np.linalg.norm(here - there) < 0.25 * max(height, size) and 0.7 < height / size < 1.4)


def _around(frame: Array, face: Face) -> Array:
    """[18, 32, 3] uint8: the part of a frame in which the head is."""
    crop = head_crop(face.landmarks)
    height, width = frame.shape[:2]
    left, top = (int(np.clip(value, 0, limit - 2)) for value, limit in ((crop.left, width), (crop.top, height)))
    right, bottom = (
        int(np.clip(value + crop.side, start + 2, limit))
        for value, start, limit in ((crop.left, left, width), (crop.top, top, height))
    )
    return coarse(frame[top:bottom, left:right])


def fit_person(landmarks: Array, rounds: int = 3) -> tuple[Array, Array, Array]:
    """A person's mesh [478, 3] (the median over frames, placed like the canonical face) and every frame's pose.

    landmarks [T, 478, 3] in crop px. Poses fit the rigid landmarks of the person's own mesh.
    """
    rigid = list(RIGID)
    canonical = canonical_face()[0][rigid].astype(np.float64)
    points = canonical
    for _ in range(rounds):
        rotations, translations = solve_pose(points, landmarks[:, rigid, :2], crop_matrix())
        meshes = head_meshes(landmarks, rotations, translations, crop_matrix())
        mesh = _placed(np.median(meshes, 0), canonical)
        points = mesh[rigid]
    return mesh, rotations, translations


def _placed(mesh: Array, canonical: Array) -> Array:
    """A mesh moved, turned and scaled so that its rigid landmarks fit the canonical ones."""
    points = mesh[list(RIGID)]
    middle, target = points.mean(0), canonical.mean(0)
    u, singular, vt = np.linalg.svd((canonical - target).T @ (points - middle))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = singular.sum() / np.sum((points - middle) ** 2)
    return (mesh - middle) @ rotation.T * scale + target


def smooth_pose(rotations: Array, translations: Array) -> tuple[Array, Array]:
    """Poses smoothed in time without lag."""
    middle = rotations[len(rotations) // 2]
    vectors = matrix_to_rotvec(rotations @ middle.T)
    smooth = gaussian_filter1d(vectors, SMOOTHING, axis=0, mode="nearest")
    return rotvec_to_matrix(smooth) @ middle, gaussian_filter1d(translations, SMOOTHING, axis=0, mode="nearest")


def calm_frames(meshes: Array, blendshapes: Array, share: float = 0.08) -> Array:
    """Indices of the frames nearest to rest: lips closed, little smile, funnel or pucker."""
    restless = blendshapes[:, [BLENDSHAPES.index(name) for name in RESTLESS]]
    unrest = np.maximum(restless - np.quantile(restless, 0.1, axis=0), 0).sum(1)
    unrest += 8 * np.maximum(meshes[:, INNER_LOWER_LIP, 1] - meshes[:, INNER_UPPER_LIP, 1], 0)
    return np.argsort(unrest, kind="stable")[: max(4, int(share * len(meshes)))]


def displacement(meshes: Array, rotations: Array, calm: Array) -> tuple[Array, Array]:
    """(meshes [T, V, 3] minus rest, cm; rest [V, 3], their median over the `calm` frames); rotations [T, 3, 3].

    What follows the head's rotation is taken out (ridge regression within the clip): it is the error of the
    mesh's depth, not expression.
    """
    rest = np.median(meshes[calm], 0)
    move = (meshes - rest).reshape(len(meshes), -1)
    turns = matrix_to_rotvec(rotations @ rotations[calm[0]].T)  # [T, 3] radians
    turns = turns - np.median(turns[calm], 0)
    centred = turns - turns.mean(0)
    moment = centred.T @ centred + POSE_RIDGE * np.eye(3)
    slope = np.linalg.solve(moment, centred.T @ (move - move.mean(0)))
    return (move - turns @ slope).reshape(meshes.shape).astype(np.float32), rest
