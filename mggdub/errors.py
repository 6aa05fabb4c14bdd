"""Errors a user can act on. Each carries the exit code of the command line."""

from __future__ import annotations

import math


def plain(value: float) -> str:
    """A number for a sentence: four digits, those before the point whole, never an exponent."""
    if not math.isfinite(value):
        return str(value)
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{min(max(digits, 0), 6)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


class MggdubError(Exception):
    """One sentence: what happened, to which file, what to do."""

    exit_code = 1


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
