"""The inside of the mouth: teeth, tongue and dark, as a layer of points hung between the inner lips.

The code of an open mouth is fitted to the photo; a closed one gets the code of a person whose skin is lit alike.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from scipy import ndimage, sparse
from torch import Tensor

from mggdub.avatar.values import SOLID, MouthLayer, PointLayer
from mggdub.face.mesh import CHEEKS, CHIN, INNER_LIPS, LOWER_LIP, UPPER_LIP, inside
from mggdub.geometry.camera import project
from mggdub.networks.mouth import MouthNet
from mggdub.types import LANDMARKS, Array, Portrait

BEHIND = 0.4  # cm, teeth behind the inner lips
MARGIN = (0.06, 0.08, 0.10)  # cm, points beyond the lips' edge
COLUMNS, ROWS = 72, 28
SEEN_GAP = 0.3  # cm, from which on a photo shows the inside of its mouth
SMALLEST_RADIUS = 0.04  # cm
UNSEEN_LIGHT = 0.9  # of the exemplars', who were chosen for teeth that show
FEWEST = 100  # points of a layer that must be seen to fit a code
CANDIDATES, FIT_STEPS, FIT_COST, TINT_COST = 3, 50, 0.3, 0.05
OWN_REACH = 0.25  # cm that the lips move until the photo's own mouth is forgotten


def chord_weights(along: Array) -> Array:
    """[C, 11]: shares of the lip's vertices from corner to corner for `along` [C] in 0..1."""
    place = np.clip(along, 0, 1) * (len(UPPER_LIP) - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(len(UPPER_LIP))), 0).astype(np.float32)


def chords(along: Array, down: Array, mesh: Array) -> Array:
    """[..., R, C, 3]: points between the inner lips of mesh [..., 478, 3], down [R] from the upper to the lower lip."""
    share = chord_weights(along)
    upper, lower = share @ mesh[..., list(UPPER_LIP), :], share @ mesh[..., list(LOWER_LIP), :]
    v = np.clip(down, 0, 1).astype(np.float32)[:, None, None]
    return upper[..., None, :, :] * (1 - v) + lower[..., None, :, :] * v


def chord_rows(along: Array, down: Array) -> sparse.csr_matrix:
    """[N, 478]: the shares of the mesh's vertices that `chords` gives points at along [N], down [N]."""
    share = chord_weights(along)[:, :, None] * np.stack([1 - np.clip(down, 0, 1), np.clip(down, 0, 1)], 1)[:, None]
    matrix = np.zeros((len(along), LANDMARKS), np.float32)
    for lip, vertices in enumerate((UPPER_LIP, LOWER_LIP)):
        np.add.at(matrix.T, list(vertices), share[..., lip].T)
    return sparse.csr_matrix(matrix)


def mouth_inputs(along: Array, down: Array, mesh: Array, rest: Array) -> tuple[Array, Array]:
    """What `MouthNet` sees of lip shapes: place [..., R, C, 4] and shape [..., R, C, SHAPE_INPUTS].

    along [C] and down [R] as in `chords`; mesh and rest [..., 478, 3] cm in head space.
    """
    points = chords(along, down, mesh)
    closed = rest[..., [*UPPER_LIP, *LOWER_LIP], :].mean(-2)[..., None, None, :]
    jaw = (mesh[..., list(CHIN), :] - rest[..., list(CHIN), :]).mean(-2)[..., None, None, :]
    edges = chords(along, np.array([0, 1]), mesh)
    height = np.linalg.norm(edges[..., 1:, :, :2] - edges[..., :1, :, :2], axis=-1)[..., None]  # [..., 1, C, 1] cm
    v = np.clip(down, 0, 1)[:, None, None]
    wide = np.linalg.norm(mesh[..., UPPER_LIP[-1], :] - mesh[..., UPPER_LIP[0], :], axis=-1) / 5 - 1
    gap = np.linalg.norm(mesh[..., 13, :] - mesh[..., 14, :], axis=-1)
    out = mesh[..., 13, 2] - rest[..., 13, 2]
    at = points - closed
    own = [v * height, (1 - v) * height, np.exp(v * height / -0.12), np.exp((1 - v) * height / -0.12), height]
    whole = [x[..., None, None, None] for x in (gap, wide, out)]
    parts = [*own, np.abs(at[..., :1]), at[..., 1:2], jaw[..., 1:2], *whole]
    shape = np.concatenate([np.broadcast_to(x, (*at.shape[:-1], 1)) for x in parts], -1)
    return np.concatenate([at[..., :2], (at - jaw)[..., :2]], -1).astype(np.float32), shape.astype(np.float32)


def cheek_colour(image: Array, landmarks: Array) -> Array:
    """[3]: colour of lit skin of a picture [H, W, 3], landmarks [478, >=2] in its px."""
    x, y = np.rint(landmarks[list(CHEEKS), :2] - 0.5).astype(int).T
    height, width = image.shape[:2]
    return np.median(image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0).astype(np.float32)


@cache
def _grid() -> tuple[Array, Array, Array]:
    """along [C] and down [R] of a layer's points, and how far they lie beyond the lips [R, C, 3] cm."""
    margin = np.array(MARGIN)
    after, columns, rows = margin.cumsum(), np.zeros(len(margin)), (np.arange(ROWS) + 0.5) / ROWS
    along = np.concatenate([columns, (np.arange(COLUMNS) + 0.5) / COLUMNS, columns + 1])
    down = np.concatenate([columns, rows, columns + 1])
    beyond = np.zeros((len(down), len(along), 3), np.float32)
    beyond[..., 0] += np.concatenate([-after[::-1], np.zeros(COLUMNS), after])
    beyond[..., 1] += np.concatenate([-after[::-1], np.zeros(ROWS), after])[:, None]
    return along, down, beyond


def layer_points() -> int:
    """How many points a layer has."""
    along, down, _ = _grid()
    return len(along) * len(down)


def build_mouth(net: MouthNet, head: Portrait, mesh: Array, rest: Array, lips_z: float) -> MouthLayer:
    """The mouth's inside of a photo's person.

    mesh [478, 3] the photo's own in head space and rest [478, 3] the same with closed lips; lips_z cm, the deepest
    point of the lips' surface. An open mouth is fitted; for a closed one the code of a person in similar light is used.
    """
    along, down, beyond = _grid()
    lift = max(0.0, lips_z - float(mesh[list(INNER_LIPS), 2].max())) + BEHIND
    means = chords(along, down, mesh) + beyond + np.array([0, 0, lift], np.float32)  # [R, C, 3]
    rows = [chord_rows(along, np.full(len(along), v)) for v in down]
    image = head.image.astype(np.float32) / 255
    light = cheek_colour(ndimage.uniform_filter(image, (5, 5, 1)), head.landmarks)
    at = project(means.reshape(-1, 3), head.camera)
    seen = inside(at, head.landmarks[list(INNER_LIPS), :2])  # [N]
    shown = [ndimage.map_coordinates(image[..., c], [at[:, 1] - 0.5, at[:, 0] - 0.5], order=1) for c in range(3)]
    truth = np.stack(shown, 1).astype(np.float32)
    codes = net.codes.detach()[nearest_people(net, light)]
    code, skin = codes[:1], light * UNSEEN_LIGHT
    fits = float(np.linalg.norm(mesh[13] - mesh[14])) > SEEN_GAP and seen.sum() > FEWEST
    if fits:
        place, shape = (torch.from_numpy(x).flatten(0, 1)[seen] for x in mouth_inputs(along, down, mesh, rest))
        code, fitted = fit_code(net, codes, place, shape, torch.from_numpy(truth[seen]), torch.from_numpy(light))
        skin = fitted.numpy()
    layer = MouthLayer(
        means=means.reshape(-1, 3).astype(np.float32),
        skin=sparse.vstack(rows, format="csr"),
        mesh=mesh,
        rest=rest,
        code=code,
        pictures=net.pictures(code).detach(),
        light=skin,
        residual=np.zeros_like(truth),
    )
    if not fits:
        return layer
    painted = paint_mouth(net, layer, np.zeros_like(mesh))[0]
    return replace(layer, residual=(truth - painted) * seen[:, None])


def nearest_people(net: MouthNet, light: Array) -> Array:
    """[CANDIDATES]: the people whose skin is lit most like light [3], the best first."""
    apart = np.abs(np.log(net.skins.numpy() + 0.02) - np.log(light + 0.02)).sum(1)
    return apart.argsort(kind="stable")[:CANDIDATES].copy()


def fit_code(
    net: MouthNet, codes: Tensor, place: Tensor, shape: Tensor, truth: Tensor, light: Tensor
) -> tuple[Tensor, Tensor]:
    """The code [1, code + 4] and light [3] that explain colours truth [N, 3], starting from several codes [B, ...].

    place [N, 4] and shape [N, SHAPE_INPUTS] as in `mouth_inputs`; light [3] is the skin's colour.
    """
    place, shape = place.expand(len(codes), -1, -1), shape.expand(len(codes), -1, -1)
    code = codes.clone().requires_grad_()
    gain = torch.zeros(len(codes), 1, 3, requires_grad=True)
    adam = torch.optim.Adam([{"params": code, "lr": 0.03}, {"params": gain, "lr": 0.02}])
    cost = torch.zeros(len(codes))
    for _ in range(FIT_STEPS):
        seen = net(code, net.pictures(code), place, shape) * light * gain.exp()
        cost = (seen - truth).abs().mean((1, 2)) + FIT_COST * (code - codes).square().mean(1)
        level = gain.mean(2, keepdim=True)
        cost = cost + FIT_COST * level.square().mean((1, 2)) + TINT_COST * (gain - level).square().mean((1, 2))
        adam.zero_grad()
        cost.sum().backward()
        adam.step()
    best = int(cost.argmin())
    return code.detach()[[best]], light * gain.detach()[best, 0].exp()


def photo_mouth_share(displacement: Array) -> float:
    """How much of the photo's own mouth is still seen, 1 at its own expression: of the mesh's motion [478, 3] cm."""
    moved = np.sqrt(np.square(displacement[list(INNER_LIPS)]).sum(1).mean())
    return float(np.exp(-((moved / OWN_REACH) ** 2)))


@torch.no_grad()
def paint_mouth(net: MouthNet, layer: MouthLayer, displacement: Array) -> tuple[Array, Array]:
    """Colours [N, 3] and radii [N] cm of a layer's points when the photo's mesh moves by displacement [478, 3] cm."""
    along, down, _ = _grid()
    mesh = layer.mesh + displacement
    place, shape = (torch.from_numpy(x).flatten(0, 1)[None] for x in mouth_inputs(along, down, mesh, layer.rest))
    ratio = net(layer.code, layer.pictures, place, shape)[0].numpy()
    own = photo_mouth_share(displacement)
    colors = np.clip(ratio * layer.light + own * layer.residual, 0, 1).astype(np.float32)
    edges = chords(along, np.array([0, 1]), mesh)[..., :2]  # [2, C, 2]
    tall = np.linalg.norm(edges[1] - edges[0], axis=-1) / ROWS
    wide = np.linalg.norm(np.gradient(edges.mean(0), axis=0), axis=-1)
    radius = np.maximum(0.6 * np.maximum(tall, wide), SMALLEST_RADIUS)
    return colors, np.repeat(radius[None], len(down), 0).ravel().astype(np.float32)


def mouth_points(net: MouthNet, layer: MouthLayer) -> PointLayer:
    """A mouth's inside as points, painted at the photo's own expression."""
    colors, radius = paint_mouth(net, layer, np.zeros_like(layer.mesh))
    ones = np.ones(len(colors), np.float32)
    return PointLayer(layer.means, colors, radius, layer.skin, ones, SOLID * ones)
