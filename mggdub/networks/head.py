"""The learned head: refinement of the surface, expression bases of every point, colours of the hidden side.

One U-Net sees what is known of a photo and makes a feature grid F (the paper's identity encoder); heads read from it
the depth offsets (geometric refinement) and the bases of motion and colour (Gaussian decoder). Points are children of
the grid's cells: they inherit the bases of the cells around them. A small network colours the hidden side, guided by F
and the photo at the mirrored place (Sym-Gaussian decoder). All of this runs once per photo; per frame, another small
network turns expression and pose into the weights of the bases, which count as far as the head has turned. Everything
is zero at the photo's own state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mggdub.face.skin import skin_weights
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.sampling import smoothstep, tensor_smoothstep
from mggdub.networks.unet import decode, encode
from mggdub.types import CROP_SIZE, DRIVERS, Array, Camera, GeometryMaps, Portrait
from mggdub.weights import fitting, load, network

torch.tanh(torch.ones(1))  # for the reason that `renderer.fit` gives

NAME = "head"
GRID = 128  # cells of F along a side of the crop: the parents
FINE = 2 * GRID  # of the colour bases
# Degrees and cm of the head's pose and of the torso's motion, for an input of 1.
POSE_UNIT = (10.0, 10.0, 10.0, 1.0, 1.0, 1.0, 0.5, 0.5, 2.0, 2.0)
MOST_TURN = 1.5  # of an input: what was learned up to 15 degrees is not drawn out beyond
TURNS = (2.0, 8.0)  # degrees from the photo's pose, between which bases come in: a head that hardly turns is the photo
STATES = len(POSE_UNIT) + DRIVERS  # pose and torso, then drivers relative to the photo's own
HEAD_UNIT = 10.0  # cm, for an input of 1
DEPTH_UNIT = 2.0  # cm, for an output of 1


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the networks."""

    inputs: int = 63
    widths: tuple[int, ...] = (40, 64, 96, 128)  # channels at 1/1, 1/2, 1/4, 1/8 of the grid
    motion_rank: int = 16
    shade_rank: int = 8
    hidden: int = 48  # of the small networks


class Grids(NamedTuple):
    """What the U-Net says of B photos."""

    features: Tensor  # [B, C, GRID, GRID]
    depth: Tensor  # [B, 1, GRID, GRID] cm, to be added to the surface's
    motion: Tensor  # [B, K, 3, GRID, GRID] cm
    shade: Tensor  # [B, K', 3, FINE, FINE] sRGB


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(8, outputs), nn.SiLU(inplace=True))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class HeadNet(nn.Module):
    """Identity encoder, refinement, Gaussian decoder, Sym-Gaussian decoder and the weights of the bases."""

    def __init__(self, config: HeadConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or HeadConfig()
        first, deepest = c.widths[0], c.widths[-1]
        self.stem = _conv(c.inputs, first)
        pairs = list(zip(c.widths[:-1], c.widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Sequential(_conv(a, b, 3, 2), _Block(b)) for a, b in pairs)
        self.own = nn.Linear(DRIVERS, deepest)
        self.merge = nn.ModuleList(_conv(deep + shallow, shallow, 1) for shallow, deep in reversed(pairs))
        self.up = nn.ModuleList(_Block(shallow) for shallow, _ in reversed(pairs))
        self.refine = nn.Conv2d(first, 1, 1)
        self.motion = nn.Conv2d(first, 3 * c.motion_rank, 1)
        self.shade = nn.Conv2d(first, 4 * 3 * c.shade_rank, 1)
        last_linear = nn.Linear(c.hidden, 4)
        self.sym = nn.Sequential(
            nn.Linear(2 * first + 9, c.hidden), nn.SiLU(), nn.Linear(c.hidden, c.hidden), nn.SiLU(), last_linear
        )
        ranks = c.motion_rank + c.shade_rank
        self.linear = nn.Linear(STATES, ranks, bias=False)
        self.bend = nn.Sequential(
            nn.Linear(STATES + DRIVERS, c.hidden), nn.SiLU(), nn.Linear(c.hidden, ranks, bias=False)
        )
        self.unit: Tensor
        self.register_buffer("unit", torch.ones(STATES))  # of a state, for an input of 1
        for last in (self.refine, self.motion, self.shade, last_linear):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)

    def forward(self, pictures: Tensor, photo_state: Tensor) -> Grids:
        """Pictures [B, inputs, GRID, GRID] of `head_inputs`, photo_state [B, 32]."""
        *levels, deepest = encode(self.stem(pictures), self.down)
        deepest = deepest + self.own(photo_state / self.unit[-DRIVERS:])[:, :, None, None]
        x = decode(deepest, levels, self.merge, self.up)
        shade = F.pixel_shuffle(self.shade(x).float(), 2).unflatten(1, (-1, 3))
        return Grids(
            x.float(), self.refine(x).float() * DEPTH_UNIT, self.motion(x).float().unflatten(1, (-1, 3)), shade
        )

    def weights(self, states: Tensor, photo_state: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the motion [..., K] and of the colour bases [..., K'] for states [..., 42]."""
        x, photo = states / self.unit, photo_state / self.unit[-DRIVERS:]
        x = torch.cat([x[..., :3].clamp(-MOST_TURN, MOST_TURN), x[..., 3:]], -1)
        bent = self.bend(torch.cat([x, photo], -1)) - self.bend(torch.cat([torch.zeros_like(x), photo], -1))
        turn = states[..., :3].norm(dim=-1, keepdim=True)
        values = (self.linear(x) + bent) * tensor_smoothstep((turn - TURNS[0]) / (TURNS[1] - TURNS[0]))
        return values[..., : self.config.motion_rank], values[..., self.config.motion_rank :]

    def color_hidden(self, features: Tensor, twin: Tensor, photo: Tensor, color: Tensor, at: Tensor) -> Tensor:
        """[N, 4]: what to add to colour (sRGB) and opacity (0..1) of hidden points.

        features and twin [N, C]: F where the point and its mirror image lie; photo [N, 3] where the latter lies; color
        [N, 3] its first colour; at [N, 3] cm in head space.
        """
        change = self.sym(torch.cat([features, twin, photo, color, at / HEAD_UNIT], -1))
        return torch.tanh(change) * change.new_tensor([0.5, 0.5, 0.5, 0.9])


@dataclass(frozen=True, eq=False)
class FrameWeights:
    """`HeadNet.weights` of one photo and one state at a time, in numpy: torch takes ten times as long for so little."""

    unit: Array  # [42]
    first: Array  # [hidden, 42]
    at_rest: Array  # [hidden], what the photo's own state gives
    last: Array  # [ranks, hidden]
    linear: Array  # [ranks, 42]
    motion_rank: int

    @classmethod
    def of(cls, head: HeadNet, photo_state: Array) -> FrameWeights:
        """For the photo's own state [32]."""
        weight, bias, last = (parameter.detach().numpy() for parameter in head.bend.parameters())
        unit = head.unit.numpy()
        at_rest = weight[:, STATES:] @ (photo_state / unit[-DRIVERS:]) + bias
        own, linear = np.ascontiguousarray(weight[:, :STATES]), head.linear.weight.detach().numpy()
        return cls(unit, own, at_rest, last, linear, head.config.motion_rank)

    def __call__(self, state: Array) -> tuple[Array, Array]:
        """Weights of the motion [K] and of the colour bases [K'] for a state [42]."""
        x = state / self.unit
        x[:3] = x[:3].clip(-MOST_TURN, MOST_TURN)
        bent = _silu(self.at_rest + self.first @ x) - _silu(self.at_rest)
        share = smoothstep((np.linalg.norm(state[:3]) - TURNS[0]) / (TURNS[1] - TURNS[0])).astype(np.float32)
        values = (self.linear @ x + self.last @ bent) * share
        return values[: self.motion_rank], values[self.motion_rank :]


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def ranks(settings: dict[str, Any]) -> tuple[int, int]:
    """How many bases of motion and of colour the network of a weight file's settings has. Raises InputError."""
    config = fitting(HeadConfig, settings, NAME)
    return config.motion_rank, config.shade_rank


def nothing_learned() -> Grids:
    """What leaves a head as it is."""
    c = HeadConfig()
    shapes = ((c.widths[0], GRID, GRID), (1, GRID, GRID), (c.motion_rank, 3, GRID, GRID), (c.shade_rank, 3, FINE, FINE))
    return Grids(*(torch.zeros(1, *shape) for shape in shapes))


def load_head() -> HeadNet:
    """The shipped network. Raises InputError if its weights are missing or damaged."""
    tensors, settings = load(NAME)
    config = fitting(HeadConfig, settings, NAME)
    return network(lambda: HeadNet(config), tensors, NAME).requires_grad_(False)


def head_inputs(head: Portrait, maps: GeometryMaps, surface: Array, triangles: Array, canonical: Array) -> Array:
    """[inputs, GRID, GRID] float32: picture, maps, the coarse surface and where on a face each cell lies.

    surface [512, 512] camera z cm; triangles and canonical [478, 3] of the closed mesh.
    """
    step = CROP_SIZE // FINE
    image = head.image.reshape(FINE, step, FINE, step, 3).astype(np.float32).mean((1, 3)) / 127.5 - 1
    matte = maps.matte.reshape(FINE, step, FINE, step).mean((1, 3))
    depth = surface.reshape(FINE, step, FINE, step).mean((1, 3)) - head.camera.viewmat[2, 3]
    fine = np.dstack([image, matte, depth / HEAD_UNIT, maps.normals, maps.labels])  # [FINE, FINE, 14]
    coarse = fine.reshape(GRID, 2, GRID, 2, -1).transpose(1, 3, 4, 0, 2).reshape(-1, GRID, GRID)
    at = cell_centres()
    z = surface.reshape(GRID, 2 * step, GRID, 2 * step).mean((1, 3))
    points = unproject(at, z, head.camera) / HEAD_UNIT
    skin = skin_weights(at.reshape(-1, 2), head.landmarks, triangles, cm_per_px(head.camera))
    share = np.asarray(skin.sum(1)).reshape(GRID, GRID, 1)
    face = (skin @ canonical.astype(np.float32)).reshape(GRID, GRID, 3) / HEAD_UNIT
    where = np.concatenate([points, face, share], -1).transpose(2, 0, 1)
    return np.concatenate([coarse, where]).astype(np.float32)


def cell_centres() -> Array:
    """[GRID, GRID, 2] crop px."""
    at = (np.arange(GRID, dtype=np.float32) + 0.5) * (CROP_SIZE / GRID)
    return np.stack(np.meshgrid(at, at), -1)


def rays(place: Array, camera: Camera) -> Array:
    """[N, 3]: how points at crop px place [N, 2] move in head space when their camera z grows by one."""
    bent = np.concatenate([(place - camera.K[:2, 2]) / camera.K[0, 0], np.ones((len(place), 1))], 1)
    return (bent @ camera.viewmat[:3, :3]).astype(np.float32)


def head_inputs_of_pose(rotation: Array, translation: Array, torso: Array, drivers: Array, photo: Array) -> Array:
    """[..., 42] of rotation [..., 3] degrees, translation [..., 3] cm, torso [..., 4], drivers [..., 32], the photo's
    own [..., 32].
    """
    return np.concatenate([rotation, translation, torso, drivers - photo], -1).astype(np.float32)
