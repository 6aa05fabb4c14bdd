"""Who renders the rows: this process, several on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from shutil import rmtree
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from mggdub.batch.manifest import STATE, Problem, check_all_used, left_out, read_rows
from mggdub.batch.text import as_text, shown
from mggdub.errors import MggdubError, OutputError, UsageError
from mggdub.media.files import check_local
from mggdub.media.private import check_private, private_folder
from mggdub.progress import Progress, Stage
from mggdub.reports import NO_SPEECH, Check

if TYPE_CHECKING:
    from mggdub.batch.row import Job, Plan, Result


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
MOST_DEATHS = 2  # of processes over one row
LOOK = 1.0  # s between two looks at whether the folder is still there
OnFrame = Callable[["Job", int], None]  # is told a job and how many of its frames are done


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
    note: Callable[[str], None] | None = None,
    asked: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Render the rows of `source` into `folder`; returns the summary, with one result for every row.

    What is wrong with rows is said by `say`, what is to be known of videos by `note`, or as well. `base` are the render
    options of all rows, `given` the names of those that were named, `asked` of those that must change something in one.
    Raises UsageError, InputError or OutputError if they do not, no row can be read or nothing can be written.
    """
    clock = time.perf_counter()
    for place in filter(None, (folder, options.cache_dir)):
        check_local(place)
        if place.is_file():
            raise OutputError(f"{place.absolute()} is a file; name a folder, which is made if need be.")
    folder = folder.absolute()
    rows, problems = read_rows(source, speech, options.all_pairs, base, given)
    check_all_used(rows, asked)
    _tell_of_folders(source, speech, note or say)
    progress(Stage.LOAD, 0, 1)
    from mggdub.batch.check import check_rows
    from mggdub.batch.row import Plan

    progress(Stage.CHECK, 0, 1)
    check_private(folder / STATE)
    avatars = (options.cache_dir or folder / STATE / "avatars").absolute()
    plan = Plan(folder, avatars, uuid.uuid4().hex, options.force, options.resume)
    jobs, finished, more = check_rows(rows, plan)
    problems = sorted([*problems, *more], key=lambda problem: problem.number)
    for problem in problems:
        say(str(problem))
    results: dict[int, Result] = {result["row"]: result | {"state": "skipped"} for _, result in finished}
    for problem in problems:
        results.setdefault(problem.number, _as_result(problem))
    work = [] if options.check or (problems and options.fail_fast) else jobs
    with nullcontext() if options.check else _folder_in_use(plan):
        with closing(_render(work, options, progress, say)) as rendered:
            for result in rendered:
                results[result["row"]] = result
                for sentence in _remarks(result):
                    (note or say)(shown(f"Row {result['row']}: {sentence}"))
                # Where the folder is gone, one sentence is coming for all rows.
                if result["state"] == "failed" and (folder / STATE).is_dir():
                    say(shown(f"Row {result['row']}: {result['error']}"))
        for job in jobs:
            left = {"row": job.row.number, "output": as_text(job.row.output.as_posix()), "state": "left"}
            results.setdefault(job.row.number, left)
        in_order = [results[number] for number in sorted(results)]
        summary = _summary(folder, in_order, options, time.perf_counter() - clock)
        if not options.check and summary["done"] + summary["skipped"] == len(results):
            _tidy(plan, [*jobs, *(job for job, _ in finished)])
    return summary | {"seconds": round(time.perf_counter() - clock, 3)}


def _tell_of_folders(source: Path, speech: Path | None, note: Callable[[str], None]) -> None:
    for sentence in left_out(source, speech):
        note(shown(sentence))


def _remarks(result: Result) -> Iterator[str]:
    """What a render of its own would say of a video that was made."""
    from mggdub.checks import failures

    report = result.get("report", {})
    if report.get("silent"):
        yield NO_SPEECH
    yield from report.get("remarks", ())
    checks = {
        name: Check(check["ok"], check.get("value"), check.get("limit"), check.get("what", ""))
        for name, check in report.get("checks", {}).items()
    }
    yield from (f"Warning: {sentence}." for sentence in failures(checks))


@contextmanager
def _folder_in_use(plan: Plan) -> Iterator[None]:
    """A block that fills the folder of a batch, and ends when somebody takes it away. Raises OutputError."""
    from mggdub.batch.locks import present

    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {plan.folder} cannot be made ({error.strerror or error}).") from error
    state = private_folder(plan.folder / STATE)
    try:
        if plan.avatars.is_relative_to(state):
            private_folder(plan.avatars)
        else:
            plan.avatars.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {plan.avatars} cannot be made ({error.strerror or error}).") from error
    with present(state, plan.run):
        yield


def _summary(folder: Path, results: list[Result], options: BatchOptions, seconds: float) -> dict[str, Any]:
    """What is told at the end; writes the report."""
    counts = Counter(result["state"] for result in results)
    summary: dict[str, Any] = {"folder": as_text(str(folder)), "rows": len(results)}
    summary |= {state: counts[state] for state in ("done", "skipped", "failed", "left")}
    if options.report and not options.check:
        from mggdub.batch.page import write_page

        summary["report"] = as_text(str(write_page(folder, results, seconds)))
    rows = [{key: value for key, value in result.items() if key != "strip"} for result in results]
    return summary | {"results": rows}


def _tidy(plan: Plan, jobs: list[Job]) -> None:
    """Remove what nobody goes on from: of our rows alone, and no heads while another batch may need the same."""
    from mggdub.batch.locks import alone, lock_if_free

    state = plan.folder / STATE
    for job in jobs:
        with lock_if_free(job.locked) as free:
            for left in (state / "work").glob(f"{job.recorded.stem}-*") if free else ():
                rmtree(left, ignore_errors=True)
    if not plan.avatars.is_relative_to(state):
        return
    with alone(state, plan.run) as nobody_else:
        for head in {job.head for job in jobs} if nobody_else else ():
            with lock_if_free(plan.avatars / f"{head}.lock") as free:
                for left in plan.avatars.glob(f"{head}.*") if free else ():
                    left.unlink(missing_ok=True)


def _as_result(problem: Problem) -> Result:
    return {
        "row": problem.number,
        "output": as_text(problem.output) if problem.output else "",
        "state": "failed",
        "error": problem.message,
        "exit_code": problem.exit_code,
    }


def _render(
    jobs: list[Job], options: BatchOptions, progress: Progress, say: Callable[[str], None]
) -> Generator[Result, None, None]:
    """The results of all jobs as they come; after the first failure none more if that is wanted."""
    from mggdub.batch.row import fetch_inpainter

    frames = {job.row.number: job.frames for job in jobs}
    done = dict.fromkeys(frames, 0)
    total, all_done = sum(frames.values()), 0

    def tell(number: int, count: int) -> None:
        nonlocal all_done
        all_done += min(count, frames[number]) - done[number]
        done[number] = min(count, frames[number])
        progress(Stage.BATCH, all_done, total)

    jobs, refused = fetch_inpainter(jobs, progress)
    if options.cluster:
        from mggdub.batch.cluster import on_cluster

        results = on_cluster(jobs, options.cluster, say)
    elif options.jobs > 1:
        results = _in_processes(jobs, min(options.jobs, len(jobs)), lambda job, count: tell(job.row.number, count))
    else:
        results = _in_this_process(jobs, lambda job, count: tell(job.row.number, count))
    with closing(results):
        for result in chain(refused, results):
            tell(result["row"], frames[result["row"]])
            yield result
            if options.fail_fast and result["state"] == "failed":
                return


def _in_this_process(jobs: list[Job], on_frame: OnFrame) -> Generator[Result, None, None]:
    from mggdub.batch.row import render_row

    for job in jobs:
        yield render_row(job, partial(on_frame, job))


def _in_processes(jobs: list[Job], count: int, on_frame: OnFrame) -> Generator[Result, None, None]:
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
            for ready in wait(list(busy), LOOK):
                pipe = cast(Connection, ready)
                process, job = busy[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    del busy[pipe]
                    process.join()
                    deaths[job.row.number] += 1
                    if deaths[job.row.number] < MOST_DEATHS:
                        waiting.appendleft(job)
                    else:
                        yield failure(job, MggdubError("The process that rendered it was killed, twice; more memory?"))
                    continue
                if isinstance(message, int):
                    on_frame(job, message)
                else:
                    idle.append((process, pipe))
                    del busy[pipe]
                    yield message
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
