"""The network that colours the inside of a mouth from an identity code and the shape of the lips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mggdub.weights import fitting, load, network

NAME = "mouth"
SHAPE_INPUTS = 11


@dataclass(frozen=True)
class MouthConfig:
    """Two pictures of features per person, one fixed to the skull (upper teeth), one to the jaw, and their decoder."""

    identities: int = 0  # codes that are shipped
    code: int = 32  # weights of the pictures' bases
    features: int = 6
    columns: int = 96  # of a picture
    rows: int = 40
    width: float = 6.0  # cm that a picture covers, centred on the closed lips
    height: float = 2.6
    above: float = 0.9  # cm of it above the closed lips (of the jaw's picture: below)
    hidden: int = 64


class MouthNet(nn.Module):
    """Identity code and lip shape to colours relative to the skin's. B mouths, N points."""

    def __init__(self, config: MouthConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.basis = nn.Parameter(torch.randn(1 + c.code, 2 * c.features, c.rows, c.columns) * 0.02)
        self.inputs = nn.Linear(2 * c.features + SHAPE_INPUTS, c.hidden)
        self.person = nn.Linear(c.code, c.hidden, bias=False)
        self.middle = nn.Linear(c.hidden, c.hidden)
        self.output = nn.Linear(c.hidden, 3)
        self.codes = nn.Parameter(torch.zeros(c.identities, c.code + 4))  # then the pictures' shifts x, y (cm)
        self.skins = nn.Parameter(torch.zeros(c.identities, 3), requires_grad=False)  # sRGB of lit cheeks

    def pictures(self, code: Tensor) -> Tensor:
        """[B, code + 4] -> [B, 2 * features, rows, columns]."""
        c = self.config
        flat = code[:, : c.code] @ self.basis[1:].flatten(1) + self.basis[0].flatten()
        return flat.reshape(-1, 2 * c.features, c.rows, c.columns)

    def forward(self, code: Tensor, pictures: Tensor, place: Tensor, shape: Tensor) -> Tensor:
        """code [B, code + 4], pictures [B, ...], place [B, N, 4] (x, y from the closed lips in cm, in the skull's frame
        and in the jaw's), shape [B, N, SHAPE_INPUTS] -> [B, N, 3] colour / skin.
        """
        c = self.config
        at = place + code[:, None, c.code :]
        scale = place.new_tensor([2 / c.width, 2 / c.height])
        middle = c.height / 2 - c.above  # cm, of the picture's centre below the closed lips
        skull = (at[..., :2] - place.new_tensor([0.0, middle])) * scale
        jaw = (at[..., 2:] + place.new_tensor([0.0, middle])) * scale
        half = c.features
        seen = torch.cat([_look(pictures[:, :half], skull), _look(pictures[:, half:], jaw)], -1)  # [B, N, 2F]
        hidden = self.inputs(torch.cat([seen, shape], -1)) + self.person(code[:, None, : c.code])
        hidden = nn.functional.silu(hidden, inplace=True)
        return self.output(nn.functional.silu(self.middle(hidden)))


def _look(pictures: Tensor, at: Tensor) -> Tensor:
    """Bilinear samples [B, N, C] of [B, C, h, w] at [B, N, 2] in -1..1."""
    found = nn.functional.grid_sample(pictures, at[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


def load_mouth() -> MouthNet:
    """The shipped network. Raises InputError if it is missing or damaged."""
    tensors, settings = load(NAME)
    config = fitting(MouthConfig, settings, NAME)
    return network(lambda: MouthNet(config), tensors, NAME).requires_grad_(False)
