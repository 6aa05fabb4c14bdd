"""Points and splats after expression, pose and the torso's motion."""

from __future__ import annotations

import numpy as np
from numba import prange
from scipy import sparse

from mggdub.compiled import compiled
from mggdub.face.mesh import PIVOT
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.geometry.sampling import sampled
from mggdub.types import LANDMARKS, Array

_parallel = compiled(parallel=True, boundscheck=False, fastmath=True)
_inner = compiled(boundscheck=False, fastmath=True)

MAX_STRETCH = 3.0  # a splat grows at most this much where skin stretches


@_inner
def _carried(i, point, starts, vertices, weights, mesh):  # type: ignore[no-untyped-def]
    """A point [3] after expression, and how much its splat grows."""
    x, y, z, growth = point[0], point[1], point[2], np.float32(1)
    for k in range(starts[i], starts[i + 1]):
        weight, vertex = weights[k], mesh[vertices[k]]
        x += weight * vertex[0]
        y += weight * vertex[1]
        z += weight * vertex[2]
        growth += weight * vertex[3]
    return (x, y, z), growth


@_inner
def _moved(point, share, follows, turn, shift, sway):  # type: ignore[no-untyped-def]
    """A point after the head's and the torso's motion, of which it has its shares."""
    x, y, z = point
    dx, dy, dz = x - np.float32(PIVOT[0]), y - np.float32(PIVOT[1]), z - np.float32(PIVOT[2])
    u = x + share * (turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * dz + shift[0])
    v = y + share * (turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * dz + shift[1])
    w = z + share * (turn[2, 0] * dx + turn[2, 1] * dy + turn[2, 2] * dz + shift[2])
    u += follows * (sway[0, 0] * x + sway[0, 1] * y + sway[0, 2] * z + sway[0, 3])
    v += follows * (sway[1, 0] * x + sway[1, 1] * y + sway[1, 2] * z + sway[1, 3])
    w += follows * (sway[2, 0] * x + sway[2, 1] * y + sway[2, 2] * z + sway[2, 3])
    return u, v, w


def pose_splats(
    rest: tuple[Array, Array, Array, Array],
    fields: tuple[Array, Array],
    place: Array,
    painted: int,
    skin: sparse.csr_matrix,
    shares: tuple[Array, Array],
    displacement: Array,
    growth: Array,
    rotation: Array,
    translation: Array,
    sway: Array,
    count: int,
) -> tuple[Array, Array, Array, Array]:
    """The first `count` of splats in one pass: means, quaternions, scales and colours after all that moves them.

    rest: means [N, 3] cm, quats [N, 4] wxyz, scales [N, 3] cm, colours [N, 3]; fields [G, G, 3] cm and [G', G', 3] push
    them at place [N, 2] of 0..1, the second one, a change of colour, only the first `painted`; skin [N, 478]; shares
    [N] of the head's and of the torso's motion; displacement [478, 3] cm and growth [478] (1 is none) of the mesh;
    rotation [3] degrees, translation [3] cm, sway [3, 4] of `torso.sway`.
    """
    mesh, turn = _mesh_motion(displacement, growth), (euler_to_matrix(rotation) - np.eye(3)).astype(np.float32)
    posed = tuple(np.empty((count, array.shape[1]), np.float32) for array in rest)
    csr = skin.indptr, skin.indices, skin.data
    _pose(*rest, *fields, place, painted, *csr, *shares, mesh, turn, _turn_quat(rotation),
          translation.astype(np.float32), sway, *posed)  # fmt: skip
    return posed  # type: ignore[return-value]


@_parallel
def _pose(  # type: ignore[no-untyped-def]
    means, quats, scales, colors, motion, shade, place, painted, starts, vertices, weights, neck, body, mesh, turn,
    quat, shift, sway, moved, turned, grown, shown,
):  # fmt: skip
    for i in prange(moved.shape[0]):
        x, y, z = sampled(motion, place[i, 0], place[i, 1])
        pushed = means[i, 0] + x, means[i, 1] + y, means[i, 2] + z
        point, growth = _carried(i, pushed, starts, vertices, weights, mesh)
        moved[i, 0], moved[i, 1], moved[i, 2] = _moved(point, neck[i], body[i], turn, shift, sway)
        grown[i, 0], grown[i, 1], grown[i, 2] = scales[i, 0] * growth, scales[i, 1] * growth, scales[i, 2] * growth
        turned[i, 0], turned[i, 1], turned[i, 2], turned[i, 3] = _turned(quats[i], neck[i], quat)
        red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
        if i < painted:
            x, y, z = sampled(shade, place[i, 0], place[i, 1])
            red, green, blue = red + x, green + y, blue + z
        shown[i, 0], shown[i, 1], shown[i, 2] = red, green, blue


def _mesh_motion(displacement: Array, growth: Array) -> Array:
    """[478, 4] float32: how far each vertex goes, cm, and by how much more than it is the skin around it grows."""
    return np.concatenate([displacement, growth[:, None] - 1], 1).astype(np.float32)


def _turn_quat(rotation: Array) -> Array:
    """[4] float32 wxyz of a rotation [3] degrees, w not negative."""
    turn = matrix_to_quat(euler_to_matrix(rotation)).astype(np.float32)
    return turn if turn[0] >= 0 else -turn


@_inner
def _turned(quat, share, turn):  # type: ignore[no-untyped-def]
    """A quaternion [4] wxyz after its share of a turn."""
    a = np.float32(1) + share * (turn[0] - np.float32(1))
    b, c, d = share * turn[1], share * turn[2], share * turn[3]
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        (a * z + b * y - c * x + d * w),
    )


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
