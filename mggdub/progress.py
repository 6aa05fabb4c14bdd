"""How work says how far it is, and how long its parts took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """What is being done."""

    FETCH = "fetch"  # LaMa's model
    LOAD = "load"  # the networks
    CHECK = "check"  # the rows of a batch
    PHOTO = "photo"  # the head is built
    SPEECH = "speech"  # is listened to
    DRIVE = "drive"  # frames of a driving video
    RENDER = "render"  # frames of a video
    BATCH = "batch"  # frames of many
    MEASURE = "measure"  # frames of a video that is evaluated


Progress = Callable[[Stage, int, int], None]  # the stage, how much of it is done, and of how much


def silent(stage: Stage, done: int, total: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Stopwatch:
    """Seconds by the name of what was done; a microsecond a measurement."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Seconds that were counted elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
