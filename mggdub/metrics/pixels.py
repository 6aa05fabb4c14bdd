"""Numbers read off pixels. Pictures are [H, W, 3] uint8 sRGB, or their floats in 0..1 where it says so."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from mggdub.types import LUMA, Array

MOST_DB = 100.0  # PSNR of equal pictures
TAPS, SIGMA = 11, 1.5  # SSIM's window
C1, C2 = 0.01**2, 0.03**2


def evenly(count: int, total: int) -> frozenset[int]:
    """Numbers of `count` frames, in the middles of equal parts of `total`."""
    return frozenset(((np.arange(count) + 0.5) * total / max(count, 1)).astype(int).tolist())


def psnr(a: Array, b: Array, weight: Array | None = None) -> float:
    """dB of two uint8 pictures, -10 log10 of the mean square error in 0..1, at most MOST_DB; `weight` [H, W] 0..1."""
    error = ((a.astype(np.float64) - b) / 255) ** 2
    mean = error.mean() if weight is None else (error.mean(-1) * weight).sum() / max(weight.sum(), 1e-6)
    return float(min(-10 * np.log10(max(mean, 1e-30)), MOST_DB))


def ssim(a: Array, b: Array) -> float:
    """Of two pictures [H, W, 3] uint8: Gaussian window of 11 taps, sigma 1.5, whole windows only, mean of channels.

    Wang et al., 2004.
    """
    x, y = (torch.tensor(np.ascontiguousarray(p)).permute(2, 0, 1)[:, None].float() / 255 for p in (a, b))
    taps = torch.exp(-((torch.arange(TAPS).float() - TAPS // 2) ** 2) / (2 * SIGMA**2))
    taps /= taps.sum()

    def local(image: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(image, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))

    return float(ssim_of_moments(*local(torch.cat([x, y, x * x, y * y, x * y])).split(3)).mean())


def ssim_of_moments(mx: Tensor, my: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """[...]: SSIM of pictures in 0..1 at every place, from the local means of x, y, x², y² and xy."""
    numerator = (2 * mx * my + C1) * (2 * (xy - mx * my) + C2)
    return numerator / ((mx**2 + my**2 + C1) * (xx - mx**2 + yy - my**2 + C2))


def grey(picture: Array) -> Array:
    """[H, W] float64, luma 0..255."""
    return picture @ np.array(LUMA)


def sharpness(picture: Array) -> float:
    """Variance of the Laplacian of the luma of a picture [H, W, 3] uint8.

    It is smoothed by one pixel, or else a codec's rounding would count, too.
    """
    return float(ndimage.gaussian_laplace(grey(picture), 1.0).var())


def contour_gradient(picture: Array, matte: Array) -> float:
    """Mean gradient of the luma in the soft edge of a matte [H, W]; NaN if it has none. `picture` may be its luma."""
    edge = np.abs(matte - 0.5) < 0.4
    if not edge.any():
        return float("nan")
    luma = ndimage.gaussian_filter(picture if picture.ndim == 2 else grey(picture), 1.0)
    return float(np.hypot(*np.gradient(luma))[edge].mean())


def frechet_distance(a: Array, b: Array) -> float:
    """|m1 - m2|² + Tr(S1 + S2 - 2 (S1 S2)^½) of two sets of features [n, F] and [m, F], n and m at least 2."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(max(gap + np.trace(first) + np.trace(second) - 2 * shared, 0.0))
