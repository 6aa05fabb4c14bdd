"""One row, wherever it is rendered: claimed, dubbed, recorded. What is done stays done after a crash.

In the batch's folder, `.mggdub/rows` holds a record and a lock for every output, `.mggdub/work` the segments of rows
that are under way, `.mggdub/avatars` the heads, `.mggdub/batches` who works there, `.mggdub/log.jsonl` who began and
ended what. All of it is for one user's eyes.
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
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from mggdub import inpainting, jobs, models, weights
from mggdub.avatar.file import is_avatar
from mggdub.batch.copies import Copies, cached_head, copy_inputs
from mggdub.batch.locks import lock
from mggdub.batch.manifest import STATE, Row
from mggdub.batch.record import Record, read_record, write_record
from mggdub.batch.text import as_text, shown
from mggdub.errors import NO_MEMORY, InputError, MggdubError, OutputError, short_of_memory
from mggdub.media.files import check_output
from mggdub.media.partial import appear
from mggdub.media.private import append_private, check_private, folder_inside, private_folder, private_place
from mggdub.media.video import thumbnail
from mggdub.options import AVATAR_OPTIONS, RenderOptions
from mggdub.progress import Progress, Stage, silent
from mggdub.version import __version__
from mggdub.weights import fingerprint

THUMBNAILS = (0.1, 0.35, 0.6, 0.85)  # of a video's frames
RULES = 7  # counts up when what a head or a video follows from is reckoned otherwise: older ones are not taken for it
_ONE_AT_A_TIME = Lock()  # in a process: a worker may have several threads, the renderer uses all cores anyway
Result = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What all rows of a batch share."""

    folder: Path  # absolute, of the batch
    avatars: Path  # absolute, of the heads
    run: str  # names this run of the command
    force: bool = False
    resume: bool = True


@dataclass(frozen=True)
class Job:
    """A row that can be rendered, and where."""

    row: Row
    plan: Plan
    digests: tuple[str | None, ...]  # of photo, speech and driver: other bytes are not rendered
    key: str  # of everything that its video follows from
    head: str  # of everything that its avatar follows from
    weights: str
    inpainter: str = ""  # what may paint the background; nothing for a head that is built
    seconds: float = 0.0  # of the video, as far as it is known

    @property
    def target(self) -> Path:
        """The video."""
        return self.plan.folder / self.row.output

    @property
    def frames(self) -> int:
        """Of the video, as far as is known."""
        return max(1, round(self.seconds * self.row.options.fps))

    @property
    def recorded(self) -> Path:
        """Where its output's record lies."""
        return self.plan.folder / STATE / "rows" / f"{_short_name(as_text(self.row.output.as_posix()))}.json"

    @property
    def locked(self) -> Path:
        """The lock of its output; names that some disks take for the same have one."""
        name = unicodedata.normalize("NFC", as_text(self.row.output.as_posix())).casefold()
        return self.recorded.with_name(f"{_short_name(name)}.lock")

    @property
    def work(self) -> Path:
        """Where its parts lie: own to the output, to what the video follows from and, if anew, to this run."""
        rest = self.key[:20] if self.plan.resume else self.plan.run[:20]
        return self.plan.folder / STATE / "work" / f"{self.recorded.stem}-{rest}"


def make_job(row: Row, plan: Plan, digest: Callable[[Path], str]) -> Job:
    """The job of a row; `digest` reads its inputs. Raises OSError."""
    digests = tuple(digest(path) if path else None for path in (row.photo, row.speech, row.options.drive))
    signed = digest(row.options.c2pa_cert) if row.options.c2pa_cert else None
    apart = ("force", "drive", "c2pa_cert", "c2pa_key")
    options = {f.name: str(getattr(row.options, f.name)) for f in fields(RenderOptions) if f.name not in apart}
    inpainter = "" if is_avatar(row.photo) else inpainting.identity(row.options.inpainter)
    known = [RULES, __version__, fingerprint(), inpainter, digests[0]]
    head = _hash([*known, {name: options[name] for name in AVATAR_OPTIONS}])
    key = _hash([*known, options, digests[1:], signed, row.output.suffix.lower()])
    return Job(row, plan, digests, key, head, fingerprint(), inpainter)


def fetch_inpainter(jobs: list[Job], progress: Progress) -> tuple[list[Job], list[Result]]:
    """The jobs that can go on once LaMa's model is here, and failures of the others."""
    wanting = [job for job in jobs if job.inpainter and job.row.options.inpainter == "lama"]
    try:
        if wanting:
            inpainting.prepare("lama", progress)
    except MggdubError as error:
        return [job for job in jobs if job not in wanting], [failure(job, error) for job in wanting]
    return jobs, []


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _short_name(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def finished(job: Job) -> Result | None:
    """What is recorded of a job whose very video is there, byte for byte; of this run, if it is to be made anew."""
    record = read_record(job.recorded)
    if record is None or record.key != job.key or not (job.plan.resume or record.run == job.plan.run):
        return None
    try:
        if job.target.stat().st_size != record.bytes or weights.digest(job.target) != record.sha256:
            return None
    except OSError:
        return None
    return _done(job, record)


def render_row(job: Job, tell: Callable[[int], None] = lambda _: None) -> Result:
    """Render a job unless its video is there; never raises but for an interruption. `tell` hears of every frame.

    Whoever else works on the same output, in whatever process, is waited for.
    """
    with _ONE_AT_A_TIME:
        try:
            _check_folder(job)
            with lock(job.locked):
                return finished(job) or _render(job, tell)
        except (OSError, MggdubError) as error:  # there is no way to a lock
            return failure(job, error)


def failure(job: Job, error: Exception, seconds: float = 0.0) -> Result:
    """What is told of a job that failed."""
    return _result(job, "failed", seconds) | {"error": shown(sentence(error)), "exit_code": code(error)}


def sentence(error: Exception) -> str:
    """What to tell of an error, ours or not."""
    if short_of_memory(_origin(error)):
        return NO_MEMORY
    if isinstance(error, MggdubError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} could not be read or written ({error.strerror or error})."
    return f"This is a bug of mggdub, not yours ({type(error).__name__}: {error})."


def _origin(error: Exception) -> BaseException | None:
    """What is asked whether memory was short: what one of ours was raised from, or another's own."""
    return error.__cause__ if isinstance(error, MggdubError) else error


def code(error: Exception) -> int:
    """The exit code that a render of its own would have had."""
    if short_of_memory(_origin(error)):
        return InputError.exit_code
    return error.exit_code if isinstance(error, MggdubError) else 4 if isinstance(error, OSError) else 1


def _check_folder(job: Job) -> None:
    """Raises OutputError unless the batch's own folder is there; it is not made again, since somebody removed it."""
    state = job.plan.folder / STATE
    if not state.is_dir():
        raise OutputError(f"{state} is there no more; run the batch again.")
    check_private(state)
    private_folder(job.recorded.parent)


def _render(job: Job, tell: Callable[[int], None]) -> Result:
    clock = time.perf_counter()
    _log(job, "begins")
    try:
        _check_machine(job)
        result = _dub(job, tell, clock)
    except Exception as error:
        if os.environ.get("MGGDUB_DEBUG"):
            traceback.print_exc()
        result = failure(job, error, time.perf_counter() - clock)
    _log(job, result["state"])
    return result


def _check_machine(job: Job) -> None:
    """Raises InputError where a machine of a cluster would make another video than the one that gave it the job."""
    other = "other weights" if job.weights != fingerprint() else ""
    if job.inpainter and job.inpainter != inpainting.identity(job.row.options.inpainter):
        other = "another LaMa, or none"
    if other:
        raise InputError(f"mggdub on {socket.gethostname()} has {other}; install the same everywhere.")


def _dub(job: Job, tell: Callable[[int], None], clock: float) -> Result:
    folder, target = job.plan.folder, job.target
    with folder_inside(folder, target.parent, make=True):
        check_output(target, job.plan.force, job.row.inputs)
    private_folder(job.work.parent)
    for left in private_folder(job.work).glob("inputs.*"):  # of a killed process: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with private_place(job.work, "inputs.") as place:
        copies = copy_inputs(job.row, job.digests, place)
        with copies.named():
            report, whole = _film(job, copies, place, tell)
    record = Record(
        key=job.key,
        run=job.plan.run,
        sha256=weights.digest(whole),
        bytes=whole.stat().st_size,
        seconds=round(time.perf_counter() - clock, 3),
        report=copies.renamed(report) | {"output": as_text(str(target))},
        strip=_strip(whole, report["frames"], job.row.options.fps),
    )
    # Before the video is there: one without a record would be taken for somebody else's.
    write_record(job.recorded, record)
    with folder_inside(folder, target.parent) as inside:  # once more: it may have become a link meanwhile
        check_output(target, job.plan.force, job.row.inputs)
        appear(whole, target, job.plan.force, inside)
    shutil.rmtree(job.work, ignore_errors=True)
    return _done(job, record) | {"state": "done"}


def _film(job: Job, copies: Copies, place: Path, tell: Callable[[int], None]) -> tuple[dict[str, Any], Path]:
    """The report of a render from the copies, and the video in the work folder."""

    def progress(stage: Stage, done: int, total: int) -> None:  # noqa: ARG001
        if stage == Stage.RENDER:
            tell(done)

    def build(output: Path) -> None:
        jobs.avatar_file(copies.photo, output, None, options, silent, _models())

    options = replace(job.row.options, force=True, drive=copies.drive)
    whole = job.work / f"whole{job.target.suffix}"
    if not job.plan.avatars.is_relative_to(job.plan.folder / STATE):
        job.plan.avatars.mkdir(mode=0o700, parents=True, exist_ok=True)  # another machine may not have it yet
    head = copies.photo if is_avatar(copies.photo) else cached_head(job.plan.avatars, job.head, place, build)
    report = jobs.render_file(head, copies.speech, whole, options, progress, _models(), job.work)
    return report.as_dict(), whole


def _strip(video: Path, frames: int, fps: Fraction) -> list[str]:
    """A few frames as base64 JPEGs."""
    times = [max(0.0, (int(at * frames) - 0.5) / float(fps)) for at in THUMBNAILS]
    return [base64.b64encode(thumbnail(video, at)).decode() for at in times]


@cache
def _models() -> models.Models:
    return models.load_models()


def _done(job: Job, record: Record) -> Result:
    """Of a video that is there. Where it is and what it is of says the job, not the record."""
    return _result(job, "done", record.seconds) | {
        "bytes": record.bytes,
        "sha256": record.sha256,
        "report": record.report | {"output": as_text(str(job.target))},
        "strip": record.strip,
    }


def _result(job: Job, state: str, seconds: float) -> Result:
    return {
        "row": job.row.number,
        "photo": as_text(str(job.row.photo)),
        "speech": as_text(str(job.row.speech or job.row.options.drive)),
        "output": as_text(job.row.output.as_posix()),
        "key": job.key,
        "state": state,
        "seconds": round(seconds, 3),  # of work
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def _log(job: Job, event: str) -> None:
    output = as_text(job.row.output.as_posix())
    entry = {"time": round(time.time(), 3), "event": event, "output": output, "key": job.key[:12]}
    line = json.dumps(entry | {"worker": f"{socket.gethostname()}:{os.getpid()}"}) + "\n"
    with suppress(OSError):
        append_private(job.plan.folder / STATE / "log.jsonl", line.encode())  # lines of several processes do not mix
