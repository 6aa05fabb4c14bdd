"""Where somebody speaks."""

from __future__ import annotations

import numpy as np

from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

LONGEST_JOIN = 0.18  # s, shorter gaps inside a phrase are stop consonants, not silence
SHORTEST_PHRASE = 0.08  # s, shorter sounds are clicks
EASE = 0.1  # s the mouth takes to open before a phrase and to close after it


def phrases(voice: Array, threshold: float = 0.5) -> list[tuple[float, float]]:
    """(start, end) in seconds of what is spoken without a pause, with small gaps joined and clicks dropped."""
    speaking = np.concatenate([[False], np.asarray(voice) > threshold, [False]])
    edges = np.flatnonzero(np.diff(speaking.astype(np.int8))) / VOICE_RATE
    joined: list[tuple[float, float]] = []
    for start, end in edges.reshape(-1, 2):
        if joined and start - joined[-1][1] < LONGEST_JOIN:
            start = joined.pop()[0]
        joined.append((float(start), float(end)))
    return [(start, end) for start, end in joined if end - start >= SHORTEST_PHRASE]


def mouth_gate(spoken: list[tuple[float, float]], times: Array) -> Array:
    """[T] 1 within a phrase, exactly 0 from EASE before and after it, smooth between."""
    gate = np.zeros(len(times))
    for start, end in spoken:
        inside = np.minimum(times - (start - EASE), (end + EASE) - times) / EASE
        gate = np.maximum(gate, np.clip(inside, 0.0, 1.0))
    return gate * gate * (3.0 - 2.0 * gate)
