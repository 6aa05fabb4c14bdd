"""How the torso moves, and how it follows the head.

Its motion is four numbers: right and down in the picture's plane (cm at the head's distance), clockwise (degrees) and
away from the viewer (cm), of a point between the shoulders.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from mggdub.types import Array, Camera, ExpressionTrack

CENTRE = np.array([0.0, 22.0, 9.0])  # cm, head space: between the shoulders
FARTHEST = 3.0  # cm; larger motion is taken back, or the background would fold
# Right and down (cm) for a degree of pitch, yaw and roll and a cm of x, y and z of the head: least squares over 227
# clips of 169 people, of which it explains 27 and 12 %. Size and turn do not follow the head.
FOLLOWS = np.array([[0.006, 0.012], [-0.019, -0.004], [-0.019, 0.002], [0.17, 0], [0, 0.216], [0.014, -0.03]])
NECK_BEARS = 0.7  # cm that a torso shifts otherwise than its head suggests: farther, collars tear
NECK_STRETCHES = np.array([2.5, 1.2])  # cm that a head goes aside, and up or down, otherwise than its torso
NECK_REACHES = 2.0  # cm that a head comes nearer than its torso, or goes back: farther, it grows out of its collar
LAZY = 0.15  # s, sigma over which a torso takes up what the head does


def add_torso(track: ExpressionTrack) -> ExpressionTrack:
    """The track with the torso's motion that its head's motion suggests."""
    step = float(np.median(np.diff(track.times))) if len(track) > 1 else 1.0
    head = np.concatenate([track.rotation, track.translation], 1) @ FOLLOWS
    moved = ndimage.gaussian_filter1d(head, LAZY / step, axis=0, mode="nearest")
    return replace(track, torso=np.pad(moved, ((0, 0), (0, 2))).astype(np.float32))


def near_head(track: ExpressionTrack) -> ExpressionTrack:
    """The track whose head and torso move no farther from each other than a neck can bear.

    The torso shifts as the head's motion suggests or little otherwise; the head goes and leans as the torso does or
    little farther.
    """
    suggested = add_torso(track).torso[:, :2]
    apart = track.torso[:, :2] - suggested
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    bounded = suggested + apart * (NECK_BEARS * np.tanh(length / NECK_BEARS) / np.maximum(length, 1e-6))
    body = np.concatenate([bounded, track.torso[:, 2:]], 1).astype(np.float32)
    carried, most = body[:, [0, 1, 3]], np.array([*NECK_STRETCHES, NECK_REACHES])
    place = carried + most * np.tanh((track.translation - carried) / most)
    return replace(track, translation=place.astype(np.float32), torso=body)


def sway(motion: Array, camera: Camera, angle: float = 0.0) -> Array:
    """[3, 4] float32: what takes a point in head space (and 1) to its displacement, for the torso's `motion` [4].

    `angle` as in `in_plane`.
    """
    size_turn, shift = in_plane(motion, float(camera.viewmat[2, 3]), angle)
    a, b = size_turn.real - 1, size_turn.imag
    plane = np.array([[a, -b, 0], [b, a, 0], [0, 0, 0]])
    rotation, translation = camera.viewmat[:3, :3].astype(np.float64), camera.viewmat[:3, 3].astype(np.float64)
    towards = rotation.T @ plane
    centre = rotation @ CENTRE + translation
    from_centre = translation - centre * translation[2] / centre[2]  # where it is seen, as near as the head
    moved = towards @ from_centre + rotation.T @ [shift.real, shift.imag, 0]
    return np.concatenate([towards @ rotation, moved[:, None]], 1).astype(np.float32)


def in_plane(motion: Array, distance: float, angle: float = 0.0) -> tuple[complex, complex]:
    """Size and turn, and shift (cm) of the torso's `motion` [4] in the picture's plane, seen from `distance` cm.

    Right and down are those of a person who is turned in the picture by `angle` degrees, clockwise.
    """
    right, down, turned, away = (float(value) for value in motion)
    length = np.hypot(right, down)
    shift = complex(right, down) * (FARTHEST * np.tanh(length / FARTHEST) / length if length > 0 else 1.0)
    size = distance / (distance + float(np.clip(away, -0.2 * distance, 0.2 * distance)))
    return size * complex(np.exp(1j * np.radians(turned))), shift * complex(np.exp(1j * np.radians(angle)))


def from_plane(size_turns: Array, shifts: Array, distance: float) -> Array:
    """[T, 4] float32: motion from sizes and turns [T] and shifts [T] (cm) of CENTRE, complex."""
    away = distance * (1 / np.abs(size_turns) - 1)
    return np.stack([shifts.real, shifts.imag, np.degrees(np.angle(size_turns)), away], 1).astype(np.float32)
