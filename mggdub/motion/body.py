"""What head, torso, brows and eyes do while somebody speaks or listens: pieces of people's motion, joined.

Everything is made at 25 values a second, of which value k belongs to the time (k + 0.5) / 25 s, and then looked up at
the times of the frames, so that a frame rate only decides where it is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded
from scipy.ndimage import gaussian_filter1d

from mggdub.motion.manner import MINUTE, Manner
from mggdub.motion.prosody import Prosody
from mggdub.motion.selection import (
    LATELY,
    NAMES,
    SOON,
    Piece,
    joint_state,
    mirrored,
    next_piece,
    places_of,
    prosody_features,
)
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

LASTS = 4.0  # values, sigma
POSE_EASE = 2.0  # 1/s: how fast the difference between two pieces is forgotten
FACE_EASE, EYE_EASE = 20.0, 40.0  # as quick as brows are; eyes leap, and lids with them
EASES = np.array([EYE_EASE if n.startswith(("eyeLook", "eyeBlink")) else FACE_EASE for n in NAMES])


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """n values, 25 a second, of a head of ordinary liveliness, counted from how the photo shows it."""

    pose: Array  # [n, 10]: pitch, yaw, roll in degrees; right, down, away in cm; the torso's four
    units: Array  # [n, 24] the driving units; the lids without blinks
    blinks: Array  # [B, 2]: s when lids are closed, and which blink of the bank it is
    pieces: tuple[Piece, ...]


def body_motion(bank: MotionBank, prosody: Prosody, seed: int, person: Manner | None = None) -> BodyMotion:
    """Motion of a `person` that fits how something is said; the same seed gives the same."""
    person = person or Manner()
    heard, count = prosody_features(prosody), len(prosody)
    places = places_of(bank, np.array(person.unlike or np.zeros(len(bank.persons))))
    rng, played = np.random.default_rng([seed, 4]), np.full(len(bank.pose), -np.inf)
    pose, units = np.zeros((count, bank.pose.shape[1])), np.zeros((count, bank.units.shape[1]))
    blinks: list[tuple[float, float]] = []
    pieces: list[Piece] = []
    last_pose, speed, last_units = np.zeros(bank.pose.shape[1]), np.zeros(bank.pose.shape[1]), np.zeros(len(NAMES))
    while not pieces or pieces[-1].end < count:
        now = pieces[-1].end if pieces else 0
        due = blinks_due(blinks, now, person.blinks)
        piece = next_piece(places, heard, now, joint_state(last_pose, last_units, speed), played, due, rng)
        own_pose, own_units = joined(*_values_of(bank, piece), last_pose, speed, last_units)
        pose[now : piece.end], units[now : piece.end] = own_pose[:-2], own_units[:-2]
        last_pose, speed, last_units = own_pose[-2], own_pose[-1] - own_pose[-2], own_units[-2]
        blinks += _blinks(bank, piece)
        pieces.append(piece)
    return BodyMotion(pose, units, np.array(blinks).reshape(-1, 2), tuple(pieces))


def blinks_due(blinks: list[tuple[float, float]], now: int, rate: float) -> float:
    """How many blinks should come within SOON values, after those [(s, which), ...] of late, at so many a minute."""
    lately = sum(moment * VOICE_RATE > now - LATELY for moment, _ in blinks)
    return rate / MINUTE * (SOON + min(now, LATELY)) - lately


def joined(pose: Array, units: Array, last_pose: Array, speed: Array, last_units: Array) -> tuple[Array, Array]:
    """Poses [n, 10] and units [n, 24] that go on from others, as fast as those moved; the difference is forgotten.

    last_pose [10] and its speed [10] a value, last_units [24].
    """
    time = np.arange(len(pose))[:, None] / VOICE_RATE
    offset, drift = last_pose - pose[0], (speed - (pose[1] - pose[0])) * VOICE_RATE
    pose = pose + (offset + (drift + POSE_EASE * offset) * time) * np.exp(-POSE_EASE * time)
    units = units + (last_units - units[0]) * (1 + EASES * time) * np.exp(-EASES * time)
    return pose, units


def _blinks(bank: MotionBank, piece: Piece) -> list[tuple[float, float]]:
    """Moment (s of what is made) and number of those in a piece."""
    length = piece.end - piece.start
    first, last = np.searchsorted(bank.blinks[:, 0], [piece.source, piece.source + length])
    shift = piece.start - piece.source + 0.5
    return [((float(bank.blinks[k, 0]) + shift) / VOICE_RATE, float(k)) for k in range(first, last)]


def _values_of(bank: MotionBank, piece: Piece) -> tuple[Array, Array]:
    """Poses and units of a piece and the two values after it; where its take has ended, it runs out."""
    stop = piece.source + piece.end - piece.start + 2
    take = np.searchsorted(bank.starts, piece.source, side="right")
    end = min(stop, int(bank.starts[take]))
    pose, units = (values[piece.source : end].astype(np.float64) for values in (bank.pose, bank.units))
    missing = np.arange(1, stop - end + 1)[:, None]
    pose = np.concatenate([pose, pose[-1] + missing * (pose[-1] - pose[-2])])
    units = np.concatenate([units, np.repeat(units[-1:], len(missing), 0)])
    return mirrored(pose, units) if piece.mirrored else (pose, units)


def low_passed(values: Array) -> Array:
    """Values [n, C], 25 a second, without what is quick in them, which nobody sees as a place where something is."""
    return gaussian_filter1d(values, LASTS, axis=0, mode="nearest")


def interpolated(values: Array, times: Array) -> Array:
    """Values [n, C] at `times` [T] s, smoothly; what lies outside is as the first or last."""
    own_times = (np.arange(len(values)) + 0.5) / VOICE_RATE
    if len(values) < 2:
        return np.broadcast_to(values, (len(times), values.shape[1]))
    at = np.clip(times, own_times[0], own_times[-1])
    first = np.clip(np.searchsorted(own_times, at, "right") - 1, 0, len(values) - 2)
    t, step, slopes = (at - own_times[first])[:, None], np.diff(own_times)[:, None], _slopes(own_times, values)
    rise = np.diff(values, axis=0) / step
    bend = (slopes[:-1] + slopes[1:] - 2 * rise) / step
    cubic, square = (bend / step)[first], ((rise - slopes[:-1]) / step - bend)[first]
    return values[first] + slopes[first] * t + square * (t * t) + cubic * (t * t * t)


def _slopes(times: Array, values: Array) -> Array:
    """[n, C]: those of the natural cubic spline through values [n, C], n > 1. scipy.interpolate is long to import."""
    step = np.diff(times)
    rise = np.diff(values, axis=0) / step[:, None]
    bands, right = np.zeros((3, len(times))), np.empty(values.shape)
    bands[0, 1:] = np.append(step[0], step[:-1])
    bands[1] = 2 * (np.append(step, 0) + np.append(0, step))
    bands[2, :-1] = np.append(step[1:], step[-1])
    right[1:-1] = 3 * (step[1:, None] * rise[:-1] + step[:-1, None] * rise[1:])
    right[[0, -1]] = 3 * np.diff(values, axis=0)[[0, -1]]
    return np.asarray(solve_banded((1, 1), bands, right))
