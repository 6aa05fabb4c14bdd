"""The upper lids: what lies between crease and lashes travels with the margin, and hidden skin unrolls behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer
from mggdub.face.mesh import UNDER_EYES, UPPER_LIDS
from mggdub.geometry.camera import unproject
from mggdub.geometry.sampling import sample_crop, smoothstep
from mggdub.types import LANDMARKS, Array, Portrait

COLUMNS = 64  # points along the lashes
FRINGE, STRIP, SKIN = 6, 16, 18  # rows: lashes below the margin, the photo's own lid, the skin that its crease hides
LID_RADIUS = 0.042  # cm
LID_FORWARD = 0.15  # cm towards the viewer: over the photo's own lid, which stretches
LASH_LENGTH = 0.16  # cm that lashes hang below the margin
LID_LIGHT, LID_TINT = 0.98, 0.16  # closed lids have the skin's light below the eye and this much of their own tint
# Shares of the way from the lashes to the fold's landmarks.
CREASES = np.linspace(0.35, 1.0, 27)  # where a crease may lie in the middle of a lid
NO_CREASE = 0.75  # where none is seen
AT_CORNER = 0.12
FAINTEST = 0.015  # of the luma, by which a crease is darker than the skin beside it
CREASE_FOLLOWS = 0.12  # of the margin's way


@dataclass(frozen=True, eq=False)
class LidShape:
    """One upper lid in the photo. C columns along the lashes, from the outer corner inwards."""

    lashes: Array  # [C, 2] crop px, the margin
    up: Array  # [C, 2] crop px, from there to the fold's landmarks
    crease: Array  # [C] share of `up`
    along: Array  # [C, 9] shares of the ring's vertices


def lid_shape(head: Portrait, side: str) -> LidShape:
    """The 'Left' or 'Right' upper lid of a photo."""
    lashes, fold = (head.landmarks[list(ring), :2].astype(np.float64) for ring in UPPER_LIDS[side])
    along = ring_weights(np.linspace(0, len(lashes) - 1, COLUMNS), len(lashes))
    margin, up = along @ lashes, along @ (fold - lashes)
    luma = sample_crop(head.image.astype(np.float32) / 255, _places(margin, up, _HEIGHTS)).mean(-1)
    return LidShape(margin, up, find_crease(luma), along)


_HEIGHTS = np.linspace(0, 1.2, 61)


def _places(margin: Array, up: Array, heights: Array) -> Array:
    """[T, C, 2] crop px at shares heights [T] or [T, C] of `up` above the margin."""
    heights = heights[:, None] if heights.ndim == 1 else heights
    return margin + heights[..., None] * up


def ring_weights(at: Array, count: int) -> Array:
    """[C, count]: shares that a Catmull-Rom spline through `count` vertices has of them at [C] in 0..count - 1."""
    first = np.minimum(at.astype(int), count - 2)
    t = (at - first)[:, None]
    basis = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    shares = np.zeros((len(at), count), np.float64)
    for step, share in enumerate(basis):
        np.add.at(shares, (np.arange(len(at)), np.clip(first + step - 1, 0, count - 1)), share[:, 0] / 2)
    return shares


def crease_curve(middle: float, columns: int) -> Array:
    """[columns] shares: a crease that lies at `middle` above the middle of the eye."""
    arch = np.sin(np.pi * np.linspace(0, 1, columns)) ** 0.6
    return AT_CORNER + (middle - AT_CORNER) * arch


def find_crease(luma: Array) -> Array:
    """[C] shares: the dark line above the lashes in luma [T, C] at heights 0..1.2, or where one usually lies."""
    smooth = ndimage.gaussian_filter(luma, (2, 2))
    step = 5  # a tenth of the way
    beside = (np.roll(smooth, step, 0) + np.roll(smooth, -step, 0)) / 2
    darker = beside - smooth
    columns = luma.shape[1]
    middle = slice(columns // 5, columns - columns // 5)

    def depth(height: float) -> float:
        rows = crease_curve(height, columns) / 1.2 * (len(luma) - 1)
        found = ndimage.map_coordinates(darker, [rows, np.arange(columns)], order=1)
        return float(found[middle].mean())

    depths = [depth(height) for height in CREASES]
    best = int(np.argmax(depths))
    return crease_curve(CREASES[best] if depths[best] > FAINTEST else NO_CREASE, columns)


def upper_lid(head: Portrait, surface: Array, side: str) -> PointLayer:
    """The upper lid of the 'Left' or 'Right' eye; surface [512, 512] camera z cm of the photo.

    Its own strip of the photo is carried by the margin, lashes hang below it, and between strip and crease skin
    unrolls that lies in the crease while the eye is as in the photo.
    """
    lid = lid_shape(head, side)
    heights, carried, solid = _rows(lid)
    own = np.minimum(heights, lid.crease)  # [R, C]
    places = _places(lid.lashes, lid.up, own)
    z = sample_crop(surface, np.clip(places, 0.5, 511.5))
    means = unproject(places.reshape(-1, 2), z.ravel(), head.camera) - [0, 0, LID_FORWARD]
    colors = _colors(head, lid, side, heights)
    points = means.shape[0]
    return PointLayer(
        means.astype(np.float32),
        colors.reshape(-1, 3).astype(np.float32),
        np.full(points, LID_RADIUS, np.float32),
        _follow(lid, side, carried),
        np.ones(points, np.float32),
        (SOLID * solid).ravel().astype(np.float32),
    )


def _rows(lid: LidShape) -> tuple[Array, Array, Array]:
    """Of the points [R, C]: height as a share of `up` (beyond the crease in hidden skin), share of the margin's way,
    opacity."""
    columns = len(lid.crease)
    length = np.linalg.norm(lid.up, axis=1).mean()
    one = np.ones(columns)
    fringe = np.linspace(-1, 0, FRINGE, endpoint=False)[:, None] * one
    strip = np.linspace(0, 1, STRIP)[:, None] * one
    skin = (np.arange(SKIN) + 1)[:, None] / SKIN * one
    heights = np.concatenate([fringe * 0.15, strip * lid.crease * 0.9, lid.crease * (0.9 + skin)])
    carried = np.concatenate([0 * fringe + 1, 0 * strip + 1, 1 + (CREASE_FOLLOWS - 1) * skin])
    solid = np.concatenate([(1 + fringe) ** 1.5, 0 * strip + 1, np.clip((1 - skin) / 0.15, 0, 1)])
    return heights, carried, solid


def _colors(head: Portrait, lid: LidShape, side: str, heights: Array) -> Array:
    """[R, C, 3] of the points: the photo's strip, which turns into lit skin towards the crease, and that skin."""
    image = head.image.astype(np.float32) / 255
    smooth = ndimage.gaussian_filter(image, (3, 3, 0))
    under = np.linspace(0, 1, len(UNDER_EYES[side])), head.landmarks[list(UNDER_EYES[side]), :2]
    columns = np.linspace(0, 1, COLUMNS)
    below = np.stack([np.interp(columns, under[0], under[1][:, k]) for k in range(2)], 1)
    lit = sample_crop(smooth, below)
    strip = sample_crop(image, _places(lid.lashes, lid.up, np.linspace(0.4, 0.85, 8)[:, None] * lid.crease))
    skin = np.quantile(strip[:, COLUMNS // 4 : -COLUMNS // 4], 0.75, axis=(0, 1))
    shown = LID_LIGHT * (lit + 0.02) ** (1 - LID_TINT) * (skin + 0.02) ** LID_TINT - 0.02  # [C, 3]
    shown = ndimage.gaussian_filter1d(shown, COLUMNS / 10, axis=0, mode="nearest")
    own = sample_crop(image, _places(lid.lashes, lid.up, np.clip(heights, 0, 0.9 * lid.crease)))
    beyond = heights / lid.crease - 0.9  # of the strip's height
    away = (beyond[..., None] * 0.6 - 0.1) * np.linalg.norm(lid.up, axis=1)[:, None] * [0, 1]
    grain = sample_crop(image - ndimage.gaussian_filter(image, (2, 2, 0)), below - away)
    ramp = smoothstep((heights / lid.crease - 0.35) / 0.5)[..., None]
    corner = smoothstep(np.sin(np.pi * columns) / 0.4)[:, None]
    crease = sample_crop(smooth, _places(lid.lashes, lid.up, lid.crease[None]))  # [1, C, 3]
    near = 1 - (1 - smoothstep((beyond - 0.35) / 0.65))[..., None] * corner
    shown = shown + (crease - shown) * near * smoothstep(beyond / 0.1)[..., None]
    return np.clip(own + (shown + grain - own) * ramp, 0, 1)


def _follow(lid: LidShape, side: str, carried: Array) -> sparse.csr_matrix:
    """[N, 478]: points that have `carried` [R, C] of the lashes' motion and the rest of the fold's."""
    lashes, fold = (np.array(ring) for ring in UPPER_LIDS[side])
    matrix = np.zeros((carried.size, LANDMARKS), np.float32)
    matrix[:, lashes] = (carried[..., None] * lid.along).reshape(carried.size, -1)
    matrix[:, fold] += ((1 - carried)[..., None] * lid.along).reshape(carried.size, -1)
    return sparse.csr_matrix(matrix)


def keep_creases(skin: sparse.csr_matrix, head: Portrait) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels, of which those at and above a crease hardly follow the lashes."""
    dense = skin.tocsc()
    change = sparse.csr_matrix(skin.shape, dtype=np.float32)
    for side, (lashes, fold) in UPPER_LIDS.items():
        inner, outer = np.array(lashes)[1:-1], np.array(fold)[1:-1]
        low, high = dense[:, inner].toarray(), dense[:, outer].toarray()
        share, rest = low.sum(1), high.sum(1)
        strip = (share > 0) & (share + rest > 0.999) & (share < 0.999)
        place = (low + high) @ np.arange(1, len(lashes) - 1)
        crease = 1 - np.interp(place, np.linspace(0, len(lashes) - 1, COLUMNS), lid_shape(head, side).crease)
        below = CREASE_FOLLOWS + (1 - CREASE_FOLLOWS) * (share - crease) / np.maximum(1 - crease, 1e-3)
        wanted = np.where(share > crease, below, CREASE_FOLLOWS * share / np.maximum(crease, 1e-3))
        for ring, own, now in ((inner, low, wanted / np.maximum(share, 1e-6)), (outer, high, (1 - wanted) / np.maximum(rest, 1e-6))):
            rows = np.flatnonzero(strip)
            values = own[rows] * (now[rows, None] - 1)
            r, c = np.nonzero(values)
            change = change + sparse.csr_matrix((values[r, c], (rows[r], ring[c])), shape=skin.shape, dtype=np.float32)
    return (skin + change).tocsr().astype(np.float32)


def eyelid_layers(head: Portrait, surface: Array) -> tuple[PointLayer, PointLayer]:
    """The left and the right upper lid; surface [512, 512] camera z cm of the photo."""
    return upper_lid(head, surface, "Left"), upper_lid(head, surface, "Right")
