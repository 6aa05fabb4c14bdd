"""Direct alignment: how head and torso move through a video, from all their pixels against its first frame.

Landmarks tremble by a pixel; a thousand pixels at once do not. Pictures are compared by local contrast, so that light
may change, with robust weights, so that a hand or a lock of hair may pass. Inverse compositional Gauss-Newton from
coarse to fine (Baker and Matthews, Lucas-Kanade 20 Years On, 2004); the head's pose is held near its landmarks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mggdub.compiled import compiled
from mggdub.geometry.camera import crop_matrix, project_with, projection_slopes
from mggdub.geometry.rotation import cross_matrix, rotvec_to_matrix
from mggdub.types import LUMA, Array

SIZE = 224  # px, side of the crops that are aligned
WINDOW = 17  # px, in which contrast is local
DARK = 4.0  # grey levels of contrast that count as none
BLURS = (4.0, 2.0, 0.7)  # px, sigma from coarse to fine
STEPS = (6, 5, 4)  # of Gauss-Newton at each
DOUBT = 0.45  # of contrast: a larger difference loses its weight
LANDMARK_WEIGHT = 0.1  # of a landmark's squared px, against a pixel's squared contrast
FEWEST = 150  # pixels that show how a torso moves
LOST = 0.6  # mean difference of contrast: the torso is not where it was thought to be
STIFF = (3e-5, 3e-5, 5e-3, 5e-3)  # of all pixels: pull of the torso's motion (x, y, size, turn) towards none
LEVER = SIZE / 4  # px, by which size and turn are counted
MATRIX = crop_matrix(SIZE).astype(np.float64)


@dataclass(frozen=True, eq=False)
class TrackedPoints:
    """What is followed, as it is in the first frame."""

    skin: Array  # [P, 3] cm in head space, where expressions hardly move it
    marks: Array  # [K, 3] cm, the landmarks that hold the pose
    torso: Array  # [Q, 2] px of the crop


@dataclass(frozen=True, eq=False)
class Alignment:
    """Poses of the head, and how the torso moved in the crop: a point z goes to pivot + turn * (z - pivot) + shift."""

    rotations: Array  # [T, 3, 3]
    translations: Array  # [T, 3] cm
    pivot: complex  # px
    shifts: Array  # [T] complex, px
    turns: Array  # [T] complex, size and turn

    def without_first(self) -> Alignment:
        """Of all frames but the first."""
        rest = (part[1:] for part in (self.rotations, self.translations, self.shifts, self.turns))
        rotations, translations, shifts, turns = rest
        return Alignment(rotations, translations, self.pivot, shifts, turns)


def levels(crop: Array) -> list[Array]:
    """Local contrast [SIZE, SIZE] of a crop [SIZE, SIZE, 3] uint8, from coarse to fine."""
    grey = crop @ np.array(LUMA, np.float32)
    detail = grey - ndimage.uniform_filter(grey, WINDOW)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(detail * detail, WINDOW), 0))  # sums run, and round below 0
    contrast = detail / (spread + DARK)
    return [ndimage.gaussian_filter(contrast, sigma, truncate=3.0) for sigma in BLURS]


def refine_poses(
    crops: Iterable[Array], anchors: TrackedPoints, marks: Array, rotations: Array, translations: Array
) -> Alignment:
    """Follow `anchors` through crops [SIZE, SIZE, 3] uint8 of T frames.

    marks [T, K, 2] px of the crop; rotations [T, 3, 3] and translations [T, 3] cm are where the search begins.
    """
    rotations, translations = rotations.astype(np.float64), translations.astype(np.float64)
    stream = map(levels, crops)
    first = next(stream)
    head, torso = _Head(first, anchors, rotations[0], translations[0]), _Torso(first, anchors.torso)
    moves = [(0j, 1 + 0j)]
    for frame, pyramid in enumerate(stream, 1):
        pose = head.follow(pyramid, marks[frame], rotations[frame], translations[frame])
        rotations[frame], translations[frame] = pose
        moves.append(torso.follow(pyramid, moves[-1]))
    shifts, turns = np.array(moves).T
    return Alignment(rotations, translations, torso.pivot, shifts, turns)


class _Head:
    """Skin and landmarks of the first frame, and how their pictures change with the pose."""

    def __init__(self, first: list[Array], anchors: TrackedPoints, rotation: Array, translation: Array) -> None:
        self.skin, self.marks = anchors.skin.astype(np.float64), anchors.marks.astype(np.float64)
        at = self._seen(self.skin, rotation, translation)
        by_pose = self._by_pose(self.skin, rotation, translation)
        self.levels = [(values, (slopes[:, None] @ by_pose)[:, 0]) for values, slopes in _template(first, at)]

    def follow(self, pyramid: list[Array], marks: Array, rotation: Array, translation: Array) -> tuple[Array, Array]:
        """The pose [3, 3] and [3] in another frame."""
        for image, (values, slopes), steps in zip(pyramid, self.levels, STEPS, strict=True):
            for _ in range(steps):
                normal, pull, _ = _normal(image, self._seen(self.skin, rotation, translation), values, slopes)
                miss = self._seen(self.marks, rotation, translation) - marks
                weight = LANDMARK_WEIGHT / np.maximum(1, np.linalg.norm(miss, axis=1, keepdims=True))
                by_pose = self._by_pose(self.marks, rotation, translation).reshape(-1, 6)
                weighed = by_pose * np.repeat(weight, 2, axis=0)
                step = np.linalg.solve(normal + weighed.T @ by_pose, pull + weighed.T @ miss.ravel())
                translation = translation - rotation @ step[3:]
                rotation = rotation @ rotvec_to_matrix(-step[None, :3])[0]
        return rotation, translation

    def _seen(self, points: Array, rotation: Array, translation: Array) -> Array:
        return project_with(points @ rotation.T + translation, MATRIX)

    def _by_pose(self, points: Array, rotation: Array, translation: Array) -> Array:
        """[N, 2, 6]: how points move in the crop when they turn (radians) and shift (cm) in head space."""
        by_point = projection_slopes(points @ rotation.T + translation) * MATRIX[[0, 1], [0, 1], None] @ rotation
        return np.concatenate([-by_point @ cross_matrix(points), by_point], -1)


class _Torso:
    """The torso's pixels in the first frame, and how they change when it shifts, grows and turns."""

    def __init__(self, first: list[Array], at: Array) -> None:
        self.enough = len(at) >= FEWEST
        self.pivot = complex(*at.mean(0)) if self.enough else 0j
        self.offset = at[:, 0] + 1j * at[:, 1] - self.pivot  # [Q]
        across, down, one = self.offset.real / LEVER, self.offset.imag / LEVER, np.ones(len(at))
        none = np.zeros(len(at))
        by_move = np.stack([np.stack([one, none, across, -down], 1), np.stack([none, one, down, across], 1)], 1)
        self.levels = [(values, (slopes[:, None] @ by_move)[:, 0]) for values, slopes in _template(first, at)]

    def follow(self, pyramid: list[Array], before: tuple[complex, complex]) -> tuple[complex, complex]:
        """(shift, turn) in another frame; as before where the torso is not seen."""
        if not self.enough:
            return 0j, 1 + 0j
        starts = (before, (0j, 1 + 0j))
        shift, turn = min(starts, key=lambda start: _normal(pyramid[0], self._seen(*start), *self.levels[0])[2])
        error, stiff = 0.0, len(self.offset) * np.array(STIFF)
        for image, (values, slopes), steps in zip(pyramid, self.levels, STEPS, strict=True):
            for _ in range(steps):
                normal, pull, error = _normal(image, self._seen(shift, turn), values, slopes)
                lean = np.array([shift.real, shift.imag, (turn.real - 1) * LEVER, turn.imag * LEVER])
                step = np.linalg.solve(normal + np.diag(stiff), pull + stiff * lean)
                turn = turn / (1 + complex(*step[2:]) / LEVER)
                shift = shift - turn * complex(*step[:2])
        converged = error < LOST and abs(shift) < SIZE / 2
        return (shift, turn) if converged else before

    def _seen(self, shift: complex, turn: complex) -> Array:
        at = self.pivot + turn * self.offset + shift
        return np.stack([at.real, at.imag], 1)


def _template(first: list[Array], at: Array) -> list[tuple[Array, Array]]:
    """Values [P] and slopes [P, 2] at px [P, 2] of every level."""
    places = [at[:, 1] - 0.5, at[:, 0] - 0.5]

    def values(image: Array) -> Array:
        return ndimage.map_coordinates(image, places, order=1, mode="nearest").astype(np.float64)

    return [(values(image), np.stack([values(slope) for slope in np.gradient(image)[::-1]], 1)) for image in first]


@compiled(fastmath=True)
def _normal(image, at, wanted, slopes):  # type: ignore[no-untyped-def]
    """Normal matrix [k, k], right side [k] and mean difference of what an image shows at px [P, 2] to `wanted` [P]."""
    count, size = slopes.shape
    height, width = image.shape
    normal, pull, total = np.zeros((size, size)), np.zeros(size), 0.0
    for i in range(count):
        x, y = at[i, 0] - 0.5, at[i, 1] - 0.5
        if not (x >= 0 and y >= 0 and x < width - 1 and y < height - 1):
            total += 1.0
            continue
        column, row = int(x), int(y)
        u, v = x - column, y - row
        above = image[row, column] * (1 - u) + image[row, column + 1] * u
        below = image[row + 1, column] * (1 - u) + image[row + 1, column + 1] * u
        miss = above * (1 - v) + below * v - wanted[i]
        total += min(abs(miss), 1.0)
        weight = 1 / (1 + (miss / DOUBT) ** 2)
        for a in range(size):
            lean = weight * slopes[i, a]
            pull[a] += lean * miss
            for b in range(a + 1):
                normal[a, b] += lean * slopes[i, b]
    for a in range(size):
        normal[a, a] += 1e-9
        for b in range(a):
            normal[b, a] = normal[a, b]
    return normal, pull, total / max(count, 1)
