"""Tables as text: the dialects and encodings of CSV that spreadsheets and exporters write, read line by line.

Cells are parted by commas, semicolons, tabs or bars, whichever shows most of the names that may be there; the text is
UTF-8 or UTF-16, with or without a mark. Nothing is read whole and every size has a limit: a table may be a stranger's.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from mggdub.errors import InputError, excerpt
from mggdub.media.files import check_input

DELIMITERS = ",;\t|"
LONGEST_LINE = 1 << 20  # characters
LONGEST_NAME = 40  # characters of a column's name in a sentence
NAMED = 6  # columns that a sentence names before it counts the rest
PROBE = 400  # bytes that tell UTF-16 without a mark
LONGEST_HEADER = 1 << 16  # characters that are looked at for what parts the cells
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
DECIMAL = re.compile(r"\s*[+-]?\d*[.,]?\d*(?:[eE][+-]?\d{1,3})?\s*", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What a table may have."""

    size: int  # bytes
    columns: int
    lines: int  # empty ones included


def read_table(path: Path, known: frozenset[str], limits: Limits) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the header first, its cells stripped, then of every row that holds anything.

    `known` are names in small letters that may be in the header. Bytes that are no UTF-8, as Latin-1 has them, stay in
    their cell as surrogates, like those of `os.fsdecode`. A row has as many cells as the header. Raises UsageError (no
    such file) or InputError, which names the line.
    """
    check_input(path)
    if path.stat().st_size > limits.size:
        raise InputError(f"{path} is larger than {limits.size >> 20} MiB; cut it into parts.")
    try:
        with path.open("rb") as start:
            head = start.read(PROBE)
        encoding = text_encoding(head)
        if encoding == "utf-8" and b"\0" in head:
            raise InputError(f"{path} is not a CSV text file (it holds zero bytes); export it again.")
        with path.open(
            newline="", encoding=encoding, errors="surrogateescape" if "8" in encoding else "strict"
        ) as file:
            yield from _rows(path, file, known, limits)
    except UnicodeError as error:
        raise InputError(f"{path} is not a CSV text file (its UTF-16 is damaged); export it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def text_encoding(head: bytes) -> str:
    """What a text that begins so is written in: by its mark, UTF-16 also by the zeros of its ASCII letters, or UTF-8.

    Decoding takes marks away.
    """
    for mark, encoding in MARKS.items():  # that of UTF-32 begins with that of UTF-16 and comes before it
        if head.startswith(mark):
            return encoding
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        zeros, others = head[:PROBE][first::2], head[:PROBE][1 - first :: 2]
        if zeros.count(0) > 0.9 * len(zeros) and others.count(0) < 0.1 * len(others):
            return encoding
    return "utf-8"


def open_table(lines: Iterator[str], known: Collection[str]) -> tuple[int, str, Any]:
    """Lines before the header, what parts the cells, and a csv.reader of the lines from the header on.

    `known` are names in small letters, one of which the header should have.
    """
    first = next(lines, "").removeprefix("\ufeff")  # a second mark, of what was converted with its first
    before, delimiter = 0, ""
    if noted := re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE):  # a spreadsheet's note to itself
        before, delimiter, first = 1, noted[1], next(lines, "")
    names = frozenset(known)
    while first and _before_header(first, names):
        before, first = before + 1, next(lines, "")
    first = first.lstrip("# ") if first.startswith("#") else first  # as numpy.savetxt writes headers
    head = first[:LONGEST_HEADER]
    delimiter = delimiter or max(DELIMITERS, key=lambda one: _fit(head, one, names))
    return before, delimiter, csv.reader(chain([first], lines), delimiter=delimiter, strict=True)


def says_nothing(cells: list[str]) -> bool:
    """Whether a row is empty, or a comment with nothing beside it."""
    first, *others = (cell.strip() for cell in cells) if cells else [""]
    return not any(others) and (not first or first.startswith("#"))


def _before_header(line: str, known: frozenset[str]) -> bool:
    """Whether a line is one that a spreadsheet left empty, or a comment, which names no column."""
    if not line.startswith("#"):
        return not line.strip(f'{DELIMITERS}" \r\n')
    head = line.lstrip("# ")[:LONGEST_HEADER]
    return not any(_fit(head, delimiter, known)[0] for delimiter in DELIMITERS)


def _rows(path: Path, file: TextIO, known: frozenset[str], limits: Limits) -> Iterator[tuple[int, list[str]]]:
    before, delimiter, reader = open_table(_lines(path, file, limits.lines), known)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, limits.columns)
        yield before + reader.line_num, header
        for cells in reader:
            if says_nothing(cells):
                continue
            number = before + reader.line_num
            while len(cells) > len(header) and not cells[-1].strip():  # that exporters put at the end
                cells.pop()
            if len(cells) != len(header):
                raise InputError(f"{path}, line {number} {_miscounted(len(cells), len(header), delimiter)}")
            yield number, cells
    except csv.Error as error:
        number = before + reader.line_num
        raise InputError(
            f"{path} is not a CSV text file (line {number}: {excerpt(error)}); look for a quote that is never closed "
            "or export it again."
        ) from error


def _lines(path: Path, file: TextIO, most: int) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise InputError(f"{path}, line {number} is longer than {LONGEST_LINE} characters; export the table again.")
        if number > most:
            raise InputError(f"{path} has more than {most} lines; cut it into parts.")
        yield line


def _fit(line: str, delimiter: str, known: frozenset[str]) -> tuple[int, int]:
    """How many known names, and how many cells at all, a header has if this parts its cells."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return 0, 0
    return len(known.intersection(column_name(cell) for cell in cells)), len(cells)


def column_name(cell: str) -> str:
    """A column's name, however it is written: in small letters, with underscores."""
    return cell.strip().lower().replace("-", "_")


def _check_header(path: Path, header: list[str], most: int) -> None:
    if len(header) > most:
        raise InputError(f"{path} has {len(header)} columns, {most} is the most; leave out those that are not needed.")
    counts = Counter(name.lower() for name in header if name)
    if twice := [name for name in dict.fromkeys(header) if counts[name.lower()] > 1]:
        raise InputError(f"{path} has the column {name_list(twice)} twice; remove one.")


def _miscounted(cells: int, columns: int, delimiter: str) -> str:
    commas = delimiter == "," and cells > columns
    hint = "complete it, or part cells by semicolons if it has decimal commas" if commas else "complete it"
    return f"has {cells} cells for {columns} columns; {hint}."


def as_number(cell: str) -> float:
    """The number in a cell, with a decimal point or a decimal comma. Raises ValueError."""
    try:
        return float(cell)
    except ValueError:
        if len(cell) <= LONGEST_NAME and DECIMAL.fullmatch(cell):
            return float(cell.replace(",", "."))
        raise


def name_list(columns: list[str] | tuple[str, ...]) -> str:
    """The names for a sentence: the first few, and how many more."""
    more = len(columns) - NAMED
    names = ", ".join(excerpt(name, LONGEST_NAME) for name in columns[:NAMED])
    return names + (f" and {more} more" if more > 0 else "")
