"""Gaussian splatting on the CPU: projection, sorting, tiles and blending, forward and backward.

The two inner loops are explicit vector instructions: a strip is LANES neighbouring columns of one tile, a call adds one
Gaussian to the rows of one strip.

A projected Gaussian is a row of 16 floats: u, v, a, b, c, log2 opacity, red, green, blue, z, x0, x1, y0, y1, -, -;
its exponent in base 2 at (dx, dy) from (u, v) is l - a dx² - b dx dy - c dy². Where splats carry a place of the photo,
1 stands for z in those that have one, and the last two floats are how far it lies from (u, v), px.

Results do not depend on the number of threads: a pixel is blended by one thread, and each Gaussian adds the gradients
of its tiles in one order.
"""

# ruff: noqa: ARG001 (an intrinsic names its arguments only so that numba can count them)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils

from mggdub.compiled import compiled
from mggdub.renderer.lanes import (
    I32,
    I64,
    LANES,
    MATH,
    VI,
    F,
    Lanes,
    V,
    any_lane,
    array_data,
    intrinsic,
    prefetch,
    store,
    transposed,
)

# gsplat 1.5.3's constants.
BLUR = 0.3  # px², added to the diagonal of the 2-D covariance
ALPHA_MAX = 0.999
ALPHA_MIN = 1 / 255  # weaker contributions are skipped
TRANSMITTANCE_MIN = 1e-4  # a pixel ends before the Gaussian that would take it there
CLOSED = 1 / 255  # of light that passes: where places are drawn, what leaves less takes it all, and the pixel ends
NEAR = 0.01
CLAMP = 0.15  # of the picture's size: how far outside of it the projection is still linearised where it is
GROUP, PART = 16, 512  # Gaussians that are projected at once, and by one thread in a row
TILE, CELL = 32, LANES  # px; where all of a cell has ended, a tile's Gaussians are passed over
AHEAD = 12  # Gaussians that are fetched before they are needed
FIRST_COLUMN = sum(1 << row * (TILE // CELL) for row in range(TILE // CELL))  # the bits of `_open_cells` there
ROW = 16  # floats of a projected Gaussian
PITCH = TILE + LANES  # a strip may overhang its tile
BACKWARD_CHANNELS = 7  # transmittance, what is behind, the gradients of red, green, blue, depth, alpha
FLAT_CHANNELS, DEEP_CHANNELS, PLACED_CHANNELS = 4, 5, 8  # transmittance, colours; z; or whether, where, and its square
SUMS = 10  # of dp · (1, dx, dy, dx², dx dy, dy²), red, green, blue, z
_LOG2_ALPHA_MIN = float(np.log2(ALPHA_MIN))
_LN2 = np.float32(np.log(2.0))
f4 = np.float32


def _kernel(parallel: bool) -> Callable[[Any], Any]:
    """A compiled function."""
    options: dict[str, Any] = {"parallel": parallel, "fastmath": set(MATH), "error_model": "numpy"}

    return compiled(**options)


def _exp2(builder: Any, power: Lanes) -> Lanes:
    """2 ** power for power of -20 and more, within 3e-7 of itself: the whole part goes into the exponent's bits."""
    whole = builder.fptosi((power - 0.5).value, VI)  # towards zero, so to the nearest below zero
    fraction = power - Lanes(builder, builder.sitofp(whole, V))
    value = fraction * 0.00132765 + 0.00967554  # minimax of the relative error on -0.5..0.5
    for factor in (0.05550713, 0.2402212, 0.69314697, 1.00000007):
        value = value * fraction + factor
    shifted = builder.shl(whole, ir.Constant(VI, [23] * LANES))
    return Lanes(builder, builder.bitcast(builder.add(builder.bitcast(value.value, VI), shifted), V))


def _log2(x: Lanes) -> Lanes:
    """Of normal positive numbers, within 5e-7; what else there is gives something finite."""
    builder, kind = x.builder, x.value.type
    whole = ir.VectorType(I32, kind.count)

    def all_lanes(value: int) -> Any:
        return ir.Constant(whole, [value] * kind.count)

    bits = builder.bitcast(x.value, whole)
    exponent = builder.sub(builder.ashr(bits, all_lanes(23)), all_lanes(127))
    fraction = builder.or_(builder.and_(bits, all_lanes(0x7FFFFF)), all_lanes(0x3F800000))
    part = Lanes(builder, builder.bitcast(fraction, kind))  # 1..2
    large = part.compare(">", 2**0.5)
    one = Lanes(builder, ir.Constant(kind, [1.0] * kind.count)).where(large)
    part = (part * 0.5).where(large, part)
    t = (part - 1.0) / (part + 1.0)
    square = t * t
    series = square * 0.32059890 + 0.41219858  # 2 / ln 2 artanh t
    for factor in (0.57707802, 0.96179669, 2.88539008):
        series = series * square + factor
    return Lanes(builder, builder.sitofp(exponent, kind)) + one + series * t


class _Strip:
    """What both loops share: the Gaussian's coefficients in every lane and the walk down the rows.

    Arguments of an intrinsic: the tile's buffer [(row * channels + channel) * PITCH + column] and its offset, channels,
    first and last row, column, dx and dy of the first pixel, width in columns, the Gaussians and the row's offset.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder

        def data(index: int, offset: Any) -> Any:
            return builder.gep(array_data(context, builder, signature, arguments, index), [offset])

        self.data = data
        self.tile, self.gaussian = data(0, arguments[1]), data(9, arguments[10])
        channels, self.first, self.last, self.column, dx, dy, width = arguments[2:9]
        self.row_pitch = builder.mul(channels, ir.Constant(I64, PITCH))
        lane = Lanes(builder, ir.Constant(V, [float(i) for i in range(LANES)]))
        self.dx = lane + Lanes.of(builder, dx)
        self.inside = lane.compare("<", Lanes.of(builder, width))
        a, self.b, self.c, opacity, *self.color = (self.coefficient(index) for index in range(2, 10))
        self.constant = opacity - a * self.dx * self.dx
        self.linear = self.b * self.dx
        self._dy = cgutils.alloca_once(builder, F)
        builder.store(dy, self._dy)

    def coefficient(self, index: int) -> Lanes:
        """One float of the Gaussian in every lane."""
        pointer = self.builder.gep(self.gaussian, [ir.Constant(I64, index)])
        return Lanes.of(self.builder, self.builder.load(pointer))

    def rows(self) -> Any:
        return cgutils.for_range_slice(self.builder, self.first, self.last, ir.Constant(I64, 1))

    def start_row(self, row: Any) -> tuple[Lanes, Any]:
        """(transmittance, mask of the lanes that are open); the next row is one further down."""
        builder = self.builder
        scalar = builder.load(self._dy)
        builder.store(builder.fadd(scalar, ir.Constant(F, 1.0)), self._dy)
        self.dy = Lanes.of(builder, scalar)
        self.place = builder.add(builder.mul(row, self.row_pitch), self.column)
        transmittance = Lanes.load(builder, self.channel(0))
        return transmittance, builder.and_(self.inside, transmittance.compare(">", 0.0))

    def reaches(self, open_: Any) -> tuple[Lanes, Any]:
        """(exponent, mask of the open lanes that are touched)."""
        builder = self.builder
        power = self.constant - self.dy * (self.c * self.dy + self.linear)
        mask = builder.and_(open_, power.compare(">=", _LOG2_ALPHA_MIN))
        return power, mask

    def channel(self, index: int) -> Any:
        return self.builder.gep(self.tile, [self.builder.add(self.place, ir.Constant(I64, index * PITCH))])

    def any(self, mask: Any) -> Any:
        return self.builder.if_then(any_lane(self.builder, mask), likely=True)

    def pass_through(self, transmittance: Lanes, alpha: Lanes, mask: Any) -> tuple[Lanes, Any]:
        """(weight, mask of lanes blended); stores the new transmittance, negative where a pixel has just ended."""
        builder = self.builder
        weight = alpha * transmittance
        rest = transmittance - weight
        open_ = rest.compare(">", TRANSMITTANCE_MIN)
        ended = (transmittance * -1.0).where(mask, transmittance)
        store(builder, rest.where(builder.and_(mask, open_), ended), self.channel(0))
        blended = builder.and_(mask, open_)
        return weight.where(blended), blended

    def close(self, transmittance: Lanes, alpha: Lanes, mask: Any) -> Lanes:
        """The weight; stores the new transmittance, 0 where a pixel is CLOSED."""
        rest = transmittance - alpha * transmittance
        rest = rest.where(rest.compare(">", CLOSED)).where(mask, transmittance)
        store(self.builder, rest, self.channel(0))
        return transmittance - rest


def _signature(buffer: Any, gaussians: Any, *more: Any) -> Any:
    whole, real = types.int64, types.float32
    return types.void(buffer, *[whole] * 5, *[real] * 3, gaussians, whole, *more)


@intrinsic
def _add_strip(context, buffer, at, channels, first, last, column, dx, dy, width, gaussians, row):  # type: ignore[no-untyped-def]
    """Blend one Gaussian into the rows of one strip, into as many channels as there are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        strip = _Strip(context, builder, signature, arguments)

        def walk(colors: list[Lanes]) -> None:
            placed = len(colors) == PLACED_CHANNELS - 1
            with strip.rows() as (y, _):
                transmittance, open_ = strip.start_row(y)
                with strip.any(open_):
                    power, mask = strip.reaches(open_)
                    alpha = _exp2(builder, power.maximum(-20.0)).minimum(ALPHA_MAX)
                    if placed:
                        weight = strip.close(transmittance, alpha, mask)
                    else:
                        weight, _ = strip.pass_through(transmittance, alpha, mask)
                    for index, color in enumerate(colors):
                        pointer = strip.channel(index + 1)
                        store(builder, Lanes.load(builder, pointer) + weight * color, pointer)

        def has(channels: int) -> Any:
            return builder.icmp_signed("==", arguments[2], ir.Constant(I64, channels))

        with builder.if_else(has(PLACED_CHANNELS)) as (placed, other):
            with placed:
                right, down = (strip.coefficient(index) for index in (14, 15))
                walk([*strip.color, right, down, right * right + down * down])
            with other, builder.if_else(has(DEEP_CHANNELS)) as (deep, flat):
                with deep:
                    walk(strip.color)
                with flat:
                    walk(strip.color[:3])
        return context.get_dummy_value()

    return _signature(buffer, gaussians), generate


@intrinsic
def _gather_strip(context, buffer, at, channels, first, last, column, dx, dy, width, gaussians, row, sums, sums_at):  # type: ignore[no-untyped-def]
    """Add one Gaussian's gradients over one strip to sums [SUMS * LANES]; walks front to back as the forward did.

    With g the gradient of what the Gaussian adds, the gradient of its alpha is T g - (what is behind) / (1 - alpha).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        strip = _Strip(context, builder, signature, arguments)
        base = strip.data(11, arguments[12])
        totals = [cgutils.alloca_once(builder, V) for _ in range(7)]
        for total in totals:
            builder.store(ir.Constant(V, [0.0] * LANES), total)

        def add(total: Any, value: Lanes) -> None:
            builder.store((Lanes(builder, builder.load(total)) + value).value, total)

        with strip.rows() as (y, _):
            transmittance, open_ = strip.start_row(y)
            power, mask = strip.reaches(open_)
            with strip.any(mask):
                raw = _exp2(builder, power.maximum(-20.0))
                alpha = raw.minimum(ALPHA_MAX)
                weight, blended = strip.pass_through(transmittance, alpha, mask)
                incoming = [Lanes.load(builder, strip.channel(index)) for index in range(2, 7)]
                gradient = incoming[4]
                for color, into in zip(strip.color, incoming[:4], strict=True):
                    gradient = gradient + color * into
                for total, into in zip(totals[3:], incoming[:4], strict=True):
                    add(total, weight * into)
                behind = Lanes.load(builder, strip.channel(1)) - weight * gradient
                store(builder, behind, strip.channel(1))
                of_alpha = transmittance * gradient - behind / (Lanes(builder, ir.Constant(V, [1.0] * LANES)) - alpha)
                free = builder.and_(blended, raw.compare("<", ALPHA_MAX))
                of_power = (of_alpha * alpha).where(free)
                tilted = of_power * strip.dy
                for total, value in zip(totals, (of_power, tilted, tilted * strip.dy), strict=False):
                    add(total, value)
        s0, s1, s2, *colors = (Lanes(builder, builder.load(total)) for total in totals)
        dx = strip.dx
        for index, value in enumerate((s0, s0 * dx, s1, s0 * dx * dx, s1 * dx, s2, *colors)):
            pointer = builder.gep(base, [ir.Constant(I64, index * LANES)])
            store(builder, Lanes.load(builder, pointer) + value, pointer)
        return context.get_dummy_value()

    return _signature(buffer, gaussians, sums, types.int64), generate


@intrinsic
def _open_cells(context, buffer, at, pitch):  # type: ignore[no-untyped-def]
    """A bit for each square of CELL px of a tile, row by row: whether a pixel has not ended."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.gep(array_data(context, builder, signature, arguments, 0), [arguments[1]])
        found = ir.Constant(I64, 0)
        for cell in range((TILE // CELL) ** 2):
            opened = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0] * LANES)
            for row in range(CELL):
                down = builder.mul(arguments[2], ir.Constant(I64, cell // (TILE // CELL) * CELL + row))
                offset = builder.add(down, ir.Constant(I64, cell % (TILE // CELL) * CELL))
                opened = builder.or_(opened, Lanes.load(builder, builder.gep(start, [offset])).compare(">", 0.0))
            bit = builder.zext(any_lane(builder, opened), I64)
            found = builder.or_(found, builder.shl(bit, ir.Constant(I64, cell)))
        return found

    return types.int64(buffer, types.int64, types.int64), generate


@intrinsic
def _put_pixels(context, buffer, at, flat, to):  # type: ignore[no-untyped-def]
    """Write LANES pixels of a tile of PLACED_CHANNELS, as many, to a flat picture: what is summed up, and alpha."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (
            builder.gep(array_data(context, builder, signature, arguments, k), [arguments[k + 1]]) for k in (0, 2)
        )
        planes = [
            Lanes.load(builder, builder.gep(source, [ir.Constant(I64, k * PITCH)])) for k in range(PLACED_CHANNELS)
        ]
        alpha = planes[0].function("fabs") * -1.0 + 1.0
        pixels = transposed(builder, [plane.value for plane in (*planes[1:], alpha)])
        for k, pixel in enumerate(pixels):
            store(builder, Lanes(builder, pixel), builder.gep(target, [ir.Constant(I64, k * PLACED_CHANNELS)]))
        return context.get_dummy_value()

    return types.void(buffer, types.int64, flat, types.int64), generate


@intrinsic
def _prefetch(context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of array[index] ahead of its use."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        prefetch(builder, builder.gep(array_data(context, builder, signature, arguments, 0), [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@_kernel(parallel=False)
def _rotation(quats: Any, i: Any) -> Any:
    """Rows of the rotation of a quaternion of any length, then the quaternion normalised and 1 / its length."""
    w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
    n = f4(1) / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z, two, one = w * n, x * n, y * n, z * n, f4(2), f4(1)
    first = (one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y))
    second = (two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x))
    third = (two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y))
    return first, second, third, (w, x, y, z), n


@_kernel(parallel=False)
def _view(means: Any, i: Any, c: Any, width: Any, height: Any) -> Any:
    """Camera z, x/z and y/z as they are and as linearised, and the 2x3 Jacobian of the projection from head space."""
    mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
    X = c[4] * mx + c[5] * my + c[6] * mz + c[13]
    Y = c[7] * mx + c[8] * my + c[9] * mz + c[14]
    Z = c[10] * mx + c[11] * my + c[12] * mz + c[15]
    iz = f4(1) / Z
    tx, ty = X * iz, Y * iz
    w, h = f4(width), f4(height)
    cx = min(max(tx, -(c[2] + f4(CLAMP) * w) / c[0]), (w - c[2] + f4(CLAMP) * w) / c[0])
    cy = min(max(ty, -(c[3] + f4(CLAMP) * h) / c[1]), (h - c[3] + f4(CLAMP) * h) / c[1])
    jx, jy = c[0] * iz, c[1] * iz
    jxz, jyz = -jx * cx, -jy * cy
    across = (jx * c[4] + jxz * c[10], jx * c[5] + jxz * c[11], jx * c[6] + jxz * c[12])
    down = (jy * c[7] + jyz * c[10], jy * c[8] + jyz * c[11], jy * c[9] + jyz * c[12])
    return Z, iz, (tx, ty), (cx, cy), (jx, jy, jxz, jyz), across, down


@_kernel(parallel=False)
def _times(row: Any, first: Any, second: Any, third: Any) -> Any:
    """A row vector times a 3x3 matrix of rows."""
    a, b, c = row
    return (
        a * first[0] + b * second[0] + c * third[0],
        a * first[1] + b * second[1] + c * third[1],
        a * first[2] + b * second[2] + c * third[2],
    )


class _Projection:
    """A group of Gaussians, a lane each, to the picture: the formulas of `_rotation` and `_view`, and what follows."""

    def __init__(self, inputs: list[Lanes], camera: list[Lanes], size: list[Lanes]) -> None:
        *self.mean, self.w, self.x, self.y, self.z = inputs[:7]
        self.scales, self.opacity, self.camera, self.size = inputs[7:10], inputs[10], camera, size

    def rows(self) -> list[Lanes]:
        """u, v, a, b, c, log2 opacity, x0, x1, y0, y1, and z of what is drawn, else -1."""
        depth, center, across, down = self._view()
        (a, b), strength = (self._spread(row) for row in (across, down)), _log2(self.opacity)
        c00, c01, c11 = (_dot(*pair) + more for pair, more in (((a, a), BLUR), ((a, b), 0.0), ((b, b), BLUR)))
        inverse = (c00 * c11 - c01 * c01).inverse() * (1 / float(_LN2))
        reach = (strength - _LOG2_ALPHA_MIN).maximum(0.0) * (2 * float(_LN2))  # squared, in standard deviations
        drawn, edges = depth.compare(">=", NEAR), list[Lanes]()
        for at, spread, size in zip(center, (c00, c11), self.size, strict=True):
            radius = (reach * spread).function("sqrt")
            first = (at - radius - 0.5).function("ceil").maximum(0.0)
            last = ((at + radius - 0.5).function("floor") + 1.0).minimum(size)
            drawn = self.opacity.builder.and_(drawn, first.compare("<", last))
            edges += [first, last]
        drawn = self.opacity.builder.and_(drawn, self.opacity.compare(">=", ALPHA_MIN))
        return [*center, c11 * inverse * 0.5, c01 * inverse * -1.0, c00 * inverse * 0.5, strength, *edges,
                depth.where(drawn, -1.0)]  # fmt: skip

    def _view(self) -> tuple[Lanes, list[Lanes], list[Lanes], list[Lanes]]:
        """Camera z, the centre [2], and how it moves across and down [3] with the mean."""
        c = self.camera
        X, Y, Z = (_dot(self.mean, c[4 + 3 * k : 7 + 3 * k]) + c[13 + k] for k in range(3))
        iz = Z.inverse()
        found, rows = [], []
        for axis, along in enumerate((X, Y)):
            focal, middle, size, t = c[axis], c[2 + axis], self.size[axis], along * iz
            least, most = (middle + size * CLAMP) * -1.0, size - middle + size * CLAMP
            clamped = t.maximum(least / focal).minimum(most / focal)
            j = focal * iz
            beyond = j * clamped * -1.0
            rows.append([j * c[4 + 3 * axis + k] + beyond * c[10 + k] for k in range(3)])
            found.append(focal * t + middle)
        return Z, found, rows[0], rows[1]

    def _spread(self, row: list[Lanes]) -> list[Lanes]:
        """A row of `_view` times the rotation and the scales."""
        w, x, y, z = self.w, self.x, self.y, self.z
        n = (w * w + x * x + y * y + z * z).function("sqrt").inverse()
        w, x, y, z = (part * n for part in (w, x, y, z))
        columns = (
            ((y * y + z * z) * -2.0 + 1.0, (x * y + w * z) * 2.0, (x * z - w * y) * 2.0),
            ((x * y - w * z) * 2.0, (x * x + z * z) * -2.0 + 1.0, (y * z + w * x) * 2.0),
            ((x * z + w * y) * 2.0, (y * z - w * x) * 2.0, (x * x + y * y) * -2.0 + 1.0),
        )
        return [_dot(row, column) * scale for column, scale in zip(columns, self.scales, strict=True)]


def _dot(first: Any, second: Any) -> Lanes:
    (a, b, c), (d, e, f) = first, second
    return a * d + b * e + c * f


@intrinsic
def _project_group(context, lanes, camera, width, height):  # type: ignore[no-untyped-def]
    """Replace rows of lanes [11, GROUP]: means, quaternions, scales, opacities, by those of `_Projection.rows`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        group, given = (array_data(context, builder, signature, arguments, k) for k in (0, 1))
        rows = [builder.gep(group, [ir.Constant(I64, row * GROUP)]) for row in range(11)]
        inputs = [Lanes.load(builder, row, GROUP) for row in rows]
        numbers = [builder.load(builder.gep(given, [ir.Constant(I64, k)])) for k in range(16)]
        numbers, size = ([Lanes.of(builder, x, GROUP) for x in scalars] for scalars in (numbers, arguments[2:4]))
        for row, value in zip(rows, _Projection(inputs, numbers, size).rows(), strict=True):
            store(builder, value, row)
        return context.get_dummy_value()

    return types.void(lanes, camera, types.float32, types.float32), generate


@_kernel(parallel=True)
def project(  # type: ignore[no-untyped-def]
    means, quats, scales, opacities, colors, places, camera, width, height, rows, spans, keys
):
    """Fill rows [N * ROW], spans [N, 4] int16 and keys [N]: camera z, or -1 for what is not drawn (behind, outside,
    faint, not finite). Spans are first and end of the tiles it lies in, across and down; those of what is not drawn
    stay as they were.

    places [N, 2] px of the photo as it is drawn, NaN where a splat has none; [0, 2] if nothing carries any.
    """
    count = means.shape[0]
    for part in prange((count + PART - 1) // PART):
        lanes = np.empty((11, GROUP), np.float32)
        for first in range(part * PART, min(part * PART + PART, count), GROUP):
            last = min(first + GROUP, count)
            _gather_group(means, quats, scales, opacities, first, last, lanes)
            _project_group(lanes, camera, f4(width), f4(height))
            _scatter_group(lanes, colors, places, first, last, rows, spans, keys)


@_kernel(parallel=False)
def _gather_group(means, quats, scales, opacities, first, last, lanes):  # type: ignore[no-untyped-def]
    """Gaussians `first` to `last` for `_project_group`; the last one repeated."""
    for lane in range(GROUP):
        i = min(first + lane, last - 1)
        for k in range(3):
            lanes[k, lane], lanes[7 + k, lane] = means[i, k], scales[i, k]
        for k in range(4):
            lanes[3 + k, lane] = quats[i, k]
        lanes[10, lane] = opacities[i]


@_kernel(parallel=False)
def _scatter_group(lanes, colors, places, first, last, rows, spans, keys):  # type: ignore[no-untyped-def]
    """What `_project_group` made of Gaussians `first` to `last`, as their rows, spans and keys."""
    placed, one, zero = places.shape[0] > 0, f4(1), f4(0)
    for i in range(first, last):
        lane, g = i - first, np.int64(i) * ROW
        u, v, depth = lanes[0, lane], lanes[1, lane], lanes[10, lane]
        finite = abs(depth)
        for k in range(6):
            rows[g + k] = lanes[k, lane]
            finite += abs(lanes[k, lane])
        for k in range(3):
            rows[g + 6 + k] = colors[i, k]
            finite += abs(colors[i, k])
        for k in range(4):
            rows[g + 10 + k] = lanes[6 + k, lane]
        rows[g + 9] = depth
        if placed:
            right, down = places[i, 0] - u, places[i, 1] - v
            has = right == right and down == down
            rows[g + 9] = one if has else zero
            rows[g + 14], rows[g + 15] = right if has else zero, down if has else zero
        keys[i] = depth if finite < f4(1e30) else f4(-1)
        if keys[i] > 0:
            for k in range(0, 4, 2):
                spans[i, k] = np.int64(lanes[6 + k, lane]) // TILE
                spans[i, k + 1] = (np.int64(lanes[7 + k, lane]) - 1) // TILE + 1


@_kernel(parallel=False)
def sort_by_depth(keys, order):  # type: ignore[no-untyped-def]
    """Fill the front of order [N] with what is drawn, near to far, equal depths by index; returns how many.

    A radix sort of the bits: positive floats order as their bits do, and a head spans few of them.
    """
    count = keys.shape[0]
    bits = keys.view(np.uint32)
    low, high, drawn = np.uint32(0xFFFFFFFF), np.uint32(0), 0
    for i in range(count):
        if keys[i] > 0:
            low, high, drawn = min(low, bits[i]), max(high, bits[i]), drawn + 1
    digits = np.empty(drawn, np.uint32)
    swap_digits, swap = np.empty(drawn, np.uint32), np.empty(drawn, np.int32)
    starts = np.zeros((3, 2048), np.int64)
    mask, k = np.uint32(2047), 0
    for i in range(count):
        if keys[i] > 0:
            value = bits[i] - low
            digits[k], order[k] = value, i
            for p in range(3):
                starts[p, (value >> np.uint32(11 * p)) & mask] += 1
            k += 1
    shift, p = np.uint32(0), 0
    while p < 3 and drawn > 0 and (high - low) >> shift != 0:
        total = 0
        for d in range(2048):
            here = starts[p, d]
            starts[p, d] = total
            total += here
        for j in range(drawn):
            d = (digits[j] >> shift) & mask
            at = starts[p, d]
            starts[p, d] = at + 1
            swap_digits[at], swap[at] = digits[j], order[j]
        digits, swap_digits = swap_digits, digits
        order[:drawn] = swap
        shift, p = shift + np.uint32(11), p + 1
    return drawn


@_kernel(parallel=True)
def bin_tiles(spans, order, drawn, across, down, ends, threads):  # type: ignore[no-untyped-def]
    """The Gaussians of each tile from near to far, tile by tile; ends [tiles + 1] parts the list."""
    tiles = across * down
    counts = np.zeros(threads * tiles, np.int32)
    for t in prange(threads):
        for j in range(drawn * t // threads, drawn * (t + 1) // threads):
            x0, x1, y0, y1 = spans[order[j]]
            for y in range(y0, y1):
                for x in range(x0, x1):
                    counts[t * tiles + y * across + x] += 1
    total = 0
    for tile in range(tiles):
        ends[tile] = total
        for t in range(threads):
            here = counts[t * tiles + tile]
            counts[t * tiles + tile] = total
            total += here
    ends[tiles] = total
    listed = np.empty(total, np.int32)
    for t in prange(threads):
        for j in range(drawn * t // threads, drawn * (t + 1) // threads):
            i = order[j]
            x0, x1, y0, y1 = spans[i]
            for y in range(y0, y1):
                for x in range(x0, x1):
                    slot = t * tiles + y * across + x
                    listed[counts[slot]] = i
                    counts[slot] += 1
    return listed


@_kernel(parallel=False)
def _first_open(buffer: Any, base: Any, pitch: Any, y: Any, rows: Any, columns: Any) -> Any:
    """The first row from y on with a pixel that has not ended, or -1; open rows end from the top, so y only grows."""
    while y < rows:
        for x in range(columns):
            if buffer[base + y * pitch + x] > 0:
                return y
        y += 1
    return np.int64(-1)


@_kernel(parallel=False)
def _covered_cells(x0: Any, x1: Any, y0: Any, y1: Any) -> Any:
    """The bits of `_open_cells` of a rectangle of pixels of a tile; ends are exclusive."""
    side = np.int64(TILE // CELL)
    across = (np.int64(2) << (x1 - 1) // CELL) - (np.int64(1) << x0 // CELL)
    first_column = (np.int64(2) << (y1 - 1) // CELL * side) - (np.int64(1) << y0 // CELL * side) & FIRST_COLUMN
    return across * first_column


@_kernel(parallel=True)
def blend(rows, listed, ends, across, width, height, drawn, threads):  # type: ignore[no-untyped-def]
    """Fill drawn [H, W, C] for C of *_CHANNELS: what is summed up, and in the last channel alpha."""
    channels = np.int64(drawn.shape[2])
    pitch, size = channels * PITCH, TILE * channels * PITCH
    buffers, flat = np.empty(threads * size, np.float32), drawn.reshape(-1)
    for tile in prange(ends.shape[0] - 1):
        left, top = (tile % across) * TILE, (tile // across) * TILE
        tall, wide = min(TILE, height - top), min(TILE, width - left)
        base = np.int64(numba.get_thread_id()) * size
        for i in range(size):
            buffers[base + i] = 0
        for y in range(tall):
            for x in range(wide):
                buffers[base + y * pitch + x] = 1
        begin, end, cells = ends[tile], ends[tile + 1], np.int64(-1)
        for k in range(begin, end):
            if (k - begin) & 31 == 31:
                cells = _open_cells(buffers, base, pitch)
                if cells == 0:
                    break
            if k + AHEAD < end:
                _prefetch(rows, np.int64(listed[k + AHEAD]) * ROW)
            g = np.int64(listed[k]) * ROW
            x, x1 = max(np.int64(rows[g + 10]) - left, 0), min(np.int64(rows[g + 11]) - left, TILE)
            y0, y1 = max(np.int64(rows[g + 12]) - top, 0), min(np.int64(rows[g + 13]) - top, TILE)
            if cells & _covered_cells(x, x1, y0, y1) == 0:
                continue
            dy = f4(top + y0) + f4(0.5) - rows[g + 1]
            while x < x1:
                dx = f4(left + x) + f4(0.5) - rows[g]
                _add_strip(buffers, base, channels, y0, y1, x, dx, dy, f4(x1 - x), rows, g)
                x += LANES
        for y in range(tall):
            at, column = base + y * pitch, 0
            if channels == PLACED_CHANNELS:
                while column + LANES <= wide:
                    _put_pixels(buffers, at + column, flat, ((top + y) * width + left + column) * channels)
                    column += LANES
            for x in range(column, wide):
                for k in range(1, channels):
                    drawn[top + y, left + x, k - 1] = buffers[at + k * PITCH + x]
                drawn[top + y, left + x, channels - 1] = f4(1) - abs(buffers[at + x])


@_kernel(parallel=True)
def blend_backward(  # type: ignore[no-untyped-def]
    rows,
    listed,
    ends,
    across,
    width,
    height,
    colors,
    alphas,
    depths,
    of_colors,
    of_alphas,
    of_depths,
    slots,
    threads,
):
    """Fill slots [len(listed), SUMS]: what each tile says of each of its Gaussians."""
    pitch, size = BACKWARD_CHANNELS * PITCH, TILE * BACKWARD_CHANNELS * PITCH
    buffers = np.empty(threads * size, np.float32)
    totals = np.empty(threads * SUMS * LANES, np.float32)
    for tile in prange(ends.shape[0] - 1):
        left, top = (tile % across) * TILE, (tile // across) * TILE
        tall, wide = min(TILE, height - top), min(TILE, width - left)
        base, sums = np.int64(numba.get_thread_id()) * size, np.int64(numba.get_thread_id()) * SUMS * LANES
        for k in range(size):
            buffers[base + k] = 0
        for y in range(tall):
            for x in range(wide):
                i, py, px = base + y * pitch + x, top + y, left + x
                behind = depths[py, px] * of_depths[py, px] + alphas[py, px] * of_alphas[py, px]
                for k in range(3):
                    behind += colors[py, px, k] * of_colors[py, px, k]
                    buffers[i + (k + 2) * PITCH] = of_colors[py, px, k]
                buffers[i], buffers[i + PITCH] = 1, behind
                buffers[i + 5 * PITCH], buffers[i + 6 * PITCH] = of_depths[py, px], of_alphas[py, px]
        begin, end, open_row = ends[tile], ends[tile + 1], np.int64(0)
        for k in range(begin, end):
            if (k - begin) & 63 == 63 and open_row >= 0:
                open_row = _first_open(buffers, base, pitch, open_row, tall, wide)
            if open_row < 0:
                slots[k, :] = 0
                continue
            g = np.int64(listed[k]) * ROW
            x, x1 = max(np.int64(rows[g + 10]) - left, 0), min(np.int64(rows[g + 11]) - left, TILE)
            y0, y1 = max(np.int64(rows[g + 12]) - top, 0), min(np.int64(rows[g + 13]) - top, TILE)
            dy = f4(top + y0) + f4(0.5) - rows[g + 1]
            for slot in range(SUMS * LANES):
                totals[sums + slot] = 0
            while x < x1:
                dx = f4(left + x) + f4(0.5) - rows[g]
                _gather_strip(buffers, base, BACKWARD_CHANNELS, y0, y1, x, dx, dy, f4(x1 - x), rows, g, totals, sums)
                x += LANES
            for s in range(SUMS):
                total = f4(0)
                for lane in range(LANES):
                    total += totals[sums + s * LANES + lane]
                slots[k, s] = total


@_kernel(parallel=True)
def project_backward(  # type: ignore[no-untyped-def]
    means, quats, scales, camera, width, height, order, rows, listed, slots,
    drawn, of_means, of_quats, of_scales, of_opacities, of_colors, moves, threads,
):  # fmt: skip
    """Sum the slots of each Gaussian in the order of its tiles and carry them to its parameters.

    To means and quaternions only if it `moves`.
    """
    two, half = f4(2), f4(0.5)
    count = means.shape[0]
    sums = np.zeros((count, SUMS), np.float32)
    for t in prange(threads):
        start, stop = count * t // threads, count * (t + 1) // threads
        for k in range(listed.shape[0]):
            if start <= listed[k] < stop:
                for s in range(SUMS):
                    sums[listed[k], s] += slots[k, s]
    seen = np.zeros(count, np.bool_)
    for j in range(drawn):
        seen[order[j]] = True
    for i in prange(count):  # as they lie in memory, not from near to far
        if not seen[i]:
            continue
        g = np.int64(i) * ROW
        p, px, py, pxx, pxy, pyy = sums[i, 0], sums[i, 1], sums[i, 2], sums[i, 3], sums[i, 4], sums[i, 5]
        A, B, C = two * rows[g + 2] * _LN2, rows[g + 3] * _LN2, two * rows[g + 4] * _LN2  # the inverse covariance
        of_u, of_v = A * px + B * py, B * px + C * py
        of_opacities[i] = p * np.exp2(-rows[g + 5])
        for k in range(3):
            of_colors[i, k] = sums[i, 6 + k]

        gA, gB, gC = -half * pxx, -half * pxy, -half * pyy  # of the inverse covariance, gB for each off-diagonal
        u0, u1, v0, v1 = A * gA + B * gB, A * gB + B * gC, B * gA + C * gB, B * gB + C * gC
        g00, g01, g11 = -(u0 * A + u1 * B), -two * (u0 * B + u1 * C), -(v0 * B + v1 * C)

        first, second, third, (w, x, y, z), n = _rotation(quats, i)
        _, iz, (tx, ty), (cx, cy), (jx, jy, jxz, jyz), across, down = _view(means, i, camera, width, height)
        a, b = _times(across, first, second, third), _times(down, first, second, third)
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        a0, a1, a2 = two * g00 * a[0] + g01 * b[0], two * g00 * a[1] + g01 * b[1], two * g00 * a[2] + g01 * b[2]
        b0, b1, b2 = two * g11 * b[0] + g01 * a[0], two * g11 * b[1] + g01 * a[1], two * g11 * b[2] + g01 * a[2]
        of_scales[i, 0] = (a0 * a[0] + b0 * b[0]) * s0
        of_scales[i, 1] = (a1 * a[1] + b1 * b[1]) * s1
        of_scales[i, 2] = (a2 * a[2] + b2 * b[2]) * s2
        if not moves:
            continue
        q0, q1, q2 = s0 * s0, s1 * s1, s2 * s2
        a0, a1, a2, b0, b1, b2 = a0 * q0, a1 * q1, a2 * q2, b0 * q0, b1 * q1, b2 * q2

        r00, r01, r02 = a0 * across[0] + b0 * down[0], a1 * across[0] + b1 * down[0], a2 * across[0] + b2 * down[0]
        r10, r11, r12 = a0 * across[1] + b0 * down[1], a1 * across[1] + b1 * down[1], a2 * across[1] + b2 * down[1]
        r20, r21, r22 = a0 * across[2] + b0 * down[2], a1 * across[2] + b1 * down[2], a2 * across[2] + b2 * down[2]
        qw = two * (x * (r21 - r12) + y * (r02 - r20) + z * (r10 - r01))
        qx = two * (w * (r21 - r12) + y * (r01 + r10) + z * (r02 + r20) - two * x * (r11 + r22))
        qy = two * (w * (r02 - r20) + x * (r01 + r10) + z * (r12 + r21) - two * y * (r00 + r22))
        qz = two * (w * (r10 - r01) + x * (r02 + r20) + y * (r12 + r21) - two * z * (r00 + r11))
        along = w * qw + x * qx + y * qy + z * qz
        of_quats[i, 0], of_quats[i, 1] = (qw - w * along) * n, (qx - x * along) * n
        of_quats[i, 2], of_quats[i, 3] = (qy - y * along) * n, (qz - z * along) * n

        h0 = first[0] * a0 + first[1] * a1 + first[2] * a2, first[0] * b0 + first[1] * b1 + first[2] * b2
        h1 = second[0] * a0 + second[1] * a1 + second[2] * a2, second[0] * b0 + second[1] * b1 + second[2] * b2
        h2 = third[0] * a0 + third[1] * a1 + third[2] * a2, third[0] * b0 + third[1] * b1 + third[2] * b2
        c = camera
        gjx = h0[0] * c[4] + h1[0] * c[5] + h2[0] * c[6]
        gjxz = h0[0] * c[10] + h1[0] * c[11] + h2[0] * c[12]
        gjy = h0[1] * c[7] + h1[1] * c[8] + h2[1] * c[9]
        gjyz = h0[1] * c[10] + h1[1] * c[11] + h2[1] * c[12]
        gx, gy = of_u * jx, of_v * jy
        gz = sums[i, 9] - gx * tx - gy * ty - (gjx * jx + gjy * jy + gjxz * jxz + gjyz * jyz) * iz
        if tx == cx:
            gx -= gjxz * jx * iz
            gz += gjxz * jx * tx * iz
        if ty == cy:
            gy -= gjyz * jy * iz
            gz += gjyz * jy * ty * iz
        for k in range(3):
            of_means[i, k] = gx * c[4 + k] + gy * c[7 + k] + gz * c[10 + k]
