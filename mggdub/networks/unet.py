"""The way down and up again of a U-Net whose every level is joined to what comes from below."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def encode(x: Tensor, down: nn.ModuleList) -> list[Tensor]:
    """What every step makes of the one before, [B, C, H, W] at H, H / 2, H / 4 ...; `x` first."""
    levels = [x]
    for step in down:
        levels.append(step(levels[-1]))
    return levels


def decode(x: Tensor, levels: list[Tensor], merge: nn.ModuleList, up: nn.ModuleList) -> Tensor:
    """The deepest level `x` [B, C, h, w], joined to each of the other `levels` on its way up to the first's size."""
    for join, step, level in zip(merge, up, reversed(levels), strict=True):
        wide = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = step(join(torch.cat([wide, level], 1)))
    return x
