"""One row, wherever it is rendered: claimed, dubbed, recorded. What is done stays done after a crash.

In the batch's folder, `.mggdub/rows` holds a JSON and a lock for every output, `.mggdub/work` the segments of rows that
are under way, `.mggdub/avatars` the heads, `.mggdub/log.jsonl` who began and ended what.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock

from mggdub import __version__, pipeline, weights
from mggdub.avatar import SUFFIX, is_avatar
from mggdub.batch.manifest import STATE, Row
from mggdub.config import AVATAR_OPTIONS, RenderOptions
from mggdub.errors import InputError, MggdubError
from mggdub.media.files import appearing_whole, check_output
from mggdub.media.video import thumbnail

THUMBNAILS = (0.1, 0.35, 0.6, 0.85)  # of a video's frames
_ONE_AT_A_TIME = Lock()  # in a process: a worker may have several threads, the renderer uses all cores anyway
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A row that can be rendered, and where."""

    row: Row
    folder: Path  # absolute, of the batch
    avatars: Path  # absolute
    key: str  # of everything that its video follows from
    head: str  # of everything that its avatar follows from
    weights: str
    seconds: float  # of the video, as far as it is known
    force: bool

    @property
    def target(self) -> Path:
        """The video."""
        return self.folder / self.row.output

    @property
    def frames(self) -> int:
        """Of the video, as far as is known."""
        return max(1, round(self.seconds * self.row.options.fps))

    def recorded(self, suffix: str) -> Path:
        """Where its output's state (.json) and lock (.lock) lie."""
        name = hashlib.sha256(self.row.output.as_posix().casefold().encode()).hexdigest()[:20]
        return self.folder / STATE / "rows" / f"{name}{suffix}"


def make_job(row: Row, folder: Path, avatars: Path, force: bool) -> Job:
    """The job of a row; reads its inputs for their digests. Raises OSError."""
    digests = [weights.digest(path) if path else None for path in (row.photo, row.speech, row.options.drive)]
    own = {f.name: str(getattr(row.options, f.name)) for f in fields(RenderOptions) if f.name not in ("force", "drive")}
    known = [__version__, weights.fingerprint(), digests[0]]
    head = _hash([*known, {name: own[name] for name in AVATAR_OPTIONS}])
    key = _hash([*known, own, digests[1:], row.output.suffix.lower()])
    return Job(row, folder, avatars, key, head, weights.fingerprint(), 0.0, force)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def finished(job: Job) -> Result | None:
    """What is recorded of a job whose very video is there."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told: Result = json.loads(job.recorded(".json").read_text(encoding="utf-8"))
        if told["key"] == job.key and told["state"] == "done" and job.target.stat().st_size == told["bytes"]:
            return told | {"row": job.row.number}
    return None


def render_row(job: Job, tell: Callable[[int], None] = lambda _: None) -> Result:
    """Render a job unless its video is there; never raises but for an interruption. `tell` hears of every frame.

    Whoever else works on the same output, in whatever process, is waited for.
    """
    with _ONE_AT_A_TIME:
        job.recorded("").parent.mkdir(parents=True, exist_ok=True)
        with FileLock(job.recorded(".lock")):
            return finished(job) or _render(job, tell)


def failure(job: Job, error: Exception, seconds: float = 0.0) -> Result:
    """What is recorded of a job that failed."""
    return _result(job, "failed", seconds) | {"error": sentence(error), "exit_code": code(error)}


def sentence(error: Exception) -> str:
    """What to tell of an error, ours or not."""
    if isinstance(error, MggdubError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} could not be read or written ({error.strerror or error})."
    return f"This is a bug of mggdub, not yours ({type(error).__name__}: {error})."


def code(error: Exception) -> int:
    """The exit code that a render of its own would have had."""
    return error.exit_code if isinstance(error, MggdubError) else 4 if isinstance(error, OSError) else 1


def _render(job: Job, tell: Callable[[int], None]) -> Result:
    clock = time.perf_counter()
    _log(job, "begins")
    try:
        if job.weights != weights.fingerprint():
            raise InputError(f"mggdub on {socket.gethostname()} has other weights; install the same everywhere.")
        told = _dub(job, tell, clock)
    except Exception as error:
        if os.environ.get("MGGDUB_DEBUG"):
            traceback.print_exc()
        told = failure(job, error, time.perf_counter() - clock)
        with suppress(MggdubError):  # the disk may be full
            _record(job, told)
    _log(job, told["state"])
    return told


def _dub(job: Job, tell: Callable[[int], None], clock: float) -> Result:
    row, work = job.row, job.folder / STATE / "work" / job.key
    job.target.parent.mkdir(parents=True, exist_ok=True)
    check_output(job.target, job.force, row.inputs)
    work.mkdir(parents=True, exist_ok=True)
    head = row.photo if is_avatar(row.photo) else _head(job)
    whole = work / f"whole{job.target.suffix}"

    def progress(stage: str, done: int, total: int) -> None:  # noqa: ARG001
        if stage == "render":
            tell(done)

    options = replace(row.options, force=True)
    report = pipeline.render_file(head, row.speech, whole, options, progress, _models(), work)
    told = _result(job, "done", time.perf_counter() - clock) | {
        "bytes": whole.stat().st_size,
        "report": report | {"output": str(job.target)},
        "strip": _strip(whole, report["frames"], row.options.fps),
    }
    _record(job, told)  # before the video is there: one without a record would be taken for somebody else's
    whole.replace(job.target)
    shutil.rmtree(work, ignore_errors=True)
    return told


def _record(job: Job, told: Result) -> None:
    with appearing_whole(job.recorded(".json")) as partial:
        partial.write_text(json.dumps(told), encoding="utf-8")


def _head(job: Job) -> Path:
    """The avatar file of a job's photo, which is built once for all rows."""
    path = job.avatars / f"{job.head}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            options = replace(job.row.options, force=True)
            pipeline.avatar_file(job.row.photo, path, None, options, lambda *_: None, _models())
    return path


def _strip(video: Path, frames: int, fps: Fraction) -> list[str]:
    """A few frames as base64 JPEGs."""
    times = [max(0.0, (int(at * frames) - 0.5) / float(fps)) for at in THUMBNAILS]
    return [base64.b64encode(thumbnail(video, at)).decode() for at in times]


@cache
def _models() -> pipeline.Models:
    return pipeline.load_models()


def _result(job: Job, state: str, seconds: float) -> Result:
    return {
        "row": job.row.number,
        "photo": str(job.row.photo),
        "speech": str(job.row.speech or job.row.options.drive),
        "output": job.row.output.as_posix(),
        "key": job.key,
        "state": state,
        "seconds": round(seconds, 3),  # of work
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def _log(job: Job, event: str) -> None:
    told = {"time": round(time.time(), 3), "event": event, "output": job.row.output.as_posix(), "key": job.key[:12]}
    line = json.dumps(told | {"worker": f"{socket.gethostname()}:{os.getpid()}"}) + "\n"
    with suppress(OSError), (job.folder / STATE / "log.jsonl").open("ab", buffering=0) as file:
        file.write(line.encode())  # at once: lines of several processes do not mix
