"""How points follow the vertices of the face mesh."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mggdub.face.mesh import INNER_LIPS, LEFT_EYE, RIGHT_EYE, inside, open_triangles, outline
from mggdub.geometry.sampling import smoothstep
from mggdub.types import LANDMARKS, Array

FADE_ABOVE = 2.0  # cm over which hair above the brow stops following the skin
FADE_BELOW = 6.0  # cm over which the neck below the jaw stops following the skin


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
