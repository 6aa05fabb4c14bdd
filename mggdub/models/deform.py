"""Deformation: an expression and a pose move the points of a head.

Each point follows vertices of the 478-point mesh with fixed weights (a sparse matrix), and the rigid motion of the
head by a share that fades to zero along the neck. Factorised: everything but two small products is done once.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from scipy import ndimage, sparse

from mggdub.compiled import compiled
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.types import CROP_SIZE, LANDMARKS, Array

# Rings of MediaPipe's mesh, in order around each opening.
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
CHIN = (152, 175, 199, 200)
MAX_STRETCH = 3.0  # a splat grows at most this much where skin stretches

PIVOT = (np.float32(0), np.float32(10), np.float32(9))  # cm, head space: where the skull sits on the spine
FADE_ABOVE = 2.0  # cm over which hair above the brow stops following the skin
EDGE_FADE = 40.0  # crop px
NECK = 7.5  # cm from chin to collar
FADE_BELOW = 6.0  # cm over which the neck below the jaw stops following the skin


def open_triangles(triangles: Array) -> Array:
    """The mesh's triangles without those that close the eyes and the mouth."""
    closed = [np.isin(triangles, ring).all(axis=1) for ring in (INNER_LIPS, RIGHT_EYE, LEFT_EYE)]
    return triangles[~np.any(closed, axis=0)]


def outline(triangles: Array) -> Array:
    """Indices of the closed mesh's outer boundary, in order."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = {tuple(e) for e in edges.tolist()}
    following = {a: b for a, b in keys if (b, a) not in keys}
    ring = [min(following)]
    while (after := following[ring[-1]]) != ring[0]:
        ring.append(after)
    return np.array(ring)


def inside(points: Array, polygon: Array) -> Array:
    """Which points [N, 2] lie in a polygon [P, 2] (even-odd rule)."""
    result = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        slope = (b[0] - a[0]) / (b[1] - a[1] if b[1] != a[1] else 1e-9)
        result ^= crosses & (points[:, 0] < a[0] + slope * (points[:, 1] - a[1]))
    return result


def skin_weights(points: Array, landmarks: Array, triangles: Array, cm_per_px: float) -> sparse.csr_matrix:
    """How much every point follows each mesh vertex, [N, 478].

    points [N, 2] and landmarks [478, >=2] in px of the same picture; `triangles` of the closed mesh. Inside the face
    the weights are barycentric; around it they are those of the nearest point of the outline, fading with distance;
    eyeballs follow nothing; the inner mouth follows the nearer lip.
    """
    count = len(points)
    xy = landmarks[:, :2].astype(np.float64)
    vertices = np.zeros((count, 3), np.int32)
    weights = np.zeros((count, 3), np.float32)
    done = np.zeros(count, bool)
    order = np.argsort(points[:, 1], kind="stable")
    rows = points[order, 1]
    for triangle in open_triangles(triangles):
        a, b, c = xy[triangle]
        low, high = np.searchsorted(rows, [min(a[1], b[1], c[1]) - 0.01, max(a[1], b[1], c[1]) + 0.01])
        index = order[low:high]
        near = points[index, 0]
        index = index[(near >= min(a[0], b[0], c[0]) - 0.01) & (near <= max(a[0], b[0], c[0]) + 0.01)]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if len(index) == 0 or abs(area) < 1e-9:
            continue
        x, y = (points[index] - a).T
        v = (x * (c[1] - a[1]) - y * (c[0] - a[0])) / area
        w = (y * (b[0] - a[0]) - x * (b[1] - a[1])) / area
        hit = (v >= -1e-6) & (w >= -1e-6) & (v + w <= 1 + 1e-6) & ~done[index]
        vertices[index[hit]] = triangle
        weights[index[hit]] = np.stack([1 - v - w, v, w], 1)[hit]
        done[index[hit]] = True
    lips = ~done & inside(points, xy[list(INNER_LIPS)])
    vertices[lips], weights[lips] = _along_ring(points[lips], xy, np.array(INNER_LIPS))[:2]
    eyes = inside(points, xy[list(RIGHT_EYE)]) | inside(points, xy[list(LEFT_EYE)])
    around = ~done & ~lips & ~eyes
    ring = outline(triangles)
    vertices[around], near, distance = _along_ring(points[around], xy, ring)
    below = np.clip((points[around, 1] - xy[ring, 1].mean()) / np.ptp(xy[ring, 1]) * 2, 0, 1)
    reach = (FADE_ABOVE + (FADE_BELOW - FADE_ABOVE) * below) / cm_per_px
    weights[around] = near * smoothstep(1 - distance / reach)[:, None]
    rows_index = np.repeat(np.arange(count), 3)
    return sparse.csr_matrix((weights.ravel(), (rows_index, vertices.ravel())), shape=(count, LANDMARKS))


def _along_ring(points: Array, xy: Array, ring: Array) -> tuple[Array, Array, Array]:
    """Vertices [N, 3], weights [N, 3] and distance [N] of the nearest point on a closed ring of vertices."""
    start, end = xy[ring], xy[np.roll(ring, -1)]
    edge = end - start  # [P, 2]
    offset = points[:, None] - start  # [N, P, 2]
    along = np.clip((offset * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-9), 0, 1)  # [N, P]
    distance = np.linalg.norm(offset - along[..., None] * edge, axis=-1)
    best = distance.argmin(1)
    pick = np.arange(len(points))
    t = along[pick, best]
    vertices = np.stack([ring[best], np.roll(ring, -1)[best], ring[best]], 1)
    return vertices, np.stack([1 - t, t, np.zeros_like(t)], 1), distance[pick, best]


def smoothstep(x: Array) -> Array:
    """0 up to 0, 1 from 1 on, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def neck_weights(landmarks: Array, clothes: Array, bottom: Array | float, cm_per_px: float) -> Array:
    """[512, 512] float32: share of the head's motion at each crop pixel, 1 on the head, 0 at collar and shoulders.

    clothes [512, 512] float32 probability; bottom px, the lowest row that will be drawn, or [512] of every column.
    Fades over the neck's length, before the clothes begin, and before the bottom, below which the photo stands still.
    """
    rows = np.arange(CROP_SIZE, dtype=np.float32)[:, None] + 0.5
    chin = landmarks[152, 1]
    drop = smoothstep(1 - (rows - chin) * cm_per_px / NECK)
    distance = ndimage.distance_transform_edt(clothes < 0.5) * cm_per_px
    near_clothes = smoothstep(distance / 4.0)
    under = smoothstep((rows - chin) * cm_per_px / 2.0)  # clothes count only below the chin
    share = drop * (1 - under * (1 - near_clothes)) * smoothstep((bottom - rows - 3) / EDGE_FADE)
    return ndimage.gaussian_filter(share.astype(np.float32), 0.4 / cm_per_px)


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
        dx, dy, dz = x - PIVOT[0], y - PIVOT[1], z - PIVOT[2]
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
        a = 1 + share * (turn[0] - 1)
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
