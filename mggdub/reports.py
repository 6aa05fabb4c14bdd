"""What a job says of itself when it is done. Values for Python; `as_dict` is what `--json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MOST_NAMED = 8  # columns that a sentence names
NO_SPEECH = "The recording holds no speech, so the mouth stays closed."


@dataclass(frozen=True)
class Check:
    """One thing that a video was checked for; without a value there was nothing to measure, and it counts as passed."""

    ok: bool
    value: float | None
    limit: float | None
    what: str  # it measures


@dataclass(frozen=True)
class Report:
    """What all of them have."""

    output: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class AvatarReport(Report):
    """Of an avatar file."""

    ply: str | None
    gaussians: int
    splats: int | None  # in the PLY
    advice: tuple[str, ...]  # what to expect of the photo's videos
    size: tuple[int, int]  # px, width and height of them
    inpainter: str  # fast or lama: who painted the background behind the head
    bytes: int
    seconds: float  # of work


@dataclass(frozen=True)
class TrackReport(Report):
    """Of a track file."""

    frames: int
    seconds: float  # that the track lasts
    held: int  # frames without a face, which repeat the one before
    cuts: int
    heard: dict[str, float] | None  # how speech is said: pauses, pitch, onsets; of a video nothing
    notes: tuple[str, ...]
    remarks: tuple[str, ...]  # everything that is told of it, in sentences


@dataclass(frozen=True)
class RenderReport(Report):
    """Of a video."""

    frames: int
    fps: float
    seconds: float  # that the video lasts
    size: tuple[int, int]  # px, width and height
    gaussians: int
    inpainter: str  # fast or lama: who painted the background behind the head
    device: str
    silent: bool  # nobody speaks, so the mouth stays closed
    emotion: str  # that the speech is said with
    held: int  # frames of the driver without a face, which repeat the one before
    cuts: int  # of the driver
    motion: float  # 0 still, 1 as people move; of a driver's head 1 is as the driver's
    gaze: str
    heard: dict[str, float] | None  # how the speech is said that moves the head, if it does
    limited: int  # frames in which the driver moves the head farther than a photo bears
    missing: tuple[str, ...]  # columns that a track file lacks
    advice: tuple[str, ...]  # what to expect of the photo
    notes: tuple[str, ...]
    remarks: tuple[str, ...]  # everything that is told of driver, sound and size, in sentences
    checks: dict[str, Check]
    times: dict[str, float]  # s of work; deform, rasterise, lower face, composite are of render, whose rest encodes


def remarks(
    source: Path | None, cuts: int, held: int, limited: int, missing: tuple[str, ...], notes: tuple[str, ...]
) -> tuple[str, ...]:
    """Sentences about what drives a head (`source`), then the notes."""
    sentences = []
    if cuts:
        places = "one place" if cuts == 1 else f"{cuts} places"
        sentences.append(f"{source} cuts in {places}; pose, size and rest begin anew there.")
    if held:
        sentences.append(f"{source} shows no face in {held} frames; there the last expression and pose are held.")
    if limited:
        sentences.append(
            f"{source} moves the head farther than a photo bears in {limited} frames; there it moves less."
        )
    if missing:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        sentences.append(f"{source} lacks the columns {', '.join(missing[:MOST_NAMED])}{more}; they count as 0.")
    return (*sentences, *notes)
