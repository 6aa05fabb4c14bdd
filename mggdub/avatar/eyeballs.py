"""The eyeballs: irises that turn over a filled white, both going on behind the lids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer, join_layers
from mggdub.face.mesh import IRISES, LEFT_EYE, RIGHT_EYE, UNDER_EYES, UPPER_LIDS, inside
from mggdub.face.skin import mesh_rows
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.sampling import push_pull, sample_crop, smoothstep
from mggdub.types import CROP_SIZE, LANDMARKS, Array, Portrait

STEP = 0.6  # crop px between points
RADIUS = 0.65  # of that step
WHITE_BEHIND, IRIS_BEHIND = 1.0, 0.5  # cm behind the skin and the photo's own pixels of the eye, however it curves
RIM = 0.08  # cm along the opening's edge, where lashes and their shadow are
LID_EDGE = 0.02  # cm along it, which are the lid's
LIMBUS = (0.93, 1.07)  # of the iris' radius: where it fades into the white
# Of the radius: how far an iris darkens the white round it (half at 1.0, 0.06 at 1.2; medians of 103 eyes).
DARKENS = 1.2
TALLER = 0.35  # cm that an eyeball goes on behind its lids
OPEN = 1.0  # cm, the height of an open eye
LEAST_SHOWN = 0.45  # of an iris, and of its square in white: between lids that show less there is most of all shadow
# What is not seen (medians of 76 eyes): the white against the root of the skin's light below the eye, and the iris
# against that light, brown as most are, by the distance from its middle.
WHITE = 0.62
IRIS = ((0.3, 0.4, 0.8, 0.95, 1.05), (0.14, 0.33, 0.36, 0.28, 0.5))
BROWN = 0.9  # of the skin's light, whose tint an iris has half again as much
# A light in such an iris: where it lies and its size, of the radius, and how bright it is.
LIGHT_AT, LIGHT_SIZE, LIGHT = (0.22, -0.2), 0.17, 0.4
FASTER = 1.02  # of all that a point follows: more has only what is seen between lids that are all but shut
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
    below: Array  # [5, 2] crop px, skin below the eye

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
    eyes = []
    for side, ring, iris in zip(UNDER_EYES, (LEFT_EYE, RIGHT_EYE), IRISES, strict=True):
        below = head.landmarks[list(UNDER_EYES[side]), :2]
        middle, *edge = head.landmarks[list(iris), :2].astype(np.float64)
        radius = float(np.linalg.norm(np.stack(edge) - middle, axis=1).mean())
        eyes.append(Eye(head.landmarks[list(ring), :2].astype(np.float64), middle, max(radius, 1e-3), iris[0], below))
    return eyes


def eyeball_layer(head: Portrait, surface: Array) -> PointLayer:
    """What lies behind the photo's own pixels of both eyes; surface [512, 512] camera z cm."""
    return join_layers([part for eye in eyes_of(head) for part in _eyeball(head, surface, eye)])


def _eyeball(head: Portrait, surface: Array, eye: Eye) -> list[PointLayer]:
    """The white and the iris, from the photo if it shows enough of them, else as people's are."""
    px_cm, image = cm_per_px(head.camera), head.image.astype(np.float32) / 255
    closed = max(0.0, OPEN / px_cm - float(np.ptp(eye.opening[:, 1])))  # px
    beyond = np.array([1, TALLER / px_cm + closed])
    spans = zip(eye.opening.min(0) - beyond, eye.opening.max(0) + beyond, strict=True)
    grid = np.stack(np.meshgrid(*(np.arange(low, high, STEP) for low, high in spans)), -1)
    points, light = grid.reshape(-1, 2), sample_crop(image, eye.below).mean(0)
    at, deep = eye.from_iris(points), eye.from_edge(points) * px_cm
    near, disc = deep > -TALLER - closed * px_cm, at < LIMBUS[1]
    white = fill_white(sample_crop(image, grid), ((deep > RIM) & (at > DARKENS)).reshape(grid.shape[:2]), light, eye)
    if shows_iris(at, deep):
        iris = fill_iris(at, sample_crop(image, points), (deep > RIM) & (at < LIMBUS[0]))
    else:
        iris = usual_iris(at, (points - eye.middle) / eye.radius, light)
    solid = SOLID * smoothstep((LIMBUS[1] - at[disc]) / (LIMBUS[1] - LIMBUS[0]))
    return [
        _points(head, surface, points[near], white[near], np.full(near.sum(), SOLID), WHITE_BEHIND),
        _points(head, surface, points[disc], iris[disc], solid, IRIS_BEHIND, eye.vertex),
    ]


def shows_iris(at: Array, deep: Array) -> bool:
    """Whether enough of an iris is seen; at [N] of its radius and deep [N] cm in the opening, of points around it."""
    within = at < LIMBUS[0]
    return bool((within & (deep > RIM)).sum() > LEAST_SHOWN * within.sum())


def fill_white(colors: Array, known: Array, light: Array, eye: Eye) -> Array:
    """[H * W, 3]: the white of a grid's points with colours [H, W, 3], where it is `known` [H, W] bool and elsewhere.

    light [3] is the skin's below the eye.
    """
    if known.sum() * STEP**2 < LEAST_SHOWN * eye.radius**2:
        pale = np.sqrt(light * light.mean())
        return np.tile(WHITE * np.sqrt(pale), (known.size, 1))
    return push_pull(colors, known.astype(np.float32)).reshape(-1, 3)


def usual_iris(at: Array, places: Array, light: Array) -> Array:
    """[N, 3]: an iris as most are, at [N] and places [N, 2] of its radius from its middle, by the skin's light [3]."""
    lit = np.exp(-((places - LIGHT_AT) ** 2).sum(1) / LIGHT_SIZE**2)[:, None]
    brown = BROWN * light * np.sqrt(light / max(float(light.mean()), 1e-3))
    return np.interp(at, *IRIS)[:, None] * brown + LIGHT * lit


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
    follows = np.full((len(places), 1), 0 if vertex is None else 1)
    return PointLayer(
        unproject(places, z, head.camera).astype(np.float32),
        np.clip(colors, 0, 1).astype(np.float32),
        np.full(len(places), RADIUS * STEP * cm_per_px(head.camera), np.float32),
        mesh_rows(((vertex or 0,), follows)),
        np.ones(len(places), np.float32),
        solid.astype(np.float32),
    )


def turn_irises(skin: sparse.csr_matrix, head: Portrait, pixels: Array) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels [N, 2] crop px, whose irises follow the mesh's; reflections lag.

    Between lids that show too little of an iris there are lashes: they follow the upper lid.
    """
    image = head.image.astype(np.float32) / 255
    for side, eye in zip(UPPER_LIDS, eyes_of(head), strict=True):
        near = np.flatnonzero((np.abs(pixels - eye.opening.mean(0)) < np.ptp(eye.opening, 0) + eye.radius).all(1))
        at, deep = eye.from_iris(pixels[near]), eye.from_edge(pixels[near]) * cm_per_px(head.camera)
        if shows_iris(at, deep):
            turning, within = (deep > LID_EDGE) & (at < DARKENS), (deep > LID_EDGE) & (at < 1)
            colors = sample_crop(image, pixels[near])
            glint = within & (fill_iris(at, colors, within) != colors).any(1)
            follows = np.zeros((len(near), LANDMARKS), np.float32)
            follows[:, eye.vertex] = np.where(glint, GLINT_FOLLOWS, 1)
        else:
            turning = deep > 0
            room = max(OPEN / cm_per_px(head.camera) - np.ptp(eye.opening[:, 1]), np.ptp(eye.opening[:, 1]))
            follows = _follow_lashes(pixels[near], head, UPPER_LIDS[side][0], float(room))
        other = np.ones(len(pixels), np.float32)
        other[near[turning]] = 0
        chosen = sparse.csr_matrix(
            (np.ones(turning.sum(), np.float32), (near[turning], np.arange(turning.sum()))),
            shape=(len(pixels), turning.sum()),
        )
        skin = sparse.diags(other) @ skin + chosen @ sparse.csr_matrix(follows[turning])
    return skin.tocsr().astype(np.float32)


def between_lids(skin: sparse.csr_matrix) -> tuple[Array, Array]:
    """Left and right: which points of `skin_weights` [N, 478] go faster than the upper lid, as `turn_irises` has it."""
    faster = np.flatnonzero(np.asarray(skin.sum(1)).ravel() > FASTER)
    parts = (skin[faster][:, list(lashes)].sum(1) for lashes, _ in UPPER_LIDS.values())
    left, right = (faster[np.asarray(part).ravel() > 1] for part in parts)
    return left, right


def _follow_lashes(points: Array, head: Portrait, lashes: tuple[int, ...], room: float) -> Array:
    """[N, 478]: points [N, 2] crop px follow what of the lid's margin lies above them, and faster the lower they lie.

    So they are behind the margin, not over the eye, when it has opened by `room` px.
    """
    margin = head.landmarks[list(lashes), :2]
    across = margin[-1] - margin[0]
    along, place = (margin - margin[0]) @ across, (points - margin[0]) @ across
    at = np.interp(place, np.maximum.accumulate(along), np.arange(len(lashes)))
    below = points[:, 1] - np.interp(at, np.arange(len(lashes)), margin[:, 1])
    follows = np.zeros((len(points), LANDMARKS), np.float32)
    follows[:, list(lashes)] = np.maximum(1 - np.abs(at[:, None] - np.arange(len(lashes))), 0)
    return follows * (1 + np.clip(below / room, 0, 1))[:, None]
