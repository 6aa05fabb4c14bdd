"""The three streams a program is started with, whatever state they are in: closed, full, or of an ASCII locale."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress

from mggdub.errors import OutputError


class Messages(io.TextIOWrapper):
    """Standard error: what cannot be said is left out, and no reason to stop."""

    def write(self, text: str) -> int:
        """As every stream's, but raises nothing."""
        with suppress(OSError, ValueError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """As every stream's, but raises nothing."""
        with suppress(OSError, ValueError):
            super().flush()


class Results(io.TextIOWrapper):
    """Standard output: a reader who has had enough may leave; anything else raises OutputError."""

    def write(self, text: str) -> int:
        """As every stream's. Raises OutputError."""
        try:
            return super().write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        """As every stream's. Raises OutputError."""
        try:
            super().flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        _discard(1)  # what is still in the buffer must not fail again
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            raise OutputError(f"The result could not be written to standard output ({error.strerror or error}).")


def settle() -> None:
    """Make the standard streams usable. A closed one becomes one that nobody reads, so that no file gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    codecs.register_error("mggdub.bytes", _bytes)
    codecs.register_error("mggdub.legible", _legible)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    writer = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    sys.stdout = Results(writer, _encoding(sys.stdout), "mggdub.bytes", write_through=True)
    sys.stderr = messages(2, "mggdub.legible")


def messages(descriptor: int, errors: str) -> Messages:
    """A stream of messages to an open descriptor, which it leaves open."""
    writer = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return Messages(writer, _encoding(sys.stderr), errors, line_buffering=True)


def finish() -> None:
    """Say nothing more: what libraries print while the program ends is nobody's business."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, OutputError):
            stream.flush()
    _discard(1)
    _discard(2)


def _encoding(stream: io.TextIOWrapper | object) -> str:
    """The stream's own; in place of ASCII its superset, in which all names can be written."""
    name = str(getattr(stream, "encoding", None) or "ascii")
    return "utf-8" if codecs.lookup(name).name == "ascii" else name


def _discard(descriptor: int) -> None:
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)


def _bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a name that are no letters, as they are."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    try:
        return text.encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:  # half a pair of UTF-16
        return text.encode("utf-8", "backslashreplace"), error.end


def _legible(error: UnicodeError) -> tuple[str | bytes, int]:
    """Letters that an ASCII locale took apart, put together again; other bytes as numbers."""
    assert isinstance(error, UnicodeEncodeError)
    data, end = _bytes(error)
    assert isinstance(data, bytes)
    return data.decode("utf-8", "backslashreplace").encode("utf-8"), end
