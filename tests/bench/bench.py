"""How fast mggdub is on this machine: `python tests/bench/bench.py [--out FILE.json]`, in a checkout.

Whole renders are taken apart into stages, which the report of a render tells, so that they add up to it. What ratios
compare ran one after the other in the same process; a matrix product tells how fast, and how busy, the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from measuring import EXAMPLES, fields_of, frame_of, matrix_product, median, on_cuda, step
from numba import njit, prange
from PIL import Image

from mggdub import jobs
from mggdub.avatar import build
from mggdub.errors import MggdubError
from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import choose_face, cut
from mggdub.geometry.camera import head_crop
from mggdub.media.image import read_image
from mggdub.models import load_models
from mggdub.options import RenderOptions
from mggdub.renderer.reference import project, rasterize_reference
from mggdub.types import Array, Camera, Crop, Gaussians

DRAWING = ("deform", "rasterise", "lower face", "composite")
STAGES = ("speech", *DRAWING, "encode")
FILLING = 0.72  # of a head crop's side: what a head-filling portrait shows
WINDOW, MARGIN = 64, 8  # px of the twin's picture, which visits every Gaussian at every pixel, and around it
TILE = 16  # px, of the plain loop
_compiled: Any = njit  # typed for calls by position


def render(photo: Path, speech: Path, folder: Path, options: RenderOptions) -> dict[str, Any]:
    """One render taken apart: seconds for load and photo, and per second of video for each of STAGES and for all."""
    matrix = matrix_product()
    report = jobs.render_file(photo, speech, folder / "bench.mp4", options, lambda *_: None)
    times, length = report.times, report.frames / report.fps
    drawn = sum(times[name] for name in DRAWING)
    parts = {name: times[name] for name in ("speech", *DRAWING)} | {"encode": times["render"] - drawn}
    return {
        "photo": photo.stem,
        "preview": options.preview,
        "size": report.size,
        "gaussians": report.gaussians,
        "load_s": times["load"],
        "photo_s": times["photo"],
        **{name: round(parts[name] / length, 4) for name in STAGES},
        "all": round((times["speech"] + times["render"]) / length, 4),
        "fps": round(report.frames / drawn, 1),
        "matrix_product_ms": matrix,
    }


def head_filling(photo: Path, out: Path) -> Path:
    """A 512 px picture that the head fills."""
    pixels = read_image(photo).pixels
    faces = FaceFinder()
    whole = head_crop(choose_face(faces.find(pixels), "largest").landmarks)
    inset = whole.side * (1 - FILLING) / 2
    Image.fromarray(cut(pixels, Crop(whole.left + inset, whole.top + inset, whole.side * FILLING))).save(out)
    return out


def starts(photo: Path, speech: Path, folder: Path) -> dict[str, Any]:
    """Seconds of `--help`, of importing everything, and of two whole commands: with nothing compiled, and after."""
    own = dict(os.environ, NUMBA_CACHE_DIR=str(folder / "compiled"))

    def run(*words: str) -> tuple[float, str]:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *words], env=own, check=True, capture_output=True, text=True)
        return time.perf_counter() - start, done.stdout

    words = ("-m", "mggdub", "render", str(photo), str(speech), "--output", str(folder / "bench.mp4"), "--force")
    cold, _ = run(*words, "--json", "--quiet")
    warm, said = run(*words, "--json", "--quiet")
    whole = sum(json.loads(said)["times"].values())
    found = {
        "help_s": median(lambda: run("-m", "mggdub", "--help"), 3),
        "import_s": median(lambda: run("-c", "import mggdub.jobs"), 3),
        "cold_s": cold,
        "warm_s": warm,
        "warm_start_s": warm - whole,  # until the job begins, and leaving
    }
    return {name: round(value, 3) for name, value in found.items()} | {"peak_mb": _peak()}


def _peak() -> int | None:
    """MB of the largest program that was run; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(largest / (1e6 if sys.platform == "darwin" else 1e3 / 1.024))


def pictures(gaussians: Gaussians, camera: Camera, repeats: int = 15) -> dict[str, Any]:
    """fps (frames for animation), fit_ms (a step of a fit: forward, backward), and how much faster than other ways."""
    ours = partial(frame_of, gaussians, camera)
    frame, stepped = median(ours, repeats), median(partial(step, gaussians, camera), repeats)
    slow = median(partial(plain, *in_order(gaussians, camera), camera), 3)
    few, part = middle(gaussians, camera)
    window, twin = median(partial(frame_of, few, part), repeats), median(partial(_twin, few, part), 3)
    return {
        "size": [camera.width, camera.height],
        "gaussians": len(gaussians),
        "fps": round(1 / frame, 1),
        "fit_ms": round(1e3 * stepped, 1),
        "than_plain_loop": round(slow / frame, 1),
        "than_twin": round(twin / window, 1),
        "from_twin_db": round(float(-10 * np.log10(np.mean((frame_of(few, part) - _twin(few, part)) ** 2))), 1),
        "matrix_product_ms": matrix_product(),
    }


def middle(gaussians: Gaussians, camera: Camera) -> tuple[Gaussians, Camera]:
    """WINDOW px from the middle of a picture, and the Gaussians there."""
    K = camera.K.copy()
    K[:2, 2] -= [camera.width // 2 - WINDOW // 2, camera.height // 2 - WINDOW // 2]
    part = Camera(K, camera.viewmat, WINDOW, WINDOW)
    centers, _, _, drawn = project(gaussians, part)
    near = drawn & (centers > -MARGIN).all(1) & (centers < WINDOW + MARGIN).all(1)
    return Gaussians(*(field[near] for field in fields_of(gaussians))), part


def in_order(gaussians: Gaussians, camera: Camera) -> tuple[Array, Array, Array, Array]:
    """Centres, inverse covariances, opacities and colours, from near to far."""
    with torch.no_grad():
        centers, conics, depths, drawn = project(gaussians, camera)
    order = drawn.nonzero()[:, 0][torch.argsort(depths[drawn], stable=True)]
    fields = (centers, conics, gaussians.opacities, gaussians.colors)
    return tuple(field[order].float().numpy() for field in fields)  # type: ignore[return-value]


def plain(centers: Array, conics: Array, opacities: Array, colors: Array, camera: Camera) -> Array:
    """Colours [H, W, 3] the obvious way: a list per tile, then pixel by pixel; sorting, projecting is done before."""
    picture = np.zeros((camera.height, camera.width, 3), np.float32)
    across, down = -(-camera.width // TILE), -(-camera.height // TILE)
    ends, listed = _plain_lists(centers, conics, opacities, across, down)
    _plain_loop(centers, conics, opacities, colors, ends, listed, across, picture)
    return picture


@_compiled
def _plain_lists(centers, conics, opacities, across, down):  # type: ignore[no-untyped-def]
    boxes = np.zeros((len(centers), 4), np.int64)
    counts = np.zeros(across * down + 1, np.int64)
    for i in range(len(centers)):
        xx, xy, yy = conics[i]
        reach = 2 * np.log(max(255 * opacities[i], 1.0)) / (xx * yy - xy * xy)
        for axis, spread, last in ((0, yy, across), (1, xx, down)):
            radius = np.sqrt(reach * spread)
            boxes[i, axis] = max(0, int((centers[i, axis] - radius) // TILE))
            boxes[i, 2 + axis] = min(last - 1, int((centers[i, axis] + radius) // TILE))
        for row in range(boxes[i, 1], boxes[i, 3] + 1):
            for column in range(boxes[i, 0], boxes[i, 2] + 1):
                counts[row * across + column + 1] += 1
    ends = np.cumsum(counts)
    listed, filled = np.zeros(ends[-1], np.int64), ends.copy()
    for i in range(len(centers)):
        for row in range(boxes[i, 1], boxes[i, 3] + 1):
            for column in range(boxes[i, 0], boxes[i, 2] + 1):
                listed[filled[row * across + column]] = i
                filled[row * across + column] += 1
    return ends, listed


@_compiled(parallel=True)
def _plain_loop(centers, conics, opacities, colors, ends, listed, across, picture):  # type: ignore[no-untyped-def]
    for tile in prange(len(ends) - 1):
        for y in range(tile // across * TILE, min(tile // across * TILE + TILE, picture.shape[0])):
            for x in range(tile % across * TILE, min(tile % across * TILE + TILE, picture.shape[1])):
                before = 1.0
                for place in range(ends[tile], ends[tile + 1]):
                    i = listed[place]
                    dx, dy = x + 0.5 - centers[i, 0], y + 0.5 - centers[i, 1]
                    power = 0.5 * (conics[i, 0] * dx * dx + conics[i, 2] * dy * dy) + conics[i, 1] * dx * dy
                    alpha = min(0.999, opacities[i] * np.exp(-power))
                    if alpha < 1 / 255:
                        continue
                    if before * (1 - alpha) <= 1e-4:
                        break
                    for k in range(3):
                        picture[y, x, k] += before * alpha * colors[i, k]
                    before *= 1 - alpha


def _twin(gaussians: Gaussians, camera: Camera) -> Array:
    with torch.no_grad():
        return rasterize_reference(gaussians, camera).colors.numpy()


def bench(photo: Path, speech: Path, folder: Path) -> dict[str, Any]:
    """Everything; `folder` is for what is written on the way."""
    filling = head_filling(photo, folder / "head-filling.png")
    found: dict[str, Any] = {
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": numba.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": numba.__version__,
        },
        "start": starts(photo, speech, folder),
    }
    plain_options = RenderOptions(force=True)
    render(photo, speech, folder, RenderOptions(force=True, preview=True))  # compiles what is not compiled yet
    found["renders"] = [
        render(photo, speech, folder, plain_options),
        render(filling, speech, folder, plain_options),
        render(filling, speech, folder, RenderOptions(force=True, size=256)),
        render(filling, speech, folder, RenderOptions(force=True, preview=True)),
    ]
    seconds = [row["photo_s"] + row["all"] for row in found["renders"]]
    found["than_preview"] = round(seconds[1] / seconds[3], 2)  # photo and one second of video
    models, picture = load_models(), read_image(filling)
    avatars = [build.build_avatar(picture, models, RenderOptions(size=size)) for size in (256, 512)]
    found["rasteriser"] = [pictures(avatar.gaussians, avatar.camera) for avatar in avatars]
    found["cuda"] = on_cuda(avatars[1].gaussians, avatars[1].camera)
    return found


def as_text(found: dict[str, Any]) -> str:
    """Tables for people."""
    start = found["start"]
    lines = ["  ".join(f"{name} {value}" for name, value in found["machine"].items()), ""]
    lines += [
        f"--help {start['help_s']:.2f} s, import {start['import_s']:.2f} s, whole command {start['warm_s']:.1f} s, "
        f"of which start {start['warm_start_s']:.1f} s; with nothing compiled {start['cold_s']:.1f} s; "
        f"peak {start['peak_mb']} MB",
        "",
        "seconds of work per second of video; fps without encoding",
        _row(("photo", "size", "gaussians", "load", "prepare", *STAGES, "all", "fps", "matrix ms")),
    ]
    for row in found["renders"]:
        name = row["photo"] + (" --preview" if row["preview"] else "")
        size = "x".join(map(str, row["size"]))
        stages = (f"{row[stage]:.3f}" for stage in (*STAGES, "all"))
        lines.append(
            _row(
                (
                    name,
                    size,
                    row["gaussians"],
                    row["load_s"],
                    row["photo_s"],
                    *stages,
                    row["fps"],
                    row["matrix_product_ms"],
                )
            )
        )
    lines += [
        f"photo and one second of video take {found['than_preview']} times as long as with --preview",
        "",
        "the rasteriser alone, and how many times it is faster",
        _row(("size", "gaussians", "fps", "fit ms", "plain loop", "float64 twin", "twin dB", "matrix ms")),
    ]
    for row in found["rasteriser"]:
        lines.append(_row(("x".join(map(str, row["size"])), *list(row.values())[1:])))
    cuda = found["cuda"]
    lines += ["", cuda if isinstance(cuda, str) else "  ".join(f"{name} {value}" for name, value in cuda.items())]
    return "\n".join(lines)


def _row(cells: tuple[Any, ...]) -> str:
    return f"{cells[0]!s:<23}" + "".join(f"{cell!s:>13}" for cell in cells[1:])


def main() -> int:
    """Print tables, write the numbers as JSON. Exit codes as of `mggdub`."""
    parser = argparse.ArgumentParser(description="Time mggdub on this machine.")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "photo.png")
    parser.add_argument("--speech", type=Path, default=EXAMPLES / "speech.wav")
    parser.add_argument("--out", type=Path, default=Path("bench/bench.json"))
    wanted = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = bench(wanted.photo, wanted.speech, Path(folder))
    except MggdubError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(as_text(found))
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{wanted.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
