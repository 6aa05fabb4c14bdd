"""How fast pictures are drawn here, beside a plain loop and the slow twin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit

from mggdub.render.rasterize import rasterize, render_frame
from mggdub.render.reference import project, rasterize_reference
from mggdub.types import Array, Camera, Gaussians, as_tensor

SIZES, COUNTS = (256, 512), (50_000, 100_000)
TWIN_SIZE, TWIN_COUNT = 64, 2_000  # the twin visits every Gaussian at every pixel

_compiled: Any = njit  # typed for calls by position


def ball_scene(count: int, size: int, seed: int = 0) -> tuple[Gaussians, Camera]:
    """A head-sized ball of flat, randomly lying Gaussians, about 2 px wide at 512 px, seen as a head crop is."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    means = directions / np.linalg.norm(directions, axis=1, keepdims=True) * [7, 10, 9]
    scales = np.exp(random.normal(np.log(0.06), 0.35, (count, 3))) * [1, 1, 0.2]
    view = np.eye(4, dtype=np.float32)
    view[2, 3] = 120
    K = np.array([[4 * size, 0, size / 2], [0, 4 * size, size / 2], [0, 0, 1]], np.float32)
    fields = (
        means,
        random.normal(size=(count, 4)),
        scales,
        random.beta(3, 1.6, count),
        random.uniform(size=(count, 3)),
    )
    return Gaussians(*(as_tensor(field) for field in fields)), Camera(K, view, size, size)


def bench(repeats: int = 15) -> list[dict[str, Any]]:
    """One row per scene: gaussians, size, fps (frames for animation) and fit_ms (a step of a fit: forward, backward).

    Further rows have `times_faster` than a plain compiled loop on one thread and than the slow twin. Medians.
    """
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        for count in COUNTS:
            gaussians, camera = ball_scene(count, size)
            frame = _median(partial(_frame, gaussians, camera), repeats)
            step = _median(partial(_step, gaussians, camera), repeats)
            rows.append({"gaussians": count, "size": size, "fps": round(1 / frame, 1), "fit_ms": round(1e3 * step, 1)})
    for name, other, count, size in (
        ("plain loop", plain, COUNTS[-1], SIZES[-1]),
        ("slow twin", _twin, TWIN_COUNT, TWIN_SIZE),
    ):
        gaussians, camera = ball_scene(count, size)
        ours = _median(partial(_frame, gaussians, camera), repeats)
        theirs = _median(partial(other, gaussians, camera), 3)
        rows.append({"gaussians": count, "size": size, "other": name, "times_faster": round(theirs / ours, 1)})
    return rows


def plain(gaussians: Gaussians, camera: Camera) -> Array:
    """The obvious loop: near to far, every pixel of each Gaussian's box. Returns premultiplied colours [H, W, 3]."""
    with torch.no_grad():
        centers, conics, depths, drawn = project(gaussians, camera)
    order = drawn.nonzero()[:, 0][torch.argsort(depths[drawn], stable=True)]
    fields = [field[order].float().numpy() for field in (centers, conics, gaussians.opacities, gaussians.colors)]
    colors = np.zeros((camera.height, camera.width, 3), np.float32)
    _plain_loop(*fields, colors, np.ones(colors.shape[:2], np.float32))
    return colors


@_compiled
def _plain_loop(centers, conics, opacities, colors, picture, transmittance):  # type: ignore[no-untyped-def]
    height, width = transmittance.shape
    for i in range(len(opacities)):
        xx, xy, yy = conics[i]
        det = xx * yy - xy * xy
        reach = 2 * np.log(max(255 * opacities[i], 1.0))
        rx, ry = np.sqrt(reach * yy / det), np.sqrt(reach * xx / det)
        u, v = centers[i]
        for y in range(max(0, int(v - ry)), min(height, int(v + ry) + 1)):
            for x in range(max(0, int(u - rx)), min(width, int(u + rx) + 1)):
                dx, dy = x + 0.5 - u, y + 0.5 - v
                alpha = min(0.999, opacities[i] * np.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy))
                before = transmittance[y, x]
                if alpha < 1 / 255 or before < 0:
                    continue
                if before * (1 - alpha) <= 1e-4:
                    transmittance[y, x] = -before
                    continue
                transmittance[y, x] = before * (1 - alpha)
                for k in range(3):
                    picture[y, x, k] += before * alpha * colors[i, k]


def _frame(gaussians: Gaussians, camera: Camera) -> None:
    g = gaussians
    means, quats, scales, opacities, colors = (t.numpy() for t in (g.means, g.quats, g.scales, g.opacities, g.colors))
    render_frame(means, quats, scales, opacities, colors, camera)


def _step(gaussians: Gaussians, camera: Camera) -> None:
    g = gaussians
    leaves = [field.clone().requires_grad_() for field in (g.means, g.quats, g.scales, g.opacities, g.colors)]
    rasterize(Gaussians(*leaves), camera, backend="numba").colors.square().sum().backward()


def _twin(gaussians: Gaussians, camera: Camera) -> None:
    with torch.no_grad():
        rasterize_reference(gaussians, camera)


def _median(call: Callable[[], Any], repeats: int) -> float:
    """Seconds, after one call that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    """Print a line per measurement, then all of them as JSON."""
    rows = bench()
    for row in rows:
        print(
            "  ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            )
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
