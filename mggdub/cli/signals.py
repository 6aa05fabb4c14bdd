"""How the program is ended from outside: whoever is at work unwinds, so that ffmpeg is reaped and nothing is left."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from mggdub.errors import OutputError

PATIENCE = 10.0  # s in which a second signal is taken for a repetition of the first
SOON = 0.05  # s after which a signal that was lost is sent again
AT_LAST = 40.0  # s after a signal, in which everything has long unwound but where it waits for itself
TIDYING = 5.0  # s of that for what is done at an end
LOOK = 0.5  # s between two looks at the folder of the output
UNKNOWN = (0, 0)
_last: list[int] = []  # the number of the signal that asked last, if one did
# Those that cannot be caught, those that do not end a program, and faults, after which there is nothing to go on with.
LEFT_ALONE = frozenset(
    getattr(signal, name)
    for name in (
        *("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"),
        *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGINFO"),
    )
    if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end; `exit_code` is what shells call it.

    Native code may drop what was raised while it ran, as some modules do when they are imported. An exception that is
    given up before it was `answered` calls `dropped` with its number.
    """

    def __init__(self, number: int, dropped: Callable[[int], None] | None = None) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number
        self._dropped = dropped

    def __del__(self) -> None:
        if self._dropped:
            self._dropped(self.number)

    def answered(self) -> None:
        """Whoever asked is answered: nothing more is to be done about it."""
        self._dropped = None

    @property
    def sentence(self) -> str:
        """What to tell of it."""
        if self.number == getattr(signal, "SIGXCPU", None):
            return "Interrupted: the limit on processor time (ulimit -t) is reached; nothing was left behind."
        by = "" if self.number == signal.SIGINT else f" by {_name(self.number)}"
        return f"Interrupted{by}; nothing was left behind."


def install() -> None:
    """Let every signal that would end this process raise Interrupted in the main thread, once.

    What is ignored (nohup) stays ignored. Repetitions while the first one unwinds are not heard. One that was dropped
    on its way, as happens where an object is finalised or a module in C is imported, is sent again. What does not
    unwind, since a library's lock was left closed, is ended AT_LAST seconds later.
    """
    heard: list[float] = []
    gate = threading.Lock()
    gate.acquire()
    # Begun now: where the signal comes, in the midst of another start, no thread may be startable.
    with suppress(RuntimeError):
        threading.Thread(target=_end_at_last, args=(gate, _last), daemon=True).start()
    others = sys.unraisablehook

    def quiet(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Interrupted):
            others(what)

    sys.unraisablehook = quiet

    def send_again(number: int) -> None:
        if sys.is_finalizing():  # it has ended the program; a thread that is started now waits for ever
            return
        heard.clear()
        again = threading.Timer(SOON, signal.pthread_kill, (threading.main_thread().ident or 0, number))
        again.daemon = True
        again.start()  # raised here it would be lost once more

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        now = time.monotonic()
        if heard and now - heard[-1] < PATIENCE:
            return
        heard.append(now)
        _last[:1] = [number]
        with suppress(RuntimeError):  # it is open already
            gate.release()
        raise Interrupted(number, send_again)  # without a name, which would keep it alive

    for number in signal.valid_signals() - LEFT_ALONE:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            with suppress(OSError, ValueError):  # the system may keep some for itself
                signal.signal(number, interrupt)
    _leave_time()


def _end_at_last(gate: threading.Lock, number: list[int]) -> None:
    """End the process as the signal says, where it goes on for too long after the gate was opened.

    Files that are not whole are removed.
    """
    gate.acquire()
    time.sleep(AT_LAST)
    sys.stderr.write(f"{Interrupted(number[0]).sentence}\n")
    tidying = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    tidying.start()
    tidying.join(TIDYING)
    os._exit(128 + number[0])


def heard() -> Interrupted | None:
    """What has asked the program to end, whoever gave it up on its way; nothing is heard after it."""
    if not _last:
        return None
    ignore()
    return Interrupted(_last[0])


def ignore() -> None:
    """Hear no more signals: all is said and done."""
    for number in signal.valid_signals() - LEFT_ALONE:
        if callable(signal.getsignal(number)):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)


def _leave_time() -> None:
    """Move the limit on processor time that can be heard before the one that kills, where they are the same."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY:
        return
    earlier = max(1, hard - min(hard // 2, 1 + (os.cpu_count() or 1)))  # all cores may be at work while we wait
    if soft == resource.RLIM_INFINITY or soft > earlier:
        resource.setrlimit(resource.RLIMIT_CPU, (earlier, hard))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def folder_watched(path: Path | None) -> Iterator[None]:
    """Raise OutputError inside the block soon after the folder that `path` lies in is gone, whatever is being done.

    Only in the main thread, on systems that can send it a signal.
    """
    number = getattr(signal, "SIGUSR1", None)
    if path is None or number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    folder = Path(os.path.realpath(path)).parent
    here, over, raised = _identity(folder), threading.Event(), list[weakref.ref[_Removed]]()
    before = signal.getsignal(number)

    def gone(number: int, frame: FrameType | None) -> None:
        if _identity(folder) in (here, UNKNOWN):  # somebody else's signal
            if callable(before):
                before(number, frame)
        elif not over.is_set() and not on_its_way():
            message = f"{path} could not be written: the folder {folder} was removed; start again."
            raise _remembered(_Removed(message), raised)  # without a name, which would keep it alive

    def on_its_way() -> bool:  # False once it was dropped: see Interrupted
        return any(error() is not None for error in raised)

    def look() -> None:
        while not over.wait(LOOK):
            if _identity(folder) not in (here, UNKNOWN) and not on_its_way():
                signal.pthread_kill(threading.main_thread().ident or 0, number)

    signal.signal(number, gone)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    except _Removed as error:
        raise OutputError(str(error)) from None
    finally:
        over.set()
        watcher.join()
        signal.signal(number, before)


class _Removed(BaseException):
    """A folder was removed: no Exception, which libraries catch and take for another fault."""


def _remembered(error: _Removed, raised: list[weakref.ref[_Removed]]) -> _Removed:
    raised.append(weakref.ref(error))
    return error


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder it is, None if it is gone, UNKNOWN if it cannot be looked at for now."""
    try:
        info = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return UNKNOWN
    return info.st_dev, info.st_ino
