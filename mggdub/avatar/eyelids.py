"""The upper lids: what lies between crease and lashes travels with the margin, and hidden skin unrolls behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer
from mggdub.face.mesh import LIDS, UNDER_EYES, UPPER_LIDS
from mggdub.geometry.camera import unproject
from mggdub.geometry.sampling import sample_crop, smoothstep
from mggdub.types import CROP_SIZE, LANDMARKS, Array, Portrait

COLUMNS = 64  # points along the lashes
FRINGE, STRIP, SKIN, CREST = 10, 16, 18, 8  # rows: lashes below the margin, the photo's lid, hidden skin, the crease
LID_RADIUS = 0.042  # cm
LID_FORWARD = 0.15  # cm towards the viewer: over the photo's own lid, which stretches
LASHES = 0.8  # of the way to the crease that lashes hang below the margin
STRIP_ENDS = 0.9  # of the way to the crease, where the photo's strip ends: its dark line stays
OWN_LOOK = 0.6  # of the way to the crease, below which a lid looks as in the photo
CREST_REACH, CREST_SOLID = 0.7, 0.8  # of the crease's height and opacity: a crease fades where a lid is stretched
LAYERS = 5  # points that lie over each other: what shines through each is that root of what shines through all
# A closed lid against the skin below the eye, as logarithms (76 blinks of 38 people, 0.19 off those left out): by the
# height above the margin, 1 at the fold's landmarks, what it has of the skin above and its shade; and the shade along
# it, from the outer corner to the inner one.
HEIGHTS = (0.3, 0.5, 0.8, 1.0, 1.2, 1.35)
FROM_ABOVE = (0.49, 0.54, 0.57, 0.67, 0.80, 0.81)
SHADE = (-0.30, -0.22, -0.15, -0.11, -0.06, -0.07)
ALONG, SHADE_ALONG = (0.0, 0.1, 0.3, 0.5, 0.62, 0.8, 1.0), (0.18, 0.03, 0.06, 0.19, 0.18, -0.01, -0.09)
# The lash line of a closed eye against the same skin: its share of how dark that of the open eye is, and its shade.
LASH_SHARE, LASH_SHADE = 0.85, -0.12
LASH_ROOTS = 0.4  # of the way to the fold's landmarks, below which the open eye's lash line lies
ABOVE = (1.05, 1.15, 1.25, 1.35)  # of the way to the fold's landmarks; the brightest there is the skin above
BLACK = 0.02  # of light, added before a logarithm
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
        darkness = ndimage.map_coordinates(darker, [rows, np.arange(columns)], order=1)
        return float(darkness[middle].mean())

    depths = [depth(height) for height in CREASES]
    best = int(np.argmax(depths))
    return crease_curve(CREASES[best] if depths[best] > FAINTEST else NO_CREASE, columns)


def upper_lid(head: Portrait, surface: Array, side: str) -> PointLayer:
    """The upper lid of the 'Left' or 'Right' eye; surface [512, 512] camera z cm of the photo.

    Its own strip of the photo is carried by the margin, lashes hang below it, and between strip and crease skin
    unrolls that lies in the crease while the eye is as in the photo.
    """
    lid, rows = lid_shape(head, side), lid_rows()
    places = _places(lid.lashes, lid.up, rows.places[:, None] * lid.crease).reshape(-1, 2)
    means = unproject(places, sample_crop(surface, np.clip(places, 0.5, CROP_SIZE - 0.5)), head.camera)
    count = len(means)
    return PointLayer(
        (means - [0, 0, LID_FORWARD]).astype(np.float32),
        lid_colors(head, lid, side, rows).reshape(count, 3),
        np.full(count, LID_RADIUS, np.float32),
        _follow(lid, side, rows.carried),
        np.ones(count, np.float32),
        np.repeat(SOLID * rows.solid, COLUMNS).astype(np.float32),
        np.repeat((rows.heights >= 0) & (rows.heights < OWN_LOOK), COLUMNS),
    )


@dataclass(frozen=True, eq=False)
class LidRows:
    """R rows of a lid's points, from the tips of the lashes up."""

    heights: Array  # [R] above the margin when the eye is shut, of the crease's above the open one
    places: Array  # [R] the same in the photo
    carried: Array  # [R] share of the margin's way
    solid: Array  # [R] opacity


def lid_rows() -> LidRows:
    """Lashes and the photo's strip move as one; hidden skin lies between its upper edge and the crease."""
    fringe, strip = np.linspace(-1, 0, FRINGE, endpoint=False), np.linspace(0, 1, STRIP)
    skin, crest = (np.arange(SKIN) + 1) / SKIN, (np.arange(CREST) + 1) / CREST
    shown = np.concatenate([fringe * LASHES, strip * STRIP_ENDS])
    return LidRows(
        np.concatenate([shown, STRIP_ENDS + skin, 1 + STRIP_ENDS + CREST_REACH * crest]),
        np.concatenate([shown, STRIP_ENDS + (1 - STRIP_ENDS) * skin, 1 + CREST_REACH * crest]),
        np.concatenate([np.ones(len(shown)), 1 + (CREASE_FOLLOWS - 1) * skin, CREASE_FOLLOWS * (1 - crest / 2)]),
        np.concatenate(
            [veil(smoothstep((1 + fringe) / 0.7)), np.ones(STRIP + SKIN), veil(CREST_SOLID * (1 - smoothstep(crest)))]
        ),
    )


def veil(alpha: Array) -> Array:
    """Opacity of each point where `LAYERS` of them lie over each other and shall cover `alpha`."""
    return np.asarray(1 - (1 - alpha) ** (1 / LAYERS))


def lid_colors(head: Portrait, lid: LidShape, side: str, rows: LidRows) -> Array:
    """[R, C, 3] float32 of a lid's points: the photo's strip turns into a closed lid's skin towards its upper edge."""
    image = head.image.astype(np.float32) / 255
    below, travel, high = _under_eye(head, side), _travel(head, lid, side), np.linalg.norm(lid.up, axis=1)
    heights = rows.heights[:, None] * lid.crease
    closed = rows.places[:, None] * lid.crease * high + (1 - rows.carried[:, None]) * travel  # px above the margin
    down = (0.1 - 0.6 * (rows.heights[:, None] - STRIP_ENDS)) * high
    grain = sample_crop(image - ndimage.gaussian_filter(image, (2, 2, 0)), below + down[..., None] * [0, 1])
    skin = closed_skin(image, lid, below, closed / np.maximum(high + travel, 1e-3))
    corner = sample_crop(image, _places(lid.lashes, lid.up, (1 + CREST_REACH) * lid.crease[None]))  # [1, C, 3]
    middle = smoothstep(np.sin(np.pi * np.linspace(0, 1, COLUMNS)) / 0.4)[:, None]
    skin = corner + (skin - corner) * middle + grain
    strip = sample_crop(image, _places(lid.lashes, lid.up, np.clip(heights, 0, STRIP_ENDS * lid.crease)))
    ramp, roots = (smoothstep((rows.heights[:, None, None] - low) / span) for low, span in ((0.6, 0.6), (0, 0.25)))
    lashes = lash_line(image, lid, below)
    strip = np.minimum(strip, lashes) * (1 - roots) + strip * roots
    return np.clip(strip + (skin - strip) * ramp, 0, 1).astype(np.float32)


def lash_line(image: Array, lid: LidShape, below: Array) -> Array:
    """[C, 3]: the lash line of an eye that is shut; image [512, 512, 3] 0..1, below [C, 2] crop px."""
    low = np.log(sample_crop(ndimage.gaussian_filter(image, (3, 3, 0)), below) + BLACK)
    near = sample_crop(image, _places(lid.lashes, lid.up, np.linspace(0, LASH_ROOTS, 9)))
    dark = np.log(near.min(0) + BLACK) - low
    middle = slice(COLUMNS // 6, -COLUMNS // 6)
    return np.asarray(np.exp(low + LASH_SHARE * dark[middle].mean(0) + LASH_SHADE) - BLACK)


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
    smooth = ndimage.gaussian_filter(image, (3, 3, 0))
    low = np.log(sample_crop(smooth, below) + BLACK)
    high = np.log(sample_crop(smooth, _places(lid.lashes, lid.up, np.array(ABOVE))).max(0) + BLACK)
    share, shade = (np.interp(heights, HEIGHTS, knots)[..., None] for knots in (FROM_ABOVE, SHADE))
    at = np.linspace(0, 1, COLUMNS)
    along = np.interp(at, ALONG, SHADE_ALONG)[:, None]
    fade = 1 - 0.5 * np.clip((heights - 0.6) / 0.6, 0, 1)[..., None]
    return np.asarray(np.exp(low + share * (high - low) + shade + fade * along) - BLACK)


def _follow(lid: LidShape, side: str, carried: Array) -> sparse.csr_matrix:
    """[N, 478]: rows of points that have `carried` [R] of the lashes' motion and the rest of the fold's."""
    lashes, fold = UPPER_LIDS[side]
    matrix = np.zeros((len(carried), COLUMNS, LANDMARKS), np.float32)
    matrix[..., list(lashes)] = carried[:, None, None] * lid.along
    matrix[..., list(fold)] += (1 - carried)[:, None, None] * lid.along
    return sparse.csr_matrix(matrix.reshape(-1, LANDMARKS))


def keep_creases(skin: sparse.csr_matrix, head: Portrait) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels, of which those at and above a crease hardly follow the lashes."""
    for side, (lashes, fold) in UPPER_LIDS.items():
        rings = np.array([lashes, fold])[:, 1:-1]
        low, high = (skin[:, ring].toarray() for ring in rings)
        share, place = low.sum(1), (low + high) @ np.arange(1, len(lashes) - 1)
        strip = np.flatnonzero((share > 0) & (share < 0.999) & (share + high.sum(1) > 0.999))
        at = np.linspace(0, len(lashes) - 1, COLUMNS)
        crease = 1 - np.interp(place[strip], at, np.clip(lid_shape(head, side).crease, 0.01, 0.99))
        wanted = follow_margin(share[strip], crease)
        now = np.ones((2, len(share)))
        now[:, strip] = wanted / share[strip], (1 - wanted) / (1 - share[strip])
        columns = np.zeros(LANDMARKS, int)
        columns[rings[0]], columns[rings[1]] = 1, 2
        entries = skin.tocoo()
        which = columns[entries.col]
        scale = np.where(which > 0, now[np.maximum(which - 1, 0), entries.row], 1)
        skin = sparse.csr_matrix((entries.data * scale, (entries.row, entries.col)), shape=skin.shape)
    return skin.astype(np.float32)


def follow_margin(share: Array, crease: Array) -> Array:
    """[N]: the lashes' share of pixels that have `share` of them by place, where a crease's place gives it `crease`."""
    below = CREASE_FOLLOWS + (1 - CREASE_FOLLOWS) * (share - crease) / (1 - crease)
    return np.where(share > crease, below, CREASE_FOLLOWS * share / crease)


def eyelid_layers(head: Portrait, surface: Array) -> tuple[PointLayer, PointLayer]:
    """The left and the right upper lid; surface [512, 512] camera z cm of the photo."""
    return upper_lid(head, surface, "Left"), upper_lid(head, surface, "Right")
