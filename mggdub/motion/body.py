"""What head, torso, brows and eyes do while somebody speaks or listens: pieces of people's motion, joined.

Everything is made at 25 values a second, of which value k belongs to the time (k + 0.5) / 25 s, and then looked up at
the times of the frames, so that a frame rate only decides where it is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggdub.motion.prosody import Prosody
from mggdub.motion.selection import NAMES, SWAPPED, MIRROR_POSE, Piece, choose_pieces, heard_of
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

POSE_EASE = 4.5  # 1/s: how fast the difference between two pieces is forgotten
FACE_EASE, LID_EASE, GAZE_EASE = 8.0, 12.0, 40.0  # eyes leap, as eyes do
EASES = np.array([GAZE_EASE if "Look" in n else LID_EASE if "Blink" in n else FACE_EASE for n in NAMES])


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """n values, 25 a second, of a head of ordinary liveliness, counted from how the photo shows it."""

    pose: Array  # [n, 10]: pitch, yaw, roll in degrees; right, down, away in cm; the torso's four
    units: Array  # [n, 24] the driving units; the lids without blinks
    blinks: Array  # [B, 2] s: when lids are closed, and for how long from half to half
    pieces: tuple[Piece, ...]


def body_motion(bank: MotionBank, prosody: Prosody, seed: int) -> BodyMotion:
    """Motion that fits how something is said; the same seed gives the same."""
    pieces = choose_pieces(bank, heard_of(prosody), seed)
    count = len(prosody)
    pose, units = np.zeros((count, bank.pose.shape[1])), np.zeros((count, bank.units.shape[1]))
    blinks: list[tuple[float, float]] = []
    place, speed, face = np.zeros(bank.pose.shape[1]), np.zeros(bank.pose.shape[1]), np.zeros(len(NAMES))
    for piece in pieces:
        length = piece.end - piece.start
        inside = slice(piece.source, piece.source + length + 2)
        own_pose, own_units = _until(bank, inside, piece.mirrored)
        time = np.arange(length + 2)[:, None] / VOICE_RATE
        offset, drift = place - own_pose[0], (speed - (own_pose[1] - own_pose[0])) * VOICE_RATE
        own_pose = own_pose + (offset + (drift + POSE_EASE * offset) * time) * np.exp(-POSE_EASE * time)
        own_units = own_units + (face - own_units[0]) * (1 + EASES * time) * np.exp(-EASES * time)
        pose[piece.start : piece.end], units[piece.start : piece.end] = own_pose[:length], own_units[:length]
        place, speed, face = own_pose[length], own_pose[length + 1] - own_pose[length], own_units[length]
        first, last = np.searchsorted(bank.blinks[:, 0], [piece.source, piece.source + length])
        blinks += [((at - piece.source + piece.start + 0.5) / VOICE_RATE, held) for at, held in bank.blinks[first:last]]
    return BodyMotion(pose, units, np.array(blinks).reshape(-1, 2), tuple(pieces))


def _until(bank: MotionBank, inside: slice, mirrored: bool) -> tuple[Array, Array]:
    """Poses and units of a piece and the two values after it; where its take has ended, it runs out."""
    take = np.searchsorted(bank.starts, inside.start, side="right") - 1
    end = min(inside.stop, int(bank.starts[take + 1]))
    pose, units = (values[inside.start : end].astype(np.float64) for values in (bank.pose, bank.units))
    missing = np.arange(1, inside.stop - end + 1)[:, None]
    pose = np.concatenate([pose, pose[-1] + missing * (pose[-1] - pose[-2])])
    units = np.concatenate([units, np.repeat(units[-1:], len(missing), 0)])
    return (pose * MIRROR_POSE, units[:, SWAPPED]) if mirrored else (pose, units)


def sampled(values: Array, times: Array) -> Array:
    """Values [n, C] at `times` [T] s, smoothly; what lies outside is as the first or last."""
    own = (np.arange(len(values)) + 0.5) / VOICE_RATE
    if len(values) < 2:
        return np.broadcast_to(values, (len(times), values.shape[1]))
    from scipy.interpolate import CubicSpline  # a third of a second to import

    return CubicSpline(own, values, bc_type="natural")(np.clip(times, own[0], own[-1]))
