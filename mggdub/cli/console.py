"""What a person sees meanwhile: sentences, bars, and nothing of what native libraries print."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mggdub.cli import signals, streams
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


def working_folder() -> Path | None:
    """The current folder, None if it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def calm_threads() -> None:
    """Threads that wait must not spin; to be called before torch is imported."""
    # Must happen before torch is imported: OpenMP threads that spin while they wait double a frame's time.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if working_folder() is None:  # libraries look for their parts from there
        os.chdir("/")


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


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A function (stage, done, total): a bar with the time left on a terminal, a line now and then elsewhere."""
    if quiet:
        yield silent
        return
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(total=0, unit="frame", disable=not terminal, leave=False, dynamic_ncols=True, delay=0.5)
    announced: set[tuple[Stage, int]] = set()

    def tell(stage: Stage, done: int, total: int) -> None:
        if stage in STAGES:
            if done == 0:
                tqdm.write(f"{STAGES[stage]} ...", file=sys.stderr)
        elif terminal:
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
        bar.close()
