"""From a small drawing to the picture at its full size: enlarged, detailed, laid over and converted in one pass.

A drawing is `rasterize.render_placed`'s, settled by `settle`. Its colours are enlarged by cubic convolution (Keys
1981); the photo's detail is looked up where the drawing says it was in the photo, so the head is as sharp as the photo
however small it was drawn: by the cubic B-spline through its pixels, which between them is sharper than cubic
convolution, which serves what sways. A row is one thread's: the bytes do not depend on their number.
The loops over the pixels of a row are `blocks`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from mggdub.geometry.sampling import between
from mggdub.renderer.blocks import LEAST, PAD, behind_block, over_block
from mggdub.renderer.lanes import LANES
from mggdub.renderer.planes import row_kernel, to_yuv

APART = (0.5, 1.0)  # drawn px, standard deviation of places: one surface, and no longer one
MOSTLY = (0.5, 0.9)  # share of what a pixel shows that has a place: none and all of the detail
LIPS_LEAST, LIPS_MOST = 0.25, 64.0  # share of lips from which on their colour is told; of 255, that it is another
f4 = np.float32


@row_kernel(parallel=False)
def _cubic(t):  # type: ignore[no-untyped-def]
    """Weights of four neighbours at `t` 0..1 between the middle two (Catmull and Rom's)."""
    half, one, s = f4(0.5), f4(1), f4(1) - t
    return (
        -half * t * s * s,
        one + t * t * (f4(1.5) * t - f4(2.5)),
        one + s * s * (f4(1.5) * s - f4(2.5)),
        -half * s * t * t,
    )


@row_kernel(parallel=True)
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


@row_kernel(parallel=False)
def steps(count, cells):  # type: ignore[no-untyped-def]
    """For `count` px over `cells` cells: the cell before each int64 and how far it lies beyond its middle, float32.

    [count + LANES], the last px repeats, so that blocks may go on beyond it.
    """
    before, beyond = np.empty(count + LANES, np.int64), np.empty(count + LANES, f4)
    for x in range(count + LANES):
        at = (min(x, count - 1) + 0.5) * cells / count - 0.5
        before[x] = np.int64(np.floor(at))
        beyond[x] = f4(at - before[x])
    return before, beyond


@row_kernel(parallel=False)
def _enlarging(count, cells):  # type: ignore[no-untyped-def]
    """For columns of a head [count + LANES]: where in a row of `_between_rows` their first tap is, and the weights."""
    before, beyond = steps(count, cells)
    weights = np.empty(4 * (count + LANES), f4)
    for x in range(count + LANES):
        before[x] = (before[x] + PAD - 1) * 8
        weights[4 * x], weights[4 * x + 1], weights[4 * x + 2], weights[4 * x + 3] = _cubic(beyond[x])
    return before, weights


@row_kernel(parallel=False)
def _swaying(count, cells):  # type: ignore[no-untyped-def]
    """For columns of a picture: `steps` between cells of a line of `_sway_span`, whose first one is repeated before."""
    before, beyond = steps(count, cells)
    before += 1
    return before, beyond


@row_kernel(parallel=False)
def _over(y, first, last, begin, shape, detail, box, across, low, gone, row):  # type: ignore[no-untyped-def]
    """Put columns `first` to `last` of row y of the head into a row of `_row`, which starts at column `begin`.

    Red, green, blue 0..255, and how much of what is behind shows, 0..1. box (left, top, width, height) of a drawing
    whose shape is (rows, columns); where the detail is of the photo's own mouth, `gone` of it is not added.
    """
    left, top, width, height = box
    cells, weights = across
    span = row.shape[0] // 4
    wide, tall = f4(width) / f4(shape[1]), f4(height) / f4(shape[0])  # full px of a drawn one
    plane = (f4(y - top), wide, tall, f4(width - 1), f4(height - 1), f4(gone))
    to = first - begin + LANES
    for x in range(first - left, last - left, LANES):
        over_block(low, cells, weights, x, plane, detail, width + 2 * PAD, row, to, span)
        to += LANES
    for x in range(last - begin + LANES, to):
        row[x] = row[span + x] = row[2 * span + x] = f4(0)
        row[3 * span + x] = f4(1)


@row_kernel(parallel=False)
def _between_rows(y, height, drawn, low):  # type: ignore[no-untyped-def]
    """Row y of `height` between the rows of a drawing, into low [(w + 2 PAD) * 8]; the columns that show anything."""
    rows, columns = drawn.shape[0], drawn.shape[1]
    at = (y + 0.5) * rows / height - 0.5
    j = np.int64(np.floor(at))
    w0, w1, w2, w3 = _cubic(f4(at - j))
    r0, r1 = drawn[min(max(j - 1, 0), rows - 1)].ravel(), drawn[min(max(j, 0), rows - 1)].ravel()
    r2, r3 = drawn[min(j + 1, rows - 1)].ravel(), drawn[min(j + 2, rows - 1)].ravel()
    inner = low[PAD * 8 : (PAD + columns) * 8]
    for i in range(inner.shape[0]):
        inner[i] = w0 * r0[i] + w1 * r1[i] + w2 * r2[i] + w3 * r3[i]
    for k in range(PAD * 8):
        low[k] = inner[k % 8]
        low[(columns + PAD) * 8 + k] = inner[(columns - 1) * 8 + k % 8]
    first, last = 0, columns - 1
    while first < columns and inner[first * 8 + 7] <= f4(1e-3):
        first += 1
    while last >= first and inner[last * 8 + 7] <= f4(1e-3):
        last -= 1
    return first, last


@row_kernel(parallel=False)
def _head_span(y, drawn, box, low):  # type: ignore[no-untyped-def]
    """The columns of the picture that row y of the head covers; the row into low, as of `_between_rows`."""
    left, top, width, height = box
    if y < top or y >= top + height:
        return 0, 0
    first, last = _between_rows(y - top, height, drawn, low)
    if last < first:
        return 0, 0
    columns = drawn.shape[1]
    start: Any = max(0, np.int64((first - 2) * width / columns))
    return start + left, min(width, np.int64((last + 3) * width / columns)) + left


@row_kernel(parallel=False)
def _sway_span(y, size, share, line):  # type: ignore[no-untyped-def]
    """The columns of the picture that move in row y; the row between those of share [., n], into line [n + 2]."""
    rows, columns = share.shape
    at = min(max((y + 0.5) * rows / size[0] - 0.5, 0.0), rows - 1.001)
    above = np.int64(at)
    t, first, last = f4(at - above), 0, columns - 1
    here, below = share[above], share[above + 1]
    for i in range(columns):
        line[i + 1] = here[i] + (below[i] - here[i]) * t
    line[0], line[columns + 1] = line[1], line[columns]
    while first < columns and line[first + 1] < f4(LEAST):
        first += 1
    while last >= first and line[last + 1] < f4(LEAST):
        last -= 1
    if last < first:
        return 0, 0
    cell = size[1] / columns
    return max(0, np.int64((first - 0.5) * cell) - 1), min(size[1], np.int64((last + 1.5) * cell) + 2)


@row_kernel(parallel=False)
def _copy_behind(y, begin, start, end, still, width, row):  # type: ignore[no-untyped-def]
    """Add columns `start` to `end` of row y of what is behind the head and does not move to a row, where it shows."""
    span, first, last = row.shape[0] // 4, start - begin + LANES, end - begin + LANES
    texels = still[(np.int64(y + PAD) * np.int64(width + 2 * PAD) + np.int64(start + PAD)) * 4 :]
    red, green, blue = row[first:last], row[span + first : span + last], row[2 * span + first : 2 * span + last]
    shows = row[3 * span + first : 3 * span + last]
    for x in range(end - start):
        share = shows[x] if shows[x] >= f4(1e-3) else f4(0)
        red[x] += share * f4(texels[4 * x])
        green[x] += share * f4(texels[4 * x + 1])
        blue[x] += share * f4(texels[4 * x + 2])


@row_kernel(parallel=False)
def _behind(y, begin, start, end, still, size, cells, line, sway, row):  # type: ignore[no-untyped-def]
    """Add columns `start` to `end` of row y of what is behind the head to a row, where it shows.

    line of `_sway_span` is the share of the motion of the row's cells.
    """
    height, width = size
    span = row.shape[0] // 4
    before, beyond = cells
    a, b, left, top, right, down = sway
    away = f4(y) + top
    plane = (f4(y), a, b, left, right - b * away, down + a * away, f4(width - 1), f4(height - 1))
    pitch = width + 2 * PAD
    for x in range(start, end, LANES):
        behind_block(line, before, beyond, x, plane, still, pitch, row, x - begin + LANES, span, end)


@row_kernel(parallel=False)
def _over_mouth(y, first, last, begin, box, across, low, mouth, row):  # type: ignore[no-untyped-def]
    """Put a mouth's inside over columns `first` to `last` of row y of the head, where no splat with a place is.

    mouth (left, top, step, steep, gone, colors): px where the first cell begins, its side, how much steeper lips end
    than as drawn, how much of the photo's own mouth is gone, and the cells [R, C, 7]: red, green, blue 0..1, how much
    of them is seen, and the drawing's own red, green and blue there. Where both mix, what is the lips' alone is what
    the drawing's own leaves.
    """
    left, top, step, steep, _, colors = mouth
    rows, columns = colors.shape[0], colors.shape[1]
    if y < top or y >= top + rows * step:
        return
    span, (cells, weights), found = row.shape[0] // 4, across, np.empty(7, f4)
    v = min(max((y + 0.5 - top) / step - 0.5, 0.0), rows - 1.0)
    above = min(np.int64(v), max(rows - 2, 0))
    below, t = min(above + 1, rows - 1), f4(v - above)
    for x in range(max(first, left), min(last, left + columns * step)):
        placed, alpha = f4(0), f4(0)
        for tap in range(4):
            at, weight = cells[x - box[0]] + 8 * tap, weights[4 * (x - box[0]) + tap]
            placed += weight * low[at + 3]
            alpha += weight * low[at + 7]
        share = min(max(alpha - placed, f4(0)), f4(1))
        if share > 0:
            u = min(max((x + 0.5 - left) / step - 0.5, 0.0), columns - 1.0)
            before = min(np.int64(u), max(columns - 2, 0))
            after, s = min(before + 1, columns - 1), f4(u - before)
            for c in range(7):
                high, deep = colors[above], colors[below]
                found[c] = between(high[before, c], high[after, c], deep[before, c], deep[after, c], s, t)
            left_over = f4(1) / max(f4(1) - share, f4(LIPS_LEAST))
            covers = min(max((share - f4(0.5)) * f4(steep) + f4(0.5), f4(0)), f4(1)) * found[3]
            for c in range(3):
                place = c * span + x - begin + LANES
                here = row[place]
                lips = (here - share * f4(255) * found[4 + c]) * left_over
                lips = here + found[3] * min(max(lips - here, f4(-LIPS_MOST)), f4(LIPS_MOST))
                row[place] = lips + covers * (f4(255) * found[c] - lips)


@row_kernel(parallel=False)
def _row(y, begin, start, stop, head, moving, scene, low, line, row):  # type: ignore[no-untyped-def]
    """Columns `start` to `stop` of row y of the picture into a row [4 * span] whose first column is `begin`.

    The row begins LANES before that, so that there is room for a neighbour; head and moving are the columns of
    `_head_span` and `_sway_span`. Red, green, blue 0..255. scene: what `compose_rgb` draws, the shape of its drawing
    and the picture's size, and where columns lie in both.
    """
    still, sway, detail, box, mouth, shape, size, across, cells = scene
    span = row.shape[0] // 4
    low_end, high_end = start - begin + LANES, stop - begin + LANES
    for k in range(4):
        row[k * span + low_end : k * span + high_end] = f4(1) if k == 3 else f4(0)
    if head[0] < head[1]:
        _over(y, head[0], head[1], begin, shape, detail, box, across, low, mouth[4], row)
        _over_mouth(y, head[0], head[1], begin, box, across, low, mouth, row)
    first, last = min(max(moving[0], start), stop), min(max(moving[1], start), stop)
    _copy_behind(y, begin, start, first, still, size[1], row)
    _behind(y, begin, first, last, still, size, cells, line, sway, row)
    _copy_behind(y, begin, last, stop, still, size[1], row)
    for k in range(3):
        part = row[k * span + low_end : k * span + high_end]
        for x in range(part.shape[0]):
            part[x] = min(max(part[x], f4(0)), f4(255))
        row[k * span + low_end - 1] = row[k * span + low_end]
        row[k * span + high_end] = row[k * span + high_end - 1]


@row_kernel(parallel=False)
def _moves(sway):  # type: ignore[no-untyped-def]
    """Whether anything sways."""
    return sway[0] != 0 or sway[1] != 0 or sway[4] != 0 or sway[5] != 0


@row_kernel(parallel=True)
def compose_rgb(still, share, sway, drawn, detail, box, mouth, part, frame, threads):  # type: ignore[no-untyped-def]
    """Draw what changes in the `part` (left, top, right, bottom) of frame [H, W, 3] uint8, `still` until then.

    still [H + 2 PAD, W + 2 PAD, 4] uint8, flat; share [., .] float32 of the torso's motion in coarse cells; sway as in
    `Compositor`; drawn [h, w, 8] settled; detail [height + 2 PAD, width + 2 PAD, 4] int16, flat, of the box, B-splines
    of `to_splines`, the fourth channel up to ALL_MOUTH where it is of the photo's own mouth; mouth as of
    `_over_mouth`, with float32 colours.
    """
    begin, top, end, bottom = part
    size, shape = (frame.shape[0], frame.shape[1]), (drawn.shape[0], drawn.shape[1])
    across, cells = _enlarging(box[2], shape[1]), _swaying(size[1], share.shape[1])
    span, moves = end - begin + 3 * LANES, _moves(sway)
    rows, lines = np.empty((threads, 4 * span), f4), np.empty((threads, share.shape[1] + 2), f4)
    lows = np.empty((threads, (shape[1] + 2 * PAD) * 8), f4)
    for y in prange(top, bottom):
        k = np.int64(numba.get_thread_id())
        row, line, low = rows[k], lines[k], lows[k]
        head = _head_span(y, drawn, box, low)
        moving = _sway_span(y, size, share, line) if moves else (0, 0)
        first, last = _union(head, moving)
        first, last = max(first, begin), min(last, end)
        if first < last:
            scene = still, sway, detail, box, mouth, shape, size, across, cells
            _row(y, begin, first, last, head, moving, scene, low, line, row)
            for x in range(first, last):
                for c in range(3):
                    frame[y, x, c] = np.uint8(row[c * span + x - begin + LANES] + f4(0.5))


@row_kernel(parallel=True)
def compose_yuv(still, share, sway, drawn, detail, box, mouth, part, size, luma, chroma, threads):  # type: ignore[no-untyped-def]
    """Draw what changes in the `part` of luma [H', W'] and chroma [2, H' / 2, W' / 2] uint8; `compose_rgb` otherwise.

    `size` (H, W) is the picture's; H' and W' are even, what they have more repeats the edge. BT.709 in TV range;
    chroma lies between two rows at even columns, as H.264 supposes.
    """
    begin, top, end, bottom = part
    shape = (drawn.shape[0], drawn.shape[1])
    across, cells = _enlarging(box[2], shape[1]), _swaying(size[1], share.shape[1])
    span, moves = end - begin + 3 * LANES, _moves(sway)
    rows, lines = np.empty((threads, 2, 4 * span), f4), np.empty((threads, 2, share.shape[1] + 2), f4)
    lows = np.empty((threads, 2, (shape[1] + 2 * PAD) * 8), f4)
    for pair in prange(top // 2, (bottom + 1) // 2):
        k = np.int64(numba.get_thread_id())
        both, line, low = rows[k], lines[k], lows[k]
        y0, y1 = 2 * pair, min(2 * pair + 1, size[0] - 1)
        head0, head1 = _head_span(y0, drawn, box, low[0]), _head_span(y1, drawn, box, low[1])
        moving0 = _sway_span(y0, size, share, line[0]) if moves else (0, 0)
        moving1 = _sway_span(y1, size, share, line[1]) if moves else (0, 0)
        first, last = _union(_union(head0, head1), _union(moving0, moving1))
        first, last = max(first // 2 * 2, begin), min(last + 1, end)  # chroma looks at what lies beside it
        if first < last:
            start, stop = max(first - 1, begin), min(last + 1, end)
            scene = still, sway, detail, box, mouth, shape, size, across, cells
            _row(y0, begin, start, stop, head0, moving0, scene, low[0], line[0], both[0])
            _row(y1, begin, start, stop, head1, moving1, scene, low[1], line[1], both[1])
            to_yuv(both, begin, first, last, pair, size[1], luma, chroma)


@row_kernel(parallel=False)
def _union(one, other):  # type: ignore[no-untyped-def]
    """What either of two spans covers, and what is between them."""
    if one[1] <= one[0]:
        return other
    if other[1] <= other[0]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])
