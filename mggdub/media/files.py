"""Paths a user hands over: what may be read, what may be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mggdub.errors import InputError, OutputError, UsageError

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4"}  # suffix to ffmpeg's name


def check_input(path: Path) -> Path:
    """The path, if it is a plain file with something in it. Raises UsageError (missing, folder) or InputError."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file.")
    if not path.exists():
        raise UsageError(f"{path} does not exist; check the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a plain file; copy it into one first.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again from its source.")
    return path


def check_output(
    path: Path, force: bool, inputs: tuple[Path, ...] = (), suffixes: tuple[str, ...] = tuple(CONTAINERS)
) -> Path:
    """The path, if a video (or a file with one of `suffixes`) may be written there; call it before the work.

    Raises UsageError for another suffix, OutputError for everything the disk says no to.
    """
    if path.suffix.lower() not in suffixes:
        endings = "; choose one of these endings" if len(suffixes) > 1 else "; choose this ending"
        raise UsageError(f"{path} does not end in {', '.join(suffixes)}{endings}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; create it first.")
    if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
        raise OutputError(f"{path} is also an input; choose another output.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; choose another name or overwrite it with --force.")
    if not os.access(path.parent, os.W_OK | os.X_OK) or not _is_writable(path.parent):
        raise OutputError(f"The folder {path.parent} cannot be written to; choose another or change its permissions.")
    return path


def hidden_sibling(path: Path) -> Path:
    """Where a file lives until it is whole: hidden, in the same folder, own to this process."""
    return path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Where to write `path` until it is whole: renamed at the end of the block, removed if the block fails.

    Raises OutputError for what the disk says.
    """
    partial = hidden_sibling(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_writable(folder: Path) -> bool:
    # access() says yes to root even on a read-only or immutable folder; only trying tells.
    probe = folder / f".mggdub.{os.getpid()}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
