"""Rows rendered by the workers of a Dask scheduler."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, Queue
from time import monotonic
from typing import TYPE_CHECKING, Any

from mggdub.errors import BatchError, MggdubError, UsageError

if TYPE_CHECKING:
    from mggdub.batch.row import Job, Result


ANSWER = 15  # s that a scheduler may take
LOOK = 1.0  # s between two looks at the scheduler
PATIENCE = 20.0  # s without any worker before it is told
TALKERS = ("distributed", "tornado", "asyncio")  # what they log is about sockets; what matters is told by us


def on_cluster(jobs: list[Job], address: str, say: Callable[[str], None]) -> Generator[Result, None, None]:
    """Results as they come. The scheduler gives a job whose worker died to another one; locks and records keep any from
    being done twice.

    Raises UsageError if there is nobody to render, BatchError when the scheduler is lost.
    """
    if not jobs:
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--cluster needs Dask; pip install 'mggdub[cluster]'.") from error
    _silence()
    try:
        client = Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"No Dask scheduler answers at {address}; start one with dask scheduler.") from error
    _silence()
    try:
        if not client.nthreads():
            raise UsageError(f"The scheduler at {address} has no workers; start some with dask worker {address}.")
        yield from _results(client, jobs, address, say)
    finally:
        with suppress(Exception):  # it may be gone
            client.close(timeout=2)


def _results(client: Any, jobs: list[Job], address: str, say: Callable[[str], None]) -> Generator[Result, None, None]:
    from mggdub.batch.row import failure, render_row

    ended: Queue[Any] = Queue()
    tasks = {client.submit(render_row, job, key=f"mggdub-{job.row.number}-{uuid.uuid4()}"): job for job in jobs}
    for task in tasks:
        task.add_done_callback(ended.put)
    left, workers = len(jobs), _Workers(address, say)
    try:
        while left:
            try:
                task = ended.get(timeout=LOOK)
            except Empty:
                _check_scheduler(client, address, left, len(jobs))
                workers.look(client)
                continue
            if task.status != "finished":
                _check_scheduler(client, address, left, len(jobs))
            left -= 1
            yield task.result() if task.status == "finished" else failure(tasks[task], _reason(task))
    finally:
        if client.status == "running":
            with suppress(Exception):
                client.cancel(list(tasks))


def _check_scheduler(client: Any, address: str, left: int, total: int) -> None:
    if client.status != "running":
        raise BatchError(
            f"The Dask scheduler at {address} is gone; {left} of {total} rows are left, and the same command goes on "
            "once it runs again."
        )


def _reason(task: Any) -> MggdubError:
    """Why a task has no result: all the workers that tried it died, or they have no mggdub, or another one."""
    try:
        error = task.exception()
    except Exception as odd:  # cancelled
        error = odd
    name = type(error).__name__
    if name == "KilledWorker":
        return MggdubError("Every worker that began to render it was killed; give the workers more memory.")
    first = (str(error).splitlines() or [""])[0].rstrip(".")[:200]
    return MggdubError(f"No worker could render it ({name}: {first}); install the same mggdub on all of them.")


class _Workers:
    """Tells once when nobody is left to render."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self.address, self.say = address, say
        self.since: float | None = None
        self.warned = False

    def look(self, client: Any) -> None:
        """Ask the scheduler, which may be about to vanish."""
        with suppress(Exception):
            if client.nthreads():
                self.since, self.warned = None, False
                return
            self.since = self.since or monotonic()
            if not self.warned and monotonic() - self.since > PATIENCE:
                self.warned = True
                self.say(f"No worker is left; start one with dask worker {self.address}, the batch waits for it.")


def _silence() -> None:
    """Loggers that exist; each has a level of its own."""
    for name in [*TALKERS, *logging.root.manager.loggerDict]:
        if name.split(".")[0] in TALKERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
