"""The inside of the mouth: teeth, tongue and dark, as a layer of points hung between the inner lips.

Its colours come from an atlas of people's mouths. Upper teeth keep their place on the skull and lower ones on the jaw
while lips move over them. A photo that shows the inside of its mouth keeps that, too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from scipy import ndimage, sparse
from torch import Tensor
from torch.nn import functional as F

from mggdub.avatar.lips import (
    SHAPE_WEIGHTS,
    WIDTH,
    Lips,
    chord_rows,
    chords,
    closed_middle,
    closed_width,
    lip_edges,
    lip_shape,
    lips_of,
    lower_level,
    lower_share,
    picture_places,
)
from mggdub.avatar.values import SOLID, MouthLayer, PointLayer
from mggdub.compiled import compiled
from mggdub.face.mesh import CHEEKS, INNER_LIPS, inside
from mggdub.geometry.camera import project
from mggdub.metrics.pixels import grey
from mggdub.networks.mouth import MouthAtlas
from mggdub.types import Array, Portrait

BEHIND = 0.4  # cm, teeth behind the inner lips
MARGIN = (0.06, 0.08, 0.10)  # cm, points beyond the lips' edge
COLUMNS, ROWS = 96, 32
OWN_COLUMNS, OWN_ROWS = 160, 64  # of the picture of the photo's own mouth
SEEN_GAP = 0.3  # cm, from which on a photo shows the inside of its mouth
SMALLEST_RADIUS = 0.03  # cm
RADIUS = 0.6  # of the points' distance
FEWEST = 100  # points of a layer that must be seen to choose by them
OWN_REACH = 0.25  # cm that the lips move until the photo's own mouth is forgotten
BLENDED = 4  # nearest states
NEAR = 0.15  # cm of lip shape, over which nearer states win
SHOULDER, WHITEST = 0.65, 0.93  # of a colour's range, where highlights begin to be compressed, and their end
SIZES = (0.85, 1.18)  # smallest and largest width of a mouth over that of the atlas's person
LIGHT_COST = 0.02  # of LPIPS, for every e-fold of one colour's light
OWN_COST = 0.4  # of LPIPS, for the whole range of colours between a mouth and the photo's own
GAINS = (0.7, 1.5)  # least and most that an open mouth is lit otherwise than the skin says
TEETH = 0.6  # of the skin's luma, that the brightest tenth of a photo's own mouth has if it shows teeth
THINNED = 4  # rows and columns of the photo's own mouth, of which one is compared
LEVEL_SHARE, TINT_SHARE = 0.8, 0.3  # exponents of skins' ratios: paler skin is not only brighter light
WIDER, NARROWER, WIDTH_LIGHT = 0.4, 0.12, (-0.2, 0.1)  # e-folds of light per cm, and the least and most of them


def sample_states(pictures: Tensor, spans: Tensor, edges: Tensor, margin: float, places: Tensor) -> Tensor:
    """[K, D, R, C] colours of pictures [K, D, rows, columns] at places [K, R, C, 2] cm."""
    across = (places[..., :1] - spans[:, None, None, :1]) / (spans[:, 1] - spans[:, 0])[:, None, None, None] * 2 - 1
    level = torch.cat([across, torch.zeros_like(across)], -1)
    upper, lower = F.grid_sample(edges[:, :, None], level, padding_mode="border", align_corners=False).unbind(1)
    down = (places[..., 1] - upper + margin) / (lower - upper + 2 * margin) * 2 - 1
    at = torch.stack([across[..., 0], down], -1)
    return F.grid_sample(pictures, at, padding_mode="border", align_corners=False)


def nearest_states(atlas: MouthAtlas, person: int, shape: Array) -> tuple[Array, Array]:
    """Numbers [BLENDED] and weights of the states most like a lip shape [SHAPE]; weights change without a leap."""
    apart = np.square(atlas.shapes[person].numpy() - shape).sum(1)
    order = np.argsort(apart, kind="stable")[: BLENDED + 1]
    likeness = np.exp((apart[order[0]] - apart[order]) / (2 * NEAR**2))
    if len(order) > BLENDED:
        likeness = likeness[:-1] - likeness[-1]
    return order[: len(likeness)], likeness / likeness.sum()


def paint_places(atlas: MouthAtlas, person: int, lips: Lips, at: Array, down: Array) -> Array:
    """[R, C, 3] sRGB in the light of a person of the atlas.

    at [R, C, 2] cm from the closed lips' middle and down [R, 1] or [R, C] 0..1 are the places.
    """
    shape = lip_shape(lips.lips / lips.size, lips.out / lips.size)
    states, weights = nearest_states(atlas, person, shape)
    wider = (shape[WIDTH] - weights @ atlas.shapes[person].numpy()[states, WIDTH]) / SHAPE_WEIGHTS[WIDTH]
    lower = lower_level(lips.lips) / lips.size - atlas.lows[person].numpy()[states]  # [K]
    parts = (atlas.pictures[person, states], atlas.spans[person, states], atlas.edges[person, states])
    sinks = np.broadcast_to(lower_share(down), at.shape[:2]).astype(np.float32)
    light = (weights * width_light(float(wider)) / 255).astype(np.float32)
    painted = np.empty((*at.shape[:2], 3), np.float32)
    places = np.ascontiguousarray(at / lips.size, np.float32)
    _paint(
        *(part.numpy() for part in parts), atlas.config.margin, places, sinks, lower.astype(np.float32), light, painted
    )
    return painted


@compiled(boundscheck=False, fastmath={"contract", "arcp", "nsz", "reassoc"}, error_model="numpy")
def _paint(pictures, spans, edges, margin, places, sinks, lower, light, painted):  # type: ignore[no-untyped-def]
    """Fill painted [R, C, 3] with `sample_states` of pictures [K, 3, rows, columns], each times its light [K].

    The places [R, C, 2] of state k lie `lower[k]` times sinks [R, C] higher.
    """
    rows, columns, half, margin = pictures.shape[2], pictures.shape[3], np.float32(0.5), np.float32(margin)
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            painted[i, j, 0] = painted[i, j, 1] = painted[i, j, 2] = np.float32(0)
            for k in range(light.shape[0]):
                x = (places[i, j, 0] - spans[k, 0]) / (spans[k, 1] - spans[k, 0]) * np.float32(columns) - half
                x = min(x if x > 0 else np.float32(0), np.float32(columns - 1.001))
                column = np.int32(x)
                s = x - np.float32(column)
                upper = edges[k, 0, column] + (edges[k, 0, column + 1] - edges[k, 0, column]) * s
                tall = edges[k, 1, column] + (edges[k, 1, column + 1] - edges[k, 1, column]) * s - upper
                y = places[i, j, 1] - sinks[i, j] * lower[k] - upper + margin
                y = y / (tall + margin + margin) * np.float32(rows) - half
                y = min(y if y > 0 else np.float32(0), np.float32(rows - 1.001))
                row = np.int32(y)
                t = y - np.float32(row)
                for c in range(3):
                    a, b = np.float32(pictures[k, c, row, column]), np.float32(pictures[k, c, row, column + 1])
                    d, e = np.float32(pictures[k, c, row + 1, column]), np.float32(pictures[k, c, row + 1, column + 1])
                    above, below = a + (b - a) * s, d + (e - d) * s
                    painted[i, j, c] += light[k] * (above + (below - above) * t)


def width_light(wider: float) -> float:
    """How much brighter a mouth is that is `wider` cm wider than its states: smiles show teeth, round mouths dark."""
    return float(np.exp(np.clip(wider * (WIDER if wider > 0 else NARROWER), *WIDTH_LIGHT)))


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


def build_mouth(atlas: MouthAtlas, head: Portrait, mesh: Array, rest: Array, lips_z: float) -> MouthLayer:
    """The mouth's inside of a photo's person.

    mesh [478, 3] the photo's own in head space and rest [478, 3] the same with closed lips; lips_z cm, the deepest
    point of the lips' surface. The mouth is that of somebody in similar light or, where the photo shows its own, of
    whose is most like it.
    """
    along, down, beyond = layer_grid()
    lift = max(0.0, lips_z - float(mesh[list(INNER_LIPS), 2].max())) + BEHIND
    means = chords(along, down, mesh) + beyond + np.array([0, 0, lift], np.float32)  # [R, C, 3]
    rows = [chord_rows(along, np.full(len(along), v)) for v in down]
    image = head.image.astype(np.float32) / 255
    skin = cheek_colour(ndimage.uniform_filter(image, (5, 5, 1)), head.landmarks)
    photo_mouth, shown = own_mouth(head, image, mesh, rest, lift)
    person, gain = choose_person(atlas, skin, Lips.of(mesh, rest, 1.0), rest, photo_mouth, shown)
    return MouthLayer(
        means=means.reshape(-1, 3).astype(np.float32),
        skin=sparse.vstack(rows, format="csr"),
        mesh=mesh,
        rest=rest,
        person=person,
        size=mouth_size(atlas, person, rest),
        light=np.float32(gain) * relative_light(atlas, person, skin),
        own=photo_mouth,
        own_share=shown,
    )


def mouth_size(atlas: MouthAtlas, person: int, rest: Array) -> float:
    """How much wider the closed lips of rest [478, 3] are than a person's of the atlas, within SIZES."""
    return float(np.clip(closed_width(rest) / float(atlas.widths[person]), *SIZES))


def relative_light(atlas: MouthAtlas, person: int, skin: Array) -> Array:
    """[3]: what a person's mouth of the atlas is multiplied with beside skin [3]. Skins differ by more than light."""
    person_skin = atlas.skins[person].numpy() + 0.02
    level = (grey(skin) + 0.02) / grey(person_skin)
    tint = (skin + 0.02) / person_skin / level
    return np.asarray(level**LEVEL_SHARE * tint**TINT_SHARE, np.float32)


def people_costs(atlas: MouthAtlas, skin: Array) -> Array:
    """[P] LPIPS: what it costs to take a mouth of the atlas for somebody whose lit skin is [3]."""
    unlike = np.abs(np.log(atlas.skins.numpy() + 0.02) - np.log(skin + 0.02)).sum(1)
    return np.asarray(LIGHT_COST * unlike)


def choose_person(
    atlas: MouthAtlas, skin: Array, lips: Lips, rest: Array, photo_mouth: Array, shown: Array
) -> tuple[int, float]:
    """Whose mouth suits a photo with lit skin [3], and how much brighter it is than by that skin.

    photo_mouth [3, OWN_ROWS, OWN_COLUMNS] and shown [OWN_ROWS, OWN_COLUMNS] as of `own_mouth`: where it shows teeth,
    others are compared with them.
    """
    cost, gains = people_costs(atlas, skin), np.ones(atlas.config.people)
    photo_mouth, shown = photo_mouth[:, ::THINNED, ::THINNED].transpose(1, 2, 0), shown[::THINNED, ::THINNED, None]
    if shown.sum() < 1 or np.quantile(grey(photo_mouth)[shown[..., 0] > 0.5], 0.9) < TEETH * grey(skin):
        return int(cost.argmin()), 1.0
    span, edges = lip_edges(lips.lips, OWN_COLUMNS, 0.0)
    places = picture_places(span, edges, OWN_ROWS, 0.0)[::THINNED, ::THINNED]
    down = ((np.arange(OWN_ROWS) + 0.5) / OWN_ROWS)[::THINNED, None]
    for person in range(atlas.config.people):
        sized = replace(lips, size=mouth_size(atlas, person, rest))
        painted = paint_places(atlas, person, sized, places, down) * relative_light(atlas, person, skin)
        gains[person] = np.clip((shown * photo_mouth * painted).sum() / max((shown * painted**2).sum(), 1e-6), *GAINS)
        cost[person] += OWN_COST * float(
            (shown * np.abs(gains[person] * painted - photo_mouth)).sum() / shown.sum() / 3
        )
    best = int(cost.argmin())
    return best, float(gains[best])


def own_mouth(head: Portrait, image: Array, mesh: Array, rest: Array, lift: float) -> tuple[Array, Array]:
    """The photo's own mouth as a picture of the atlas's kind [3, OWN_ROWS, OWN_COLUMNS], and where the photo shows it
    [OWN_ROWS, OWN_COLUMNS], 0..1.
    """
    span, edges = lip_edges(lips_of(mesh, rest), OWN_COLUMNS, 0.0)
    places = picture_places(span, edges, OWN_ROWS, 0.0)
    depth = chords((np.arange(OWN_COLUMNS) + 0.5) / OWN_COLUMNS, (np.arange(OWN_ROWS) + 0.5) / OWN_ROWS, mesh)[..., 2:]
    points = np.concatenate([places + closed_middle(rest)[:2], depth + lift], -1)
    at = project(points.reshape(-1, 3), head.camera)
    shown = [ndimage.map_coordinates(image[..., c], [at[:, 1] - 0.5, at[:, 0] - 0.5], order=1) for c in range(3)]
    picture = np.stack(shown).reshape(3, OWN_ROWS, OWN_COLUMNS).astype(np.float32)
    visible = inside(at, head.landmarks[list(INNER_LIPS), :2]).reshape(OWN_ROWS, OWN_COLUMNS)
    if np.linalg.norm(mesh[13] - mesh[14]) < SEEN_GAP or visible.sum() < FEWEST:
        visible = np.zeros_like(visible)
    return picture, np.asarray(ndimage.uniform_filter(visible.astype(np.float32), (3, 3), mode="constant") * visible)


def photo_mouth_share(displacement: Array) -> float:
    """How much of the photo's own mouth is still seen, 1 at its own expression: of the mesh's motion [478, 3] cm."""
    moved = np.sqrt(np.square(displacement[list(INNER_LIPS)]).sum(1).mean())
    return float(np.exp(-((moved / OWN_REACH) ** 2)))


@torch.no_grad()
def paint_mouth(atlas: MouthAtlas, layer: MouthLayer, displacement: Array) -> tuple[Array, Array]:
    """Colours [N, 3] and radii [N] cm of a layer's points when the photo's mesh moves by displacement [478, 3] cm."""
    along, _, _ = layer_grid()
    mesh = layer.mesh + displacement
    at, down = _layer_places(mesh, layer.rest)
    lips = Lips.of(mesh, layer.rest, layer.size)
    colors = not_burnt(paint_places(atlas, layer.person, lips, at, down) * layer.light)
    share = photo_mouth_share(displacement)
    if share > 0.01 and layer.own_share.any():
        photo_mouth = _own_places(layer, lips.lips, at, down)
        colors += share * photo_mouth[3:].transpose(1, 2, 0) * (photo_mouth[:3].transpose(1, 2, 0) - colors)
    edges = chords(along, np.array([0, 1]), mesh)[..., :2]  # [2, C, 2]
    tall = np.linalg.norm(edges[1] - edges[0], axis=-1) / ROWS
    wide = np.linalg.norm(np.gradient(edges.mean(0), axis=0), axis=-1)
    radius = np.maximum(RADIUS * np.maximum(tall, wide), SMALLEST_RADIUS)
    flat = np.clip(colors, 0, 1).reshape(-1, 3).astype(np.float32)
    return flat, np.repeat(radius[None], len(down), 0).ravel().astype(np.float32)


def not_burnt(colors: Array) -> Array:
    """Colours [..., 3] 0..1 whose highlights keep their shading, as on film: above SHOULDER they are compressed."""
    over = np.maximum(colors - SHOULDER, 0)
    room = WHITEST - SHOULDER
    return np.asarray(np.minimum(colors, SHOULDER) + room * (1 - np.exp(-over / room)))


def _own_places(layer: MouthLayer, lips: Array, at: Array, down: Array) -> Array:
    """[4, R, C]: the photo's own mouth where it is seen at these places, and how much of it the photo shows."""
    rest_lips = lips_of(layer.mesh, layer.rest)
    span, edges = lip_edges(rest_lips, OWN_COLUMNS, 0.0)
    places = at.copy()
    places[..., 1] -= lower_share(down) * (lower_level(lips) - lower_level(rest_lips))
    picture = torch.from_numpy(np.concatenate([layer.own, layer.own_share[None]]))[None]
    sides, borders, where = (torch.from_numpy(x).float()[None] for x in (span, edges, places))
    return np.asarray(sample_states(picture, sides, borders, 0.0, where)[0].numpy())


def mouth_points(atlas: MouthAtlas, layer: MouthLayer) -> PointLayer:
    """A mouth's inside as points, painted at the photo's own expression."""
    colors, radius = paint_mouth(atlas, layer, np.zeros_like(layer.mesh))
    ones = np.ones(len(colors), np.float32)
    return PointLayer(layer.means, colors, radius, layer.skin, ones, SOLID * ones)
