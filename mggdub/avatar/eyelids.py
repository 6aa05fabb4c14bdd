"""The upper lids: what lies between crease and lashes travels with the margin, and hidden skin unrolls behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.lashes import TIPS_FORWARD, comes_in, lash_height, lashes_cover, stand_before, tips_below
from mggdub.avatar.values import SOLID, PointLayer
from mggdub.face.mesh import LIDS, UNDER_EYES, UPPER_LIDS
from mggdub.face.skin import mesh_rows
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.sampling import sample_crop, smoothstep
from mggdub.types import CROP_SIZE, Array, Portrait

COLUMNS = 64  # points along the lashes
FRINGE, STRIP, SKIN, CREST = 18, 16, 18, 26  # rows: lashes below the margin, the photo's lid, hidden skin, above it
LID_RADIUS = 0.042  # cm
LID_FORWARD = 0.15  # cm towards the viewer: over the photo's own lid, which stretches
STRIP_ENDS = 0.9  # of the way to the crease, where the photo's strip ends: its dark line stays
# From where to where, of the way to the crease, the photo's own colours turn into a closed lid's: above them the open
# eye's lashes and the fold's shadow lie over its lid.
OWN_COLORS = (0.3, 0.9)
OWN_LOOK = 0.6  # of the way to the crease, below which a lid has the photo's own detail
BEYOND = 0.7  # of the crease's height, as far as a lid goes where the eye ends
LAYERS = 5  # points that lie over each other: what shines through each is that root of what shines through all
# A closed lid against the skin below the eye, as logarithms (389 blinks of 168 people, 0.18 off those left out): by the
# height above the margin, 1 at the fold's landmarks, what it has of the open lid and of the skin above, and its shade;
# and the shade along it, from the outer corner to the inner one.
HEIGHTS = (0.3, 0.5, 0.8, 1.0, 1.2, 1.35)
FROM_OWN = (0.52, 0.48, 0.34, 0.18, -0.03, -0.15)
FROM_ABOVE = (0.11, 0.17, 0.39, 0.61, 0.87, 1.01)
SHADE = (-0.13, -0.05, -0.01, -0.02, -0.04, -0.07)
ALONG, SHADE_ALONG = (0.0, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0), (0.06, -0.03, 0.01, 0.11, 0.05, -0.12, -0.09)
# Its lash line against the same skin: a share of how dark the open eye's is, shades of red, green, blue, and along it.
LASH_SHARE, LASH_SHADE = 0.79, (-0.13, -0.29, -0.36)
LASHES_AT, LASH_ALONG = (0.0, 0.1, 0.2, 0.45, 0.6, 0.8, 1.0), (0.4, 0.24, 0.06, -0.05, -0.04, 0.11, 0.41)
LIGHTEST = 1.1  # times a closed lid's skin: what is lighter above a margin is the eye's white, or a light in glasses
LASH_ROOTS = 0.4  # of the way to the fold's landmarks, below which the open eye's lash line lies
LASH_BAND = 0.17  # of an open lid's height, over which a closed eye's lash line ends upwards
ABOVE = (1.05, 1.15, 1.25, 1.35)  # of the way to the fold's landmarks; the brightest there is the skin above
OWN, OWN_SMOOTH = np.linspace(0.2, 1, 9), 1  # of the way to the crease, the brightest there is the open eye's lid; px
# How much of the photo's skin a closed lid covers, by the same heights: of its crease hardly anything is left.
COVERS_AT, COVERS = (1.0, 1.1, 1.2, 1.3), (0.85, 0.75, 0.5, 0.2)
EVEN = 6.0  # columns, standard deviation, over which the skin beside a lid is taken: hairs and creases leave no streaks
GRAIN = 1.5  # of the fine structure of the skin below the eye, which a lid has
# From where to where below the eye, of an open lid's height, that is taken; and what is finer than splats draw.
PATCH, DETAIL_PATCH = (-0.1, 0.3), (-0.1, 0.9)
LIGHT, LIGHT_REACH, LIGHT_COLUMNS = 0.05, 7, 7  # how bright a light in an eye is, and crop px and columns it reaches
NO_SKIN, EDGE_REACH = 0.08, 5  # of light, by which no skin differs from what is around it; crop px that it is far from
SHADING, BLURRED = 2, 4  # crop px, standard deviation of what splats draw of a lid; as often that, a blur reaches
SOFT = 4.0  # crop px, standard deviation: of the photo's own skin above the fold, which what covers it turns into
WAY = (0.5, 0.9)  # cm to go until an eye is shut, for its fold not to be covered at all, and wholly
# As logarithms: what is so much darker than a closed lid would be there is a brow, hair or a rim of glasses, no fold.
NO_FOLD = (0.75, 0.4)
BLACK = 0.02  # of light, added before a logarithm
# Shares of the way from the lashes to the fold's landmarks.
CREASES, NO_CREASE = np.linspace(0.35, 1.0, 27), 0.75  # where one may lie in the middle of a lid; where none is seen
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
        darkness = ndimage.map_coordinates(darker, [rows, np.arange(columns)], order=1)
        return float(darkness[middle].mean())

    depths = [depth(height) for height in CREASES]
    best = int(np.argmax(depths))
    return crease_curve(CREASES[best] if depths[best] > FAINTEST else NO_CREASE, columns)


def upper_lid(head: Portrait, surface: Array, side: str) -> tuple[PointLayer, Array]:
    """The 'Left' or 'Right' upper lid, and [N, 3] cm what of the photo the detail of its points is taken from.

    Its own strip of the photo is carried by the margin, lashes hang below it, between strip and crease skin unrolls
    that lies in the crease while the eye is as in the photo, and above the crease it covers the fold. surface
    [512, 512] camera z cm of the photo.
    """
    lid = lid_shape(head, side)
    rows = lid_rows(lid, _travel(head, lid, side), cm_per_px(head.camera))
    means = _on_surface(head, surface, _places(lid.lashes, lid.up, rows.places))
    count = len(means)
    colors, solid = lid_look(head, lid, side, rows)
    places, detailed = lid_detail(head, lid, side, rows)
    forward = LID_FORWARD + np.repeat(TIPS_FORWARD * np.clip(-rows.heights, 0, 1), COLUMNS)
    layer = PointLayer(
        (means - np.outer(forward, [0, 0, 1])).astype(np.float32),
        colors.reshape(count, 3),
        np.full(count, LID_RADIUS, np.float32),
        _follow(lid, side, rows.carried),
        np.ones(count, np.float32),
        (SOLID * solid).reshape(count).astype(np.float32),
        detailed.ravel(),
    )
    return layer, _on_surface(head, surface, places)


def _on_surface(head: Portrait, surface: Array, places: Array) -> Array:
    """[N, 3] cm: what lies at places [..., 2] crop px of the photo."""
    places = places.reshape(-1, 2)
    return unproject(places, sample_crop(surface, np.clip(places, 0.5, CROP_SIZE - 0.5)), head.camera)


def lid_detail(head: Portrait, lid: LidShape, side: str, rows: LidRows) -> tuple[Array, Array]:
    """Whose detail a lid's points have, [R, C, 2] crop px, and whether they have any, [R, C] bool.

    The strip has its own, but where a light lies against the lashes: it would glow on the closed eye. There, and above
    it, it is that of the skin below the eye.
    """
    image = head.image.astype(np.float32) / 255
    skin = _below(lid, rows, _under_eye(head, side), DETAIL_PATCH, back=False)
    lights = _most(_fine(image, lid.lashes, LIGHT_REACH).mean(-1, keepdims=True), LIGHT_REACH, lid.lashes)
    lit = ndimage.maximum_filter1d(sample_crop(lights, lid.lashes)[:, 0], LIGHT_COLUMNS) > LIGHT
    own = ((rows.heights >= 0) & (rows.heights < OWN_LOOK))[:, None] & ~lit
    here = _places(lid.lashes, lid.up, rows.places)
    places = np.where(own[..., None], here, skin)
    places[-CREST:] = here[-CREST:]  # as the photo's own skin has that they cover, but for lashes that stand before it
    clean = _is_skin(image, places)
    clean[-CREST // 2 :] = True
    clean[-CREST:] &= ~stand_before(sample_crop(image, here[-CREST:]))
    return places, own | (clean & (rows.heights >= 0)[:, None])


def _is_skin(image: Array, places: Array) -> Array:
    """[...] bool: whether there is no edge (glasses, lashes, moles) next to places [..., 2] crop px of the photo."""
    edges = np.abs(_fine(image, places, EDGE_REACH)).mean(-1, keepdims=True)
    return np.asarray(sample_crop(_most(edges, EDGE_REACH, places), places)[..., 0] < NO_SKIN)


def _most(value: Array, reach: int, places: Array) -> Array:
    """[512, 512, 1]: the greatest of value [512, 512, 1] in a square of `reach` px, around places [..., 2] px."""
    near, found = _around(places, reach), np.zeros_like(value)
    found[near] = ndimage.maximum_filter(value[near], (reach, reach, 1))
    return found


def _below(lid: LidShape, rows: LidRows, below: Array, patch: tuple[float, float], back: bool) -> Array:
    """[R, C, 2] crop px: for a lid's points, places between two heights of `patch` under `below` [C, 2].

    Heights are of an open lid's; so the skin is nowhere stretched. At the upper one it goes `back`, which leaves no
    edge in what is broad, or begins again: what is fine is shown only where places go as the lid's points do.
    """
    high = np.linalg.norm(lid.up, axis=1)
    size = patch[1] - patch[0]
    gone = rows.closed / np.maximum(size * high, 1e-3)
    share = np.abs((gone + 1) % 2 - 1) if back else gone % 1
    return np.asarray(below + ((patch[1] - size * share) * high)[..., None] * [0, 1])


def _fine(image: Array, places: Array, reach: int = 0) -> Array:
    """[512, 512, 3]: what of an image is finer than a lid's shading, `reach` px around places [..., 2], else 0."""
    near, found = _around(places, BLURRED * SHADING + 2 * reach), np.zeros_like(image)
    found[near] = image[near] - ndimage.gaussian_filter(image[near], (SHADING, SHADING, 0))
    return found


@dataclass(frozen=True, eq=False)
class LidRows:
    """R rows of a lid's points, from the tips of the lashes up, in C columns."""

    heights: Array  # [R] above the margin, of the crease's
    places: Array  # [R, C] in the photo, shares of `up`
    carried: Array  # [R] share of the margin's way
    closed: Array  # [R, C] crop px above the margin of an eye that is shut
    solid: Array  # [R, C] opacity


def lid_rows(lid: LidShape, travel: Array, px_cm: float) -> LidRows:
    """Lashes and the photo's strip move as one; hidden skin lies between its upper edge and the crease.

    travel [C] crop px is how far the margin is from the lower one; px_cm are cm of a crop px.
    """
    fringe, strip = np.linspace(-1, 0, FRINGE, endpoint=False), np.linspace(0, 1, STRIP) * STRIP_ENDS
    skin, crest = (np.arange(SKIN) + 1) / SKIN, (np.arange(CREST) + 1) / CREST
    high, ends, crease = np.linalg.norm(lid.up, axis=1), towards_ends(), lid.crease
    hang = -fringe[:, None] * tips_below(COLUMNS) / px_cm
    reach = (COVERS_AT[-1] * (high + travel) - travel) / np.maximum(high, 1e-3) - crease
    reach = BEYOND * crease + np.maximum(reach - BEYOND * crease, 0) * ends
    carried = np.concatenate([np.ones(FRINGE + STRIP), 1 + (CREASE_FOLLOWS - 1) * skin, CREASE_FOLLOWS * (1 - crest)])
    places = [
        -hang / np.maximum(high, 1e-3),
        np.concatenate([strip, STRIP_ENDS + (1 - STRIP_ENDS) * skin])[:, None] * crease,
        crease + crest[:, None] * reach,
    ]
    closed = np.concatenate(places) * high + (1 - carried[:, None]) * travel
    covers = np.interp(closed[-CREST:] / np.maximum(high + travel, 1e-3), COVERS_AT, COVERS)
    solid = [
        veil(lashes_cover(-fringe, hang, high)),
        np.ones((STRIP + SKIN, COLUMNS)),
        covers * (1 - smoothstep((crest[:, None] - 0.6 * ends) / (1 - 0.6 * ends))),
    ]
    heights = np.concatenate([fringe, strip, STRIP_ENDS + skin, 1 + STRIP_ENDS + crest])
    return LidRows(heights, np.concatenate(places), carried, closed, np.concatenate(solid))


def towards_ends() -> Array:
    """[C]: 1 along an eye, 0 where it ends."""
    return smoothstep(np.sin(np.pi * np.linspace(0, 1, COLUMNS)) / 0.4)


def lid_parts(lids: tuple[slice, slice]) -> tuple[slice, ...]:
    """The points of both lids from their margins to their creases, those above, which cover the folds, and lashes."""
    ends = [max(lid.stop - CREST * COLUMNS, lid.start) for lid in lids]
    margins = [min(lid.start + FRINGE * COLUMNS, end) for lid, end in zip(lids, ends, strict=True)]
    return (
        *map(slice, margins, ends),
        *(slice(end, lid.stop) for lid, end in zip(lids, ends, strict=True)),
        *(slice(lid.start, margin) for lid, margin in zip(lids, margins, strict=True)),
    )


def veil(alpha: Array) -> Array:
    """Opacity of each point where `LAYERS` of them lie over each other and shall cover `alpha`."""
    return np.asarray(1 - (1 - alpha) ** (1 / LAYERS))


def lid_look(head: Portrait, lid: LidShape, side: str, rows: LidRows) -> tuple[Array, Array]:
    """[R, C, 3] float32 colours of a lid's points and their opacities [R, C].

    The photo's strip turns into a closed lid's skin towards its upper edge. Brows, hair and glasses' rims stay.
    """
    image = head.image.astype(np.float32) / 255
    below, travel, high = _under_eye(head, side), _travel(head, lid, side), np.linalg.norm(lid.up, axis=1)
    patch = _below(lid, rows, below, PATCH, back=True)
    grain = sample_crop(_fine(image, patch), patch)
    grain -= grain.mean(0)  # what is repeated all along a column would be a streak
    skin = closed_skin(image, lid, below, rows.closed / np.maximum(high + travel, 1e-3))
    corner = sample_crop(image, _places(lid.lashes, lid.up, (1 + BEYOND) * lid.crease[None]))  # [1, C, 3]
    skin = corner + (skin - corner) * towards_ends()[:, None]
    above = _places(lid.lashes, lid.up, rows.places[-CREST:])
    soft = sample_crop(blurred(image, SOFT, above), above)
    skin[-CREST:] += (soft - skin[-CREST:]) * smoothstep((np.arange(CREST) + 1) / CREST)[:, None, None]
    heights = np.clip(rows.heights, 0, STRIP_ENDS)[:, None] * lid.crease
    strip = sample_crop(image, _places(lid.lashes, lid.up, heights))
    strip = np.minimum(strip, LIGHTEST * np.maximum(skin, 0))
    ramp = smoothstep((rows.heights[:, None, None] - OWN_COLORS[0]) / (OWN_COLORS[1] - OWN_COLORS[0]))
    colors = strip + (skin + GRAIN * grain - strip) * ramp
    roots = smoothstep(rows.closed / (LASH_BAND * lash_height(high)))[..., None]
    colors = np.minimum(colors, lash_line(image, lid, below)) * (1 - roots) + colors * roots
    way = float(travel[COLUMNS // 3 : -COLUMNS // 3].mean()) * cm_per_px(head.camera)
    shown, solid = sample_crop(image, above), rows.solid.copy()
    unfolds = np.clip((way - WAY[0]) / (WAY[1] - WAY[0]), 0, 1)  # the fold of eyes that are half shut is gone already
    solid[FRINGE:-CREST] *= veil(comes_in(COLUMNS))
    solid[-CREST:] = veil(solid[-CREST:] * unfolds * is_fold(shown, skin[-CREST:]))
    return np.clip(colors, 0, 1).astype(np.float32), solid


def blurred(image: Array, sigma: float, places: Array) -> Array:
    """An image [512, 512, 3] float32 that is blurred where `sample_crop` looks for places [..., 2] px, 0 elsewhere."""
    near, found = _around(places, BLURRED * sigma), np.zeros_like(image)
    found[near] = ndimage.gaussian_filter(image[near], (sigma, sigma, 0))
    return found


def _around(places: Array, reach: float) -> tuple[slice, slice]:
    """What of a crop lies within `reach` px of the texels that `sample_crop` looks up for places [..., 2] px."""
    flat, reach = np.clip(places.reshape(-1, 2), 0, CROP_SIZE), reach + 2
    first, last = (np.clip(end, 0, CROP_SIZE).astype(int) for end in (flat.min(0) - reach, flat.max(0) + reach + 1))
    return slice(first[1], last[1]), slice(first[0], last[0])


def is_fold(shown: Array, skin: Array) -> Array:
    """[R, C]: how surely what is `shown` [R, C, 3] where a closed lid has `skin` [R, C, 3] is skin, if in shadow."""
    darker = np.log(np.maximum(skin, 0).mean(-1) + BLACK) - np.log(shown.mean(-1) + BLACK)
    return smoothstep((NO_FOLD[0] - darker) / (NO_FOLD[0] - NO_FOLD[1]))


def lash_line(image: Array, lid: LidShape, below: Array) -> Array:
    """[C, 3]: the lash line of an eye that is shut; image [512, 512, 3] 0..1, below [C, 2] crop px."""
    low = np.log(sample_crop(blurred(image, 3, below), below) + BLACK)
    near = sample_crop(image, _places(lid.lashes, lid.up, np.linspace(0, LASH_ROOTS, 9)))
    dark = np.log(near.min(0) + BLACK) - low
    middle = slice(COLUMNS // 6, -COLUMNS // 6)
    along = np.interp(np.linspace(0, 1, COLUMNS), LASHES_AT, LASH_ALONG)[:, None]
    return np.asarray(np.exp(low + LASH_SHARE * dark[middle].mean(0) + LASH_SHADE + along) - BLACK)


def _under_eye(head: Portrait, side: str) -> Array:
    """[C, 2] crop px: skin below the eye, column by column."""
    marks = head.landmarks[list(UNDER_EYES[side]), :2]
    at = np.linspace(0, len(marks) - 1, COLUMNS)
    return np.stack([np.interp(at, np.arange(len(marks)), marks[:, axis]) for axis in (0, 1)], 1)


def _travel(head: Portrait, lid: LidShape, side: str) -> Array:
    """[C] crop px: how far the margin is from the lower one."""
    ring = UPPER_LIDS[side][0]
    lower = [ring[-1], *(low for _, low in LIDS[list(UPPER_LIDS).index(side)]), ring[0]]  # inner corner to outer
    return np.asarray(np.linalg.norm(lid.along @ head.landmarks[lower[::-1], :2] - lid.lashes, axis=1))


def closed_skin(image: Array, lid: LidShape, below: Array, heights: Array) -> Array:
    """[R, C, 3]: skin of a lid that is shut, at heights [R, C] above its margin, 1 at the fold's landmarks.

    image [512, 512, 3] 0..1; below [C, 2] crop px is skin below the eye.
    """
    above, own = (_places(lid.lashes, lid.up, part) for part in (np.array(ABOVE), OWN[:, None] * lid.crease))
    smooth, near = blurred(image, 3, np.concatenate([below[None], above])), blurred(image, OWN_SMOOTH, own)
    beside = (sample_crop(smooth, below), sample_crop(smooth, above).max(0), sample_crop(near, own).max(0))
    low, high, lit = (np.log(ndimage.gaussian_filter1d(skin, EVEN, axis=0, mode="nearest") + BLACK) for skin in beside)
    shares = (np.interp(heights, HEIGHTS, knots)[..., None] for knots in (FROM_ABOVE, FROM_OWN))
    shown = low + sum(share * (other - low) for share, other in zip(shares, (high, lit), strict=True))
    along = np.interp(np.linspace(0, 1, COLUMNS), ALONG, SHADE_ALONG)
    fade = 1 - 0.5 * np.clip((heights - 0.6) / 0.6, 0, 1)
    shade = np.interp(heights, HEIGHTS, SHADE) + fade * along
    return np.asarray(np.exp(shown + shade[..., None]) - BLACK)


def _follow(lid: LidShape, side: str, carried: Array) -> sparse.csr_matrix:
    """[N, 478]: rows of points that have `carried` [R] of the lashes' motion and the rest of the fold's."""
    lashes, fold = UPPER_LIDS[side]
    shares = ((share[:, None, None] * lid.along).reshape(-1, len(lashes)) for share in (carried, 1 - carried))
    return mesh_rows(*zip((lashes, fold), shares, strict=True))


def eyelid_layers(head: Portrait, surface: Array) -> tuple[tuple[PointLayer, PointLayer], Array]:
    """The left and the right upper lid, and [L, 3] cm what of the photo the detail of their points is taken from.

    surface [512, 512] camera z cm of the photo.
    """
    (left, left_places), (right, right_places) = (upper_lid(head, surface, side) for side in ("Left", "Right"))
    return (left, right), np.concatenate([left_places, right_places])
