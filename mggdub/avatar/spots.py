"""Where the photo's Gaussians begin: a parent for every four pixels, its children where a face moves or ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mggdub.avatar.box import RenderView
from mggdub.face.mesh import INNER_LIPS, LEFT_EYE, LIP_LANDMARKS, RIGHT_EYE
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import sample_crop
from mggdub.types import CROP_SIZE, Array

DRAWN = 0.03  # of the matte, above which a pixel is one of the head's
SOLID_MATTE = 0.97  # below it a pixel belongs to the rim
FEATURE_REACH = 0.7  # cm around lips and eyes where every pixel has a splat of its own
RIM_REACH = 0.15  # cm
STIFF = 0.97  # of the head's motion; a neck with less of it stretches
FACING = 0.41  # of a normal towards the viewer; less is a nose's side, an ear, where one surface ends before another


@dataclass(frozen=True, eq=False)
class Spots:
    """Pixels, and blocks of two by two, of a rendered box; N of them, those that fade as a film does last."""

    rows: Array  # [N] int64, of the upper left pixel
    columns: Array  # [N]
    size: Array  # [N] float32, px: 1 or 2
    film: int = 0  # how many fade

    @property
    def centres(self) -> Array:
        """[N, 2] px of the box."""
        return (np.stack([self.columns, self.rows], 1) + self.size[:, None] / 2).astype(np.float32)

    def of(self, picture: Array) -> Array:
        """The means [N, ...] of a picture [h, w, ...] over the spots."""
        blocks = self.size > 1
        means = picture[self.rows, self.columns].astype(np.float32)
        rows, columns = self.rows[blocks], self.columns[blocks]
        for down, right in ((0, 1), (1, 0), (1, 1)):
            means[blocks] += picture[rows + down, columns + right]
        means[blocks] /= 4
        return means


def find_spots(view: RenderView, matte: Array, film: Array, head_share: Array, normals: Array) -> Spots:
    """Spots that cover the head; matte, film and head_share [h, w] 0..1, normals [256, 256, 3] of the crop.

    film is `strand_film`'s, which needs few of them.
    """
    drawn, fine = np.maximum(matte, film) > DRAWN, _fine(view, matte, normals) | (head_share < STIFF)
    fine &= film <= matte
    height, width = (side // 2 * 2 for side in matte.shape)
    blocks = (drawn & ~fine)[:height, :width].reshape(height // 2, 2, width // 2, 2).all((1, 3))
    single = drawn.copy()
    single[:height, :width] &= ~np.kron(blocks, np.ones((2, 2), bool))
    rows, columns = np.nonzero(single)
    above, before = np.nonzero(blocks)
    size = np.repeat(np.array([1, 2], np.float32), [len(rows), len(above)])
    found = Spots(np.concatenate([rows, 2 * above]), np.concatenate([columns, 2 * before]), size)
    filmed = found.of(film) > found.of(matte)
    return fading_last(found, filmed)


def fading_last(spots: Spots, fades: Array) -> Spots:
    """Spots among whose last, which fade, are those of a mask [N] bool, too."""
    fades = fades | (np.arange(len(fades)) >= len(fades) - spots.film)
    order = np.argsort(fades, kind="stable")
    return Spots(spots.rows[order], spots.columns[order], spots.size[order], int(fades.sum()))


def _fine(view: RenderView, matte: Array, normals: Array) -> Array:
    """[h, w] bool: lips and eyes, the rim, and where the surface is steep."""
    cm = view.cm_per_px
    marks = view.head.landmarks
    away = np.ones((CROP_SIZE, CROP_SIZE), bool)
    for ring in (LIP_LANDMARKS, INNER_LIPS, LEFT_EYE, RIGHT_EYE):
        column, row = np.clip(marks[list(ring), :2], 0, CROP_SIZE - 1).astype(int).T
        away[row, column] = False
    crop_cm = cm / view.crop_px_per_px
    features = sample_crop(distance_inside(away).astype(np.float32), view.crop_px) < FEATURE_REACH / crop_cm
    rim = distance_inside(matte >= SOLID_MATTE) < RIM_REACH / cm
    facing = sample_crop(np.abs(normals[..., 2]), view.crop_px * (len(normals) / CROP_SIZE))
    steep = ndimage.binary_dilation(facing < FACING, iterations=2)
    return np.asarray(features | rim | steep)
