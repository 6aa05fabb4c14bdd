"""Where a head ends: what a matte takes for hair is background if it has the colours of what lies beside it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from mggdub.avatar.beyond import CROWN
from mggdub.avatar.box import RenderView
from mggdub.avatar.visible import STRAND_GAP, WISP_REACH
from mggdub.face.mesh import CHIN_TIP, HAIRLINE
from mggdub.geometry.camera import cm_per_px
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import halved, push_pull, smoothstep
from mggdub.types import CROP_SIZE, Array

DOUBTED, FREE, HAZE, SURE = 0.02, 0.04, 0.2, 0.95  # of the matte: more than none, background, perhaps and surely a head
DEEP = 0.5  # cm inside the outline from where on a head is sure
AT_EDGE = 1.0  # cm from the crop's edge up to which its matte is trusted; farther out the wider look often errs
COLOR, PLACE = 0.06, 2.5  # of colours; cm: differences that count alike
SAMPLES, AROUND, BEYOND = 6, 2.0, 10.0  # nearest colours; cm inside and beside the sure head from which they come
NEARLY = 0.3  # times farther than the nearest a sample may be, which takes two thirds of the time
ROUNDS, LEARNED = 3, 0.4  # after each of which what is so far like one side is a sample of it, too
SMOOTH, EDGES = 0.6, 0.003  # cm; squared colours: smaller differences within that are no edges
NARROW, STRAND = 1.4, 0.3  # cm: half the width of the narrowest part that may stick out, and of a strand of hair
CROWN_HAIR, HIGH = 2.0, 0.5  # cm of hair that a crown may have; how much what is twice as high is rather background
PLAIN, LEAST_SPREAD = (0.02, 0.05), 0.012  # of colours: how much fully and not plain backgrounds vary, and any does
THICK, THICKEST_HAIR = 0.25, 5.0  # cm: what is thick, and how far from a person hair is
BODY_RIM = 1.0  # cm beside a person within which clothes have soft edges
PLAIN_AROUND, PLAIN_ROUNDS, OUTLIER = 2.5, 3, 3.0  # cm over which a plain one may shade; times of its spread
HAIR_EDGE = (0.2, 0.5)  # cm beside the head, from no to full doubt: soft edges stay as the matte has them


def crop_room(view: RenderView) -> Array:
    """[h, w] cm: how far inside the crop a pixel lies, from its upper edge and its sides; negative beyond."""
    x, y = view.crop_px[..., 0], view.crop_px[..., 1]
    return np.asarray(np.minimum(np.minimum(x, CROP_SIZE - x), y) * cm_per_px(view.head.camera))


def above_crown(view: RenderView) -> Array:
    """[h, w] cm: how far a pixel lies above the height of a crown without much hair."""
    hairline, chin = (view.head.landmarks[k, :2] for k in (HAIRLINE, CHIN_TIP))
    face = hairline - chin
    up = face / np.linalg.norm(face)
    return np.asarray((view.crop_px - hairline - CROWN * face) @ up * cm_per_px(view.head.camera))


def stands_out(image: Array, person: Array, head: Array, cm: float) -> Array:
    """[h, w] float32 0..1: how surely a place is none of a plain background; 0 where the background is not plain.

    image [h, w, 3]; person and head [h, w] 0..1, mattes, which may lack some of the hair; cm of a pixel. What the
    background shades to is known from all that lies around and is no outlier. Plants, lamps and frames are no hair:
    they are thick farther from a person, and sofas beside a body farther from its head.
    """
    small, matte, cm = halved(image), halved(person), 2 * cm  # a half of the size will do
    free = matte < FREE
    if not free.any():
        return np.zeros_like(person)
    blur, known, spread, apart = PLAIN_AROUND / cm, free, LEAST_SPREAD, np.zeros(free.shape)
    for _ in range(PLAIN_ROUNDS):
        weight = ndimage.gaussian_filter(known.astype(np.float32), blur)
        means = [ndimage.gaussian_filter(small[..., k] * known, blur) / np.maximum(weight, 1e-4) for k in range(3)]
        apart = np.linalg.norm(small - push_pull(np.dstack(means), (weight > 0.02).astype(np.float32)), axis=-1)
        spread = max(LEAST_SPREAD, 1.48 * float(np.median(apart[free])))
        known = free & (apart < OUTLIER * spread)
    plain = np.clip((PLAIN[1] - spread) / (PLAIN[1] - PLAIN[0]), 0, 1)
    standing = smoothstep(apart / (OUTLIER * spread) - 1) * plain
    away, from_head = (distance_inside(part < 0.5) * cm for part in (matte, halved(head)))
    standing[_things(standing > 0.5, away, from_head, cm)] = 0
    return np.asarray(_doubled(standing, person.shape), np.float32)


def _things(standing: Array, away: Array, from_head: Array, cm: float) -> Array:
    """[h, w] bool: parts of what is `standing` [h, w] bool that are thick, or leave the picture, farther than hair is.

    away and from_head [h, w] cm are how far from a person and from its head a place lies; cm of a pixel. What lies
    beside a body, but far from its head, may touch the rim of the hair, which stays.
    """
    loose = ndimage.binary_dilation(standing, _disk(STRAND_GAP / cm)) & (away > STRAND)
    parts, count = ndimage.label(loose)
    thick = ndimage.binary_opening(standing, _disk(THICK / cm))
    broad = np.asarray(ndimage.maximum(thick & loose, parts, np.arange(count + 1)))[parts] > 0
    thick[:, [0, -1]] |= broad[:, [0, -1]]  # however thin it is where it goes on beyond the picture: a shelf, a sofa
    clear = thick & (away > BODY_RIM)  # shoulders' soft edges are none
    reach, beyond = (
        np.asarray(ndimage.maximum(np.where(ends, far, 0), parts, np.arange(count + 1)))[parts] > THICKEST_HAIR
        for ends, far in ((thick, away), (clear, from_head))
    )
    return np.asarray(loose & (reach | (beyond & (from_head > WISP_REACH))))


def background_share(
    image: Array, head: Array, person: Array, room: Array, above: Array, standing: Array, cm: float
) -> Array:
    """[h, w] float32 0..1: how much of what a matte calls head is background.

    image [h, w, 3]; head and person [h, w] 0..1, mattes; room and above [h, w] cm of `crop_room` and `above_crown`;
    standing [h, w] of `stands_out`; cm of a pixel. Between what is surely head and what is surely none, a place belongs
    to the side that has its colours nearer by; edges of the picture end it. A narrow blob that sticks out of a head is
    none of it, whatever its colours, if the matte doubts it.
    """
    small, matte, whole, inner, higher = (halved(values) for values in (image, head, person, room, above))
    cm *= 2  # a half of the size will do
    trusted = (matte > SURE) & (inner > AT_EDGE)
    prior = HIGH * smoothstep(higher / CROWN_HAIR - 1)
    like = _like_background(small, matte, whole, trusted, prior, cm)
    if like is None:
        return np.zeros_like(head)
    alike = trusted | ((matte > HAZE) & (like < 0))
    broad = trusted | ndimage.binary_opening(alike, _disk(NARROW / cm), border_value=0)
    solid = broad | (alike & (distance_inside(~broad) * cm < STRAND))
    blob = ndimage.binary_opening(alike & ~solid, _disk(STRAND / cm))
    blob = ndimage.binary_dilation(blob, _disk(STRAND / cm)) & ~solid
    away = distance_inside(~(solid & ((matte > 0.5) | trusted))) * cm
    beside = smoothstep((away - HAIR_EDGE[0]) / (HAIR_EDGE[1] - HAIR_EDGE[0]))
    share = beside * np.maximum(smoothstep((like + 0.1) / 0.3), blob) * (matte > DOUBTED)
    return np.asarray(np.clip(_doubled(share, head.shape), 0, 1) * (1 - standing), np.float32)


def _like_background(image: Array, head: Array, person: Array, trusted: Array, prior: Array, cm: float) -> Array | None:
    """[h, w]: from -1, like the head, to 1, like the background, what lies between both; None where one is unknown."""
    core = ndimage.binary_erosion(trusted, iterations=max(1, round(DEEP / cm)), border_value=1)
    free = (person < FREE) & (distance_inside(~core) * cm < BEYOND)
    doubt = ~core & (head > DOUBTED)
    if not (core.any() and free.any() and doubt.any()):
        return None
    rows, columns = np.mgrid[: len(image), : image.shape[1]] * (cm / PLACE)
    features = np.dstack([image / COLOR, rows, columns]).astype(np.float32)
    rim = core & (distance_inside(core) * cm < max(AROUND, 1.5 * cm))  # a pixel at least
    inside, outside = rim, free
    sides = np.where(core, -1, np.where(free, 1, 0)).astype(np.float32)
    for _ in range(ROUNDS):
        from_head, from_free = (_distance(features, samples, doubt) for samples in (inside, outside))
        like = sides.copy()
        like[doubt] = (from_head - from_free) / (from_head + from_free + 0.5) + prior[doubt]
        like = _smoothed(like, image, max(1, round(SMOOTH / cm)))
        inside, outside = rim | (doubt & (like < -LEARNED)), free | (doubt & (like > LEARNED))
    return like


def _distance(features: Array, samples: Array, places: Array) -> Array:
    """[P]: mean squared distance of the features [h, w, 5] at places [h, w] bool from the nearest of the samples'."""
    tree = cKDTree(features[samples], balanced_tree=False, compact_nodes=False)  # both take longer than they save
    found, _ = tree.query(features[places], k=SAMPLES, eps=NEARLY)
    found = np.where(np.isfinite(found), found, found[:, :1])  # there may be fewer samples
    return np.asarray((found**2).mean(1))


def _smoothed(values: Array, image: Array, radius: int) -> Array:
    """[h, w]: values [h, w] smoothed up to the edges of an image [h, w, 3].

    After He, Sun and Tang, Guided Image Filtering, 2010.
    """

    def mean(of: Array) -> Array:
        return np.asarray(ndimage.uniform_filter(of, (2 * radius + 1,) * 2 + (0,) * (of.ndim - 2)))

    middle, level = mean(image), mean(values)
    together = mean(image * values[..., None]) - middle * level[..., None]
    spread = mean(image[..., None] * image[..., None, :]) - middle[..., None] * middle[..., None, :]
    slope = np.linalg.solve(spread + EDGES * np.eye(3, dtype=np.float32), together[..., None])[..., 0]
    return np.asarray((mean(slope) * image).sum(-1) + mean(level - (slope * middle).sum(-1)))


def _doubled(values: Array, shape: tuple[int, ...]) -> Array:
    at = np.meshgrid(*((np.arange(side) + 0.5) / 2 - 0.5 for side in shape), indexing="ij")
    return np.asarray(ndimage.map_coordinates(values, at, order=1, mode="nearest"))


def _disk(radius: float) -> Array:
    reach = max(1, round(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(np.hypot(rows, columns) <= reach + 0.3)
