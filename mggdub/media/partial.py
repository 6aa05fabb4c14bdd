"""Files that are not whole yet: their names, who holds them, how they appear, and what killed writers have left.

While it is written, a file is hidden in its folder under a name that nobody can guess and that says who writes it:
`.NAME.PID-BIRTH-HOST-RANDOM.partial.SUFFIX`. It belongs to its owner alone and was made anew, so that no link can stand
in for it; its writer holds a lock on it. What writers that were killed have left is removed by the next one.
"""

from __future__ import annotations

import atexit
import os
import re
import stat
import zlib
from contextlib import suppress
from pathlib import Path

from mggdub.errors import OutputError

LONGEST_STEM = 80  # bytes of a name that its partial repeats; file systems allow 255, some 143
LONGEST_SUFFIX = 16
PARTIAL = re.compile(r"\..*\.(\d{1,10})-(\d{1,20})-([0-9a-f]{8})-[0-9a-f]{16}\.partial(?:\.\w{1,15})?", re.DOTALL)


def hidden_sibling(path: Path) -> Path:
    """Where a file lives until it is whole: a name nobody can guess in the same folder, short enough for any."""
    token = f"{os.getpid()}-{_birth(os.getpid())}-{_host()}-{os.urandom(8).hex()}"
    suffix = path.suffix if len(os.fsencode(path.suffix)) < LONGEST_SUFFIX else ""
    stem = path.stem
    while len(os.fsencode(stem)) > LONGEST_STEM:
        stem = stem[:-1]
    return path.with_name(f".{stem}.{token}.partial{suffix}")


def create_partial(partial: Path) -> int:
    """A descriptor of a new, empty file that is locked as long as it is open. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(partial, flags, 0o600)
    if os.name == "posix":
        os.fchmod(descriptor, 0o600)  # whatever the umask
        _lock(descriptor)
        return descriptor
    os.close(descriptor)  # Windows renames no open file
    return os.open(os.devnull, os.O_RDONLY)


class Removal:
    """Removes a partial file when its block ends, at the latest with the program: a signal may keep blocks from ending.

    In a child that was forked it does nothing.
    """

    def __init__(self, partial: Path) -> None:
        self._partial, self._owner = partial, os.getpid()
        atexit.register(self._remove)

    def __enter__(self) -> None:
        """Nothing: the file may be made now."""

    def __exit__(self, *_: object) -> None:
        """Raises nothing."""
        self._remove()
        atexit.unregister(self._remove)

    def _remove(self) -> None:
        with suppress(OSError):
            if os.getpid() == self._owner:
                self._partial.unlink(missing_ok=True)


def appear(partial: Path, path: Path, force: bool, folder: int | None = None) -> None:
    """Give a whole file its name; without `force` the name must be free at this very moment.

    `folder` is a descriptor of the folder that `path` lies in, for when the way there is not trusted. A link in the
    place of `path` is replaced with `force` and refused without. Raises OutputError or OSError.
    """
    name = path if folder is None else Path(path.name)
    if force:
        os.replace(partial, name, dst_dir_fd=folder)
        return
    try:
        _link(partial, name, folder)
    except FileExistsError as error:
        raise OutputError(f"{path} exists; choose another name or overwrite it with --force.") from error


def _link(partial: Path, name: Path, folder: int | None) -> None:
    try:
        os.link(partial, name, dst_dir_fd=folder)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        _claim(partial, name, folder)
    else:
        partial.unlink()


def _claim(partial: Path, name: Path, folder: int | None) -> None:
    """Give a file a name that is taken first, so that it is ours when it is replaced."""
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
    try:
        os.replace(partial, name, dst_dir_fd=folder)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise


def remove_stale(folder: Path) -> None:
    """Remove what killed processes of this machine and user left half-written in a folder. Raises nothing.

    Only plain files of our own kind of name, whose process does not live and whose lock nobody holds.
    """
    if os.name != "posix":
        return
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208  names alone
            match = PARTIAL.fullmatch(name)
            if match and match[3] == _host() and not _lives(int(match[1]), match[2]):
                with suppress(OSError):
                    _remove(folder / name)


def _remove(partial: Path) -> None:
    info = partial.lstat()
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
        return
    descriptor = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(descriptor):
            partial.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open; False if another process has. Disks without locks say True."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lives(pid: int, birth: str) -> bool:
    """Whether the process that had this number at that time is still at work."""
    if known := _process(pid):
        return known[0] not in "ZX" and known[19] == birth  # neither dead nor another one of the same number
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int) -> str:
    """When a process began, in ticks since the machine did; 0 where the system does not say."""
    return known[19] if (known := _process(pid)) else "0"


def _process(pid: int) -> list[str]:
    """Fields of Linux's /proc/PID/stat from the state on; [] elsewhere."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes().decode("ascii", "replace")
    except OSError:
        return []
    known = status.rpartition(")")[2].split()
    return known if len(known) > 19 else []


def _host() -> str:
    name = os.uname().nodename if os.name == "posix" else os.environ.get("COMPUTERNAME", "")
    return f"{zlib.crc32(os.fsencode(name)):08x}"
