"""Where the lower lids begin: the mesh's landmarks often lie on the white of the eye, which would rise with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.eyeballs import LIMBUS, RIM, Eye, eyes_of
from mggdub.face.mesh import LIDS
from mggdub.geometry.camera import cm_per_px
from mggdub.geometry.sampling import sample_crop
from mggdub.types import LANDMARKS, Array, Portrait

# Of each of `LIDS`, the vertices of the next ring below its lower one.
NEXT = ((341, 256, 252, 253, 254, 339, 255), (112, 26, 22, 23, 24, 110, 25))
FARTHEST = 0.2  # cm that a lid may begin below its landmarks
BEFORE_NEXT = 0.7  # of the way to the next ring, at most: the mesh must not fold
MOST_RAISED = 0.3  # of the upper lid's way, that a lower one goes up
STEPS = 21  # places at which a lid's edge is sought
ALONG = 8  # columns between two vertices
REDNESS, DARKNESS = 0.5, 0.65  # of the way from the white's to the skin's, and of the white's luma, that is white still
DISTINCT = 0.15  # of the redness, as a logarithm, by which skin differs from a white that can be told from it
LEAST_WHITE = 30  # samples
BLACK = 0.02  # of light, added before a logarithm


def find_lower_lids(head: Portrait) -> Portrait:
    """The portrait with its lower lids' landmarks moved down to where the white of the eye ends."""
    landmarks, px_cm, image = head.landmarks.copy(), cm_per_px(head.camera), head.image.astype(np.float32) / 255
    for eye, pairs, following in zip(eyes_of(head), LIDS, NEXT, strict=True):
        lower = [low for _, low in pairs]
        room = BEFORE_NEXT * (landmarks[list(following), 1] - landmarks[lower, 1])
        landmarks[lower, 1] += np.clip(_white_below(image, landmarks[lower, :2], eye, px_cm), 0, np.maximum(room, 0))
    return replace(head, landmarks=landmarks)


def cover_white(skin: sparse.csr_matrix, head: Portrait, found: Portrait) -> sparse.csr_matrix:
    """`skin_weights` [N, 478] of the photo's pixels, whose lower lids go up when the upper ones shut.

    By what `find_lower_lids` has moved them, in `found`: so lids meet where they did, at the landmarks.
    """
    lower, upper = np.array([pair[::-1] for pairs in LIDS for pair in pairs]).T
    below = found.landmarks[lower, 1] - head.landmarks[lower, 1]
    way = np.maximum(head.landmarks[lower, 1] - head.landmarks[upper, 1], 1e-3)
    share = np.minimum(below / way, MOST_RAISED)
    rises = sparse.csr_matrix((share.astype(np.float32), (lower, upper)), shape=(LANDMARKS, LANDMARKS))
    return (skin - skin @ rises).tocsr().astype(np.float32)


def _white_below(image: Array, margin: Array, eye: Eye, px_cm: float) -> Array:
    """[7] crop px that the white goes on below a lower lid's landmarks [7, 2]; image [512, 512, 3] 0..1."""
    count = (len(margin) - 1) * ALONG + 1
    at = np.linspace(0, len(margin) - 1, count)
    line = np.stack([np.interp(at, np.arange(len(margin)), margin[:, axis]) for axis in (0, 1)], 1)
    down = np.linspace(0, FARTHEST / px_cm, STEPS)
    white, skin = _white_of(image, eye, px_cm), sample_crop(image, eye.below).mean(0)[None]
    if len(white) < LEAST_WHITE or redness(skin)[0] - np.median(redness(white)) < DISTINCT:
        return np.zeros(len(margin))
    limit = (1 - REDNESS) * np.median(redness(white)) + REDNESS * redness(skin)[0]
    colors = sample_crop(image, line + down[:, None, None] * [0, 1])  # [STEPS, C, 3]
    pale = (redness(colors) < limit) & (colors.mean(-1) > DARKNESS * np.median(white.mean(-1)))
    reach = down[np.maximum(np.cumprod(pale, 0).sum(0) - 1, 0)]
    return ndimage.gaussian_filter1d(ndimage.median_filter(reach, ALONG + 1), ALONG / 2)[::ALONG]


def _white_of(image: Array, eye: Eye, px_cm: float) -> Array:
    """[N, 3]: colours of the white between the lids."""
    low, high = eye.opening.min(0), eye.opening.max(0)
    grid = np.stack(np.meshgrid(*(np.arange(a, b, 0.5) for a, b in zip(low, high, strict=True))), -1).reshape(-1, 2)
    white = (eye.from_edge(grid) * px_cm > RIM) & (eye.from_iris(grid) > LIMBUS[1])
    return sample_crop(image, grid[white])


def redness(colors: Array) -> Array:
    """[...]: red against blue of colours [..., 3], as a logarithm."""
    return np.asarray(np.log(colors[..., 0] + BLACK) - np.log(colors[..., 2] + BLACK))
