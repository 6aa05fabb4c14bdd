"""Everything that can be known about rows before the first frame is rendered."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mggdub import models, weights
from mggdub.avatar.file import check_given, is_avatar, load_avatar
from mggdub.batch.manifest import Problem, Row
from mggdub.batch.record import read_record
from mggdub.batch.row import Job, Plan, Result, code, finished, make_job, sentence
from mggdub.errors import InputError, MggdubError, OutputError
from mggdub.face.detector import FaceFinder
from mggdub.jobs import check_head, playing_time
from mggdub.media.files import check_input, check_output
from mggdub.media.kinds import check_render
from mggdub.media.provenance import load_credentials
from mggdub.options import AVATAR_OPTIONS


def check_rows(rows: list[Row], plan: Plan) -> tuple[list[Job], list[tuple[Job, Result]], list[Problem]]:
    """What is to be rendered, what is finished from an earlier run, and everything that is wrong with the rest."""
    jobs: list[Job] = []
    done: list[tuple[Job, Result]] = []
    problems: list[Problem] = []
    inputs = {os.path.realpath(path) for row in rows for path in row.inputs}
    look = _Look()
    for row in rows:
        before = len(problems)

        def ask(file: Path, what: Callable[..., Any], *given: Any, row: Row = row) -> Any:
            try:
                return what(*given)
            except Exception as error:  # whatever it is, it must not stop the other rows
                problems.append(Problem(row.number, str(file), sentence(error), code(error), row.output.as_posix()))

        cert, key = row.options.c2pa_cert, row.options.c2pa_key
        for path in filter(None, (*row.inputs, cert, key)):
            ask(path, look.file, path)
        if len(problems) > before:
            continue
        job = ask(row.photo, make_job, row, plan, look.digest)
        if job and plan.resume and (result := finished(job)):
            done.append((job, result))
            continue
        ask(row.output, _check_place, row, plan, inputs, look, job)
        if cert and key:
            ask(cert, look.credentials, cert, key)
        ask(row.photo, look.device, row.options.device)
        ask(Path(), check_render, row.photo, row.speech, row.options.drive)
        if len(problems) > before:
            continue
        ask(row.photo, look.head, row)
        seconds = ask(row.speech or row.options.drive or row.photo, look.seconds, row)
        if job and len(problems) == before:
            jobs.append(replace(job, seconds=seconds))
    return jobs, done, problems


class _Look:
    """Looks once at every file, and once at what is in several."""

    def __init__(self) -> None:
        self.faces = FaceFinder()
        self.known: dict[Any, Any] = {}

    def _once(self, key: Any, path: Path, what: Callable[..., Any], *given: Any) -> Any:
        """What came of a question the first time; an error names this `path`, not the first one that had it."""
        if key not in self.known:
            try:
                self.known[key] = path, what(*given), None
            except MggdubError as error:
                self.known[key] = path, None, error.with_traceback(None)
        first, value, problem = self.known[key]
        if problem:
            raise type(problem)(str(problem).replace(str(first), str(path)))
        return value

    def file(self, path: Path) -> None:
        """Raises MggdubError unless the file can be read, which is tried."""
        self._once(("file", path), path, _check_file, path)

    def digest(self, path: Path) -> str:
        return str(self._once(("digest", path), path, weights.digest, path))

    def folder(self, folder: Path) -> None:
        """Raises OutputError unless files can be made in it, which is tried."""
        self._once(("folder", folder), folder, _check_folder, folder)

    def device(self, name: str) -> str:
        return str(self._once(("device", name), Path(), models.choose_device, name))

    def credentials(self, cert: Path, key: Path) -> None:
        """Raises MggdubError unless they can sign."""
        self._once(("credentials", cert, key), cert, load_credentials, cert, key)

    def head(self, row: Row) -> None:
        photo, content = row.photo, self.digest(row.photo)
        if is_avatar(photo):
            about = self._once(("avatar", content), photo, lambda: load_avatar(photo)[1])
            check_given(photo, about, {name: getattr(row.options, name) for name in row.given})
            return
        fixed = tuple(getattr(row.options, name) for name in AVATAR_OPTIONS)
        self._once(("photo", content, fixed), photo, check_head, photo, row.options, self.faces)

    def seconds(self, row: Row) -> float:
        pair = row.speech, row.options.drive
        content = [(self.digest(path), path.suffix.lower()) if path else None for path in pair]
        path = row.speech or row.options.drive or row.photo
        return float(self._once(("seconds", *content), path, playing_time, *pair))


def _check_file(path: Path) -> None:
    try:
        with check_input(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def _check_place(row: Row, plan: Plan, inputs: set[str], look: _Look, job: Job | None) -> None:
    target = plan.folder / row.output
    if os.path.realpath(target) in inputs:
        raise OutputError(f"{target} is also an input; choose another output.")
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(plan.folder)):
        raise OutputError(f"{target} leaves the folder of the batch through a link; choose another output.")
    try:
        there = _status(target)
        if there and stat.S_ISDIR(there.st_mode):
            raise OutputError(f"{target} is a folder; name a file.")
        if there and not plan.force:
            record = read_record(job.recorded) if job else None
            if job and record and record.bytes == there.st_size and record.key != job.key:
                raise OutputError(
                    f"{target} was made of other inputs or options, or by another version; overwrite it with --force "
                    "or choose another name."
                )
            raise OutputError(f"{target} exists; choose another name or overwrite it with --force.")
        look.folder(next(parent for parent in target.parents if _status(parent)))
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror or error}); choose another output.") from error


def _status(path: Path) -> os.stat_result | None:
    """What is there, be it a link to nothing. Raises OSError where looking is not allowed."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_folder(folder: Path) -> None:
    """Raises OutputError unless videos can be written into a folder, which is tried."""
    if not folder.is_dir():
        raise OutputError(f"{folder} is no folder; choose another output.")
    check_output(folder / ".mggdub.probe.mp4", force=True)
