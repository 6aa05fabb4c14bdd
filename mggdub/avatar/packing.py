"""How an avatar's arrays are kept in its file: rounded to what can be seen, neighbours' differences, deflated.

Real numbers are multiples of a power of two, so that rounding twice is rounding once, on every processor: an avatar
that was built is rounded at once, and its file gives back the same bytes.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mggdub.types import Array


@dataclass(frozen=True)
class Coding:
    """How one array is kept."""

    bits: int | None = None  # after the binary point of a real number; None keeps every bit
    along: tuple[int, ...] = ()  # axes along which neighbours are alike; the last or the first ones
    colors: bool = False  # whether the other axis has red, green, blue: red and blue are told by green


LIST, PICTURE, GRID = (0,), (0, 1), (-2, -1)
EXACT = Coding()
CODINGS: dict[str, Coding] = {
    "gaussians.means": Coding(16, LIST),  # 1/65536 cm
    "gaussians.quats": Coding(14, LIST),
    "gaussians.scales": Coding(15, LIST),
    "gaussians.opacities": Coding(12, LIST),
    "gaussians.colors": Coding(12, LIST, colors=True),  # a sixteenth of an 8-bit step
    "mesh_weights.data": Coding(14),
    "mesh_weights.indices": EXACT,
    "mesh_weights.indptr": Coding(None, LIST),
    "head_share": Coding(14, LIST),
    "torso_share": Coding(14, LIST),
    "crop_uv": Coding(15, LIST),  # a sixty-fourth of a crop's pixel
    "shows_photo": EXACT,
    "lid_places": Coding(8, LIST),  # 1/256 px
    "bases.motion": Coding(15, GRID),
    "bases.shade": Coding(13, GRID),
    "mesh": EXACT,
    "photo_drivers": EXACT,
    "photo_mouth": Coding(None, LIST),
    "mouth_layer.means": Coding(16, LIST),
    "mouth_layer.skin.data": EXACT,
    "mouth_layer.skin.indices": EXACT,
    "mouth_layer.skin.indptr": Coding(None, LIST),
    "mouth_layer.mesh": EXACT,
    "mouth_layer.rest": EXACT,
    "mouth_layer.tone": EXACT,
    "mouth_layer.levels": EXACT,
    "mouth_layer.own": Coding(12, GRID),
    "mouth_layer.own_share": Coding(12, GRID),
    "camera.K": EXACT,
    "camera.viewmat": EXACT,
    "plate": Coding(None, PICTURE, colors=True),
    "image": Coding(None, PICTURE, colors=True),
    "torso_share_map": Coding(14, GRID),
}


def rounded(name: str, array: Array) -> Array:
    """What `unpack` makes of an array that was packed."""
    return _values(CODINGS[name], _codes(CODINGS[name], array), array.dtype)


def pack(name: str, array: Array) -> bytes:
    """The array of a field, as CODINGS says."""
    coding = CODINGS[name]
    codes = _apart(coding, _codes(coding, array))
    numbers = codes.astype(codes.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
    planes = numbers.reshape(-1, codes.itemsize).T.tobytes()  # the numbers' lowest bytes, the next ones, ...
    squeeze = zlib.compressobj(strategy=zlib.Z_RLE)  # as small as the usual one here, and much faster
    return squeeze.compress(planes) + squeeze.flush()


def unpack(name: str, data: bytes | memoryview, kind: str, shape: tuple[int, ...]) -> Array:
    """The array [shape] of type `kind` that was packed. Raises ValueError if it is another one's bytes, or none."""
    coding, codes = CODINGS[name], _code_type(CODINGS[name], np.dtype(kind))
    count = math.prod(shape)
    planes = np.frombuffer(_inflated(name, data, count * codes.itemsize), np.uint8).reshape(codes.itemsize, count)
    numbers = np.empty((count, codes.itemsize), np.uint8)
    for place, plane in enumerate(planes):
        numbers[:, place] = plane
    ordered = numbers.view(codes.newbyteorder("<")).astype(codes, copy=False)
    ordered = ordered.reshape([shape[axis] for axis in _order(coding, len(shape))])
    return _values(coding, _together(coding, ordered), np.dtype(kind))


def _inflated(name: str, data: bytes | memoryview, size: int) -> bytes:
    """The bytes of a stream that must have `size`. Raises ValueError; takes no memory beyond that size."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"{name} cannot be unpacked") from error
    if len(inflated) != size or not stream.eof or stream.unused_data:
        raise ValueError(f"{name} has another size than it says")
    return inflated


def _code_type(coding: Coding, kind: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Of the whole numbers that stand for values of a type."""
    if coding.bits is not None or kind.kind == "f":
        return np.dtype(np.int32)
    return np.dtype(np.uint8) if kind == np.bool_ else kind


def _codes(coding: Coding, array: Array) -> Array:
    """Whole numbers for an array's values."""
    if coding.bits is None:
        return np.ascontiguousarray(array).view(_code_type(coding, array.dtype))
    return np.rint(np.ldexp(array.astype(np.float64), coding.bits)).astype(np.int32)


def _values(coding: Coding, codes: Array, kind: np.dtype[np.generic]) -> Array:
    """The array whose `_codes` these are."""
    if coding.bits is None:
        return codes.astype(kind) if kind == np.bool_ else codes.view(kind)
    return np.ldexp(codes.astype(kind), -coding.bits)


def _order(coding: Coding, axes: int) -> list[int]:
    """An array's axes as they are kept: those of places last."""
    places = [axis % axes for axis in coding.along]
    return [axis for axis in range(axes) if axis not in places] + places


def _apart(coding: Coding, codes: Array) -> Array:
    """Differences of neighbours, so that what is alike is small; sums wrap around, so nothing is lost."""
    codes = codes.transpose(_order(coding, codes.ndim)).copy(order="C")
    if coding.colors:
        codes[0] -= codes[1]
        codes[2] -= codes[1]
    for axis in range(codes.ndim - len(coding.along), codes.ndim):
        moved = np.moveaxis(codes, axis, 0)
        moved[1:] -= moved[:-1].copy()
    if coding.along and codes.dtype.kind == "i":  # small numbers of either sign have zeros above
        codes = (codes << 1) ^ (codes >> (8 * codes.itemsize - 1))
    return codes


def _together(coding: Coding, codes: Array) -> Array:
    """The codes whose `_apart` these are, with their axes as they were; `codes` are written over."""
    if coding.along and codes.dtype.kind == "i":
        unsigned = codes.view(f"u{codes.itemsize}")
        codes = (unsigned >> 1).view(codes.dtype) ^ -(codes & 1)
    for axis in reversed(range(codes.ndim - len(coding.along), codes.ndim)):
        _sum_along(codes, axis)
    if coding.colors:
        codes[0] += codes[1]
        codes[2] += codes[1]
    order = _order(coding, codes.ndim)
    if order == sorted(order):
        return codes
    whole = np.empty([codes.shape[axis] for axis in np.argsort(order)], codes.dtype)
    for place, part in zip(whole.transpose(order), codes, strict=True):  # faster than all at once
        place[...] = part
    return whole


def _sum_along(codes: Array, axis: int) -> None:
    """Every number becomes the sum of those up to it."""
    if axis == codes.ndim - 1:
        np.cumsum(codes, axis, dtype=codes.dtype, out=codes)
        return
    rows = np.moveaxis(codes, axis, 0)
    for above, row in pairwise(rows):  # twenty times as fast as cumsum there
        row += above
