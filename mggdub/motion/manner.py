"""How one person is: livelier or calmer than others, blinking often or seldom. A seed draws one of a bank's people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

MINUTE = 60 * VOICE_RATE  # values
# A tracker counts 36 blinks a minute in the middle of people who talk, with glances down and lids that only twitch;
# of those that close more than halfway and open within half a second there are fewer.
BLINKS = 24.0  # a minute, of a person in the middle
ALIKE = 0.5  # as a power: takes of seven seconds make people's rates look more different than they are
RATES = (9.0, 36.0)  # a minute


@dataclass(frozen=True)
class Manner:
    """Of one person."""

    blinks: float = BLINKS  # a minute


def manner(bank: MotionBank, seed: int) -> Manner:
    """One of the bank's people; the same seed is the same person."""
    rates = blink_rates(bank)
    person = int(np.random.default_rng([seed, 6]).integers(len(rates)))
    usual = max(float(np.median(rates)), 1.0)
    return Manner(float(np.clip(BLINKS * (rates[person] / usual) ** ALIKE, *RATES)))


def blink_rates(bank: MotionBank) -> Array:
    """[P] blinks a minute of each of a bank's people."""
    person_of = np.repeat(bank.persons, np.diff(bank.starts))
    count = int(bank.persons.max()) + 1
    blinks = np.bincount(person_of[np.rint(bank.blinks[:, 0]).astype(int)], minlength=count)
    lasted = np.bincount(person_of, minlength=count)
    there = lasted > 0
    return blinks[there] * MINUTE / lasted[there]
