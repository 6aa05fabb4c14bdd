"""The eyeballs: irises that turn over a filled white, both going on behind the lids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer, join_layers
from mggdub.face.mesh import IRISES, LEFT_EYE, RIGHT_EYE, inside
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.sampling import push_pull, sample_crop, smoothstep
from mggdub.types import CROP_SIZE, LANDMARKS, Array, Portrait

STEP = 0.6  # crop px between points
RADIUS = 0.65  # of that step
WHITE_BEHIND, IRIS_BEHIND = 0.5, 0.45  # cm, behind the skin and behind the photo's own pixels of the eye
RIM = 0.08  # cm along the opening's edge, where lashes and their shadow are
LID_EDGE = 0.02  # cm along it, which are the lid's
LIMBUS = (0.93, 1.07)  # of the iris' radius: where it fades into the white
TALLER = 0.35  # cm that an eyeball goes on behind its lids
LEAST_SHOWN = 0.25  # of an iris, for it to be completed
SHELLS = 24  # of an iris, whose mean colours complete it
GLINT = 0.18  # of the luma above the iris' own: a reflection
GLINT_FOLLOWS = 0.4  # of the iris' way


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye in the photo."""

    opening: Array  # [16, 2] crop px
    middle: Array  # [2] crop px, of the iris
    radius: float  # crop px, of the iris
    vertex: int  # of the iris' middle

    def from_iris(self, points: Array) -> Array:
        """[N]: how far points [N, 2] lie from the iris' middle, of its radius."""
        return np.asarray(np.linalg.norm(points - self.middle, axis=1) / self.radius)

    def from_edge(self, points: Array) -> Array:
        """[N]: px that points [N, 2] lie inside the opening, negative outside."""
        edge = np.roll(self.opening, -1, 0) - self.opening
        offset = points[:, None] - self.opening
        along = np.clip((offset * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-9), 0, 1)
        distance = np.linalg.norm(offset - along[..., None] * edge, axis=-1).min(1)
        return np.where(inside(points, self.opening), distance, -distance)


def eyes_of(head: Portrait) -> list[Eye]:
    """The left and the right eye."""
    found = []
    for ring, iris in zip((LEFT_EYE, RIGHT_EYE), IRISES, strict=True):
        middle, *edge = head.landmarks[list(iris), :2].astype(np.float64)
        radius = float(np.linalg.norm(np.stack(edge) - middle, axis=1).mean())
        found.append(Eye(head.landmarks[list(ring), :2].astype(np.float64), middle, max(radius, 1e-3), iris[0]))
    return found


def eyeball_layer(head: Portrait, surface: Array) -> PointLayer:
    """What lies behind the photo's own pixels of both eyes; surface [512, 512] camera z cm."""
    return join_layers([part for eye in eyes_of(head) for part in _eyeball(head, surface, eye)])


def _eyeball(head: Portrait, surface: Array, eye: Eye) -> list[PointLayer]:
    """The white, and the iris if the photo shows enough of it."""
    px_cm = cm_per_px(head.camera)
    beyond = np.array([1, TALLER / px_cm])
    spans = zip(eye.opening.min(0) - beyond, eye.opening.max(0) + beyond, strict=True)
    grid = np.stack(np.meshgrid(*(np.arange(low, high, STEP) for low, high in spans)), -1)
    points, shape = grid.reshape(-1, 2), grid.shape[:2]
    at, deep = eye.from_iris(points), eye.from_edge(points) * px_cm
    colors = sample_crop(head.image.astype(np.float32) / 255, points)
    known = (deep > RIM) & (at > LIMBUS[1])
    white = push_pull(colors.reshape(*shape, 3), known.reshape(shape).astype(np.float32)).reshape(-1, 3)
    near = deep > -TALLER
    solid = np.full(near.sum(), SOLID)
    layers = [_points(head, surface, points[near], white[near], solid, WHITE_BEHIND)]
    shown, disc = (deep > RIM) & (at < LIMBUS[0]), at < LIMBUS[1]
    if shown.sum() > LEAST_SHOWN * (at < LIMBUS[0]).sum():
        solid = SOLID * smoothstep((LIMBUS[1] - at[disc]) / (LIMBUS[1] - LIMBUS[0]))
        painted = fill_iris(at, colors, shown)[disc]
        layers.append(_points(head, surface, points[disc], painted, solid, IRIS_BEHIND, eye.vertex))
    return layers


def fill_iris(at: Array, colors: Array, shown: Array) -> Array:
    """[N, 3]: colours of points at [N] of an iris' radius: their own [N, 3] where they are `shown` [N] and are no
    reflection, elsewhere the mean of those as far from the middle.
    """
    shell = np.minimum((at * SHELLS).astype(int), SHELLS - 1)
    count = np.bincount(shell[shown], minlength=SHELLS)
    known = np.flatnonzero(count > 2)
    if len(known) == 0:
        return colors
    sums = np.stack([np.bincount(shell[shown], colors[shown, k], SHELLS) for k in range(3)], 1)
    means = sums[known] / count[known, None]
    spread = np.stack([np.interp(np.arange(SHELLS), known, means[:, k]) for k in range(3)], 1)
    mean = ndimage.gaussian_filter1d(spread, 1, axis=0, mode="nearest")[shell]
    glint = (colors - mean).mean(-1) > GLINT
    return np.where((shown & ~glint)[:, None], colors, mean).astype(np.float32)


def _points(
    head: Portrait,
    surface: Array,
    places: Array,
    colors: Array,
    solid: Array,
    behind: float,
    vertex: int | None = None,
) -> PointLayer:
    """Points at crop px [N, 2], which follow a vertex or, like the skull, none."""
    z = sample_crop(surface, np.clip(places, 0.5, CROP_SIZE - 0.5)) + behind
    follows = np.zeros((len(places), LANDMARKS), np.float32)
    if vertex is not None:
        follows[:, vertex] = 1
    return PointLayer(
        unproject(places, z, head.camera).astype(np.float32),
        np.clip(colors, 0, 1).astype(np.float32),
        np.full(len(places), RADIUS * STEP * cm_per_px(head.camera), np.float32),
        sparse.csr_matrix(follows),
        np.ones(len(places), np.float32),
        solid.astype(np.float32),
    )


def turn_irises(skin: sparse.csr_matrix, head: Portrait, pixels: Array) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels [N, 2] crop px, whose irises follow the mesh's; reflections lag."""
    for eye in eyes_of(head):
        near = np.flatnonzero((np.abs(pixels - eye.middle) < eye.radius).all(1))
        at = eye.from_iris(pixels[near])
        shown = (eye.from_edge(pixels[near]) * cm_per_px(head.camera) > LID_EDGE) & (at < 1)
        colors = sample_crop(head.image.astype(np.float32) / 255, pixels[near])
        glint = (fill_iris(at, colors, shown) != colors).any(1)[shown]
        rows = near[shown]
        other = np.ones(len(pixels), np.float32)
        other[rows] = 0
        turning = np.where(glint, GLINT_FOLLOWS, 1).astype(np.float32), (rows, np.full(len(rows), eye.vertex))
        skin = sparse.diags(other) @ skin + sparse.csr_matrix(turning, shape=skin.shape)
    return skin.tocsr().astype(np.float32)
