"""The torso: where it is, how it moves with a share of its own, and how it follows the head.

Its motion is four numbers: right and down in the picture's plane (cm at the head's distance), clockwise (degrees) and
away from the viewer (cm), of a point between the shoulders. Everything in the picture has a share of it, which fades
from 1 on the chest to 0 in the background; head and hair have what their share of the head's motion leaves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from mggdub.models.deform import smoothstep
from mggdub.types import BACKGROUND, CLOTHES, CROP_SIZE, Array, Camera, Crop, ExpressionTrack

CENTRE = np.array([0.0, 22.0, 9.0])  # cm, head space: between the shoulders
FARTHEST = 3.0  # cm; larger motion is taken back, or the background would fold
FADE = 3.5  # cm over which what lies beside the torso moves along
BLUR = 0.4  # cm
# Right and down (cm) for a degree of pitch, yaw and roll and a cm of x, y and z of the head: least squares over 227
# clips of 169 people, of which it explains 27 and 12 %. Size and turn do not follow the head.
FOLLOWS = np.array([[0.006, 0.012], [-0.019, -0.004], [-0.019, 0.002], [0.17, 0], [0, 0.216], [0.014, -0.03]])
LAZY = 0.15  # s, sigma over which a torso takes up what the head does
CELLS = 160  # along the longest side of a picture
REACH = 60.0  # cm beyond the crop in which a body's motion ends


def clothes_share(labels: Array) -> Array:
    """[512, 512] float32: how much of the person at each crop pixel is clothes; labels [256, 256, 6]."""
    person = np.maximum(1 - labels[..., BACKGROUND], 1e-3)
    return ndimage.zoom(np.clip(labels[..., CLOTHES] / person, 0, 1), 2, order=1).astype(np.float32)


def torso_matte(landmarks: Array, clothes: Array, matte: Array, cm_per_px: float) -> Array:
    """[512, 512] 0..1: what belongs to the torso: clothes, and everything of the person well below the chin.

    landmarks [478, >=2] px; clothes [512, 512] their share of the person, matte [512, 512] of the person.
    """
    below = (np.arange(len(matte))[:, None] + 0.5 - landmarks[152, 1]) * cm_per_px  # cm below the chin
    return (matte * np.maximum(clothes * smoothstep(below + 1), smoothstep(below / 3 - 0.5))).astype(np.float32)


def shares(torso: Array, cm_per_px: float) -> Array:
    """[512, 512] of `torso_matte`: shares of the torso's motion, which fade beside it."""
    inside = torso > 0.5
    if not inside.any():
        return np.zeros_like(torso)
    distance = ndimage.distance_transform_edt(~inside) * cm_per_px
    return ndimage.gaussian_filter(smoothstep(1 - distance / FADE).astype(np.float32), BLUR / cm_per_px)


def over_picture(shares: Array, crop: Crop, size: tuple[int, int], cm_per_px: float) -> Array:
    """[h, w] float32 coarse cells of a picture (width, height): `shares` of its crop, and beyond it ever less.

    `crop` in px of the picture.
    """
    ratio = min(1.0, CELLS / max(size))
    width, height = max(2, round(size[0] * ratio)), max(2, round(size[1] * ratio))
    x, y = (np.arange(width) + 0.5) * size[0] / width, (np.arange(height) + 0.5) * size[1] / height
    at = crop.to_crop(np.stack(np.meshgrid(x, y), -1))
    beyond = np.linalg.norm(at - np.clip(at, 0, CROP_SIZE), axis=-1) * cm_per_px
    inside = np.clip(at, 2, CROP_SIZE - 2)
    found = ndimage.map_coordinates(shares, [inside[..., 1] - 0.5, inside[..., 0] - 0.5], order=1, mode="nearest")
    return (found * smoothstep(1 - beyond / REACH)).astype(np.float32)


def following(track: ExpressionTrack) -> ExpressionTrack:
    """The track with the torso's motion that its head's motion suggests."""
    step = float(np.median(np.diff(track.times))) if len(track) > 1 else 1.0
    head = np.concatenate([track.rotation, track.translation], 1) @ FOLLOWS
    moved = ndimage.gaussian_filter1d(head, LAZY / step, axis=0, mode="nearest")
    return replace(track, torso=np.pad(moved, ((0, 0), (0, 2))).astype(np.float32))


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
