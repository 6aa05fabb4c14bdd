"""HEIC files for tests: tiles coded by x265, in the boxes that a phone writes around them."""

import io
import struct
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from mggdub.media.process import binary


def box(kind: bytes, *parts: bytes, full: int | None = None) -> bytes:
    """A box; `full` is the version of one with version and flags."""
    body = (b"" if full is None else bytes([full, 0, 0, 0])) + b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


COLOURS = "range=full:colorprim=bt709:transfer=iec61966-2-1:colormatrix=smpte170m"


def coded(pixels: np.ndarray) -> tuple[bytes, bytes]:
    """(hvcC, data with lengths) of one picture [H, W, 3] uint8."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PPM")
    read = "-loglevel error -f image2pipe -vcodec ppm -i pipe:0"
    write = f"-pix_fmt yuvj420p -c:v libx265 -x265-params log-level=none:qp=8:keyint=1:{COLOURS} -f hevc pipe:1"
    argv = [binary(), *read.split(), *write.split()]
    stream = subprocess.run(argv, input=data.getvalue(), capture_output=True, check=True).stdout
    units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")[1:]]
    by_kind: dict[int, list[bytes]] = {}
    for unit in units:
        by_kind.setdefault(unit[0] >> 1 & 63, []).append(unit)
    arrays = [(kind, by_kind[kind]) for kind in (32, 33, 34)]  # VPS, SPS, PPS
    setup = bytes([1, *bytes(12), 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 3, len(arrays)])  # 4:2:0, 8 bits
    for kind, parts in arrays:
        setup += struct.pack(">BH", kind, len(parts)) + b"".join(struct.pack(">H", len(p)) + p for p in parts)
    slices = [unit for unit in units if unit[0] >> 1 & 63 < 32]
    return setup, b"".join(struct.pack(">I", len(unit)) + unit for unit in slices)


def write_heic(
    path: Path,
    pixels: np.ndarray,
    tile: int = 0,
    turns: list[bytes] | None = None,
    orientation: int = 1,
    profile: bytes = b"",
    alpha: np.ndarray | None = None,
    claimed: tuple[int, int] | None = None,
) -> None:
    """`pixels` as one item, or as a grid of square tiles of `tile` px; `turns` are boxes that transform it."""
    height, width = pixels.shape[:2]
    side = (tile, tile) if tile else (width, height)
    rows, columns = -(-height // side[1]), -(-width // side[0])
    padded = np.pad(pixels, ((0, rows * side[1] - height), (0, columns * side[0] - width), (0, 0)), mode="edge")
    parts = [
        coded(padded[y : y + side[1], x : x + side[0]])
        for y in range(0, rows * side[1], side[1])
        for x in range(0, columns * side[0], side[0])
    ]
    kinds, datas, references = [b"hvc1"] * len(parts), [data for _, data in parts], b""
    properties = [box(b"hvcC", parts[0][0]), box(b"ispe", struct.pack(">II", *side), full=0)]
    uses = {number: [1, 2] for number in range(1, len(parts) + 1)}
    primary = 1

    def add(kind: bytes, data: bytes, about: list[bytes]) -> int:
        kinds.append(kind)
        datas.append(data)
        properties.extend(about)
        uses[len(kinds)] = list(range(len(properties) - len(about) + 1, len(properties) + 1))
        return len(kinds)

    if tile:
        about = [box(b"ispe", struct.pack(">II", *(claimed or (width, height))), full=0)]
        grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *(claimed or (width, height)))
        primary = add(b"grid", grid, about)
        references += box(b"dimg", struct.pack(f">HH{len(parts)}H", primary, len(parts), *range(1, len(parts) + 1)))
    extra = list(turns or [])
    if profile:
        extra.append(box(b"colr", b"prof" + profile))
    properties += extra
    uses[primary] += range(len(properties) - len(extra) + 1, len(properties) + 1)
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        number = add(b"Exif", struct.pack(">I", 0) + exif.tobytes().removeprefix(b"Exif\0\0"), [])
        references += box(b"cdsc", struct.pack(">HHH", number, 1, primary))
    if alpha is not None:
        setup, data = coded(np.repeat(alpha[..., None], 3, 2))
        kind = box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", full=0)
        size = box(b"ispe", struct.pack(">II", width, height), full=0)
        number = add(b"hvc1", data, [box(b"hvcC", setup), size, kind])
        references += box(b"auxl", struct.pack(">HHH", number, 1, primary))
    path.write_bytes(_file(kinds, datas, references, properties, uses, primary))


def _file(
    kinds: list[bytes], datas: list[bytes], references: bytes, properties: list[bytes], uses: dict[int, list[int]],
    primary: int,
) -> bytes:  # fmt: skip
    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    infos = [box(b"infe", struct.pack(">HH4s", i, 0, kind), b"\0", full=2) for i, kind in enumerate(kinds, 1)]
    assigned = b"".join(struct.pack(">HB", i, len(uses[i])) + bytes(uses[i]) for i in sorted(uses))

    def meta(start: int) -> bytes:
        places, at = b"", start
        for i, data in enumerate(datas, 1):
            places += struct.pack(">HHHII", i, 0, 1, at, len(data))
            at += len(data)
        return box(
            b"meta",
            box(b"hdlr", bytes(4), b"pict", bytes(13), full=0),
            box(b"pitm", struct.pack(">H", primary), full=0),
            box(b"iloc", bytes([0x44, 0]), struct.pack(">H", len(datas)), places, full=0),
            box(b"iinf", struct.pack(">H", len(kinds)), *infos, full=0),
            box(b"iref", references, full=0),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">I", len(uses)), assigned, full=0)),
            full=0,
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *datas)
