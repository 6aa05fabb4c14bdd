"""What this machine has, and whether mggdub can work on it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from mggdub import __version__, weights
from mggdub.errors import MggdubError
from mggdub.media import process
from mggdub.types import Camera, Gaussians

PACKAGES = ("torch", "numba", "numpy", "scipy", "ai-edge-litert", "pillow")


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    name: str
    ok: bool
    what: str


def examine(warmup: bool = False) -> list[Finding]:
    """Everything that is looked at; with `warmup` the renderer is compiled and timed too."""
    findings = [
        Finding("mggdub", True, f"{__version__} on Python {platform.python_version()}, {platform.platform()}"),
        Finding("cpu", True, f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {_vector_units()}"),
        Finding("cuda", True, torch.cuda.get_device_name() if torch.cuda.is_available() else "none (not needed)"),
        *_packages(),
        _ffmpeg(),
        *_weights(),
    ]
    return [*findings, _warm_up()] if warmup else findings


def _vector_units() -> str:
    flags = Path("/proc/cpuinfo")
    known = flags.read_text(encoding="utf-8").split() if flags.is_file() else []
    found = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in known]
    return " ".join(found) or platform.machine()


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            yield Finding(name, False, "is not installed; install mggdub again")


def _ffmpeg() -> Finding:
    try:
        said = process.version()
    except (MggdubError, OSError, RuntimeError) as error:  # imageio-ffmpeg raises RuntimeError without a binary
        return Finding("ffmpeg", False, str(error))
    return Finding("ffmpeg", said.startswith("ffmpeg version"), f"{said.split(' Copyright')[0]} ({process.binary()})")


def _weights() -> Iterator[Finding]:
    cards = weights.cards()
    if not cards:
        yield Finding("weights", False, "none found; reinstall mggdub or point MGGDUB_WEIGHTS at their folder")
    for card in cards:
        path = Path(card["path"]) / card["file"]
        intact = path.is_file() and weights.digest(path) == card["sha256"]
        state = f"{path.stat().st_size / 2**20:.1f} MiB" if intact else "missing or damaged; reinstall mggdub"
        yield Finding("weights", intact, f"{card['file']} {state}")


def _warm_up() -> Finding:
    from mggdub.render.rasterize import rasterize

    start = time.perf_counter()
    count, size = 1000, 256
    means = torch.linspace(-5, 5, count)[:, None].expand(count, 3).clone().requires_grad_()
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4)
    cloud = Gaussians(means, quats, torch.full((count, 3), 0.3), torch.full((count,), 0.5), torch.full((count, 3), 0.5))
    K = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float32)
    viewmat = np.eye(4, dtype=np.float32)
    viewmat[2, 3] = 20.0
    camera = Camera(K, viewmat, size, size)
    rasterize(cloud, camera).colors.sum().backward()  # type: ignore[no-untyped-call]
    compiled = time.perf_counter()
    rasterize(cloud, camera)
    ready = time.perf_counter()
    drawn = means.grad is not None and bool(means.grad.abs().sum() > 0)
    return Finding(
        "renderer", drawn, f"ready after {compiled - start:.1f} s, then {1000 * (ready - compiled):.1f} ms a picture"
    )
