"""What a cell of a row means: the path of a file, or the value of an option."""

from __future__ import annotations

import os
import re
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mggdub.batch.text import as_path, brief
from mggdub.errors import UsageError
from mggdub.media.files import ADDRESS
from mggdub.options import RenderOptions, parse_fps, with_point

OPTIONS = {name: hint for name, hint in get_type_hints(RenderOptions).items() if name != "force"}
LONGEST_VALUE = 40  # characters of what is no file's name
LONGEST_NAME = 255  # bytes, of one name on every usual file system ...
LONGEST_PATH = 4000  # ... and of all of them together
WHOLE = re.compile(r"(-?\d+)[.,]0+")  # a whole number, as programs write it whose column has empty cells, too
# As the environment takes them, and as spreadsheets in German, French, Spanish, Italian and Dutch write them.
YES = frozenset("1 on t true y yes wahr ja vrai oui verdadero sí si vero sì waar".split())
NO = frozenset("0 off f false n no falsch nein faux non falso onwaar nee".split())


def as_file(name: str, cell: str, here: Path) -> Path:
    """The path of an input. Raises UsageError if no file can have that name."""
    try:
        path = as_path(cell)
    except ValueError as error:
        raise UsageError(f"{name} holds characters that no name has; correct it.") from error
    _check_length(name, path)
    return here / path


def as_input(name: str, cell: str, here: Path) -> Path:
    """The file that is there under a name, also as Windows parts folders and macOS accents. Raises UsageError."""
    path = as_file(name, cell, here)
    if ADDRESS.match(cell):
        raise UsageError(f"{name} is an address, {brief(cell)}; give the path of a file, downloaded if need be.")
    forms = (cell, cell.replace("\\", "/"))
    others = (here / as_path(unicodedata.normalize(way, form)) for way in ("NFC", "NFD") for form in forms)
    return path if os.path.lexists(path) else next(filter(os.path.exists, others), path)  # they raise nothing


def _yes_or_no(name: str, text: str) -> bool:
    word = unicodedata.normalize("NFC", text).lower()
    if word not in YES | NO:
        raise UsageError(f"{name} is {brief(text)}; write yes or no.")
    return word in YES


def _check_length(name: str, path: str) -> None:
    size = len(os.fsencode(path))
    longest = max((len(os.fsencode(part)) for part in Path(path).parts), default=0)
    if longest > LONGEST_NAME:
        raise UsageError(f"the name of the {name} is too long ({longest} bytes); give one of at most {LONGEST_NAME}.")
    if size > LONGEST_PATH:
        raise UsageError(f"the path of the {name} is too long ({size} bytes); shorten it.")


def as_option(name: str, text: str, here: Path) -> Any:
    """A cell as the type of its option. Raises UsageError."""
    hint = OPTIONS[name]
    kinds = get_args(hint) or (hint,)
    if Path in kinds:
        return as_input(name, text, here)
    try:
        if len(text) > LONGEST_VALUE:
            raise ValueError(text)
        if (whole := WHOLE.fullmatch(text)) and (bool in kinds or int in kinds or name == "face"):
            text = whole[1]
        if bool in kinds:
            return _yes_or_no(name, text)
        if Fraction in kinds:
            return parse_fps(text)
        if float in kinds:
            return float(with_point(text))
        return int(text) if int in kinds else text
    except ValueError as error:
        raise UsageError(f"{name} is {brief(text)}, which is no value for it; correct it.") from error
