"""Rotations as matrices, angles, vectors and quaternions: scipy's, in this house's axes. Any leading dimensions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from mggdub.types import Array

_SIGNS = np.array([1.0, -1.0, 1.0])  # positive yaw is to the viewer's right: about y, which points down, it is negative


def euler_to_matrix(angles: Array) -> Array:
    """(pitch, yaw, roll) in degrees [..., 3] to [..., 3, 3], intrinsic x, y, z.

    Positive is down, to the viewer's right, clockwise as the viewer sees it (axes x right, y down, z away).
    """
    matrix: Array = Rotation.from_euler("XYZ", np.asarray(angles, np.float64) * _SIGNS, degrees=True).as_matrix()
    return matrix


def matrix_to_euler(rotation: Array) -> Array:
    """The inverse of `euler_to_matrix`: [..., 3, 3] to degrees [..., 3]; yaw lies in -90..90 degrees."""
    angles: Array = _rotation(rotation).as_euler("XYZ", degrees=True, suppress_warnings=True) * _SIGNS
    return angles


def rotvec_to_matrix(vectors: Array) -> Array:
    """Axis times angle in radians [..., 3] to [..., 3, 3]."""
    matrix: Array = Rotation.from_rotvec(np.asarray(vectors, np.float64)).as_matrix()
    return matrix


def matrix_to_rotvec(rotation: Array) -> Array:
    """[..., 3, 3] to axis times angle in radians, 0..pi."""
    vectors: Array = _rotation(rotation).as_rotvec()
    return vectors


def matrix_to_quat(rotation: Array) -> Array:
    """[..., 3, 3] to unit quaternions [..., 4], wxyz."""
    quats: Array = _rotation(rotation).as_quat(scalar_first=True)
    return quats


def plane_similarity(source: Array, target: Array) -> tuple[complex, complex]:
    """(turn, shift) with which `turn * z + shift` brings points z [N] of a plane, x + iy, nearest to others [N].

    |turn| is how much larger they become. Least squares.
    """
    middle, there = source.mean(), target.mean()
    turn = np.vdot(source - middle, target - there) / np.vdot(source - middle, source - middle).real
    return turn, there - turn * middle


def cross_matrix(vectors: Array) -> Array:
    """[..., 3] to [..., 3, 3] with `cross_matrix(a) @ b == cross(a, b)`."""
    x, y, z = np.moveaxis(np.asarray(vectors), -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _rotation(matrix: Array) -> Rotation:
    return Rotation.from_matrix(np.asarray(matrix, np.float64), assume_valid=True)  # ours are orthogonal already
