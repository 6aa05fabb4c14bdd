"""What the boxes of a HEIF file say: its items, where their bytes lie, what they refer to and their properties.

After ISO/IEC 23008-12 and 14496-12. What is damaged raises ValueError, LookupError or struct.error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


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


def parse(data: Any) -> Heif:
    """What a whole file, an mmap, says of its pictures."""
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
