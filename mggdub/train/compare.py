"""A folder of clips against what mggdub makes of their first frames: `python -m mggdub.train.compare CLIPS OUT`.

Rows: the truth; the still photo; scrambled (the photo says what other clips say, mean over `others` of them); ours by
the clip's own sound, with the head still and moving; driven by the clip itself, without and with what the head's
network learned; the ceiling: driven, with the colours that come nearest to the clip.

OUT gets report.md, report.json, sheet.jpg, curves.png and a folder for each clip, from which an interrupted run goes
on. It shows the people of the clips: keep it to yourself if they did not agree to more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mggdub.animation import animate
from mggdub.animation.compositor import Compositor
from mggdub.avatar import build
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import MggdubError, UsageError
from mggdub.evaluation.pictures import Judges, Truth, load_judges
from mggdub.evaluation.summary import METRICS, Measurement
from mggdub.evaluation.video import measure
from mggdub.media.audio import read_audio
from mggdub.media.encode import write_video
from mggdub.media.image import resize
from mggdub.media.video import probe, read_video
from mggdub.metrics.landmarks import correlation
from mggdub.metrics.pixels import evenly, frechet_distance
from mggdub.models import Models, load_models
from mggdub.motion import speech
from mggdub.motion.driving import track_video
from mggdub.motion.track import resample
from mggdub.networks.head import HeadNet
from mggdub.options import RenderOptions
from mggdub.renderer.fit import Adam
from mggdub.renderer.rasterize import rasterize
from mggdub.train.common import interval
from mggdub.types import Array, Camera, ExpressionTrack, Gaussians, Photo, Waveform, as_tensor
from mggdub.version import __version__
from mggdub.weights import cards

ROWS = ("truth", "still photo", "scrambled", "ours, still", "ours, natural", "unlearned", "driven", "ceiling")
PAIRS = (
    ("ours, still", "scrambled"),
    ("ours, still", "still photo"),
    ("driven", "still photo"),
    ("driven", "unlearned"),
)
LIP_METRICS = ("lip_r", "lip_lag_r", "m_lmd", "f_lmd", "sound_lag_r", "sync_d_mgg", "sync_c_mgg", "silence_lip_std")
COMPARED = (
    *("lip_r", "sync_d_mgg", "sync_c_mgg", "m_lmd", "f_lmd", "psnr_head", "psnr_black", "ssim", "lpips_alex"),
    *("csim_dlib", "csim_dlib_true", "mouth_sharpness"),
)
PASSES = 12  # over all states, of fitting a ceiling's colours
MOMENTS, TILE = 4, 160
PICTURES = 16  # frames of a clip in which pictures are compared
SEED = 0


def evaluate_clip(
    clip: Path, sounds: list[Path], folder: Path, models: Models, judges: Judges, pictures: int
) -> dict[str, Any]:
    """Numbers per row, and the curves; videos, pictures and features go to `folder`. Raises MggdubError."""
    info, sound = probe(clip), read_audio(clip)
    first = next(frame for _, frame in read_video(clip)).copy()
    photo, options = Photo(first), RenderOptions(fps=info.fps, pose="still", seed=SEED)
    avatar, truth = build.build_avatar(photo, models, options), Truth()

    def made(name: str, frames: Iterator[Array], pictures: int = pictures) -> Measurement:
        path = folder / f"{name}.mp4"
        size = (first.shape[1], first.shape[0])
        write_video(path, frames, fps=info.fps, size=size, audio=clip, duration=sound.duration, force=True)
        return measure(path, judges, clip, photo, pictures, truth=truth)

    def dubbed(name: str, heard: Waveform, pose: str = "still", pictures: int = pictures) -> Measurement:
        track = speech.speech_track(heard, models, replace(options, pose=pose))[0]
        return made(name, animate.animate(avatar, models, track), pictures)

    found = {
        "truth": measure(clip, judges, clip, photo, pictures, truth=truth),
        "still photo": made("still", repeat(first)),
    }
    found["ours, still"] = dubbed("ours_still", sound)
    found["ours, natural"] = dubbed("ours_natural", sound, "natural")
    drive = resample(track_video(clip, models), float(info.fps))
    drive = _lasting(drive, max(1, round(sound.duration * float(info.fps))))
    found["driven"] = made("driven", animate.animate(avatar, models, drive, relative=True))
    found["ceiling"] = made("ceiling", _ceiling(avatar, models, drive, clip, pictures))
    plain = models.having(head=HeadNet(models.head.config).eval())
    unlearned = build.build_avatar(photo, plain, options)
    found["unlearned"] = made("unlearned", animate.animate(unlearned, plain, drive, relative=True))
    wrong = []
    for number, other in enumerate(sounds):
        spoken = np.resize(read_audio(other).samples, len(sound.samples)).astype(np.float32)
        heard = dubbed(f"scrambled_{number}", Waveform(spoken, sound.sample_rate), pictures=0)
        wrong.append({name: value for name, value in heard.numbers.items() if name in LIP_METRICS})
    rows = {name: row.numbers for name, row in found.items()}
    names = [name for name in LIP_METRICS if wrong and all(name in one for one in wrong)]
    rows["scrambled"] = {name: float(np.mean([one[name] for one in wrong])) for name in names}
    features = {name: row.features for name, row in found.items() if row.features is not None}
    np.savez(folder / "features.npz", **features)  # type: ignore[arg-type]
    _strip(first, clip, folder / "ours_natural.mp4").save(folder / "strip.png")
    ours = found["ours, still"]
    curves = {"truth": ours.curves["true_lips"], "ours": ours.curves["lips"]}
    return {"rows": rows, "curves": {k: np.nan_to_num(v).round(5).tolist() for k, v in curves.items()}}


def _fit_clip(heads: list[Gaussians], camera: Camera, targets: list[Array], plate: Array) -> Tensor:
    """[N, 3]: what to add to the colours of one head in several states, so that they come nearest to `targets`.

    targets [H, W, 3] float32 0..1, one a state, over `plate` [H, W, 3]. One state makes one step.
    """
    change = torch.zeros_like(heads[0].colors, requires_grad=True)
    adam, steps = Adam([(change, 0.02)], (0.9, 0.95)), PASSES * len(heads)
    behind = as_tensor(plate)
    for step in range(steps):
        head, goal = heads[step % len(heads)], as_tensor(targets[step % len(heads)])
        drawn = rasterize(replace(head, colors=(head.colors + change).clamp(0, 1)), camera)
        picture = drawn.colors + (1 - drawn.alphas[..., None]) * behind
        ((picture - goal).square() * drawn.alphas.detach()[..., None]).sum().backward()
        adam.step(1 - 0.95 * step / steps)
    return change.detach()


def _ceiling(avatar: HeadAvatar, models: Models, drive: ExpressionTrack, clip: Path, pictures: int) -> Iterator[Array]:
    """The driven head with the colours that come nearest to the clip: what moving the photo's points could reach."""
    chosen = evenly(min(pictures, len(drive)), len(drive))
    states = [head for k, head in enumerate(animate.posed_gaussians(avatar, models, drive, True)) if k in chosen]
    box = avatar.box
    size = (box.render_width, box.render_height)
    truths = [
        resize(frame[box.top : box.top + box.height, box.left : box.left + box.width], size).astype(np.float32) / 255
        for k, (_, frame) in enumerate(read_video(clip))
        if k in chosen
    ]
    plate = resize(avatar.plate, size).astype(np.float32) / 255
    change = _fit_clip(states[: len(truths)], avatar.camera, truths, plate)
    compositor = Compositor.of(avatar)
    for head, body in zip(animate.posed_gaussians(avatar, models, drive, True), drive.torso, strict=True):
        fitted = replace(head, colors=(head.colors + change).clamp(0, 1))
        yield compositor.rgb(compositor.draw(fitted), body)


def _lasting(track: ExpressionTrack, frames: int) -> ExpressionTrack:
    """The track with so many frames: cut, or its last one held."""
    pick = np.minimum(np.arange(frames), len(track) - 1)
    step = float(np.median(np.diff(track.times))) if len(track) > 1 else 0.04
    parts = (track.blendshapes, track.lip_modes, track.rotation, track.translation, track.torso)
    return ExpressionTrack((np.arange(frames) + 0.5) * step, *(part[pick] for part in parts))


def _strip(photo: Array, clip: Path, ours: Path) -> Image.Image:
    """Photo and truth at MOMENTS moments above ours at the same moments."""
    frames = min(round(probe(path).duration * float(probe(path).fps)) for path in (clip, ours))
    moments = set(np.linspace(0, frames, MOMENTS + 2).astype(int)[1:-1].tolist())
    sheet = Image.new("RGB", (TILE * (MOMENTS + 1), 2 * TILE), "white")
    sheet.paste(_tile(photo), (0, 0))
    for row, path in enumerate((clip, ours)):
        shown = (frame for index, (_, frame) in enumerate(read_video(path)) if index in moments)
        for column, frame in enumerate(shown):
            sheet.paste(_tile(frame), (TILE * (column + 1), TILE * row))
    return sheet


def _tile(frame: Array) -> Image.Image:
    ratio = TILE / max(frame.shape[:2])
    return Image.fromarray(resize(frame, (round(frame.shape[1] * ratio), round(frame.shape[0] * ratio))))


@dataclass(frozen=True)
class Task:
    """One clip, the other clips whose sound scrambles it, and where what is made goes."""

    clip: Path
    sounds: list[Path]
    folder: Path
    state: str
    pictures: int


def known(task: Task) -> dict[str, Any] | None:
    """What was found before of the same state."""
    done = task.folder / "result.json"
    found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    return found if found.get("state") == task.state else None


@cache
def _networks() -> tuple[Models, Judges]:
    return load_models(), load_judges()


def work_on(task: Task) -> None:
    """Find and keep the numbers of one clip."""
    print(task.clip.stem, file=sys.stderr, flush=True)
    task.folder.mkdir(parents=True, exist_ok=True)
    try:
        found = evaluate_clip(task.clip, task.sounds, task.folder, *_networks(), task.pictures)
    except MggdubError as error:
        found = {"left_out": str(error)}
    (task.folder / "result.json").write_text(json.dumps({"state": task.state, **found}), encoding="utf-8")


def _alone(threads: int) -> None:
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)


def evaluate_folder(clips: list[Path], out: Path, others: int, pictures: int, apart: str, jobs: int = 1) -> None:
    """All clips and their report, `jobs` clips at a time. Raises MggdubError if the folder cannot be used."""
    weights = {card["file"]: card["sha256"] for card in cards()}
    settings = json.dumps([__version__, weights, others, pictures, [clip.name for clip in clips]])
    state = hashlib.sha256(settings.encode()).hexdigest()[:16]  # results of another state are made anew
    for sentence in (_networks()[1] if jobs == 1 else load_judges()).missing.values():
        print(sentence, file=sys.stderr)
    rng, tasks = np.random.default_rng(SEED), []
    for clip in clips:
        rest = [other for other in clips if other != clip]
        sounds = [rest[i] for i in rng.permutation(len(rest))[:others]]
        tasks.append(Task(clip, sounds, out / "clips" / clip.stem, state, pictures))
    left = [task for task in tasks if known(task) is None]
    for _ in _worked_on(left, jobs) if left else (None,):
        write_report({task.clip.stem: known(task) or {} for task in tasks}, out, apart)


def _worked_on(tasks: list[Task], jobs: int) -> Iterator[None]:
    """One after the other, or `jobs` at a time."""
    if jobs == 1:
        yield from map(work_on, tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _alone, (threads,)) as pool:
        yield from pool.map(work_on, tasks)


def write_report(results: dict[str, dict[str, Any]], out: Path, apart: str = "") -> None:
    """report.md, report.json, sheet.jpg and curves.png of what is there so far."""
    used = {name: result for name, result in results.items() if "rows" in result}
    left_out = {name: result["left_out"] for name, result in results.items() if "left_out" in result}
    groups = {"All clips": list(used)}
    if special := [name for name in used if apart and name.startswith(apart)]:
        groups[f"{apart}* alone"] = special
    text, numbers = ["# Results", "", "Median over clips with the bootstrap's 95 % interval."], {}
    for title, names in groups.items():
        if not names:
            continue
        summary = _summary({name: used[name]["rows"] for name in names}, names, out)
        numbers[title] = {"n": len(names), **summary}
        text += ["", f"## {title}, n = {len(names)}", "", *_table(summary["rows"])]
        text += ["", "Paired differences, median and interval; a tie where the interval holds 0.", ""]
        text += ["| metric | difference | median | 95 % |", "|---|---|---|---|"]
        for name, (middle, low, high) in summary["differences"].items():
            metric, pair = name.split(": ")
            text.append(f"| {metric} | {pair} | {middle:.3g} | {low:.3g} to {high:.3g} |")
        for metric, (middle, low, high) in summary["way"].items():
            text += [
                "",
                f"Driven, {metric}: {middle:.2f} ({low:.2f} to {high:.2f}) of the way from the still photo to the",
            ]
            text.append("ceiling, which is the driven head with colours fitted to the clip.")
    if left_out:
        text += ["", "## Left out", "", *(f"- {name}: {reason}" for name, reason in left_out.items())]
    (out / "report.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    rows = {name: result["rows"] for name, result in used.items()}
    whole = {"summary": numbers, "clips": rows, "left_out": left_out, "metrics": METRICS}
    (out / "report.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    if used:
        _sheet([out / "clips" / name / "strip.png" for name in used]).save(out / "sheet.jpg", quality=88)
        _curves({name: result["curves"] for name, result in used.items()}).save(out / "curves.png")


def _summary(rows: dict[str, dict[str, dict[str, float]]], names: list[str], out: Path) -> dict[str, Any]:
    def values(row: str, metric: str) -> dict[str, float]:
        return {name: rows[name][row][metric] for name in names if metric in rows[name].get(row, {})}

    table: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        found = {row: values(row, metric) for row in ROWS if metric != "fd_vgg"}
        table[metric] = {row: interval(np.array(list(v.values()))) for row, v in found.items() if v}
    features = [np.load(out / "clips" / name / "features.npz") for name in names]
    if all("truth" in one for one in features):
        pooled = {row: np.concatenate([one[row] for one in features]) for row in ROWS if row in features[0]}
        many = {row: f for row, f in pooled.items() if min(len(f), len(pooled["truth"])) > 1}  # one has no spread
        table["fd_vgg"] = {row: (frechet_distance(f, pooled["truth"]),) * 3 for row, f in many.items()}
    differences = {}
    for metric in COMPARED:
        for ours, other in PAIRS:
            a, b = values(ours, metric), values(other, metric)
            both = [a[name] - b[name] for name in names if name in a and name in b]
            if both:
                differences[f"{metric}: {ours} - {other}"] = interval(np.array(both))
    way = {}
    for metric in ("psnr_head", "lpips_alex"):
        still, driven, best = (values(row, metric) for row in ("still photo", "driven", "ceiling"))
        apart = [name for name in names if name in best and best[name] != still[name]]
        shares = [(driven[name] - still[name]) / (best[name] - still[name]) for name in apart]
        if shares:
            way[metric] = interval(np.array(shares))
    return {"rows": {metric: row for metric, row in table.items() if row}, "differences": differences, "way": way}


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"| metric | {' | '.join(ROWS)} | |", "|---" * (len(ROWS) + 2) + "|"]
    for metric, by_row in rows.items():
        cells = []
        for row in ROWS:
            middle, low, high = by_row.get(row, (None,) * 3)
            several = low != high
            cells.append(
                "" if middle is None else f"{middle:.3g} ({low:.3g} to {high:.3g})" if several else f"{middle:.3g}"
            )
        unit, meaning = METRICS[metric]
        lines.append(f"| {metric} | {' | '.join(cells)} | {' '.join((unit, meaning)).strip()} |")
    return lines


def _sheet(strips: list[Path]) -> Image.Image:
    sheet = Image.new("RGB", (TILE * (MOMENTS + 1), len(strips) * (2 * TILE + 8)), "white")
    for number, path in enumerate(strips):
        with Image.open(path) as strip:
            sheet.paste(strip, (0, number * (2 * TILE + 8)))
        ImageDraw.Draw(sheet).text((4, number * (2 * TILE + 8) + TILE + 4), path.parent.name, fill="black")
    return sheet


def _curves(curves: dict[str, dict[str, list[float]]]) -> Image.Image:
    """Lip aperture of the truth (black) and ours with a still head (orange), one panel a clip."""
    width, height = 1000, 120
    picture = Image.new("RGB", (width, height * len(curves)), "white")
    draw = ImageDraw.Draw(picture)
    for number, (name, pair) in enumerate(curves.items()):
        top = max(max(pair["truth"]), max(pair["ours"]), 1e-6)
        for kind, colour in (("truth", "black"), ("ours", "darkorange")):
            x = np.linspace(0, width - 1, len(pair[kind]))
            y = height * (number + 1) - 6 - np.array(pair[kind]) / top * (height - 26)
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        r = correlation(np.array(pair["ours"]), np.array(pair["truth"]))
        draw.text((4, height * number + 2), f"{name}  r = {r:.2f}, full scale {100 * top:.0f} %", fill="black")
    return picture


def main() -> int:
    """Exit codes as of `mggdub`."""
    parser = argparse.ArgumentParser(description="Evaluate mggdub on a folder of clips with sound.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--others", type=int, default=3, help="sounds of other clips per clip (3)")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"frames compared per clip ({PICTURES})")
    parser.add_argument("--only", nargs="*", default=[], help="names of clips, without ending")
    parser.add_argument("--jobs", type=int, default=1, help="clips at a time, each with its share of the cores (1)")
    parser.add_argument("--apart", default="", help="report clips whose name begins so once more apart")
    wanted = parser.parse_args()
    try:
        if not wanted.clips.is_dir():
            raise UsageError(f"{wanted.clips} is no folder; give one that holds clips: make evaluate CLIPS=folder.")
        clips = sorted(path for path in wanted.clips.iterdir() if path.suffix.lower() in (".mp4", ".mov", ".m4v"))
        clips = [path for path in clips if not wanted.only or path.stem in wanted.only]
        clips = [path for path in clips if probe(path).has_audio]
        if not clips:
            raise UsageError(f"{wanted.clips} holds no MP4 or MOV with sound.")
        evaluate_folder(clips, wanted.out, wanted.others, wanted.pictures, wanted.apart, wanted.jobs)
    except MggdubError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(wanted.out / "report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
