"""Where somebody speaks."""

from __future__ import annotations

import numpy as np

from mggdub.geometry.sampling import smoothstep
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

LONGEST_JOIN = 0.18  # s, shorter gaps inside a phrase are stop consonants, not silence
SHORTEST_PHRASE = 0.08  # s, shorter sounds are clicks
EASE = 0.1  # s before a phrase and after it that belong to it
PARTED = 0.7  # s, in shorter pauses people breathe or wait with parted lips; in longer ones the mouth rests
REST_EASE = 0.3  # s the mouth takes to leave its rest before a phrase and to find it after the last


def phrases(voice: Array, threshold: float = 0.5) -> list[tuple[float, float]]:
    """(start, end) in s of what is spoken without a pause, with small gaps joined and clicks dropped.

    That is where voice [n], VOICE_RATE values a second, is above `threshold`.
    """
    joined: list[tuple[float, float]] = []
    for start, end in runs(np.asarray(voice) > threshold) / VOICE_RATE:
        if joined and start - joined[-1][1] < LONGEST_JOIN:
            start = joined.pop()[0]
        joined.append((float(start), float(end)))
    return [(start, end) for start, end in joined if end - start >= SHORTEST_PHRASE]


def runs(mask: Array) -> Array:
    """[R, 2]: where every run of True in a mask [n] begins, and the first index after it."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))).reshape(-1, 2)


def spoken_at(spoken: list[tuple[float, float]], times: Array) -> Array:
    """[T] bool: within a phrase."""
    return np.any([(start <= times) & (times < end) for start, end in spoken] or [np.zeros(len(times), bool)], 0)


def mouth_gate(spoken: list[tuple[float, float]], times: Array) -> Array:
    """[T] 1 within a phrase, exactly 0 from EASE before and after it, smooth between."""
    return _within(spoken, times, EASE)


def lip_gate(spoken: list[tuple[float, float]], times: Array) -> Array:
    """[T] 1 while somebody speaks and in pauses shorter than PARTED, exactly 0 from REST_EASE away, smooth between."""
    turns: list[tuple[float, float]] = []
    for start, end in spoken:
        if turns and start - turns[-1][1] < PARTED:
            start = turns.pop()[0]
        turns.append((start, end))
    return _within(turns, times, REST_EASE)


def _within(spans: list[tuple[float, float]], times: Array, ease: float) -> Array:
    gate = np.zeros(len(times))
    for start, end in spans:
        gate = np.maximum(gate, np.minimum(times - (start - ease), (end + ease) - times) / ease)
    return smoothstep(gate)
