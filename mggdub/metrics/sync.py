"""Do sound and lips go together? Voice activity, the loudness curve and the lag between it and the mouth.

Sign: a positive lag means that the *sound* comes later than the lips. Lips open a little before they are heard, so that
zero is not perfect synchrony: compare with a clip that is known to be in step.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggdub.metrics.face import correlation
from mggdub.models.gestures import VOICE_RATE, mouth_gate, phrases
from mggdub.types import Array, Waveform

RATE = 100  # Hz of the curves that are correlated
REACH = 0.6  # s, the largest lag that is looked for
SLOWEST = 1.0  # s, slower changes than this are no articulation
QUIET = -55.0  # dB of full scale, below it is no voice
RANGE = 30.0  # dB below the loudest parts in which voice lies


def loudness(sound: Waveform, rate: float) -> Array:
    """[n] dB of full scale; entry k is the mean power around (k + 0.5) / rate seconds."""
    count = max(1, int(sound.duration * rate))
    edges = np.round(np.arange(count + 1) * sound.sample_rate / rate).astype(int)
    power = np.concatenate([[0.0], np.cumsum(sound.samples.astype(np.float64) ** 2)])
    edges = np.minimum(edges, len(sound.samples))
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    return 10 * np.log10(mean + 1e-12)


def voice(sound: Waveform) -> Array:
    """[n] bool at VOICE_RATE: louder than the quiet parts, and within RANGE of the loud ones."""
    level = loudness(sound, VOICE_RATE)
    floor, top = np.percentile(level, [5, 95])
    if top < QUIET:
        return np.zeros(len(level), bool)
    return level > max(top - RANGE, floor + 0.3 * (top - floor) if top - floor > 6 else QUIET)


def silent(sound: Waveform, times: Array) -> Array:
    """[T] bool: no voice at these seconds, nor close to them."""
    return mouth_gate(phrases(voice(sound)), times) == 0


def sound_lag(aperture: Array, times: Array, sound: Waveform) -> tuple[float, float]:
    """(ms, Pearson's r): where lip aperture [T] at `times` (s) and the sound's loudness correlate best.

    (0, 0) where one of the two does not move.
    """
    level = loudness(sound, RATE)
    top = np.percentile(level, 99)
    heard = uniform_filter1d(np.clip(level - (top - 40), 0, None), round(0.05 * RATE))
    grid = (np.arange(len(heard)) + 0.5) / RATE
    inside = (grid >= times[0]) & (grid <= times[-1])
    grid, heard = grid[inside], heard[inside]
    if len(grid) < 3 * REACH * RATE:
        return 0.0, 0.0
    curves = [c - uniform_filter1d(c, round(SLOWEST * RATE)) for c in (heard, np.interp(grid, times, aperture))]
    reach = round(REACH * RATE)
    scores = np.array([correlation(curves[0], curves[1], lag) for lag in range(-reach, reach + 1)])
    best = int(scores.argmax())
    if scores[best] <= 0:
        return 0.0, 0.0
    return (best - reach) * 1000.0 / RATE, float(scores[best])
