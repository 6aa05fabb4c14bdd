"""The lower face's network: what lips, corners, folds and cheeks look like where a drawing of them is wrong.

It sees a drawn window of the lower face, how far its skin has moved, where lips and what is between them are, and the
photo's own lower face; it returns a change of colour, also of teeth and tongue as they were drawn. Pores are the
photo's: beyond the lips a change is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mggdub.geometry.sampling import tensor_smoothstep
from mggdub.networks.shaping import (
    BETWEEN,
    BRIGHT,
    CELL,
    DECIDED,
    LIGHT,
    SMOOTH,
    TEETH_LIGHT,
    UNLIT,
    fold,
    shape_change,
)
from mggdub.types import LUMA
from mggdub.weights import fitting, load, network

NAME = "lower_face"
SIZE = 96  # px, side of a window
INPUTS = 13  # drawn rgb, alpha, motion right and down, share that has a place, lips, inside; the photo's rgb and inside
MOST = 0.5  # of 0..1, that a colour may change
LEAK = 0.1  # of what activations hold back


@dataclass(frozen=True)
class LowerFaceConfig:
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the window."""

    widths: tuple[int, ...] = (32, 64, 128, 192)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu_(x, LEAK)


def _boxed(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def _decided(change: Tensor) -> Tensor:
    """A change whose fine part stays where the coarse one is not small: the rest would only blur what is drawn."""
    coarse = _boxed(_boxed(change))
    size = _boxed(coarse.abs().amax(1, keepdim=True))
    return coarse + (change - coarse) * tensor_smoothstep((size - DECIDED[0]) / (DECIDED[1] - DECIDED[0]))


def _lit(change: Tensor, drawn: Tensor, inside: Tensor) -> Tensor:
    """A change whose coarse part is light on what is drawn between the lips, and hardly changes teeth.

    Half of it counts there: the network was taught with a mouth of other colours. Added, it would take the red of dark
    mouths from white teeth and leave them blue.
    """
    smooth, coarse = _boxed(_boxed(drawn)), _boxed(_boxed(change))
    luma = (smooth * smooth.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    kept = ((luma - BRIGHT[0]) / (BRIGHT[1] - BRIGHT[0])).clamp(0, 1)
    light = (1 + coarse / (smooth + UNLIT)).clamp(*LIGHT)
    light = light + kept * (light.clamp(*TEETH_LIGHT) - light)
    here = F.avg_pool2d(inside, 3, 1, 1)
    return (change + (drawn * (light - 1) - coarse) * here) * (1 - (1 - BETWEEN) * here)


class _Block(nn.Module):
    """Two convolutions around which the input goes. Nothing is normalised: on a CPU that takes as long as they do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(_active(self.first(x)))


class LowerFaceNet(nn.Module):
    """A U-Net on windows whose pixels are folded into cells; what comes up is added to what was there."""

    kernel: Tensor

    def __init__(self, config: LowerFaceConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LowerFaceConfig()
        widths = config.widths
        steps = list(pairwise(widths))
        self.enter = nn.Conv2d(INPUTS * CELL**2, widths[0], 3, 1, 1)
        self.down = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in steps])
        self.low = nn.ModuleList([_Block(b) for _, b in steps])
        self.narrow = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in steps])
        self.up = nn.ModuleList([_Block(a) for a, _ in steps])
        self.leave = nn.Conv2d(widths[0], 3 * CELL**2, 3, 1, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)
        line = [weight / sum(SMOOTH) for weight in SMOOTH]
        # In numbers: where a network's sizes are compared, arithmetic of tensors would import torch._dynamo (2 s).
        kernel = [[across * down for across in line] for down in line]
        self.register_buffer("kernel", torch.tensor([[kernel]] * 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, SIZE, SIZE]: what is to be added to colours 0..1, of inputs [B, INPUTS, SIZE, SIZE] float32.

        The network computes in the type of its weights. One window on a processor takes `shaping`'s way when nothing is
        learned.
        """
        if len(x) == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._quickly(x)
        y = F.pixel_unshuffle(x, CELL).to(self.enter.weight.dtype, memory_format=torch.channels_last)
        change = MOST * torch.tanh(F.pixel_shuffle(self.leave(self._levels(y)), CELL).float())
        return self._shaped(change, x)

    def _quickly(self, x: Tensor) -> Tensor:
        """`forward` of one window on a processor."""
        size, x = SIZE // CELL, x[0].float().contiguous()
        folded = torch.empty(size, size, len(x) * CELL**2)
        fold(x.numpy(), folded.numpy())
        y = folded.permute(2, 0, 1)[None].to(self.enter.weight.dtype)
        cells = torch.tanh(self.leave(self._levels(y))[0].float()).permute(1, 2, 0).reshape(size, size, 3, CELL, CELL)
        change = MOST * cells.permute(2, 0, 3, 1, 4).reshape(3, SIZE, SIZE)
        shape_change(change.numpy(), x[:3].numpy(), x[7].numpy(), x[8].numpy())
        return change[None]

    def _shaped(self, change: Tensor, x: Tensor) -> Tensor:
        """A change [B, 3, SIZE, SIZE] whose fine part stays at the lips and where it is decided; x the inputs."""
        lips = x[:, 7:8]
        smooth = F.conv2d(F.pad(change, (2, 2, 2, 2), mode="replicate"), self.kernel, groups=3)
        wide = F.max_pool2d(lips, (1, 7), 1, (0, 3))  # then down: the same as 7 x 7 at once, for less
        near = F.avg_pool2d(F.max_pool2d(wide, (7, 1), 1, (3, 0)), 5, 1, 2)
        return _lit(_decided(smooth + (change - smooth) * near), x[:, :3], x[:, 8:9])

    def _levels(self, x: Tensor) -> Tensor:
        y, levels = _active(self.enter(x)), []
        for down, low in zip(self.down, self.low, strict=True):
            levels.append(y)
            y = low(_active(down(y)))
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            y = up(_active(levels.pop() + F.interpolate(narrow(y), scale_factor=2.0)))
        return y


def load_lower_face() -> LowerFaceNet:
    """The shipped network. Raises InputError if it is missing or damaged."""
    tensors, settings = load(NAME)
    config = fitting(LowerFaceConfig, settings, NAME)
    return network(lambda: LowerFaceNet(config), tensors, NAME).requires_grad_(False)
