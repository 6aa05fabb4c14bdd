"""Everything that can be known about rows before the first frame is rendered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mggdub import pipeline
from mggdub.avatar import check_given, is_avatar, load_avatar
from mggdub.batch.manifest import Problem, Row
from mggdub.batch.row import Job, Result, code, finished, make_job, sentence
from mggdub.config import AVATAR_OPTIONS
from mggdub.errors import OutputError
from mggdub.media.files import check_input, check_output
from mggdub.perception.face import FaceFinder


def check_rows(
    rows: list[Row], folder: Path, avatars: Path, force: bool, resume: bool
) -> tuple[list[Job], list[Result], list[Problem]]:
    """What is to be rendered, what is finished from an earlier run, and everything that is wrong with the rest."""
    jobs: list[Job] = []
    done: list[Result] = []
    problems: list[Problem] = []
    inputs = {path.resolve() for row in rows for path in row.inputs}
    look = _Look()
    for row in rows:
        found = len(problems)

        def ask(file: Path, what: Callable[..., Any], *given: Any, row: Row = row) -> Any:
            try:
                return what(*given)
            except Exception as error:  # whatever it is, it must not stop the other rows
                problems.append(Problem(row.number, str(file), sentence(error), code(error), row.output.as_posix()))

        for path in row.inputs:
            ask(path, check_input, path)
        if len(problems) > found:
            continue
        job = ask(row.photo, make_job, row, folder, avatars, force)
        if job and resume and (told := finished(job)):
            done.append(told)
            continue
        ask(row.output, _check_place, folder, row, force, inputs)
        ask(row.photo, look.device, row.options.device)
        ask(row.photo, look.head, row)
        seconds = ask(row.speech or row.photo, look.seconds, row)
        if job and len(problems) == found:
            jobs.append(replace(job, seconds=seconds))
    return jobs, done, problems


class _Look:
    """Looks at every file once; what it raises is not remembered, since it names the file."""

    def __init__(self) -> None:
        self.faces = FaceFinder()
        self.seen: dict[Any, Any] = {}

    def _once(self, key: Any, what: Callable[..., Any], *given: Any) -> Any:
        if key not in self.seen:
            self.seen[key] = what(*given)
        return self.seen[key]

    def device(self, name: str) -> str:
        return str(self._once(("device", name), pipeline.choose_device, name))

    def head(self, row: Row) -> None:
        if is_avatar(row.photo):
            about = self._once(row.photo, lambda: load_avatar(row.photo)[1])
            check_given(row.photo, about, {name: getattr(row.options, name) for name in row.given})
            return
        fixed = tuple(getattr(row.options, name) for name in AVATAR_OPTIONS)
        self._once((row.photo, fixed), pipeline.check_head, row.photo, row.options, self.faces)

    def seconds(self, row: Row) -> float:
        pair = row.speech, row.options.drive
        return float(self._once(pair, pipeline.playing_time, *pair))


def _check_place(folder: Path, row: Row, force: bool, inputs: set[Path]) -> None:
    target = folder / row.output
    if target.resolve() in inputs:
        raise OutputError(f"{target} is also an input; choose another output.")
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{target} leaves the folder of the batch through a link; choose another output.")
    if target.parent.is_dir():
        check_output(target, force, row.inputs)
        return
    there = next(parent for parent in target.parents if parent.exists())
    if not there.is_dir():
        raise OutputError(f"{there} is no folder; choose another output.")
    check_output(there / f".mggdub.probe{target.suffix}", force=True)
