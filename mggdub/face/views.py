"""What a net looks at: turned rectangles of a picture, as views of the net's own size and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from mggdub.types import Array

SMALLEST_TILE = 240  # px: the detector needs a face of a fifth of its view, 48 px here


@dataclass(frozen=True)
class Region:
    """A turned rectangle of a picture that a net looks at, px."""

    x: float  # centre
    y: float
    width: float
    height: float
    angle: float = 0.0  # radians, clockwise as the viewer sees it


def pyramid(width: int, height: int) -> Iterator[list[Region]]:
    """The whole picture, then tiles of half its side, a quarter ..., each overlapping the next by half."""
    side: float = max(width, height)
    yield [Region(width / 2, height / 2, side, side)]
    while (side := side / 2) >= SMALLEST_TILE:
        columns, rows = (_places(extent, side) for extent in (width, height))
        yield [Region(float(x), float(y), side, side) for y in rows for x in columns]


def _places(extent: float, side: float) -> Array:
    """Centres of tiles along one axis of a picture."""
    margin = min(side, extent) / 2
    return np.linspace(margin, extent - margin, max(1, int(np.ceil(2 * extent / side)) - 1))


def sample(pixels: Array, region: Region, size: int, replicate: bool) -> Array:
    """A region as [size, size, 3] float32 0..1, bilinear; large ones are shrunk by area first.

    Beyond the picture lie its edge pixels (`replicate`) or black.
    """
    shrink = max(1, int(max(region.width, region.height) // (4 * size)))
    turned = abs(np.cos(region.angle)) + abs(np.sin(region.angle))
    reach = turned * max(region.width, region.height) / 2 + 2 * shrink
    left, top = int(np.floor(region.x - reach)), int(np.floor(region.y - reach))
    window = _window(pixels, left, top, int(np.ceil(2 * reach)) + 1, shrink, replicate)
    a, b, c, d, e, f = affine(replace(region, x=region.x - left, y=region.y - top), size)
    # The nets were trained on views that put sample j at region start + j steps, not at pixel centres.
    c, f = c + 0.5 * (1 - a - b), f + 0.5 * (1 - d - e)
    coefficients = tuple(value / shrink for value in (a, b, c, d, e, f))
    view = window.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(view, np.float32) / 255.0


def _window(pixels: Array, left: int, top: int, side: int, shrink: int, replicate: bool) -> Image.Image:
    """A square of a picture that may reach beyond it, shrunk by area.

    Blocks of `shrink` px far beyond the picture repeat one near it: made in full, the window around a picture of
    256 x 65,000 px would take 12 GB.
    """
    rows, above, down = _blocks(top, side, pixels.shape[0], shrink)
    columns, before, across = _blocks(left, side, pixels.shape[1], shrink)
    near = np.pad(pixels[rows, columns], (above, before, (0, 0)), mode="edge" if replicate else "constant")
    small = Image.fromarray(near).reduce(shrink)
    return Image.fromarray(np.asarray(small)[down[:, None], across])


def _blocks(start: int, side: int, extent: int, shrink: int) -> tuple[slice, tuple[int, int], Array]:
    """Of one axis: what lies in the picture, px to add before and after, and which block of them each block is."""
    first, last = (int(np.clip(x, 0, extent - 1)) for x in (start, start + side))
    before, after = max(0, first - start), max(0, start + side - last)
    skipped = [max(0, before // shrink - 1), max(0, after // shrink - 2)]
    before, after = before - skipped[0] * shrink, after - skipped[1] * shrink
    count = -(-(before + last + 1 - first + after) // shrink)
    every = np.ones(count, int)  # the last block may be a part of one
    every[0], every[-2 if skipped[1] else -1] = every[0] + skipped[0], every[-1] + skipped[1]
    return slice(first, last + 1), (before, after), np.repeat(np.arange(count), every)


def affine(region: Region, size: int) -> tuple[float, ...]:
    """Coefficients (a b c d e f): view (u, v) to picture (a u + b v + c, d u + e v + f)."""
    cosine, sine = np.cos(region.angle), np.sin(region.angle)
    a, b = cosine * region.width / size, -sine * region.height / size
    d, e = sine * region.width / size, cosine * region.height / size
    half = size / 2
    return a, b, region.x - half * (a + b), d, e, region.y - half * (d + e)


def to_picture(points: Array, region: Region) -> Array:
    """Landmarks [478, 3] of a view (0..1) to px of the picture; z by the region's width."""
    x, y = (points[:, 0] - 0.5) * region.width, (points[:, 1] - 0.5) * region.height
    cosine, sine = np.cos(region.angle), np.sin(region.angle)
    place = [region.x + cosine * x - sine * y, region.y + sine * x + cosine * y, points[:, 2] * region.width]
    return np.stack(place, -1).astype(np.float32)
