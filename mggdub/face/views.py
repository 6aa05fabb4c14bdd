"""What a net looks at: turned rectangles of a picture, as views of the net's own size and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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


@dataclass(frozen=True, eq=False)
class Mipmap:
    """A picture that is looked at many times, and its copies shrunk by area, each made when it is first needed."""

    pixels: Array  # [H, W, 3] uint8
    shrunk: dict[int, Array] = field(default_factory=dict)

    def by(self, factor: int) -> Array:
        """The picture with blocks of factor x factor px as one."""
        if factor == 1:
            return self.pixels
        if factor not in self.shrunk:
            self.shrunk[factor] = np.asarray(Image.fromarray(self.pixels).reduce(factor))
        return self.shrunk[factor]


def sample(picture: Mipmap, region: Region, size: int, replicate: bool) -> Array:
    """A region as [size, size, 3] float32 0..1, bilinear; of large ones the picture is shrunk by area first.

    Beyond the picture lie its edge pixels (`replicate`) or black.
    """
    shrink = max(1, int(max(region.width, region.height) // (4 * size)))
    x, y, width, height = (value / shrink for value in (region.x, region.y, region.width, region.height))
    turned = abs(np.cos(region.angle)) + abs(np.sin(region.angle))
    reach = turned * max(width, height) / 2 + 2
    left, top = int(np.floor(x - reach)), int(np.floor(y - reach))
    window = _window(picture.by(shrink), left, top, int(np.ceil(2 * reach)) + 1, replicate)
    a, b, c, d, e, f = affine(Region(x - left, y - top, width, height, region.angle), size)
    # The nets were trained on views that put sample j at region start + j steps, not at pixel centres.
    c, f = c + 0.5 * (1 / shrink - a - b), f + 0.5 * (1 / shrink - d - e)
    view = window.transform((size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    return np.asarray(view, np.float32) / 255.0


def _window(pixels: Array, left: int, top: int, side: int, replicate: bool) -> Image.Image:
    """A square of a picture that may reach beyond it."""
    height, width = pixels.shape[:2]
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return Image.fromarray(pixels[top : top + side, left : left + side])
    window = pixels.take(rows.clip(0, height - 1), 0).take(columns.clip(0, width - 1), 1)  # thrice as fast as at once
    if not replicate:
        window[(rows < 0) | (rows >= height)] = 0
        window[:, (columns < 0) | (columns >= width)] = 0
    return Image.fromarray(window)


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
