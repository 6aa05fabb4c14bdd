"""Values of grids and pictures between their cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from mggdub.compiled import compiled
from mggdub.types import Array


def smoothstep(x: Array | np.floating[Any] | float) -> Array:
    """0 up to 0, 1 from 1 on, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def tensor_smoothstep(x: Tensor) -> Tensor:
    """`smoothstep` of a tensor."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def halved(image: Array) -> Array:
    """[H // 2, W // 2, ...] float32: the means of two by two pixels of an image [H, W, ...]."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    part = image[:height, :width].astype(np.float32)
    return np.asarray((part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) / 4)


def to_splines(picture: Array, at_once: int = 128) -> None:
    """Replace a picture [H, W, C] int16, whose edge repeats, by the weights of cubic B-splines that pass through it.

    In place, `at_once` rows and columns at a time, so that it takes no memory.
    """
    most = np.iinfo(np.int16).max
    for lines in (picture, picture.swapaxes(0, 1)):
        for start in range(0, len(lines), at_once):
            part = lines[start : start + at_once]
            part[:] = np.rint(ndimage.spline_filter1d(part, 3, 1, np.float32, "reflect")).clip(-most, most)


def sample_grid(grid: Tensor, place: Tensor) -> Tensor:
    """[N, C]: bilinear samples of a grid [C, S, S] over the crop at place [N, 2] in 0..1."""
    samples = functional.grid_sample(grid[None], place[None, None] * 2 - 1, padding_mode="border", align_corners=False)
    return samples[0, :, 0].T


@compiled(boundscheck=False, fastmath=True, forceinline=True)
def between(a, b, c, d, s, t):  # type: ignore[no-untyped-def]
    """Between two values in a row and the two below them: `s` of the way to the right and `t` of the way down."""
    above, below = a + (b - a) * s, c + (d - c) * s
    return above + (below - above) * t


@compiled(boundscheck=False, fastmath=True)
def sampled(field, x, y):  # type: ignore[no-untyped-def]
    """Three floats: the bilinear sample of a field [S, S, 3] at x and y in 0..1; all float32."""
    size, one = field.shape[0], np.float32(1)
    most = np.float32(size - 1.001)
    x = min(max(x * np.float32(size) - np.float32(0.5), np.float32(0)), most)
    y = min(max(y * np.float32(size) - np.float32(0.5), np.float32(0)), most)
    column, row = np.int32(x), np.int32(y)
    u, v = x - np.float32(column), y - np.float32(row)
    a, b, c, d = (one - u) * (one - v), u * (one - v), (one - u) * v, u * v
    p, q, r, s = field[row, column], field[row, column + 1], field[row + 1, column], field[row + 1, column + 1]
    return (
        a * p[0] + b * q[0] + c * r[0] + d * s[0],
        a * p[1] + b * q[1] + c * r[1] + d * s[1],
        a * p[2] + b * q[2] + c * r[2] + d * s[2],
    )


@compiled(parallel=True, boundscheck=False, fastmath=True)
def add_sampled(field, place, out):  # type: ignore[no-untyped-def]
    """Add to out [N, 3] the bilinear samples of a field [S, S, 3] at place [N, 2] in 0..1; all float32."""
    for i in prange(place.shape[0]):
        found = sampled(field, place[i, 0], place[i, 1])
        for k in range(3):
            out[i, k] += found[k]


def push_pull(image: Array, known: Array) -> Array:
    """Fill where `known` is 0 from ever coarser averages of what is known.

    image [H, W, C] float32, known [H, W] float32 weights 0..1 -> [H, W, C] float32; known pixels stay.
    Without any known pixel the picture is returned as it is. After Gortler et al., The Lumigraph, 1996.
    """
    if not known.any():
        return image.astype(np.float32)
    weight = torch.from_numpy(np.ascontiguousarray(known, np.float32))[None, None]
    colour = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None] * weight
    return _fill(colour, weight)[0].permute(1, 2, 0).contiguous().numpy()


def _fill(colour: Tensor, weight: Tensor) -> Tensor:
    """Premultiplied colours and weights to full colours."""
    height, width = weight.shape[-2:]
    if height == 1 and width == 1:
        return colour / weight.clamp_min(1e-6)
    padding = (0, width % 2, 0, height % 2)
    down_colour = functional.avg_pool2d(functional.pad(colour, padding), 2)
    down_weight = functional.avg_pool2d(functional.pad(weight, padding), 2)
    gain = down_weight.clamp(1e-6, 0.25) * 4 / down_weight.clamp_min(1e-6)  # a quarter known counts as known
    coarse = _fill(down_colour * gain, down_weight * gain)
    smooth = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return colour + (1 - weight) * smooth[..., :height, :width]


def sample_crop(image: Array, points: Array) -> Array:
    """Bilinear samples of a 512² crop image [512, 512(, C)] at crop px [..., 2]."""
    at = [points[..., 1] - 0.5, points[..., 0] - 0.5]
    if image.ndim == 2:
        return ndimage.map_coordinates(image, at, order=1, mode="nearest").astype(np.float32)
    channels = [ndimage.map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(image.shape[2])]
    return np.stack(channels, -1).astype(np.float32)
