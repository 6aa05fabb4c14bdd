"""What lies on a photo's lips and is not theirs: teeth and dark beside a parting that landmarks miss by some pixels.

When the lips move, such pixels would move with them. They are taken for the photo's own mouth instead, which vanishes,
and what the lip must look like there lies behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import KDTree

from mggdub.avatar.mouth import PARTED, SEEN_GAP
from mggdub.avatar.values import PointLayer
from mggdub.face.mesh import INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP, OUTER_LIPS, inside_mask
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import push_pull, sample_crop
from mggdub.metrics.pixels import grey
from mggdub.types import CROP_SIZE, Array, Portrait

REACH = 0.35  # cm from the inner lips, beyond which all is lip
MOST_OF_LIP = 0.45  # of the way from the inner to the outer edge
NEAR = 0.06  # cm: what is not lip begins that near to the parting
DARK = 0.6  # of a lip's luma
CORNERS, BEYOND = 0.8, 0.3  # cm from a corner within which the dark of an open mouth is no lip, also beyond the lips
AROUND = 0.6  # cm beyond a corner: skin or beard that such dark is darker than
POCKET, BESIDE = 0.9, 0.2  # cm: the dark of an open mouth that is no wider, and so near to it, is no lip's shadow
ENCLOSED = 0.75  # of a dark spot's edge, that makes it part of the mouth
BRIGHT, PALE = 1.12, 0.6  # of a lip's luma, and of its red beyond its green, that teeth have
GAPS = 0.5  # cm along the parting between what was found, that are not the lips' either
BELOW, MIDDLE = 0.15, 0.8  # cm below where lips touch, and of their width: their line does not go with the lower one
LEAST = 0.04  # cm: less beside the parting is nothing
INNER = 0.12  # cm inside the inner lips: teeth there are mixed with the lip's edge
SOFT, MIXED = 0.14, 1.0  # cm beyond what was found, or splats, if that is more: their colours are mixed with it
LINE, LINE_WIDTH = 0.7, 0.09  # how much darker lips are where they touch each other, and over how many cm
SMOOTH, FEW = 0.12, 0.1  # cm over which a lip's colours are smoothed, least share of what is known there
STEPS = 16  # along a side of an outline
BORDER = 3  # px of the crop around the lips
BEHIND = 0.12  # cm
ROUND = 0.75  # standard deviation of a splat, of the distance between two


@dataclass(frozen=True, eq=False)
class Parting:
    """Teeth and dark on and between the lips of a portrait's crop."""

    corner: Array  # [2] int64, px of the crop: left and top of the two pictures
    mask: Array  # [h, w] bool
    lips: Array  # [h, w, 3] float32 0..1, the lips without them, dark where they touch each other
    closed: bool = False  # the photo's lips touch: all that is not theirs is the line between them

    def holds(self, pixels: Array) -> Array:
        """[N] bool: which pixels [N, 2] crop px lie on it."""
        column, row = np.floor(pixels - self.corner).astype(int).T
        height, width = self.mask.shape
        known = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        return known & self.mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]

    def lip_colors(self, pixels: Array) -> Array:
        """[N, 3] float32 0..1, of pixels [N, 2] crop px that it holds."""
        x, y = (pixels - self.corner - 0.5).T
        return np.stack(
            [ndimage.map_coordinates(c, [y, x], order=1, mode="nearest") for c in self.lips.T.swapaxes(1, 2)], -1
        )


def find_parting(head: Portrait, mesh: Array, splat: float) -> Parting:
    """What on the lips is much darker than they are there, or as pale as teeth, and hangs together with the parting.

    Of the line between closed lips, what lies on the lower one: when they part, that would be dark spots on it.

    mesh [478, 3] cm is the photo's own, splats are `splat` cm apart.
    """
    px, soft = 1 / cm_per_px(head.camera), max(SOFT, MIXED * splat)
    gap = float(np.linalg.norm(mesh[INNER_UPPER_LIP] - mesh[INNER_LOWER_LIP]))
    corner, image = _lips_of(head)
    edge, ring = (head.landmarks[list(lips), :2] - corner for lips in (OUTER_LIPS, INNER_LIPS))
    shape = image.shape[:2]
    outer, between = inside_mask(edge, shape), inside_mask(ring, shape)
    ends = [0, len(ring) // 2]  # of the rings, where lips meet
    away = _away(ring[ends], shape)
    corners = np.asarray(away.min(-1) < CORNERS * px) & (gap > SEEN_GAP)
    line = distance_inside(~(between | _passed(ring, shape)))
    share = line / np.maximum(line + distance_inside(outer), 1e-6)
    own = between & (gap > SEEN_GAP)
    lip = _lip_colours(image, outer & ~between & (share > MOST_OF_LIP) & (share < 1), corners)
    dark, pale = _dark(image, lip), _pale(image, lip)
    beside = _beside_corners(head, ring[ends] + corner, px)[away.argmin(-1)]
    beyond = corners & dark & (grey(image) < DARK * beside)
    outer |= beyond & ndimage.binary_dilation(outer, iterations=max(1, round(BEYOND * px)))
    stays = dark & ~own & ~corners & ((gap < PARTED) | (gap > SEEN_GAP))  # a line between lips, an open mouth's shadow
    pockets = _pockets(stays & own.any(), line, px)
    stays &= ~pockets
    odd = outer & ~own & (line < REACH * px) & ((share < MOST_OF_LIP) | corners) & (dark | pale) & ~stays
    odd |= pockets
    beside = outer & (line < NEAR * px)
    parts, _ = ndimage.label(odd | between | beside)
    odd &= np.isin(parts, np.unique(parts[beside]))
    odd |= own & pale & (distance_inside(between) < INNER * px)
    mask = own | ~stays & _up_to(odd, np.maximum(line, LEAST * px * own), ring, px, soft)
    mask |= own.any() & _enclosed(stays, mask)
    near = max(1, round(soft * px))
    mask = outer & (mask | ndimage.binary_dilation(mask, iterations=2 * near) & ~own & (line < near) & (gap < SEEN_GAP))
    aside = ndimage.binary_propagation(mask, mask=mask | outer & corners & dark) & corners & dark  # a mole is beside it
    mask |= ndimage.binary_dilation(aside, iterations=max(1, round(MIXED * splat * px)))
    met, lower = outer & dark & (line < BELOW * px) & (gap < PARTED), outer & _under(ring, shape)
    mask |= lower & ndimage.binary_dilation(met & lower, iterations=max(1, round(splat * px)))
    known = outer & ~between & ~ndimage.binary_dilation(mask | met)
    beyond_parting = np.any([_passed(np.stack([ring[k], edge[k]]), shape) for k in ends], 0)
    seam = np.minimum(line, distance_inside(~beyond_parting))
    drawn = LINE * (gap >= PARTED)  # lips that touch have their own, and are seen without it when they part
    touch = 1 - drawn * min(LINE_WIDTH / splat, 1) ** 2 * np.exp(-((seam / (LINE_WIDTH * px)) ** 2))
    lips = _continued(image, known, SMOOTH * px) * touch[..., None].astype(np.float32)
    return Parting(corner, mask, lips, gap < PARTED)


def _lip_colours(image: Array, known: Array, corners: Array) -> Array:
    """[H, W, 3]: a picture's lips and how they go on where they are not known; what is dark in their corners is not."""
    light = grey(image)
    usual = np.median(light[known]) if known.any() else 0.0
    return push_pull(image, (known & ~(corners & (light < DARK * usual))).astype(np.float32))


def _away(points: Array, shape: tuple[int, ...]) -> Array:
    """[H, W, P] px: how far the pixels are from points [P, 2]."""
    at = np.moveaxis(np.mgrid[: shape[0], : shape[1]], 0, -1)[..., None, ::-1] + 0.5
    return np.asarray(np.linalg.norm(at - points, axis=-1))


def _beside_corners(head: Portrait, corners: Array, px: float) -> Array:
    """[2] 0..1: luma of the skin, or beard, beside the mouth's corners [2, 2] crop px."""
    outwards = (corners - corners.mean(0)) / np.maximum(np.linalg.norm(corners - corners.mean(0), axis=1), 1)[:, None]
    reach, found = AROUND / 2 * px, []
    for place in np.clip(corners + AROUND * px * outwards, 0, CROP_SIZE):
        left, top = np.maximum(place - reach - 1, 0).astype(int)
        right, bottom = (place + reach + 2).astype(int)
        light = grey(head.image[top:bottom, left:right].astype(np.float32) / 255)
        found.append(np.median(light[_away(place[None] - [left, top], light.shape)[..., 0] < reach]))
    return np.array(found)


def _pockets(dark: Array, line: Array, px: float) -> Array:
    """[H, W] bool: the spots of what is dark beside the parting, `line` px away, that are no wider than POCKET.

    Between lip and teeth; a lip's own shadow goes along it.
    """
    parts, _ = ndimage.label(dark, np.ones((3, 3)))
    found = np.zeros_like(dark)
    for number, where in enumerate(ndimage.find_objects(parts), 1):
        spot = parts[where] == number
        if spot.shape[1] <= POCKET * px and line[where][spot].min() < BESIDE * px:
            found[where] |= spot
    return found


def _enclosed(spots: Array, mask: Array) -> Array:
    """[H, W] bool: the spots most of whose edge lies on a mask."""
    parts, count = ndimage.label(spots)
    around = ndimage.grey_dilation(parts, size=3) * ~spots
    edges = [np.bincount(around[where], minlength=count + 1) for where in (np.ones_like(mask), mask)]
    return np.asarray((edges[1] > ENCLOSED * edges[0])[parts] & spots)


def _continued(image: Array, known: Array, reach: float) -> Array:
    """[H, W, 3] float32: what is known of a picture, smooth over `reach` px, and how it goes on beyond."""
    weight = ndimage.gaussian_filter(known.astype(np.float32), reach)
    summed = ndimage.gaussian_filter(image * known[..., None], (reach, reach, 0))
    return push_pull(summed / np.maximum(weight, 1e-3)[..., None], (weight > FEW).astype(np.float32))


def _lips_of(head: Portrait) -> tuple[Array, Array]:
    """Left and top [2] of the lips' box in the crop, px, and its colours [h, w, 3] float32 0..1."""
    outline = head.landmarks[list(OUTER_LIPS), :2]
    corner, end = (np.clip(x, 0, CROP_SIZE).astype(int) for x in (outline.min(0) - BORDER, outline.max(0) + BORDER))
    end = np.maximum(end, np.minimum(corner + 1, CROP_SIZE))
    corner = np.minimum(corner, CROP_SIZE - 1)
    return corner, head.image[corner[1] : end[1], corner[0] : end[0]].astype(np.float32) / 255


def _dark(image: Array, lip: Array) -> Array:
    """[H, W] bool: where a picture [H, W, 3] 0..1 is much darker than the lip [H, W, 3]."""
    return np.asarray(grey(image) < DARK * grey(lip))


def _pale(image: Array, lip: Array) -> Array:
    """[H, W] bool: where it is bright and not red, as teeth are."""
    red, usually = image[..., 0] - image[..., 1], np.maximum(lip[..., 0] - lip[..., 1], 0.02)
    return np.asarray((grey(image) > BRIGHT * grey(lip)) & (red < PALE * usually))


def _up_to(odd: Array, line: Array, ring: Array, px: float, soft: float) -> Array:
    """[H, W] bool: all that is as near to a ring [20, 2] as what is odd beside it, and `soft` cm; `line` px away.

    Where that is hardly anything there is nothing.
    """
    points = _along(ring)
    rows, columns = np.nonzero(line < (REACH + soft) * px)
    beside = KDTree(points).query(np.stack([columns, rows], 1) + 0.5)[1]
    widths = np.zeros(len(points))
    found = odd[rows, columns]
    np.maximum.at(widths, beside[found], line[rows, columns][found])
    step = max(float(np.linalg.norm(np.diff(points, axis=0), axis=1).mean()), 0.01)
    widths = ndimage.maximum_filter1d(widths, 1 + 2 * round(GAPS * px / step), mode="wrap")
    widths = ndimage.gaussian_filter1d(widths, GAPS * px / step / 2, mode="wrap")
    filled = np.zeros_like(odd)
    filled[rows, columns] = (line[rows, columns] < widths[beside] + soft * px) & (widths[beside] >= LEAST / 2 * px)
    return filled


def _along(outline: Array) -> Array:
    """[S, 2]: points all along an outline [P, 2], STEPS on each of its sides."""
    share = np.arange(STEPS)[:, None] / STEPS
    sides = outline[:, None] + share * (np.roll(outline, -1, 0) - outline)[:, None]
    return np.asarray(sides.reshape(-1, 2))


def _under(ring: Array, shape: tuple[int, ...]) -> Array:
    """[H, W] bool: below the middle of inner lips [20, 2] px that touch, away from their corners."""
    half = len(ring) // 2
    (left, right), x = np.sort(ring[[0, half], 0]), np.arange(shape[1]) + 0.5
    lips = (ring[: half + 1], np.concatenate([ring[half:], ring[:1]]))
    level = np.mean([np.interp(x, *lip[np.argsort(lip[:, 0])].T) for lip in lips], 0)
    inner = np.abs(x - (left + right) / 2) < MIDDLE / 2 * (right - left)
    return np.asarray((np.arange(shape[0])[:, None] + 0.5 > level) & inner)


def _passed(outline: Array, shape: tuple[int, ...]) -> Array:
    """[H, W] bool: the pixels an outline [P, 2] passes."""
    column, row = np.clip(_along(outline).astype(int), 0, np.array(shape)[::-1] - 1).T
    passed = np.zeros(shape, bool)
    passed[row, column] = True
    return passed


def lips_behind(
    head: Portrait, surface: Array, parting: Parting, pixels: Array, skin: sparse.csr_matrix, splat: float
) -> PointLayer:
    """The lips behind pixels [M, 2] crop px of a parting, which follow the mesh as `skin` [M, 478] says.

    Where the line between closed ones was they have the photo's detail: without it they would be taken for teeth.
    surface [512, 512] is camera z, cm; splats are `splat` cm apart.
    """
    means = unproject(pixels, sample_crop(surface, pixels), head.camera) + np.array([0, 0, BEHIND], np.float32)
    radius = np.full(len(pixels), ROUND * splat, np.float32)
    ones = np.ones(len(pixels), np.float32)
    detailed = np.full(len(pixels), parting.closed)
    return PointLayer(means, parting.lip_colors(pixels), radius, skin, ones, ones, detailed)
