"""The bank of motion, from tracks and sound of clips: `python -m mggdub.train.motion CLIPS TRACKS --out weights`.

TRACKS is what `mggdub.train.prepare` made of CLIPS. People who are held out are not in it. Everybody counts from what
is usual for himself and is brought nearer to how far people move in the middle; who moves like nobody else is left out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggdub import weights
from mggdub.face.expression import load_expression
from mggdub.motion.lids import LIDS, lid_curve, stretched
from mggdub.motion.limits import soft_end
from mggdub.motion.selection import NAMES, prosody_features
from mggdub.motion.voice import runs
from mggdub.networks.motion import HEARD, POSE, MotionBank, to_tensors
from mggdub.train.common import HELD_OUT, held_out
from mggdub.train.motion_data import RATE, SHORTEST, Take, read_takes
from mggdub.train.motion_figures import eyelids
from mggdub.types import DRIVING_UNITS, Array

ALIKE = 0.6  # of the way, as a power, that a person's spread is brought to the middle
FARTHEST = 1.6  # times the middle spread: nobody moves more after that
MOST_RAISED = 1.4  # a person who hardly moves is not made to tremble
WILD = 4.5  # times the middle: it is left out (a camera that moves, a track that is lost)
MOMENT = 100  # values: what is slower is how somebody sits, not how he moves
PERSON_CAP = 1250  # values of one person
KNEE, MOST = (
    np.array([11, 13, 9, 3.0, 2.5, 4, 1.5, 1.5, 4, 4]),
    np.array([17, 20, 14, 4.5, 4, 7, 2.5, 2.5, 7, 7]),
)  # degrees and cm, of the pose: beyond the knee it is more and more held back
GAINS = {"brow": 0.72, "translation": 0.9}  # of what choosing by what fits makes too much
GROUPS = {
    "rotation": range(3),
    "translation": range(3, 6),
    "torso": range(6, 10),
    **{
        name: [POSE + k for k, unit in enumerate(NAMES) if unit.startswith(starts)]
        for name, starts in (
            ("brow", "brow"),
            ("cheek", ("cheek", "nose", "eyeSquint", "eyeWide")),
            ("gaze", "eyeLook"),
        )
    },
}
BLINK = 0.3  # of a unit above the median: lids are on their way to close
CLOSES = 0.6  # of how far a person's lids close: those that turn before are narrowed for a moment, as in a glance down
USUAL, SHUT = 0.8, (0.6, 1.3)  # quantile of a person's blinks and its limits, units above the median: lids are closed
LEAST_OPEN, MOST_CLOSED = -0.3, 0.7  # of a blink, between blinks
LONGEST_BLINK = 0.45  # s; what lasts longer is a glance down
QUANTILES = np.linspace(0.02, 0.98, 25)
CARD = {
    "what": "how heads, torsos, brows and eyes moved while people spoke or listened, in takes of some seconds",
    "trained on": "talking clips of about 190 people; nothing of it tells who they are",
    "licence": "research use only, see weights/LICENSE",
    "limits": "conversation and speeches to a camera; no gestures of hands, no acted emotion on demand",
    "method": "tracks against each person's own rest, spreads brought nearer to the middle, 8 and 16 bits",
}


def joined_values(take: Take) -> Array:
    """[n, 34]: pose, then driving units, of a take."""
    track = take.track
    units = track.blendshapes[:, list(DRIVING_UNITS)]
    return np.concatenate([track.rotation, track.translation, track.torso, units], 1).astype(np.float64)


def spreads(takes: Sequence[Take]) -> dict[str, dict[str, float]]:
    """For every person, how far each group goes within some seconds, root of the mean square."""
    squares: dict[str, list[Array]] = defaultdict(list)
    for take in takes:
        values = uniform_filter1d(joined_values(take), 5, axis=0, mode="nearest")
        values -= uniform_filter1d(values, MOMENT, axis=0, mode="nearest")
        squares[take.person].append(np.square(values))
    found = {}
    for person, parts in squares.items():
        mean = np.concatenate(parts).mean(0)
        found[person] = {name: float(np.sqrt(mean[list(columns)].sum())) for name, columns in GROUPS.items()}
    return found


def ordinary(takes: list[Take], people: dict[str, dict[str, float]]) -> list[Take]:
    """The takes without those that move like nobody else."""
    kept = []
    for take in takes:
        own = spreads([take])[take.person]
        middle = {name: float(np.median([person[name] for person in people.values()])) for name in GROUPS}
        steps = np.abs(np.diff(take.track.rotation, axis=0)).max()
        if all(own[name] < WILD * middle[name] for name in ("rotation", "translation")) and steps < 8:
            kept.append(take)
    return kept


def scales(people: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """By what every person's groups are multiplied."""
    middle = {name: float(np.median([person[name] for person in people.values()])) for name in GROUPS}
    found: dict[str, dict[str, float]] = {}
    for person, own in people.items():
        ratios = {name: own[name] / max(middle[name], 1e-6) for name in GROUPS}
        found[person] = {name: _factor(ratio) for name, ratio in ratios.items()}
    return found


def _factor(ratio: float) -> float:
    """For a person whose spread is `ratio` times the middle one."""
    wanted = float(np.clip(ratio ** (1 - ALIKE), 1 / FARTHEST, FARTHEST))
    return min(wanted / max(ratio, 0.1), MOST_RAISED)


def take_blinks(lids: Array) -> tuple[Array, Array]:
    """Blinks [B, 2] (value at which lids are closed, s from half to half) and how lids [n, 2] rest between and beside.

    What a blink leaves beside `lid_curve` stays in the rest, after it was brought to full closure.
    """
    mean, rest = lids.mean(1), lids.astype(np.float64).copy()
    found: list[tuple[float, float]] = []
    usual = float(np.median(mean))
    for part in _raised(mean - usual):
        peak = part.start + int(mean[part].argmax())
        first, last = max(peak - 4, 0), min(peak + 12, len(lids))
        half = mean[first:last] > usual + (mean[peak] - usual) / 2
        held = half.sum() / RATE
        low = mean[peak] - usual < CLOSES
        if low or held > LONGEST_BLINK or (found and peak - found[-1][0] < 6):
            continue
        curve = lid_curve((np.arange(first, last) - peak) / RATE / stretched(held))[:, None]
        whole = usual + (lids[first:last] - usual) * (1 + (1 / np.maximum(lids[peak] - usual, BLINK) - 1) * curve)
        rest[first:last] = _beside(whole, curve)
        found.append((float(peak), held))
    return np.array(found).reshape(-1, 2), np.clip(rest, LEAST_OPEN, MOST_CLOSED)


def closures(takes: Sequence[Take]) -> dict[str, float]:
    """For every person, how many units a tracker gives closed lids above open ones."""
    peaks: dict[str, list[float]] = {take.person: [] for take in takes}
    for take in takes:
        lids = eyelids(take.track)
        above = lids - np.median(lids)
        peaks[take.person] += [float(above[part].max()) for part in _raised(above)]
    return {person: float(np.clip(np.quantile(own or [1.0], USUAL), *SHUT)) for person, own in peaks.items()}


def _raised(above: Array) -> list[slice]:
    """Where values [n] are above BLINK."""
    return [slice(int(start), int(end)) for start, end in runs(above > BLINK)]


def _beside(whole: Array, curve: Array) -> Array:
    """[n, 2]: what, mixed with a blink's `curve` [n, 1], is `whole`; where it is all but closed, straight on."""
    left = (whole - curve) / np.maximum(1 - curve, 0.3)
    shown = np.flatnonzero(curve[:, 0] < 0.6)
    if not len(shown):
        return np.zeros_like(whole)
    return np.stack([np.interp(np.arange(len(whole)), shown, column[shown]) for column in left.T], 1)


def held_back(pose: Array) -> Array:
    """Poses [n, 10], softly no farther than MOST."""
    size = np.abs(pose)
    return np.where(size > KNEE, np.sign(pose) * soft_end(size, KNEE, MOST), pose)


def capped(takes: Sequence[Take]) -> list[Take]:
    """The takes without those of a person who has said enough."""
    said: dict[str, int] = defaultdict(int)
    kept = []
    for take in takes:
        if said[take.person] < PERSON_CAP:
            kept.append(take)
        said[take.person] += len(take.track)
    return kept


def make_bank(takes: list[Take]) -> MotionBank:
    """The bank of these takes."""
    people = spreads(takes)
    takes = capped(ordinary(takes, people))
    people = spreads(takes)
    factors, shut = scales(people), closures(takes)
    names = sorted(people)
    poses, units, heard, blinks, gaps = [], [], [], [], []
    starts = [0]
    for take in takes:
        values = joined_values(take)
        for name, columns in GROUPS.items():
            values[:, list(columns)] *= factors[take.person][name] * GAINS.get(name, 1.0)
        found, lids = take_blinks(values[:, [POSE + k for k in LIDS]] / shut[take.person])
        values[:, [POSE + k for k in LIDS]] = lids
        poses.append(held_back(values[:, :POSE]))
        units.append(values[:, POSE:])
        heard.append(_how(take))
        blinks.append(found + np.array([starts[-1], 0]))
        gaps.append(_waits(found[:, 0], len(values)))
        starts.append(starts[-1] + len(values))
    between = np.concatenate(gaps)
    return MotionBank(
        np.concatenate(poses).astype(np.float32),
        np.concatenate(units).astype(np.float32),
        np.concatenate(heard).astype(np.float32),
        np.array(starts, np.int64),
        np.array([take.prosody is not None for take in takes]),
        np.array([names.index(take.person) for take in takes], np.int64),
        np.concatenate(blinks),
        waiting_times(between).astype(np.float32),
    )


def _waits(moments: Array, count: int) -> Array:
    """[B + 1, 2] s between blinks, and whether the wait was seen to end; the first began before the take."""
    waits = np.diff(np.concatenate([moments, [count]])) / RATE if len(moments) else np.array([count / RATE])
    return np.stack([waits, np.arange(len(waits)) < len(waits) - 1], 1)


def waiting_times(waits: Array) -> Array:
    """Quantiles of the time between blinks, of waits [W, 2] some of which were cut short (Kaplan and Meier 1958)."""
    order = waits[np.argsort(waits[:, 0], kind="stable")]
    at_risk = len(order) - np.arange(len(order))
    left = np.cumprod(1 - order[:, 1] / at_risk)
    index = np.minimum(np.searchsorted(1 - left, QUANTILES), len(order) - 1)
    return np.maximum(order[index, 0], 2 / RATE)


def _how(take: Take) -> Array:
    """[n, 4] how it is said; of what is not heard only whether somebody speaks."""
    if take.prosody:
        return prosody_features(take.prosody)
    found = np.zeros((len(take.track), HEARD), np.float32)
    found[:, -1] = take.speaking
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    given = parser.parse_args()
    takes = read_takes(given.clips, given.tracks, load_expression(), ("train",))
    takes = [take for take in takes if not held_out(take.person)]
    bank = make_bank(takes)
    about = {
        "people": len(set(bank.persons.tolist())),
        "takes": len(bank.sounds),
        "minutes": round(len(bank.pose) / RATE / 60, 1),
        "minutes with sound": round(float(np.diff(bank.starts)[bank.sounds].sum()) / RATE / 60, 1),
        "held out": f"one person in {HELD_OUT}, and takes of less than {SHORTEST} s",
    }
    print(about, flush=True)
    weights.save(given.out, "motion", to_tensors(bank), {}, CARD | about)


if __name__ == "__main__":
    main()
