"""What of the photo's upper lids goes with their margins, and what stays at the crease."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mggdub.avatar.eyelids import COLUMNS, CREASE_FOLLOWS, lid_shape
from mggdub.face.mesh import UPPER_LIDS
from mggdub.geometry.camera import cm_per_px
from mggdub.types import LANDMARKS, Array, Portrait

ROOTED = (0.3, 0.6)  # cm above the margin, and at most of the way to the crease, that go all of it, lashes and liner


def keep_creases(skin: sparse.csr_matrix, head: Portrait) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels, of which those at and above a crease hardly follow the lashes."""
    for side, (lashes, fold) in UPPER_LIDS.items():
        rings = np.array([lashes, fold])[:, 1:-1]
        low, high = (skin[:, ring].toarray() for ring in rings)
        share, place = low.sum(1), (low + high) @ np.arange(1, len(lashes) - 1)
        strip = np.flatnonzero((share > 0) & (share < 0.999) & (share + high.sum(1) > 0.999))
        at = np.linspace(0, len(lashes) - 1, COLUMNS)
        lid = lid_shape(head, side)
        rooted = ROOTED[0] / cm_per_px(head.camera) / np.maximum(lid.crease * np.linalg.norm(lid.up, axis=1), 1e-3)
        knots = (1 - np.clip(lid.crease, 0.01, 0.99), np.minimum(rooted, ROOTED[1]))
        wanted = follow_margin(share[strip], *(np.interp(place[strip], at, knot) for knot in knots))
        now = np.ones((2, len(share)))
        now[:, strip] = wanted / share[strip], (1 - wanted) / (1 - share[strip])
        columns = np.zeros(LANDMARKS, int)
        columns[rings[0]], columns[rings[1]] = 1, 2
        entries = skin.tocoo()
        which = columns[entries.col]
        scale = np.where(which > 0, now[np.maximum(which - 1, 0), entries.row], 1)
        skin = sparse.csr_matrix((entries.data * scale, (entries.row, entries.col)), shape=skin.shape)
    return skin.astype(np.float32)


def follow_margin(share: Array, crease: Array, rooted: Array) -> Array:
    """[N]: the lashes' share of pixels that have `share` of them by place, where a crease's place gives it `crease`.

    All of it for so much of what lies below the crease as is `rooted`: lashes do not stretch.
    """
    below = CREASE_FOLLOWS + (1 - CREASE_FOLLOWS) * np.minimum((share - crease) / ((1 - crease) * (1 - rooted)), 1)
    return np.where(share > crease, below, CREASE_FOLLOWS * share / crease)
