"""The same pictures by gsplat (1.5.3) on a CUDA device."""

from __future__ import annotations

import torch

from mggdub.errors import UsageError
from mggdub.renderer.kernels import ALPHA_MIN, BLUR, NEAR
from mggdub.types import Camera, Gaussians, Rendering


def rasterize_gsplat(gaussians: Gaussians, camera: Camera) -> Rendering:
    """Splat Gaussians that live on a CUDA device. Raises UsageError without gsplat or with tensors elsewhere."""
    if not gaussians.means.is_cuda:
        raise UsageError("The gsplat renderer needs a CUDA device; use --device cpu.")
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise UsageError("gsplat is not installed; pip install 'mggdub[cuda]' or use --device cpu.") from error
    g = gaussians
    fields = torch.cat([g.means, g.quats, g.scales, g.opacities[:, None], g.colors], 1)
    drawn = fields.isfinite().all(1) & (g.opacities >= ALPHA_MIN) & (g.quats.norm(dim=1) > 0)
    means, quats, scales, opacities, colors = (t[drawn] for t in (g.means, g.quats, g.scales, g.opacities, g.colors))
    if not len(means):
        empty = g.means.new_zeros((camera.height, camera.width))
        return Rendering(empty[..., None].expand(-1, -1, 3), empty, empty)
    device = g.means.device
    picture, alphas, _ = rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        torch.from_numpy(camera.viewmat).to(device)[None],
        torch.from_numpy(camera.K).to(device)[None],
        camera.width,
        camera.height,
        near_plane=NEAR,
        eps2d=BLUR,
        packed=False,  # one camera that sees nearly all: faster, and its gradients are summed in a fixed order
        render_mode="RGB+D",
        rasterize_mode="classic",
    )
    return Rendering(picture[0, ..., :3], alphas[0, ..., 0], picture[0, ..., 3])
