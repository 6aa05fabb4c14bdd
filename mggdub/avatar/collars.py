"""Collars beside the jaw and the neck, of which the geometry network sees only the lower part, and doubted shoulders.

What it takes for skin there, and has the colour of the clothes it hangs together with, is clothes: it stays with the
shoulders when the head moves. So is what is beside the face, and has not its colours.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.face.mesh import CHIN_TIP, OVAL, ring_mask
from mggdub.geometry.camera import OUTER_EYES
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import push_pull
from mggdub.networks.geometry import MAPS_SIZE
from mggdub.types import CLOTHES, HAIR, SKIN, Array, GeometryMaps, Portrait

FLOOR = 0.03  # of linear light, so that noise in the dark has no colour
BRIGHTNESS = 0.5  # of a difference in brightness counts, since shadows change it
UNLIKE_SKIN = 4.0  # spreads of the face's colours
LIKE_CLOTHES = 0.35  # of a colour's logarithms
REACH = 3.0  # cm that a collar goes on beyond what is known of it
LEAST_COLLAR = 0.5  # cm² of one; the shadow between a neck and a shirt is smaller
THROAT = 2.5  # cm from the middle within which a neck is bare skin
JAW = 0.2  # cm outside the face's outline
EDGE = 0.4  # cm of the edge of a shoulder whose colours are a mixture
SURE, LEAST = 0.8, 50  # probability, and pixels of skin to know its colours


def with_collars(head: Portrait, maps: GeometryMaps, cm_per_px: float) -> Array:
    """[256, 256] float32: the probability of clothes that `maps` give with the collars it lacks.

    cm_per_px of a pixel of the crop.
    """
    cm, marks = 2 * cm_per_px, head.landmarks[:, :2] / 2
    colours, face, skin = _face_colours(head, maps)
    low = np.arange(MAPS_SIZE)[:, None] + 0.5 > marks[list(OUTER_EYES), 1].mean()  # below the eyes
    clothes = _with_shoulders(maps, marks, colours, skin, low, cm)
    seed = clothes > 0.5
    place = (
        _beside_jaw(face, marks[CHIN_TIP, 0], cm)
        & low
        & (maps.matte[::2, ::2] > 0.5)
        & (maps.labels[..., HAIR] < 0.3)
        & ~seed
    )
    if skin.sum() < LEAST or not (place & ndimage.binary_dilation(seed)).any():
        return clothes
    known = push_pull(colours, (clothes > SURE).astype(np.float32))
    place &= np.linalg.norm(colours - known, axis=-1) < LIKE_CLOTHES
    place &= _spreads(colours, colours[skin]) > UNLIKE_SKIN
    place &= distance_inside(~seed) * cm < REACH
    found = _no_specks(ndimage.binary_propagation(seed, mask=seed | place) & ~seed, LEAST_COLLAR / cm**2)
    return np.maximum(clothes, ndimage.gaussian_filter(found.astype(np.float32), 0.5))


def _with_shoulders(maps: GeometryMaps, marks: Array, colours: Array, skin: Array, low: Array, cm: float) -> Array:
    """[256, 256] float32: the probability of clothes, and that of skin, too, beside the face and not in its colours.

    Necks are narrower; who leans forward has shoulders as high as the eyes. marks [478, 2] and cm of a pixel of the
    maps; colours [256, 256, 3] and `skin` [256, 256] bool of `_face_colours`; low [256, 1] bool below the eyes.
    """
    clothes = maps.labels[..., CLOTHES]
    if skin.sum() < LEAST:
        return clothes
    columns = np.arange(MAPS_SIZE) + 0.5
    away = np.maximum(marks[:, 0].min() - columns, columns - marks[:, 0].max()) * cm
    both, sure = clothes + maps.labels[..., SKIN], clothes > 0.5
    place = low & (away > JAW) & (both > 0.5) & (maps.matte[::2, ::2] > 0.5) & (maps.labels[..., HAIR] < 0.3)
    unlike = _spreads(colours, colours[skin])
    place &= (unlike > UNLIKE_SKIN) & ~sure
    found = _no_specks(ndimage.binary_propagation(sure, mask=sure | place) & place, LEAST_COLLAR / cm**2)
    edge = ndimage.binary_dilation(found, iterations=max(1, round(EDGE / cm)))
    found |= edge & low & (away > JAW) & (unlike > UNLIKE_SKIN / 2) & (maps.labels[..., HAIR] < 0.5)
    return np.where(found, both, clothes)


def _no_specks(found: Array, least: float) -> Array:
    """What of a mask [H, W] bool hangs together over `least` px."""
    parts, _ = ndimage.label(found)
    return np.asarray(found & (np.bincount(parts.ravel())[parts] >= least))


def skin_spreads(head: Portrait, maps: GeometryMaps) -> Array | None:
    """[256, 256] float32: how many spreads of the face's colours every colour lies from them; None without a face."""
    colours, _, skin = _face_colours(head, maps)
    return _spreads(colours, colours[skin]).astype(np.float32) if skin.sum() >= LEAST else None


def _face_colours(head: Portrait, maps: GeometryMaps) -> tuple[Array, Array, Array]:
    """[256, 256, 3] of `_logarithms`, and [256, 256] bool twice: the lower face, and what of it is surely skin."""
    face = _lower_face(head.landmarks[:, :2] / 2)
    return _logarithms(head.image[::2, ::2]), face, face & (maps.labels[..., SKIN] > SURE)


def _logarithms(image: Array) -> Array:
    """[H, W, 3] float32: red and blue against green, and brightness, as logarithms."""
    red, green, blue = (np.log((image[..., k] / np.float32(255)) ** 2 + FLOOR) for k in range(3))
    return np.stack([red - green, blue - green, BRIGHTNESS * green], -1).astype(np.float32)


def _spreads(colours: Array, sample: Array) -> Array:
    """[H, W]: how many spreads of a sample [N, 3] colours [H, W, 3] lie from its mean; brightness does not count."""
    mean, spread = sample[:, :2].mean(0), np.cov(sample[:, :2].T) + 0.03**2 * np.eye(2)
    apart = colours[..., :2] - mean
    return np.sqrt(np.einsum("...i,ij,...j->...", apart, np.linalg.inv(spread), apart))


def _lower_face(marks: Array) -> Array:
    """[256, 256] bool: inside the outline of a face of landmarks [478, 2], below the eyes."""
    low = np.arange(MAPS_SIZE)[:, None] > marks[list(OUTER_EYES), 1].mean()
    return ring_mask(marks, OVAL, (MAPS_SIZE, MAPS_SIZE)) & low


def _beside_jaw(face: Array, middle: float, cm: float) -> Array:
    """[256, 256] bool: outside the face's outline, but not the bare throat around a column; cm of a pixel."""
    columns = np.arange(MAPS_SIZE) + 0.5
    return np.asarray((distance_inside(~face) * cm > JAW) & (np.abs(columns - middle) * cm > THROAT))
