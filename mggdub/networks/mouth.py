"""The atlas of mouths: what is seen between the lips of some people, each with sharp states of their mouth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mggdub.weights import fitting, load, network

NAME = "mouth"
SHAPE = 6  # numbers of `lip_shape`


@dataclass(frozen=True)
class MouthConfig:
    """P people with K states, each a picture that reaches a margin beyond the lips' edges."""

    people: int = 0
    states: int = 16
    rows: int = 40
    columns: int = 88
    margin: float = 0.15  # cm


class MouthAtlas(nn.Module):
    """Pictures and where they lie: places are cm from the closed lips' middle, in the skull's frame.

    Column 0..1 of a picture runs over `span`, row 0..1 over `edges` there, margins included.
    """

    pictures: Tensor  # [P, K, 3, rows, columns] uint8 sRGB
    spans: Tensor  # [P, K, 2] left and right
    edges: Tensor  # [P, K, 2, columns] upper and lower
    lows: Tensor  # [P, K] the middle of the lower lip, with which lower teeth move
    shapes: Tensor  # [P, K, SHAPE]
    skins: Tensor  # [P, 3] sRGB 0..1 of lit cheeks
    widths: Tensor  # [P] between the corners of the closed lips

    def __init__(self, config: MouthConfig) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("pictures", torch.zeros(c.people, c.states, 3, c.rows, c.columns, dtype=torch.uint8))
        self.register_buffer("spans", torch.zeros(c.people, c.states, 2))
        self.register_buffer("edges", torch.zeros(c.people, c.states, 2, c.columns))
        self.register_buffer("lows", torch.zeros(c.people, c.states))
        self.register_buffer("shapes", torch.zeros(c.people, c.states, SHAPE))
        self.register_buffer("skins", torch.zeros(c.people, 3))
        self.register_buffer("widths", torch.ones(c.people))


def load_mouth() -> MouthAtlas:
    """The shipped atlas. Raises InputError if it is missing or damaged."""
    tensors, settings = load(NAME)
    config = fitting(MouthConfig, settings, NAME)
    return network(lambda: MouthAtlas(config), tensors, NAME).requires_grad_(False)
