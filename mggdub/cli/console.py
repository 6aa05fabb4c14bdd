"""What a person sees meanwhile: sentences, bars, and nothing of what native libraries print."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mggdub.cli import signals, streams
from mggdub.errors import UsageError
from mggdub.progress import Progress, Stage, silent

STAGES = {
    Stage.FETCH: "Fetching LaMa's model for --inpainter lama (206 MB, once)",
    Stage.LOAD: "Loading the networks",
    Stage.CHECK: "Checking the rows",
    Stage.PHOTO: "Building the head",
    Stage.SPEECH: "Listening",
}
WORK = {
    Stage.RENDER: "Rendering",
    Stage.BATCH: "Rendering",
    Stage.MEASURE: "Measuring",
    Stage.DRIVE: "Watching the driver",
}  # what is told frame by frame
SURE = 3.0  # s of frames, after which they have shown what the others will take
LONG = 60.0  # s that are left, from which on people are told at the start
# Bytes by glibc's numbers: what is freed at an end is given back above the first, asked for beyond need the second, and
# what is larger than the third is neither kept nor shared.
KEPT = {-1: 512 << 20, -2: 16 << 20, -3: 32 << 20}


def working_folder() -> Path | None:
    """The current folder, None if it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def prepare_work() -> None:
    """What this process is told before torch is imported, so that it works well: of threads, memory and garbage.

    Raises UsageError where numba could not even be imported.
    """
    if re.fullmatch(r"\s*(-\d+|0+)\s*", threads := os.environ.get("NUMBA_NUM_THREADS", ""), re.ASCII):
        raise UsageError(f"NUMBA_NUM_THREADS is {threads}, and nothing works on no threads; correct or unset it.")
    _calm_threads()
    _keep_memory()
    gc.set_threshold(100_000)  # importing makes 350,000 objects that stay; to look through them costs a sixth of it
    if working_folder() is None:  # libraries look for their parts from there
        os.chdir("/")


def _calm_threads() -> None:
    # Must happen before torch is imported: OpenMP threads that spin while they wait double a frame's time.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _keep_memory() -> None:
    """What is freed stays ours for what comes next: asked for anew in every frame, it takes a tenth of its time."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(AttributeError, OSError):  # only glibc is told
        for parameter, size in KEPT.items():
            ctypes.CDLL(None).mallopt(parameter, size)


@contextmanager
def at_work(output: Path | None) -> Iterator[None]:
    """Where the work is done: libraries are hushed, and it ends soon after the folder of `output` is gone."""
    with signals.folder_watched(output), hushed():
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what libraries say by themselves off stderr, where only our own sentences belong."""
    if os.environ.get("MGGDUB_DEBUG"):
        yield
        return
    before = sys.stderr
    before.flush()
    real, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sys.stderr = streams.messages(real, before.errors or "backslashreplace")
            yield
    finally:
        sys.stderr = before
        os.dup2(real, 2)
        os.close(real)


def say(sentence: str) -> None:
    """A sentence on stderr."""
    click.echo(sentence, err=True)


def say_above(sentence: str) -> None:
    """Say it without breaking the bar."""
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)


@dataclass
class Outlook:
    """Says once, soon after the first frames, how long the others will take, if that is long.

    It counts anew after a frame that took most of the time, as those do for which the renderer is compiled.
    """

    first: int = 0  # frames that were there when it began to count
    began: float | None = None  # s, when that was
    latest: float = 0.0  # s, when the frame before was there
    anew: int = 2  # times that it still counts anew
    over: bool = False

    def hear(self, done: int, total: int, now: float) -> str | None:
        """A sentence, at most once. `done` of `total` frames are there at `now` s."""
        if self.over:
            return None
        if self.began is None:
            self.first, self.began = done, now
        before, self.latest = self.latest, now
        if now - self.began < SURE or done == self.first:
            return None
        if self.anew and now - before > (now - self.began) / 2:
            self.first, self.began, self.anew = done, now, self.anew - 1
            return None
        self.over = True
        left = (total - done) * (now - self.began) / (done - self.first)
        return f"The video will take about {lasting(left)}; a smaller --size is faster." if left >= LONG else None


def lasting(seconds: float) -> str:
    """Such as 70 seconds, 4 minutes, 1.5 hours."""
    if seconds < 100:
        return f"{round(seconds, -1):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A function (stage, done, total): a bar with the time left on a terminal, a line now and then elsewhere."""
    if quiet:
        yield silent
        return
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bars: list[Any] = []  # the one of this command, from its first frame on: sentences would draw an empty one anew
    announced: set[tuple[Stage, int]] = set()
    outlook = Outlook()

    def tell(stage: Stage, done: int, total: int) -> None:
        if stage == Stage.RENDER and (sentence := outlook.hear(done, total, time.monotonic())):
            say_above(sentence)
        if stage in STAGES:
            if done == 0:
                tqdm.write(f"{STAGES[stage]} ...", file=sys.stderr)
        elif terminal:
            bar = bars[0] if bars else tqdm(total=0, unit="frame", leave=False, dynamic_ncols=True, delay=0.5)
            bars[:] = [bar]
            if bar.total != total or done < bar.n:
                bar.reset(total)
                bar.set_description(WORK[stage])
            bar.update(done - bar.n)
        elif (tenth := 10 * done // max(total, 1)) and (stage, tenth) not in announced:
            announced.add((stage, tenth))
            say(f"{WORK[stage]} ... {done} of {total} frames")

    try:
        yield tell
    finally:
        for bar in bars:
            bar.close()
