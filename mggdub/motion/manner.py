"""How one person is: livelier or calmer than others, blinking often or seldom. A seed draws one of a bank's people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggdub.face.expression import BROW_UNITS
from mggdub.motion.selection import NAMES
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

MINUTE = 60 * VOICE_RATE  # values
# A tracker counts 32 blinks a minute of people who talk, some of them lids that are narrowed for a moment: those come
# with how lids rest, and are not among these.
BLINKS = 29.0  # a minute, of a person in the middle
ALIKE = 0.5  # as a power: takes of seven seconds make people's rates look more different than they are
RATES = (11.0, 45.0)  # a minute
MOMENT = 100  # values: what is slower is how somebody sits, not how he moves
# By which power of what is left of a person's own level in a bank, where people were brought nearer to each other, all
# that he plays is livelier; the head's and the brows'.
HEAD, FACE = 1.2, 1.2
MIDDLE = 0.87  # times a bank's usual motion of the head: those who speak into a camera are calmer than others
LEVELS = (0.45, 2.0)
LOWERED = [k for k in BROW_UNITS if NAMES[k].startswith("browDown")]
FAINT = 0.01  # of a unit: brows that move less do not
MOST_UNLIKE = 2.0  # so that nobody plays the same pieces over and over, since all others are unlike him
SAME_BROWS = 1.0  # how much it counts beside liveliness whether somebody lowers brows or raises them


@dataclass(frozen=True)
class Manner:
    """Of one person."""

    blinks: float = BLINKS  # a minute
    head: float = 1.0  # times the bank's motion of head and torso
    face: float = 1.0  # times the bank's brows
    unlike: tuple[float, ...] = ()  # for every take of the bank, how much unlike this person somebody moves in it


def manner(bank: MotionBank, seed: int) -> Manner:
    """One of the bank's people; the same seed is the same person."""
    rates, levels = blink_rates(bank), person_levels(bank)
    k = int(np.random.default_rng([seed, 6]).integers(len(rates)))
    blinks = BLINKS * (rates[k] / max(float(np.median(rates)), 1.0)) ** ALIKE
    head, face = np.clip([MIDDLE * levels[k, 0] ** HEAD, levels[k, 1] ** FACE], *LEVELS)
    unlike = tuple(unlikeness(bank, levels, k).tolist())
    return Manner(float(np.clip(blinks, *RATES)), float(head), float(face), unlike)


def blink_rates(bank: MotionBank) -> Array:
    """[P] blinks a minute of each of a bank's people, in the order of their numbers."""
    person_of = _person_of(bank)
    lasted = np.bincount(person_of)
    blinks = np.bincount(person_of[np.rint(bank.blinks[:, 0]).astype(int)], minlength=len(lasted))
    return blinks * MINUTE / lasted


def person_levels(bank: MotionBank) -> Array:
    """[P, 2] how far each of a bank's people moves head and brows within some seconds, times the middle one."""
    person_of = _person_of(bank)
    squares = _spread(bank, bank.pose[:, :3]), _spread(bank, bank.units[:, BROW_UNITS])
    means = np.stack([np.bincount(person_of, values) for values in squares], 1) / np.bincount(person_of)[:, None]
    spreads = np.sqrt(np.maximum(means, 1e-12))
    relative: Array = spreads / np.median(spreads, 0)
    return relative


def lowering(bank: MotionBank) -> Array:
    """[P] whether each of a bank's people rather lowers brows (above 0) or raises them: logarithm of how far.

    Of a face that rests with low brows a tracker sees these lowered more or less, and never raised; of others the
    other way round.
    """
    person_of, raised = _person_of(bank), [k for k in BROW_UNITS if k not in LOWERED]
    squares = [np.bincount(person_of, _spread(bank, bank.units[:, columns])) for columns in (LOWERED, raised)]
    down, up = np.sqrt(np.stack(squares) / np.bincount(person_of)) + FAINT
    lean: Array = np.log(down / up)
    return lean


def unlikeness(bank: MotionBank, levels: Array, k: int) -> Array:
    """[C] how much unlike the bank's person number k, of whom `levels` [P, 2] are known, somebody moves in each take.

    That is the squared logarithm of how much livelier head and brows are, and of how else brows move; no more than
     MOST_UNLIKE.
    """
    ways, apart = lowering(bank), np.square(np.log(levels / levels[k])).sum(1)
    apart = apart + SAME_BROWS * np.square(ways - ways[k])
    unlike_in_takes: Array = np.minimum(apart, MOST_UNLIKE)[np.searchsorted(np.unique(bank.persons), bank.persons)]
    return unlike_in_takes


def _person_of(bank: MotionBank) -> Array:
    """[N] whose each value is, counted through people in the order of their numbers."""
    return np.asarray(np.unique(bank.persons, return_inverse=True)[1][bank.take_of])


def _spread(bank: MotionBank, values: Array) -> Array:
    """[N] squared distance of values [N, C] from where they are within MOMENT, summed."""
    parts = []
    for first, last in zip(bank.starts[:-1], bank.starts[1:], strict=True):
        smooth = uniform_filter1d(values[first:last].astype(np.float64), 5, axis=0, mode="nearest")
        parts.append(np.square(smooth - uniform_filter1d(smooth, MOMENT, axis=0, mode="nearest")).sum(1))
    return np.concatenate(parts)
