"""Errors a user can act on. Each carries the exit code of the command line."""

from __future__ import annotations

import errno
import math
import unicodedata

NO_MEMORY = "There is not enough memory; close other programs, or try --preview, --size 512 or a smaller input."
# How libraries say that memory is short, where they do not raise MemoryError.
SHORT_OF_MEMORY = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc"),
    *("failed to map segment", "can't start new thread", "insufficient memory"),
)
LONGEST = 80  # characters of a foreign text in a sentence


class MggdubError(Exception):
    """One sentence: what happened, to which file, what to do.

    Whatever a file's name or content brings into it, it is one line without escape sequences.
    """

    exit_code = 1

    def __init__(self, sentence: str = "") -> None:
        super().__init__(printable(sentence))


def short_of_memory(error: BaseException | None) -> bool:
    """Whether it, or what it came from, says that the system has no more memory; damage to a file it is not, then."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    named = isinstance(error, (RuntimeError, ImportError, OSError)) and any(
        words in str(error).lower() for words in SHORT_OF_MEMORY
    )
    return named or short_of_memory(error.__cause__ or error.__context__)


def printable(text: str) -> str:
    """A text in which everything that is no letter, sign or space is escaped: nothing in it moves a cursor."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def excerpt(text: object, longest: int = LONGEST) -> str:
    """The first line of a foreign text for a sentence: printable, no longer than that, without its full stop."""
    lines = str(text)[: 4 * longest].strip().splitlines() or [type(text).__name__]
    line = printable(lines[0].rstrip(". "))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def plain(value: float) -> str:
    """A number for a sentence: four digits, those before the point whole, never an exponent."""
    if not math.isfinite(value):
        return str(value)
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{min(max(digits, 0), 6)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


class UsageError(MggdubError):
    """The command line asks for something that does not exist or does not fit (exit code 2)."""

    exit_code = 2


class InputError(MggdubError):
    """An input exists but cannot be used: no face, unreadable, no samples (exit code 3)."""

    exit_code = 3


class OutputError(MggdubError):
    """The output cannot be written: exists, no permission, disk full (exit code 4)."""

    exit_code = 4


class BatchError(MggdubError):
    """Some rows of a batch could not be rendered, the others are done (exit code 5)."""

    exit_code = 5


class CheckError(MggdubError):
    """`--strict`, and a video that was written failed a check of its own (exit code 6)."""

    exit_code = 6
