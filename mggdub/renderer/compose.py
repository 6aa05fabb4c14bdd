"""From a small drawing to the picture at its full size: enlarged, detailed, laid over and converted in one pass.

A drawing is `rasterize.render_placed`'s, settled by `settle`. Its colours are enlarged by cubic convolution (Keys
1981); the photo's detail is looked up where the drawing says it was in the photo, by the same cubic, so the head is as
sharp as the photo however small it was drawn. A row is one thread's: the bytes do not depend on their number. All of
it lives in this one file for the reason that `kernels` gives: numba's cache.
"""

# ruff: noqa: ARG001 (an intrinsic names its arguments only so that numba can count them)

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending, prange, types

from mggdub.compiled import compiled

PAD = 2  # px that `padded` textures go on beyond their edges
FINEST = 64  # steps of detail within one of 255
APART = (0.5, 1.0)  # drawn px, standard deviation of places: one surface, and no longer one
MOSTLY = (0.5, 0.9)  # share of what a pixel shows that has a place: none and all of the detail
LEAST = 0.002  # of a share of motion, below which nothing moves
_F, _I32 = ir.FloatType(), ir.IntType(32)
_V8, _V16 = (ir.VectorType(_F, lanes) for lanes in (8, 16))
f4 = np.float32
_MATH: dict[str, Any] = {"boundscheck": False, "fastmath": True, "error_model": "numpy"}
intrinsic: Any = extending.intrinsic  # typed for calls from compiled code, which lack its first argument


def _kernel(parallel: bool) -> Any:
    return compiled(parallel=parallel, **_MATH)


def _lanes(builder: Any, vector: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _each(builder: Any, scalars: Any, times: int) -> Any:
    """A vector of scalars, each of them so many times."""
    vector = ir.Constant(ir.VectorType(_F, len(scalars)), ir.Undefined)
    for index, scalar in enumerate(scalars):
        vector = builder.insert_element(vector, scalar, ir.Constant(_I32, index))
    return _lanes(builder, vector, [index for index in range(len(scalars)) for _ in range(times)])


def _read(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    pointer = builder.bitcast(builder.gep(data, [offset]), ir.PointerType(kind))
    value = builder.load(pointer)
    value.align = kind.element.width // 8 if isinstance(kind.element, ir.IntType) else 4
    return value


def _fused(builder: Any, weight: Any, value: Any, total: Any) -> Any:
    added = builder.fmul(weight, value, flags=("fast",))
    return added if total is None else builder.fadd(total, added, flags=("fast",))


@intrinsic
def _taps(context, texture, offset, pitch, x0, x1, x2, x3, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    """Red, green, blue of 4 x 4 texels of a flat texture of four channels, uint8 or int16; `pitch` from row to row."""
    real, whole = types.float32, types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
        signed = signature.args[0].dtype == types.int16
        kind = ir.VectorType(ir.IntType(16 if signed else 8), 16)
        at, total = arguments[1], None
        for weight in arguments[7:11]:
            texels = _read(builder, data, at, kind)
            as_float = builder.sitofp(texels, _V16) if signed else builder.uitofp(texels, _V16)
            total = _fused(builder, _each(builder, [weight], 16), as_float, total)
            at = builder.add(at, arguments[2])
        total = builder.fmul(total, _each(builder, arguments[3:7], 4), flags=("fast",))
        for half in (8, 4):
            parts = (_lanes(builder, total, list(range(first, first + half))) for first in (0, half))
            total = builder.fadd(*parts, flags=("fast",))
        colors = [builder.extract_element(total, ir.Constant(_I32, index)) for index in range(3)]
        return context.make_tuple(builder, signature.return_type, colors)

    return types.UniTuple(real, 3)(texture, whole, whole, *[real] * 8), generate


@intrinsic
def _between(context, row, offset, x0, x1, x2, x3):  # type: ignore[no-untyped-def]
    """The eight channels of a flat row [., 8] float32 between four of its columns from `offset` on."""
    real, whole = types.float32, types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
        at, total = arguments[1], None
        for weight in arguments[2:6]:
            total = _fused(builder, _each(builder, [weight], 8), _read(builder, data, at, _V8), total)
            at = builder.add(at, ir.Constant(at.type, 8))
        values = [builder.extract_element(total, ir.Constant(_I32, index)) for index in range(8)]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(real, 8)(row, whole, *[real] * 4), generate


@_kernel(parallel=False)
def _cubic(t):  # type: ignore[no-untyped-def]
    """Weights of four neighbours at `t` 0..1 between the middle two (Catmull and Rom's)."""
    half, one, s = f4(0.5), f4(1), f4(1) - t
    return (
        -half * t * s * s,
        one + t * t * (f4(1.5) * t - f4(2.5)),
        one + s * s * (f4(1.5) * s - f4(2.5)),
        -half * s * t * t,
    )


@_kernel(parallel=True)
def settle(drawn):  # type: ignore[no-untyped-def]
    """Put into channel 6 of a drawing [h, w, 8] how much of the photo's detail a pixel takes, weighed as channel 3."""
    for y in prange(drawn.shape[0]):
        for x in range(drawn.shape[1]):
            placed, alpha = drawn[y, x, 3], drawn[y, x, 7]
            if placed < f4(1e-3):
                drawn[y, x, 6] = f4(0)
                continue
            right, down = drawn[y, x, 4] / placed, drawn[y, x, 5] / placed
            spread = np.sqrt(max(drawn[y, x, 6] / placed - right * right - down * down, f4(0)))
            one = (f4(APART[1]) - spread) / f4(APART[1] - APART[0])
            own = (placed / alpha - f4(MOSTLY[0])) / f4(MOSTLY[1] - MOSTLY[0])
            drawn[y, x, 6] = placed * min(max(one, f4(0)), f4(1)) * min(max(own, f4(0)), f4(1))


@_kernel(parallel=False)
def steps(count, cells):  # type: ignore[no-untyped-def]
    """For `count` px over `cells` cells: the cell before each [count] int64 and how far it lies beyond its middle."""
    before, beyond = np.empty(count, np.int64), np.empty(count, f4)
    for x in range(count):
        at = (x + 0.5) * cells / count - 0.5
        before[x] = np.int64(np.floor(at))
        beyond[x] = f4(at - before[x])
    return before, beyond


@_kernel(parallel=False)
def _over(y, begin, drawn, detail, box, across, low, row):  # type: ignore[no-untyped-def]
    """Put row y of the head, whose box is (left, top, width, height), into row [4, .], which starts at column `begin`.

    Red, green, blue 0..255, and how much of what is behind shows, 0..1. Returns the columns that it covers.
    """
    left, top, width, height = box
    rows, columns = drawn.shape[0], drawn.shape[1]
    if y < top or y >= top + height:
        return 0, 0
    first, last = _between_rows(y - top, height, drawn, low)
    if last < 0:
        return 0, 0
    before, beyond = across
    wide, tall = f4(width) / f4(columns), f4(height) / f4(rows)  # full px of a drawn one
    right_end, bottom_end = f4(width - 1), f4(height - 1)
    pitch = np.int64(width + 2 * PAD) * 4
    start: Any = max(0, np.int64((first - 2) * width / columns))
    end = min(width, np.int64((last + 3) * width / columns))
    for x in range(start, end):
        red, green, blue, placed, right, down, takes, alpha = _between(
            low, (before[x] + PAD - 1) * 8, *_cubic(beyond[x])
        )
        red, green, blue = red * f4(255), green * f4(255), blue * f4(255)
        if placed > f4(0.02) and takes > f4(0):
            inverse = f4(1) / placed
            px = min(max(f4(x) + right * inverse * wide, f4(0)), right_end)
            py = min(max(f4(y - top) + down * inverse * tall, f4(0)), bottom_end)
            column, line = np.int32(px), np.int32(py)
            texel = (np.int64(line) + PAD - 1) * pitch + (np.int64(column) + PAD - 1) * 4
            r, g, b = _taps(detail, texel, pitch, *_cubic(px - f4(column)), *_cubic(py - f4(line)))
            gain = min(takes * inverse, f4(1)) / f4(FINEST)
            red, green, blue = red + gain * r, green + gain * g, blue + gain * b
        to = x + left - begin
        row[0, to], row[1, to], row[2, to] = red, green, blue
        row[3, to] = f4(1) - min(max(alpha, f4(0)), f4(1))
    return start + left, end + left


@_kernel(parallel=False)
def _between_rows(y, height, drawn, low):  # type: ignore[no-untyped-def]
    """Row y of `height` between the rows of a drawing, into low [(w + 2 PAD) * 8]; the columns that show anything."""
    rows, columns = drawn.shape[0], drawn.shape[1]
    at = (y + 0.5) * rows / height - 0.5
    j = np.int64(np.floor(at))
    w0, w1, w2, w3 = _cubic(f4(at - j))
    r0, r1 = min(max(j - 1, 0), rows - 1), min(max(j, 0), rows - 1)
    r2, r3 = min(j + 1, rows - 1), min(j + 2, rows - 1)
    first, last = columns, -1
    for i in range(columns):
        to = (i + PAD) * 8
        for k in range(8):
            low[to + k] = w0 * drawn[r0, i, k] + w1 * drawn[r1, i, k] + w2 * drawn[r2, i, k] + w3 * drawn[r3, i, k]
        if low[to + 7] > f4(1e-3):
            first, last = min(first, i), i
    for p in range(PAD):
        for k in range(8):
            low[p * 8 + k] = low[PAD * 8 + k]
            low[(columns + PAD + p) * 8 + k] = low[(columns + PAD - 1) * 8 + k]
    return first, last


@_kernel(parallel=False)
def _share_row(y, height, share, line):  # type: ignore[no-untyped-def]
    """Row y of `height` between the rows of share [., .], into line; its largest."""
    rows, columns = share.shape
    at = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.001)
    above = np.int64(at)
    t, most = f4(at - above), f4(0)
    for i in range(columns):
        line[i] = share[above, i] + (share[above + 1, i] - share[above, i]) * t
        most = max(most, line[i])
    return most


@_kernel(parallel=False)
def _behind(y, begin, start, end, still, size, cells, line, sway, row):  # type: ignore[no-untyped-def]
    """Add columns `start` to `end` of row y of what is behind the head to row [4, .], where it shows.

    line [.] is the share of the motion of the row's cells, zero where nothing moves.
    """
    height, width = size
    before, beyond = cells
    pitch = np.int64(width + 2 * PAD) * 4
    a, b, left, top, right, down = sway
    right_end, bottom_end, last = f4(width - 1), f4(height - 1), line.shape[0] - 1
    dy = f4(y) + top
    for x in range(start, end):
        at = x - begin
        shows = row[3, at]
        if shows < f4(1e-3):
            continue
        cell = before[x]
        here, there = line[max(cell, 0)], line[min(cell + 1, last)]
        part = here + (there - here) * beyond[x]
        if part < f4(LEAST):
            texel = np.int64(y + PAD) * pitch + np.int64(x + PAD) * 4
            red, green, blue = f4(still[texel]), f4(still[texel + 1]), f4(still[texel + 2])
        else:
            dx = f4(x) + left
            px = min(max(f4(x) - part * (a * dx - b * dy + right), f4(0)), right_end)
            py = min(max(f4(y) - part * (b * dx + a * dy + down), f4(0)), bottom_end)
            i, j = np.int32(px), np.int32(py)
            texel = (np.int64(j) + PAD - 1) * pitch + (np.int64(i) + PAD - 1) * 4
            red, green, blue = _taps(still, texel, pitch, *_cubic(px - f4(i)), *_cubic(py - f4(j)))
        row[0, at] += shows * red
        row[1, at] += shows * green
        row[2, at] += shows * blue


@_kernel(parallel=False)
def _row(y, begin, end, still, share, sway, drawn, detail, box, size, across, cells, low, line, row):  # type: ignore[no-untyped-def]
    """Row y of the picture into row [4, .] from column `begin` on; returns the columns that may have changed."""
    span = end - begin
    for x in range(span):
        row[0, x] = row[1, x] = row[2, x] = f4(0)
        row[3, x] = f4(1)
    first, last = _over(y, begin, drawn, detail, box, across, low, row)
    line[:] = f4(0)
    moves = sway[0] != 0 or sway[1] != 0 or sway[4] != 0 or sway[5] != 0
    if moves and _share_row(y, size[0], share, line) >= f4(LEAST):
        first, last = begin, end
    _behind(y, begin, first, last, still, size, cells, line, sway, row)
    for k in range(3):
        for x in range(first - begin, last - begin):
            row[k, x] = min(max(row[k, x], f4(0)), f4(255))
    return first, last


@_kernel(parallel=True)
def compose_rgb(still, share, sway, drawn, detail, box, part, frame, threads):  # type: ignore[no-untyped-def]
    """Draw what changes in the `part` (left, top, right, bottom) of frame [H, W, 3] uint8, `still` until then.

    still [H + 2 PAD, W + 2 PAD, 4] uint8, flat; share [., .] float32 of the torso's motion in coarse cells; sway as in
    `Compositor`; drawn [h, w, 8] settled; detail [height + 2 PAD, width + 2 PAD, 4] int16, flat, of the box.
    """
    begin, top, end, bottom = part
    size = (frame.shape[0], frame.shape[1])
    across, cells = steps(box[2], drawn.shape[1]), steps(size[1], share.shape[1])
    rows, lines = np.empty((threads, 4, end - begin), f4), np.empty((threads, share.shape[1]), f4)
    lows = np.empty((threads, (drawn.shape[1] + 2 * PAD) * 8), f4)
    for y in prange(top, bottom):
        k = np.int64(numba.get_thread_id())
        row, line, low = rows[k], lines[k], lows[k]
        first, last = _row(y, begin, end, still, share, sway, drawn, detail, box, size, across, cells, low, line, row)
        for x in range(first, last):
            for c in range(3):
                frame[y, x, c] = np.uint8(row[c, x - begin] + f4(0.5))


@_kernel(parallel=True)
def compose_yuv(still, share, sway, drawn, detail, box, part, size, luma, chroma, threads):  # type: ignore[no-untyped-def]
    """Draw what changes in the `part` of luma [H', W'] and chroma [2, H' / 2, W' / 2] uint8; `compose_rgb` otherwise.

    `size` (H, W) is the picture's; H' and W' are even, what they have more repeats the edge. BT.709 in TV range;
    chroma lies between two rows at even columns, as H.264 supposes.
    """
    begin, top, end, bottom = part
    across, cells = steps(box[2], drawn.shape[1]), steps(size[1], share.shape[1])
    rows, lines = np.empty((threads, 2, 4, end - begin), f4), np.empty((threads, share.shape[1]), f4)
    lows = np.empty((threads, (drawn.shape[1] + 2 * PAD) * 8), f4)
    for pair in prange(top // 2, (bottom + 1) // 2):
        k = np.int64(numba.get_thread_id())
        both, line, low = rows[k], lines[k], lows[k]
        spans = np.empty((2, 2), np.int64)
        for i in range(2):
            y = min(2 * pair + i, size[0] - 1)
            spans[i] = _row(
                y, begin, end, still, share, sway, drawn, detail, box, size, across, cells, low, line, both[i]
            )
        first, last = _union(spans)
        if first < last:
            last = min(last + 1, end)  # chroma looks at what lies beside it
            start, stop = max(first - 1, begin), min(last + 1, end)
            for i in range(2):  # what only the other row changes is what is behind
                y = min(2 * pair + i, size[0] - 1)
                done = spans[i] if spans[i, 1] > spans[i, 0] else np.array([stop, stop])
                _behind(y, begin, start, done[0], still, size, cells, line, sway, both[i])
                _behind(y, begin, done[1], stop, still, size, cells, line, sway, both[i])
            to_yuv(both, begin, (start, stop), first, last, pair, luma, chroma)


@_kernel(parallel=False)
def _union(spans):  # type: ignore[no-untyped-def]
    """From an even column on, what either of two spans covers."""
    if spans[0, 1] <= spans[0, 0]:
        first, last = spans[1, 0], spans[1, 1]
    elif spans[1, 1] <= spans[1, 0]:
        first, last = spans[0, 0], spans[0, 1]
    else:
        first, last = min(spans[0, 0], spans[1, 0]), max(spans[0, 1], spans[1, 1])
    return first // 2 * 2, last


@_kernel(parallel=False)
def to_yuv(both, begin, known, first, last, pair, luma, chroma):  # type: ignore[no-untyped-def]
    """Two rows [2, 4, .] that start at column `begin`, as columns `first` to `last` of a pair of rows.

    `known` are the columns that may be looked at.
    """
    start, end = first - begin, last - begin
    for i in range(2):
        row, out = both[i], luma[2 * pair + i]
        for x in range(start, end):
            light = f4(0.2126) * row[0, x] + f4(0.7152) * row[1, x] + f4(0.0722) * row[2, x]
            out[x + begin] = np.uint8(f4(16.5) + f4(219 / 255) * light)
    if last == luma.shape[1] - 1:
        for i in range(2):
            luma[2 * pair + i, last] = luma[2 * pair + i, last - 1]
    for column in range(first // 2, (last + 1) // 2):
        x = 2 * column - begin
        before, after = max(x - 1, known[0] - begin), min(x + 1, known[1] - begin - 1)
        red = green = blue = f4(0)
        for i in range(2):
            row = both[i]
            red += row[0, before] + f4(2) * row[0, x] + row[0, after]
            green += row[1, before] + f4(2) * row[1, x] + row[1, after]
            blue += row[2, before] + f4(2) * row[2, x] + row[2, after]
        light = f4(0.2126) * red + f4(0.7152) * green + f4(0.0722) * blue
        chroma[0, pair, column] = np.uint8(f4(128.5) + f4(224 / 255 / 8 / 1.8556) * (blue - light))
        chroma[1, pair, column] = np.uint8(f4(128.5) + f4(224 / 255 / 8 / 1.5748) * (red - light))


@_kernel(parallel=True)
def convert_yuv(picture, luma, chroma, threads):  # type: ignore[no-untyped-def]
    """A whole picture [H, W, 3] uint8 as `compose_yuv` would write it."""
    height, width = picture.shape[0], picture.shape[1]
    rows = np.empty((threads, 2, 4, width), f4)
    for pair in prange((height + 1) // 2):
        both = rows[np.int64(numba.get_thread_id())]
        for i in range(2):
            y = min(2 * pair + i, height - 1)
            for x in range(width):
                for c in range(3):
                    both[i, c, x] = f4(picture[y, x, c])
        to_yuv(both, 0, (0, width), 0, width, pair, luma, chroma)
