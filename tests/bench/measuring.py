"""What both benchmarks measure with. It needs no face finder and no ffmpeg."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mggdub.errors import MggdubError
from mggdub.models import choose_device
from mggdub.renderer.rasterize import rasterize, render_frame, render_placed
from mggdub.types import Array, Camera, Gaussians

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PARITY = 2 / 255


def on_cuda(gaussians: Gaussians, camera: Camera, repeats: int = 50, device: str = "cuda") -> dict[str, Any] | str:
    """gsplat's fps and the largest difference of its picture from the CPU's, or why there are none."""
    try:
        choose_device(device)
    except MggdubError as error:
        return f"gsplat was not measured: {error}"
    there = gaussians.to(device)

    def draw() -> torch.Tensor:
        with torch.no_grad():
            drawn = rasterize(there, camera).colors
        finish(device)
        return drawn

    seconds = median(draw, repeats)
    apart = float(np.abs(draw().cpu().numpy() - frame_of(gaussians, camera)).max())
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "size": [camera.width, camera.height],
        "gaussians": len(gaussians),
        "fps": round(1 / seconds, 1),
        "from_cpu": round(apart, 5),
        "parity": apart <= PARITY,
    }


def finish(device: str) -> None:
    """Wait until a device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_product() -> float:
    """Milliseconds of a 1024 x 1024 float32 matrix product in numpy, median of nine."""
    a = np.random.default_rng(0).random((1024, 1024), np.float32)
    return round(1e3 * median(lambda: a @ a, 9), 2)


def median(call: Callable[[], Any], repeats: int) -> float:
    """Seconds, after one call that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def step(gaussians: Gaussians, camera: Camera) -> Gaussians:
    """The gradients of every field of Gaussians, where they are, in a step of a fit."""
    leaves = Gaussians(*(field.clone().requires_grad_() for field in fields_of(gaussians)))
    rasterize(leaves, camera).colors.square().sum().backward()
    return Gaussians(*(field.grad for field in fields_of(leaves)))  # type: ignore[arg-type]


def fields_of(gaussians: Gaussians) -> tuple[torch.Tensor, ...]:
    g = gaussians
    return g.means, g.quats, g.scales, g.opacities, g.colors


def frame_of(gaussians: Gaussians, camera: Camera) -> Array:
    return render_frame(gaussians, camera)[0]


def kernels_on_card(places: Array, camera: Camera) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Our kernels in place of `gsplat.placed_splatter`, for splats on the CPU whose places are [N, 2]."""

    def draw(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, carried: Tensor) -> Tensor:
        heads = zip(means, quats, scales, opacities, carried[..., :3], strict=True)
        gaussians = (Gaussians(*(field.contiguous() for field in head)) for head in heads)
        return torch.stack([torch.from_numpy(render_placed(head, places, camera)) for head in gaussians])

    return draw
