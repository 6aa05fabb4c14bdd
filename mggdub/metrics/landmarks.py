"""Numbers read off landmarks: lip aperture, its correlation, blinks, stability."""

from __future__ import annotations

import numpy as np

from mggdub.face.mesh import EYE_CORNERS_AND_LIDS, INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.geometry.camera import OUTER_EYES
from mggdub.types import Array


def lip_aperture(landmarks: Array) -> Array:
    """[T]: inner-lip gap over outer-eye distance, from landmarks [T, 478, >=2] in px."""
    gap = np.linalg.norm(landmarks[:, INNER_UPPER_LIP, :2] - landmarks[:, INNER_LOWER_LIP, :2], axis=-1)
    eyes = np.linalg.norm(landmarks[:, OUTER_EYES[0], :2] - landmarks[:, OUTER_EYES[1], :2], axis=-1)
    return gap / np.maximum(eyes, 1e-6)


def correlation(a: Array, b: Array, lag: int = 0) -> float:
    """Pearson's r of curves [T], a[t + lag] and b[t]; 0 where one does not move or fewer than three frames overlap."""
    a, b = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
    count = min(len(a), len(b))
    if count < 3:
        return 0.0
    a, b = a[:count] - a[:count].mean(), b[:count] - b[:count].mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0


def best_lag(a: Array, b: Array, reach: int = 10) -> int:
    """The lag in frames (a later than b is positive), at most `reach`, at which two curves [T] correlate best."""
    return max(range(-reach, reach + 1), key=lambda lag: correlation(a, b, lag))


SHUT, OPEN = 0.5, 0.7  # of the usual opening: a blink falls below the first and ends above the second
LONGEST_BLINK = 0.7  # s; longer is looking down or closed eyes


def eye_distance(landmarks: Array) -> float:
    """Outer-eye distance in px of landmarks [478, >=2]."""
    return float(np.linalg.norm(landmarks[OUTER_EYES[0], :2] - landmarks[OUTER_EYES[1], :2]))


def landmark_distance(landmarks: Array, truth: Array, points: tuple[int, ...] | None = None) -> float:
    """% of the truth's outer-eye distance: mean distance of points of [478, >=2] px, each set about its own mean."""
    which = slice(None) if points is None else list(points)
    a, b = landmarks[which, :2], truth[which, :2]
    apart = np.linalg.norm((a - a.mean(0)) - (b - b.mean(0)), axis=-1).mean()
    return float(100 * apart / max(eye_distance(truth), 1e-6))


def eye_openness(landmarks: Array) -> float:
    """Distance of the lids over the width of the eye, mean of both eyes, of landmarks [478, >=2] px."""
    gaps = [
        np.linalg.norm(landmarks[up, :2] - landmarks[low, :2]) / np.linalg.norm(landmarks[a, :2] - landmarks[b, :2])
        for up, low, a, b in EYE_CORNERS_AND_LIDS
    ]
    return float(np.mean(gaps))


def blinks(openness: Array, fps: float) -> int:
    """How often eyes [T] of `eye_openness` shut and open again within LONGEST_BLINK; NaN is passed over."""
    known = openness[np.isfinite(openness)]
    if len(known) < 3:
        return 0
    usual = float(np.percentile(known, 80))
    count, since = 0, -1
    for index, value in enumerate(known):
        if since < 0 and value < SHUT * usual:
            since = index
        elif since >= 0 and value > OPEN * usual:
            count += (index - since) / fps <= LONGEST_BLINK
            since = -1
    return count


def head_motion(angles: Array) -> float:
    """Degrees: root mean square of how far (pitch, yaw, roll) [T, 3] are from their mean, the three axes together."""
    shown = angles[np.isfinite(angles).all(1)]
    return float(np.sqrt(np.var(wrapped(shown - shown[:1]), axis=0).sum())) if len(shown) else float("nan")


def wrapped(degrees: Array) -> Array:
    """Differences of angles [...], degrees, as -180 to 180: a head that is upside down trembles about both."""
    return (degrees + 180) % 360 - 180


def jitter(points: Array, eyes: Array, fps: float) -> float:
    """Standard deviation of the acceleration of rigid points [T, R, 2] px, in outer-eye distances [T] px per s²."""
    if len(points) < 3:
        return 0.0
    scaled = points / np.nanmedian(eyes)
    return float(np.nanstd(np.diff(scaled, 2, axis=0)) * fps**2)
