"""Text of strangers: what encoding and what kind of table a manifest is, and what may be shown of a name."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mggdub.errors import InputError, UsageError
from mggdub.media.table import column_name, open_table, says_nothing, text_encoding

LONGEST_SHOWN = 60  # characters of a cell in a sentence


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or -32 if it says or shows so. Raises InputError or OSError."""
    data = path.read_bytes()
    encoding = text_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise InputError(f"{path} is damaged: it is no whole {encoding.upper()} text; export it again.") from error
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}, as in Latin-1 or "
            "Windows-1252; save it as 'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise InputError(f"{path} is not a text file of rows (it holds zero bytes); export it again as UTF-8.")
    return text


def read_table(path: Path, text: str, known: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of the header, its names in lower case with underscores, and of every row with anything in it.

    `known` are the columns that may be there: what parts the cells is what makes most of them appear. Raises UsageError
    for a header that does not fit, csv.Error for what is no table.
    """
    before, _, lines = open_table(iter(io.StringIO(text, newline="")), known)
    names = _trimmed([column_name(cell) for cell in next(lines, [])], 0)
    _check_names(path, names, known)
    yield before + 1, names
    for number, cells in enumerate(lines, before + 2):
        if not says_nothing(cells):
            yield number, _trimmed(cells, len(names))


def _trimmed(cells: list[str], least: int) -> list[str]:
    """A line without the empty cells that spreadsheets put at its end."""
    count = len(cells)
    while count > least and (not cells[count - 1] or cells[count - 1].isspace()):
        count -= 1
    return cells[:count]


def _check_names(path: Path, names: list[str], known: tuple[str, ...]) -> None:
    counts, columns = Counter(names), frozenset(known)
    if "" in counts and len(names) > 1:
        raise UsageError(f"{path} has a column without a name; remove it.")
    if twice := next((name for name in names if counts[name] > 1), None):
        raise UsageError(f"{path} has the column {brief(twice)} twice; remove one.")
    if not columns.intersection(names):
        raise UsageError(f"{path} does not name its columns; let its first line be such as {','.join(known[:3])}.")
    if unknown := [name for name in names if name not in columns]:
        raise UsageError(f"{path} has a column {brief(unknown[0])}, which is none of {', '.join(known)}.")


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
