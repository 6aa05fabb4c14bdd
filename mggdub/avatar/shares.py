"""How much of the head's and of the torso's motion every place of the picture has."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.face.mesh import CHIN_TIP, JAW_CORNERS, OVAL, ring_mask
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import smoothstep
from mggdub.types import CROP_SIZE, Array, Crop

EDGE_FADE = 40.0  # crop px
NECK, HANGING = 7.5, 13.0  # cm from chin to collar; and to where long hair lies still
FADE = 3.5  # cm over which what lies beside the torso moves along
BLUR = 0.4  # cm
CELLS = 160  # along the longest side of a picture
HELD = 6.0  # cm from the picture's edge within which a torso's motion ends; it shifts by 3 at most, so nothing folds
REACH = 60.0  # cm beyond the crop in which a body's motion ends


def neck_weights(landmarks: Array, clothes: Array, hair: Array, bottom: Array | float, cm_per_px: float) -> Array:
    """[512, 512] float32: share of the head's motion at each crop pixel, 1 on the head, 0 at collar and shoulders.

    clothes and hair [512, 512] float32 probability; bottom px, the lowest row that will be drawn, or [512] of every
    column. Fades over the neck's length, where hair hangs more slowly, before the clothes begin, and before the bottom,
    below which the photo stands still. Clothes count below the chin, and beside the jaw outside the face's outline.
    """
    rows = np.arange(CROP_SIZE, dtype=np.float32)[:, None] + 0.5
    chin = landmarks[CHIN_TIP, 1]
    hanging = np.clip(2 * hair, 0, 1)
    drop = smoothstep(1 - (rows - chin) * cm_per_px / (NECK + (HANGING - NECK) * hanging))
    dressed = clothes > 0.5
    near_clothes = smoothstep(distance_inside(~dressed) * cm_per_px / 4.0) if dressed.any() else 1.0
    beside = distance_inside(~ring_mask(landmarks, OVAL, clothes.shape)) * cm_per_px
    low = (rows - landmarks[list(JAW_CORNERS), 1].mean()) * cm_per_px
    below = smoothstep((rows - chin) * cm_per_px / 2.0)
    under = np.maximum(below, smoothstep(beside / 2.0) * smoothstep(low / 2 + 0.5))
    share = drop * (1 - under * (1 - near_clothes)) * smoothstep((bottom - rows - 3) / EDGE_FADE)
    return ndimage.gaussian_filter(share.astype(np.float32), 0.4 / cm_per_px)


def torso_shares(torso: Array, cm_per_px: float) -> Array:
    """[512, 512] of `torso_matte`: shares of the torso's motion, which fade beside it."""
    inside = torso > 0.5
    if not inside.any():
        return np.zeros_like(torso)
    distance = distance_inside(~inside) * cm_per_px
    return ndimage.gaussian_filter(smoothstep(1 - distance / FADE).astype(np.float32), BLUR / cm_per_px)


def over_picture(shares: Array, crop: Crop, size: tuple[int, int], cm_per_px: float) -> Array:
    """[h, w] float32 coarse cells of a picture (width, height): `shares` of its crop, and beyond it ever less.

    `crop` in px of the picture; cm_per_px of a pixel of the crop. At the picture's edges they are 0.
    """
    ratio = min(1.0, CELLS / max(size))
    width, height = max(2, round(size[0] * ratio)), max(2, round(size[1] * ratio))
    x, y = (np.arange(width) + 0.5) * size[0] / width, (np.arange(height) + 0.5) * size[1] / height
    cells = np.stack(np.meshgrid(x, y), -1)
    at = crop.to_crop(cells)
    beyond = np.linalg.norm(at - np.clip(at, 0, CROP_SIZE), axis=-1) * cm_per_px
    inside = np.clip(at, 2, CROP_SIZE - 2)
    sampled = ndimage.map_coordinates(shares, [inside[..., 1] - 0.5, inside[..., 0] - 0.5], order=1, mode="nearest")
    share = sampled * smoothstep(1 - beyond / REACH) * held_at_edges(cells, size, cm_per_px * crop.scale)
    return share.astype(np.float32)


def held_at_edges(places: Array, size: tuple[float, float], cm_per_px: float) -> Array:
    """[...]: how much of a torso's motion places [..., 2] px of a picture (width, height) take.

    None at its edges: what would come in from beyond them is not known.
    """
    room = np.minimum(places, np.array(size) - places).min(-1) * cm_per_px
    return smoothstep(room / HELD)
