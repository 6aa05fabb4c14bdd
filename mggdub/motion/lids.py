"""How lids close and open, and what they do between: of a bank's pieces, taken apart and put together.

A bank keeps lids as what is left beside a usual blink that was brought to full closure. So their own curve is known but
for the moment of closure, between two values of 25 a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mggdub.motion.body import low_passed
from mggdub.motion.selection import NAMES, SWAPPED
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

LIDS = [k for k, name in enumerate(NAMES) if name.startswith("eyeBlink")]
# How lids close and open: median of 203 blinks of 40 people.
LID_TIMES = np.array([-0.1, -0.08, -0.06, -0.04, -0.025, 0.025, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2])
LID_SHUT = np.array([0, 0.08, 0.35, 0.75, 1, 1, 0.83, 0.61, 0.41, 0.17, 0.06, 0])
USUAL_BLINK = 0.12  # s from half to half
STRETCH = (0.85, 1.8)  # of the usual one
STOP = -0.29  # of a blink: a bank keeps no rest that is more open, and so does not know how quick a quick blink was
HIDDEN = 0.6  # of closure: beyond it a bank does not know the own curve
BEFORE, AFTER = 4, 12  # values of a blink before it is closed, and from then on
SHUT, CLOSING = 0.021, 0.03  # s closed to either side, so that 24 frames a second show it; s in which lids fall
LOW = 0.5  # of a blink: lids that rest lower are not counted on
SUNK = 0.4  # of how far lids stay sunk between blinks, since a painted lid that shows a little looks sleepy
FLUTTER = (0.15, 0.15)  # of a blink: lids narrowed for a moment close less from there on, and by so much at most
LID_REST = (0.2, 0.15)  # of a blink, softly: how far lids stay open or sunk between blinks


@dataclass(frozen=True, eq=False)
class Blinks:
    """B blinks of a bank, from BEFORE values before lids are closed on."""

    closing: Array  # [B, 16] 0 open to 1 closed, from where the lids rest
    beside: Array  # [B, 16, 24] what brows, cheeks and eyes do meanwhile, both sides alike, from where they were going
    held: Array  # [B] s from half to half


def stretched(held: float) -> float:
    """How much slower than the usual one a blink is that lasts so many s from half to half."""
    return float(np.clip(held / USUAL_BLINK, *STRETCH))


def lid_curve(since: Array) -> Array:
    """[T] 0 open to 1 closed, for seconds since lids have closed in a usual blink."""
    return np.interp(since, LID_TIMES, LID_SHUT)


def lids_with_blinks(bank: MotionBank) -> Array:
    """[N, 2] lids with their blinks, as a bank knows them, every blink at full closure."""
    lids = bank.units[:, LIDS].astype(np.float64)
    rest = lids.copy()
    for first, at, last, held in _spans(bank):
        curve = lid_curve((np.arange(first, last) - at) / VOICE_RATE / stretched(held))[:, None]
        known = (rest[first:last] > STOP) | (curve == 0) | (curve >= HIDDEN)
        lids[first:last] = _outward(curve + (1 - curve) * rest[first:last], known, at - first)
    return lids


def _outward(lids: Array, known: Array, closed: int) -> Array:
    """Lids [n, 2], closed at value `closed`, of which what is not `known` [n, 2] is as what is farther from it."""
    index = np.arange(len(lids))[:, None]
    before = np.maximum.accumulate(np.where(known, index, 0), 0)
    after = np.minimum.accumulate(np.where(known, index, len(lids) - 1)[::-1], 0)[::-1]
    return np.take_along_axis(lids, np.where(index < closed, before, after), 0)


def split_blinks(bank: MotionBank) -> tuple[MotionBank, Blinks]:
    """The bank without its blinks, neither of the lids nor of what goes with them; and the blinks."""
    lids, units = lids_with_blinks(bank), bank.units.astype(np.float64)
    rest, many = lids.copy(), (len(bank.blinks), BEFORE + AFTER)
    closing, beside = np.zeros(many), np.zeros((*many, units.shape[1]))
    for k, (first, at, last) in enumerate(_between(bank)):
        inside = slice(first - at + BEFORE, last - at + BEFORE)
        opened = lids[[first if first < at else last - 1, last - 1]]
        rest[first:last] = _straight(np.minimum(opened, LOW), last - first)
        closed = ((lids[first:last] - rest[first:last]) / (1 - rest[first:last])).mean(1)
        closing[k, inside] = np.clip(closed, 0, 1)
        moved = units[first:last] - _straight(units[[first, last - 1]], last - first)
        beside[k, inside] = (moved + moved[:, SWAPPED]) / 2
        beside[k, :, LIDS] = 0
        units[first:last] -= beside[k, inside]
    units[:, LIDS] = rest
    return replace(bank, units=units.astype(np.float32)), Blinks(closing, beside, bank.blinks[:, 1])


def _straight(ends: Array, count: int) -> Array:
    """[count, C] straight from the first of two ends [2, C] to the other."""
    return ends[0] + np.linspace(0, 1, count)[:, None] * (ends[1] - ends[0])


def _between(bank: MotionBank) -> list[tuple[int, int, int]]:
    """First value, closed one and end of every blink, which leave room to those beside it."""
    spans = _spans(bank)
    closed = [-len(bank.pose), *(at for _, at, _, _ in spans), 2 * len(bank.pose)]
    return [
        (max(first, min(before + BEFORE, at - 1)), at, min(last, max(after - BEFORE, at + 2)))
        for (first, at, last, _), before, after in zip(spans, closed, closed[2:], strict=False)
    ]


def _spans(bank: MotionBank) -> list[tuple[int, int, int, float]]:
    """Of every blink: first value, the one at which lids are closed, end, and s from half to half."""
    at = np.rint(bank.blinks[:, 0]).astype(int)
    take = np.searchsorted(bank.starts, at, side="right")
    firsts, lasts = np.maximum(at - BEFORE, bank.starts[take - 1]), np.minimum(at + AFTER, bank.starts[take])
    return list(zip(firsts.tolist(), at.tolist(), lasts.tolist(), bank.blinks[:, 1].tolist(), strict=True))


def blink_knots(closing: Array, held: float, phase: float) -> tuple[Array, Array]:
    """Seconds and closure of a blink [16] whose lids are closed `phase` s after the value that shows it."""
    since = np.arange(-BEFORE, AFTER) / VOICE_RATE
    slower = stretched(held)
    hidden = lid_curve(since / slower) >= HIDDEN
    left, right = (since < 0) & ~hidden, (since > 0) & ~hidden
    shut, fall = SHUT * max(slower, 1.0), CLOSING * slower
    start = max(phase - shut - fall, since[left][-1] + 1e-6)
    core = [start, max(phase - shut, start + 1e-6), phase + shut]
    times = np.concatenate([[-(BEFORE + 1) / VOICE_RATE], since[left], core, since[right], [AFTER / VOICE_RATE]])
    values = np.concatenate([[0], closing[left], [closing[left][-1], 1, 1], closing[right], [0]])
    return times, values


def lid_motion(known: Blinks, blinks: Array, times: Array) -> Array:
    """[T] 0 open to 1 closed; every blink [B, 2] (s when closed, which of those `known`) closes fully."""
    lids = np.zeros(len(times))
    for moment, which in blinks:
        shown = (np.floor(moment * VOICE_RATE) + 0.5) / VOICE_RATE
        knots, values = blink_knots(known.closing[int(which)], float(known.held[int(which)]), moment - shown)
        first, last = np.searchsorted(times, [shown + knots[0], shown + knots[-1]])
        lids[first:last] = np.maximum(lids[first:last], np.interp(times[first:last] - shown, knots, values))
    return lids


def with_beside(units: Array, known: Blinks, blinks: Array) -> Array:
    """Units [n, 24], 25 values a second, of a face whose brows and eyes also do what goes with these blinks [B, 2]."""
    moving = units.copy()
    for moment, which in blinks:
        first = int(moment * VOICE_RATE) - BEFORE
        start, end = max(first, 0), min(first + BEFORE + AFTER, len(units))
        moving[start:end] += known.beside[int(which), start - first : end - first]
    return moving


def resting(lids: Array) -> Array:
    """Lids [n, 2] between blinks, 25 values a second, that stay less sunk than people's and hardly flutter.

    What else is quick in them stays.
    """
    rest = low_passed(lids)
    wide, low = LID_REST
    moved = lids - rest + np.where(rest > 0, low * np.tanh(SUNK * rest / low), wide * np.tanh(rest / wide))
    knee, room = FLUTTER
    return np.where(moved > knee, knee + room * np.tanh((moved - knee) / room), moved)
