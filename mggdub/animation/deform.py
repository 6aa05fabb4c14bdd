"""Points and splats after expression, pose and the torso's motion."""

from __future__ import annotations

import numpy as np
from numba import prange
from scipy import sparse

from mggdub.compiled import compiled
from mggdub.face.mesh import PIVOT
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.types import LANDMARKS, Array

MAX_STRETCH = 3.0  # a splat grows at most this much where skin stretches


def move_points(
    means: Array,
    skin: sparse.csr_matrix,
    shares: tuple[Array, Array],
    displacement: Array,
    growth: Array,
    rotation: Array,
    translation: Array,
    sway: Array,
) -> tuple[Array, Array]:
    """Points after expression, pose and the torso's motion, and how much each splat grows.

    means [N, 3] cm, skin [N, 478], shares [N] of the head's and of the torso's motion, displacement [478, 3] cm and
    growth [478] of the mesh (1 is none), rotation [3] degrees, translation [3] cm, sway [3, 4] of `torso.sway`
    -> [N, 3] and [N] float32.
    """
    mesh = np.concatenate([displacement, growth[:, None] - 1], 1).astype(np.float32)  # [478, 4]
    turn = (euler_to_matrix(rotation) - np.eye(3)).astype(np.float32)
    moved, grown = np.empty_like(means), np.empty(len(means), np.float32)
    _move(
        means,
        skin.indptr,
        skin.indices,
        skin.data,
        *shares,
        mesh,
        turn,
        translation.astype(np.float32),
        sway,
        moved,
        grown,
    )
    return moved, grown


@compiled(parallel=True, boundscheck=False, fastmath=True)
def _move(means, starts, vertices, weights, neck, body, mesh, turn, shift, sway, moved, grown):  # type: ignore[no-untyped-def]
    for i in prange(means.shape[0]):
        x, y, z, growth = means[i, 0], means[i, 1], means[i, 2], np.float32(1)
        for k in range(starts[i], starts[i + 1]):
            vertex, weight = vertices[k], weights[k]
            x += weight * mesh[vertex, 0]
            y += weight * mesh[vertex, 1]
            z += weight * mesh[vertex, 2]
            growth += weight * mesh[vertex, 3]
        dx, dy, dz = x - np.float32(PIVOT[0]), y - np.float32(PIVOT[1]), z - np.float32(PIVOT[2])
        share, follows = neck[i], body[i]
        moved[i, 0] = x + share * (turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * dz + shift[0])
        moved[i, 1] = y + share * (turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * dz + shift[1])
        moved[i, 2] = z + share * (turn[2, 0] * dx + turn[2, 1] * dy + turn[2, 2] * dz + shift[2])
        for k in range(3):
            moved[i, k] += follows * (sway[k, 0] * x + sway[k, 1] * y + sway[k, 2] * z + sway[k, 3])
        grown[i] = growth


def turn_patches(quats: Array, neck: Array, rotation: Array) -> Array:
    """Quaternions [N, 4] wxyz of splats after the head's rotation [3] degrees, of which they have their share."""
    if not rotation.any():
        return quats
    turn = matrix_to_quat(euler_to_matrix(rotation)).astype(np.float32)
    turned = np.empty_like(quats)
    _turn(quats, neck, turn if turn[0] >= 0 else -turn, turned)
    return turned


@compiled(parallel=True, boundscheck=False, fastmath=True)
def _turn(quats, neck, turn, turned):  # type: ignore[no-untyped-def]
    for i in prange(quats.shape[0]):
        share = neck[i]
        a = np.float32(1) + share * (turn[0] - np.float32(1))
        b, c, d = share * turn[1], share * turn[2], share * turn[3]
        w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        turned[i, 0] = a * w - b * x - c * y - d * z
        turned[i, 1] = a * x + b * w + c * z - d * y
        turned[i, 2] = a * y - b * z + c * w + d * x
        turned[i, 3] = a * z + b * y - c * x + d * w


def mesh_edges(triangles: Array) -> Array:
    """[E, 2] of triangles [F, 3]."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def lengths(mesh: Array, edges: Array) -> Array:
    """[E] cm: how long edges [E, 2] of a mesh look from the front."""
    return np.asarray(np.linalg.norm(mesh[edges[:, 0], :2] - mesh[edges[:, 1], :2], axis=1))


def stretch(resting: Array, moved: Array, edges: Array) -> Array:
    """[478] float32: by how much the skin around each vertex stretches, 1..MAX_STRETCH.

    `resting` are the edges' `lengths` in the mesh at rest, `moved` [478, 3] is the mesh now.
    """
    ratio = np.clip(lengths(moved, edges) / np.maximum(resting, 0.05), 1.0, MAX_STRETCH).astype(np.float32)
    most = np.ones(LANDMARKS, np.float32)
    np.maximum.at(most, edges.ravel(), np.repeat(ratio, 2))
    return most
