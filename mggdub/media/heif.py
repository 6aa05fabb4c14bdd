"""HEIF pictures (HEIC), as phones store them: `heif_boxes` says what is in a file, HEVC is decoded by ffmpeg.

A picture is one coded item, or a grid of coded tiles; properties say how it is turned, mirrored and cropped, and what
its colours are. What is damaged raises ValueError, LookupError or struct.error.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ffmpeg
import numpy as np
from PIL import Image, ImageOps

from mggdub.media import cicp
from mggdub.media.files import scratch
from mggdub.media.heif_boxes import Heif, Item, parse
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


def read_heif(path: Path, check: Check) -> Image.Image:
    """The primary picture, upright, RGB or RGBA, its colour profile in `info`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heif = parse(data)
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
        whole = [item, *(heif.items[number] for number in item.refers.get(b"dimg", [])[:1])]  # or one of its tiles
        image.info["cicp"] = next(filter(None, map(cicp.of_item, whole)), None)
        return image


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
    with scratch() as folder, (folder / "tiles").open("w+b") as stream:
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
    has_turn = False
    for kind, data in item.properties:
        if kind == b"clap":
            image = image.crop(_aperture(data, image.size))
        elif kind == b"irot":
            has_turn = True
            image = image.transpose(TURNS[data[0] & 3]) if data[0] & 3 else image
        elif kind == b"imir":
            has_turn = True
            image = image.transpose(FLIPS[data[0] & 1])
    if not has_turn and 2 <= orientation <= 8:
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
