"""The coarse surface: bilateral normal integration with a depth prior (BiNI, Cao et al., ECCV 2022).

Written from the paper's formulas. Along a row of pixels a surface d = exp(z) with unit normal n (camera axes)
obeys ñ ∂z/∂column = -n_x with ñ = (column - c_x) n_x + (row - c_y) n_y + f n_z, and likewise down the rows.
Each pixel has such an equation towards either neighbour, and a sigmoid weighs the two against each other, so
that it lets go of the side where the surface breaks: the nose keeps its edge before the cheek.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit

from mggdub.geometry.rotation import matrix_to_quat
from mggdub.types import Array, Camera

STEEPEST = 4.0  # slope of a patch; more is an edge behind which something else begins
THICKNESS = 0.7  # of a pixel
PRIOR_WEIGHT = 3e-2  # against one squared pixel of slope; chosen on held-out synthetic heads


@dataclass(frozen=True, eq=False)
class _Links:
    """Pairs of neighbouring pixels along one axis, as indices into the mask's pixels."""

    first: Array  # [P] the left or upper one
    second: Array  # [P]
    slope: Array  # [N] what ñ ∂y must be


def surfels(pixels: Array, depth: Array, step: tuple[Array, Array], camera: Camera) -> tuple[Array, Array]:
    """How pixels lie on a surface: quaternions [N, 4] wxyz and sizes [N, 3] cm of one pixel's patch in head space.

    pixels [N, 2] px of the camera; depth [N] cm, its growth [N] per pixel to the right and down. From the camera
    a patch covers its pixel; seen from the side patches still touch. Axes 0 and 1 lie in the surface.
    """
    focal = float(camera.K[0, 0])
    side = depth / focal  # cm of a pixel
    ray = np.concatenate([(pixels - camera.K[:2, 2]) / focal, np.ones((len(pixels), 1))], 1)
    across, down = (
        np.clip(grown, -STEEPEST * side, STEEPEST * side)[:, None] * ray + side[:, None] * np.eye(3)[axis]
        for axis, grown in enumerate(step)
    )
    longest = 0.5 * np.arctan2(2 * (across * down).sum(1), (across**2).sum(1) - (down**2).sum(1))[:, None]
    first = across * np.cos(longest) + down * np.sin(longest)
    second = down * np.cos(longest) - across * np.sin(longest)
    sizes = np.stack([np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1), THICKNESS * side], 1)
    axes = np.stack([first / sizes[:, :1], second / sizes[:, 1:2]], 2)
    frame = np.concatenate([axes, np.cross(axes[..., 0], axes[..., 1])[..., None]], 2)
    return matrix_to_quat(camera.viewmat[:3, :3].T @ frame).astype(np.float32), sizes.astype(np.float32)


def integrate_normals(
    normals: Array,
    mask: Array,
    K: Array,
    prior_depth: Array,
    k: float = 2.0,
    prior_weight: float = PRIOR_WEIGHT,
    max_iterations: int = 30,
    tolerance: float = 1e-3,
) -> Array:
    """Depth [H, W] float32 cm whose normals are `normals`, near `prior_depth`; the prior itself outside the mask.

    normals [H, W, 3] unit, camera axes (OpenCV: towards the viewer is -z); mask [H, W] bool; K [3, 3] px;
    prior_depth [H, W] camera z in cm, positive. k is the sigmoid's steepness (0: smooth everywhere).
    """
    if not mask.any():
        return prior_depth.astype(np.float32)
    rows, columns = np.nonzero(mask)
    n = normals[rows, columns].astype(np.float64)  # [N, 3]
    focal = float(np.sqrt(K[0, 0] * K[1, 1]))
    across = ((columns + 0.5 - K[0, 2]) * n[:, 0] + (rows + 0.5 - K[1, 2]) * n[:, 1]) / focal + n[:, 2]  # ñ / f
    across = np.minimum(across, -0.02)  # a seen surface faces the viewer
    prior = focal * np.log(prior_depth[rows, columns].astype(np.float64))  # [N] px: y = f z
    links = _links(mask, n)
    y, energy = prior.copy(), np.inf
    for _ in range(max_iterations):
        matrix, force, now = _system(links, across, y, k)
        matrix = matrix + sparse.diags_array(np.full(len(y), prior_weight))
        force += prior_weight * (prior - y)
        now += prior_weight * float(np.square(prior - y).sum())
        if abs(energy - now) < tolerance * now:
            break
        energy = now
        y = y + _solve(matrix, force)
    depth = prior_depth.astype(np.float32).copy()
    depth[rows, columns] = np.exp(y / focal)
    return depth


def _solve(matrix: sparse.csr_array, force: Array, tolerance: float = 1e-2, most: int = 300) -> Array:
    """Conjugate gradients, scaled by the diagonal.

    Not scipy's: its products go to BLAS, whose threads wait for each other longer than they work on vectors this short
    (4 s on a busy machine) and whose number would change the bytes.
    """

    def dot(a: Array, b: Array) -> float:
        return float(np.einsum("i,i->", a, b))

    scale = 1 / matrix.diagonal()
    solution, rest = np.zeros_like(force), force.copy()
    enough = tolerance**2 * dot(force, force)
    towards, before = np.zeros_like(force), 1.0
    for _ in range(most):
        if dot(rest, rest) <= enough:
            break
        scaled = scale * rest
        now = dot(rest, scaled)
        towards = scaled + now / before * towards
        change = matrix @ towards
        length = now / dot(towards, change)
        solution += length * towards
        rest -= length * change
        before = now
    return solution


def _links(mask: Array, normals: Array) -> tuple[_Links, _Links]:
    index = np.full(mask.shape, -1)
    index[mask] = np.arange(len(normals))
    right, down = mask[:, :-1] & mask[:, 1:], mask[:-1] & mask[1:]
    return (
        _Links(index[:, :-1][right], index[:, 1:][right], -normals[:, 0]),
        _Links(index[:-1][down], index[1:][down], -normals[:, 1]),
    )


def _system(links: tuple[_Links, _Links], across: Array, y: Array, k: float) -> tuple[sparse.csr_array, Array, float]:
    """The weighted equations at y: matrix [N, N] and right side [N] for the step, and the energy."""
    count = len(y)
    force, diagonal, energy = np.zeros(count), np.zeros(count), 0.0
    entries = []
    for link in links:
        rise = y[link.second] - y[link.first]  # [P]
        ahead, behind = np.full(count, np.inf), np.full(count, np.inf)  # a missing neighbour is a break
        ahead[link.first] = np.square(across[link.first] * rise)
        behind[link.second] = np.square(across[link.second] * rise)
        with np.errstate(invalid="ignore"):
            weight_ahead = np.nan_to_num(expit(k * (behind - ahead)), nan=0.5)  # [N]
        pull, strength = np.zeros(len(rise)), np.zeros(len(rise))
        for end, weight in ((link.first, weight_ahead), (link.second, 1 - weight_ahead)):
            error = link.slope[end] - across[end] * rise
            pull += weight[end] * across[end] * error
            strength += weight[end] * np.square(across[end])
            energy += float((weight[end] * np.square(error)).sum())
        force += np.bincount(link.second, pull, count) - np.bincount(link.first, pull, count)
        diagonal += np.bincount(link.second, strength, count) + np.bincount(link.first, strength, count)
        entries.append((link.first, link.second, -strength))
    first, second, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    points = np.arange(count)
    places = (np.concatenate([first, second, points]), np.concatenate([second, first, points]))
    matrix = sparse.coo_array((np.concatenate([value, value, diagonal]), places), shape=(count, count)).tocsr()
    return matrix, force, energy
