"""The inside of the mouth on a card: `avatar.mouth.paint_mouth` for B frames at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mggdub.avatar.lips import (
    LIP_TIP,
    SHAPE_WEIGHTS,
    WIDTH,
    chord_weights,
    closed_middle,
    lip_edges,
    lip_shape,
    lips_of,
    lower_level,
    lower_share,
)
from mggdub.avatar.mouth import (
    BLENDED,
    NARROWER,
    NEAR,
    OWN_COLUMNS,
    RADIUS,
    ROWS,
    SHOULDER,
    SMALLEST_RADIUS,
    WHITEST,
    WIDER,
    WIDTH_LIGHT,
    layer_grid,
    sample_states,
)
from mggdub.avatar.values import MouthLayer
from mggdub.face.mesh import LOWER_LIP, UPPER_LIP
from mggdub.networks.mouth import MouthAtlas
from mggdub.types import Array

BOTH_LIPS = (*UPPER_LIP, *LOWER_LIP)
LEAST_OWN = 0.01  # of the photo's own mouth, below which it is not seen


@dataclass(frozen=True, eq=False)
class CardMouth:
    """What is uploaded once of a mouth: R by C points, S states of its person."""

    atlas: MouthAtlas
    layer: MouthLayer
    chords: Tensor  # [R * C + 2 * C, 22]: of lips to points, to how tall the mouth is and how wide a column
    origin: Tensor  # [R * C, 2] cm, what is added to the points
    lower: Tensor  # [R * C] share of the lower teeth's motion
    pictures: Tensor  # [S, 3, rows, columns] 0..1
    spans: Tensor  # [S, 2]
    edges: Tensor  # [S, 2, columns]
    light: Tensor  # [3, 1]
    own: Tensor | None  # [1, 4, rows, columns] the photo's own mouth and its share
    own_span: Tensor  # [1, 2]
    own_edges: Tensor  # [1, 2, columns]

    @classmethod
    def of(cls, atlas: MouthAtlas, layer: MouthLayer, device: str) -> CardMouth:
        """Of the atlas's person whose mouth a layer has."""
        along, down, beyond = layer_grid()
        origin = (beyond - closed_middle(layer.rest))[..., :2].reshape(-1, 2)
        lower = np.repeat(lower_share(down)[:, None], len(along), 1).ravel()
        span, edges = lip_edges(lips_of(layer.mesh, layer.rest), OWN_COLUMNS, 0.0)
        own = np.concatenate([layer.own, layer.own_share[None]])[None] if layer.own_share.any() else None
        arrays = (_chords(along, down), origin, lower)
        parts = (atlas.pictures[layer.person].float() / 255, atlas.spans[layer.person], atlas.edges[layer.person])
        rest = (layer.light[:, None], own, span[None], edges[None])
        return cls(
            atlas,
            layer,
            *(_at(array, device) for array in arrays),
            *(part.to(device) for part in parts),
            *(None if array is None else _at(array, device) for array in rest),  # type: ignore[arg-type]
        )

    def inputs(self, displacement: Array, share: Array) -> dict[str, Array]:
        """What `paint` needs of B frames, of displacements [B, 478, 3] cm and how much of the photo's own mouth is seen
        [B].
        """
        layer = self.layer
        meshes = layer.mesh + displacement
        lips, out = lips_of(meshes, layer.rest), meshes[:, LIP_TIP, 2] - layer.rest[LIP_TIP, 2]
        states, weights, lower = states_of(self.atlas, layer.person, lips / layer.size, out / layer.size)
        own = np.where(share > LEAST_OWN, share, 0)
        fall = lower_level(lips) - lower_level(lips_of(layer.mesh, layer.rest))
        lips = meshes[:, list(BOTH_LIPS), :2]
        return {"lips": lips, "states": states, "mix": weights, "lower": lower, "own": own, "fall": fall}

    def paint(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Colours [B, R * C, 3] and radii [B, R * C] cm of `inputs`."""
        along = self.chords @ given["lips"]  # [B, R * C + 2 * C, 2]
        points = len(self.origin)
        at, sizes = along[:, :points] + self.origin, along[:, points:].norm(dim=-1)
        colors = self._burnt(self._mixed(given, at) * self.light)
        if self.own is not None:
            colors = self._with_own(self.own, given, at, colors)
        columns = sizes.shape[1] // 2
        radius = (RADIUS * torch.maximum(sizes[:, :columns] / ROWS, sizes[:, columns:])).clamp_min(SMALLEST_RADIUS)
        return colors.clamp(0, 1).transpose(1, 2), radius.repeat(1, points // columns)

    def _mixed(self, given: dict[str, Tensor], at: Tensor) -> Tensor:
        """[B, 3, R * C]: what the atlas shows at [B, R * C, 2] cm."""
        states = given["states"].long()  # [B, K]
        places = (at / self.layer.size)[:, None].repeat(1, states.shape[1], 1, 1)  # [B, K, R * C, 2]
        places[..., 1] -= self.lower * given["lower"][..., None]
        pictures, spans, edges = (part[states.flatten()] for part in (self.pictures, self.spans, self.edges))
        drawn = sample_states(pictures, spans, edges, self.atlas.config.margin, places.flatten(0, 1)[:, None])
        return torch.einsum("bk,bkdp->bdp", given["mix"], drawn[:, :, 0].unflatten(0, states.shape))

    @staticmethod
    def _burnt(colors: Tensor) -> Tensor:
        """As `not_burnt`."""
        room = WHITEST - SHOULDER
        return colors.clamp_max(SHOULDER) - room * torch.expm1((colors - SHOULDER).clamp_min(0) / -room)

    def _with_own(self, own: Tensor, given: dict[str, Tensor], at: Tensor, colors: Tensor) -> Tensor:
        """Colours [B, 3, R * C] with the photo's own mouth where it is seen."""
        places, count = at.clone(), len(at)
        places[..., 1] -= self.lower * given["fall"][:, None]
        pictures, spans, edges = (p.expand(count, *p.shape[1:]) for p in (own, self.own_span, self.own_edges))
        seen = sample_states(pictures, spans, edges, 0.0, places[:, None])[:, :, 0]  # [B, 4, R * C]
        return colors + given["own"][:, None, None] * seen[:, 3:] * (seen[:, :3] - colors)


def states_of(atlas: MouthAtlas, person: int, lips: Array, out: Array) -> tuple[Array, Array, Array]:
    """What B mouths are painted of, as by `paint_places`.

    Numbers of states [B, K], what each is multiplied with, and how much lower its teeth are; lips [B, 2, 11, 2], which
    are put forward by `out` [B], are cm of the atlas's person.
    """
    shape, shapes = lip_shape(lips, out), atlas.shapes[person].numpy()
    apart = np.square(shapes - shape[:, None]).sum(-1)
    order = np.argsort(apart, axis=1, kind="stable")[:, : BLENDED + 1]
    near = np.take_along_axis(apart, order, 1)
    likeness = np.exp((near[:, :1] - near) / (2 * NEAR**2))
    if order.shape[1] > BLENDED:
        likeness = likeness[:, :-1] - likeness[:, -1:]
    states, weights = order[:, : likeness.shape[1]], likeness / likeness.sum(1, keepdims=True)
    wider = (shape[:, WIDTH] - (weights * shapes[states, WIDTH]).sum(1)) / SHAPE_WEIGHTS[WIDTH]
    light = np.exp(np.clip(wider * np.where(wider > 0, WIDER, NARROWER), *WIDTH_LIGHT))
    return states, weights * light[:, None], lower_level(lips)[:, None] - atlas.lows[person].numpy()[states]


def _chords(along: Array, down: Array) -> Array:
    """`chords` of a `CardMouth`."""
    share = chord_weights(along)  # [C, 11]
    none, v = np.zeros_like(share), np.clip(down, 0, 1).astype(np.float32)[:, None, None]
    upper, lower = np.concatenate([share, none], 1), np.concatenate([none, share], 1)
    points = upper * (1 - v) + lower * v
    return np.concatenate([points.reshape(-1, len(BOTH_LIPS)), lower - upper, np.gradient((upper + lower) / 2, axis=0)])


def _at(array: Array, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
