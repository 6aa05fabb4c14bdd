"""Tracks as CSV: the exchange file, and what the Live Link Face app exports.

Columns are `time_s`, the 52 units, `lip_0` to `lip_7`, `pitch_deg yaw_deg roll_deg`, `x_cm y_cm z_cm`, and of the
torso `torso_x_cm torso_y_cm torso_roll_deg torso_z_cm`. Live Link Face
writes PascalCase units after a `Timecode` HH:MM:SS:FF.fff and the head's rotation in radians.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mggdub.errors import InputError
from mggdub.media.files import appearing_whole, check_input, check_output
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack

LONGEST = 1800  # s
FASTEST = 240  # rows a second, of the fastest cameras
LARGEST_FILE = 512 << 20  # bytes; half an hour at the fastest rate
LARGEST_VALUE = 1000.0  # no unit, angle or centimetre of a face is larger
LIPS = tuple(f"lip_{k}" for k in range(LIP_MODES))
ROTATION = ("pitch_deg", "yaw_deg", "roll_deg")
TRANSLATION = ("x_cm", "y_cm", "z_cm")
TORSO = ("torso_x_cm", "torso_y_cm", "torso_roll_deg", "torso_z_cm")
COLUMNS = ("time_s", *BLENDSHAPES, *LIPS, *ROTATION, *TRANSLATION, *TORSO)
# Live Link Face's head, radians about Unreal's axes (left-handed: x into the face, y to the viewer's right, z up): our
# sign for each.
LIVE_LINK_HEAD = {"headpitch": ("pitch_deg", 1.0), "headyaw": ("yaw_deg", -1.0), "headroll": ("roll_deg", 1.0)}
TIMECODE_RATES = (24, 25, 30, 48, 50, 60, 120, 240)
NAMED = 6  # columns that a sentence names before it counts the rest


@dataclass(frozen=True, eq=False)
class TrackFile:
    """What a file holds. A column it lacks is 0 in the track."""

    track: ExpressionTrack
    missing: tuple[str, ...]  # columns of the exchange file that it lacks
    live_link: bool

    @property
    def has_torso(self) -> bool:
        """Whether anything is said of the torso."""
        return not set(TORSO) <= set(self.missing)

    @property
    def has_lips(self) -> bool:
        """Whether there are lip modes; without them the mouth's units say what the lips do."""
        return not set(LIPS) <= set(self.missing)


def read_track(path: Path) -> TrackFile:
    """A track from a CSV. Raises UsageError (no such file) or InputError, which names columns and rows."""
    check_input(path)
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; a track is cut into parts of half an hour.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(path, csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV text file ({error}); export the track again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def _parse(path: Path, lines: Iterator[list[str]]) -> TrackFile:
    given = [name.strip() for name in next(lines, [])]
    header = [name.lower() for name in given]
    twice = sorted({given[i] for i, name in enumerate(header) if name and header.index(name) < i})
    if twice:
        raise InputError(f"{path} has the column {named(twice)} twice; remove one.")
    live_link = "timecode" in header and "time_s" not in header
    clock = "timecode" if live_link else "time_s"
    wanted = {name.lower(): (name, 1.0) for name in COLUMNS[1:]}
    if live_link:
        wanted |= {key: (name, math.degrees(sign)) for key, (name, sign) in LIVE_LINK_HEAD.items()}
    places = {i: wanted[name] for i, name in enumerate(header) if name in wanted}
    if clock not in header:
        raise InputError(
            f"{path} has no column time_s (nor the Timecode of Live Link Face); add the seconds as time_s."
        )
    if not places:
        raise InputError(f"{path} has none of the columns {named(COLUMNS[1:])}; name its columns so.")
    times, values = _rows(path, lines, given, header.index(clock), list(places), live_link)
    times = _from_timecodes(times) if live_link else times[:, 0]
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late) or times[0] < 0:
        row = int(late[0]) + 3 if len(late) else 2
        raise InputError(f"{path}, line {row}: {clock} does not increase from 0 on; sort the lines by time.")
    if times[-1] > LONGEST:
        raise InputError(f"{path} is longer than {LONGEST // 60} minutes; cut it into parts.")
    columns = {name: values[:, k] * factor for k, (name, factor) in enumerate(places.values())}

    def block(names: tuple[str, ...] | list[str]) -> Array:
        nothing = np.zeros(len(times))
        return np.stack([columns.get(name, nothing) for name in names], 1).astype(np.float32)

    track = ExpressionTrack(times, *(block(names) for names in (BLENDSHAPES, LIPS, ROTATION, TRANSLATION, TORSO)))
    return TrackFile(track, tuple(name for name in COLUMNS[1:] if name not in columns), live_link)


def _rows(
    path: Path, lines: Iterator[list[str]], header: list[str], clock: int, places: list[int], live_link: bool
) -> tuple[Array, Array]:
    """Times [T, 1] (or timecodes [T, 4]) and values [T, len(places)] float64."""
    times: list[list[float]] = []
    values: list[list[float]] = []
    for number, cells in enumerate(lines, 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}, line {number} has {len(cells)} cells for {len(header)} columns; complete it.")
        if len(times) > LONGEST * FASTEST:
            raise InputError(f"{path} has more than {LONGEST * FASTEST} lines; cut it into parts of half an hour.")
        times.append(_timecode(cells[clock]) if live_link else [_number(cells[clock])])
        values.append([_number(cells[place]) for place in places])
        bad = [header[clock]] if not np.isfinite(times[-1]).all() else []
        bad += [
            header[place] for place, value in zip(places, values[-1], strict=True) if not abs(value) < LARGEST_VALUE
        ]
        if bad:
            raise InputError(f"{path}, line {number}: no usable number in the column {named(bad)}; correct it.")
    if not times:
        raise InputError(f"{path} has a header but no lines; export the track again.")
    return np.array(times), np.array(values).reshape(len(times), -1)


def _number(cell: str) -> float:
    with suppress(ValueError):
        return float(cell)
    return math.nan


def _timecode(cell: str) -> list[float]:
    """Hours, minutes, seconds, frames; NaN if it is none."""
    found = re.fullmatch(r"\s*(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)\s*", cell)
    return [float(part) for part in found.groups()] if found else [math.nan] * 4


def _from_timecodes(codes: Array) -> Array:
    """Mid-times [T] s from timecodes [T, 4]; the first frame appears at 0.

    The rate is the lowest usual one that all frame numbers fit; a take of less than a second may not tell: 60.
    """
    seconds = codes[:, :3] @ [3600.0, 60.0, 1.0]
    rate = next((r for r in TIMECODE_RATES if codes[:, 3].max() < r), TIMECODE_RATES[-1])
    if len(set(seconds)) < 3:
        rate = max(rate, 60)
    times = seconds + codes[:, 3] / rate
    times = times + 86400.0 * np.cumsum(np.diff(times, prepend=times[0]) < -43200)  # past midnight
    return times - times[0] + (np.median(np.diff(times)) if len(times) > 1 else 1 / rate) / 2


def write_track(path: Path, track: ExpressionTrack, force: bool = False) -> None:
    """Write the exchange file; it appears under its name only when it is whole. Raises UsageError or OutputError."""
    check_output(path, force, suffixes=(".csv",))
    parts = (track.blendshapes, track.lip_modes, track.rotation, track.translation, track.torso)
    values = np.concatenate(parts, 1)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([f"{v:.6f}" for v in (time, *row)] for time, row in zip(track.times, values, strict=True))
    with appearing_whole(path, force) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def named(columns: tuple[str, ...] | list[str]) -> str:
    """The names for a sentence: the first few, and how many more."""
    more = len(columns) - NAMED
    return ", ".join(columns[:NAMED]) + (f" and {more} more" if more > 0 else "")
