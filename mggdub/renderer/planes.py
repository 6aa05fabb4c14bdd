"""Rows of colours as the planes that H.264 takes: luma, and both chromas at a quarter of the pixels (BT.709)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from mggdub.compiled import compiled
from mggdub.renderer.lanes import LANES
from mggdub.types import VIDEO_LUMA

f4 = np.float32
_MATH: dict[str, Any] = {"boundscheck": False, "fastmath": True, "error_model": "numpy"}


def row_kernel(parallel: bool) -> Any:
    """What kernels call becomes part of them.

    A copy of its own might round otherwise, and would be called in the process that compiles it alone.
    """
    return compiled(parallel=parallel, forceinline=not parallel, **_MATH)


@row_kernel(parallel=False)
def to_yuv(both, begin, first, last, pair, width, luma, chroma):  # type: ignore[no-untyped-def]
    """Two rows of `compose._row` [2, 4 * span] as columns `first` (even) to `last` of a pair of rows; changes them.

    Where `width`, the picture's, is odd, the last column is repeated.
    """
    span = both.shape[1] // 4
    a, b = first - 1 - begin + LANES, last + 1 - begin + LANES  # with a neighbour on either side
    for i in range(2):
        row, out = both[i], luma[2 * pair + i]
        _light(row[a:b], row[span + a : span + b], row[2 * span + a : 2 * span + b])
        for_luma, to = row[span + a + 1 : span + b - 1], out[first:last]
        for x in range(to.shape[0]):
            to[x] = np.uint8(f4(16.5) + f4(219 / 255) * for_luma[x])
        if last == width < luma.shape[1]:
            out[last] = out[last - 1]
    above, below, columns = both[0], both[1], slice(first // 2, (last + 1) // 2)
    c, d = 2 * span + a, 2 * span + b
    _chroma(above[c:d], below[c:d], f4(224 / 255 / 8 / 1.8556), chroma[0, pair, columns])
    _chroma(above[a:b], below[a:b], f4(224 / 255 / 8 / 1.5748), chroma[1, pair, columns])


@row_kernel(parallel=False)
def _light(red, green, blue):  # type: ignore[no-untyped-def]
    """Replace green by the light of a row, red and blue by what they have more."""
    for x in range(green.shape[0]):
        light = f4(VIDEO_LUMA[0]) * red[x] + f4(VIDEO_LUMA[1]) * green[x] + f4(VIDEO_LUMA[2]) * blue[x]
        green[x] = light
        red[x] -= light
        blue[x] -= light


@row_kernel(parallel=False)
def _chroma(above, below, gain, out):  # type: ignore[no-untyped-def]
    """Between two rows, at every other column from the second on."""
    left, two = above[0] + below[0], f4(2)
    for column in range(out.shape[0]):
        x = 2 * column
        right = above[x + 2] + below[x + 2]
        out[column] = np.uint8(f4(128.5) + gain * (left + two * (above[x + 1] + below[x + 1]) + right))
        left = right


@row_kernel(parallel=True)
def convert_yuv(picture, luma, chroma, threads):  # type: ignore[no-untyped-def]
    """A whole picture [H, W, 3] uint8 as `compose.compose_yuv` would write it."""
    height, width = picture.shape[0], picture.shape[1]
    span = width + 3 * LANES
    rows = np.empty((threads, 2, 4 * span), f4)
    for pair in prange((height + 1) // 2):
        both = rows[np.int64(numba.get_thread_id())]
        for i in range(2):
            y = min(2 * pair + i, height - 1)
            for c in range(3):
                at = c * span + LANES
                for x in range(width):
                    both[i, at + x] = f4(picture[y, x, c])
                both[i, at - 1], both[i, at + width] = both[i, at], both[i, at + width - 1]
        to_yuv(both, 0, 0, width, pair, width, luma, chroma)
