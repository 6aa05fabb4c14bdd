"""A hole in a picture filled with parts of what is known round it, each as it is, moved by what most others are.

After He and Sun, Statistics of Patch Offsets for Image Completion, 2012; parts are chosen and joined more simply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import halved, push_pull
from mggdub.types import Array

Offset = tuple[int, int]  # rows and columns, px, from a place to what is seen there instead

REACH, LEAST = 6.0, 1.0  # cm: the longest and the shortest offset
STEP = 0.45  # cm between offsets that are tried
FEW = 40  # offsets that are used, the most frequent ones
SEAM, CLEAR = 2.0, 0.3  # cm beside the hole that offsets are judged by; from the hole where parts are taken
AROUND = (0.25, 0.8)  # cm, standard deviations of what counts beside a place
FAR = 0.4  # squared colours by which the longest offset is worse
VOTES, JOIN = 0.25, 0.12  # cm over which a place asks its neighbours, and over which parts mix
OVERLAP = 0.3  # cm that parts go on over what is known, whose colours they get
SMALLEST = 40  # px, a picture's shorter side
LEAST_SEEN = 1e-3  # of what is round a place, to judge by


def patch_fill(image: Array, known: Array, wanted: Array, cm: float) -> Array:
    """[H, W, 3] float32: the image [H, W, 3] float32 0..1 with what is not `known` filled; cm of a pixel.

    known and wanted [H, W] bool. Parts of the picture fill what is wanted, smooth colours all else; known pixels stay.
    """
    smooth, hole = push_pull(image, known.astype(np.float32)), wanted & ~known
    if not hole.any() or min(hole.shape) < SMALLEST:
        return smooth
    beside = known & (distance_inside(~hole) * cm < SEAM)
    scene = _Scene(image, beside, known & (distance_inside(known) * cm > CLEAR), hole, cm)
    half = scene.halved()
    offsets = [(2 * down, 2 * right) for down, right in _frequent_offsets(half.halved())]
    if not offsets:
        return smooth
    parts = _enlarged(_parts(half, offsets), hole.shape)
    laid, weight = _laid(scene, parts, [(2 * down, 2 * right) for down, right in offsets])
    edge = known & (weight > 0) & (distance_inside(known) * cm < OVERLAP)
    laid += push_pull(image - laid, edge.astype(np.float32))  # so that both meet in one colour
    return np.where((hole & (weight > 0))[..., None], laid.clip(0, 1), smooth).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Scene:
    """A picture with a hole at one of its sizes."""

    image: Array  # [h, w, 3]
    beside: Array  # [h, w] bool: what is known beside the hole
    sources: Array  # [h, w] bool: what may fill it
    hole: Array  # [h, w] bool
    cm: float  # of a pixel

    def halved(self) -> _Scene:
        """The same at half the size."""
        beside, sources = (halved(mask) > 0.99 for mask in (self.beside, self.sources))
        return _Scene(halved(self.image), beside, sources, halved(self.hole) > 0, 2 * self.cm)

    @property
    def filled(self) -> Array:
        """[h, w] bool: the hole, and where its fill goes on beside it."""
        return np.asarray(ndimage.binary_dilation(self.hole, iterations=max(1, round(OVERLAP / self.cm))))


def _frequent_offsets(scene: _Scene) -> list[Offset]:
    """The offsets that fit best in most places, the most frequent one first."""
    reach, step = int(REACH / scene.cm), max(1, round(STEP / scene.cm))
    way = range(-reach // step * step, reach + 1, step)
    tried = [(down, right) for down in way for right in way if LEAST <= np.hypot(down, right) * scene.cm <= REACH]
    best, fits = np.full(scene.hole.shape, np.inf, np.float32), np.full(scene.hole.shape, -1)
    for number, offset in enumerate(tried):
        misfit = _misfit(scene, offset)
        fits[misfit < best] = number
        best = np.minimum(best, misfit)
    counts = np.bincount(fits[scene.filled & (fits >= 0)], minlength=len(tried))
    return [tried[k] for k in np.argsort(-counts, kind="stable")[:FEW] if counts[k] > 0]


def _misfit(scene: _Scene, offset: Offset) -> Array:
    """[h, w] float32: how far what is known beside a place is off from what lies beside its source; inf without one."""
    there = _moved(scene.sources, offset)
    both = (scene.beside & there).astype(np.float32)
    apart = np.square(scene.image - _moved(scene.image, offset)).sum(-1) * both
    off = np.full(both.shape, FAR * np.hypot(*offset) * scene.cm / REACH, np.float32)
    for around in AROUND:
        seen, total = (ndimage.gaussian_filter(x, around / scene.cm, truncate=3.0) for x in (both, apart))
        off += np.where(seen > LEAST_SEEN, total / np.maximum(seen, LEAST_SEEN), 1) / len(AROUND)
    return np.where(there, off, np.inf).astype(np.float32)


def _parts(scene: _Scene, offsets: list[Offset]) -> Array:
    """[h, w]: the number of the offset that fills a place, as its neighbours agree; -1 where none does."""
    misfits = np.stack([_misfit(scene, offset) for offset in offsets])  # [O, h, w]
    possible, filled = np.isfinite(misfits), scene.filled
    parts = np.where(filled & possible.any(0), misfits.argmin(0), -1)
    for _ in range(3):
        votes = [
            ndimage.gaussian_filter((parts == k).astype(np.float32), VOTES / scene.cm) for k in range(len(offsets))
        ]
        agreed = np.where(possible, np.stack(votes), -1).argmax(0)
        parts = np.where(parts < 0, -1, agreed)
    return parts


def _laid(scene: _Scene, parts: Array, offsets: list[Offset]) -> tuple[Array, Array]:
    """The picture [h, w, 3] of all parts, mixed where they meet, and how much is laid at each place [h, w]."""
    total, weights = np.zeros_like(scene.image), np.zeros(parts.shape, np.float32)
    for number, offset in enumerate(offsets):
        weight = ndimage.gaussian_filter((parts == number).astype(np.float32), max(0.5, JOIN / scene.cm))
        weight = np.where(_moved(scene.sources, offset) & (weight > LEAST_SEEN), weight, 0)
        total += weight[..., None] * _moved(scene.image, offset)
        weights += weight
    return total / np.maximum(weights, 1e-6)[..., None], weights


def _moved(picture: Array, offset: Offset) -> Array:
    """What is seen at an offset from every place of a picture [h, w, ...]; nothing beyond its edge."""
    moved = np.zeros_like(picture)
    (into, out_of) = zip(*(_overlap(side, by) for side, by in zip(picture.shape, offset, strict=False)), strict=True)
    moved[into] = picture[out_of]
    return moved


def _overlap(side: int, by: int) -> tuple[slice, slice]:
    """Where places are whose source lies in a picture, and where those sources are, along one of its sides."""
    return slice(max(-by, 0), max(side - max(by, 0), 0)), slice(max(by, 0), max(side - max(-by, 0), 0))


def _enlarged(parts: Array, shape: tuple[int, ...]) -> Array:
    rows, columns = (np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, parts.shape, strict=True))
    return np.asarray(parts[rows[:, None], columns])
