"""The lower face's window on a card: `LowerFace.improve` for B frames at once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.animation.folds import find_folds, folds_open
from mggdub.animation.lower_face import (
    EYES,
    FADES,
    HALF,
    LEAST_SHOWN,
    MOTION_UNIT,
    below_eyes,
    change_shown,
    fill_outline,
    photo_window,
)
from mggdub.animation.seam import ENDS, find_seam
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import INNER_LIPS, OUTER_LIPS, PIVOT
from mggdub.geometry.camera import OUTER_EYES, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.networks.lower_face import SIZE, LowerFaceNet
from mggdub.types import Array


@dataclass(frozen=True, eq=False)
class CardLowerFace:
    """What is uploaded once of an avatar's lower face. Drawings are [h, w]."""

    avatar: HeadAvatar
    net: LowerFaceNet
    photo: Tensor  # [1, 4, SIZE, SIZE]
    folds: Tensor  # [1, 1, h, w] of `find_folds`
    to_rest: Tensor  # [2, 3] from px of the drawing to px of the window at rest
    cells: Tensor  # [3, SIZE * SIZE]: right, down and 1 of the window's pixels
    pixels: Tensor  # [3, h * w] of the drawing's
    size: Tensor  # [2, 1] w and h

    @classmethod
    def of(cls, avatar: HeadAvatar, net: LowerFaceNet, device: str) -> CardLowerFace:
        """Of the photo's own lower face."""
        (at_rest, photo), camera = photo_window(avatar), avatar.camera
        cells, pixels = _centres(SIZE, SIZE), _centres(camera.height, camera.width)
        arrays = (
            photo[None],
            find_folds(avatar)[None, None],
            at_rest.from_drawing,
            cells,
            pixels,
            [[camera.width], [camera.height]],
        )
        return cls(
            avatar, deepcopy(net).to(device), *(torch.tensor(np.asarray(a, np.float32)).to(device) for a in arrays)
        )

    def inputs(self, displacement: Array, rotation: Array, translation: Array, photo_mouth: Array) -> dict[str, Array]:
        """What `improve` needs of B frames, of their `FrameMotion`s [B, 478, 3], [B, 3], [B, 3], [B]; nothing if no
        change is shown.
        """
        shown = np.array([change_shown(now) for now in displacement])
        shown[shown < LEAST_SHOWN] = 0
        if not shown.any():
            return {}
        to, back, lips, inside = find_windows(self.avatar, displacement, rotation, translation)
        masks = np.zeros((len(shown), 2, SIZE, SIZE), np.float32)
        for k in np.flatnonzero(shown):
            fill_outline(lips[k], masks[k, 0])
            fill_outline(inside[k], masks[k, 1])
        opened = shown * [folds_open(self.avatar.mesh, now) for now in displacement]
        mesh = self.avatar.mesh
        seams = [find_seam(mesh, *given, EYES) for given in zip(displacement, photo_mouth, inside, to, strict=True)]
        return {
            "changes": shown,
            "opened": opened,
            "to_drawing": to,
            "from_drawing": back,
            "masks": masks,
            "seam_ends": np.stack([seam.ends for seam in seams]),
            "seam_levels": np.stack([seam.levels for seam in seams]),
            "seam_share": shown * [seam.share for seam in seams],
            "seam_width": np.array([seam.width for seam in seams]),
        }

    def improve(self, drawn: Tensor, given: dict[str, Tensor]) -> None:
        """Change the colours of settled drawings [B, h, w, 8] in their windows, in place; `given` of `inputs`."""
        change = self.net(self.net_inputs(drawn, given)) * given["changes"][:, None, None, None]
        at = (given["from_drawing"] @ self.pixels).unflatten(-1, drawn.shape[1:3])  # [B, 2, h, w]
        near = torch.minimum(at, SIZE - at).amin(1).div_(FADES)[..., None]
        grid = at.permute(0, 2, 3, 1) * (2 / SIZE) - 1
        added = F.grid_sample(change, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
        colors, alpha = drawn[..., :3], drawn[..., 7:]
        total = torch.minimum((colors + alpha * near.clamp(0, 1) * added).clamp_min_(0), alpha)
        inside = (near > 0) & (alpha > 0) & (given["changes"][:, None, None, None] > 0)
        drawn[..., :3] = torch.where(inside, total, colors) * self._seam(at, given)
        self._open_folds(drawn, given["opened"])

    def _seam(self, at: Tensor, given: dict[str, Tensor]) -> Tensor:
        """[B, h, w, 1]: what `seam.darken` leaves of pixels that lie `at` [B, 2, h, w] px of their windows."""
        first, last = given["seam_ends"][:, :, None, None].unbind(1)
        along, levels = (at[:, 0] - first) / (last - first).clamp_min(1e-3), given["seam_levels"]
        place = along.clamp(0, 1) * (levels.shape[1] - 1)
        before = place.long().clamp_max(levels.shape[1] - 2)
        here, there = (levels.gather(1, k.flatten(1)).view_as(along) for k in (before, before + 1))
        away = (at[:, 1] - here - (there - here) * (place - before)) / given["seam_width"][:, None, None]
        near = (torch.minimum(along, 1 - along) / ENDS).clamp(0, 1) * (away.abs() < 3)
        return (1 - given["seam_share"][:, None, None] * near * torch.exp(-0.5 * away * away))[..., None]

    def _open_folds(self, drawn: Tensor, opened: Tensor) -> None:
        """`open_folds` of drawings [B, h, w, 8], `opened` [B] of each."""
        placed, takes, size = drawn[..., 3:4], drawn[..., 6:7], self.size.flatten()
        at = self.pixels[:2].T.view(*drawn.shape[1:3], 2) + drawn[..., 4:6] / placed.clamp_min(0.02)
        inside = ((at >= 0.5) & (at < size - 0.5)).all(-1, keepdim=True) & (placed > 0.02) & (takes > 0)
        folds = self.folds.expand(len(drawn), -1, -1, -1)
        found = F.grid_sample(folds, at * (2 / size) - 1, padding_mode="border", align_corners=False)
        share = opened[:, None, None, None] * (takes / placed.clamp_min(0.02)).clamp_max(1)
        added = torch.where(inside, share * found.permute(0, 2, 3, 1), 0)
        colors = drawn[..., :3]
        total = torch.minimum((colors + added).clamp_min(0), drawn[..., 7:])
        drawn[..., :3] = torch.where(added != 0, total, colors)

    def net_inputs(self, drawn: Tensor, given: dict[str, Tensor]) -> Tensor:
        """[B, INPUTS, SIZE, SIZE]: `drawn_inputs` and the photo's own."""
        here = given["to_drawing"] @ self.cells  # [B, 2, SIZE * SIZE]
        grid = (here * (2 / self.size) - 1).transpose(1, 2).unflatten(1, (SIZE, SIZE))
        cut = F.grid_sample(drawn.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
        placed = cut[:, 3:4]
        away = cut[:, 4:6] / placed.clamp_min(1e-3)
        before = self.to_rest[:, :2] @ (here + away.flatten(2)) + self.to_rest[:, 2:]
        moved = ((before - self.cells[:2]) / MOTION_UNIT).clamp(-3, 3).view_as(away)
        motion = torch.where(placed > 0.02, moved, 0)
        photo = self.photo.expand(len(drawn), -1, -1, -1)
        return torch.cat([cut[:, :3], cut[:, 7:], motion, placed, given["masks"], photo], 1)


def find_windows(avatar: HeadAvatar, displacement: Array, rotation: Array, translation: Array) -> tuple[Array, ...]:
    """`find_window` of B frames, of their `FrameMotion`s [B, 478, 3], [B, 3], [B, 3].

    From windows to the drawing and back [B, 2, 3], lips and what is inside [B, 20, 2].
    """
    moved, eyes = avatar.mesh + displacement, avatar.mesh[list(OUTER_EYES)]
    rings = moved[:, [*OUTER_LIPS, *INNER_LIPS]]
    points = np.concatenate([np.broadcast_to(eyes, (len(moved), 2, 3)), rings], 1)
    turn = euler_to_matrix(rotation).transpose(0, 2, 1)
    seen = project((points - PIVOT) @ turn + PIVOT + translation[:, None], avatar.camera)  # [B, 42, 2]
    to_drawing = np.stack([below_eyes(right, left, HALF, SIZE) for right, left in seen[:, :2]])
    turn = np.linalg.inv(to_drawing[..., :2])
    back = np.concatenate([turn, -turn @ to_drawing[..., 2:]], 2)
    at = seen[:, 2:] @ turn.transpose(0, 2, 1) + back[:, None, :, 2]
    return to_drawing, back, at[:, : len(OUTER_LIPS)], at[:, len(OUTER_LIPS) :]


def _centres(rows: int, columns: int) -> Array:
    """[3, rows * columns]: right, down and 1 of pixels' centres."""
    down, right = np.mgrid[:rows, :columns] + 0.5
    return np.stack([right, down, np.ones_like(right)]).reshape(3, -1)
