"""The same pictures by gsplat (1.5.3) on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mggdub.errors import UsageError
from mggdub.renderer.projection import ALPHA_MIN, BLUR, NEAR
from mggdub.types import Array, Camera, Gaussians, Rendering


def rasterize_gsplat(gaussians: Gaussians, camera: Camera) -> Rendering:
    """Splat Gaussians that live on a CUDA device. Raises UsageError without gsplat or with tensors elsewhere."""
    drawn = _drawn(gaussians)
    picture, alphas = _splat(gaussians, gaussians.colors, drawn, camera, "RGB+D")
    return Rendering(picture[..., :3], alphas, picture[..., 3])


def render_placed_gsplat(gaussians: Gaussians, places: Array, camera: Camera) -> Array:
    """`rasterize.render_placed` of Gaussians on a CUDA device. Raises UsageError as `rasterize_gsplat`."""
    g, device = gaussians, gaussians.means.device
    drawn = _drawn(g)
    K, view = (torch.from_numpy(x).to(device) for x in (camera.K, camera.viewmat))
    at = g.means @ view[:3, :3].T + view[:3, 3]
    pixels = at[:, :2] / at[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    away = torch.from_numpy(places).to(device) - pixels
    has = away.isfinite().all(1, keepdim=True)
    away = torch.where(has, away, torch.zeros_like(away))
    carried = torch.cat([g.colors, has.float(), away, away.square().sum(1, keepdim=True)], 1)
    with torch.no_grad():
        picture, alphas = _splat(g, carried, drawn & carried.isfinite().all(1), camera, "RGB")
    return torch.cat([picture, alphas[..., None]], -1).cpu().numpy()


def placed_splatter(camera: Camera, device: str) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """What draws B heads at once and leaves the pictures on the card.

    Of means [B, N, 3], quats [B, N, 4], scales [B, N, 3], opacities [B, N] and what splats carry [B, N, 8]: colours,
    what `rasterize.render_placed` says of places, 1; it returns its channels [B, H, W, 8]. All fields have to be
    finite. Raises UsageError as `rasterize_gsplat`.
    """
    rasterization = _rasterization(device == "cuda")
    view, K = (torch.from_numpy(x).to(device)[None, None] for x in (camera.viewmat, camera.K))

    def draw(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, carried: Tensor) -> Tensor:
        count = len(means)
        views, Ks = view.expand(count, -1, -1, -1).contiguous(), K.expand(count, -1, -1, -1).contiguous()
        fields = (means, quats, scales, opacities, carried, views, Ks, camera.width, camera.height)
        picture: Tensor = rasterization(*fields, near_plane=NEAR, eps2d=BLUR, packed=False, render_mode="RGB")[0]
        return picture[:, 0]

    return draw


def _rasterization(on_card: bool) -> Any:
    """gsplat's function. Raises UsageError without it or a CUDA device."""
    if not on_card:
        raise UsageError("The gsplat renderer needs a CUDA device; use --device cpu.")
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise UsageError("gsplat is not installed; pip install 'mggdub[cuda]' or use --device cpu.") from error
    return rasterization


def _drawn(g: Gaussians) -> Tensor:
    """[N] bool: what our own kernels would draw."""
    fields = torch.cat([g.means, g.quats, g.scales, g.opacities[:, None], g.colors], 1)
    return fields.isfinite().all(1) & (g.opacities >= ALPHA_MIN) & (g.quats.norm(dim=1) > 0)


def _splat(g: Gaussians, carried: Tensor, drawn: Tensor, camera: Camera, mode: str) -> tuple[Tensor, Tensor]:
    """What carried [N, C] sums up to [H, W, C], with depth if `mode` says so, and alphas [H, W]."""
    rasterization = _rasterization(g.means.is_cuda)
    means, quats, scales, opacities, colors = (t[drawn] for t in (g.means, g.quats, g.scales, g.opacities, carried))
    if not len(means):
        empty = g.means.new_zeros((camera.height, camera.width))
        return empty[..., None].expand(-1, -1, carried.shape[1] + mode.endswith("+D")), empty
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
        render_mode=mode,
        rasterize_mode="classic",
    )
    return picture[0], alphas[0, ..., 0]
