"""Gaussians to a picture: `rasterize` is differentiable, `render_frame` is the same picture for animation.

CPU tensors are drawn by our own kernels, CUDA tensors by gsplat; both keep gsplat 1.5.3's constants. The kernels run on
numba's threads: set GOMP_SPINCOUNT (0) before torch is imported, or idle OpenMP threads spin and double the time of
a frame. Where the threading layer cannot be entered twice, a lock keeps one picture at a time in the kernels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from mggdub.compiled import THREADS_MAY_MEET
from mggdub.renderer import kernels, projection
from mggdub.types import Array, Camera, Gaussians, Rendering

_ONE_AT_A_TIME = Lock()
_NO_PLACES: Array = np.empty((0, 2), np.float32)


@dataclass(frozen=True, eq=False)
class _Splats:
    """Gaussians of one picture after projection, sorting and binning. M drawn, P pairs of a tile and a Gaussian."""

    rows: Array  # [N * 16] float32
    order: Array  # [N] int32, the first M from near to far
    drawn: int  # M
    listed: Array  # [P] int32
    ends: Array  # [tiles + 1] int32
    across: int  # tiles


def rasterize(gaussians: Gaussians, camera: Camera, *, backend: str | None = None) -> Rendering:
    """Splat Gaussians; gradients of colours, alphas and depths reach every field.

    backend is "numba" or "gsplat", by default what the tensors' device can use. Pixel centres are at .5. Gaussians that
    are behind the camera, fainter than 1/255 or not finite are not drawn and get zero gradients. The same values give
    the same bytes on the same machine, whatever the number of threads. Raises ValueError for an unknown backend.
    """
    chosen = backend or ("gsplat" if gaussians.means.is_cuda else "numba")
    if chosen == "gsplat":
        from mggdub.renderer.gsplat import rasterize_gsplat

        return rasterize_gsplat(gaussians, camera)
    if chosen != "numba":
        raise ValueError(f"backend is {chosen!r}, expected 'numba' or 'gsplat'")
    g = gaussians
    fields = (t.to("cpu", torch.float32).contiguous() for t in (g.means, g.quats, g.scales, g.opacities, g.colors))
    return Rendering(*_Rasterize.apply(*fields, camera))


def render_frame(gaussians: Gaussians, camera: Camera) -> tuple[Array, Array]:
    """The picture without depth and gradients: premultiplied colours [H, W, 3] and alphas [H, W], float32.

    Drawn where the tensors are; on the CPU by the same kernels as `rasterize`.
    """
    if gaussians.means.is_cuda:
        drawn = rasterize(gaussians, camera)
        return drawn.colors.cpu().numpy(), drawn.alphas.cpu().numpy()
    fields = [_ready(field) for field in gaussians.arrays]
    with _entered():
        picture = _draw(_splats(fields, camera), camera, kernels.FLAT_CHANNELS)
    return picture[..., :3], picture[..., 3]


def render_placed(gaussians: Gaussians, places: Array, camera: Camera) -> Array:
    """What `render_frame` draws, and where in the photo it was: [H, W, 8] float32.

    places [N, 2] px of the drawn photo, NaN for splats that show nothing of it. Channels: premultiplied red, green,
    blue; then, weighed as colours are, 1 for splats with a place, how far right and down it lies from where the splat
    is drawn (px), the square of that distance; alpha. Where one surface covers a pixel the distances are alike, and
    their mean hardly depends on the order of the splats. On the CPU a splat that leaves less than `kernels.CLOSED` of
    the light takes all that is left, since nobody sees what lies behind it.
    """
    if gaussians.means.is_cuda:
        from mggdub.renderer.gsplat import render_placed_gsplat

        return render_placed_gsplat(gaussians, places, camera)
    fields = [_ready(field) for field in gaussians.arrays]
    with _entered():
        return _draw(_splats(fields, camera, _ready(places)), camera, kernels.PLACED_CHANNELS)


def _entered() -> AbstractContextManager[object]:
    return nullcontext() if THREADS_MAY_MEET else _ONE_AT_A_TIME


def _ready(array: Array) -> Array:
    return np.require(array, np.float32, ["C", "W"])  # a read-only array is another type to numba: a recompile


def _camera_row(camera: Camera) -> Array:
    K, view = camera.K, camera.viewmat
    return np.concatenate([[K[0, 0], K[1, 1], K[0, 2], K[1, 2]], view[:3, :3].ravel(), view[:3, 3]]).astype(np.float32)


def _splats(fields: list[Array], camera: Camera, places: Array = _NO_PLACES) -> _Splats:
    count, width, height = len(fields[0]), camera.width, camera.height
    across, down = -(-width // projection.TILE), -(-height // projection.TILE)
    rows, keys = np.empty(count * projection.ROW, np.float32), np.empty(count, np.float32)
    order, ends = np.empty(count, np.int32), np.empty(across * down + 1, np.int32)
    spans = np.empty((count, 4), np.int16)
    projection.project(*fields, places, _camera_row(camera), width, height, rows, spans, keys)
    drawn = kernels.sort_by_depth(keys, order)
    listed = kernels.bin_tiles(spans, order, drawn, across, down, ends, numba.get_num_threads())
    return _Splats(rows, order, drawn, listed, ends, across)


def _draw(splats: _Splats, camera: Camera, channels: int) -> Array:
    """[H, W, channels] float32 of `kernels.blend`."""
    height, width = camera.height, camera.width
    drawn = np.empty((height, width, channels), np.float32)
    kernels.blend(splats.rows, splats.listed, splats.ends, splats.across, width, height, drawn, numba.get_num_threads())
    return drawn


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, camera = inputs
        with _entered():
            splats = _splats([_ready(t.detach().numpy()) for t in tensors], camera)
            drawn = torch.from_numpy(_draw(splats, camera, kernels.DEEP_CHANNELS))
        pictures = [drawn[..., :3].contiguous(), drawn[..., 4].contiguous(), drawn[..., 3].contiguous()]
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*tensors[:3], *pictures)
            ctx.splats, ctx.camera = splats, camera
        return tuple(pictures)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        means, quats, scales, *pictures = (_ready(t.detach().numpy()) for t in ctx.saved_tensors)
        splats, camera, count = ctx.splats, ctx.camera, len(means)
        width, height = camera.width, camera.height
        incoming = [_ready(g.contiguous().numpy()) for g in gradients]
        slots = np.empty((len(splats.listed), projection.SUMS), np.float32)
        out = [np.zeros((count, *shape), np.float32) for shape in ((3,), (4,), (3,), (), (3,))]
        threads = numba.get_num_threads()
        with _entered():
            kernels.blend_backward(
                splats.rows,
                splats.listed,
                splats.ends,
                splats.across,
                width,
                height,
                *pictures,
                *incoming,
                slots,
                threads,
            )
            projection.project_backward(
                means, quats, scales, _camera_row(camera), width, height,
                splats.order, splats.rows, splats.listed, slots, splats.drawn, *out,
                any(ctx.needs_input_grad[:2]), threads,
            )  # fmt: skip
        return *(torch.from_numpy(array) for array in out), None
