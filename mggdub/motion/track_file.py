"""Tracks as CSV: the exchange file, and what the Live Link Face app exports.

Columns are `time_s`, the 52 units, `lip_0` to `lip_7`, `pitch_deg yaw_deg roll_deg`, `x_cm y_cm z_cm`, and of the
torso `torso_x_cm torso_y_cm torso_roll_deg torso_z_cm`. Live Link Face writes PascalCase units after a `Timecode`
HH:MM:SS:FF.fff and the head's rotation in radians. `media.table` knows the dialects of CSV.
"""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from mggdub.errors import InputError, excerpt, plain
from mggdub.media.files import appearing_whole, check_output
from mggdub.media.table import LONGEST_NAME, Limits, as_number, name_list, read_table
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack

LONGEST = 1800  # s
FASTEST = 240  # rows a second, of the fastest cameras
MOST_ROWS = LONGEST * FASTEST
LIMITS = Limits(512 << 20, 2000, 2 * MOST_ROWS)  # half an hour at the fastest rate, and what other programs add
FAR = 1.0  # s before the first line, or between lines, from which on it is told that seconds are counted
ALIKE, SHORTEST, MOST_COMPARED = 0.76, 3, 200  # of names that may be mistaken for columns'
LARGEST_VALUE = 1000.0  # no angle or centimetre of a face is larger
LARGEST_UNIT = 10.0  # 0 is at rest and 1 all of it; who writes 100 means percent
LIPS = tuple(f"lip_{k}" for k in range(LIP_MODES))
ROTATION = ("pitch_deg", "yaw_deg", "roll_deg")
TRANSLATION = ("x_cm", "y_cm", "z_cm")
TORSO = ("torso_x_cm", "torso_y_cm", "torso_roll_deg", "torso_z_cm")
COLUMNS = ("time_s", *BLENDSHAPES, *LIPS, *ROTATION, *TRANSLATION, *TORSO)
# Live Link Face's head, radians about Unreal's axes (left-handed: x into the face, y to the viewer's right, z up): our
# sign for each.
LIVE_LINK_HEAD = {"headpitch": ("pitch_deg", 1.0), "headyaw": ("yaw_deg", -1.0), "headroll": ("roll_deg", 1.0)}
SIDE = re.compile(r"[_-]([lr])$", re.IGNORECASE)
TIMECODE_RATES = (24, 25, 30, 48, 50, 60, 120, 240)
TIMECODE = re.compile(r"\s*(\d\d?):(\d\d?):(\d\d?)[:;](\d{1,3}(?:[.,]\d{1,9})?)\s*", re.ASCII)


@dataclass(frozen=True, eq=False)
class TrackFile:
    """What a file holds. A column it lacks is 0 in the track."""

    track: ExpressionTrack
    missing: tuple[str, ...]  # columns of the exchange file that it lacks
    live_link: bool
    unused: tuple[str, ...] = ()  # columns that play no part, but look like one that it lacks, which is named, too

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
    known = frozenset(name.lower() for name in (*COLUMNS, "timecode", *LIVE_LINK_HEAD))
    lines = read_table(path, known, LIMITS)
    _, given = next(lines, (1, []))
    header = [_key(name) for name in given]
    live_link = "timecode" in header and _key("time_s") not in header
    clock = "timecode" if live_link else _key("time_s")
    wanted = {_key(name): (name, 1.0) for name in COLUMNS[1:]}
    if live_link:
        wanted |= {key: (name, math.degrees(sign)) for key, (name, sign) in LIVE_LINK_HEAD.items()}
    places = {i: wanted[name] for i, name in enumerate(header) if name in wanted}
    if clock not in header:
        raise InputError(
            f"{path} has no column time_s (nor the Timecode of Live Link Face); add the seconds as time_s."
        )
    if not places:
        raise InputError(f"{path} has none of the columns {name_list(COLUMNS[1:])}; name its columns so.")
    taken = [given[place] for place, name in enumerate(header) if header.count(name) > 1 and name in {clock, *wanted}]
    if taken:
        raise InputError(f"{path} has the columns {name_list(taken)}, which mean the same; remove one.")
    numbers, times, values = _rows(path, lines, given, header.index(clock), list(places), live_link)
    times = _from_timecodes(times) if live_link else times[:, 0]
    _check_times(path, given[header.index(clock)], times, numbers)
    columns = {name: values[:, k] * factor for k, (name, factor) in enumerate(places.values())}
    _check_units(path, columns, numbers)

    def block(names: Sequence[str]) -> Array:
        nothing = np.zeros(len(times))
        return np.stack([columns.get(name, nothing) for name in names], 1).astype(np.float32)

    units, lips, turned, moved, torso = map(block, (BLENDSHAPES, LIPS, ROTATION, TRANSLATION, TORSO))
    turned = np.unwrap(turned, period=360.0, axis=0)  # of programs that count from 0 to 360 ...
    turned -= 360 * np.rint(turned[0] / 360)  # ... for which 359 is next to 0
    missing = tuple(name for name in COLUMNS[1:] if name not in columns)
    others = [name for name in given if _key(name) not in {clock, *wanted}]
    return TrackFile(
        ExpressionTrack(times, units, lips, turned, moved, torso), missing, live_link, _mistaken(others, missing)
    )


def _mistaken(others: list[str], missing: tuple[str, ...]) -> tuple[str, ...]:
    """Of names that are no column's, those that look like one of `missing`, each with that."""
    known = {_key(name): name for name in missing}
    pairs = {}
    for name in filter(None, others[:MOST_COMPARED]):
        key = _key(name[:LONGEST_NAME])
        inside = [column for column in known if len(key) >= SHORTEST and (column in key or key in column)]
        if near := inside[:1] or get_close_matches(key, known, 1, ALIKE):
            pairs[name] = f"{excerpt(name, LONGEST_NAME)} ({known[near[0]]}?)"
    return tuple(pairs.values())


def track_notes(path: Path, file: TrackFile) -> list[str]:
    """What of a file may not be meant so: lines that begin late or lie far apart, names that are mistaken."""
    notes, times = [], file.track.times
    if len(times) > 1 and (step := float(np.median(np.diff(times)))) >= FAR:
        notes.append(
            f"{path} has a line every {plain(step)} s; its times are seconds, neither frames nor milliseconds."
        )
    elif times[0] >= FAR:
        notes.append(f"{path} begins at {plain(float(times[0]))} s; until then the head stands still.")
    if file.unused:
        notes.append(f"{path} has columns that play no part: {name_list(file.unused)}; rename them if they should.")
    return notes


def unplayable_notes(path: Path, times: Array) -> list[str]:
    """What to say of a track, written to `path`, that `read_track` would refuse for its times [T] s."""
    if len(times) and times[-1] > LONGEST:
        return [f"{path} lasts more than {LONGEST // 60} minutes; cut it into parts before you play it with --drive."]
    if _is_too_fast(times):
        return [f"{path} has more than {FASTEST} lines a second; leave out lines before you play it with --drive."]
    return []


def _is_too_fast(times: Array) -> bool:
    return len(times) > 1 and float(np.median(np.diff(times))) < 1 / (2 * FASTEST)  # cameras' clocks tremble


def _rows(
    path: Path,
    lines: Iterator[tuple[int, list[str]]],
    header: list[str],
    clock: int,
    places: list[int],
    live: bool,
) -> tuple[Array, Array, Array]:
    """Lines [T], times [T, 1] (or timecodes [T, 4]) and values [T, len(places)] float64."""
    numbers, times, values = array("q"), array("d"), array("d")
    for number, cells in lines:
        if len(numbers) >= MOST_ROWS:
            raise InputError(f"{path} has more than {MOST_ROWS} lines; cut it into parts of half an hour.")
        time = _timecode(cells[clock]) if live else [_number(cells[clock])]
        row = [_number(cells[place]) for place in places]
        bad = [header[clock]] if not all(map(math.isfinite, time)) else []
        bad += [header[place] for place, value in zip(places, row, strict=True) if not abs(value) < LARGEST_VALUE]
        if bad:
            raise InputError(f"{path}, line {number}: no usable number in the column {name_list(bad)}; correct it.")
        numbers.append(number)
        times.extend(time)
        values.extend(row)
    if not numbers:
        raise InputError(f"{path} has a header but no lines; export the track again.")
    count = len(numbers)
    return np.array(numbers), np.array(times).reshape(count, -1), np.array(values).reshape(count, -1)


def _check_times(path: Path, clock: str, times: Array, numbers: Array) -> None:
    """Raises InputError for times [T] s that do not rise, or are too far or too near; `numbers` [T] are their lines."""
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        line = int(numbers[late[0] + 1])
        raise InputError(f"{path}, line {line}: {clock} does not increase from line to line; sort the lines by time.")
    if times[0] < 0:
        raise InputError(f"{path}, line {numbers[0]}: {clock} is below 0; count from the start of the take on.")
    if times[-1] > LONGEST:
        step = float(np.median(np.diff(times, prepend=0.0)))
        if step >= FAR and len(times) > 2 and _key(clock) == _key("time_s"):
            raise InputError(f"{path} has a line every {plain(step)} s; {clock} counts seconds, write it in these.")
        raise InputError(f"{path} is longer than {LONGEST // 60} minutes; cut it into parts.")
    if _is_too_fast(times):
        raise InputError(f"{path} has more than {FASTEST} lines a second; {clock} counts seconds, leave out lines.")


def _check_units(path: Path, columns: dict[str, Array], numbers: Array) -> None:
    """Raises InputError for units [T] that are percents; `numbers` [T] are their lines."""
    for name in (name for name in BLENDSHAPES if name in columns):
        far = np.flatnonzero(np.abs(columns[name]) > LARGEST_UNIT)
        if len(far):
            value = plain(float(columns[name][far[0]]))
            raise InputError(
                f"{path}, line {numbers[far[0]]}: {name} is {value}, and units go from 0 to 1; divide percents by 100."
            )


def _key(name: str) -> str:
    """A column's name, however it is written: `eyeBlinkLeft`, `EyeBlink_L`, `eye_blink_left`."""
    side = SIDE.search(name)
    whole = name[: side.start()] + {"l": "left", "r": "right"}[side[1].lower()] if side else name
    return re.sub(r"[_\s-]", "", whole).lower()


def _number(cell: str) -> float:
    with suppress(ValueError):
        return as_number(cell)
    return math.nan


def _timecode(cell: str) -> list[float]:
    """Hours, minutes, seconds, frames; NaN if it is none."""
    fields = TIMECODE.fullmatch(cell)
    parts = [float(part.replace(",", ".")) for part in fields.groups()] if fields else []
    usual = parts and parts[0] < 24 and max(parts[1:3]) < 60 and parts[3] < TIMECODE_RATES[-1]
    return parts if usual else [math.nan] * 4


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
