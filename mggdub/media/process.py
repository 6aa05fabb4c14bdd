"""Running ffmpeg: which binary, how it is started, how it ends. Arguments are lists, never shell strings."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import ffmpeg
import imageio_ffmpeg

from mggdub.errors import UsageError
from mggdub.media.demux import FORMATS, MOST_PIXELS

QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")


@cache
def _bundled() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def binary() -> str:
    """$MGGDUB_FFMPEG if set, else the one that imageio-ffmpeg ships. Raises UsageError if neither runs."""
    override = os.environ.get("MGGDUB_FFMPEG")
    found = shutil.which(override) if override else _bundled()
    if found is None:
        raise UsageError(f"MGGDUB_FFMPEG names {override}, which is not a program; correct or unset it.")
    return found


def version() -> str:
    """The first line ffmpeg says about itself."""
    said = subprocess.run([binary(), "-version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else "does not run"


def encoders() -> set[str]:
    """Names of what ffmpeg can encode."""
    said = subprocess.run([binary(), *QUIET, "-encoders"], capture_output=True, text=True, check=False).stdout
    return {line.split()[1] for line in said.splitlines() if len(line.split()) > 1}


def source(path: Path, index: int, **options: Any) -> Any:
    """A stream of a plain file as ffmpeg-python input: `concat:`, `http:` and the like in its name mean nothing."""
    limits = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": MOST_PIXELS}
    return ffmpeg.input(f"file:{path}", **limits, **options)[str(index)]


def arguments(stream: Any) -> list[str]:
    """The argv of an ffmpeg-python graph."""
    return [str(part) for part in ffmpeg.compile(stream.global_args(*QUIET), cmd=binary())]


@dataclass(eq=False)
class Running:
    """A living ffmpeg. `said` holds its last lines on stderr, complete after `wait`: for people, not for decisions."""

    process: subprocess.Popen[bytes]
    said: deque[str]
    listener: Thread

    def wait(self) -> int:
        """Its exit status, once it has said everything."""
        status = self.process.wait()
        self.listener.join()
        return status

    @property
    def reason(self) -> str:
        """The line of stderr that tells most: the first error."""
        lines = [line.split("] ", 1)[-1].strip() for line in self.said if line.strip()]
        return lines[0].rstrip(".") if lines else "it did not say why"


@contextmanager
def start(
    argv: list[str], hear: Callable[[str], None] | None = None, ended: Callable[[], None] | None = None, **pipes: Any
) -> Iterator[Running]:
    """Run ffmpeg inside a `with`; on the way out it is dead and reaped, whatever happened.

    A thread reads stderr line by line into `hear` and calls `ended` when there is no more. It gets its own
    session, so that Ctrl-C reaches only us and a half video is never finished as if it were whole.
    """
    said: deque[str] = deque(maxlen=40)
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True, **pipes)

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            text = line.decode("utf-8", "replace")
            said.append(text)
            if hear:
                hear(text)
        if ended:
            ended()

    listener = Thread(target=listen, daemon=True)
    listener.start()
    running = Running(process, said, listener)
    try:
        yield running
    finally:
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
