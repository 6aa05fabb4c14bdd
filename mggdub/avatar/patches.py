"""A hole in a picture filled with parts of what is known round it, each as it is, moved by what most others are.

After He and Sun, Statistics of Patch Offsets for Image Completion, 2012; parts are chosen and joined more simply: each
way from the hole's edge inwards is filled by one of them as far as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import halved, push_pull
from mggdub.types import Array

Offset = tuple[int, int]  # rows and columns, px, from a place to what is seen there instead

REACH, LEAST = 6.0, 1.0  # cm: the longest and the shortest offset
STEP = 0.45  # cm between offsets that are tried
FEW = 60  # offsets that are used, the most frequent ones
BESIDE, CLEAR = 1.2, 0.3  # cm beside the hole that offsets are judged by; from the hole where parts are taken
DEEP = 3.0  # cm into the hole that a way goes
GUESS, FADES = 0.2, 1.0  # weight of smooth colours in the hole, that offsets are judged by, too; cm over which it fades
LACKING, FAR = 0.15, 0.15  # squared colours by which an offset is worse that fills nothing of a way; the longest one
LEAST_SEEN = 0.1  # of what lies on a way, to judge by
ALONG = 1.0  # cm, standard deviation of what counts along the edge
STRETCHES = 3  # times that ways begin
ROUNDS, SEAM = 6, 2.0  # in which a way asks its neighbours; weight of squared colours between its fill and theirs
JOIN = 0.3  # cm over which parts mix
OVERLAP = 0.3  # cm that parts go on over what is known, whose colours they get
SMALLEST = 40  # px, a picture's shorter side


def patch_fill(image: Array, known: Array, wanted: Array, cm: float) -> Array:
    """[H, W, 3] float32: the image [H, W, 3] float32 0..1 with what is not `known` filled; cm of a pixel.

    known and wanted [H, W] bool. Parts of the picture fill what is wanted, smooth colours go on from there; known
    pixels stay.
    """
    smooth, hole = push_pull(image, known.astype(np.float32)), wanted & ~known
    if not hole.any() or not known.any() or min(hole.shape) < SMALLEST:
        return smooth
    scene = _Scene(smooth, known, known & (distance_inside(known) * cm > CLEAR), hole, cm)
    half = scene.halved()
    offsets = [(2 * down, 2 * right) for down, right in _frequent_offsets(half.halved())]
    if not offsets:
        return smooth
    parts = _enlarged(_parts(half, offsets), hole.shape)
    laid, weight = _laid(scene, parts, [(2 * down, 2 * right) for down, right in offsets])
    edge = known & (weight > 0) & (distance_inside(known) * cm < OVERLAP)
    laid += push_pull(image - laid, edge.astype(np.float32))  # so that both meet in one colour
    filled = hole & (weight > 0)
    both = np.where(filled[..., None], laid.clip(0, 1), smooth)
    return push_pull(both, (known | filled).astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Scene:
    """A picture with a hole at one of its sizes."""

    image: Array  # [h, w, 3], smooth where it is not known
    known: Array  # [h, w] bool
    sources: Array  # [h, w] bool: what may fill the hole
    hole: Array  # [h, w] bool
    cm: float  # of a pixel

    def halved(self) -> _Scene:
        """The same at half the size."""
        known, sources = (halved(mask) > 0.99 for mask in (self.known, self.sources))
        return _Scene(halved(self.image), known, sources, (halved(self.hole) > 0) & ~known, 2 * self.cm)

    def with_parts(self, parts: Array, offsets: list[Offset]) -> _Scene:
        """The same where the hole is filled with `parts` [h, w], numbers of offsets or -1."""
        rows, columns = np.nonzero(parts >= 0)
        down, right = np.array(offsets)[parts[rows, columns]].T
        image = self.image.copy()
        image[rows, columns] = self.image[rows + down, columns + right]
        return replace(self, image=image, known=self.known | (parts >= 0), hole=self.hole & (parts < 0))

    def at(self, offset: Offset, pixels: Array) -> tuple[Array, Array]:
        """What is seen at an offset from flat pixels [P]: [P] bool whether it may fill them, and colours [P, 3]."""
        there, seen = _moved(self.sources, offset), _moved(self.image, offset)
        return there.ravel()[pixels], seen.reshape(-1, 3)[pixels]


@dataclass(frozen=True, eq=False)
class _Ways:
    """Ways into a scene's hole: what is nearest to one place of its edge, and what is known before it."""

    of: Array  # [h, w]: on which way a place lies, -1 where on none
    pixels: Array  # [P] flat, way by way, that offsets are judged by
    starts: Array  # [W]: where a way begins among them
    inside: Array  # [P] bool, in the hole
    first: Array  # [P] bool, those next to its edge
    weight: Array  # [P] float32
    nearby: sparse.csr_matrix  # [W, W]: how much other ways count for one, 1 in all

    def sums(self, values: Array) -> Array:
        """[..., W]: the sums of values [..., P] over ways."""
        return np.asarray(np.add.reduceat(values, self.starts, -1))


def _ways(scene: _Scene) -> _Ways | None:
    """The ways into the hole, if there are any."""
    if not scene.known.any() or not scene.hole.any():
        return None
    deep, edge = ndimage.distance_transform_edt(~scene.known, return_indices=True)
    away, inner = ndimage.distance_transform_edt(~scene.hole, return_indices=True)
    start = np.ravel_multi_index(tuple(edge), deep.shape)  # flat pixel of the edge at which a way begins
    start = np.where(scene.hole, start, start[tuple(inner)])
    used = (scene.hole | (scene.known & (away * scene.cm < BESIDE))) & (deep * scene.cm < DEEP)
    if not (used & scene.hole).any():
        return None
    first = np.unique(start[used & scene.hole])
    of = np.minimum(np.searchsorted(first, start), len(first) - 1)
    of = np.where(first[of] == start, of, -1)
    pixels = np.flatnonzero(used & (of >= 0))
    pixels = pixels[np.argsort(of.ravel()[pixels], kind="stable")]
    inside = scene.hole.ravel()[pixels]
    depth = deep.ravel()[pixels]
    weight = np.where(inside, GUESS * np.exp(-depth * scene.cm / FADES), 1).astype(np.float32)
    starts = np.searchsorted(of.ravel()[pixels], np.arange(len(first)))
    places = np.stack(np.divmod(first, deep.shape[1]), 1) * (scene.cm / ALONG)
    tree = cKDTree(places)
    nearby = tree.sparse_distance_matrix(tree, 3.0, output_type="coo_matrix").tocsr()
    nearby.sort_indices()
    nearby.data = np.exp(-(nearby.data**2) / 2)
    nearby.data /= np.repeat(np.add.reduceat(nearby.data, nearby.indptr[:-1]), np.diff(nearby.indptr))
    return _Ways(of, pixels, starts, inside, inside & (depth < 1.5), weight, nearby.astype(np.float32))


def _judged(scene: _Scene, ways: _Ways, offsets: list[Offset]) -> Array:
    """[O, W] float32: how badly offsets continue what is known and guessed on a way and those nearby."""
    known, apart, lacking, stuck = [], [], [], []
    length = ways.sums(ways.inside.astype(np.float32))
    for offset in offsets:
        there, seen = scene.at(offset, ways.pixels)
        weight = ways.weight * there
        known.append(ways.sums(weight))
        apart.append(ways.sums(weight * np.square(scene.image.reshape(-1, 3)[ways.pixels] - seen).sum(-1)))
        lacking.append(ways.sums((ways.inside & ~there).astype(np.float32)) / length)
        stuck.append(ways.sums((ways.first & ~there).astype(np.float32)) > 0)
    weights, misfit, missing = (np.stack((ways.nearby @ np.stack(x, 1)).T) for x in (known, apart, lacking))
    enough = weights > LEAST_SEEN * (ways.nearby @ ways.sums(ways.weight))
    far = FAR * np.hypot(*np.transpose(offsets))[:, None] * scene.cm / REACH
    judged = np.where(enough, misfit / np.maximum(weights, 1e-6), 1) + LACKING * missing + far + np.stack(stuck)
    return np.asarray(judged, np.float32)


def _frequent_offsets(scene: _Scene) -> list[Offset]:
    """The offsets that fit best on most ways, the most frequent one first."""
    reach, step = int(REACH / scene.cm), max(1, round(STEP / scene.cm))
    way = range(-reach // step * step, reach + 1, step)
    tried = [(down, right) for down in way for right in way if LEAST <= np.hypot(down, right) * scene.cm <= REACH]
    ways = _ways(scene)
    if ways is None or not tried or not scene.sources.any():
        return []
    counts = np.bincount(_judged(scene, ways, tried).argmin(0), minlength=len(tried))
    return [tried[k] for k in np.argsort(-counts, kind="stable")[:FEW] if counts[k] > 0]


def _parts(scene: _Scene, offsets: list[Offset]) -> Array:
    """[h, w]: the number of the offset that fills a place of the hole or beside it, -1 where none does.

    It is that of its way; where it has nothing there, ways begin anew.
    """
    parts = np.full(scene.hole.shape, -1)
    around = ndimage.binary_dilation(scene.hole, iterations=max(1, round(OVERLAP / scene.cm)))
    possible = np.stack([_moved(scene.sources, offset) for offset in offsets])  # [O, h, w]
    for _ in range(STRETCHES):
        ways = _ways(scene)
        if ways is None:
            break
        best = _agreed(scene, ways, _judged(scene, ways, offsets), offsets).argmin(0)[ways.of]
        new = np.take_along_axis(possible, best[None], 0)[0] & (ways.of >= 0) & around & (parts < 0)
        parts = np.where(new, best, parts)
        if not (new & scene.hole).any():
            break
        scene = scene.with_parts(np.where(scene.hole, parts, -1), offsets)
    return parts


def _agreed(scene: _Scene, ways: _Ways, judged: Array, offsets: list[Offset]) -> Array:
    """[O, W]: what offsets cost on a way, `judged` [O, W] and how far their fill is off from what ways nearby have."""
    way = np.repeat(np.arange(len(ways.starts)), np.diff(ways.starts, append=len(ways.pixels)))
    guess = scene.image.reshape(-1, 3)[ways.pixels]
    pairs = (scene.at(offset, ways.pixels) for offset in offsets)
    fills = np.stack([np.where(there[:, None], seen, guess) for there, seen in pairs])  # [O, P, 3]
    length, costs = ways.sums(ways.inside.astype(np.float32)), judged
    for _ in range(ROUNDS):
        votes = ways.nearby @ np.eye(len(offsets), dtype=np.float32)[costs.argmin(0)]  # [W, O]
        theirs = np.einsum("op,opk->pk", votes.T[:, way], fills)
        off = np.square(fills - theirs).sum(-1) * ways.inside
        costs = judged + SEAM * ways.sums(off) / length
    return costs


def _laid(scene: _Scene, parts: Array, offsets: list[Offset]) -> tuple[Array, Array]:
    """The picture [h, w, 3] of all parts, mixed where they meet, and how much is laid at each place [h, w]."""
    total, weights = np.zeros_like(scene.image), np.zeros(parts.shape, np.float32)
    for number, offset in enumerate(offsets):
        weight = ndimage.gaussian_filter((parts == number).astype(np.float32), max(0.5, JOIN / scene.cm))
        weight = np.where(_moved(scene.sources, offset) & (weight > 1e-3), weight, 0)
        total += weight[..., None] * _moved(scene.image, offset)
        weights += weight
    return total / np.maximum(weights, 1e-6)[..., None], weights


def _moved(picture: Array, offset: Offset) -> Array:
    """What is seen at an offset from every place of a picture [h, w, ...]; nothing beyond its edge."""
    moved = np.zeros_like(picture)
    (into, out_of) = zip(*(_overlap(side, by) for side, by in zip(picture.shape, offset, strict=False)), strict=True)
    moved[into] = picture[out_of]
    return moved


def _overlap(side: int, by: int) -> tuple[slice, slice]:
    """Where places are whose source lies in a picture, and where those sources are, along one of its sides."""
    return slice(max(-by, 0), max(side - max(by, 0), 0)), slice(max(by, 0), max(side - max(-by, 0), 0))


def _enlarged(parts: Array, shape: tuple[int, ...]) -> Array:
    rows, columns = (np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, parts.shape, strict=True))
    return np.asarray(parts[rows[:, None], columns])
