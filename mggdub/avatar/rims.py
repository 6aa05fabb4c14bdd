"""The rim of hair that has the hidden side behind it once the head turns, and fades there as a strands' film does."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.avatar.spots import Spots
from mggdub.geometry.camera import cm_per_px, project
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.rotation import rotvec_to_matrix
from mggdub.types import Array, Camera

RIM = 0.5  # cm inside the outline that may show wall
INNER, HAIRY = 0.2, 0.5  # cm inside it, where it is plain what is hair, and how much of that is
TURN = 20.0  # degrees, by which a side has turned; its rim is gone a little before (`animation/film.py`)
POINT, WITHIN = 0.25, 0.2  # cm round a hidden point that it covers, and how far inside of that a rim lies
AROUND, NEAR, BARE = 1.0, 0.5, 0.15  # cm over which hair's colour is averaged, and others seen; share in loose hair


def hair_rim(spots: Spots, image: Array, plate: Array, matte: Array, hair: Array, skin: Array, cm: float) -> Array:
    """[N] bool: which spots are the rim of dense hair.

    image and plate [h, w, 3] with and without the head, matte and what is hair and skin [h, w] 0..1 of the rendered
    box, cm of a pixel. A rim is mixed with the wall, more than the matte says, and would lie on the hair of a hidden
    side that turns into view as bright dashes and a line. Behind single strands the hidden side shows what is between
    them: wall, or an ear.
    """
    inside = distance_inside(matte > 0.5) * cm
    inner = inside >= INNER
    if not inner.any():
        return np.zeros(len(spots.rows), bool)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    others = (plate, np.median(image[skin > 0.5], axis=0)) if (skin > 0.5).any() else (plate,)
    dense = (hair > HAIRY) & (_bare_share(image, hair * inner, others, inner, cm) < BARE)
    return np.asarray(((inside < RIM) & dense[tuple(nearest)])[spots.rows, spots.columns])


def _bare_share(image: Array, hair: Array, others: tuple[Array, ...], inner: Array, cm: float) -> Array:
    """[h, w] 0..1: how much of the `inner` [h, w] bool nearby looks more like other colours than like hair [h, w]."""
    weight = ndimage.gaussian_filter(hair, AROUND / cm) + 1e-6
    usual = np.dstack([ndimage.gaussian_filter(image[..., k] * hair, AROUND / cm) / weight for k in range(3)])
    apart, *unlike = (np.linalg.norm(image - colors, axis=-1) for colors in (usual, *others))
    bare = inner & (apart > np.min(unlike, axis=0))
    near, all_of_it = (ndimage.gaussian_filter(part.astype(np.float32), NEAR / cm) for part in (bare, inner))
    return np.asarray(near / (all_of_it + 1e-6))


def covered_when_turned(points: Array, hidden: Array, middle: Array, camera: Camera) -> Array:
    """[N] bool: which points have hidden ones behind them when their side has turned near.

    Where none are they are an outline. points [N, 3], hidden [M, 3] and the middle [3] of the head in head space, cm.
    """
    covered = np.zeros(len(points), bool)
    if len(hidden) == 0:
        return covered
    turn, size, cm = camera.viewmat[:3, :3], (camera.height, camera.width), cm_per_px(camera)
    seen, behind = ((of - middle) @ turn.T for of in (points, hidden))  # as the photo sees them
    for side in (-1, 1):
        there = side * seen[:, 0] > np.maximum(-seen[:, 1], 0)  # the crown stays an outline when a face sinks
        turned = (_turned(of, side) @ turn + middle for of in (seen[there], behind))
        at, cover = (_cells(project(of, camera), size) for of in turned)
        covered[there] = _cover(cover, size, cm)[at]
    return covered


def _turned(points: Array, side: int) -> Array:
    """[N, 3]: points as a camera sees them from their middle, turned so that their left (-1) or right comes nearer."""
    turn = rotvec_to_matrix(np.array([0, side * np.radians(TURN), 0]))
    return np.asarray(points @ turn.T)


def _cells(places: Array, size: tuple[int, ...]) -> tuple[Array, Array]:
    """Rows and columns [N] of a picture [h, w] that are the nearest to places [N, 2] px."""
    columns, rows = np.floor(places).astype(int).T
    return rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)


def _cover(cells: tuple[Array, Array], size: tuple[int, ...], cm: float) -> Array:
    """[h, w] bool: what lies inside of what points in cells cover; cm of a pixel."""
    free = np.ones(size, bool)
    free[cells] = False
    return np.asarray(distance_inside(distance_inside(free) * cm < POINT) * cm > WITHIN)
