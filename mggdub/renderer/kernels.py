"""Gaussian splatting on the CPU: sorting, tiles and blending of what was projected, forward and backward.

The two inner loops are explicit vector instructions: a strip is LANES neighbouring columns of one tile, a call adds one
Gaussian to the rows of one strip.

Results do not depend on the number of threads: a pixel is blended by one thread, and each Gaussian adds the gradients
of its tiles in one order.
"""

# ruff: noqa: ARG001 (an intrinsic names its arguments only so that numba can count them)

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils

from mggdub.renderer.lanes import (
    I64,
    LANES,
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
from mggdub.renderer.projection import LOG2_ALPHA_MIN, ROW, SUMS, TILE, kernel

# gsplat 1.5.3's constants, as those of `projection`.
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4  # a pixel ends before the Gaussian that would take it there
CLOSED = 1 / 255  # of light that passes: where places are drawn, what leaves less takes it all, and the pixel ends
CELL = LANES  # px; where all of a cell has ended, a tile's Gaussians are passed over
AHEAD = 12  # Gaussians that are fetched before they are needed
FIRST_COLUMN = sum(1 << row * (TILE // CELL) for row in range(TILE // CELL))  # the bits of `_open_cells` there
PITCH = TILE + LANES  # a strip may overhang its tile
BACKWARD_CHANNELS = 7  # transmittance, what is behind, the gradients of red, green, blue, depth, alpha
FLAT_CHANNELS, DEEP_CHANNELS, PLACED_CHANNELS = 4, 5, 8  # transmittance, colours; z; or whether, where, and its square
f4 = np.float32


def _exp2(builder: Any, power: Lanes) -> Lanes:
    """2 ** power for power of -20 and more, within 3e-7 of itself: the whole part goes into the exponent's bits."""
    whole = builder.fptosi((power - 0.5).value, VI)  # towards zero, so to the nearest below zero
    fraction = power - Lanes(builder, builder.sitofp(whole, V))
    value = fraction * 0.00132765 + 0.00967554  # minimax of the relative error on -0.5..0.5
    for factor in (0.05550713, 0.2402212, 0.69314697, 1.00000007):
        value = value * fraction + factor
    shifted = builder.shl(whole, ir.Constant(VI, [23] * LANES))
    return Lanes(builder, builder.bitcast(builder.add(builder.bitcast(value.value, VI), shifted), V))


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
        mask = builder.and_(open_, power.compare(">=", LOG2_ALPHA_MIN))
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


@kernel(parallel=False)
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


@kernel(parallel=True)
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


@kernel(parallel=False)
def _first_open(buffer: Any, base: Any, pitch: Any, y: Any, rows: Any, columns: Any) -> Any:
    """The first row from y on with a pixel that has not ended, or -1; open rows end from the top, so y only grows."""
    while y < rows:
        for x in range(columns):
            if buffer[base + y * pitch + x] > 0:
                return y
        y += 1
    return np.int64(-1)


@kernel(parallel=False)
def _covered_cells(x0: Any, x1: Any, y0: Any, y1: Any) -> Any:
    """The bits of `_open_cells` of a rectangle of pixels of a tile; ends are exclusive."""
    side = np.int64(TILE // CELL)
    across = (np.int64(2) << (x1 - 1) // CELL) - (np.int64(1) << x0 // CELL)
    first_column = (np.int64(2) << (y1 - 1) // CELL * side) - (np.int64(1) << y0 // CELL * side) & FIRST_COLUMN
    return across * first_column


@kernel(parallel=True)
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


@kernel(parallel=True)
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
