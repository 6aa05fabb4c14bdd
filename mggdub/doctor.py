"""What this machine has, and whether mggdub can work on it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from mggdub import inpainting, weights
from mggdub.errors import MggdubError
from mggdub.media import process
from mggdub.media.encode import write_video
from mggdub.media.video import read_video
from mggdub.types import Camera, Gaussians
from mggdub.version import __version__

PACKAGES = ("torch", "numba", "numpy", "scipy", "librosa", "ai-edge-litert", "av", "pillow", "safetensors")
ENCODERS = ("libx264", "aac")
LEAST_DISK = 500  # MB; an hour of video at the default quality
LEAST_PSNR = 30.0  # dB between what is drawn and what comes back from the video
REINSTALL = "install mggdub again (pip install --force-reinstall mggdub)"


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `fix` says what to do if it is not ok."""

    name: str
    ok: bool
    what: str
    fix: str = ""


def examine(here: Path | None, warmup: bool = False) -> list[Finding]:
    """Everything that is looked at; `here` is where it was started, None if that folder is gone.

    With `warmup` all of the renderer is compiled and timed too.
    """
    findings = [
        Finding("mggdub", True, f"{__version__} on Python {platform.python_version()}, {platform.platform()}"),
        Finding("cpu", True, f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {_vector_units()}"),
        Finding("cuda", True, _cuda()),
        _lama(),
        *_packages(),
        _ffmpeg(),
        *_weights(),
        *(_disk(name, folder) for name, folder in (("disk, here", here), ("disk, temp", _temp()))),
        _self_test(),
    ]
    return [*findings, _warm_up()] if warmup else findings


def _vector_units() -> str:
    flags = Path("/proc/cpuinfo")
    known = set(flags.read_text(encoding="utf-8").split()) if flags.is_file() else set()
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8") if name in known]
    return " ".join(units) or platform.machine()


def _cuda() -> str:
    gsplat = "gsplat" if find_spec("gsplat") else "no gsplat (pip install 'mggdub[cuda]' to use it)"
    return f"{torch.cuda.get_device_name()}, {gsplat}" if torch.cuda.is_available() else "none (not needed)"


def _lama() -> Finding:
    """LaMa is not needed, but what is there of it must be right."""
    try:
        inpainting.lama_class()
    except MggdubError as error:
        return Finding("lama", True, f"none (not needed); {str(error).rstrip('.')}")
    try:
        path = inpainting.find_model()
    except MggdubError as error:
        return Finding("lama", False, str(error).rstrip("."), f"correct or unset {inpainting.VARIABLE}")
    if path is None:
        return Finding("lama", True, "its model is not here; the first --inpainter lama fetches it (206 MB)")
    named = os.environ.get(inpainting.VARIABLE)
    description = f"{path}, {'your own' if named else 'sha256 as released'}"
    return Finding(
        "lama",
        inpainting.usable(),
        description if inpainting.usable() else f"{path} has another sha256",
        f"remove {path}",
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            yield Finding(name, False, "is not installed", REINSTALL)


def _ffmpeg() -> Finding:
    fix = "unset MGGDUB_FFMPEG or name an ffmpeg 7.0 or later with libx264 and aac"
    try:
        version_line, missing = process.version(), [name for name in ENCODERS if name not in process.encoders()]
    except (MggdubError, OSError, RuntimeError) as error:  # imageio-ffmpeg raises RuntimeError without a binary
        return Finding("ffmpeg", False, str(error).rstrip("."), fix)
    what = f"{version_line.split(' Copyright')[0]} ({process.binary()}), " + (
        f"without {' and '.join(missing)}" if missing else f"with {' and '.join(ENCODERS)}"
    )
    return Finding("ffmpeg", version_line.startswith("ffmpeg version") and not missing, what, fix)


def _weights() -> Iterator[Finding]:
    try:
        cards = weights.cards()
    except MggdubError as error:
        yield Finding("weights", False, str(error).rstrip("."), "")
        return
    if not cards:
        yield Finding("weights", False, "none found", f"{REINSTALL} or point MGGDUB_WEIGHTS at their folder")
    for card in cards:
        state = weights.state(card)
        path = Path(card["path"]) / card["file"]
        size = f"{path.stat().st_size / 2**20:.1f} MiB, sha256 as on its card" if state == "ok" else state
        yield Finding("weights", state == "ok", f"{card['file']} {size}", REINSTALL)


def _temp() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no folder of the usual ones can be written to
        return None


def _disk(name: str, folder: Path | None) -> Finding:
    temporary = name == "disk, temp"
    try:
        free = shutil.disk_usage(folder).free / 10**6 if folder else None
    except OSError:  # it has just been removed, or may not be entered
        free = None
    if free is None and temporary:
        return Finding(name, False, "no folder for temporary files", "set TMPDIR to one that can be written to")
    if free is None:
        return Finding(name, False, "the folder it was started in is gone", "change to another one")
    fix = "free some space, or set TMPDIR to another folder" if temporary else "free some space"
    return Finding(name, free > LEAST_DISK, f"{free / 1000:.1f} GB free in {folder}", fix)


def _self_test() -> Finding:
    """A moving ball is drawn, written as a video, read back and compared."""
    from mggdub.renderer.rasterize import render_frame

    start = time.perf_counter()
    cloud, camera = _ball(200, 96)
    try:
        drawn = []
        for step in range(5):
            moved = replace(cloud, means=cloud.means + torch.tensor([step, 0.0, 0.0]))
            rgb, alpha = render_frame(moved, camera)
            drawn.append(np.clip((rgb + (1 - alpha[..., None]) * 0.2) * 255, 0, 255).astype(np.uint8))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "test.mp4"
            write_video(path, iter(drawn), fps=Fraction(25), size=(96, 96))
            back = [frame for _, frame in read_video(path)]
    except (MggdubError, OSError, RuntimeError) as error:
        return Finding("self-test", False, str(error).rstrip("."), "mend what is BAD above, then try again")
    same = len(back) == len(drawn)
    apart = np.mean((np.stack(back).astype(float) - np.stack(drawn)) ** 2) if same else np.inf
    decibel = float(-10 * np.log10(max(apart, 1e-9) / 255**2))
    what = f"{len(back)} pictures drawn, written and read back at {decibel:.0f} dB, {time.perf_counter() - start:.1f} s"
    return Finding("self-test", decibel > LEAST_PSNR and not np.array_equal(drawn[0], drawn[-1]), what, REINSTALL)


def _ball(count: int, size: int) -> tuple[Gaussians, Camera]:
    """A row of round Gaussians 20 cm away, and a camera of `size` px that sees it."""
    means = torch.linspace(-5, 5, count)[:, None].expand(count, 3).clone()
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4).clone()
    cloud = Gaussians(means, quats, torch.full((count, 3), 0.3), torch.full((count,), 0.5), torch.full((count, 3), 0.5))
    K = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float32)
    viewmat = np.eye(4, dtype=np.float32)
    viewmat[2, 3] = 20.0
    return cloud, Camera(K, viewmat, size, size)


def _warm_up() -> Finding:
    from mggdub.renderer.rasterize import rasterize

    start = time.perf_counter()
    cloud, camera = _ball(1000, 256)
    cloud.means.requires_grad_()
    rasterize(cloud, camera).colors.sum().backward()  # type: ignore[no-untyped-call]
    compiled = time.perf_counter()
    rasterize(cloud, camera)
    ready = time.perf_counter()
    drawn = cloud.means.grad is not None and bool(cloud.means.grad.abs().sum() > 0)
    what = f"ready after {compiled - start:.1f} s, then {1000 * (ready - compiled):.1f} ms a picture"
    return Finding("renderer", drawn, what, REINSTALL)
