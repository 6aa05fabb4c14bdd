"""A face through a clip: where it is in every frame, the person's mesh, head poses, displacement from rest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggdub.geometry.camera import RIGID, crop_matrix, head_meshes, solve_pose
from mggdub.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix
from mggdub.perception.face import FaceFinder, canonical_face
from mggdub.types import BLENDSHAPES, Array, Face

INNER_UPPER_LIP, INNER_LOWER_LIP = 13, 14
SMOOTHING = 1.0  # frames, sigma of the pose's Gaussian; symmetric, so it does not lag
POSE_RIDGE = 0.05  # rad^2, of a clip's head rotation about its mean; less motion than that says little
RESTLESS = (  # units whose activity means that the mouth is not at rest
    *("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft"),
    *("mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"),
)


def follow(frames: Iterable[Array], finder: FaceFinder) -> list[Face | None]:
    """One person's face in every frame [H, W, 3] uint8, None where there is none.

    It is the largest at first, then the one that is tracked, and after it was lost, the one nearest to where it was.
    """
    faces: list[Face | None] = []
    last: Face | None = None
    for frame in frames:
        tracked = finder.track(frame, last) if last is not None else None
        found = tracked or _nearest(finder.find(frame, last), last)
        faces.append(found)
        last = found or last
    return faces


def _nearest(faces: list[Face], last: Face | None) -> Face | None:
    if not faces or last is None:
        return next(iter(faces), None)
    place = last.landmarks[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - place)))


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
