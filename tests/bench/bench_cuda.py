"""gsplat on a CUDA device against our kernels on the CPU: `python tests/bench/bench_cuda.py [--out FILE.json]`.

Parity of pictures (2/255) and gradients (1e-3 of their length), frames per second drawn on the card and whole, and
steps of a fit per second on both. Exit code 1 if parity fails, 2 where there is no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import EXAMPLES, PARITY, finish, head_filling, matrix_product, median, on_cuda, step

from mggdub.animation.compositor import Compositor, own_state
from mggdub.avatar import build
from mggdub.avatar.values import HeadAvatar
from mggdub.media.image import read_image
from mggdub.models import load_models
from mggdub.options import AvatarOptions
from mggdub.renderer.rasterize import render_placed
from mggdub.types import Camera, Gaussians

GRADIENTS = 1e-3  # length of a field's difference over the field's
RANK = 2e-4  # cm between the depths of two splats, which rounding cannot bridge
REPEATS = 30


def depths_apart(gaussians: Gaussians, camera: Camera) -> Gaussians:
    """The same Gaussians, each pushed along its ray until the next one lies surely behind it.

    In a face neighbours are as deep as each other: which of them is drawn first is a matter of rounding.
    """
    view = torch.from_numpy(camera.viewmat)
    seen = gaussians.means @ view[:3, :3].T + view[:3, 3]
    depth = seen[:, 2]
    rank = torch.empty_like(depth)
    rank[depth.argsort()] = torch.arange(len(depth), dtype=depth.dtype)
    pushed = seen * ((depth.min() + RANK * rank) / depth)[:, None]
    return replace(gaussians, means=((pushed - view[:3, 3]) @ view[:3, :3]).contiguous())


def gradients_apart(gaussians: Gaussians, camera: Camera, device: str) -> dict[str, float]:
    """How far the device's gradients of every field are from ours: the length of the difference over ours."""
    ours, theirs = (step(g, camera).to("cpu").arrays for g in (gaussians, gaussians.to(device)))
    names = ("means", "quats", "scales", "opacities", "colors")
    return {
        name: round(float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-12)), 6)
        for name, a, b in zip(names, ours, theirs, strict=True)
    }


def measure(avatar: HeadAvatar, device: str) -> dict[str, Any] | str:
    """Everything, for a head in its photo's own state, or why there is nothing."""
    camera, head, compositor = avatar.camera, own_state(avatar), Compositor.of(avatar)
    apart = depths_apart(head, camera)
    found = on_cuda(apart, camera, device=device)
    if isinstance(found, str):
        return found
    built = np.abs(np.subtract(*(render_placed(g, compositor.places, camera) for g in (head, head.to(device)))))
    gradients, still = gradients_apart(apart, camera, device), np.zeros(4, np.float32)

    def per_second(call: Callable[[], Any]) -> float:
        return round(1 / median(lambda: (call(), finish(device)), REPEATS), 1)

    def whole(on: str) -> Any:
        return compositor.yuv(compositor.draw(head, on), still)

    there = head.to(device)
    return found | {
        "gradients_apart": gradients,
        "parity": found["parity"] and max(gradients.values()) <= GRADIENTS,
        "as_built_apart": round(float(built[..., [0, 1, 2, 7]].max()), 5),
        "as_built_beyond_parity": int((built[..., [0, 1, 2, 7]] > PARITY).sum()),
        "fps_whole": per_second(partial(whole, device)),
        "fps_whole_cpu": per_second(partial(whole, "cpu")),
        "fit_steps": per_second(partial(step, there, camera)),
        "fit_steps_cpu": per_second(partial(step, head, camera)),
    }


def main() -> int:
    """Print the numbers as JSON and write them."""
    parser = argparse.ArgumentParser(description="gsplat against our kernels.")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "photo.png")
    parser.add_argument("--device", default="cuda", help="cpu compares our kernels with themselves")
    parser.add_argument("--out", type=Path, default=Path("bench/bench-cuda.json"))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = read_image(head_filling(wanted.photo, Path(folder) / "head-filling.png"))
        avatar = build.build_avatar(picture, load_models(), AvatarOptions())
    measured = measure(avatar, wanted.device)
    if isinstance(measured, str):
        print(f"Error: {measured}", file=sys.stderr)
        return 2
    found = {"torch": torch.__version__, "matrix_product_ms": matrix_product()} | measured
    print(json.dumps(found, indent=1))
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["parity"] else 1


if __name__ == "__main__":
    sys.exit(main())
