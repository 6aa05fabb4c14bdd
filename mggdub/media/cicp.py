"""Colours by code points (ITU-T H.273), as HEIC, AVIF, PNG and videos note them: wide and bright ones become sRGB."""

from __future__ import annotations

import mmap
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from mggdub import srgb
from mggdub.media.heif_boxes import Item, parse
from mggdub.types import Array

Points = tuple[int, int]  # of the primaries and of the transfer
WIDE = {  # light of such primaries to BT.709's, which are sRGB's
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),  # BT.2020
    12: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),  # Display P3
}
LINEAR, PQ, HLG = 8, 16, 18
WHITE = 203.0  # cd/m² of paper, above which pictures in PQ and HLG go on (BT.2408)
PEAK = 1000.0  # cd/m² of the screen that HLG is shown on
KNEE = 0.7  # of white, from which on brighter light is drawn together
STRIP = 64  # rows at a time
NODES = 65  # of a table for films


def read_points(path: Path, form: str | None) -> Points | None:
    """What an AVIF or a PNG file says of its colours, None if nothing."""
    with suppress(LookupError, ValueError, struct.error), path.open("rb") as file:
        if form == "PNG":
            return _of_png(file.read(1 << 20))
        if form == "AVIF":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                heif = parse(data)
                return of_item(heif.items[heif.primary])
    return None


def of_item(item: Item) -> Points | None:
    """What a HEIF item says of its colours."""
    colours = next((data for kind, data in item.properties if kind == b"colr" and data[:4] == b"nclx"), None)
    return None if colours is None else struct.unpack_from(">HH", colours, 4)


def _of_png(data: bytes) -> Points | None:
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"cICP":
            return data[at + 8], data[at + 9]
        at += size + 12
    return None


def differs(points: Points) -> bool:
    """Whether colours are wider than sRGB's, or go on above white."""
    primaries, transfer = points
    return primaries in WIDE or transfer in (LINEAR, PQ, HLG)


def to_srgb(image: Image.Image, points: Points) -> Image.Image:
    """RGB to sRGB, where its primaries are wider or its light goes on above white; what does is drawn together."""
    if not differs(points):
        return image
    pixels = np.asarray(image)
    converted, light = np.empty_like(pixels), _light(np.arange(256) / 255.0, points[1])
    for row in range(0, len(pixels), STRIP):
        converted[row : row + STRIP] = np.rint(255 * _drawn_together(light[pixels[row : row + STRIP]], points))
    return Image.fromarray(converted)


def table(points: Points) -> str:
    """The same for ffmpeg's lut3d, as a .cube file: sRGB of NODES values of each colour, red changes first."""
    blue, green, red = np.meshgrid(*[_light(np.linspace(0, 1, NODES), points[1])] * 3, indexing="ij")
    colours = _drawn_together(np.stack([red, green, blue], -1).reshape(1, -1, 3), points)[0]
    return f"LUT_3D_SIZE {NODES}\n" + "".join(f"{r:.5f} {g:.5f} {b:.5f}\n" for r, g, b in colours.tolist())


def _drawn_together(light: Array, points: Points) -> Array:
    """Light [h, W, 3] of white (of HLG the scene's) in its own primaries to sRGB's values 0..1."""
    primaries, transfer = points
    if transfer == HLG:
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = light * (PEAK / WHITE * luma[..., None] ** 0.2)
    light = np.maximum(light @ np.array(WIDE.get(primaries, np.eye(3)), np.float32).T, 0)
    if transfer in (PQ, HLG):
        brightest = np.maximum(light.max(-1, keepdims=True), KNEE)
        light = light * ((1 - (1 - KNEE) * np.exp((KNEE - brightest) / (1 - KNEE))) / brightest)
    return encoded(light)


def encoded(light: Array) -> Array:
    """Light, of white, to sRGB's values 0..1."""
    return srgb.values_of(np.clip(light, 0, 1))


def _light(value: Array, transfer: int) -> Array:
    """Float32: the light of values 0..1, of white; of HLG the scene's."""
    if transfer == PQ:
        root = value ** (1 / 78.84375)
        light = (
            10_000 / WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        )
    elif transfer == HLG:
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    elif transfer == LINEAR:
        light = value
    else:
        light = srgb.light_of(value)
    return light.astype(np.float32)
