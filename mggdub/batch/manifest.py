"""What a batch is asked for: rows from a CSV, from JSON lines or from two folders. Nothing is decoded here."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Any, get_args, get_type_hints

from mggdub.config import RenderOptions, parse_fps
from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.media.files import CONTAINERS, check_input
from mggdub.media.unread import NAMED, PICTURES

STATE = ".mggdub"  # folder in the batch's folder
FILES = ("photo", "speech", "output")
OPTIONS = {name: hint for name, hint in get_type_hints(RenderOptions).items() if name != "force"}
LARGEST_FILE = 64 << 20  # bytes
MOST_ROWS = 100_000
YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
PHOTOS = PICTURES | {".mgg"}
SOUNDS = frozenset(".aac .aif .aiff .avi .flac .m4a .m4v .mkv .mov .mp3 .mp4 .oga .ogg .opus .wav .webm .wma".split())


@dataclass(frozen=True)
class Row:
    """One video that is asked for."""

    number: int  # the row of the file, its header being row 1, or the place in a list of pairs
    photo: Path
    speech: Path | None
    output: Path  # relative to the batch's folder
    options: RenderOptions
    given: frozenset[str]  # the options that somebody named

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files it needs."""
        return tuple(path for path in (self.photo, self.speech, self.options.drive) if path)


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be rendered."""

    number: int
    file: str  # the one that it is about
    sentence: str
    exit_code: int
    output: str = ""

    def __str__(self) -> str:
        where = "" if not self.file or self.file in self.sentence else f" {self.file}:"
        return f"Row {self.number}:{where} {self.sentence}"


Entry = tuple[int, dict[str, str]]  # number and cells of a row


def read_rows(
    source: Path, speech: Path | None, all_pairs: bool, base: dict[str, Any], given: frozenset[str]
) -> tuple[list[Row], list[Problem]]:
    """The rows of a manifest, or the pairs of two folders, and what is wrong with others.

    `base` are the options of the command line, `given` those of them that were named; a row's own come first. Raises
    UsageError or InputError if nothing can be read at all.
    """
    problems: list[Problem] = []
    if source.is_dir():
        if not speech or not speech.is_dir():
            raise UsageError(f"{source} is a folder of photos; name the folder of recordings after it.")
        entries, here = _pairs(source, speech, all_pairs, problems), Path.cwd()
    else:
        if speech or all_pairs:
            raise UsageError(f"{source} is a manifest; a second folder and --all-pairs go with a folder of photos.")
        entries, here = _manifest(check_input(source), problems), source.parent.absolute()
    rows: list[Row] = []
    taken: dict[str, int] = {}
    for number, cells in entries:
        if len(rows) + len(problems) >= MOST_ROWS:
            raise InputError(f"{source} asks for more than {MOST_ROWS} videos; cut it into parts.")
        try:
            row = _row(number, cells, here, base, given)
            _take(row, taken)
            rows.append(row)
        except MggdubError as error:
            file, output = "" if source.is_dir() else str(source), cells.get("output", "")
            problems.append(Problem(number, file, str(error), error.exit_code, output))
    if not rows and not problems:
        raise InputError(f"{source} holds no rows; nothing is to be rendered.")
    return rows, problems


def _manifest(path: Path, problems: list[Problem]) -> Iterator[Entry]:
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; cut it into parts.")
    kinds = {".csv": _csv, ".jsonl": _json_lines}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{path} does not end in .csv or .jsonl and is no folder; name a manifest.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from kinds[path.suffix.lower()](path, file, problems)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a text file of rows ({error}); export it again as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def _csv(path: Path, file: Any, problems: list[Problem]) -> Iterator[Entry]:
    lines = csv.reader(file, strict=True)
    header = [_name(cell) for cell in next(lines, [])]
    if twice := {name for name in header if header.count(name) > 1}:
        raise UsageError(f"{path} has the column {min(twice)!r} twice; remove one.")
    if unknown := [name for name in header if name not in {*FILES, *OPTIONS}]:
        raise UsageError(f"{path} has a column {unknown[0]!r}, which is none of {', '.join([*FILES, *OPTIONS])}.")
    if missing := [name for name in ("photo", "output") if name not in header]:
        raise UsageError(f"{path} has no column {missing[0]!r}; its first line names the columns.")
    for number, cells in enumerate(lines, 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        else:
            said = f"it has {len(cells)} cells for {len(header)} columns; complete it."
            problems.append(Problem(number, str(path), said, 2))


def _json_lines(path: Path, file: Any, problems: list[Problem]) -> Iterator[Entry]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict) and all(v is None or isinstance(v, (str, int, float)) for v in told.values()):
            yield number, {_name(k): "" if v is None else str(v) for k, v in told.items()}
        else:
            problems.append(Problem(number, str(path), "it is no JSON object of texts and numbers; correct it.", 2))


def _pairs(photos: Path, speeches: Path, all_pairs: bool, problems: list[Problem]) -> Iterator[Entry]:
    """Every photo with the recording of the same name, or with every recording."""
    pictures, sounds = _photos(photos), _listed(speeches, SOUNDS)
    number = 0
    for photo in pictures:
        fitting = [sound for sound in sounds if all_pairs or sound.stem == photo.stem]
        for sound in fitting:
            number += 1
            name = f"{photo.stem}_{sound.stem}.mp4" if all_pairs else f"{photo.stem}.mp4"
            yield number, {"photo": str(photo), "speech": str(sound), "output": name}
        if not fitting:
            number += 1
            problems.append(Problem(number, str(photo), f"it has no recording of its name in {speeches}.", 2))
    for sound in sounds if not all_pairs else ():
        if sound.stem not in {photo.stem for photo in pictures}:
            number += 1
            problems.append(Problem(number, str(sound), f"it has no photo of its name in {photos}.", 2))


def _photos(folder: Path) -> list[Path]:
    """Its pictures; those of kinds that are only named when they are read, where no other has their name."""
    pictures = _listed(folder, PHOTOS)
    stems = {path.stem for path in pictures}
    return sorted([*pictures, *(path for path in _listed(folder, NAMED) if path.stem not in stems)])


def _listed(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(path for path in found if path.is_file())


def _row(number: int, cells: dict[str, str], here: Path, base: dict[str, Any], given: frozenset[str]) -> Row:
    if unknown := [name for name in cells if name not in {*FILES, *OPTIONS}]:
        raise UsageError(f"{unknown[0]!r} is none of {', '.join([*FILES, *OPTIONS])}.")
    cells = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
    for name, cell in cells.items():
        if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in cell):
            raise UsageError(f"{name} holds characters that no name has; correct it.")
    if missing := [name for name in ("photo", "output") if name not in cells]:
        raise UsageError(f"{missing[0]} is empty; fill it in.")
    named = {name: _value(name, cell, here) for name, cell in cells.items() if name in OPTIONS}
    options = RenderOptions(**{**base, **named})
    if "speech" not in cells and not options.drive:
        raise UsageError("there is nothing to say; fill in speech or drive.")
    return Row(
        number,
        here / cells["photo"],
        here / cells["speech"] if "speech" in cells else None,
        _inside(cells["output"]),
        options,
        given | named.keys(),
    )


def _name(key: str) -> str:
    return key.strip().lower().replace("-", "_")


def _value(name: str, text: str, here: Path) -> Any:
    """A cell as the type of its option. Raises UsageError."""
    hint = OPTIONS[name]
    kinds = get_args(hint) or (hint,)
    try:
        if bool in kinds:
            return YES_NO[text.lower()]
        if Path in kinds:
            return here / text
        if Fraction in kinds:
            return parse_fps(text)
        return next(kind(text) for kind in (int, float, str) if kind in kinds)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} is {text!r}, which is no value for it; correct it.") from error


def _inside(name: str) -> Path:
    """The path of an output, if it stays in the batch's folder on every system. Raises UsageError."""
    parts = PureWindowsPath(name).parts  # takes both kinds of slashes
    if PureWindowsPath(name).anchor or ":" in name or ".." in parts or STATE in (part.lower() for part in parts):
        raise UsageError(f"the output {name!r} leaves the folder of the batch; give a plain name such as 'a.mp4'.")
    if Path(name).suffix.lower() not in CONTAINERS:
        raise UsageError(f"the output {name!r} does not end in {', '.join(CONTAINERS)}; choose one of these endings.")
    return Path(*parts)


def _take(row: Row, taken: dict[str, int]) -> None:
    """Names that differ in case only are one file on many disks; an output may not be another's folder, either."""
    name = unicodedata.normalize("NFC", row.output.as_posix()).casefold()
    folders = [f"{parent.as_posix()}/" for parent in Path(name).parents if parent.name]
    for key in (name, f"{name}/", *(folder[:-1] for folder in folders)):
        if key in taken:
            raise UsageError(f"the output {str(row.output)!r} is taken by row {taken[key]}; give each row its own.")
    taken |= dict.fromkeys([name, *folders], row.number)
