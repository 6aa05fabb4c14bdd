"""The upper lids, folded above the eyes in the photo."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from mggdub.avatar.values import SOLID, PointLayer
from mggdub.face.mesh import UNDER_EYES, UPPER_LIDS
from mggdub.geometry.sampling import sample_crop
from mggdub.types import LANDMARKS, Array, Portrait

LID_LIGHT = 0.87  # of the skin under the eye: a fold in shadow or a low brow says little of the lid
LID_TINT = 0.3  # of the fold's own tint, which lashes make grey
LID_GRID = (64, 22)  # points along the lashes and up to the fold
LID_REACH = 1.2  # of the way from the lashes to the fold
LID_SOLID = 0.5  # of that way, above which the lid thins out, so that the fold shows through
LID_RADIUS = 0.045  # cm
LID_FORWARD = 0.15  # cm towards the viewer: over the photo's own lid, whose fold would streak


def upper_lid(side: str, mesh: Array, lift: Array, colors: Array) -> PointLayer:
    """The upper lid of the 'Left' or 'Right' eye, folded above it in the photo; it unfolds as the lashes go down.

    mesh [478, 3]; lift [478] cm, what to add to the mesh's z to lie on the photo's surface; colors [478, 3], the photo
    around each vertex. Lashes darken the lower edge; the skin is as bright as the fold or, where that is darker, as the
    skin under the eye, whose tint it mostly has.
    """
    lashes, fold = (np.array(ring) for ring in UPPER_LIDS[side])
    grid = np.meshgrid(np.linspace(0, len(lashes) - 1.001, LID_GRID[0]), np.linspace(0, LID_REACH, LID_GRID[1]))
    along, up = (x.ravel() for x in grid)
    first = along.astype(int)
    corners = np.stack([lashes[first], lashes[first + 1], fold[first], fold[first + 1]], 1)  # [N, 4]

    def shares(height: Array) -> Array:
        t = along - first
        return np.stack([(1 - t) * (1 - height), t * (1 - height), (1 - t) * height, t * height], 1)

    surface = mesh + np.stack([np.zeros(LANDMARKS), np.zeros(LANDMARKS), lift - LID_FORWARD], 1)
    under = colors[list(UNDER_EYES[side])].mean(0)
    bright = np.maximum(colors.mean(1) / max(under.mean(), 1e-3), LID_LIGHT)[:, None]  # of the skin under the eye
    colors = np.clip(LID_TINT * np.maximum(colors, LID_LIGHT * under) + (1 - LID_TINT) * bright * under, 0, 1)
    thin = np.clip((LID_REACH - up) / (LID_REACH - LID_SOLID), 0, 1)
    shade = 1 - 0.5 * np.exp(-((up / 0.06) ** 2))
    rows = np.repeat(np.arange(len(along)), 4)
    return PointLayer(
        np.einsum("nk,nkc->nc", shares(up), surface[corners]).astype(np.float32),
        (np.einsum("nk,nkc->nc", shares(np.full(len(up), 1.0)), colors[corners]) * shade[:, None]).astype(np.float32),
        np.full(len(along), LID_RADIUS, np.float32),
        sparse.csr_matrix((shares(up).ravel(), (rows, corners.ravel())), shape=(len(along), LANDMARKS)),
        np.ones(len(along), np.float32),
        (SOLID * thin**3).astype(np.float32),  # several lie over each other
    )


def eyelid_layers(head: Portrait, mesh: Array, on_surface: Array) -> tuple[PointLayer, PointLayer]:
    """The left and the right upper lid; on_surface [478, 3] cm, where the landmarks lie on the photo's surface."""
    smooth = ndimage.gaussian_filter(head.image.astype(np.float32) / 255, (2, 2, 0))
    lift = on_surface[:, 2] - mesh[:, 2]
    around = sample_crop(smooth, head.landmarks[:, :2])
    return upper_lid("Left", mesh, lift, around), upper_lid("Right", mesh, lift, around)
