"""What a speaking face does besides articulating: it blinks, nods, raises its brows and closes its mouth in pauses.

Everything is drawn from one seed and evaluated in seconds, so the frame rate only decides where it is sampled.
`times` are frame mid-times [T] in seconds; a *voice* is an array of speech probabilities at VOICE_RATE whose
entry k is centred at (k + 0.5) / VOICE_RATE.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggdub.networks.speech import VOICE_RATE
from mggdub.types import BLENDSHAPES, Array


@dataclass(frozen=True)
class BlinkStyle:
    """Seconds, unless said otherwise; intervals are log-normal."""

    first: float = 0.7
    median_interval: float = 3.0
    spread: float = 0.5  # of the logarithm
    shortest_interval: float = 0.9
    closing: float = 0.08
    held: float = 0.05
    opening: float = 0.17
    snap: float = 0.7  # a blink this near to the end of a phrase moves there ...
    snap_chance: float = 0.6  # ... this often


@dataclass(frozen=True)
class HeadStyle:
    """Pitch, yaw, roll in degrees."""

    spread: tuple[float, float, float] = (1.2, 1.7, 1.0)  # standard deviation while speaking
    limit: tuple[float, float, float] = (3.0, 4.0, 2.0)
    smoothness: float = 0.3  # s, time constant of each of the two low-pass stages
    nod: float = 1.1  # degrees down at a strong syllable
    nod_time: float = 0.45  # s
    brow: float = 0.22  # of browInnerUp at the strongest syllable
    settle: float = 0.45  # s in which the head comes to rest in a pause


def blinks(spoken: list[tuple[float, float]], times: Array, seed: int, style: BlinkStyle | None = None) -> Array:
    """[T, 52] blendshapes of blinking: both lids, a little squint and brow."""
    style = style or BlinkStyle()
    rng = np.random.default_rng([seed, 1])
    duration = float(times[-1]) if len(times) else 0.0
    ends = np.array([end for _, end in spoken])
    lids = np.zeros(len(times))
    moment, last = style.first + rng.exponential(1.5), -np.inf
    while moment < duration:
        centre, chance, depth = moment, rng.random(), 1.0 - 0.08 * rng.random()
        if len(ends) and chance < style.snap_chance:
            nearest = ends[np.abs(ends - moment).argmin()]
            centre = nearest if abs(nearest - moment) < style.snap else moment
        if centre - last >= style.shortest_interval and centre - style.closing >= style.first / 2:
            lids = np.maximum(lids, depth * _lid(times - centre, style))
            last = centre
        moment += max(style.shortest_interval, style.median_interval * np.exp(style.spread * rng.standard_normal()))
    return _units(lids, eyeBlinkLeft=1.0, eyeBlinkRight=1.0, eyeSquintLeft=0.12, eyeSquintRight=0.12)


def _lid(since: Array, style: BlinkStyle) -> Array:
    """[T] 0..1 for seconds since the lids closed: quick to close, slower to open."""
    closing = np.clip(1.0 + since / style.closing, 0.0, 1.0)
    opening = np.clip(1.0 - (since - style.held) / style.opening, 0.0, 1.0)
    return np.sin(0.5 * np.pi * np.minimum(closing, opening)) ** 2


def stresses(energy: Array, spoken: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(time, strength 0..1) of the strong syllables: peaks of the smoothed energy [n at VOICE_RATE], 0.7 s apart."""
    if not spoken or len(energy) < 3:
        return []
    from scipy.signal import find_peaks  # half a second to import: not before there is something to hear

    level = np.sqrt(np.convolve(np.maximum(energy, 0.0), np.hanning(7)[1:-1] / 3.0, mode="same"))
    peaks, _ = find_peaks(level, distance=round(0.7 * VOICE_RATE), prominence=0.3 * level.max())
    return [
        ((peak + 0.5) / VOICE_RATE, float(level[peak] / level.max()))
        for peak in peaks
        if any(start <= (peak + 0.5) / VOICE_RATE <= end for start, end in spoken)
    ]


def head_motion(
    spoken: list[tuple[float, float]],
    stressed: list[tuple[float, float]],
    times: Array,
    seed: int,
    style: HeadStyle | None = None,
) -> tuple[Array, Array]:
    """Rotation [T, 3] (pitch, yaw, roll, degrees) and brow blendshapes [T, 52].

    Slow noise that swells while the person speaks and rests in pauses, and a nod at some strong syllables.
    """
    style = style or HeadStyle()
    count = int(np.ceil((times[-1] if len(times) else 0.0) * VOICE_RATE)) + 2
    grid = np.arange(count) / VOICE_RATE
    activity = _smooth(np.any([(s - 0.2 < grid) & (grid < e) for s, e in spoken] or [np.zeros(count, bool)], 0), style)
    rotation = np.empty((len(times), 3))
    for axis in range(3):
        drift = _drift(np.random.default_rng([seed, 2, axis]), count, style.smoothness)
        rotation[:, axis] = np.interp(times, grid, style.spread[axis] * drift * activity)
    rng = np.random.default_rng([seed, 3])
    brows = np.zeros(len(times))
    for moment, strength in stressed:
        nods, size, delay = rng.random() < 0.6, strength * rng.uniform(0.5, 1.0), rng.normal(0.0, 0.04)
        bump = np.cos(np.clip((times - moment - delay) / style.nod_time, -0.5, 0.5) * np.pi) ** 2
        if nods:
            rotation[:, 0] += style.nod * size * bump
        if strength > 0.75:
            brows = np.maximum(brows, style.brow * size * bump)
    limit = np.array(style.limit)
    rotation = limit * np.tanh(rotation / limit) * np.clip(times / 0.4, 0.0, 1.0)[:, None]
    units = _units(brows, browInnerUp=1.0, browOuterUpLeft=0.6, browOuterUpRight=0.6)
    return rotation.astype(np.float32), units


def _smooth(speaking: Array, style: HeadStyle) -> Array:
    """Speech activity 0..1 that rises and settles slowly, forwards in time only."""
    keep = np.exp(-2.0 / (style.settle * VOICE_RATE))
    from scipy.signal import lfilter

    once = lfilter([1 - keep], [1, -keep], speaking.astype(np.float64))
    return lfilter([1 - keep], [1, -keep], once)


def _drift(rng: np.random.Generator, count: int, smoothness: float) -> Array:
    """[count] unit-variance noise through two low-pass stages: smooth in value and speed."""
    warm = int(10 * smoothness * VOICE_RATE)
    keep = np.exp(-1.0 / (smoothness * VOICE_RATE))
    noise = rng.standard_normal(warm + count)
    gain = np.sqrt((1 - keep**2) ** 3 / (1 + keep**2))  # of x[t] = 2 k x[t-1] - k^2 x[t-2] + noise
    from scipy.signal import lfilter

    return lfilter([gain], [1, -2 * keep, keep**2], noise)[warm:]


def _units(amount: Array, **share: float) -> Array:
    """[T, 52] blendshapes: each named unit is its share of `amount` [T]."""
    units = np.zeros((len(amount), len(BLENDSHAPES)), np.float32)
    for name, part in share.items():
        units[:, BLENDSHAPES.index(name)] = part * amount
    return units
