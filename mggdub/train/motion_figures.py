"""How much a head, brows and eyes move: the same six figures of a true track and of ours.

Of a track at 25 a second: rotation is the root of the summed variances of pitch, yaw and roll; speed the mean change
per second of the three, smoothed; shift the spread of the place between the eyes in % of their distance; brow the
spread of browInnerUp minus the mean browDown, smoothed; gaze the spread of (out minus in, up minus down); blinks are
risings of the mean eyeBlink 0.3 above its median, per minute; jitter is the spread of the pose's second differences.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggdub.face.mesh import PIVOT
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.motion import selection
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array, ExpressionTrack

RATE = 25.0
SMOOTHING = 5  # frames
BLINK = 0.3
EYE_DISTANCE = 8.9  # cm between the outer corners of the canonical face
BETWEEN_EYES = np.array([0.0, -2.65, -3.45])  # cm, head space
FIGURES = ("rotation", "speed", "shift", "brow", "gaze", "blinks")


def motion_figures(track: ExpressionTrack) -> dict[str, float]:
    """The six figures of a track at 25 a second, and its jitter."""
    unit = {name: track.blendshapes[:, k].astype(np.float64) for k, name in enumerate(BLENDSHAPES)}
    angles = track.rotation.astype(np.float64)
    smooth = uniform_filter1d(angles, SMOOTHING, axis=0, mode="nearest")
    brow = unit["browInnerUp"] - (unit["browDownLeft"] + unit["browDownRight"]) / 2
    lids = eyelids(track)
    return {
        "rotation": float(np.sqrt(smooth.var(0).sum())),
        "speed": float(np.abs(np.diff(smooth, axis=0)).sum(1).mean() * RATE),
        "shift": float(np.sqrt(_eyes(track).var(0).sum()) / EYE_DISTANCE * 100),
        "brow": float(uniform_filter1d(brow, SMOOTHING, mode="nearest").std()),
        "gaze": float(np.sqrt(gaze(track).var(0).sum())),
        "blinks": float(len(blink_starts(lids)) / (len(track) / RATE) * 60),
        "jitter": float(np.sqrt(np.diff(angles, 2, axis=0).var(0).sum())),
    }


def eyelids(track: ExpressionTrack) -> Array:
    """[T] mean eyeBlink."""
    left, right = (BLENDSHAPES.index(f"eyeBlink{side}") for side in ("Left", "Right"))
    return (track.blendshapes[:, left] + track.blendshapes[:, right]).astype(np.float64) / 2


def gaze(track: ExpressionTrack) -> Array:
    """[T, 2]: to the person's left, and up, in units."""
    return selection.gaze(track.blendshapes[:, list(DRIVING_UNITS)].astype(np.float64))


def blink_starts(lids: Array) -> Array:
    """Frames at which lids [T] rise BLINK above their median."""
    closed = lids > np.median(lids) + BLINK
    return np.flatnonzero(closed[1:] & ~closed[:-1]) + 1


def head_speed(track: ExpressionTrack) -> Array:
    """[T] degrees per second, of the smoothed angles."""
    smooth = uniform_filter1d(track.rotation.astype(np.float64), SMOOTHING, axis=0, mode="nearest")
    return np.abs(np.gradient(smooth, axis=0)).sum(1) * RATE


def _eyes(track: ExpressionTrack) -> Array:
    """[T, 2] cm, right and down: where the middle of the eyes goes."""
    pivot = np.array(PIVOT, np.float64)
    turned = euler_to_matrix(track.rotation) @ (BETWEEN_EYES - pivot)
    return (turned + pivot + track.translation)[:, :2]
