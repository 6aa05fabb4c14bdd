"""HEIF pictures (HEIC), as phones store them: the boxes are read here, HEVC is decoded by ffmpeg.

A picture is one coded item, or a grid of coded tiles; properties say how it is turned, mirrored and cropped, and what
its colours are. After ISO/IEC 23008-12 and 14496-12. What is damaged raises ValueError, LookupError or struct.error.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import ffmpeg
import numpy as np
from PIL import Image, ImageOps

from mggdub.media.process import arguments, start
from mggdub.types import Array

Check = Callable[[int, int], None]  # raises InputError if a picture of this width and height is not taken
CODED = b"hvc1"
ALPHA = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}  # of nclx, swscale's names
MOST_TILES = 4096
DEEPEST = 4  # derived items of derived items
END_OF_SEQUENCE = b"\0\0\1\x48\x01"
ORIENTATION = 0x0112
TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}  # anticlockwise
FLIPS = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)


class NotHevcError(ValueError):
    """A picture of another coding, whose four letters it names."""


@dataclass(eq=False)
class Item:
    """Something in the file: a picture, a tile, metadata."""

    kind: bytes = b""
    place: tuple[int, list[tuple[int, int]]] = (0, [])  # construction method, (offset, length) of its parts
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)  # in the order they apply
    refers: dict[bytes, list[int]] = field(default_factory=dict)

    def get(self, name: bytes) -> bytes | None:
        """Its first property of a name."""
        return next((data for key, data in self.properties if key == name), None)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px as coded. Raises LookupError."""
        data = self.get(b"ispe")
        if data is None:
            raise LookupError("a picture in it has no size")
        width, height = struct.unpack_from(">II", data, 4)
        return int(width), int(height)


@dataclass(frozen=True, eq=False)
class Heif:
    """A file that is open."""

    data: Any  # mmap
    items: dict[int, Item]
    primary: int
    idat: bytes

    def content(self, item: Item) -> bytes:
        """Its bytes. Raises ValueError if they are not there."""
        method, parts = item.place
        source = {0: self.data, 1: self.idat}.get(method)
        if source is None or not parts or sum(length for _, length in parts) > len(source):
            raise ValueError("data of a picture in it are missing")
        whole = b"".join(bytes(source[offset : offset + length]) for offset, length in parts)
        if len(whole) != sum(length for _, length in parts):
            raise ValueError("it ends too early")
        return whole


def read_heif(path: Path, check: Check) -> Image.Image:
    """The primary picture, upright, RGB or RGBA, its colour profile in `info`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heif = _parse(data)
        item = heif.items[heif.primary]
        image = Image.fromarray(_decode(heif, item, check, "rgb24", DEEPEST))
        if (alpha := _alpha_of(heif)) is not None:
            mask = Image.fromarray(_decode(heif, alpha, check, "gray", DEEPEST)).resize(image.size)
            premultiplied = heif.primary in alpha.refers.get(b"prem", []) or b"prem" in item.refers
            image.putalpha(mask)
            if premultiplied:
                image = Image.frombytes("RGBa", image.size, image.tobytes()).convert("RGBA")
        image = _transformed(image, item, _exif_orientation(heif))
        if profile := next((p[4:] for k, p in item.properties if k == b"colr" and p[:4] in (b"prof", b"rICC")), None):
            image.info["icc_profile"] = profile
        return image


def _parse(data: Any) -> Heif:
    meta = next((data[a:b] for kind, a, b in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        raise LookupError("it holds no picture of its own")
    boxes = {kind: meta[a:b] for kind, a, b in _boxes(meta, 4, len(meta))}
    items: dict[int, Item] = {}
    for number, kind in _item_kinds(boxes[b"iinf"]):
        items[number] = Item(kind)
    for number, place in _places(boxes[b"iloc"]):
        if number in items:
            items[number].place = place
    if b"iref" in boxes:
        _refer(boxes[b"iref"], items)
    _assign(boxes[b"iprp"], items)
    wide = boxes[b"pitm"][0] > 0
    (primary,) = struct.unpack_from(">I" if wide else ">H", boxes[b"pitm"], 4)
    return Heif(data, items, primary, boxes.get(b"idat", b""))


def _boxes(data: Any, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the payloads of boxes one after the other."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if size == 0 else at + size
        if (size != 0 and size < head) or stop > end:
            raise ValueError(f"its box {kind.decode('latin-1')!r} is cut off")
        yield kind, at + head, stop
        at = stop


def _item_kinds(iinf: bytes) -> Iterator[tuple[int, bytes]]:
    for kind, a, _ in _boxes(iinf, 6 if iinf[0] == 0 else 8, len(iinf)):
        if kind == b"infe" and iinf[a] >= 2:
            number, _, name = struct.unpack_from(">HH4s" if iinf[a] == 2 else ">IH4s", iinf, a + 4)
            yield number, name


def _places(iloc: bytes) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
    version, at = iloc[0], 6
    sizes = [iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version else 0]  # offset, length, base, index

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(iloc):
            raise ValueError("its list of places is cut off")
        at += size
        return int.from_bytes(iloc[at - size : at], "big")

    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)  # of a reference to another file: only this one counts
        base = number(sizes[2])
        parts = []
        for _ in range(number(2)):
            number(sizes[3])
            offset = base + number(sizes[0])
            parts.append((offset, number(sizes[1])))
        yield item, (method, parts)


def _refer(iref: bytes, items: dict[int, Item]) -> None:
    letter, width = ("I", 4) if iref[0] else ("H", 2)
    for kind, a, _ in _boxes(iref, 4, len(iref)):
        source, count = struct.unpack_from(f">{letter}H", iref, a)
        targets = struct.unpack_from(f">{count}{letter}", iref, a + width + 2)
        if source in items:
            items[source].refers[kind] = list(targets)


def _assign(iprp: bytes, items: dict[int, Item]) -> None:
    """Give every item its properties."""
    kinds = [(kind, a, b) for kind, a, b in _boxes(iprp, 0, len(iprp))]
    known = [(name, iprp[c:d]) for kind, a, b in kinds if kind == b"ipco" for name, c, d in _boxes(iprp, a, b)]
    for kind, at, _ in kinds:
        if kind != b"ipma":
            continue
        version, flags = iprp[at], iprp[at + 3]
        (count,) = struct.unpack_from(">I", iprp, at + 4)
        at += 8
        for _ in range(count):
            number, uses = struct.unpack_from(">IB" if version else ">HB", iprp, at)
            at += 5 if version else 3
            for index in struct.unpack_from(f">{uses}{'H' if flags & 1 else 'B'}", iprp, at):
                if number in items and (index := index & (0x7FFF if flags & 1 else 0x7F)):
                    items[number].properties.append(known[index - 1])
            at += uses * (2 if flags & 1 else 1)


def _alpha_of(heif: Heif) -> Item | None:
    for item in heif.items.values():
        if heif.primary in item.refers.get(b"auxl", []) and (item.get(b"auxC") or b"")[4:].split(b"\0")[0] in ALPHA:
            return item
    return None


def _decode(heif: Heif, item: Item, check: Check, form: str, depth: int) -> Array:
    """[H, W(, 3)] uint8 of a coded item, of a grid, or of what an item stands for."""
    if item.kind == b"iden" and depth:
        return _decode(heif, heif.items[item.refers[b"dimg"][0]], check, form, depth - 1)
    check(*item.size)
    if item.kind == b"grid":
        return _grid(heif, item, form)
    if item.kind != CODED:
        raise NotHevcError(item.kind.decode("ascii", "replace"))
    return _tiles(heif, [item], item.size, (1, 1), form)


def _grid(heif: Heif, item: Item, form: str) -> Array:
    about = heif.content(item)
    rows, columns = about[2] + 1, about[3] + 1
    width, height = struct.unpack_from(">II" if about[1] & 1 else ">HH", about, 4)
    tiles = [heif.items[number] for number in item.refers[b"dimg"]]
    side = tiles[0].size
    fits = len(tiles) == rows * columns <= MOST_TILES and all(t.kind == CODED and t.size == side for t in tiles)
    over = columns * side[0] - width, rows * side[1] - height
    if not fits or (width, height) != item.size or not (0 <= over[0] < 2 * side[0] and 0 <= over[1] < 2 * side[1]):
        raise ValueError("its tiles do not fit together")
    return _tiles(heif, tiles, (width, height), (rows, columns), form)


def _tiles(heif: Heif, tiles: list[Item], size: tuple[int, int], grid: tuple[int, int], form: str) -> Array:
    """Coded items side by side, cut to `size`."""
    width, height = tiles[0].size
    canvas = np.empty((size[1], size[0], 3)[: 3 if form == "rgb24" else 2], np.uint8)
    decoded = 0
    with tempfile.TemporaryFile() as stream:
        for tile in tiles:
            _write_stream(heif, tile, stream)
        stream.seek(0)
        for index, picture in enumerate(_pictures(stream, form, (width, height), tiles[0].get(b"colr"))):
            row, column = divmod(index, grid[1])
            part = canvas[row * height : (row + 1) * height, column * width : (column + 1) * width]
            part[:] = picture[: part.shape[0], : part.shape[1]]
            decoded += 1
    if decoded != len(tiles):
        raise ValueError(f"only {decoded} of its {len(tiles)} parts can be decoded")
    return canvas


def _write_stream(heif: Heif, tile: Item, stream: BinaryIO) -> None:
    """A coded item as a stream of NAL units, with what its decoder must know before it."""
    setup = tile.get(b"hvcC")
    if setup is None:
        raise LookupError("the decoder's settings are missing")
    at = 23
    for _ in range(setup[22]):
        (count,) = struct.unpack_from(">H", setup, at + 1)
        at += 3
        for _ in range(count):
            (length,) = struct.unpack_from(">H", setup, at)
            stream.write(b"\0\0\0\1" + setup[at + 2 : at + 2 + length])
            at += 2 + length
    data, prefix, at = heif.content(tile), (setup[21] & 3) + 1, 0
    while at + prefix < len(data):
        length = int.from_bytes(data[at : at + prefix], "big")
        stream.write(b"\0\0\0\1" + data[at + prefix : at + prefix + length])
        at += prefix + length
    stream.write(END_OF_SEQUENCE)


def _pictures(stream: BinaryIO, form: str, size: tuple[int, int], colr: bytes | None) -> Iterator[Array]:
    """The pictures [H, W(, 3)] uint8 of a stream of NAL units, all of one `size` or larger."""
    options: dict[str, Any] = {}
    if colr and colr[:4] == b"nclx" and form == "rgb24":
        matrix, full = struct.unpack_from(">HB", colr, 8)
        options["in_range"] = "pc" if full >> 7 else "tv"
        if matrix in MATRICES:
            options["in_color_matrix"] = MATRICES[matrix]
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    coded = ffmpeg.input("pipe:0", format="hevc", max_pixels=2 * (size[0] + 64) * (size[1] + 64))
    output = coded.filter("scale", flags=flags, **options).output(
        "pipe:1", format="image2pipe", vcodec="ppm" if form == "rgb24" else "pgm", pix_fmt=form, fps_mode="passthrough"
    )
    argv = [part for part in arguments(output) if part != "-nostdin"]
    with start(argv, stdin=stream, stdout=subprocess.PIPE) as running:
        pipe = running.process.stdout
        assert pipe is not None
        while len(pipe.readline()) > 2:
            width, height = map(int, pipe.readline().split())
            pipe.readline()  # 255
            if width < size[0] or height < size[1]:
                raise ValueError(f"a part of it has {width}x{height} pixels instead of {size[0]}x{size[1]}")
            count = width * height * (3 if form == "rgb24" else 1)
            pixels = np.frombuffer(pipe.read(count), np.uint8)
            yield pixels.reshape((height, width, 3)[: 3 if form == "rgb24" else 2])


def _transformed(image: Image.Image, item: Item, orientation: int) -> Image.Image:
    """Cropped, turned and mirrored as the properties say, or else as the EXIF data do."""
    told = False
    for kind, data in item.properties:
        if kind == b"clap":
            image = image.crop(_aperture(data, image.size))
        elif kind == b"irot":
            told = True
            image = image.transpose(TURNS[data[0] & 3]) if data[0] & 3 else image
        elif kind == b"imir":
            told = True
            image = image.transpose(FLIPS[data[0] & 1])
    if not told and 2 <= orientation <= 8:
        image.getexif()[ORIENTATION] = orientation
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _aperture(clap: bytes, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) px of a clean aperture, whose centre is given relative to the picture's."""
    values = struct.unpack_from(">IIIIiIiI", clap)
    width, height, x, y = (over / under for over, under in zip(values[::2], values[1::2], strict=True))
    left, top = (size[0] - width) / 2 + x, (size[1] - height) / 2 + y
    box = max(0, round(left)), max(0, round(top)), min(size[0], round(left + width)), min(size[1], round(top + height))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError("nothing is left of it when it is cropped")
    return box


def _exif_orientation(heif: Heif) -> int:
    for item in heif.items.values():
        if item.kind == b"Exif" and heif.primary in item.refers.get(b"cdsc", []):
            try:
                data = heif.content(item)
                exif = Image.Exif()
                exif.load(b"Exif\0\0" + data[4 + int.from_bytes(data[:4], "big") :])
                return int(exif.get(ORIENTATION, 1))
            except (SyntaxError, ValueError, TypeError, LookupError, struct.error):  # as of any broken EXIF
                return 1
    return 1
