"""How one person is: livelier or calmer than others, blinking often or seldom. A seed draws one of a bank's people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggdub.motion.selection import NAMES
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

MINUTE = 60 * VOICE_RATE  # values
# A tracker counts 36 blinks a minute in the middle of people who talk, with glances down and lids that only twitch;
# of those that close more than halfway and open within half a second there are fewer.
BLINKS = 30.0  # a minute, of a person in the middle
ALIKE = 0.5  # as a power: takes of seven seconds make people's rates look more different than they are
RATES = (11.0, 45.0)  # a minute
MOMENT = 100  # values: what is slower is how somebody sits, not how he moves
# By which power of what is left of a person's own level in a bank, where people were brought nearer to each other, all
# that he plays is livelier; the head's and the brows'.
HEAD, FACE = 1.2, 1.2
MIDDLE = 0.9  # times a bank's usual motion of the head: those who speak into a camera are calmer than others
LEVELS = (0.45, 2.0)
BROWS = [k for k, name in enumerate(NAMES) if name.startswith("brow")]


@dataclass(frozen=True)
class Manner:
    """Of one person."""

    blinks: float = BLINKS  # a minute
    head: float = 1.0  # times the bank's motion of head and torso
    face: float = 1.0  # times the bank's brows
    person: int | None = None  # of the bank; who moves as much is preferred


def manner(bank: MotionBank, seed: int) -> Manner:
    """One of the bank's people; the same seed is the same person."""
    people, rates, levels = np.unique(bank.persons), blink_rates(bank), person_levels(bank)
    k = int(np.random.default_rng([seed, 6]).integers(len(people)))
    blinks = BLINKS * (rates[k] / max(float(np.median(rates)), 1.0)) ** ALIKE
    head, face = np.clip([MIDDLE * levels[k, 0] ** HEAD, levels[k, 1] ** FACE], *LEVELS)
    return Manner(float(np.clip(blinks, *RATES)), float(head), float(face), int(people[k]))


def blink_rates(bank: MotionBank) -> Array:
    """[P] blinks a minute of each of a bank's people, in the order of their numbers."""
    person_of = _person_of(bank)
    lasted = np.bincount(person_of)
    blinks = np.bincount(person_of[np.rint(bank.blinks[:, 0]).astype(int)], minlength=len(lasted))
    return blinks * MINUTE / lasted


def person_levels(bank: MotionBank) -> Array:
    """[P, 2] how far each of a bank's people moves head and brows within some seconds, times the middle one."""
    person_of = _person_of(bank)
    squares = _spread(bank, bank.pose[:, :3]), _spread(bank, bank.units[:, BROWS])
    means = np.stack([np.bincount(person_of, values) for values in squares], 1) / np.bincount(person_of)[:, None]
    spreads = np.sqrt(np.maximum(means, 1e-12))
    found: Array = spreads / np.median(spreads, 0)
    return found


def unlikeness(bank: MotionBank, person: int | None) -> Array:
    """[C] how much more or less than a person somebody moves in each take: squared, of the logarithm."""
    if person is None:
        return np.zeros(len(bank.persons))
    people = np.unique(bank.persons)
    levels = np.log(person_levels(bank))
    apart = np.square(levels - levels[np.searchsorted(people, person)]).sum(1)
    found: Array = apart[np.searchsorted(people, bank.persons)]
    return found


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
