"""gsplat on a CUDA device against our kernels on the CPU: `python tests/bench/bench_cuda.py [--out FILE.json]`.

Parity of pictures (2/255) and gradients (1e-3), frames per second with everything on the card and of whole frames, and
steps of a fit per second on both. Exit code 1 if parity fails, 2 where there is no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import EXAMPLES, PARITY, head_filling, matrix_product

from mggdub.animation.compositor import Compositor, own_state
from mggdub.avatar import build
from mggdub.errors import MggdubError
from mggdub.media.image import read_image
from mggdub.models import choose_device, load_models
from mggdub.options import AvatarOptions
from mggdub.renderer.rasterize import rasterize, render_placed
from mggdub.types import Array, Camera, Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors")
GRADIENTS = 1e-3  # of the largest of a field


def per_second(call: Callable[[], Any], seconds: float = 2.0) -> float:
    """Calls a second, the device's work included, after three that do not count."""
    for _ in range(3):
        call()
    _finish()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        count += 1
    _finish()
    return count / (time.perf_counter() - start)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gradients(gaussians: Gaussians, camera: Camera) -> dict[str, Array]:
    """Of the squared colours and depths, for every field."""
    leaves = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in FIELDS}
    drawn = rasterize(Gaussians(**leaves), camera)
    (drawn.colors.square().mean() + drawn.alphas.mean()).backward()
    return {name: leaf.grad.cpu().numpy() for name, leaf in leaves.items() if leaf.grad is not None}


def apart(one: dict[str, Array], other: dict[str, Array]) -> dict[str, float]:
    """The largest difference of each field's gradients, of the largest gradient."""
    return {name: float(np.abs(one[name] - other[name]).max() / max(np.abs(one[name]).max(), 1e-12)) for name in one}


def measure(gaussians: Gaussians, compositor: Compositor, device: str) -> dict[str, Any]:
    """Everything, for a head in its photo's own state."""
    camera, places = compositor.avatar.camera, compositor.places
    here, there = gaussians, gaussians.to(device)
    pictures = [render_placed(g, places, camera) for g in (here, there)]
    colors = [picture[..., [0, 1, 2, -1]] for picture in pictures]
    moved = replace(
        here, means=here.means + 0.05 * torch.randn(here.means.shape, generator=torch.Generator().manual_seed(0))
    )
    found = apart(gradients(moved, camera), gradients(moved.to(device), camera))
    still = np.zeros(4, np.float32)

    def drawn(g: Gaussians) -> Callable[[], Any]:
        def draw() -> Any:
            with torch.no_grad():
                return rasterize(g, camera).colors

        return draw

    return {
        "size": [camera.width, camera.height],
        "gaussians": len(gaussians),
        "picture_apart": round(float(np.abs(colors[0] - colors[1]).max()), 5),
        "places_apart_px": round(float(np.abs(pictures[0][..., 4:6] - pictures[1][..., 4:6]).max()), 4),
        "gradients_apart": {name: round(value, 6) for name, value in found.items()},
        "parity": bool(np.abs(colors[0] - colors[1]).max() <= PARITY and max(found.values()) <= GRADIENTS),
        "fps_drawn": round(per_second(drawn(there)), 1),
        "fps_frames": round(per_second(lambda: compositor.yuv(compositor.draw(here, device), still)), 1),
        "fps_frames_cpu": round(per_second(lambda: compositor.yuv(compositor.draw(here), still)), 1),
        "fit_steps": round(per_second(lambda: gradients(there, camera)), 1),
        "fit_steps_cpu": round(per_second(lambda: gradients(here, camera)), 1),
    }


def main() -> int:
    """Print the numbers as JSON and write them."""
    parser = argparse.ArgumentParser(description="gsplat against our kernels.")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "photo.png")
    parser.add_argument("--device", default="cuda", help="cpu compares our kernels with themselves")
    parser.add_argument("--out", type=Path, default=Path("bench/bench-cuda.json"))
    wanted = parser.parse_args()
    try:
        device = choose_device(wanted.device)
    except MggdubError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as folder:
        picture = read_image(head_filling(wanted.photo, Path(folder) / "head-filling.png"))
        avatar = build.build_avatar(picture, load_models(), AvatarOptions())
    named = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    found = {"device": named, "torch": torch.__version__, "matrix_product_ms": matrix_product()}
    found |= measure(own_state(avatar), Compositor.of(avatar), device)
    print(json.dumps(found, indent=1))
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["parity"] else 1


if __name__ == "__main__":
    sys.exit(main())
