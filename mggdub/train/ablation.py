"""What each part of the learned head is worth: `python -m mggdub.train.ablation CLIPS TRACKS OUT --steps 500`.

CLIPS and TRACKS are those of `head_data`. Every row is trained equally long, from the same seeds, on one avatar of each
of some people, and measured on all avatars of `val`. OUT/report.md gets the table; OUT keeps what it comes from, and
the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mggdub.train.common import interval
from mggdub.types import Array


class Row(NamedTuple):
    """What is left out."""

    title: str
    options: tuple[str, ...] = ()  # of `head`
    data: tuple[str, ...] = ()  # of `head_data`, for avatars of its own


FULL = "full"
ROWS = {
    FULL: Row("all of it"),
    "refine": Row("without geometric refinement", ("--without", "refine")),
    "symmetry": Row("without mirrored points (the shell stays)", ("--without", "symmetry")),
    "voxel": Row("mirrored points not filtered", (), ("--without", "voxel")),
    "sym": Row("without the Sym-Gaussian decoder", ("--without", "sym")),
    "densify": Row("without densification (one Gaussian per cell)", ("--without", "densify")),
    "rank4": Row("4 bases of motion, not 16", ("--rank", "4")),
}


def run(commands: dict[str, list[str]], out: Path, jobs: int) -> None:
    """Modules of this folder with their arguments, so many at a time; OUT/<name>.log has what each of them says."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    env = dict(os.environ, OMP_NUM_THREADS=threads, NUMBA_NUM_THREADS=threads)

    def one(name: str) -> None:
        module, *arguments = commands[name]
        print(f"{name} ...", flush=True)
        with (out / f"{name}.log").open("a") as log:
            command = [sys.executable, "-m", f"mggdub.train.{module}", *arguments]
            code = subprocess.run(command, env=env, stdout=log, stderr=log).returncode
        if code:
            raise SystemExit(f"{name} failed; {log.name} says why")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, commands))


def measured(path: Path, steps: int) -> list[dict[str, Any]] | None:
    """Every avatar's figures after so many steps, if they are there."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return found["each"] if found.get("steps") == steps else None


def per_clip(each: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Mean of a figure over the avatars of a clip and their moments."""
    values: dict[str, list[float]] = {}
    for avatar in each:
        values.setdefault(avatar["clip"], []).extend(avatar[name])
    return {clip: float(np.mean(v)) for clip, v in values.items()}


def with_interval(values: Array, digits: int) -> str:
    """The mean of paired differences with the bootstrap's 95 %; a tie where that holds 0."""
    mean, low, high = (round(value, digits) + 0.0 for value in interval(values, "mean"))
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f}){', tie' if low <= 0 <= high else ''}"


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown of what was measured, by row; clips count alike, differences are those of a clip."""
    names = "| | PSNR inside the head, dB | LPIPS | difference in PSNR (95 %) | difference in LPIPS (95 %) |"
    lines = [names, "|---" * 5 + "|"]
    shown = [("the photo", FULL, "photo"), ("nothing learned", FULL, "plain")]
    for title, row, which in [*shown, *((ROWS[row].title, row, "learned") for row in found)]:
        means, differences = [], []
        for suffix, digits in (("", 3), ("_lpips", 4)):
            ours, full = per_clip(found[row], which + suffix), per_clip(found[FULL], "learned" + suffix)
            means.append(f"{np.mean(list(ours.values())):.{digits}f}")
            apart = np.array([ours[clip] - full[clip] for clip in ours if clip in full])
            differences.append(with_interval(apart, digits) if title != ROWS[FULL].title else "")
        lines.append(f"| {' | '.join([title, *means, *differences])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=500, help="of every row")
    parser.add_argument("--people", type=int, default=60, help="so many, one in nine of whom `head` holds out")
    parser.add_argument("--jobs", type=int, default=1, help="so many rows at a time share the cores")
    given = parser.parse_args()
    out = given.out
    out.mkdir(parents=True, exist_ok=True)
    sets = {name: row.data for name, row in ROWS.items() if row.data or name == FULL}
    clips = ["head_data", str(given.clips), str(given.tracks)]
    few = ["--people", str(given.people)]
    made = {f"train_{name}": [*clips, str(out / f"train_{name}"), *few, *options] for name, options in sets.items()}
    made |= {f"val_{name}": [*clips, str(out / f"val_{name}"), "--split", "val", *o] for name, o in sets.items()}
    run(made, out, given.jobs)
    run({f"flow_{name}": ["flow", str(out / f"train_{name}")] for name in sets}, out, given.jobs)
    commands = {}
    for name, row in ROWS.items():
        if measured(out / name / "judged.json", given.steps) is None:
            train, val = (str(out / f"{split}_{name if row.data else FULL}") for split in ("train", "val"))
            commands[name] = ["head", train, str(out / name), "--steps", str(given.steps), "--on", val, *row.options]
    run(commands, out, given.jobs)
    found = {name: each for name in ROWS if (each := measured(out / name / "judged.json", given.steps)) is not None}
    assert len(found) == len(ROWS), f"{out} holds runs of more than {given.steps} steps"
    report = table(found)
    (out / "report.md").write_text(report, encoding="utf-8")
    print(report, end="")


if __name__ == "__main__":
    main()
