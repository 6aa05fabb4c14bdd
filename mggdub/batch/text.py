"""Text of strangers: what encoding and what kind of table a manifest is, and what may be shown of a name."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mggdub.errors import InputError, UsageError

DELIMITERS = ",;\t|"
LONGEST_HEADER = 1 << 16  # characters that are looked at for what parts the cells
LONGEST_SHOWN = 60  # characters of a cell in a sentence
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or -32 if it says or shows so. Raises InputError or OSError."""
    data = path.read_bytes()
    mark = next((mark for mark in BOMS if data.startswith(mark)), b"")
    encoding = BOMS.get(mark) or _unmarked(data)
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(f"{path} is damaged: it is no whole {encoding.upper()} text; export it again.") from error
        line = data.count(b"\n", 0, len(mark) + error.start) + 1
        byte = data[len(mark) + error.start]
        raise InputError(
            f"{path} is not UTF-8: line {line} holds the byte 0x{byte:02x}, as in Latin-1 or Windows-1252; save it as "
            "'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise InputError(f"{path} is not a text file of rows (it holds zero bytes); export it again as UTF-8.")
    return text


def _unmarked(data: bytes) -> str:
    """UTF-16 without a mark shows by the zero bytes of its ASCII letters."""
    head = data[:400]
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        zeros, others = head[first::2], head[1 - first :: 2]
        if len(head) >= 4 and zeros.count(0) > 0.9 * len(zeros) and others.count(0) < 0.1 * len(others):
            return encoding
    return "utf-8"


def read_table(path: Path, text: str, known: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of the header, its names in lower case with underscores, and of every row with anything in it.

    `known` are the columns that may be there: what parts the cells is what makes most of them appear. Raises UsageError
    for a header that does not fit, csv.Error for what is no table.
    """
    start, delimiter = 1, ""
    if text[:4].lower() == "sep=" and text[4:5] and text[5:6] in ("\r", "\n"):  # Excel's note to itself
        start, delimiter, text = 2, text[4], text[5:].removeprefix("\r").removeprefix("\n")
    delimiter = delimiter or max(DELIMITERS, key=lambda one: len(set(known) & set(_header(text, one))))
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    names = _trimmed([as_name(cell) for cell in next(lines, [])], 0)
    _check_names(path, names, known)
    yield start, names
    for number, cells in enumerate(lines, start + 1):
        if any(cell and not cell.isspace() for cell in cells):
            yield number, _trimmed(cells, len(names))


def _trimmed(cells: list[str], least: int) -> list[str]:
    """A line without the empty cells that spreadsheets put at its end."""
    count = len(cells)
    while count > least and (not cells[count - 1] or cells[count - 1].isspace()):
        count -= 1
    return cells[:count]


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return [as_name(cell) for cell in next(csv.reader([_first_line(text)], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _first_line(text: str) -> str:
    return io.StringIO(text[:LONGEST_HEADER], newline=None).readline()  # old Macs end lines with a carriage return


def _check_names(path: Path, names: list[str], known: tuple[str, ...]) -> None:
    counts, columns = Counter(names), frozenset(known)
    if "" in counts and len(names) > 1:
        raise UsageError(f"{path} has a column without a name; remove it.")
    if twice := next((name for name in names if counts[name] > 1), None):
        raise UsageError(f"{path} has the column {brief(twice)} twice; remove one.")
    if unknown := [name for name in names if name not in columns]:
        raise UsageError(f"{path} has a column {brief(unknown[0])}, which is none of {', '.join(known)}.")


def as_name(key: str) -> str:
    """A column's name as the options have it."""
    return key.strip().lower().replace("-", "_")


def as_path(cell: str) -> str:
    """A file's name as this system takes it: bytes, not letters, under an ASCII locale. Raises ValueError."""
    return os.fsdecode(cell.encode("utf-8", "surrogateescape"))


def as_text(path: str) -> str:
    """The same name on every system: what `as_path` makes a path of; bytes that are no UTF-8 stay escaped."""
    try:
        return os.fsencode(path).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # it has never been a path
        return path


def shown(text: str) -> str:
    """A sentence or a name as it may go to a terminal: nothing in it moves the cursor or hides letters."""
    try:
        plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, from a JSON
        plain = text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in plain)


def brief(text: str) -> str:
    """A cell in quotes for a sentence, however long it is."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")
