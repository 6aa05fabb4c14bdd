"""Numbers read off landmarks: lip aperture, its correlation, stability, and what a sample of them is worth."""

from __future__ import annotations

import numpy as np

from mggdub.types import Array

UPPER_LIP, LOWER_LIP = 13, 14
OUTER_EYES = (33, 263)


def lip_aperture(landmarks: Array) -> Array:
    """[T]: inner-lip gap over outer-eye distance, from landmarks [T, 478, >=2] in px."""
    gap = np.linalg.norm(landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2], axis=-1)
    eyes = np.linalg.norm(landmarks[:, OUTER_EYES[0], :2] - landmarks[:, OUTER_EYES[1], :2], axis=-1)
    return gap / np.maximum(eyes, 1e-6)


def correlation(a: Array, b: Array, lag: int = 0) -> float:
    """Pearson's r of a[t + lag] and b[t]; 0 where one of them does not move or fewer than three frames overlap."""
    a, b = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
    count = min(len(a), len(b))
    if count < 3:
        return 0.0
    a, b = a[:count] - a[:count].mean(), b[:count] - b[:count].mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0


def best_lag(a: Array, b: Array, reach: int = 10) -> int:
    """The lag in frames (a later than b is positive) at which the two correlate best."""
    return max(range(-reach, reach + 1), key=lambda lag: correlation(a, b, lag))


def interval(values: Array, statistic: str = "median", draws: int = 4000, seed: int = 0) -> tuple[float, float, float]:
    """(statistic, low, high) with the bootstrap's 95 % interval; statistic is 'median' or 'mean'."""
    values = np.asarray(values, np.float64)
    of = np.median if statistic == "median" else np.mean
    picks = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(of(values[picks], axis=1), [2.5, 97.5])
    return float(of(values)), float(low), float(high)
