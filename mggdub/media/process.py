"""Running ffmpeg: which binary, how it is started, how it ends. Arguments are lists, never shell strings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Queue
from threading import Event, Lock, Thread
from typing import Any

import ffmpeg
import imageio_ffmpeg

from mggdub.errors import UsageError
from mggdub.media.demux import FORMATS, MOST_PIXELS

QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
# What ended it, by its exit status, where the system and not ffmpeg did.
ENDED = {
    -getattr(signal, name): reason
    for name, reason in {
        "SIGXFSZ": "the file would be larger than the limit that is set, ulimit -f",
        "SIGXCPU": "the limit on processor time is reached, ulimit -t",
        "SIGKILL": "it was killed; the machine may be short of memory",
        "SIGSEGV": "it crashed",
        "SIGABRT": "it crashed",
        "SIGTERM": "it was ended by somebody else",
    }.items()
    if hasattr(signal, name)
}
ANSWER = 10  # s that an ffmpeg may take to say its version


@cache
def _bundled() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UsageError(
            "There is no ffmpeg: imageio-ffmpeg brought none for this machine; point MGGDUB_FFMPEG at one."
        ) from error


def binary() -> str:
    """$MGGDUB_FFMPEG if set, else the one that imageio-ffmpeg ships. Raises UsageError if it does not run."""
    override = os.environ.get("MGGDUB_FFMPEG")
    if not override:
        return _bundled()
    path = shutil.which(override)
    if path is None:
        raise UsageError(f"MGGDUB_FFMPEG names {override}, which is not a program; correct or unset it.")
    if problem := _tried(path):
        raise UsageError(f"MGGDUB_FFMPEG names {override}, which does not work as ffmpeg ({problem}); unset it.")
    return path


@cache
def _tried(path: str) -> str:
    """What is wrong with somebody's own ffmpeg, empty if it says its version."""
    try:
        done = subprocess.run(
            [path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ANSWER
        )
    except subprocess.TimeoutExpired:
        return f"it does not answer within {ANSWER} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode != 0:
        return f"it ends with {done.returncode}"
    return "" if done.stdout.startswith(b"ffmpeg version") else "it does not say its version"


def version() -> str:
    """The first line ffmpeg says about itself. Raises UsageError or OSError."""
    output = _output_of("-version")
    return output.splitlines()[0] if output else "does not run"


def encoders() -> set[str]:
    """Names of what ffmpeg can encode. Raises UsageError or OSError."""
    return {line.split()[1] for line in _output_of(*QUIET, "-encoders").splitlines() if len(line.split()) > 1}


def _output_of(*flags: str) -> str:
    done = subprocess.run([binary(), *flags], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace")


def source(path: Path, index: int, shift: float = 0.0, **options: Any) -> Any:
    """A stream of a plain file as ffmpeg-python input: `concat:`, `http:` and the like in its name mean nothing.

    `shift` is added to its time stamps (s).
    """
    limits = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": MOST_PIXELS}
    if shift:
        options["itsoffset"] = f"{shift:.6f}"
    return ffmpeg.input(address(path), **limits, **options)[str(index)]


def arguments(stream: Any) -> list[str]:
    """The argv of an ffmpeg-python graph."""
    return [_as_given(str(part)) for part in ffmpeg.compile(stream.global_args(*QUIET), cmd=binary())]


def address(path: Path) -> str:
    """A plain file for ffmpeg-python, a letter for each byte: it knows no names that are not UTF-8."""
    return f"file:{os.fsencode(path).decode('latin-1')}"


def _as_given(part: str) -> str:
    """An argument with the name of a file as the system knows it: what `address` did is undone."""
    return os.fsdecode(part.encode("latin-1")) if part.startswith("file:") else part


@dataclass(eq=False)
class Running:
    """A living ffmpeg. `stderr` holds the last lines of that, complete after `wait`: for people, not for decisions."""

    process: subprocess.Popen[bytes]
    stderr: deque[str]
    listener: Thread

    def wait(self) -> int:
        """Its exit status, once it has said everything."""
        status = self.process.wait()
        self.listener.join()
        return status

    @property
    def reason(self) -> str:
        """Why it stopped: the signal that ended it, or the line of stderr that tells most, the first error."""
        if self.process.returncode in ENDED:
            return ENDED[self.process.returncode]
        lines = [line.split("] ", 1)[-1].strip() for line in self.stderr if line.strip()]
        return lines[0].rstrip(".") if lines else "it did not say why"


@contextmanager
def start(argv: list[str], **pipes: Any) -> Iterator[Running]:
    """Run ffmpeg inside a `with`; on the way out it is dead and reaped, whatever happened.

    It gets its own session, so that Ctrl-C reaches only us and a half video is never finished as if it were whole. The
    thread that reads its stderr starts it, since a signal that interrupts this one in the middle of that would leave an
    ffmpeg nobody knows of; one that comes before that thread runs keeps it from starting anything.
    """
    stderr: deque[str] = deque(maxlen=40)
    born: Queue[subprocess.Popen[bytes] | Exception] = Queue()
    given_up, starting = Event(), Lock()

    def listen() -> None:
        with starting:
            if given_up.is_set():
                return
            try:
                process = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True, **pipes)
            except Exception as error:
                born.put(error)
                return
            born.put(process)
        assert process.stderr is not None
        for line in process.stderr:
            stderr.append(line.decode("utf-8", "replace"))

    listener = Thread(target=listen, daemon=True)
    child: subprocess.Popen[bytes] | Exception | None = None
    try:
        listener.start()
        child = born.get()
        if isinstance(child, Exception):
            raise child
        yield Running(child, stderr, listener)
    finally:
        if child is None:
            with starting:
                given_up.set()
            child = None if born.empty() else born.get()
        if isinstance(child, subprocess.Popen):
            _end(child, listener)


def _end(process: subprocess.Popen[bytes], listener: Thread) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    listener.join()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            _close(pipe)


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # bytes still buffered for a process that is gone
        return
