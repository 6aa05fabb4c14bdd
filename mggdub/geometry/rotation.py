"""Rotations as matrices, angles, vectors and quaternions. numpy, any leading dimensions."""

from __future__ import annotations

import numpy as np

from mggdub.types import Array


def euler_to_matrix(angles: Array) -> Array:
    """(pitch, yaw, roll) in degrees [..., 3] to [..., 3, 3], intrinsic x, y, z.

    Positive is down, to the viewer's right, clockwise as the viewer sees it (axes x right, y down, z away).
    """
    pitch, yaw, roll = np.moveaxis(np.deg2rad(np.asarray(angles, np.float64)), -1, 0)
    return _about(0, pitch) @ _about(1, -yaw) @ _about(2, roll)


def matrix_to_euler(rotation: Array) -> Array:
    """The inverse of `euler_to_matrix`; yaw lies in -90..90 degrees."""
    r = np.asarray(rotation, np.float64)
    pitch = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    yaw = -np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0))
    roll = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return np.rad2deg(np.stack([pitch, yaw, roll], -1))


def rotvec_to_matrix(vectors: Array) -> Array:
    """Axis times angle in radians [..., 3] to [..., 3, 3] (Rodrigues)."""
    v = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    skew = cross_matrix(v)
    safe = np.maximum(angle, 1e-12)
    sine = np.where(angle > 1e-6, np.sin(angle) / safe, 1.0 - angle**2 / 6)
    cosine = np.where(angle > 1e-6, (1 - np.cos(angle)) / safe**2, 0.5)
    return np.eye(3) + sine * skew + cosine * (skew @ skew)


def matrix_to_rotvec(rotation: Array) -> Array:
    """[..., 3, 3] to axis times angle in radians, 0..pi."""
    quats = matrix_to_quat(rotation)
    quats = np.where(quats[..., :1] < 0, -quats, quats)
    sine = np.linalg.norm(quats[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quats[..., :1])
    return quats[..., 1:] * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)


def matrix_to_quat(rotation: Array) -> Array:
    """[..., 3, 3] to unit quaternions [..., 4], wxyz."""
    r = np.asarray(rotation, np.float64)
    d0, d1, d2 = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    a, b, c = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    d, e, f = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # Four times q q^T: its row with the largest diagonal is the quaternion without cancellation.
    outer = np.stack(
        [
            np.stack([1 + d0 + d1 + d2, a, b, c], -1),
            np.stack([a, 1 + d0 - d1 - d2, d, e], -1),
            np.stack([b, d, 1 - d0 + d1 - d2, f], -1),
            np.stack([c, e, f, 1 - d0 - d1 + d2], -1),
        ],
        -2,
    )  # [..., 4, 4]
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), -1)
    row = np.take_along_axis(outer, largest[..., None, None], -2)[..., 0, :]
    return row / np.linalg.norm(row, axis=-1, keepdims=True)


def cross_matrix(vectors: Array) -> Array:
    """[..., 3] to [..., 3, 3] with `cross_matrix(a) @ b == cross(a, b)`."""
    x, y, z = np.moveaxis(np.asarray(vectors), -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _about(axis: int, angle: Array) -> Array:
    vector = np.zeros((*np.shape(angle), 3))
    vector[..., axis] = angle
    return rotvec_to_matrix(vector)
