"""What the photo does not show: the inside of a closed mouth and the skin of raised eyelids.

Both are layers of points behind or upon the skin, placed on the person's own mesh and coloured from the photo's own
light (the white of the eye tells how bright teeth are). Dimensions are those of average adult teeth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mggdub.models.deform import CHIN, INNER_LIPS, follow
from mggdub.types import LANDMARKS, Array

STEP = 0.05  # cm between the points of a layer
UPPER_TEETH = (0.86, 0.66, 0.76, 0.70, 0.70)  # cm, widths from the middle outwards
LOWER_TEETH = (0.54, 0.60, 0.70, 0.70, 0.70)
UPPER_LASHES = {
    "Right": ((33, 246, 161, 160, 159, 158, 157, 173, 133), (130, 247, 30, 29, 27, 28, 56, 190, 243)),
    "Left": ((263, 466, 388, 387, 386, 385, 384, 398, 362), (359, 467, 260, 259, 257, 258, 286, 414, 463)),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """Points that are not pixels of the photo. N points in head space at the photo's own expression."""

    means: Array  # [N, 3] float32, cm
    colors: Array  # [N, 3] float32, 0..1
    radius: Array  # [N] float32, cm, standard deviation of the splats
    skin: sparse.csr_matrix  # [N, 478]


def join(layers: list[Layer]) -> Layer:
    """One layer of several."""
    return Layer(
        np.concatenate([layer.means for layer in layers]).astype(np.float32),
        np.concatenate([layer.colors for layer in layers]).astype(np.float32),
        np.concatenate([layer.radius for layer in layers]).astype(np.float32),
        sparse.vstack([layer.skin for layer in layers], format="csr"),
    )


def mouth_interior(mesh: Array, to_rest: Array, lips_z: float, white: Array, skin: Array) -> Layer:
    """Teeth, tongue and the dark behind them.

    mesh [478, 3] at the photo's expression; to_rest [478, 3] takes it to closed lips; lips_z cm, the deepest point of
    the lips' surface; white [3] colour of lit teeth, skin [3] colour of lit skin.
    """
    rest = mesh + to_rest
    middle = rest[list(INNER_LIPS)].mean(0)
    half = float(np.ptp(rest[list(INNER_LIPS), 0]) / 2)
    jaw = -to_rest[list(CHIN)].mean(0)  # the photo's jaw against the resting one
    width = max(half * 0.95, 1.8)
    upper = _teeth(UPPER_TEETH, width, 0.95, white, edge_up=False)
    lower = _teeth(LOWER_TEETH, width * 0.9, 0.75, white * 0.86, edge_up=True)
    upper.means[:] += (middle[0], middle[1] + 0.12, lips_z + 0.35)
    lower.means[:] += (middle[0], middle[1] + 0.20, lips_z + 0.60)
    lower.means[:] += jaw
    tongue = _tongue(width * 0.8, skin)
    tongue.means[:] += (middle[0], middle[1] + 0.75, lips_z + 1.0)
    tongue.means[:] += jaw
    cave = _sheet(half + 0.4, 1.2, 3.5, 0.12)
    dark = skin * np.array([0.20, 0.11, 0.11], np.float32)
    cavity = Layer(
        cave + np.array([middle[0], middle[1], lips_z + 2.2], np.float32),
        np.repeat(dark[None], len(cave), 0),
        np.full(len(cave), 0.12, np.float32),
        follow(len(cave), ()),
    )
    return join([upper, lower, tongue, cavity])


def _sheet(half_width: float, up: float, down: float, step: float) -> Array:
    x, y = np.meshgrid(np.arange(-half_width, half_width + step, step), np.arange(-up, down + step, step))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1).astype(np.float32)


def _teeth(widths: tuple[float, ...], half: float, height: float, white: Array, *, edge_up: bool) -> Layer:
    """A row of teeth; y = 0 is the biting edge, z = 0 the front of the middle ones."""
    points = _sheet(half, 0.0 if edge_up else height, height if edge_up else 0.0, STEP)
    arc = np.abs(points[:, 0]) * (1 + 0.06 * points[:, 0] ** 2)  # along the dental arch
    ends = np.cumsum(widths)
    tooth = np.clip(np.searchsorted(ends, arc), 0, len(widths) - 1)
    centre = ends[tooth] - np.array(widths)[tooth] / 2
    across = np.clip((arc - centre) / (np.array(widths)[tooth] / 2), -1, 1)  # -1..1 over one tooth
    from_edge = np.abs(points[:, 1]) - 0.05 * across**2 - np.where(tooth == 1, 0.05, 0.0)  # rounded, laterals shorter
    keep = from_edge >= 0
    light = 1 - 0.30 * np.exp(-(((1 - np.abs(across)) / 0.14) ** 2))  # the gaps between teeth
    light *= 1 - 0.65 * np.clip(np.abs(points[:, 0]) / 2.3, 0, 1) ** 1.6  # side teeth lie in shadow
    light *= 1 - 0.25 * np.clip(from_edge / height, 0, 1)  # and so does what the lips overhang
    colors = np.clip(white * light[:, None], 0, 1)
    points[:, 2] = 0.16 * points[:, 0] ** 2
    count = int(keep.sum())
    anchor = follow(count, CHIN) if edge_up else follow(count, ())
    return Layer(points[keep], colors[keep].astype(np.float32), np.full(count, 0.6 * STEP, np.float32), anchor)


def _tongue(half: float, skin: Array) -> Layer:
    points = _sheet(half, 0.0, 1.6, STEP * 1.6)
    keep = (points[:, 0] / half) ** 2 + ((points[:, 1] - 1.6) / 1.6) ** 2 < 1
    points = points[keep]
    points[:, 2] = 0.35 * (points[:, 0] / half) ** 2 - 0.25 * points[:, 1]
    shade = 0.62 * (1 - 0.35 * (points[:, 0] / half) ** 2) * (1 - 0.2 * np.exp(-((points[:, 0] / 0.12) ** 2)))
    colors = np.clip(skin * np.array([1.0, 0.62, 0.62]) * shade[:, None], 0, 1)
    radius = np.full(len(points), STEP, np.float32)
    return Layer(points, colors.astype(np.float32), radius, follow(len(points), CHIN))


def eyelid(side: str, mesh: Array, lift: Array, colour: Array) -> tuple[Layer, Array]:
    """The upper lid of one eye ('Left' or 'Right'), folded above the eye in the photo.

    mesh [478, 3]; lift [478] cm, what to add to the mesh's z to lie on the photo's surface; colour is a function's
    worth of samples: [478, 3] colours of the photo around each vertex. Returns the layer and, for each point, where it
    lies on the lid: 0 at the lashes, 1 at the fold.
    """
    lashes, fold = (np.array(ring) for ring in UPPER_LASHES[side])
    along, up = np.meshgrid(np.linspace(0, len(lashes) - 1.001, 64), np.linspace(0, 0.7, 22))
    along, up = along.ravel(), up.ravel()
    first = along.astype(int)
    t = along - first
    corners = np.stack([lashes[first], lashes[first + 1], fold[first], fold[first + 1]], 1)  # [N, 4]
    share = np.stack([(1 - t) * (1 - up), t * (1 - up), (1 - t) * up, t * up], 1).astype(np.float32)
    surface = mesh + np.stack([np.zeros(LANDMARKS), np.zeros(LANDMARKS), lift], 1)
    means = np.einsum("nk,nkc->nc", share, surface[corners])
    high = np.stack([(1 - t) * (1 - np.maximum(up, 0.8)), t * (1 - np.maximum(up, 0.8))], 1)
    high = np.concatenate([high, np.stack([(1 - t), t], 1) * np.maximum(up, 0.8)[:, None]], 1)
    colors = np.einsum("nk,nkc->nc", high, colour[corners])
    colors *= (1 - 0.55 * np.exp(-((up / 0.06) ** 2)))[:, None]  # the lashes' line
    rows = np.repeat(np.arange(len(along)), 4)
    skin = sparse.csr_matrix((share.ravel(), (rows, corners.ravel())), shape=(len(along), LANDMARKS))
    radius = np.full(len(along), 0.045, np.float32)
    return Layer(means.astype(np.float32), colors.astype(np.float32), radius, skin), up.astype(np.float32)
