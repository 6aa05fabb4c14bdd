"""How far a head moves from where the photo shows it: what its avatar can bear.

Up to a knee nothing changes; beyond it motion gets ever smaller and ends before the head is torn from its body, seen
from a side that the photo does not show, or cut off by the box that is rendered.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array, ExpressionTrack

# (knee, most) of pitch, yaw and roll in degrees; of right, down and away in cm, of which 18 are an eighth of the size.
ROTATION = ((25.0, 32.0), (32.0, 42.0), (25.0, 34.0))
TRANSLATION = ((6.0, 9.0), (4.5, 7.0), (18.0, 28.0))
# Of the torso; how far it shifts is limited where it is played.
TORSO = ((np.inf, np.inf), (np.inf, np.inf), (10.0, 16.0), (18.0, 28.0))
HELD_BACK = (1.0, 1.0, 1.0, 0.5, 0.5, 2.0)  # degrees and cm: less is not worth a word
RECENTRING = 1.0  # s in which a camera's zoom or a walk through the picture is forgotten
CUT_EASE = 0.2  # s in which a head goes to where a driver's next shot begins
SETTLED = 0.1  # of the knee: from there on it is


def bounded(track: ExpressionTrack) -> ExpressionTrack:
    """The track with its head's and torso's motion softly limited; one that stays below the knees is unchanged."""
    return replace(
        track,
        rotation=_limited(track.rotation, ROTATION),
        translation=_limited(track.translation, TRANSLATION),
        torso=_limited(track.torso, TORSO),
    )


def held_back(track: ExpressionTrack) -> int:
    """In how many frames `bounded` takes a visible part of the head's motion away."""
    less = bounded(track)
    taken = np.concatenate([track.rotation - less.rotation, track.translation - less.translation], 1)
    return int((np.abs(taken) > HELD_BACK).any(1).sum())


def recentred(times: Array, translation: Array, torso: Array) -> tuple[Array, Array]:
    """Translation [T, 3] cm and torso [T, 4] of a driver that a zoom, or its way through the picture, led far off.

    From where the head is beyond a knee, both are counted from a place that follows it until it has caught up.
    """
    knees = np.array([knee for knee, _ in TRANSLATION])
    if (np.abs(translation) <= knees).all():
        return translation, torso
    values = np.concatenate([translation, torso], 1).astype(np.float64)
    centre, following = np.zeros(values.shape[1]), False
    moved = values.copy()
    shares = 1 - np.exp(-np.diff(times, prepend=times[0]) / RECENTRING)
    for frame, share in enumerate(shares):
        away = np.abs(values[frame, :3] - centre[:3]) / knees
        following = bool(away.max() > 1 or (following and away.max() > SETTLED))
        if following:
            centre = centre + share * (values[frame] - centre)
        moved[frame] = values[frame] - centre
    moved = moved.astype(np.float32)
    return moved[:, :3], moved[:, 3:]


def eased(track: ExpressionTrack, cuts: tuple[float, ...]) -> ExpressionTrack:
    """The track without jumps of head and torso where a shot begins; eyes and lips are at once where they should be."""
    if not cuts:
        return track
    parts = [track.rotation, track.translation, track.torso]
    for cut_time in cuts:
        first = int(np.searchsorted(track.times, cut_time))
        if not 0 < first < len(track):
            continue
        left = 1 - smoothstep((track.times[first:] - track.times[first]) / CUT_EASE)[:, None]
        parts = [
            np.concatenate([part[:first], part[first:] + left * (part[first - 1] - part[first])]) for part in parts
        ]
    rotation, translation, torso_ = (part.astype(np.float32) for part in parts)
    return replace(track, rotation=rotation, translation=translation, torso=torso_)


def soft_end(size: Array, knee: Array | float, most: Array | float) -> Array:
    """What is left of sizes beyond a knee, less than `most`, without a kink."""
    room = most - knee
    return np.asarray(knee + room * np.tanh((size - knee) / room))


def _limited(values: Array, limits: tuple[tuple[float, float], ...]) -> Array:
    """[T, k]: `values` up to the knees, and beyond them never more than the most; without a kink."""
    columns = []
    for column, (knee, most) in zip(values.T, limits, strict=True):
        size = np.abs(column)
        if not (size > knee).any():
            columns.append(column)
            continue
        less = np.sign(column) * soft_end(size, knee, most)
        columns.append(np.where(size > knee, less, column).astype(np.float32))
    return np.stack(columns, 1)
