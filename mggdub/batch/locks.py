"""Who works on what, in all processes and machines: locks that the system lets go when a process dies."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread, get_ident

from filelock import FileLock, Timeout

from mggdub.errors import OutputError
from mggdub.media.private import private_folder

LOOK = 0.5  # s between two looks for the folder of a batch


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it. Raises OutputError where its file cannot be made or is a link."""
    held = FileLock(path, mode=0o600)
    try:
        held.acquire()
    except OSError as error:
        raise OutputError(f"{path} cannot be locked ({error.strerror or error}); remove it.") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Whether nobody else holds a lock; if so, the block does."""
    held = FileLock(path, mode=0o600)
    try:
        held.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        held.release()


@contextmanager
def present(state: Path, run: str) -> Iterator[Path]:
    """A file that is there, and locked, while the batch `run` works in a folder; raises OutputError once it is gone."""
    path = private_folder(state / "batches") / f"{run}.lock"
    with ExitStack() as held:
        with lock(path.with_name("gate.lock")):
            held.enter_context(lock(path))
        try:
            with _while_there(path):
                yield path
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def alone(state: Path, run: str) -> Iterator[bool]:
    """Whether no other batch than `run` works in a folder; none begins before the block ends."""
    folder = state / "batches"
    with lock(folder / "gate.lock"):
        others = [path for path in folder.glob("*.lock") if path.stem not in (run, "gate")]
        yield all(_is_stale(path) for path in others)


def _is_stale(path: Path) -> bool:
    """Whether a batch died without a word; its file goes."""
    with lock_if_free(path) as free:
        if free:
            path.unlink(missing_ok=True)
        return free


class _Gone(BaseException):
    """No error of the work, so that nothing but `_while_there` catches it."""


@contextmanager
def _while_there(path: Path) -> Iterator[None]:
    """Raise OutputError in the block within a second or so when a file is there no more, whatever the block does.

    The block may be in the middle of a head or of somebody else's code, so a thread looks and interrupts it.
    """
    block, ended, deciding = get_ident(), Event(), Lock()

    def look() -> None:
        while not ended.wait(LOOK):
            if not _is_gone(path):
                continue
            with deciding:
                if not ended.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(block), ctypes.py_object(_Gone))
            return

    folder = path.parents[2]
    try:
        Thread(target=look, daemon=True).start()
        try:
            yield
        finally:
            with deciding:
                ended.set()
        if _is_gone(path):
            raise _Gone
    except _Gone:
        missing = folder if _is_gone(folder) else path.parents[1]
        raise OutputError(f"{missing} was removed or replaced while the batch filled it; run it again.") from None


def _is_gone(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a network drive may have a bad moment
        return False
    return False
