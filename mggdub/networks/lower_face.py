"""The lower face's network: what lips, corners, folds and cheeks look like where a drawing of them is wrong.

It sees a drawn window of the lower face, how far its skin has moved, where lips and what is between them are, and the
photo's own lower face; it returns a change of colour. Pores are the photo's: beyond the lips a change is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mggdub.weights import fitting, load, network

NAME = "lower_face"
SIZE = 96  # px, side of a window
CELL = 2  # px, side of what is one pixel to the network
INPUTS = 13  # drawn rgb, alpha, motion right and down, share that has a place, lips, inside; the photo's rgb and inside
MOST = 0.5  # of 0..1, that a colour may change
SMOOTH = (1, 4, 6, 4, 1)  # of changes beyond the lips, twice


@dataclass(frozen=True)
class LowerFaceConfig:
    """Channels at 1/2, 1/4 and 1/8 of the window."""

    widths: tuple[int, ...] = (32, 64, 112)


class _Block(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.first(x)))
        return x + F.silu(self.second(x))


class LowerFaceNet(nn.Module):
    """A U-Net on windows whose pixels are folded into cells."""

    kernel: Tensor

    def __init__(self, config: LowerFaceConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LowerFaceConfig()
        widths = config.widths
        self.enter = _Block(INPUTS * CELL**2, widths[0])
        steps = list(pairwise(widths))
        self.down = nn.ModuleList([_Block(a, b, 2) for a, b in steps])
        self.up = nn.ModuleList([_Block(a + b, a) for a, b in steps])
        self.leave = nn.Conv2d(widths[0], 3 * CELL**2, 3, 1, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        line = [weight / sum(SMOOTH) for weight in SMOOTH]
        # In numbers: where a network's sizes are compared, arithmetic of tensors would import torch._dynamo (2 s).
        kernel = [[across * down for across in line] for down in line]
        self.register_buffer("kernel", torch.tensor([[kernel]] * 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, SIZE, SIZE]: what is to be added to colours 0..1, of inputs [B, INPUTS, SIZE, SIZE]."""
        lips, inside = x[:, 7:8], x[:, 8:9]
        levels = [self.enter(F.pixel_unshuffle(x, CELL))]
        for block in self.down:
            levels.append(block(levels[-1]))
        y = levels.pop()
        for block in reversed(self.up):
            y = block(torch.cat([F.interpolate(y, scale_factor=2.0), levels.pop()], 1))
        change = MOST * torch.tanh(F.pixel_shuffle(self.leave(y), CELL).float())
        smooth = change
        for _ in range(2):
            smooth = F.conv2d(F.pad(smooth, (2, 2, 2, 2), mode="replicate"), self.kernel, groups=3)
        wide = F.max_pool2d(lips, (1, 7), 1, (0, 3))  # then down: the same as 7 x 7 at once, for less
        near = F.avg_pool2d(F.max_pool2d(wide, (7, 1), 1, (3, 0)), 5, 1, 2)
        return (smooth + (change - smooth) * near) * (1 - inside)


def load_lower_face() -> LowerFaceNet:
    """The shipped network. Raises InputError if it is missing or damaged."""
    tensors, settings = load(NAME)
    config = fitting(LowerFaceConfig, settings, NAME)
    return network(lambda: LowerFaceNet(config), tensors, NAME).eval().requires_grad_(False)
