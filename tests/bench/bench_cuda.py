"""A CUDA device against the CPU: `python tests/bench/bench_cuda.py [--photo PHOTO_OR.mgg] [--out FILE.json]`.

Parity of pictures (2/255), gradients (1e-3 of their length) and whole frames, frames per second drawn on the card and
whole, stage by stage, and steps of a fit per second on both. Exit code 1 if parity fails, 2 where there is no CUDA
device. A kept head needs no face finder: of what mggdub depends on, only torch, numba, scipy, safetensors, pillow and
gsplat are used.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import EXAMPLES, PARITY, finish, kernels_on_card, matrix_product, median, on_cuda, step

from mggdub.animation import on_card
from mggdub.animation.animate import animate, frame_motions
from mggdub.animation.compositor import in_photo_state, photo_places
from mggdub.animation.on_card import Animator
from mggdub.avatar.file import is_avatar, load_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.face.expression import ExpressionBasis
from mggdub.models import Models, load_models
from mggdub.progress import Stopwatch
from mggdub.renderer.rasterize import render_placed
from mggdub.types import BLENDSHAPES, Array, Camera, ExpressionTrack, Gaussians

GRADIENTS = 1e-3  # length of a field's difference over the field's
FEW = 1e-3  # of a frame's values, that may be off by more than PARITY: where two splats are equally deep
RANK = 2e-4  # cm between the depths of two splats, which rounding cannot bridge
REPEATS = 30
AT_ONCE = (1, 8, 16, 32, 64)  # frames on the card


@dataclass(frozen=True)
class Waiting(Stopwatch):
    """A stopwatch that lets a card finish before it looks."""

    device: str = "cuda"

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time that the block takes, and what it has the card do, to `name`."""
        finish(self.device)
        with super().__call__(name):
            yield
            finish(self.device)


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


def moving_track(basis: ExpressionBasis, frames: int) -> ExpressionTrack:
    """A head that looks about, speaks, blinks and sways."""
    times = (np.arange(frames) + 0.5) / 25
    units = np.zeros((frames, len(BLENDSHAPES)), np.float32)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        units[:, BLENDSHAPES.index(name)] = np.clip(4 * np.sin(1.7 * times) - 3, 0, 1)
    lips = 1.2 * np.sin(times[:, None] * (9.0, 7.0, 5.0, 4.0, 3.0, 2.5, 2.2, 2.0)) * basis.mode_std
    lips[:, 0] += 1.5 * basis.mode_std[0]
    turns = np.sin(times[:, None] * (1.9, 1.3, 0.8)) * (4, 9, 4)
    shifts = np.sin(times[:, None] * (1.1, 0.7, 0.5)) * (0.4, 0.3, 0.5)
    body = np.sin(times[:, None] * (0.9, 0.6, 0.7, 0.4)) * (0.4, 0.2, 0.8, 0.6)
    parts = (lips, turns, shifts, body)
    return ExpressionTrack(times, units, *(part.astype(np.float32) for part in parts))


def on_the_card(
    animator: Animator, models: Models, track: ExpressionTrack, clock: Stopwatch | None = None
) -> Iterator[Array]:
    """`animate` with an animator that is ready."""
    motions = frame_motions(animator.avatar, models, track)
    return on_card.animate(animator, motions, track.torso, clock or Stopwatch(), True)


def per_second(frames: Iterator[Array]) -> float:
    """Frames per second."""
    start = time.perf_counter()
    count = sum(1 for _ in frames)
    return round(count / (time.perf_counter() - start), 1)


def stages(animator: Animator, models: Models, track: ExpressionTrack) -> dict[str, float]:
    """Milliseconds of a frame by stage, each of which is waited for; `host` is what the processor prepares."""
    found = {}
    animator = replace(animator, frames=min(animator.frames, len(track)))
    device, count, whole = animator.device, animator.frames, len(track) // animator.frames
    motions = list(frame_motions(animator.avatar, models, track))
    found["motions, host"] = median(lambda: list(frame_motions(animator.avatar, models, track)), 3) / len(track)
    groups = [slice(count * k, count * (k + 1)) for k in range(whole)]
    given = [animator.upload(motions[group], track.torso[group]) for group in groups]

    def uploads() -> None:
        for group in groups:
            animator.upload(motions[group], track.torso[group])
        finish(device)

    def rendered(clock: Stopwatch) -> None:
        for one in given:
            animator.render(one, clock, True)
        finish(device)

    found["upload, host"] = median(uploads, 3) / whole / count
    rendered(Waiting(device=device))
    clock = Waiting(device=device)
    rendered(clock)
    found |= {name: seconds / whole / count for name, seconds in clock.seconds.items()}
    found["all on the card"] = median(partial(rendered, Stopwatch()), 3) / whole / count
    down = animator.render(given[0], Stopwatch(), True)
    found["planes down"] = median(lambda: list(on_card.Coming(down, Stopwatch()).frames()), REPEATS) / count
    return {name: round(1e3 * seconds, 4) for name, seconds in found.items()}


def frames_apart(ours: Iterator[Array], theirs: Iterator[Array]) -> dict[str, Any]:
    """How far whole frames of the card are from the CPU's, values 0..255."""
    beyond, most, total = [], [], 0.0
    for a, b in zip(ours, theirs, strict=True):
        apart = np.abs(a.astype(np.int16) - b)
        beyond.append(float((apart > 255 * PARITY).mean()))
        most.append(int(apart.max()))
        total += float(apart.mean())
    return {
        "share_beyond_parity": float(np.mean(beyond)),
        "share_beyond_parity_worst_frame": max(beyond),
        "largest": max(most),
        "median_of_frames_largest": float(np.median(most)),
        "mean": round(total / len(most), 6),
        "parity": max(beyond) <= FEW,
    }


def kernels(animator: Animator, models: Models, track: ExpressionTrack) -> list[dict[str, Any]]:
    """What the card does for a frame: the kernels that take longest, in microseconds and calls."""
    from torch.profiler import ProfilerActivity, profile

    warm = list(on_the_card(animator, models, track))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        list(on_the_card(animator, models, track))
    rows = [(row.self_device_time_total, row.self_cpu_time_total, row.count, row.key) for row in seen.key_averages()]
    names = ("us", "host_us", "calls")
    return [
        {"name": row[-1][:120]} | {name: round(x / len(warm), 2) for name, x in zip(names, row[:-1], strict=True)}
        for row in sorted(rows, reverse=True)[:80]
    ]


def animated(avatar: HeadAvatar, models: Models, device: str, frames: int, profiled: bool) -> dict[str, Any]:
    """Whole frames of a moving head, `animate(..., planes=True)`: how many a second, their stages, and parity."""
    track = moving_track(models.expression, frames)
    draw = kernels_on_card(photo_places(avatar), avatar.camera) if device == "cpu" else None
    start = time.perf_counter()
    animator = Animator.of(avatar, models, device, draw)
    finish(device)
    began, there = time.perf_counter() - start, partial(on_the_card, animator, models, track)
    here = partial(animate, avatar, models, track, planes=True)
    list(there())
    found: dict[str, Any] = {
        "frames": frames,
        "size": list(avatar.image.shape[1::-1]),
        "at_once": animator.frames,
        "start_s": round(began, 3),
        "fps": per_second(there()),
        "fps_cpu": per_second(here()),
        "stages_ms": stages(animator, models, track),
        "apart": frames_apart(
            there() if device == "cpu" else animate(avatar, models, track, device, planes=True), here()
        ),
        "fps_at_once": {},
    }
    for count in AT_ONCE:
        other = replace(animator, frames=count)
        list(on_the_card(other, models, track))
        found["fps_at_once"][count] = per_second(on_the_card(other, models, track))
    clock = Stopwatch()
    list(animate(avatar, models, track, clock=clock, planes=True))
    found["stages_ms_cpu"] = {name: round(1e3 * seconds / frames, 4) for name, seconds in clock.seconds.items()}
    return found | ({"kernels": kernels(animator, models, track)} if profiled else {})


def measure(avatar: HeadAvatar, models: Models, device: str, frames: int, profiled: bool) -> dict[str, Any] | str:
    """Everything, for a head in its photo's own state and for a moving one, or why there is nothing."""
    camera, head, places = avatar.camera, in_photo_state(avatar), photo_places(avatar)
    apart = depths_apart(head, camera)
    found = on_cuda(apart, camera, device=device)
    if isinstance(found, str):
        return found
    built = np.abs(np.subtract(*(render_placed(g, places, camera) for g in (head, head.to(device)))))
    gradients = gradients_apart(apart, camera, device)

    def a_second(call: Callable[[], Any]) -> float:
        return round(1 / median(lambda: (call(), finish(device)), REPEATS), 1)

    there, moving = head.to(device), animated(avatar, models, device, frames, profiled)
    return found | {
        "gradients_apart": gradients,
        "parity": found["parity"] and max(gradients.values()) <= GRADIENTS and moving["apart"]["parity"],
        "as_built_apart": round(float(built[..., [0, 1, 2, 7]].max()), 5),
        "as_built_beyond_parity": int((built[..., [0, 1, 2, 7]] > PARITY).sum()),
        "fit_steps": a_second(partial(step, there, camera)),
        "fit_steps_cpu": a_second(partial(step, head, camera)),
        "animate": moving,
    }


def filling(photo: Path, out: Path) -> Path:
    """`bench.head_filling`, which needs the face finder."""
    from bench import head_filling

    return head_filling(photo, out)


def head_of(photo: Path, models: Models) -> HeadAvatar:
    """A kept head, or one that is built of a 512 px picture that the photo's head fills."""
    if is_avatar(photo):
        return load_avatar(photo)[0]
    from mggdub.avatar import build
    from mggdub.media.image import read_image
    from mggdub.options import AvatarOptions

    with tempfile.TemporaryDirectory() as folder:
        picture = read_image(filling(photo, Path(folder) / "head-filling.png"))
        return build.build_avatar(picture, models, AvatarOptions())


def main() -> int:
    """Print the numbers as JSON and write them."""
    parser = argparse.ArgumentParser(description="A CUDA device against the CPU.")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "photo.png", help="or a head that was kept, .mgg")
    parser.add_argument("--device", default="cuda", help="cpu compares our kernels with themselves")
    parser.add_argument("--frames", type=int, default=320)
    parser.add_argument("--profile", action="store_true", help="also which kernels take how long")
    parser.add_argument("--out", type=Path, default=Path("bench/bench-cuda.json"))
    wanted = parser.parse_args()
    models = load_models()
    measured = measure(head_of(wanted.photo, models), models, wanted.device, wanted.frames, wanted.profile)
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
