"""Inner lips as the mouth's inside needs them: where points hang between them, pictures laid out by them.

Places are cm in head space; those of lips are counted from the middle of the same person's closed lips.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mggdub.face.mesh import LOWER_LIP, UPPER_LIP
from mggdub.face.skin import mesh_rows
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array

LOWER_FROM, LOWER_TO = 0.35, 0.8  # of the way from the upper to the lower lip, where the lower teeth's motion sets in
USUAL_WIDTH = 4.7  # cm
MIDDLE = len(UPPER_LIP) // 2


def chord_weights(along: Array) -> Array:
    """[C, 11]: shares of the lip's vertices from corner to corner for `along` [C] in 0..1."""
    place = np.clip(along, 0, 1) * (len(UPPER_LIP) - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(len(UPPER_LIP))), 0).astype(np.float32)


def chords(along: Array, down: Array, mesh: Array) -> Array:
    """[..., R, C, 3]: points between the inner lips of mesh [..., 478, 3], down [R] from the upper to the lower lip."""
    share = chord_weights(along)
    upper, lower = share @ mesh[..., list(UPPER_LIP), :], share @ mesh[..., list(LOWER_LIP), :]
    v = np.clip(down, 0, 1).astype(np.float32)[:, None, None]
    return upper[..., None, :, :] * (1 - v) + lower[..., None, :, :] * v


def chord_rows(along: Array, down: Array) -> sparse.csr_matrix:
    """[N, 478]: the shares of the mesh's vertices that `chords` gives points at along [N], down [N]."""
    share = chord_weights(along)[:, :, None] * np.stack([1 - np.clip(down, 0, 1), np.clip(down, 0, 1)], 1)[:, None]
    return mesh_rows((UPPER_LIP, share[..., 0]), (LOWER_LIP, share[..., 1]))


def closed_middle(rest: Array) -> Array:
    """[3] cm: the middle of the closed lips of rest [478, 3], where places are counted from."""
    return np.asarray(rest[[*UPPER_LIP, *LOWER_LIP]].mean(0))


def closed_width(rest: Array) -> float:
    """Cm between the corners of the closed lips of rest [478, 3]."""
    return float(np.linalg.norm(rest[UPPER_LIP[-1]] - rest[UPPER_LIP[0]]))


def upper_level(lips: Array) -> Array:
    """[...] cm: the middle of the upper lip of [..., 2, 11, 2]."""
    return np.asarray(lips[..., 0, MIDDLE - 1 : MIDDLE + 2, 1].mean(-1))


def lower_level(lips: Array) -> Array:
    """[...] cm: the middle of the lower lip of [..., 2, 11, 2]; lower teeth keep their place to it."""
    return np.asarray(lips[..., 1, MIDDLE - 1 : MIDDLE + 2, 1].mean(-1))


def lip_edges(lips: Array, columns: int) -> tuple[Array, Array]:
    """Span [2] and edges [2, columns] of a picture of lips [2, 11, 2].

    Its columns run over the span, its rows over the edges there.
    """
    left, right = lips[:, 0, 0].mean(), lips[:, -1, 0].mean()
    x = left + (np.arange(columns) + 0.5) / columns * (right - left)
    edges = [np.interp(x, lip[order, 0], lip[order, 1]) for lip in lips for order in [np.argsort(lip[:, 0])]]
    edges[1] = np.maximum(edges[1], edges[0] + 0.02)
    return np.array([left, right]), np.array(edges)


def lips_of(mesh: Array, rest: Array) -> Array:
    """[..., 2, 11, 2] cm: upper and lower inner lip of mesh [..., 478, 3] from the closed lips' middle."""
    return np.asarray(mesh[..., [UPPER_LIP, LOWER_LIP], :2] - closed_middle(rest)[:2])


def picture_places(span: Array, edges: Array, rows: int) -> Array:
    """[rows, columns, 2] cm: where the pixels of a picture lie."""
    columns = edges.shape[-1]
    x = span[0] + (np.arange(columns) + 0.5) / columns * (span[1] - span[0])
    down = ((np.arange(rows) + 0.5) / rows)[:, None]
    y = edges[0] + down * (edges[1] - edges[0])
    return np.stack([np.broadcast_to(x, y.shape), y], -1)


def lower_share(down: Array) -> Array:
    """[...]: how much of the lower teeth's motion is seen at `down` [...], 0 at the upper to 1 at the lower lip."""
    return smoothstep((down - LOWER_FROM) / (LOWER_TO - LOWER_FROM))
