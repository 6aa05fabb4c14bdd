"""The learned bases of an avatar in one frame, without what a frame does not need of them.

Every frame reads every basis once, which takes memory more time than the sums take the processor: so they are kept in
16 bits, which are exact for an avatar that was saved, and only around the splats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from mggdub.compiled import compiled
from mggdub.types import Array

LARGEST = 32767  # of 16 bits


@dataclass(frozen=True, eq=False)
class PlacedBases:
    """K fields over the crop, where splats lie."""

    codes: Array  # [K, h, w * 3] int16
    steps: Array  # [K] float32, what a code of 1 is: powers of two
    corner: tuple[int, int]  # top and left cell of the fields
    size: int  # G, cells along a side of the crop

    @classmethod
    def of(cls, bases: Array, place: Array) -> PlacedBases:
        """bases [K, 3, G, G] float32, place [N, 2] 0..1 of the splats."""
        size = bases.shape[-1]
        cells = np.floor(place * size - 0.5).astype(int)
        left, top = (cells.min(0) - 1).clip(0)  # places are rounded elsewhere, too
        right, bottom = cells.max(0) + 3  # and the cell beyond is looked up
        cut = bases[:, :, top:bottom, left:right].transpose(0, 2, 3, 1)
        steps = np.exp2(np.ceil(np.log2(np.maximum(np.abs(cut).max((1, 2, 3)), 1e-12) / LARGEST)))
        codes = np.rint(cut / steps[:, None, None, None]).astype(np.int16)
        return cls(codes.reshape(*codes.shape[:2], -1), steps.astype(np.float32), (int(top), int(left)), size)

    def blend(self, weights: Array) -> Array:
        """[G, G, 3] float32: the sum of the fields times weights [K]; undefined where no splat looks."""
        field = np.empty((self.size, self.size * 3), np.float32)
        _blend(self.codes, weights * self.steps, *self.corner, field)
        return field.reshape(self.size, self.size, 3)


@compiled(parallel=True, boundscheck=False, fastmath=True)
def _blend(codes, weights, top, left, field):  # type: ignore[no-untyped-def]
    for i in prange(codes.shape[1]):
        row = field[top + i, 3 * left : 3 * left + codes.shape[2]]
        row[:] = np.float32(0)
        for k in range(codes.shape[0]):
            line, weight = codes[k, i], weights[k]
            for j in range(row.shape[0]):
                row[j] += weight * np.float32(line[j])
