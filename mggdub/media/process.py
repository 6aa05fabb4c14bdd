"""Running ffmpeg: which binary, how it is started, how it ends. Arguments are lists, never shell strings."""

from __future__ import annotations

import os
import re
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

# What may be read: containers that hold sound and pictures. Playlists (hls, concat, dash, sdp ...) open other files.
FORMATS = (
    "aac,ac3,aiff,amr,ape,apng,asf,au,avi,caf,dts,dv,eac3,flac,flv,gif,h264,hevc,ivf,m4v,matroska,webm,mjpeg,mov,mp4,m4a,"
    "3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,oma,rm,shn,spdif,swf,tak,tta,voc,w64,wav,webp_anim,wtv,"
    "wv,xwma,yuv4mpegpipe"
)
REFUSED = "Format not on whitelist"  # what ffmpeg says of others
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


def source(path: Path, **options: Any) -> Any:
    """A plain file as ffmpeg-python input: `concat:`, `http:` and the like in its name mean nothing."""
    return ffmpeg.input(f"file:{path}", protocol_whitelist="file", format_whitelist=FORMATS, **options)


def describe(path: Path) -> str:
    """What ffmpeg says of a file's streams."""
    argv = arguments(source(path).output("-", format="null", t=0), loud=True)
    said = subprocess.run(argv, capture_output=True, check=False).stderr.decode("utf-8", "replace")
    return said.split("Stream mapping:")[0]


def duration(said: str) -> float:
    """Seconds that a container claims in what ffmpeg says of it, 0 if it does not say."""
    clock = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else 0.0


def arguments(stream: Any, loud: bool = False) -> list[str]:
    """The argv of an ffmpeg-python graph; `loud` keeps the info lines."""
    flags = ("-hide_banner", "-nostdin", "-nostats") if loud else QUIET
    return [str(part) for part in ffmpeg.compile(stream.global_args(*flags), cmd=binary())]


@dataclass(eq=False)
class Running:
    """A living ffmpeg. `said` holds its last lines on stderr, complete after `wait`."""

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
