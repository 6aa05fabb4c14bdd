"""What a batch is asked for: rows from a CSV, from JSON lines or from two folders. Nothing is decoded here."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

from mggdub.batch.cells import OPTIONS, as_file, as_input, as_option
from mggdub.batch.text import as_path, brief, read_table, read_text, shown
from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.media.files import CONTAINERS, check_input, missing
from mggdub.media.table import column_name
from mggdub.media.unread import NAMED, PICTURES
from mggdub.options import RenderOptions, changed, check_used

STATE = ".mggdub"  # folder in the batch's folder
FILES = ("photo", "speech", "output")
COLUMNS = (*FILES, *OPTIONS)
LARGEST_FILE = 64 << 20  # bytes
LONGEST_LINE = 1 << 20  # characters of JSON
MOST_SHOWN = 3  # folders that a sentence names
DEEPEST = 40  # folders of an output
MOST_ROWS = 100_000
MOST_LINES = 1_000_000  # empty ones included
UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]")  # not the bytes of os.fsdecode
PHOTOS = PICTURES | {".mgg"}
SOUNDS = frozenset(
    ".3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .au .avi .awb .caf .flac .flv .g722 .m2ts .m4a .m4b .m4v .mka .mkv "
    ".mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .ogv .opus .qt .snd .sph .spx .ts .tta .vob .w64 .wav .weba .webm "
    ".wma .wmv .wv".split()
)
NO_OBJECT = "it is no JSON object of texts and numbers in a line of its own"


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

    @property
    def message(self) -> str:
        """The sentence, with the file in it."""
        escaped = self.file.encode("utf-8", "backslashreplace").decode()
        sentence = self.sentence.replace(escaped, self.file)
        return shown(sentence if self.file in sentence else f"{self.file}: {sentence}")

    def __str__(self) -> str:
        return f"Row {self.number}: {self.message}"


Entry = tuple[int, dict[str, str]]  # number and cells of a row


def read_rows(
    source: Path, speech: Path | None, all_pairs: bool, base: dict[str, Any], given: frozenset[str]
) -> tuple[list[Row], list[Problem]]:
    """The rows of a manifest, or the pairs of two folders, and what is wrong with others.

    `base` are the options of the command line, `given` those of them that were named; a row's own come first. Raises
    UsageError or InputError if nothing can be read at all.
    """
    problems: list[Problem] = []
    try:
        entries, here = _entries(source, speech, all_pairs, problems)
        rows = _rows(source, entries, here, problems, base, given)
    except csv.Error as error:
        raise InputError(f"{source} is not a table of rows ({error}); export it again as CSV.") from error
    except OSError as error:
        raise InputError(f"{error.filename or source} cannot be read ({error.strerror or error}).") from error
    if not rows and not problems:
        what = "photos (folders in it are not looked into)" if source.is_dir() else "rows"
        raise InputError(f"{source} holds no {what}; nothing is to be rendered.")
    return rows, problems


def check_all_used(rows: list[Row], asked: frozenset[str]) -> None:
    """Raises UsageError if one of the options `asked` for all rows changes nothing in any of them."""
    for name in sorted(asked):
        idle: list[UsageError] = []
        for row in rows:
            try:
                check_used(row.options, [name])
                break
            except UsageError as error:
                idle.append(error)
        else:
            if idle:
                raise UsageError(f"{idle[0]} No row has it otherwise.")


def _entries(
    source: Path, speech: Path | None, all_pairs: bool, problems: list[Problem]
) -> tuple[Iterator[Entry], Path]:
    """What is asked for, row by row, and the folder that its names begin in."""
    try:
        source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(missing(source)) from error
    if source.is_dir():
        if not speech:
            raise UsageError(f"{source} is a folder of photos; name the folder of recordings after it.")
        if not speech.is_dir():
            _want_folder(speech, "recording")
        return _pairs(source, speech, all_pairs, problems), Path.cwd()
    if speech and source.suffix.lower() in PHOTOS:
        _want_folder(source, "photo")
    if speech or all_pairs:
        raise UsageError(f"{source} is a manifest; a second folder and --all-pairs go with a folder of photos.")
    kinds = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    if source.suffix.lower() not in kinds:
        raise UsageError(f"{source} is no folder and does not end in .csv, .tsv or .jsonl; save a spreadsheet as CSV.")
    if check_input(source).stat().st_size > LARGEST_FILE:
        raise InputError(f"{source} is larger than {LARGEST_FILE >> 20} MiB; cut it into parts.")
    text = read_text(source)
    if text.count("\n") > MOST_LINES:
        raise InputError(f"{source} has more than {MOST_LINES} lines; cut it into parts.")
    return kinds[source.suffix.lower()](source, text, problems), source.parent.absolute()


def _want_folder(path: Path, what: str) -> NoReturn:
    """Raises UsageError for a file, or nothing, where a folder of photos or recordings should be."""
    if not path.exists():
        raise UsageError(missing(path))
    raise UsageError(f"{path} is no folder; put the {what} into one, and --all-pairs dubs every photo with each.")


def _rows(
    source: Path,
    entries: Iterator[Entry],
    here: Path,
    problems: list[Problem],
    base: dict[str, Any],
    given: frozenset[str],
) -> list[Row]:
    rows: list[Row] = []
    taken: dict[str, int] = {}
    file = "" if source.is_dir() else str(source)
    for number, cells in entries:
        if len(rows) + len(problems) >= MOST_ROWS:
            raise InputError(f"{source} asks for more than {MOST_ROWS} videos; cut it into parts.")
        if not cells:  # its problem has been noted
            continue
        try:
            row = _row(number, cells, here, base, given)
            _take(row, taken)
            rows.append(row)
        except MggdubError as error:
            problems.append(Problem(number, file, str(error), error.exit_code, cells.get("output", "")))
    return rows


def _csv(path: Path, text: str, problems: list[Problem]) -> Iterator[Entry]:
    lines = read_table(path, text, COLUMNS)
    _, header = next(lines)
    if missing := [name for name in ("photo", "output") if name not in header]:
        raise UsageError(f"{path} has no column {missing[0]!r}; its first line names the columns.")
    for number, cells in lines:
        if header[0] == "photo" and _is_left_out(cells[0], path.parent):
            continue
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        else:
            sentence = f"it has {len(cells)} cells for {len(header)} columns; complete it."
            problems.append(Problem(number, str(path), sentence, 2))
            yield number, {}


def _is_left_out(photo: str, here: Path) -> bool:
    """Whether somebody wrote # before a row: no photo has that name, but one has the rest of it."""
    rest = photo.lstrip("# ")
    with suppress(ValueError, OSError):  # of names that no file has
        there = [(here / as_path(name)).exists() for name in (photo.strip(), rest)]
        return photo.startswith("#") and there == [False, True]
    return False


def _json_lines(path: Path, text: str, problems: list[Problem]) -> Iterator[Entry]:
    for number, line in enumerate(io.StringIO(text), 1):
        if not line.strip() or line.lstrip().startswith(("#", "//")):
            continue
        try:
            yield number, _json_cells(line)
        except (ValueError, RecursionError) as error:
            sentence = str(error) if type(error) is ValueError else NO_OBJECT
            problems.append(Problem(number, str(path), f"{sentence}; correct it.", 2))
            yield number, {}


def _json_cells(line: str) -> dict[str, str]:
    """The cells of a line. Raises ValueError, which says what is wrong, JSONDecodeError or RecursionError."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it is longer than {LONGEST_LINE} characters")
    pairs = json.loads(line, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str)
    if not isinstance(pairs, _Pairs) or any(isinstance(value, (list, tuple)) for _, value in pairs):
        raise ValueError(NO_OBJECT)
    cells = {column_name(key): "" if value is None else str(value) for key, value in pairs}
    if len(cells) < len(pairs):
        raise ValueError("it names a column twice")
    if not cells:
        raise ValueError("it is empty")
    return cells


class _Pairs(tuple[tuple[str, Any], ...]):
    """The keys and values of a JSON object, repeated ones too."""


def _pairs(photos: Path, speeches: Path, all_pairs: bool, problems: list[Problem]) -> Iterator[Entry]:
    """Every photo with the recording of the same name, or with every recording."""
    pictures, sounds = _photos(photos), _listed(speeches, SOUNDS)
    partners = dict.fromkeys(pictures, sounds) if all_pairs else _of_one_name(pictures, sounds)
    number = 0
    for photo, fitting in partners.items():
        for sound in fitting:
            number += 1
            name = f"{photo.stem}_{sound.stem}.mp4" if all_pairs else f"{photo.stem}.mp4"
            yield number, {"photo": str(photo), "speech": str(sound), "output": name}
        if not fitting:
            number += 1
            problems.append(Problem(number, str(photo), f"it has no recording of its name in {speeches}.", 2))
    paired = {sound for fitting in partners.values() for sound in fitting}
    for sound in (sound for sound in sounds if sound not in paired and not all_pairs):
        number += 1
        problems.append(Problem(number, str(sound), f"it has no photo of its name in {photos}.", 2))


def _of_one_name(photos: list[Path], sounds: list[Path]) -> dict[Path, list[Path]]:
    """The recordings of each photo's name; of names that differ in capitals or spaces at their ends, what is left."""
    found: dict[Path, list[Path]] = {photo: [] for photo in photos}
    for name in (_stem, _loosely):
        paired = {sound for fitting in found.values() for sound in fitting}
        by_name: dict[str, list[Path]] = {}
        for sound in sounds:
            if sound not in paired:
                by_name.setdefault(name(sound), []).append(sound)
        found = {photo: fitting or by_name.get(name(photo), []) for photo, fitting in found.items()}
    return found


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem)  # some disks part letters from their accents


def _loosely(path: Path) -> str:
    return _stem(path).strip().casefold()


def _photos(folder: Path) -> list[Path]:
    """Its pictures; those of kinds that are only named when they are read, where no other has their name."""
    pictures = _listed(folder, PHOTOS)
    stems = {_stem(path) for path in pictures}
    return sorted([*pictures, *(path for path in _listed(folder, NAMED) if _stem(path) not in stems)])


def _listed(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Its files, and links to files that are gone, which are told when they are looked at."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(path for path in files if path.is_file() or (path.is_symlink() and not path.exists()))


def left_out(source: Path, speech: Path | None) -> Iterator[str]:
    """Sentences about the folders in two folders of a batch that hold what it would take, were it not in there."""
    for place, what, suffixes in ((source, "photos", PHOTOS), (speech, "recordings", SOUNDS)):
        inner = (path for path in place.iterdir() if path.name[0] != ".") if place and source.is_dir() else ()
        with suppress(OSError):  # of those that may not be looked into
            if names := sorted(path.name for path in inner if path.is_dir() and _listed(path, suffixes)):
                more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
                named = ", ".join(names[:MOST_SHOWN]) + more
                yield f"{place}: the {what} in its folders ({named}) are left out; give such a folder itself."


def _row(number: int, cells: dict[str, str], here: Path, base: dict[str, Any], given: frozenset[str]) -> Row:
    if unknown := next((name for name in cells if name not in COLUMNS), None):
        raise UsageError(f"{brief(unknown)} is none of {', '.join(COLUMNS)}.")
    cells = {name: cell.strip() for name, cell in cells.items() if cell and not cell.isspace()}
    for name, cell in cells.items():
        if UNNAMEABLE.search(cell):
            raise UsageError(f"{name} holds characters that no name has; correct it.")
    if missing := [name for name in ("photo", "output") if name not in cells]:
        raise UsageError(f"{missing[0]} is empty; fill it in.")
    named = {name: as_option(name, cell, here) for name, cell in cells.items() if name in OPTIONS}
    options = RenderOptions(**{**base, **named})
    check_used(options, changed(options, named))
    if "speech" not in cells and not options.drive:
        raise UsageError("there is nothing to say; fill in speech or drive.")
    return Row(
        number,
        as_input("photo", cells["photo"], here),
        as_input("speech", cells["speech"], here) if "speech" in cells else None,
        _inside(cells["output"]),
        options,
        given | named.keys(),
    )


def _inside(name: str) -> Path:
    """The path of an output, if it stays in the batch's folder on every system. Raises UsageError."""
    parts = PureWindowsPath(name).parts  # takes both kinds of slashes
    streams = ":" in name and os.name == "nt"  # of one file; elsewhere it is a letter as others are: 12:30.mp4
    if PureWindowsPath(name).anchor:
        raise UsageError(f"the output {brief(name)} is a whole path; give one in the folder of -o, such as 'a.mp4'.")
    if streams or ".." in parts or STATE in (part.lower() for part in parts):
        raise UsageError(f"the output {brief(name)} leaves the folder of the batch; give a plain name such as 'a.mp4'.")
    if PureWindowsPath(name).name.lower() in CONTAINERS:
        raise UsageError(f"the output {brief(name)} is an ending without a name before it; give a name.")
    if PureWindowsPath(name).suffix.lower() not in CONTAINERS:
        endings = ", ".join(CONTAINERS)
        raise UsageError(f"the output {brief(name)} does not end in {endings}; choose one of these endings.")
    path = as_file("output", str(Path(*parts)), Path())
    if len(parts) > DEEPEST:
        raise UsageError(f"the output {brief(name)} lies {len(parts)} folders deep; {DEEPEST} is the most.")
    return path


def _take(row: Row, taken: dict[str, int]) -> None:
    """Names that differ in case only are one file on many disks; an output may not be another's folder, either."""
    name = unicodedata.normalize("NFC", row.output.as_posix()).casefold()
    folders = [f"{parent.as_posix()}/" for parent in Path(name).parents if parent.name]
    for key in (name, f"{name}/", *(folder[:-1] for folder in folders)):
        if key in taken:
            raise UsageError(f"the output {str(row.output)!r} is taken by row {taken[key]}; give each row its own.")
    taken |= dict.fromkeys([name, *folders], row.number)
