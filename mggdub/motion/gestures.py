"""What a speaking face does besides articulating: its head and torso move, its brows, its eyes; it blinks.

Everything is drawn from one seed and evaluated in seconds, so the frame rate only decides where it is sampled.
`times` are frame mid-times [T] in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mggdub.face.expression import BROW_UNITS
from mggdub.motion import selection
from mggdub.motion.body import BodyMotion, body_motion, interpolated, low_passed
from mggdub.motion.lids import LIDS, lid_motion, resting, split_blinks, with_beside
from mggdub.motion.limits import soft_end
from mggdub.motion.manner import BLINKS, Manner, manner
from mggdub.motion.prosody import Prosody
from mggdub.motion.selection import NAMES
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array

LOOKS = [k for k, name in enumerate(NAMES) if name.startswith("eyeLook")]
# Of how far people's heads and torsos go aside, up and down while they turn: what a photo shows of them and of what is
# behind them is less than a camera sees, and the eyes still shift as far as people's.
GOES = 0.65
FREE, TURNED = 13.0, 19.0  # degrees: turns up to the first are as people's, none goes beyond the second
PLACES = [3, 4, 6, 7]  # of a pose: right and down of the head and of the torso
LOWEST, HIGHEST = -0.5, 0.8  # of a unit, added to the photo's own
GAZE_MOST = 1.0  # of a unit, softly
# With the head's pitch and yaw (degrees) the eyes turn back by so much of a unit, to stay on what they look at: least
# squares over people who look into a camera.
HOLD_UP, HOLD_ASIDE = 0.025, 0.025
FIXED = 0.3  # of people's glances that are left to eyes that stay on the camera
FIRST_BLINK, SHORTEST_INTERVAL = 0.35, 0.3  # s: none is closed before; none follows another sooner
PATIENCE = 0.96  # quantile of people's intervals, after which a blink is added
CROWDED, MORE = 6.0, 1.7  # in so many s come as many as usual and so many more, not one beyond
SNAP = 0.6  # s: an added blink goes to the quickest motion of the head or to a phrase's end that near
USUAL_BLINK = (0.08, 0.2)  # s from half to half, of those that are added


@dataclass(frozen=True, eq=False)
class Gestures:
    """T values of each, counted from the photo's own."""

    units: Array  # [T, 52] without blinks
    lids: Array  # [T] 0 open to 1 closed
    rotation: Array  # [T, 3] degrees
    translation: Array  # [T, 3] cm
    torso: Array  # [T, 4]


def gestures(
    bank: MotionBank,
    prosody: Prosody,
    times: Array,
    seed: int,
    amount: float = 1.0,
    gaze: str = "natural",
    blink: str = "natural",
) -> Gestures:
    """What accompanies speech at `times` [T] s.

    `amount` 0 is nothing but blinks, 1 is as people do; `gaze` is 'camera' or 'natural', `blink` 'natural' or 'none'.
    """
    rested, known = split_blinks(bank)
    person = manner(bank, seed)
    body = body_motion(rested, prosody, seed, person)
    blinks = fill_blinks(bank, body, prosody, seed, person) if blink == "natural" else np.zeros((0, 2))
    lids = lid_motion(known, blinks, times)
    face = np.where(np.isin(np.arange(len(NAMES)), BROW_UNITS), person.face, 1.0)
    pose = amount * person.head * interpolated(nearer(body.pose), times)
    pose[:, :3] = less_turned(pose[:, :3])
    units = interpolated(with_beside(body.units, known, blinks) * face, times)
    units = with_gaze(units, pose, amount, gaze)
    units[:, LIDS] = interpolated(resting(amount * body.units[:, LIDS]), times)
    return Gestures(_spread(units), lids, *(part.astype(np.float32) for part in np.split(pose, [3, 6], 1)))


def nearer(pose: Array) -> Array:
    """Poses [n, 10], 25 values a second, that go less far; what is quick in them stays."""
    less = pose.copy()
    less[:, PLACES] -= (1 - GOES) * low_passed(pose[:, PLACES])
    return less


def less_turned(rotation: Array) -> Array:
    """Angles [n, 3] degrees that are the same while their length is FREE at most, and shorter than TURNED."""
    turned = np.linalg.norm(rotation, axis=1, keepdims=True)
    held = soft_end(turned, FREE, TURNED)
    return np.where(turned > FREE, rotation * held / np.maximum(turned, FREE), rotation)


def with_gaze(units: Array, pose: Array, amount: float, gaze: str) -> Array:
    """Driving units [T, 24] of so much liveliness, lids apart, whose eyes look where they should."""
    scaled = np.clip(amount * units, LOWEST, HIGHEST)
    looks = scaled[:, LOOKS]
    if gaze == "camera":
        looks = FIXED * looks + held_looks(pose)
    scaled[:, LOOKS] = GAZE_MOST * np.tanh(looks / GAZE_MOST)
    return scaled


def held_looks(pose: Array) -> Array:
    """[T, 8] what eyes do to stay on the camera while the head turns as `pose` [T, 10]."""
    return _looks(HOLD_UP * pose[:, 0], -HOLD_ASIDE * pose[:, 1])


def conjugate(looks: Array) -> Array:
    """[8] where both eyes look together, of what each of them does."""
    units = np.zeros((1, len(NAMES)))
    units[:, LOOKS] = looks
    aside, up = selection.gaze(units).T
    return _looks(up, aside)[0]


def _looks(up: Array, aside: Array) -> Array:
    """[T, 8] of both eyes that look up, and to the person's left, by so many units [T]."""
    signs = {"Up": up, "Down": -up, "OutLeft": aside, "InLeft": -aside, "InRight": aside, "OutRight": -aside}
    names = [NAMES[k].removeprefix("eyeLook") for k in LOOKS]
    return np.stack([next(v for key, v in signs.items() if name.startswith(key)) / 2 for name in names], 1)


def fill_blinks(bank: MotionBank, body: BodyMotion, prosody: Prosody, seed: int, person: Manner) -> Array:
    """Blinks [B, 2] (s when closed, which of the bank's): those of the pieces but for bursts, more where few are."""
    usual = np.flatnonzero((bank.blinks[:, 1] >= USUAL_BLINK[0]) & (bank.blinks[:, 1] <= USUAL_BLINK[1]))
    rng = np.random.default_rng([seed, 1])
    seconds, blinks, last = len(prosody) / VOICE_RATE, [(-np.inf, 0.0)], 0.0
    slower = max(1.0, BLINKS / person.blinks)
    patience = float(np.quantile(bank.intervals, PATIENCE)) * slower
    for moment, which in [*body.blinks, (seconds + patience / 2, 0.0)]:
        while len(usual) and moment - last > patience:
            wait = max(slower * float(np.quantile(bank.intervals, rng.random())), SHORTEST_INTERVAL)
            added = _fitting(body, prosody, last + min(wait, patience))
            added = max(added, _earliest(blinks, person.blinks), last + SHORTEST_INTERVAL)
            if moment - added < SHORTEST_INTERVAL:
                break
            blinks.append((added, float(usual[int(rng.integers(len(usual)))])))
            last = added
        if max(FIRST_BLINK, _earliest(blinks, person.blinks)) < moment < seconds:
            last = float(moment) + rng.uniform(-0.5, 0.5) / VOICE_RATE  # between the pictures that showed it
            blinks.append((last, float(which)))
    return np.array([blink for blink in blinks if 0 <= blink[0] < seconds]).reshape(-1, 2)


def _earliest(blinks: Sequence[tuple[float, float]], rate: float) -> float:
    """When the next may come, after these [(s, which), ...] of a person who blinks so often a minute."""
    fit = int(rate * CROWDED / 60 + MORE)
    crowded = blinks[-fit][0] + CROWDED if len(blinks) >= fit else -np.inf
    return max(blinks[-1][0] + SHORTEST_INTERVAL, crowded)


def _fitting(body: BodyMotion, prosody: Prosody, moment: float) -> float:
    """A moment near this one at which people blink: while the head moves quickly, or as a phrase ends."""
    first, last = (int(max(0.0, moment + d) * VOICE_RATE) for d in (-SNAP, SNAP))
    last = min(last, len(prosody) - 1)
    if last - first < 2:
        return moment
    speed = np.abs(np.diff(body.pose[first : last + 1, :3], axis=0)).sum(1)
    ends = np.diff(prosody.speaking[first : last + 1].astype(np.int8)) < 0
    return (first + int((speed + speed.max() * ends).argmax()) + 0.5) / VOICE_RATE


def with_blinks(units: Array, lids: Array) -> Array:
    """Units [T, 52] whose lids also close as far as `lids` [T] say."""
    closing = units.copy()
    columns = [DRIVING_UNITS[k] for k in LIDS]
    closing[:, columns] += lids[:, None] * (1 - closing[:, columns])
    return closing


def without_lids(units: Array) -> Array:
    """Units [T, 52] whose lids rest."""
    resting = units.copy()
    resting[:, [DRIVING_UNITS[k] for k in LIDS]] = 0
    return resting


def _spread(units: Array) -> Array:
    """[T, 52] of the driving units [T, 24]."""
    everything = np.zeros((len(units), len(BLENDSHAPES)), np.float32)
    everything[:, list(DRIVING_UNITS)] = units
    return everything
