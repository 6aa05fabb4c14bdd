"""The shots of a video that was followed: without flashes, with what lies in a dissolve left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mggdub.face.clip import BREAK, MOST_TOLD, TELLING, Sighting, jumps
from mggdub.face.likeness import change, unlikeness
from mggdub.types import Array

BLIP = 0.13  # s; what is shorter is a flash, a damaged frame or the tracker between two people
DISSOLVES = (0.2, 0.4, 0.8, 1.6, 3.0)  # s, lengths that are tried
STEPS = 8  # parts of a dissolve at which its mixture is looked at
APART = 12.0  # grey levels between the pictures before and after
TEXTURE = 6.0  # standard deviation of a picture that is more than a black frame
RELATED = 0.85  # correlation of two pictures of one scene in different light
LEFT = 0.2  # of that difference, which no mixture of the two explains
PURE = 0.12  # share of the other picture that still counts as none
BACK = 0.06  # of that share, by which what moves may hide that it grows


def settled(sightings: Sequence[Sighting]) -> list[Sighting]:
    """The sightings with shots numbered from 0 as they come; faces in flashes and dissolves are None.

    A person who is seen again after a flash as before goes on with the shot. The longest shot always stays.
    """
    frames = list(sightings)
    stamps = np.array([one.stamp for one in frames])
    borders = np.zeros(len(frames), np.int64)
    for start, stop in dissolves(stamps, np.stack([one.picture for one in frames])):
        if any(one.face for one in frames[:start]) and any(one.face for one in frames[stop:]):
            borders[stop:] += 1
            for k in range(start, stop):
                frames[k] = replace(frames[k], face=None, look=None)
    shots = [(one.shot, int(border)) for one, border in zip(frames, borders, strict=True)]
    runs = _runs([shot if one.face else None for shot, one in zip(shots, frames, strict=True)])
    return _joined(frames, _without_blips(runs, stamps))


def _runs(shots: list[tuple[int, int] | None]) -> list[list[int]]:
    """Frames in which a face is seen, a list for each shot."""
    runs: dict[tuple[int, int], list[int]] = {}
    for index, shot in enumerate(shots):
        if shot is not None:
            runs.setdefault(shot, []).append(index)
    return [runs[shot] for shot in sorted(runs)]


def _without_blips(runs: list[list[int]], stamps: Array) -> list[list[int]]:
    """Without the shots that are too short to be any; the longest stays."""
    step = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.04

    def lasts(run: list[int]) -> float:
        return float(stamps[run[-1]] - stamps[run[0]]) + step

    longest = max((lasts(run) for run in runs), default=0.0)
    return [run for run in runs if lasts(run) > min(BLIP, longest - 1e-6)]


def _joined(sightings: list[Sighting], runs: list[list[int]]) -> list[Sighting]:
    """The sightings with a number for each of `runs`, or the number before where it goes on; others show no face."""
    numbers: dict[int, int] = {}
    number, before = -1, None
    for run in runs:
        interrupted = before is not None and run[0] - before > 1
        if before is None or not interrupted or not _goes_on(sightings[before], sightings[run[0]]):
            number += 1
        numbers |= dict.fromkeys(run, number)
        before = run[-1]
    joined, latest = [], 0
    for index, one in enumerate(sightings):
        latest = numbers.get(index, latest)
        face, look = (one.face, one.look) if index in numbers else (None, None)
        joined.append(replace(one, shot=latest, face=face, look=look))
    return joined


def _goes_on(before: Sighting, after: Sighting) -> bool:
    """Whether a face is the one before, in the same shot."""
    assert before.face and after.face and before.look is not None and after.look is not None
    penalty = min(change(before.picture, after.picture) / TELLING, MOST_TOLD)
    moved = jumps(before.face, after.face, after.stamp - before.stamp)
    return not moved and unlikeness(before.look, after.look) + penalty <= BREAK


def dissolves(stamps: Array, pictures: Array) -> list[tuple[int, int]]:
    """(first frame, frame behind the last) of every dissolve of one picture into another.

    stamps [T] s, pictures [T, h, w, 3] uint8. Between the two every frame is a mixture of them, of ever more of the
    second; nothing that moves before a camera is.
    """
    if len(stamps) < STEPS:
        return []
    step = float(np.median(np.diff(stamps)))
    flat = pictures.reshape(len(pictures), -1)
    ranges: list[tuple[int, int]] = []
    for seconds in DISSOLVES:
        length = max(STEPS // 2, round(seconds / step))
        for start in _mixtures(flat, length):
            ranges.append(_trimmed(flat, start, start + length))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _mixtures(flat: Array, length: int) -> list[int]:
    """Starts of windows of `length` frames through which one picture becomes another; flat [T, P] uint8."""
    if len(flat) <= length:
        return []
    first, last = flat[:-length], flat[length:]
    apart = np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in zip(first, last, strict=True)])
    return [int(start) for start in np.flatnonzero(apart > APART) if _is_mixture(flat, int(start), length)]


def _is_mixture(flat: Array, start: int, length: int) -> bool:
    places = np.unique(np.linspace(start, start + length, min(STEPS, length) + 1).round().astype(int))
    frames = flat[places].astype(np.float32)
    first, change_ = frames[0], frames[-1] - frames[0]
    if min(frames[0].std(), frames[-1].std()) < TEXTURE or np.corrcoef(frames[0], frames[-1])[0, 1] > RELATED:
        return False
    shares = (frames - first) @ change_ / float(change_ @ change_)
    left = np.abs(frames - first - shares[:, None] * change_).mean(1) / np.abs(change_).mean()
    inner = (shares > 0.15) & (shares < 0.85)
    return bool(left.max() < LEFT and inner.sum() >= 2 and (np.diff(shares) > -BACK).all())


def _trimmed(flat: Array, start: int, stop: int) -> tuple[int, int]:
    """Without the frames at both ends that are still, or already, only one of the two pictures."""
    first, last = flat[start].astype(np.float32), flat[stop].astype(np.float32)
    shares = (flat[start : stop + 1] - first) @ (last - first) / float((last - first) @ (last - first))
    mixed = np.flatnonzero((shares > PURE) & (shares < 1 - PURE)) + start
    return int(mixed[0]), int(mixed[-1]) + 1
