"""The lower face's first and last steps on a processor: `LowerFaceNet`'s own formulas, compiled.

torch's means and maxima of windows visit every pixel of every window; here columns are taken after rows. What the
network does between the two is torch's.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from mggdub.compiled import compiled
from mggdub.types import LUMA

CELL = 2  # px, side of what is one pixel to the network
SMOOTH = (1, 4, 6, 4, 1)  # of changes beyond the lips
DECIDED = (0.04, 0.14)  # of 0..1, coarse change: none and all of the fine one
BRIGHT = (0.3, 0.5)  # luma of teeth: between the lips, none and all of what is kept light
LIGHT, TEETH_LIGHT = (0.0, 2.5), (0.9, 1.05)  # least and most times as bright: anything there, and what is kept
BETWEEN = 0.5  # of a change that is made between the lips
UNLIT = 0.03  # of 0..1, that is added to colours before their ratio is taken
f4 = np.float32
_LINE = tuple(f4(weight / sum(SMOOTH)) for weight in SMOOTH)
_kernel: Any = compiled(boundscheck=False, fastmath={"contract", "arcp", "nsz", "reassoc"}, error_model="numpy")


@_kernel
def fold(x, folded):
    """Fill folded [S / CELL, S / CELL, C CELL²] with x [C, S, S] as `pixel_unshuffle` does, channels last."""
    for row in range(folded.shape[0]):
        for column in range(folded.shape[1]):
            cell = folded[row, column]
            for channel in range(x.shape[0]):
                for i in range(CELL):
                    for j in range(CELL):
                        cell[(channel * CELL + i) * CELL + j] = x[channel, row * CELL + i, column * CELL + j]


@_kernel
def shape_change(change, drawn, lips, inside):
    """Keep of a change [3, S, S] its fine part only where it belongs; lips and inside [S, S] 0..1.

    Between the lips its coarse part becomes light on what is drawn [3, S, S].
    """
    size, low, span = lips.shape[0], f4(DECIDED[0]), f4(DECIDED[1] - DECIDED[0])
    coarse, largest = np.empty_like(change), np.zeros((size, size), f4)
    near, spare = np.empty((size, size), f4), np.empty((size, size), f4)
    _near(lips, near, spare)
    for k in range(3):
        _smooth(change[k], coarse[k], spare)
        _lead(change[k], coarse[k], near)
        _mean(change[k], coarse[k], spare)
        _mean(coarse[k], coarse[k], spare)
        for i in range(size):
            for j in range(size):
                largest[i, j] = max(largest[i, j], abs(coarse[k, i, j]))
    _mean(largest, largest, spare)
    for i in range(size):
        for j in range(size):
            share = min(max((largest[i, j] - low) / span, f4(0)), f4(1))
            near[i, j] = share * share * (f4(3) - f4(2) * share)
    for k in range(3):
        _lead(change[k], coarse[k], near)
    _light(change, drawn, inside, coarse, spare)


@_kernel
def _light(change, drawn, inside, coarse, spare):
    """`lower_face._lit`, in place; coarse [3, S, S] and spare [S, S] are overwritten."""
    size, low, span, unlit = inside.shape[0], f4(BRIGHT[0]), f4(BRIGHT[1] - BRIGHT[0]), f4(UNLIT)
    smooth = np.empty_like(coarse)
    for k in range(3):
        _mean(change[k], coarse[k], spare)
        _mean(coarse[k], coarse[k], spare)
        _mean(drawn[k], smooth[k], spare)
        _mean(smooth[k], smooth[k], spare)
    for i in range(size):
        for j in range(size):
            total = f4(0)
            for y in range(max(i - 1, 0), min(i + 2, size)):
                for x in range(max(j - 1, 0), min(j + 2, size)):
                    total += inside[y, x]
            if total <= 0:
                continue
            luma = f4(LUMA[0]) * smooth[0, i, j] + f4(LUMA[1]) * smooth[1, i, j] + f4(LUMA[2]) * smooth[2, i, j]
            kept, here = min(max((luma - low) / span, f4(0)), f4(1)), total * f4(1 / 9)
            for k in range(3):
                light = f4(1) + coarse[k, i, j] / (smooth[k, i, j] + unlit)
                light = min(max(light, f4(LIGHT[0])), f4(LIGHT[1]))
                light += kept * (min(max(light, f4(TEETH_LIGHT[0])), f4(TEETH_LIGHT[1])) - light)
                change[k, i, j] += (drawn[k, i, j] * (light - f4(1)) - coarse[k, i, j]) * here
                change[k, i, j] *= f4(1) - f4(1 - BETWEEN) * here


@_kernel
def _lead(fine, coarse, share):
    """Replace fine [S, S] by coarse [S, S], but for its share [S, S]."""
    for i in range(fine.shape[0]):
        for j in range(fine.shape[1]):
            fine[i, j] = coarse[i, j] + (fine[i, j] - coarse[i, j]) * share[i, j]


@_kernel
def _smooth(picture, out, spare):
    """Five weights across and down; the edge goes on."""
    size = picture.shape[0]
    a, b, c, d, e = _LINE
    for i in range(size):
        rows = (picture[max(i - 2, 0)], picture[max(i - 1, 0)], picture[i])
        below = (picture[min(i + 1, size - 1)], picture[min(i + 2, size - 1)])
        for j in range(size):
            spare[i, j] = a * rows[0][j] + b * rows[1][j] + c * rows[2][j] + d * below[0][j] + e * below[1][j]
    for i in range(size):
        row, to = spare[i], out[i]
        for j in range(2, size - 2):
            to[j] = a * row[j - 2] + b * row[j - 1] + c * row[j] + d * row[j + 1] + e * row[j + 2]
        for j in (0, 1, size - 2, size - 1):
            left, right = max(j - 2, 0), min(j + 2, size - 1)
            to[j] = a * row[left] + b * row[max(j - 1, 0)] + c * row[j] + d * row[min(j + 1, size - 1)] + e * row[right]


@_kernel
def _mean(picture, out, spare):
    """The mean of up to 5 x 5 px around each; out may be the picture itself."""
    size = picture.shape[0]
    for i in range(size):
        first, last = max(i - 2, 0), min(i + 2, size - 1)
        for j in range(size):
            spare[i, j] = picture[first, j]
        for k in range(first + 1, last + 1):
            for j in range(size):
                spare[i, j] += picture[k, j]
    for i in range(size):
        first, last = max(i - 2, 0), min(i + 2, size - 1)
        gain, row, to = f4(1) / f4(last - first + 1), spare[i], out[i]
        for j in range(2, size - 2):
            to[j] = (row[j - 2] + row[j - 1] + row[j] + row[j + 1] + row[j + 2]) * (gain * f4(0.2))
        for j in (0, 1, size - 2, size - 1):
            first, last, total = max(j - 2, 0), min(j + 2, size - 1), f4(0)
            for k in range(first, last + 1):
                total += row[k]
            to[j] = total * gain / f4(last - first + 1)


@_kernel
def _near(lips, near, spare):
    """The largest of 7 x 7 px around each, then the mean of 5 x 5; beyond the edge there is nothing."""
    size = lips.shape[0]
    for i in range(size):
        first, last = max(i - 3, 0), min(i + 3, size - 1)
        for j in range(size):
            spare[i, j] = lips[first, j]
        for k in range(first + 1, last + 1):
            for j in range(size):
                spare[i, j] = max(spare[i, j], lips[k, j])
    for i in range(size):
        row, to = spare[i], near[i]
        for j in range(3, size - 3):
            left = max(max(row[j - 3], row[j - 2]), row[j - 1])
            to[j] = max(max(left, row[j]), max(max(row[j + 1], row[j + 2]), row[j + 3]))
        for j in (0, 1, 2, size - 3, size - 2, size - 1):
            most = row[j]
            for k in range(max(j - 3, 0), min(j + 4, size)):
                most = max(most, row[k])
            to[j] = most
    _mean(near, near, spare)
    for i in range(size):  # `_mean` divides by what lies inside, this one by all 25
        tall = min(i + 2, size - 1) - max(i - 2, 0) + 1
        for j in range(size):
            wide = min(j + 2, size - 1) - max(j - 2, 0) + 1
            if tall * wide < 25:
                near[i, j] *= f4(tall * wide) * f4(1 / 25)
