"""The picture without the head, swaying with the torso, and the head laid over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from torch.nn import functional

from mggdub.compiled import compiled
from mggdub.types import Array


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture without its head, and the part of it that sways with the torso."""

    picture: Array  # [H, W, 3] uint8
    plate: Array  # [h, w, 3] float32 0..1, the box that the head may cover
    left: int  # px of the box
    top: int
    part: tuple[int, int, int, int]  # px of what may move: left, top, right, bottom
    still: Array  # [h', w', 3] float32 0..1, that part of the picture with the plate in it
    share: Array  # [h', w'] float32, of the motion

    @classmethod
    def of(cls, picture: Array, plate: Array, left: int, top: int, share: Array) -> Backdrop:
        """share [., .] float32 in coarse cells over the whole picture."""
        height, width = picture.shape[:2]
        wide = functional.interpolate(torch.from_numpy(share)[None, None], (height, width), mode="bilinear")[0, 0]
        share = wide.numpy()
        rows, columns = (np.flatnonzero((share > 0.003).any(axis)) for axis in (1, 0))
        part = (0, 0, 0, 0)
        if len(rows) > 1 and len(columns) > 1:
            part = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        window = (slice(part[1], part[3]), slice(part[0], part[2]))
        whole = picture.astype(np.float32) / 255
        whole[top : top + plate.shape[0], left : left + plate.shape[1]] = plate
        return cls(picture, plate, left, top, part, whole[window].copy(), share[window].copy())

    def moved(self, size_turn: complex, shift: complex, centre: complex) -> tuple[Array, Array]:
        """Plate and picture when what has the whole share goes from z to centre + size_turn * (z - centre) + shift.

        All in px of the picture. What would come from beyond its edge repeats the edge.
        """
        if (size_turn == 1 and shift == 0) or self.share.size == 0:
            return self.plate, self.picture
        left, top, right, bottom = self.part
        drawn = np.empty_like(self.still)
        turn, offset = size_turn - 1, complex(left + 0.5, top + 0.5) - centre
        _sway(self.still, self.share, turn.real, turn.imag, offset.real, offset.imag, shift.real, shift.imag, drawn)
        picture = self.picture.copy()
        picture[top:bottom, left:right] = drawn * 255 + 0.5
        plate = self.plate.copy()
        height, width = plate.shape[:2]
        x, y = max(left, self.left), max(top, self.top)
        x_end, y_end = min(right, self.left + width), min(bottom, self.top + height)
        if x < x_end and y < y_end:
            plate[y - self.top : y_end - self.top, x - self.left : x_end - self.left] = drawn[
                y - top : y_end - top, x - left : x_end - left
            ]
        return plate, picture


@compiled(parallel=True, boundscheck=False, fastmath=True)
def _sway(still, share, a, b, left, top, right, down, drawn):  # type: ignore[no-untyped-def]
    height, width = share.shape
    for row in prange(height):
        for column in range(width):
            x, y = column + left, row + top
            part = share[row, column]
            u = column - part * (a * x - b * y + right)
            v = row - part * (b * x + a * y + down)
            u = min(max(u, 0.0), width - 1.0)
            v = min(max(v, 0.0), height - 1.0)
            i, j = min(int(u), width - 2), min(int(v), height - 2)
            s, t = np.float32(u - i), np.float32(v - j)
            for k in range(3):
                above = still[j, i, k] + (still[j, i + 1, k] - still[j, i, k]) * s
                below = still[j + 1, i, k] + (still[j + 1, i + 1, k] - still[j + 1, i, k]) * s
                drawn[row, column, k] = above + (below - above) * t


def composite(colors: Array, alphas: Array, plate: Array, picture: Array, left: int, top: int) -> Array:
    """One frame at the picture's own size.

    colors [h, w, 3] premultiplied and alphas [h, w], float32, as rendered; plate [H', W', 3] float32 0..1, the box of
    the picture the head may cover, in picture px (the rendering is scaled to it if it is smaller); picture [H, W, 3]
    uint8; left, top of the box. Returns [H, W, 3] uint8; pixels the head does not touch keep their bytes.
    """
    height, width = plate.shape[:2]
    if alphas.shape != (height, width):
        small = torch.from_numpy(np.dstack([colors, alphas])).permute(2, 0, 1)[None]
        large = functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)
        both = large[0].permute(1, 2, 0).clamp_(0, 1).numpy()
        colors, alphas = both[..., :3], both[..., 3]
    frame = picture.copy()
    mixed = (plate * (1 - alphas[..., None]) + colors) * 255 + 0.5
    frame[top : top + height, left : left + width] = np.clip(mixed, 0, 255).astype(np.uint8)
    return frame
