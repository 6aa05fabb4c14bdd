"""The coarse surface: bilateral normal integration with a depth prior (BiNI, Cao et al., ECCV 2022).

Written from the paper's formulas. Along a row of pixels a surface d = exp(z) with unit normal n (camera axes)
obeys ñ ∂z/∂column = -n_x with ñ = (column - c_x) n_x + (row - c_y) n_y + f n_z, and likewise down the rows.
Each pixel has such an equation towards either neighbour, and a sigmoid weighs the two against each other, so
that it lets go of the side where the surface breaks: the nose keeps its edge before the cheek.
"""

from __future__ import annotations

import numpy as np

from mggdub.compiled import compiled
from mggdub.geometry.rotation import matrix_to_quat
from mggdub.types import Array, Camera

STEEPEST = 4.0  # slope of a patch; more is an edge behind which something else begins
THICKNESS = 0.7  # of a pixel
MOST_ROUNDS, SETTLED = 30, 1e-3  # of weighing the equations anew; share of the energy that a last one changes
MOST_STEPS, SOLVED = 300, 1e-2  # of conjugate gradients; share of the error that is left
PRIOR_WEIGHT = 3e-2  # against one squared pixel of slope; chosen on held-out synthetic heads


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
    near = _neighbours(mask)
    y, energy = prior.copy(), np.inf
    for _ in range(MOST_ROUNDS):
        strength, force, diagonal, now = _system(near, np.ascontiguousarray(n[:, :2]), across, y, k)
        force += prior_weight * (prior - y)
        now += prior_weight * float(np.square(prior - y).sum())
        if abs(energy - now) < SETTLED * now:
            break
        energy = now
        y = y + _solve(near, strength, diagonal + prior_weight, force)
    depth = prior_depth.astype(np.float32).copy()
    depth[rows, columns] = np.exp(y / focal)
    return depth


def _neighbours(mask: Array) -> Array:
    """[4, N] int32: the pixels of a mask to the right of each of its N pixels, below, to the left and above; else N."""
    count = int(mask.sum())
    index = np.full(tuple(side + 2 for side in mask.shape), count, np.int32)  # the solver waits for memory
    index[1:-1, 1:-1][mask] = np.arange(count)
    around = (index[1:-1, 2:], index[2:, 1:-1], index[1:-1, :-2], index[:-2, 1:-1])
    return np.stack([beside[mask] for beside in around])


@compiled()
def _system(near, slopes, across, y, k):  # type: ignore[no-untyped-def]
    """The weighted equations at y: what binds each pixel to those `near` [4, N] on its right and below it [2, N + 1],
    the right side [N] for the step, the matrix's diagonal [N], the energy.
    """
    count = len(y)
    strength, force, diagonal = np.zeros((2, count + 1)), np.zeros(count), np.zeros(count)
    ahead, behind, energy = np.empty(count), np.empty(count), 0.0
    for axis in range(2):
        ahead[:], behind[:] = np.inf, np.inf  # a missing neighbour is a break
        for i in range(count):
            j = np.int64(near[axis, i])
            if j < count:
                rise = y[j] - y[i]
                ahead[i], behind[j] = (across[i] * rise) ** 2, (across[j] * rise) ** 2
        for i in range(count):  # the share of the equation ahead, of the two along this axis
            apart = k * (behind[i] - ahead[i])
            ahead[i] = 0.5 if np.isnan(apart) else 1 / (1 + np.exp(-apart))
        for i in range(count):
            j = np.int64(near[axis, i])
            if j < count:
                rise, pull = y[j] - y[i], 0.0
                for end, weight in ((i, ahead[i]), (j, 1 - ahead[j])):
                    error = -slopes[end, axis] - across[end] * rise
                    pull += weight * across[end] * error
                    strength[axis, i] += weight * across[end] ** 2
                    energy += weight * error**2
                force[j] += pull
                force[i] -= pull
                diagonal[j] += strength[axis, i]
                diagonal[i] += strength[axis, i]
    return strength, force, diagonal, energy


@compiled()
def _solve(near, strength, diagonal, force):  # type: ignore[no-untyped-def]
    """Conjugate gradients, scaled by the diagonal."""
    count, scale = len(force), 1 / diagonal
    solution, rest, change = np.zeros(count), force.copy(), np.empty(count)
    towards = np.zeros(count + 1)  # the last one stands for neighbours that are not there
    enough, before = SOLVED**2 * _dot(force, force), 1.0
    for _ in range(MOST_STEPS):
        if _dot(rest, rest) <= enough:
            break
        now = _scaled_dot(scale, rest)
        for i in range(count):
            towards[i] = scale[i] * rest[i] + now / before * towards[i]
        for i in range(count):
            right, below = strength[0, i] * towards[near[0, i]], strength[1, i] * towards[near[1, i]]
            j, k = near[2, i], near[3, i]  # what binds them to this one is theirs
            left, above = strength[0, j] * towards[j], strength[1, k] * towards[k]
            change[i] = diagonal[i] * towards[i] - right - below - left - above
        length = now / _dot(towards[:count], change)
        for i in range(count):
            solution[i] += length * towards[i]
            rest[i] -= length * change[i]
        before = now
    return solution


@compiled(fastmath={"reassoc", "contract"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled(fastmath={"reassoc", "contract"})
def _scaled_dot(scale, a):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += scale[i] * a[i] * a[i]
    return total
