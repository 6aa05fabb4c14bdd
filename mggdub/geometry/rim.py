"""A surface near and beyond its outline, where it bends away from the viewer and its depth is known badly."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array

DEEP, ALONG = 1.0, 0.6  # cm inside the outline, and along it, where a surface is evened
BESIDE = (0.3, 1.0)  # cm beside an outline, and over which what goes on of a surface is evened there
REACH = 2.5  # standard deviations of a kernel


def even_rim(depth: Array, mask: Array, cm: float) -> Array:
    """[H, W]: a surface's depth [H, W], evened along the outline of its mask [H, W] bool; cm of a pixel.

    Where it bends away its depth is known badly, and what comes into view of it had an edge like a saw's. Each distance
    from the outline is evened by itself, so that the surface bends away as it did.
    """
    inside, even = distance_inside(mask), np.zeros_like(depth)
    for layer in range(1, int(DEEP / cm) + 2):
        near = np.clip(1 - np.abs(inside - layer), 0, 1)  # of all layers together 1
        weight, sum_ = (ndimage.gaussian_filter(of, ALONG / cm, truncate=REACH) for of in (near, near * depth))
        even += near * (sum_ / np.maximum(weight, 1e-6) - depth)
    share = smoothstep(2 * (1 - inside * cm / DEEP))
    return np.where(mask, depth + even * share, depth)


def beyond_outline(depth: Array, mask: Array, cm: float) -> Array:
    """[H, W]: how a surface's depth [H, W] goes on beyond its mask [H, W] bool, ever smoother; cm of a pixel."""
    away, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    whole = depth[tuple(nearest)]
    for width in BESIDE:
        evened = ndimage.gaussian_filter(whole, width / cm, truncate=REACH)
        whole = whole + (evened - whole) * smoothstep(away * cm / width - 1)
    return np.asarray(whole)


def no_steeper(depth: Array, mask: Array, place: Array, slope: float, reach: float) -> Array:
    """[H, W]: a surface's depth [H, W] that grows by `slope` a pixel at most, as far as `place` [H, W] 0..1 says.

    What is deeper than that behind anything of its mask [H, W] bool within `reach` px comes nearer.
    """
    nearer, steps = np.where(mask, depth, np.inf), slope * np.hypot(*np.mgrid[-1:2, -1:2])
    for _ in range(max(1, round(reach))):
        nearer = ndimage.grey_erosion(nearer, structure=-steps, mode="nearest")
    return np.asarray(depth + (np.minimum(nearer, depth) - depth) * place, depth.dtype)
