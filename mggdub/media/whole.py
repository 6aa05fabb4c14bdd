"""Whether a recording or a video is all there, and no more than that, by what its container notes.

WAV, AIFF, AVI, MP4 and Matroska note sizes; Ogg says where another recording begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MOST_PARTS = 100_000  # that are looked at
PLACEHOLDER = 0x7FFF0000  # bytes, from which on a writer that did not know the size noted any
MISSED = 0.005  # of the noted size, below which nothing is told
BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"sidx", b"styp", b"uuid", b"pnot"))
EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
OGG, BEGINS = b"OggS", 2  # a page, and the flag of one with which a stream begins


def cut_short(path: Path) -> list[str]:
    """What to say of a file that ends before it should; empty where the container does not tell. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        noted = _noted_end(file, size)
    if noted - size <= MISSED * noted:
        return []
    return [
        f"{path} was cut short on its way: {max(1, round(100 * (noted - size) / noted))} % of it is missing; copy or "
        "download it again."
    ]


def goes_on(path: Path) -> list[str]:
    """What to say of a file behind whose end another recording was copied, which no player gets to. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == OGG:
            more = _other_ogg(file)
        elif head[:4] in (b"FORM", EBML) or (head[:4] == b"RIFF" and head[8:] == b"WAVE"):  # AVIs have several parts
            file.seek(end := _noted_end(file, size))
            more = 0 < end < size and file.read(5).lstrip(b"\0")[:4] == head[:4]  # an odd size is followed by a zero
        else:
            more = _second_movie(file)
    if not more:
        return []
    return [
        f"{path} goes on after its end with another recording, which is not heard; join recordings by a program for "
        "sound, not by copying one behind the other."
    ]


def _other_ogg(file: BinaryIO) -> bool:
    """Whether a file of Ogg pages has a stream behind others that ffmpeg does not go on with: of another kind."""
    first: set[bytes] = set()
    at, beginning = 0, True
    for _ in range(MOST_PARTS):
        file.seek(at)
        page = file.read(27)
        if len(page) < 27 or page[:4] != OGG:
            return False
        lengths = file.read(page[26])
        if page[5] & BEGINS:
            kind = _ogg_kind(file.read(30))
            if not beginning and kind not in first:
                return True
            first.add(kind)
        else:
            beginning = False
        at += 27 + len(lengths) + sum(lengths)
    return False


def _ogg_kind(head: bytes) -> bytes:
    """What must be the same in the next stream: codec, channels and, but for Opus, rate."""
    if head.startswith(b"OpusHead"):
        return head[:8] + head[9:10]
    if head.startswith(b"\x7fFLAC"):
        return head[:5] + head[27:30]
    return head[:16]


def _second_movie(file: BinaryIO) -> bool:
    """Whether an MP4 follows another one."""
    movie = False
    for kind, _ in _boxes(file):
        if kind == b"ftyp" and movie:
            return True
        movie |= kind == b"moov"
    return False


def _noted_end(file: BinaryIO, size: int) -> int:
    """Bytes from the start at which the last part that is there should end, 0 if nothing says so."""
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _end_of_samples(file, size)
    if head[:4] in (b"RIFF", b"FORM") and head[8:] in (b"AVI ", b"AIFF", b"AIFC"):
        noted = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
        return 8 + noted if noted < PLACEHOLDER else 0
    if head[:4] == EBML:
        return _end_of_segment(file)
    return _end_of_boxes(file, size) if head[4:8] in BOXES else 0


def _end_of_samples(file: BinaryIO, size: int) -> int:
    at = 12
    for _ in range(MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        noted = int.from_bytes(head[4:], "little")
        if len(head) < 8 or noted >= PLACEHOLDER:
            return 0
        if head[:4] == b"data":
            return at + 8 + noted
        at += 8 + noted + noted % 2
        if at > size:
            return 0
    return 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    return next((end for _, end in _boxes(file) if end > size), 0)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The kinds of an MP4's boxes, and where they end in the file."""
    at = 0
    for _ in range(MOST_PARTS):
        file.seek(at)
        head = file.read(16)
        noted = int.from_bytes(head[:4], "big")
        if noted == 1:
            noted = int.from_bytes(head[8:], "big")
        if len(head) < 8 or head[4:8] not in BOXES or noted < 8:  # the end, something else, or up to the end
            return
        at += noted
        yield head[4:8], at


def _end_of_segment(file: BinaryIO) -> int:
    at = 4
    for last in (False, True):
        file.seek(at)
        first = file.read(1)
        length = 9 - first[0].bit_length() if first else 9
        if length > 8:
            return 0
        value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
        if value == (1 << 7 * length) - 1:  # not known
            return 0
        at += length + value
        if last:
            return at
        file.seek(at)
        if file.read(4) != SEGMENT:
            return 0
        at += 4
    return 0
