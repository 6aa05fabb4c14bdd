"""The slow twin of the renderer: the same formulas in float64 torch, all Gaussians at all pixels, by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from mggdub.renderer.kernels import ALPHA_MAX, TRANSMITTANCE_MIN
from mggdub.renderer.projection import ALPHA_MIN, BLUR, CLAMP, NEAR
from mggdub.types import Camera, Gaussians, Rendering

ROWS = 8  # pixel rows at a time, or memory would be N * H * W


def rasterize_reference(gaussians: Gaussians, camera: Camera) -> Rendering:
    """Splat Gaussians in float64; differentiable in every field."""
    centers, conics, depths, drawn = project(gaussians, camera)
    near_first = torch.argsort(depths[drawn], stable=True)
    order = drawn.nonzero()[:, 0][near_first]
    centers, conics, depths = centers[order], conics[order], depths[order]
    opacities, colors = gaussians.opacities.double()[order], gaussians.colors.double()[order]
    bands = []
    for top in range(0, camera.height, ROWS):
        x = torch.arange(camera.width, dtype=torch.float64) + 0.5
        y = torch.arange(top, min(top + ROWS, camera.height), dtype=torch.float64) + 0.5
        pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # [h, W, 2]
        weights, alphas = splat(centers, conics, opacities, pixels)
        bands.append((torch.einsum("nhw,nc->hwc", weights, colors), alphas, torch.einsum("nhw,n->hw", weights, depths)))
    return Rendering(*(torch.cat(parts) for parts in zip(*bands, strict=True)))


def project(gaussians: Gaussians, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres [N, 2] px, inverse covariances [N, 3] px⁻² (xx, xy, yy), camera z [N] cm, which are drawn [N].

    The covariance is that of the projection linearised at the mean (Zwicker et al., EWA splatting, 2002).
    """
    K, view = torch.from_numpy(camera.K).double(), torch.from_numpy(camera.viewmat).double()
    means, scales = gaussians.means.double(), gaussians.scales.double()
    X, Y, Z = (means @ view[:3, :3].T + view[:3, 3]).unbind(1)
    centers = torch.stack([K[0, 0] * X / Z + K[0, 2], K[1, 1] * Y / Z + K[1, 2]], 1)
    limits = []
    for ratio, axis, size in ((X / Z, 0, camera.width), (Y / Z, 1, camera.height)):
        low = -(K[axis, 2] + CLAMP * size) / K[axis, axis]
        limits.append(ratio.clamp(low, (size - K[axis, 2] + CLAMP * size) / K[axis, axis]))
    zero = torch.zeros_like(Z)
    jacobian = torch.stack(
        [K[0, 0] / Z, zero, -K[0, 0] * limits[0] / Z, zero, K[1, 1] / Z, -K[1, 1] * limits[1] / Z], 1
    ).view(-1, 2, 3)
    half = jacobian @ view[:3, :3] @ rotation(gaussians.quats.double()) * scales[:, None]  # [N, 2, 3]
    covariance = half @ half.transpose(1, 2)
    xx, xy, yy = covariance[:, 0, 0] + BLUR, covariance[:, 0, 1], covariance[:, 1, 1] + BLUR
    conics = torch.stack([yy, -xy, xx], 1) / (xx * yy - xy * xy)[:, None]
    everything = torch.cat([centers, conics, Z[:, None], gaussians.opacities[:, None], gaussians.colors], 1)
    drawn = everything.isfinite().all(1) & (Z >= NEAR) & (gaussians.opacities >= ALPHA_MIN)
    return centers, conics, Z, drawn


def splat(centers: Tensor, conics: Tensor, opacities: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [N, h, w] of Gaussians from near to far at pixels [h, w, 2], and the alpha [h, w] that they add up to."""
    dx, dy = (pixels[None] - centers[:, None, None]).unbind(-1)
    xx, xy, yy = (conics[:, i, None, None] for i in range(3))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
    alpha = torch.where(alpha < ALPHA_MIN, 0.0, alpha.clamp(max=ALPHA_MAX))
    after = torch.cumprod(1 - alpha, 0)
    alpha = torch.where(after > TRANSMITTANCE_MIN, alpha, 0.0)  # a pixel ends before the one that would take it there
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha[:-1]]), 0)
    weights = alpha * before
    return weights, weights.sum(0)


def rotation(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions [N, 4] wxyz of any length."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, 1).view(-1, 3, 3)
