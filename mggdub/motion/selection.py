"""Which pieces of the bank a head plays one after the other, so that they fit what is heard and join smoothly.

Unit selection (Hunt and Black 1996) as motion matching does it (Clavet 2016): from time to time all places of the bank
are compared by how the sound goes on there and by how far the head there is from where it is now, and the cheapest is
gone on from. No sums of a linear-algebra library are in it, so the same seed chooses the same on every thread count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggdub.motion.prosody import Prosody
from mggdub.networks.motion import HEARD, MotionBank
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array

STRIDE = 3  # values between the places that are compared
AHEAD = np.array([-10, -5, 0, 4, 8, 12, 16, 20, 25, 30, 36, 42, 50])  # values around a place, at which it is heard
NEAR = np.exp(-np.maximum(AHEAD, 0) / 40.0)  # what comes soon counts more
SOUND = np.array([1.0, 0.5, 0.3, 3.0])  # how much level, pitch, onset and speaking count
LEVEL_SCALE = np.array([0.3, 0.35, 0.5, 1.0])  # usual difference of each
UNHEARD = 1.5  # cost of a place whose sound is not known, for each of the three
SHORTEST, LONGEST = 40, 250  # values of a piece
DECIDE = 10  # values between decisions
LEFT = 50  # values that a place should have before its take ends
SHORT = 0.5  # cost of having none left
SWITCH = 0.6  # by how much others must fit better before a piece ends early
FEW = 10  # others must fit better
JOIN = 0.1  # how much the state at a join counts
USED, FORGOTTEN = 12.0, 15000.0  # cost of what was played just now; values (ten minutes) until it is as new
SURPRISE = 0.3  # spread of the chance in a choice
LIKENESS = 1.6  # cost of somebody else's liveliness
BLINKING = 0.1  # cost of a blink too many or too few, squared
SOON, LATELY = 60, 150  # values in which blinks are counted ahead and back
MIRROR_POSE = np.array([1, -1, -1, -1, 1, 1, -1, 1, -1, 1], np.float32)
NAMES = [BLENDSHAPES[k] for k in DRIVING_UNITS]
SWAPPED = np.array(
    [
        NAMES.index(n.replace("Left", "*").replace("Right", "Left").replace("*", "Right")) if n[-1] == "t" else k
        for k, n in enumerate(NAMES)
    ]
)


@dataclass(frozen=True)
class Piece:
    """Values start .. end of what is made are those of the bank from `source` on."""

    start: int
    end: int
    source: int
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Places:
    """K places of a bank where motion may be taken up."""

    at: Array  # [K] value of the bank
    left: Array  # [K] values until the take's last two, from which the next piece goes on
    sound: Array  # [K, 13, 4]
    known: Array  # [K, 13, 4] weights; 0 where a take has not begun or has ended
    unheard: Array  # [K] cost of what is not known
    state: Array  # [2, K, S], as it is and mirrored
    blinks: Array  # [K] within SOON
    unlike: Array  # [K] cost of whom it is of


def prosody_features(prosody: Prosody) -> Array:
    """[n, 4] as a bank has it: level, pitch in octaves, onset, speaking."""
    parts = (prosody.level, prosody.pitch / 12, prosody.onset, prosody.speaking)
    return np.stack(parts, 1).astype(np.float32)


def mirrored(pose: Array, units: Array) -> tuple[Array, Array]:
    """Poses [..., 10] and units [..., 24] as a mirror shows them."""
    return pose * MIRROR_POSE, units[..., SWAPPED]


def joint_state(pose: Array, units: Array, speed: Array) -> Array:
    """[..., 17]: what must fit where two pieces join, in usual differences. `speed` [..., 10] is per value."""
    face = [_mean(units, "browInnerUp") / 0.15, _mean(units, "browDownLeft", "browDownRight") / 0.1]
    scale = np.array([3, 3, 2, 1, 1, 1.5, 0.7, 0.7, 2, 2], np.float32)
    held = (pose / scale)[..., :8]
    moving = (speed / (0.12 * scale))[..., :5]
    return np.concatenate([held, moving, np.stack(face, -1), gaze(units) / 0.3], -1).astype(np.float32)


def gaze(units: Array) -> Array:
    """[..., 2] where both eyes look together: to the person's left, and up, of driving units [..., 24]."""
    aside = _mean(units, "eyeLookOutLeft", "eyeLookInRight") - _mean(units, "eyeLookInLeft", "eyeLookOutRight")
    up = _mean(units, "eyeLookUpLeft", "eyeLookUpRight") - _mean(units, "eyeLookDownLeft", "eyeLookDownRight")
    return np.stack([aside, up], -1)


def _mean(units: Array, *names: str) -> Array:
    return np.mean([units[..., NAMES.index(name)] for name in names], 0)


def places_of(bank: MotionBank, unlike: Array) -> Places:
    """Every STRIDE-th value that has at least SHORTEST values of its take left; takes are `unlike` [C] a person."""
    ends = np.repeat(bank.starts[1:], np.diff(bank.starts))
    begins = np.repeat(bank.starts[:-1], np.diff(bank.starts))
    index = np.arange(len(bank.pose))
    at = index[((index - begins) % STRIDE == 0) & (ends - index >= min(SHORTEST, int(np.diff(bank.starts).max())))]
    around = at[:, None] + AHEAD
    inside = (around >= begins[at, None]) & (around < ends[at, None])
    sound = bank.heard[np.clip(around, 0, len(bank.pose) - 1)]
    known = (inside * NEAR)[..., None] * SOUND / np.square(LEVEL_SCALE)
    heard = bank.sounds[bank.take_of[at]]
    known[~heard, :, : HEARD - 1] = 0
    share = NEAR[:, None] * SOUND
    unheard = np.where(heard, 0.0, UNHEARD * share[:, : HEARD - 1].sum())
    total = np.maximum((inside * NEAR).sum(1) / NEAR.sum(), 0.3) * share.sum()
    speed = np.gradient(bank.pose, axis=0)[at]
    states = [joint_state(bank.pose[at], bank.units[at], speed)]
    states.append(joint_state(*mirrored(bank.pose[at], bank.units[at]), speed * MIRROR_POSE))
    weight = (known / total[:, None, None]).astype(np.float32)
    blinks = np.diff(np.searchsorted(bank.blinks[:, 0], [at, np.minimum(at + SOON, ends[at])]), axis=0)[0]
    left = np.maximum(ends[at] - at - 2, 1)
    return Places(
        at, left, sound, weight, unheard / total, np.stack(states), blinks, LIKENESS * unlike[bank.take_of[at]]
    )


def sound_cost(places: Places, heard: Array, now: int) -> Array:
    """[K] how badly the sound at each place fits what is heard [n, 4] around value `now`."""
    wanted = heard[np.clip(now + AHEAD, 0, len(heard) - 1)]
    return (np.square(places.sound - wanted) * places.known).sum((1, 2)) + places.unheard


def next_piece(
    places: Places, heard: Array, now: int, state: Array, played: Array, due: float, rng: np.random.Generator
) -> Piece:
    """The piece that is played from value `now` on, after a head that is in `state`.

    heard [n, 4] is what is said; `played` [N] when each value of the bank was last played, -inf if never, is brought up
    to date; `due` is how many blinks should come within SOON.
    """
    cost = sound_cost(places, heard, now) + _reuse(places, played, now) + BLINKING * np.square(places.blinks - due)
    cost = cost + places.unlike + SHORT * np.clip(1 - places.left / LEFT, 0, 1)
    both = JOIN * np.square(places.state - state).mean(-1) + cost
    both = both + SURPRISE * rng.gumbel(size=both.shape)
    side, place = (int(k) for k in np.unravel_index(both.argmin(), both.shape))
    length = _length(places, heard, now, place, played)
    source = int(places.at[place])
    played[source : source + length] = now
    return Piece(now, now + length, source, bool(side))


def _reuse(places: Places, played: Array, now: int) -> Array:
    """[K] cost of what was shown lately, at a place or soon after it."""
    soon = [played[np.minimum(places.at + later, len(played) - 1)] for later in (0, SHORTEST // 2, SHORTEST)]
    return USED * np.exp((np.max(soon, 0) - now) / FORGOTTEN)


def _length(places: Places, heard: Array, now: int, place: int, played: Array) -> int:
    """How many values of a place are played: until its take ends, or something else would fit clearly better."""
    left = int(min(places.left[place], LONGEST))
    source = places.at[place]
    again = SHORTEST + np.flatnonzero(played[source + SHORTEST : source + left] > now - FORGOTTEN)
    left = int(again[0]) if len(again) else left
    if len(heard) - now <= left:
        return len(heard) - now
    for length in range(SHORTEST, left, DECIDE):
        later = place + length // STRIDE
        if later >= len(places.at) or places.at[later] - places.at[place] > length:
            break  # too little is left of the take to be taken up anew
        cost = _cost_at(places, heard, now + length, later)
        others = np.partition(sound_cost(places, heard, now + length) + _reuse(places, played, now + length), FEW)
        if cost > others[FEW] + SWITCH:
            return length
    return left


def _cost_at(places: Places, heard: Array, now: int, place: int) -> float:
    wanted = heard[np.clip(now + AHEAD, 0, len(heard) - 1)]
    return float((np.square(places.sound[place] - wanted) * places.known[place]).sum() + places.unheard[place])
