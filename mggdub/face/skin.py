"""How points follow the vertices of the face mesh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from mggdub.compiled import compiled
from mggdub.face.mesh import INNER_LIPS, LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE, inside, open_triangles, outline
from mggdub.geometry.sampling import smoothstep
from mggdub.types import LANDMARKS, Array

FADE_ABOVE = 2.0  # cm over which hair above the brow stops following the skin
FADE_BELOW = 6.0  # cm over which the neck below the jaw stops following the skin
WITH_CORNER = (0.3, 0.8)  # cm from a corner of the mouth, towards its middle and away from it, that go with it


def skin_weights(points: Array, landmarks: Array, triangles: Array, cm_per_px: float) -> sparse.csr_matrix:
    """How much every point follows each mesh vertex, [N, 478].

    points [N, 2] and landmarks [478, >=2] in px of the same picture; `triangles` of the closed mesh. Inside the face
    the weights are barycentric; around it they are those of the nearest point of the outline, fading with distance;
    eyeballs follow nothing; the inner mouth follows the nearer lip; the pit beyond a corner of the mouth goes with it.
    """
    count = len(points)
    xy = landmarks[:, :2].astype(np.float64)
    order = np.argsort(points[:, 1], kind="stable")
    vertices, weights = _in_triangles(points[order].astype(np.float64), xy, open_triangles(triangles).astype(np.int64))
    back = np.argsort(order, kind="stable")
    vertices, weights = vertices[back], weights[back]
    done = weights.any(1)
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
    rows = sparse.csr_matrix((weights.ravel(), (rows_index, vertices.ravel())), shape=(count, LANDMARKS))
    return _with_corners(rows, points, xy, cm_per_px)


def _with_corners(rows: sparse.csr_matrix, points: Array, xy: Array, cm_per_px: float) -> sparse.csr_matrix:
    """Rows [N, 478] of points [N, 2] px, of which those around the mouth's corners go with these."""
    corners = xy[list(MOUTH_CORNERS)]
    across = (corners[0] - corners[1]) / max(float(np.linalg.norm(corners[0] - corners[1])), 1e-6)
    for vertex, corner, outwards in zip(MOUTH_CORNERS, corners, (across, -across), strict=True):
        away = (points - corner) * cm_per_px
        near = np.nonzero((np.abs(away) < max(WITH_CORNER)).all(1))[0]
        distance = np.linalg.norm(away[near], axis=1)
        beyond = smoothstep(0.5 + 0.5 * (away[near] @ outwards) / np.maximum(distance, 1e-6))
        reach = WITH_CORNER[0] + (WITH_CORNER[1] - WITH_CORNER[0]) * beyond
        share = 1 - smoothstep((distance / reach - 0.25) / 0.75)
        kept = np.ones(len(points), np.float32)
        kept[near] -= share
        with_it = sparse.csr_matrix((share, (near, np.full(len(near), vertex))), shape=rows.shape, dtype=np.float32)
        rows = sparse.diags(kept).tocsr() @ rows + with_it
    return rows.astype(np.float32)


def mesh_rows(*parts: tuple[Sequence[int], Array]) -> sparse.csr_matrix:
    """[N, 478] float32: rows of points that have shares [N, V] of V vertices of the mesh, the sum of all `parts`."""
    vertices = np.unique(np.concatenate([list(ring) for ring, _ in parts]))
    rows = np.zeros((len(parts[0][1]), len(vertices)), np.float32)
    for ring, shares in parts:
        rows[:, np.searchsorted(vertices, ring)] += shares
    few = sparse.csr_matrix(rows)
    return sparse.csr_matrix((few.data, vertices[few.indices], few.indptr), shape=(len(rows), LANDMARKS))


@compiled()
def _in_triangles(points, xy, triangles):  # type: ignore[no-untyped-def]
    """Vertices [N, 3] and weights [N, 3] of the first triangle that each point [N, 2] lies in; 0 of those in none.

    Points come from above to below.
    """
    vertices, weights = np.zeros((len(points), 3), np.int32), np.zeros((len(points), 3), np.float32)
    done, rows = np.zeros(len(points), np.bool_), points[:, 1].copy()
    for n in range(len(triangles)):
        a, b, c = xy[triangles[n, 0]], xy[triangles[n, 1]], xy[triangles[n, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        first = np.searchsorted(rows, min(a[1], b[1], c[1]) - 0.01)
        last = np.searchsorted(rows, max(a[1], b[1], c[1]) + 0.01)
        left, right = min(a[0], b[0], c[0]) - 0.01, max(a[0], b[0], c[0]) + 0.01
        for i in range(first, last):
            if done[i] or not left <= points[i, 0] <= right:
                continue
            x, y = points[i, 0] - a[0], points[i, 1] - a[1]
            v = (x * (c[1] - a[1]) - y * (c[0] - a[0])) / area
            w = (y * (b[0] - a[0]) - x * (b[1] - a[1])) / area
            if v >= -1e-6 and w >= -1e-6 and v + w <= 1 + 1e-6:
                vertices[i] = triangles[n]
                weights[i, 0], weights[i, 1], weights[i, 2] = 1 - v - w, v, w
                done[i] = True
    return vertices, weights


def _along_ring(points: Array, xy: Array, ring: Array) -> tuple[Array, Array, Array]:
    """Vertices [N, 3], weights [N, 3] and distance [N] of the nearest point on a closed ring of vertices."""
    best, t, distance = _nearest_edges(points.astype(np.float64), xy[ring], xy[np.roll(ring, -1)])
    vertices = np.stack([ring[best], np.roll(ring, -1)[best], ring[best]], 1)
    return vertices, np.stack([1 - t, t, np.zeros_like(t)], 1), distance


@compiled()
def _nearest_edges(points, start, end):  # type: ignore[no-untyped-def]
    """Of edges [P, 2] to [P, 2] the nearest to each point [N, 2], where on it, 0..1, and how far away."""
    count = len(points)
    best, along, distance = np.zeros(count, np.int64), np.zeros(count), np.full(count, np.inf)
    edge = end - start
    for i in range(count):
        for k in range(len(edge)):
            x, y = points[i, 0] - start[k, 0], points[i, 1] - start[k, 1]
            length = edge[k, 0] ** 2 + edge[k, 1] ** 2
            t = min(max((x * edge[k, 0] + y * edge[k, 1]) / max(length, 1e-9), 0.0), 1.0)
            apart = np.sqrt((x - t * edge[k, 0]) ** 2 + (y - t * edge[k, 1]) ** 2)
            if apart < distance[i]:
                best[i], along[i], distance[i] = k, t, apart
    return best, along, distance
