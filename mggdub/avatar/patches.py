"""A hole in a picture filled with patches of what is known round it, from coarse to fine.

After Wexler, Shechtman and Irani, Space-Time Completion of Video, 2007, with the search of Barnes et al., PatchMatch,
2009.
"""

from __future__ import annotations

import numpy as np
from numba import float32 as f4
from numba import int64 as i8
from scipy import ndimage

from mggdub.compiled import compiled
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import push_pull
from mggdub.types import Array

RADIUS = 3  # px: patches of 7 by 7
LEVELS = 4  # at most, each half the size of the one before
SMALLEST = 40  # px, a picture's shorter side
ROUNDS = (1, 2, 4, 5)  # of searching and painting, from the finest level on
SEARCHES = 2  # through all patches in a round, there and back


def patch_fill(image: Array, known: Array, wanted: Array) -> Array:
    """[H, W, 3] float32: the image [H, W, 3] float32 0..1 with what is not `known` filled.

    known and wanted [H, W] bool. Patches fill what is wanted, smooth colours all else; known pixels stay.
    """
    smooth = push_pull(image, known.astype(np.float32))
    levels = _levels(smooth, known, wanted & ~known)
    if not levels:
        return smooth
    filled, nearest = levels[-1][0], np.full((*levels[-1][2].shape, 2), -1, np.int32)
    for number in range(len(levels) - 1, -1, -1):
        picture, free, hole = levels[number]
        start = picture.copy()
        if number < len(levels) - 1:
            start[hole] = _enlarged(filled, picture.shape)[hole]
            nearest = _doubled(nearest, picture.shape[:2])
        filled, nearest = _fill_level(start, free, hole, nearest, ROUNDS[number])
    return filled


def _levels(image: Array, known: Array, hole: Array) -> list[tuple[Array, Array, Array]]:
    """Picture, what is known and what is to be filled at every size, the finest first; none if nothing can be."""
    levels: list[tuple[Array, Array, Array]] = []
    while len(levels) < LEVELS and min(known.shape) >= SMALLEST and hole.any() and _sources(known).any():
        levels.append((np.ascontiguousarray(image, np.float32), known, hole))
        image, whole, part = (_halved(values) for values in (image, known[..., None], hole[..., None]))
        known = whole[..., 0] > 0.99
        hole = (part[..., 0] > 0) & ~known
    return levels


def _halved(image: Array) -> Array:
    """Every second pixel in both directions, the mean of four; an odd last row or column is left out."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    part = image[:height, :width].astype(np.float32)
    return (part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) / 4


def _enlarged(image: Array, shape: tuple[int, ...]) -> Array:
    rows, columns = ((np.arange(n) + 0.5) / 2 - 0.5 for n in shape[:2])
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([ndimage.map_coordinates(image[..., k], at, order=1, mode="nearest") for k in range(3)], -1)


def _doubled(nearest: Array, shape: tuple[int, int]) -> Array:
    """Where patches come from at twice the size."""
    rows, columns = (np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, nearest.shape[:2], strict=True))
    here = nearest[rows[:, None], columns]
    odd = np.stack(np.meshgrid(np.arange(shape[0]) % 2, np.arange(shape[1]) % 2, indexing="ij"), -1)
    return np.where(here < 0, -1, 2 * here + odd).astype(np.int32)


def _sources(known: Array) -> Array:
    """[H, W] bool: middles of patches that are known and lie within the picture."""
    side = 2 * RADIUS + 1
    return np.asarray(ndimage.binary_erosion(known, np.ones((side, side)), border_value=0))


def _fill_level(image: Array, known: Array, hole: Array, nearest: Array, rounds: int) -> tuple[Array, Array]:
    sources = _sources(known)
    places = np.argwhere(sources).astype(np.int32)
    side = 2 * RADIUS + 1
    targets = ndimage.binary_dilation(hole, np.ones((side, side)))
    inner = np.zeros_like(hole)
    inner[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
    at = np.argwhere(targets & inner).astype(np.int32)
    deep = distance_inside(hole).astype(np.float32)  # px from what is known
    for turn in range(rounds):
        apart = _search(image, sources, places, at, nearest, turn)
        _paint(image, hole, deep, at, nearest, apart)
    return image, nearest


@compiled(nogil=True)
def _distance(image, ay, ax, by, bx, most):  # type: ignore[no-untyped-def]
    """Squared difference of two patches, or something above `most`."""
    total = f4(0)
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            for k in range(3):
                off = image[ay + dy, ax + dx, k] - image[by + dy, bx + dx, k]
                total += off * off
        if total > most:
            return total
    return total


@compiled(nogil=True)
def _search(image, sources, places, at, nearest, seed):  # type: ignore[no-untyped-def]
    """Better sources [H, W, 2] for the patches round `at` [N, 2], in place; their distances [H, W]."""
    height, width = sources.shape
    apart = np.full((height, width), f4(1e30))
    count, state = len(places), np.uint64(88172645463325252 + seed)
    for n in range(len(at)):
        y, x = at[n, 0], at[n, 1]
        sy, sx = nearest[y, x, 0], nearest[y, x, 1]
        if sy < 0 or sy >= height or sx >= width or not sources[sy, sx]:
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            pick = i8(state % np.uint64(count))
            sy, sx = places[pick, 0], places[pick, 1]
            nearest[y, x, 0], nearest[y, x, 1] = sy, sx
        apart[y, x] = _distance(image, y, x, sy, sx, f4(1e30))
    for turn in range(SEARCHES):
        step = 1 if turn % 2 == 0 else -1
        for n in range(len(at)):
            y, x = at[n if step > 0 else len(at) - 1 - n]
            best = apart[y, x]
            for k in range(2):
                py, px = y - step * (1 - k), x - step * k
                if py < 0 or px < 0 or py >= height or px >= width or nearest[py, px, 0] < 0:
                    continue
                sy, sx = nearest[py, px, 0] + step * (1 - k), nearest[py, px, 1] + step * k
                if 0 <= sy < height and 0 <= sx < width and sources[sy, sx]:
                    found = _distance(image, y, x, sy, sx, best)
                    if found < best:
                        best = found
                        nearest[y, x, 0], nearest[y, x, 1] = sy, sx
            reach = max(height, width)
            while reach >= 1:
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                span = np.uint64(2 * reach + 1)
                sy = nearest[y, x, 0] + i8(state % span) - reach
                sx = nearest[y, x, 1] + i8((state >> np.uint64(24)) % span) - reach
                if 0 <= sy < height and 0 <= sx < width and sources[sy, sx]:
                    found = _distance(image, y, x, sy, sx, best)
                    if found < best:
                        best = found
                        nearest[y, x, 0], nearest[y, x, 1] = sy, sx
                reach //= 2
            apart[y, x] = best
    return apart


@compiled(nogil=True)
def _paint(image, hole, deep, at, nearest, apart):  # type: ignore[no-untyped-def]
    """What is to be filled becomes the mean of the patches that cover it, those that fit well and lie outside first."""
    height, width = hole.shape
    total, weights = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    spread = f4(0)
    for n in range(len(at)):
        spread += apart[at[n, 0], at[n, 1]]
    spread = spread / f4(max(len(at), 1)) + f4(1e-4)
    for n in range(len(at)):
        y, x = at[n, 0], at[n, 1]
        sy, sx = nearest[y, x, 0], nearest[y, x, 1]
        weight = f4(np.exp(-apart[y, x] / spread)) * f4(1.3) ** (-min(deep[y, x], f4(30)))
        for dy in range(-RADIUS, RADIUS + 1):
            for dx in range(-RADIUS, RADIUS + 1):
                if hole[y + dy, x + dx]:
                    weights[y + dy, x + dx] += weight
                    for k in range(3):
                        total[y + dy, x + dx, k] += weight * image[sy + dy, sx + dx, k]
    for y in range(height):
        for x in range(width):
            if hole[y, x] and weights[y, x] > 0:
                for k in range(3):
                    image[y, x, k] = total[y, x, k] / weights[y, x]
