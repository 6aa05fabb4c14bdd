"""Gaussians to pictures: one signature over our CPU kernel and gsplat on CUDA.

Both follow gsplat 1.5.3's classic rasterisation: 0.3 px² blur on the projected covariance, alpha at most 0.999, alphas
below 1/255 skipped, blending front to back until the transmittance is below 1e-4, pixel centres at .5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mggdub.render import kernels
from mggdub.types import Array, Camera, Gaussians, Rendering


def rasterize(gaussians: Gaussians, camera: Camera) -> Rendering:
    """Draw Gaussians as the camera sees them; differentiable with respect to all five fields.

    CUDA tensors go through gsplat (extra `cuda`), others through the CPU kernel. Gaussians behind the camera, too faint
    or not finite are not drawn.
    """
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
    if gaussians.means.is_cuda:
        from mggdub.render.cuda import rasterize_cuda

        return rasterize_cuda(gaussians, camera)
    return Rendering(*_Rasterize.apply(*fields, camera))


def render_frame(
    means: Array, quats: Array, scales: Array, opacities: Array, colors: Array, camera: Camera
) -> tuple[Array, Array]:
    """The same for numpy arrays, without gradients: colors [H, W, 3] premultiplied, alphas [H, W], float32."""
    drawn = _draw([np.ascontiguousarray(a, np.float32) for a in (means, quats, scales, opacities, colors)], camera)
    return drawn.colors, drawn.alphas


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A picture and what the way back needs. M visible Gaussians, P pairs of Gaussian and tile."""

    colors: Array  # [H, W, 3]
    alphas: Array  # [H, W]
    depths: Array  # [H, W]
    order: Array  # [N] int32, the first M are visible, near to far
    rows: Array  # [M, 16]
    lists: Array  # [P] int32
    offsets: Array  # [tiles + 1]


def _lens(camera: Camera) -> tuple[Array, Array]:
    K = camera.K
    return camera.viewmat[:3].astype(np.float32), np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float32)


def _draw(fields: list[Array], camera: Camera) -> _Drawn:
    width, height, count = camera.width, camera.height, len(fields[0])
    across, down = -(-width // kernels.TILE), -(-height // kernels.TILE)
    buffers, offsets, threads = kernels.workspace(across * down)
    rows, keys = np.empty((count, kernels.ROW), np.float32), np.empty(count, np.float32)
    kernels.project(*fields, *_lens(camera), width, height, rows, keys)
    order = np.empty(count, np.int32)
    visible = kernels.sort_by_depth(keys, order)
    ordered = np.empty((visible, kernels.ROW), np.float32)
    lists = kernels.bin_tiles(visible, rows, order, ordered, across, across * down, threads, offsets)
    colors = np.empty((height, width, 3), np.float32)
    alphas, depths = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    kernels.blend(ordered.reshape(-1), lists, offsets, across, width, height, buffers, colors, alphas, depths)
    return _Drawn(colors, alphas, depths, order, ordered, lists, offsets)


class _Rasterize(torch.autograd.Function):
    """The CPU kernel for autograd."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        *tensors, camera = inputs
        fields = [t.detach().to(torch.float32).contiguous().numpy() for t in tensors]
        drawn = _draw(fields, camera)
        if any(ctx.needs_input_grad):
            ctx.fields, ctx.drawn, ctx.camera = fields, drawn, camera
        return torch.from_numpy(drawn.colors), torch.from_numpy(drawn.alphas), torch.from_numpy(drawn.depths)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        drawn, camera = ctx.drawn, ctx.camera
        means, quats, scales = ctx.fields[:3]
        g_colors, g_alphas, g_depths = (g.to(torch.float32).numpy() for g in gradients)
        incoming = np.concatenate([g_colors, g_depths[..., None], g_alphas[..., None]], 2)
        results = np.concatenate([drawn.colors, drawn.depths[..., None], drawn.alphas[..., None]], 2)
        across = -(-camera.width // kernels.TILE)
        threads = kernels.workspace(0)[2]
        buffers = np.empty(threads * kernels.TILE * 7 * kernels.PITCH + kernels.LANES, np.float32)
        sums = np.empty(threads * kernels.SUMS * kernels.LANES, np.float32)
        slots = np.empty((len(drawn.lists), kernels.SUMS), np.float32)
        kernels.gather(
            drawn.rows.reshape(-1), drawn.lists, drawn.offsets, across, camera.width, camera.height,
            results, incoming, buffers, sums, slots,
        )  # fmt: skip
        totals = np.zeros((len(drawn.rows), kernels.SUMS), np.float32)
        kernels.sum_slots(drawn.lists, slots, totals)
        back = [np.zeros_like(field) for field in ctx.fields]
        kernels.project_back(
            means, quats, scales, *_lens(camera), camera.width, camera.height,
            drawn.order, len(drawn.rows), drawn.rows, totals, *back,
        )  # fmt: skip
        return (*(torch.from_numpy(g) for g in back), None)
