"""The eyeballs: an iris that turns over a filled white, both going on behind the lids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer, join_layers
from mggdub.face.mesh import IRISES, LEFT_EYE, RIGHT_EYE, inside
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.sampling import push_pull, sample_crop, smoothstep
from mggdub.types import LANDMARKS, Array, Portrait

RINGS = (LEFT_EYE, RIGHT_EYE)
STEP = 0.6  # crop px between points
RADIUS = 0.65  # of the step between points
BEHIND = (0.34, 0.32)  # cm behind the skin: white, iris
RIM = 0.08  # cm, of the opening's edge: lashes and shadow, which are neither white nor iris
LIMBUS = (0.93, 1.07)  # of the iris' radius, where it fades into the white
IRIS_FORWARD = 0.03  # cm, of the photo's own iris before its white
TALLER = 0.35  # cm that an eyeball goes on behind its lids
WHOLE_IRIS = 0.25  # of an iris' disc, which a photo must show
GLINT = 0.18  # of the luma above the iris' own, from which it is a reflection
GLINT_FOLLOWS = 0.4  # of the iris' way


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye in the photo."""

    opening: Array  # [16, 2] crop px
    middle: Array  # [2] crop px, of the iris
    radius: float  # crop px
    iris: tuple[int, ...]  # vertices: the middle, then four of the edge


def eyes_of(head: Portrait) -> list[Eye]:
    """The left and the right eye."""
    found = []
    for ring, iris in zip(RINGS, IRISES, strict=True):
        marks = head.landmarks[list(iris), :2].astype(np.float64)
        radius = float(np.linalg.norm(marks[1:] - marks[0], axis=1).mean())
        found.append(Eye(head.landmarks[list(ring), :2].astype(np.float64), marks[0], radius, iris))
    return found


def depth_inside(points: Array, opening: Array) -> Array:
    """[N]: px that points [N, 2] lie inside an opening [P, 2]; negative outside."""
    start, end = opening, np.roll(opening, -1, 0)
    edge = end - start
    along = ((points[:, None] - start) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-9)
    nearest = start + np.clip(along, 0, 1)[..., None] * edge
    distance = np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)
    return np.where(inside(points, opening), distance, -distance)


def eyeball_layer(head: Portrait, surface: Array) -> PointLayer:
    """What lies behind the photo's own pixels of both eyes; surface [512, 512] camera z cm."""
    return join_layers([_eyeball(head, surface, eye) for eye in eyes_of(head)])


def _eyeball(head: Portrait, surface: Array, eye: Eye) -> PointLayer:
    px_cm = cm_per_px(head.camera)
    low, high = eye.opening.min(0) - [1, TALLER / px_cm], eye.opening.max(0) + [1, TALLER / px_cm]
    grid = np.stack(np.meshgrid(*(np.arange(a, b, STEP) for a, b in zip(low, high, strict=True))), -1)
    points = grid.reshape(-1, 2)
    at = np.linalg.norm(points - eye.middle, axis=1) / eye.radius
    deep = depth_inside(points, eye.opening) * px_cm
    image = head.image.astype(np.float32) / 255
    colors = sample_crop(image, points)
    white = fill_white(colors.reshape(*grid.shape[:2], 3), (deep > RIM).reshape(grid.shape[:2]), at.reshape(grid.shape[:2]))
    near = deep > -TALLER
    layers = [_points(head, surface, points[near], white.reshape(-1, 3)[near], BEHIND[0], None, SOLID)]
    shown = (deep > RIM) & (at < LIMBUS[0])
    if shown.sum() > WHOLE_IRIS * (at < LIMBUS[0]).sum():
        disc = at < LIMBUS[1]
        painted = fill_iris(points, at, colors, shown, eye)[disc]
        solid = SOLID * smoothstep((LIMBUS[1] - at[disc]) / (LIMBUS[1] - LIMBUS[0]))
        layers.append(_points(head, surface, points[disc], painted, BEHIND[1], eye.iris[0], solid))
    return join_layers(layers)


def fill_white(colors: Array, seen: Array, at: Array) -> Array:
    """[H, W, 3]: the white where lids or iris hide it; colors [H, W, 3], seen [H, W] bool in the opening, at [H, W] of
    the iris' radius."""
    known = seen & (at > LIMBUS[1])
    return push_pull(colors, known.astype(np.float32)) if known.any() else colors


def fill_iris(points: Array, at: Array, colors: Array, shown: Array, eye: Eye) -> Array:
    """[N, 3]: colours of an iris's points [N, 2], at [N] of its radius; where not `shown` those of the mirrored place
    below or, if that is hidden as well, the mean at that radius."""
    count = 24
    ring = np.minimum((at * count).astype(int), count - 1)
    weight = np.bincount(ring[shown], minlength=count) + 1e-3
    mean = np.stack([np.bincount(ring[shown], colors[shown, k], count) / weight for k in range(3)], 1)
    known = np.bincount(ring[shown], minlength=count) > 2
    if known.any():
        mean = np.stack([np.interp(np.arange(count), np.flatnonzero(known), mean[known, k]) for k in range(3)], 1)
    mean = ndimage.gaussian_filter1d(mean, 1, axis=0, mode="nearest")
    average = mean[ring]
    glint = (colors - average).mean(-1) > GLINT
    return np.where((shown & ~glint)[:, None], colors, average).astype(np.float32)


def _points(
    head: Portrait, surface: Array, places: Array, colors: Array, behind: float, follows: int | None, solid: Array | float
) -> PointLayer:
    count = len(places)
    z = sample_crop(surface, np.clip(places, 0.5, 511.5)) + behind
    skin = sparse.csr_matrix((count, LANDMARKS), dtype=np.float32)
    if follows is not None:
        skin = sparse.csr_matrix(
            (np.ones(count, np.float32), (np.arange(count), np.full(count, follows))), shape=(count, LANDMARKS)
        )
    return PointLayer(
        unproject(places, z, head.camera).astype(np.float32),
        np.clip(colors, 0, 1).astype(np.float32),
        np.full(count, RADIUS * STEP * cm_per_px(head.camera) * 1.0, np.float32),
        skin,
        np.ones(count, np.float32),
        np.broadcast_to(np.asarray(solid, np.float32), count),
    )


def turn_irises(skin: sparse.csr_matrix, head: Portrait, pixels: Array) -> tuple[sparse.csr_matrix, Array]:
    """`skin_weights` [N, 478] of the photo's pixels [N, 2] crop px, whose irises follow the mesh's, and which they are.

    Reflections lag behind.
    """
    px_cm = cm_per_px(head.camera)
    image = head.image.astype(np.float32) / 255
    irises = np.zeros(len(pixels), bool)
    skin = skin.tolil()
    for eye in eyes_of(head):
        near = np.flatnonzero((np.abs(pixels - eye.middle) < 1.2 * eye.radius).all(1))
        at = np.linalg.norm(pixels[near] - eye.middle, axis=1) / eye.radius
        shown = (depth_inside(pixels[near], eye.opening) * px_cm > 0.02) & (at < 1.02)
        if not shown.any():
            continue
        colors = sample_crop(image, pixels[near])
        plain = fill_iris(pixels[near], at, colors, shown, eye)
        follows = np.where(np.abs(colors - plain).max(-1) > 1e-6, GLINT_FOLLOWS, 1.0)
        for row, share in zip(near[shown], follows[shown], strict=True):
            skin.rows[row], skin.data[row] = [eye.iris[0]], [share]
        irises[near[shown]] = True
    return skin.tocsr().astype(np.float32), irises
