"""Files for our eyes only, and names that nobody else can take: mode 0600, no link followed, nothing overwritten.

Folders may be shared. A name that others can guess may be a link of theirs by the time it is written, so what is not
whole yet lies under a random name that is made with O_EXCL.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mggdub.errors import InputError, OutputError
from mggdub.media.partial import Removal

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe that took the place of a file would be waited for
BINARY = getattr(os, "O_BINARY", 0)
FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", os.O_RDONLY)  # one that may be entered, not read, too
CHUNK = 1 << 20  # bytes


def private_folder(path: Path) -> Path:
    """A folder, made if need be, that nobody else may enter. Raises OutputError if it is a link or a stranger's."""
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        check_private(path)
        if os.name == "posix" and path.lstat().st_mode & 0o077:
            with suppress(OSError):  # some file systems have no modes
                path.chmod(0o700)
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be made ({error.strerror or error}).") from error
    return path


def check_private(path: Path) -> None:
    """Raises OutputError if a folder that is to be ours is there and is a link, a file or somebody else's."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be used ({error.strerror or error}).") from error
    if not stat.S_ISDIR(state.st_mode):
        raise OutputError(f"{path} is a link or a file where a folder of mggdub belongs; remove it.")
    if os.name == "posix" and state.st_uid not in (os.geteuid(), _owner_in(path)):
        raise OutputError(f"{path} belongs to another user; remove it or choose another folder.")


@contextmanager
def private_place(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder with an unguessable name in `folder`, for our eyes only; removed with all that is in it."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that appears whole; a link in its place is replaced. Raises OutputError."""
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    with Removal(partial):
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600), "wb") as file:
                file.write(data)
            partial.replace(path)
        except OSError as error:
            raise OutputError(f"{path} could not be written ({error.strerror or error}).") from error


def append_private(path: Path, data: bytes) -> None:
    """Append to a file of mode 0600 in one piece. Raises OSError, for a link too."""
    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_FOLLOW | BINARY, 0o600)
    try:
        os.write(target, data)
    finally:
        os.close(target)


def read_private(path: Path, most: int) -> bytes:
    """The bytes of a file of ours. Raises OSError; ValueError if it is a link, a stranger's or longer than `most`."""
    with os.fdopen(os.open(path, os.O_RDONLY | NO_FOLLOW | NO_WAIT | BINARY), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or not _is_ours(state, path.parent):
            raise ValueError(f"{path} is no file of ours")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path} is longer than {most} bytes")
    return data


def copy_hashed(source: Path, target: Path, ours: bool = False) -> str:
    """Copy a file into a new one of mode 0600; the SHA-256 (hex) of what was read, which is what is in the copy.

    With `ours`, a source that is a link or somebody else's is not read. Raises InputError if the source cannot be read,
    OutputError if the target cannot be written.
    """
    total = hashlib.sha256()
    try:
        given = os.fdopen(os.open(source, os.O_RDONLY | NO_WAIT | BINARY | (NO_FOLLOW if ours else 0)), "rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror or error}).") from error
    with given:
        state = os.fstat(given.fileno())
        if not stat.S_ISREG(state.st_mode) or (ours and not _is_ours(state, source.parent)):
            raise InputError(f"{source} is not a plain file; copy it into one first.")
        try:
            copy = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600), "wb")
            with copy:
                while chunk := _read(given, source):
                    total.update(chunk)
                    copy.write(chunk)
        except OSError as error:
            raise OutputError(f"{target} could not be written ({error.strerror or error}).") from error
    return total.hexdigest()


@contextmanager
def folder_inside(root: Path, folder: Path, make: bool = False) -> Iterator[int | None]:
    """A descriptor of `folder`, the way to which leaves `root` through no link (None where there are none: Windows).

    Nobody can turn what is reached through it into another place any more. With `make`, folders that are missing below
    `root` are made. Raises OutputError or OSError.
    """
    base, real = Path(os.path.realpath(root)), Path(os.path.realpath(folder))
    if not real.is_relative_to(base):
        raise OutputError(f"{folder} leaves the folder {root} through a link; choose another output.")
    if os.open not in os.supports_dir_fd or os.link not in os.supports_dir_fd:
        if make:
            real.mkdir(parents=True, exist_ok=True)
        yield None
        return
    try:
        opened = _walk(base, real.relative_to(base).parts, make)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be entered ({error.strerror or error}).") from error
    try:
        yield opened
    finally:
        os.close(opened)


def _walk(base: Path, parts: tuple[str, ...], make: bool) -> int:
    """A descriptor of a folder below `base`, through no link. Raises OSError, also where one was put just now."""
    opened = _open_folder(base)
    for part in parts:
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=opened)
            deeper = _open_folder(Path(part), opened)
        finally:
            os.close(opened)
        opened = deeper
    return opened


def _open_folder(path: Path, inside: int | None = None) -> int:
    return os.open(path, FOLDER | NO_FOLLOW, dir_fd=inside)


def _read(file: BinaryIO, source: Path) -> bytes:
    try:
        return file.read(CHUNK)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror or error}).") from error


def _is_ours(state: os.stat_result, folder: Path) -> bool:
    return os.name != "posix" or state.st_uid in (os.geteuid(), _owner_in(folder))


def _owner_in(folder: Path) -> int:
    """Whose our files are in a folder: network drives may give them all to one user."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return os.geteuid()
