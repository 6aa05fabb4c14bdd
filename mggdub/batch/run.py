"""Who renders the rows: this process, several on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from shutil import rmtree
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from mggdub.batch.manifest import STATE, Problem, read_rows
from mggdub.errors import MggdubError, OutputError, UsageError

if TYPE_CHECKING:
    from mggdub.batch.row import Job, Result

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
MOST_DEATHS = 2  # of processes over one row
ANSWER = 15  # s that a scheduler may take
Heard = Callable[["Job", int], None]  # a job and how many of its frames are done
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BatchOptions:
    """How `mggdub batch` works, apart from how its videos look. Raises UsageError for what does not fit."""

    all_pairs: bool = False
    check: bool = False  # only
    resume: bool = True
    fail_fast: bool = False
    jobs: int = 1  # processes on this machine
    cluster: str | None = None  # address of a Dask scheduler
    cache_dir: Path | None = None  # of avatar files that outlive the batch
    report: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.jobs <= 256:
            raise UsageError(f"--jobs is {self.jobs}; choose from 1 to 256.")
        if self.cluster and self.jobs > 1:
            raise UsageError("--jobs is of this machine, --cluster of others; give one of them.")


def run_batch(
    source: Path,
    speech: Path | None,
    folder: Path,
    options: BatchOptions,
    base: dict[str, Any],
    given: frozenset[str],
    progress: Progress,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Render the rows of `source` into `folder`; returns the summary, with one result for every row.

    `base` are the render options of all rows, `given` the names of those that were named. Raises UsageError, InputError
    or OutputError if no row can be read or nothing can be written.
    """
    clock = time.perf_counter()
    folder = folder.absolute()
    rows, problems = read_rows(source, speech, options.all_pairs, base, given)
    progress("load", 0, 1)
    from mggdub.batch.check import check_rows

    progress("check", 0, 1)
    avatars = (options.cache_dir or folder / STATE / "avatars").absolute()
    jobs, finished, more = check_rows(rows, folder, avatars, options.force, options.resume)
    problems = sorted([*problems, *more], key=lambda problem: problem.number)
    for problem in problems:
        say(str(problem))
    results: dict[int, Result] = {told["row"]: told | {"state": "skipped"} for told in finished}
    for problem in problems:
        results.setdefault(problem.number, _as_result(problem))
    if not options.check:
        try:
            (folder / STATE).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made ({error.strerror or error}).") from error
        with closing(_render([] if problems and options.fail_fast else jobs, options, progress)) as rendered:
            for told in rendered:
                results[told["row"]] = told
                if told["state"] == "failed":
                    say(f"Row {told['row']}: {told['error']}")
                for note in told.get("report", {}).get("notes", ()):
                    say(f"Row {told['row']}: {note}")
    for job in jobs:
        left = {"row": job.row.number, "output": job.row.output.as_posix(), "state": "left"}
        results.setdefault(job.row.number, left)
    return _summary(folder, [results[number] for number in sorted(results)], options, time.perf_counter() - clock)


def _summary(folder: Path, results: list[Result], options: BatchOptions, seconds: float) -> dict[str, Any]:
    """What is told at the end; writes the report and leaves nothing that nobody goes on from."""
    counts = Counter(result["state"] for result in results)
    summary: dict[str, Any] = {"folder": str(folder), "rows": len(results)}
    summary |= {state: counts[state] for state in ("done", "skipped", "failed", "left")}
    if options.report and not options.check:
        from mggdub.batch.page import write_page

        summary["report"] = str(write_page(folder, results, seconds))
    if not options.check and counts["done"] + counts["skipped"] == len(results):
        for name in ("work", "avatars"):
            rmtree(folder / STATE / name, ignore_errors=True)
    kept = [{key: value for key, value in result.items() if key != "strip"} for result in results]
    return summary | {"seconds": round(seconds, 3), "results": kept}


def _as_result(problem: Problem) -> Result:
    return {
        "row": problem.number,
        "output": problem.output,
        "state": "failed",
        "error": str(problem).split(": ", 1)[1],
        "exit_code": problem.exit_code,
    }


def _render(jobs: list[Job], options: BatchOptions, progress: Progress) -> Generator[Result, None, None]:
    """The results of all jobs as they come; after the first failure none more if that is wanted."""
    at = dict.fromkeys((job.row.number for job in jobs), 0)
    total = sum(job.frames for job in jobs)

    def heard(job: Job, frames: int) -> None:
        at[job.row.number] = min(frames, job.frames)
        progress("batch", sum(at.values()), total)

    by_number = {job.row.number: job for job in jobs}
    if options.cluster:
        results = _on_cluster(jobs, options.cluster)
    elif options.jobs > 1:
        results = _in_processes(jobs, min(options.jobs, len(jobs)), heard)
    else:
        results = _here(jobs, heard)
    with closing(results):
        for told in results:
            heard(by_number[told["row"]], by_number[told["row"]].frames)
            yield told
            if options.fail_fast and told["state"] == "failed":
                return


def _here(jobs: list[Job], heard: Heard) -> Generator[Result, None, None]:
    from mggdub.batch.row import render_row

    for job in jobs:
        yield render_row(job, partial(heard, job))


# --- processes of this machine ---------------------------------------------------------------------------------------


def _in_processes(jobs: list[Job], count: int, heard: Heard) -> Generator[Result, None, None]:
    """Every process gets one job after the other; a job whose process died is given to another one, once."""
    from mggdub.batch.row import failure

    context = get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // max(count, 1))
    waiting, deaths = deque(jobs), Counter[int]()
    busy: dict[Connection, tuple[Any, Job]] = {}
    idle: list[tuple[Any, Connection]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < count:
                if not idle:
                    here, there = context.Pipe()
                    process = context.Process(target=_serve, args=(there, threads), daemon=True)
                    process.start()
                    there.close()
                    idle.append((process, here))
                process, pipe = idle.pop()
                busy[pipe] = process, waiting.popleft()
                with suppress(OSError):  # it has died since; what is read from it will say so
                    pipe.send(busy[pipe][1])
            for ready in wait(list(busy)):
                pipe = cast(Connection, ready)
                process, job = busy[pipe]
                try:
                    told = pipe.recv()
                except (EOFError, OSError):
                    del busy[pipe]
                    process.join()
                    deaths[job.row.number] += 1
                    if deaths[job.row.number] < MOST_DEATHS:
                        waiting.appendleft(job)
                    else:
                        yield failure(job, MggdubError("The process that rendered it was killed, twice; more memory?"))
                    continue
                if isinstance(told, int):
                    heard(job, told)
                else:
                    idle.append((process, pipe))
                    del busy[pipe]
                    yield told
    finally:
        everybody = [process for process, _ in (*busy.values(), *idle)]
        for process in everybody:
            process.terminate()
        for process in everybody:
            process.join(10)
            process.kill()


def _serve(pipe: Connection, threads: int) -> None:
    """A process: renders what comes through the pipe until it or its parent is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says when to end
    signal.signal(signal.SIGTERM, _unwind)
    Thread(target=_follow_parent, daemon=True).start()
    for name in THREADS:
        os.environ.setdefault(name, str(threads))
    from mggdub.batch.row import render_row

    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(render_row(job, pipe.send))


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _unwind(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)  # so that ffmpeg is reaped


# --- a cluster -------------------------------------------------------------------------------------------------------


def _on_cluster(jobs: list[Job], address: str) -> Generator[Result, None, None]:
    """The scheduler gives a job whose worker died to another one; locks and records keep any from being done twice."""
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise UsageError("--cluster needs Dask; pip install 'mggdub[cluster]'.") from error
    from mggdub.batch.row import failure, render_row

    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise UsageError(f"No Dask scheduler answers at {address}; start one with dask scheduler.") from error
    with client:
        if not client.nthreads():
            raise UsageError(f"The scheduler at {address} has no workers; start some with dask worker {address}.")
        tasks = {client.submit(render_row, job, key=f"mggdub-{job.row.number}-{uuid.uuid4()}"): job for job in jobs}
        try:
            for task in as_completed(list(tasks)):
                try:
                    yield task.result()
                except Exception as error:  # all the workers that tried it died, or have no mggdub
                    what = f"No worker could render it ({type(error).__name__}: {error})."
                    yield failure(tasks[task], MggdubError(what))
        finally:
            client.cancel(list(tasks))
