"""The lower face's window on a card: `LowerFace.improve` for B frames at once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.animation.lower_face import HALF, MOTION_UNIT, LowerFace, Window, below_eyes, change_shown, filled, inverse
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import INNER_LIPS, OUTER_LIPS, PIVOT
from mggdub.geometry.camera import OUTER_EYES, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.networks.lower_face import SIZE, LowerFaceNet
from mggdub.types import Array

LEAST_SHOWN = 1 / 255  # of a change, below which there is none
FADES = SIZE / 12  # px of a window, from its edge


@dataclass(frozen=True, eq=False)
class CardLowerFace:
    """What is uploaded once of an avatar's lower face. Drawings are [h, w]."""

    avatar: HeadAvatar
    net: LowerFaceNet
    photo: Tensor  # [1, 4, SIZE, SIZE]
    to_rest: Tensor  # [2, 3] from px of the drawing to px of the window at rest
    cells: Tensor  # [3, SIZE * SIZE]: right, down and 1 of the window's pixels
    pixels: Tensor  # [3, h * w] of the drawing's
    size: Tensor  # [2, 1] w and h

    @classmethod
    def of(cls, avatar: HeadAvatar, net: LowerFaceNet, device: str) -> CardLowerFace:
        """Of the photo's own lower face."""
        lower, camera = LowerFace.of(avatar, net), avatar.camera
        cells, pixels = _centres(SIZE, SIZE), _centres(camera.height, camera.width)
        arrays = (lower.photo[None], lower.at_rest.from_drawing, cells, pixels, [[camera.width], [camera.height]])
        return cls(
            avatar, deepcopy(net).to(device), *(torch.tensor(np.asarray(a, np.float32)).to(device) for a in arrays)
        )

    def inputs(self, displacement: Array, rotation: Array, translation: Array) -> dict[str, Array]:
        """What `improve` needs of B frames, of their `FrameMotion`s [B, 478, 3], [B, 3], [B, 3]; nothing if no change
        is shown.
        """
        shown = np.array([change_shown(self.avatar.mesh, now) for now in displacement])
        shown[shown < LEAST_SHOWN] = 0
        if not shown.any():
            return {}
        windows = find_windows(self.avatar, displacement, rotation, translation)
        none = np.zeros((2, SIZE, SIZE), np.float32)
        masks = [
            np.stack([filled(w.lips), filled(w.inside)]) if n else none for w, n in zip(windows, shown, strict=True)
        ]
        to, back = (np.stack([getattr(w, name) for w in windows]) for name in ("to_drawing", "from_drawing"))
        return {"changes": shown, "to_drawing": to, "from_drawing": back, "masks": np.stack(masks)}

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
        drawn[..., :3] = torch.where(inside, total, colors)

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


def find_windows(avatar: HeadAvatar, displacement: Array, rotation: Array, translation: Array) -> list[Window]:
    """`find_window` of B frames, of their `FrameMotion`s [B, 478, 3], [B, 3], [B, 3]."""
    moved, count = avatar.mesh + displacement, len(OUTER_LIPS)
    eyes = np.broadcast_to(avatar.mesh[list(OUTER_EYES)], (len(moved), 2, 3))
    points = np.concatenate([eyes, moved[:, list(OUTER_LIPS)], moved[:, list(INNER_LIPS)]], 1)
    turn = euler_to_matrix(rotation).transpose(0, 2, 1)
    seen = project((points - PIVOT) @ turn + PIVOT + translation[:, None], avatar.camera)  # [B, 42, 2]
    windows = []
    for at in seen:
        to_drawing = below_eyes(at[0], at[1], HALF, SIZE)
        back = inverse(to_drawing)
        rings = at[2:] @ back[:, :2].T + back[:, 2]
        windows.append(Window(to_drawing, rings[:count], rings[count:]))
    return windows


def _centres(rows: int, columns: int) -> Array:
    """[3, rows * columns]: right, down and 1 of pixels' centres."""
    down, right = np.mgrid[:rows, :columns] + 0.5
    return np.stack([right, down, np.ones_like(right)]).reshape(3, -1)
