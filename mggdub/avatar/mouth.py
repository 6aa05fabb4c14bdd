"""The inside of the mouth: teeth, tongue and dark, as a layer of points hung between the inner lips.

`teeth` draws them. Upper teeth keep their place on the skull and lower ones on the jaw while lips move over them. A
photo that shows the inside of its mouth keeps that, too, and says how light its teeth are.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from mggdub.avatar.lips import (
    USUAL_WIDTH,
    chord_rows,
    chords,
    closed_middle,
    closed_width,
    lip_edges,
    lips_of,
    lower_level,
    lower_share,
    picture_places,
    upper_level,
)
from mggdub.avatar.shown_teeth import FEWEST, levels_of_teeth, shown_teeth, tone_of_teeth
from mggdub.avatar.teeth import draw_inside
from mggdub.avatar.values import SOLID, MouthLayer, PointLayer
from mggdub.face.mesh import CHEEKS, INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP, OUTER_LIPS, inside
from mggdub.geometry.camera import project
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array, Portrait

BEHIND = 0.4  # cm, teeth behind the inner lips
MARGIN = (0.06, 0.08, 0.10)  # cm, points beyond the lips' edge
COLUMNS, ROWS = 96, 32
OWN_COLUMNS, OWN_ROWS = 160, 64  # of the picture of the photo's own mouth
PARTED, SEEN_GAP = 0.12, 0.3  # cm between a photo's lips: they touch, they show the inside of their mouth
SMALLEST_RADIUS = 0.03  # cm
RADIUS = 0.6  # of the points' distance
OWN_REACH = 0.5  # cm that lips move, until the photo's own mouth is forgotten
NARROW = (0.15, 0.5)  # of its opening, at which it is gone, and from which on all is seen
DRAWN_REACH = 0.25  # cm that lips move until what is drawn between them forgets it; or part, that were closed
SIZES = (0.85, 1.18)  # smallest and largest width of a mouth over the usual one


def sample_mouth(picture: Tensor, span: Tensor, edges: Tensor, places: Tensor) -> Tensor:
    """[D, R, C] colours of a picture [D, rows, columns] at places [R, C, 2] cm.

    Its columns run over span [2], its rows over edges [2, columns] there.
    """
    across = (places[..., 0] - span[0]) / (span[1] - span[0]) * 2 - 1
    upper, lower = _sampled(edges[:, None], torch.stack([across, torch.zeros_like(across)], -1))
    down = (places[..., 1] - upper) / (lower - upper) * 2 - 1
    return _sampled(picture, torch.stack([across, down], -1))


def _sampled(picture: Tensor, places: Tensor) -> Tensor:
    """[D, R, C] of [D, rows, columns] at places [R, C, 2] of -1..1."""
    return F.grid_sample(picture[None], places[None], padding_mode="border", align_corners=False)[0]


def cheek_colour(image: Array, landmarks: Array) -> Array:
    """[3]: colour of lit skin of a picture [H, W, 3], landmarks [478, >=2] in its px."""
    x, y = np.rint(landmarks[list(CHEEKS), :2] - 0.5).astype(int).T
    height, width = image.shape[:2]
    return np.median(image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0).astype(np.float32)


@cache
def layer_grid() -> tuple[Array, Array, Array]:
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
    along, down, _ = layer_grid()
    return len(along) * len(down)


def _layer_places(mesh: Array, rest: Array) -> tuple[Array, Array]:
    """Places [R, C, 2] cm and down [R, 1] of a layer's points on lips mesh [478, 3]."""
    along, down, beyond = layer_grid()
    return (chords(along, down, mesh) + beyond - closed_middle(rest))[..., :2], down[:, None]


def _lips_depth(mesh: Array, depth: Array) -> float:
    """Cm from the inner lips of a mesh [478, 3] back to the deepest surface that meets there when the mouth shuts.

    depth [478] is the surface's z at the landmarks. Upper and lower lip are compared from corner to corner: where they
    touch, each may lie before what is fixed to both.
    """
    inner, outer = list(INNER_LIPS), list(OUTER_LIPS)
    surface = np.maximum(depth[inner], (depth[inner] + depth[outer]) / 2)
    across = -np.arange(len(inner))  # of the rings: the vertex of the other lip that stands opposite
    return float((np.maximum(surface, surface[across]) - np.minimum(mesh[inner, 2], mesh[inner, 2][across])).max())


def build_mouth(head: Portrait, mesh: Array, rest: Array, depth: Array) -> MouthLayer:
    """The mouth's inside of a photo's person.

    mesh [478, 3] the photo's own in head space and rest [478, 3] the same with closed lips; depth [478] cm, z of the
    surface where the photo's landmarks are.
    """
    along, down, beyond = layer_grid()
    lift = max(0.0, _lips_depth(mesh, depth)) + BEHIND
    means = chords(along, down, mesh) + beyond + np.array([0, 0, lift], np.float32)  # [R, C, 3]
    image = head.image.astype(np.float32) / 255
    skin = cheek_colour(ndimage.uniform_filter(image, (5, 5, 1)), head.landmarks)
    photo_mouth, shown = photo_mouth_texture(head, image, mesh, rest, lift)
    size = float(np.clip(closed_width(rest) / USUAL_WIDTH, *SIZES))
    lips, pale = lips_of(mesh, rest) / size, shown_teeth(skin, photo_mouth, shown)
    return MouthLayer(
        means=means.reshape(-1, 3).astype(np.float32),
        skin=chord_rows(np.tile(along, len(down)), np.repeat(down, len(along))),
        mesh=mesh,
        rest=rest,
        size=size,
        tone=tone_of_teeth(skin, photo_mouth, pale, opening(lips)),
        levels=levels_of_teeth(skin, photo_mouth, shown, pale, lips),
        own=photo_mouth,
        own_share=shown,
    )


def opening(lips: Array) -> Array:
    """[...] cm that lips [..., 2, 11, 2] let light in as one of usual width that is so far open; smiles let in more."""
    wide = lips[..., -1, 0].mean(-1) - lips[..., 0, 0].mean(-1)
    return np.asarray(np.maximum(lower_level(lips) - upper_level(lips), 0) * (wide / USUAL_WIDTH) ** 2)


def photo_mouth_texture(head: Portrait, image: Array, mesh: Array, rest: Array, lift: float) -> tuple[Array, Array]:
    """The photo's own mouth [3, OWN_ROWS, OWN_COLUMNS], laid out by its lips, and where the photo shows it
    [OWN_ROWS, OWN_COLUMNS], 0..1.
    """
    span, edges = lip_edges(lips_of(mesh, rest), OWN_COLUMNS)
    places = picture_places(span, edges, OWN_ROWS)
    depth = chords((np.arange(OWN_COLUMNS) + 0.5) / OWN_COLUMNS, (np.arange(OWN_ROWS) + 0.5) / OWN_ROWS, mesh)[..., 2:]
    points = np.concatenate([places + closed_middle(rest)[:2], depth + lift], -1)
    at = project(points.reshape(-1, 3), head.camera)
    shown = [ndimage.map_coordinates(image[..., c], [at[:, 1] - 0.5, at[:, 0] - 0.5], order=1) for c in range(3)]
    picture = np.stack(shown).reshape(3, OWN_ROWS, OWN_COLUMNS).astype(np.float32)
    visible = inside(at, head.landmarks[list(INNER_LIPS), :2]).reshape(OWN_ROWS, OWN_COLUMNS)
    if np.linalg.norm(mesh[13] - mesh[14]) < SEEN_GAP or visible.sum() < FEWEST:
        visible = np.zeros_like(visible)
    return picture, np.asarray(ndimage.uniform_filter(visible.astype(np.float32), (3, 3), mode="constant") * visible)


def photo_mouth_share(mesh: Array, displacement: Array) -> float:
    """How much of the photo's own mouth is still seen, 1 at its own expression: of its mesh's motion, both [478, 3] cm.

    Of lips that are closed that is the line between them, which is seen until they part.
    """
    apart, parted = ((x[INNER_LOWER_LIP] - x[INNER_UPPER_LIP]) for x in (mesh, displacement))
    if np.linalg.norm(apart) < PARTED:
        return _forgotten(max(float(parted[1]), 0.0), DRAWN_REACH)
    left = float((apart + parted) @ apart) / float(apart @ apart)
    return _forgotten(_moved(displacement), OWN_REACH) * float(smoothstep((left - NARROW[0]) / (NARROW[1] - NARROW[0])))


def drawn_share(layer: MouthLayer, displacement: Array) -> float:
    """How much of the photo's own mouth is in what is drawn between lips that are displaced [478, 3] cm."""
    share = _forgotten(_moved(displacement), DRAWN_REACH) if layer.own_share.any() else 0.0
    return share if share > 0.01 else 0.0


def _moved(displacement: Array) -> float:
    """Cm, in the mean, that inner lips are displaced [478, 3]."""
    return float(np.sqrt(np.square(displacement[list(INNER_LIPS)]).sum(1).mean()))


def _forgotten(moved: float, reach: float) -> float:
    return float(np.exp(-((moved / reach) ** 4)))


@torch.inference_mode()
def paint_mouth(layer: MouthLayer, displacement: Array) -> tuple[Array, Array]:
    """Colours [N, 3] and radii [N] cm of a layer's points when the photo's mesh moves by displacement [478, 3] cm."""
    along, _, _ = layer_grid()
    mesh = layer.mesh + displacement
    at, down = _layer_places(mesh, layer.rest)
    lips, edges = lips_of(mesh, layer.rest), chords(along, np.array([0, 1]), mesh)[..., :2]  # [2, C, 2]
    colors = _drawn(layer, at, edges[..., 1] - closed_middle(layer.rest)[1], lips)
    if share := drawn_share(layer, displacement):
        photo_mouth = photo_mouth_at(layer, lips, at, down)
        colors += share * photo_mouth[3:].transpose(1, 2, 0) * (photo_mouth[:3].transpose(1, 2, 0) - colors)
    tall = np.linalg.norm(edges[1] - edges[0], axis=-1) / ROWS
    wide = np.linalg.norm(np.gradient(edges.mean(0), axis=0), axis=-1)
    radius = np.maximum(RADIUS * np.maximum(tall, wide), SMALLEST_RADIUS)
    flat = np.clip(colors, 0, 1).reshape(-1, 3).astype(np.float32)
    return flat, np.repeat(radius[None], len(down), 0).ravel().astype(np.float32)


def _drawn(layer: MouthLayer, at: Array, edges: Array, lips: Array) -> Array:
    """[R, C, 3]: what is drawn at [R, C, 2] cm between lips [2, 11, 2], whose edges have levels [2, C] there."""
    between = np.broadcast_to(edges.T, (*at.shape[:2], 2))
    flat = [np.ascontiguousarray(x.reshape(-1, 2) / layer.size, np.float32) for x in (at, between)]
    open_by, low = opening(lips / layer.size), lower_level(lips) / layer.size
    return np.asarray(draw_inside(*flat, float(open_by), float(low), layer.levels, layer.tone)).reshape(
        *at.shape[:2], 3
    )


def photo_mouth_at(layer: MouthLayer, lips: Array, at: Array, down: Array) -> Array:
    """[4, R, C]: the photo's own mouth at places [R, C, 2] cm between lips [2, 11, 2], and how much of it is shown.

    down [R, C], or what broadcasts to it: how far the places are on the way from the upper to the lower lip.
    """
    rest_lips = lips_of(layer.mesh, layer.rest)
    span, edges = lip_edges(rest_lips, OWN_COLUMNS)
    places = at.copy()
    places[..., 1] -= lower_share(down) * (lower_level(lips) - lower_level(rest_lips))
    picture = np.concatenate([layer.own, layer.own_share[None]])
    return np.asarray(sample_mouth(*(torch.from_numpy(x).float() for x in (picture, span, edges, places))).numpy())


def mouth_points(layer: MouthLayer) -> PointLayer:
    """A mouth's inside as points, painted at the photo's own expression."""
    colors, radius = paint_mouth(layer, np.zeros_like(layer.mesh))
    ones = np.ones(len(colors), np.float32)
    return PointLayer(layer.means, colors, radius, layer.skin, ones, SOLID * ones)
