"""The mouth's inside at the picture's full size.

A head is drawn small and takes the photo's detail; what is between its lips is in no photo. So teeth, tongue and dark
are drawn once more where the picture's pixels are, in the light that the small drawing shows there: by its blur, since
its splats lie before one another and do not stand as still as teeth do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mggdub.animation.poses import FrameMotion
from mggdub.avatar.lips import chords, closed_middle, lips_of, lower_level
from mggdub.avatar.mouth import drawn_share, opening, photo_mouth_at
from mggdub.avatar.teeth import draw_cells, find_places
from mggdub.avatar.values import HeadAvatar
from mggdub.compiled import compiled
from mggdub.face.mesh import PIVOT
from mggdub.geometry.camera import cm_per_px, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import smoothstep
from mggdub.renderer.mouth_light import compare_light, relight
from mggdub.types import Array

FINEST = 1 / 36  # cm between places that are drawn: less than what is soft about teeth
MOST_FINER = 3  # places along a side of a cell, of which it is the mean
LEAST = 0.05  # cm, a mouth that is less open shows no teeth
MEET = (0.1, 0.3)  # cm of opening: lips keep none of the detail beside the photo's own mouth, and all of it
SOFT = 0.2  # of a cell's colour, that each of its neighbours has: pictures are not sharper, and splats are as blurred
STEEPEST = 2.0  # times as steeply as they are drawn, lips end in a large picture
LEAST_TERM = 1e-10  # of a fit: what its points do not tell apart has no part in it
ALONG, DOWN, BEYOND = 13, (0.0, 0.0, 0.5, 1.0, 1.0), (-0.25, 0.0, 0.0, 0.0, 0.25)  # points that lead from px to cm


@dataclass(frozen=True, eq=False)
class MouthDetail:
    """What lies between lips, in cells of the picture and in the pixels of a small drawing."""

    left: int  # px of the picture
    top: int
    step: int  # px, side of a cell
    colors: Array  # [R, C, 4] float32: sRGB 0..1, and how far within the lips, 0 beyond them
    corner: tuple[int, int]  # px of the drawing, right and down
    small: Array  # [r, c, 4] float32, the same there
    ratio: Array  # [2, 2]: px of the picture in one of the drawing, right and down, and where the first of them begins
    gone: float = 0.0  # how much of the photo's own mouth is no longer seen, where lips meet

    def lit(self, drawn: Array) -> tuple[int, int, int, float, float, Array]:
        """Left, top, step, steep, gone and colours for `compose`, as light as a drawing [h, w, 8] has them."""
        found = np.empty((*self.colors.shape[:2], 7), np.float32)
        if len(found):
            light = np.empty((*self.small.shape[:2], 3), np.float32)
            compare_light(drawn, self.small, *self.corner, light)
            relight(self.colors, self.small, light, (self.left, self.top, self.step), self.corner, self.ratio, found)
        return self.left, self.top, self.step, steepness(self.ratio), self.gone, found


_NOTHING = np.zeros((0, 0, 4), np.float32)
NO_DETAIL = MouthDetail(0, 0, 1, _NOTHING, (0, 0), _NOTHING, np.zeros((2, 2)))


@dataclass(frozen=True, eq=False)
class MouthDetailer:
    """What is worked out once for all frames of an avatar."""

    avatar: HeadAvatar
    lift: float  # cm, the layer behind the lips
    ratio: Array  # [2, 2] as of a `MouthDetail`

    @classmethod
    def of(cls, avatar: HeadAvatar) -> MouthDetailer:
        """Of the avatar's mouth."""
        layer, box = avatar.mouth_layer, avatar.box
        lift = float((layer.means - layer.skin @ layer.mesh)[:, 2].mean())
        ratio = np.array([[box.width / box.render_width, box.height / box.render_height], [box.left, box.top]])
        return cls(avatar, lift, ratio)

    def detail(self, now: FrameMotion) -> MouthDetail:
        """What lies between the lips of a posed head.

        What the learned bases move is skin: teeth stand on the skull.
        """
        mesh = self.avatar.mouth_layer.mesh + now.displacement
        mouth = _Mouth.of(self.avatar, now)
        open_by = mouth.open_by * self.avatar.mouth_layer.size
        gone = (1 - now.shown.photo_mouth) * float(smoothstep((MEET[1] - open_by) / (MEET[1] - MEET[0])))
        if open_by < LEAST:
            return replace(NO_DETAIL, gone=gone)
        points, places = self._hung(mesh)
        turned = (points - PIVOT) @ euler_to_matrix(now.rotation).T + PIVOT + now.translation
        camera = self.avatar.camera
        at, fine = project(turned, camera), 1 / cm_per_px(camera)  # px of the drawing, and in a cm
        low, high = _around(at)
        limit = np.array([camera.width, camera.height])
        begin, end = np.floor(low - 1).clip(0).astype(int), np.minimum(np.ceil(high + 1).astype(int), limit)
        across, down = self.ratio
        step = max(1, int(FINEST * fine * across[0]))
        first = np.floor(low * across + down - 2 * step).clip(0).astype(int)
        last = np.minimum(np.ceil(high * across + down + 2 * step).astype(int), self.avatar.image.shape[1::-1])
        cells, pixels = (last - first) // step, end - begin
        if cells.min() < 1 or pixels.min() < 1:
            return replace(NO_DETAIL, gone=gone)
        leads = _polynomial(at * across + down, places)
        each = min(max(1, round(step / (FINEST * fine * across[0]))), MOST_FINER)
        colors, small = soft(mouth.drawn(leads, first, step, cells, each)), np.zeros((*pixels[::-1], 4), np.float32)
        left, top, x, y = (int(n) for n in (*first, *begin))
        _shrink(colors, (left, top, step), (x, y), self.ratio, small)
        return MouthDetail(left, top, step, colors, (x, y), soft(small), self.ratio, gone)

    def _hung(self, mesh: Array) -> tuple[Array, Array]:
        """Some of the layer's points [N, 3] cm on lips `mesh` [478, 3], before the head moves; their places [N, 2]."""
        points = chords(np.linspace(0, 1, ALONG), np.array(DOWN), mesh)
        points[..., 1] += np.array(BEYOND)[:, None]
        points[..., 2] += self.lift
        points = points.reshape(-1, 3)
        return points, points[:, :2] - closed_middle(self.avatar.mouth_layer.rest)[:2]


@dataclass(frozen=True, eq=False)
class _Mouth:
    """What is drawn between lips in one frame."""

    avatar: HeadAvatar
    lips: Array  # [2, 11, 2] cm
    open_by: float  # of `opening`, in a mouth of usual width
    own: float  # how much of the photo's own mouth is in it

    @classmethod
    def of(cls, avatar: HeadAvatar, now: FrameMotion) -> _Mouth:
        layer = avatar.mouth_layer
        lips = lips_of(layer.mesh + now.displacement, layer.rest)
        return cls(avatar, lips, float(opening(lips / layer.size)), drawn_share(layer, now.displacement))

    def drawn(self, leads: tuple[Array, Array, float], first: Array, step: int, size: Array, finer: int) -> Array:
        """[rows, columns, 4] float32: colours, and how far within the lips, in cells of `size` [2] columns and rows.

        `leads` of `_polynomial`; the first cell begins at `first` [2], all have a side of `step` px of the picture and
        show the mean of `finer` squared places.
        """
        layer, (columns, rows) = self.avatar.mouth_layer, size.tolist()
        lips = np.take_along_axis(self.lips, np.argsort(self.lips[..., 0], 1)[..., None], 1).astype(np.float32)
        given = (*leads, first.astype(np.float64), step / finer, lips)
        low = float(lower_level(self.lips) / layer.size)
        mouth = np.float32(layer.size), self.open_by, low, layer.levels, layer.tone
        out = np.zeros((rows, columns, 4), np.float32)
        draw_cells(*given, *mouth, self._own(given, rows * finer, columns * finer), np.float32(self.own), finer, out)
        return out

    def _own(self, given: tuple[Any, ...], rows: int, columns: int) -> Array:
        """[rows, columns, 4]: the photo's own mouth and where it is seen; nothing if none of it is."""
        if not self.own:
            return _NOTHING
        places = np.empty((rows, columns, 3), np.float32)
        find_places(*given, places)
        found = photo_mouth_at(self.avatar.mouth_layer, self.lips, places[..., :2], places[..., 2])
        return np.ascontiguousarray(found.transpose(1, 2, 0))


def steepness(ratio: Array) -> float:
    """How much steeper lips end in the picture than in the drawing: half as much as it is larger, by a `ratio`."""
    return float(np.clip((1 + ratio[0, 0]) / 2, 1, STEEPEST))


def _around(at: Array) -> tuple[Array, Array]:
    """The corners [2], [2] of what is between lips; at [N, 2] px of `_hung`."""
    between = at.reshape(len(DOWN), ALONG, 2)[1:-1].reshape(-1, 2)
    return between.min(0), between.max(0)


def _polynomial(at: Array, places: Array) -> tuple[Array, Array, float]:
    """Coefficients [2, 10], centre [2] and unit of the polynomial that leads from px `at` [N, 2] to places [N, 2]."""
    centre, unit = at.mean(0), float(np.ptp(at, 0).max()) / 2
    coefficients = np.zeros((2, 10))
    _fit((at - centre) / unit, places, coefficients)
    return coefficients, centre, unit


@compiled(boundscheck=False)
def _fit(at, places, coefficients):  # type: ignore[no-untyped-def]
    """Fill coefficients [2, 10] by least squares, without BLAS: for so little its threads would wait for each other."""
    normal, right, terms = np.zeros((10, 10)), np.zeros((10, 2)), np.empty(10)
    for k in range(len(at)):
        x, y = at[k, 0], at[k, 1]
        terms[:] = (1.0, x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3)
        for i in range(10):
            for j in range(i + 1):
                normal[i, j] += terms[i] * terms[j]
            for c in range(2):
                right[i, c] += terms[i] * places[k, c]
    for i in range(10):  # Cholesky's factor takes the lower half's place
        for j in range(i + 1):
            total = normal[i, j]
            for k in range(j):
                total -= normal[i, k] * normal[j, k]
            normal[i, j] = total / normal[j, j] if i > j else np.sqrt(max(total, LEAST_TERM))
    for c in range(2):
        for i in range(10):
            for k in range(i):
                right[i, c] -= normal[i, k] * right[k, c]
            right[i, c] /= normal[i, i]
        for i in range(9, -1, -1):
            for k in range(i + 1, 10):
                right[i, c] -= normal[k, i] * right[k, c]
            right[i, c] /= normal[i, i]
            coefficients[c, i] = right[i, c]


@compiled(boundscheck=False, fastmath=True)
def soft(colors):  # type: ignore[no-untyped-def]
    """Colours [R, C, 4] of which some go to the cells beside, across and down."""
    rows, columns = colors.shape[0], colors.shape[1]
    own, wide, out = np.float32(1 - 2 * SOFT), np.empty_like(colors), np.empty_like(colors)
    for i in range(rows):
        for j in range(columns):
            for c in range(4):
                beside = colors[i, max(j - 1, 0), c] + colors[i, min(j + 1, columns - 1), c]
                wide[i, j, c] = own * colors[i, j, c] + np.float32(SOFT) * beside
    for i in range(rows):
        for j in range(columns):
            for c in range(4):
                beside = wide[max(i - 1, 0), j, c] + wide[min(i + 1, rows - 1), j, c]
                out[i, j, c] = own * wide[i, j, c] + np.float32(SOFT) * beside
    return out


@compiled(boundscheck=False)
def _shrink(colors, cells, corner, ratio, small):  # type: ignore[no-untyped-def]
    """Add to small [r, c, 4], of zeros, the means of those colours [R, C, 4] whose cells lie in its pixels.

    cells (left, top, step) px of the picture; small begins at `corner` of the drawing; ratio as of a `MouthDetail`.
    """
    left, top, step = cells
    count = np.zeros(small.shape[:2], np.float32)
    for i in range(colors.shape[0]):
        y = int((top + (i + 0.5) * step - ratio[1, 1]) / ratio[0, 1]) - corner[1]
        for j in range(colors.shape[1]):
            x = int((left + (j + 0.5) * step - ratio[1, 0]) / ratio[0, 0]) - corner[0]
            if 0 <= y < small.shape[0] and 0 <= x < small.shape[1]:
                count[y, x] += np.float32(1)
                for c in range(4):
                    small[y, x, c] += colors[i, j, c]
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            for c in range(4):
                small[y, x, c] /= max(count[y, x], np.float32(1))
