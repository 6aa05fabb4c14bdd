"""Mouths against the truth: `python -m mggdub.train.mouth_judge CLIPS OUT` and once more with `--against OTHER_OUT`.

Every clip's first frame becomes an avatar that the clip itself drives, so that only the picture is judged. Frames with
open mouths are drawn in pairs of neighbours. OUT gets a .json and a sheet (truth above ours) of every clip and the
features that FD-VGG compares; with OTHER_OUT, which an earlier version filled, paired differences are told. `--real`
judges other true frames of the clip instead of ours, those whose lips are most alike: what a real picture would get.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from mggdub.animation.animate import animate
from mggdub.animation.lower_face import below_eyes
from mggdub.avatar.build import build_avatar
from mggdub.evaluation import perceptual
from mggdub.evaluation.pictures import mouth_box
from mggdub.face.mesh import INNER_LIPS, OUTER_LIPS, inside_mask
from mggdub.geometry.camera import OUTER_EYES
from mggdub.media.video import probe, read_video
from mggdub.metrics import pixels
from mggdub.metrics.landmarks import lip_aperture
from mggdub.models import Models, load_models
from mggdub.motion.driving import track_video
from mggdub.motion.track import resample
from mggdub.options import RenderOptions
from mggdub.train.common import interval, save_arrays
from mggdub.types import Array, ExpressionTrack, Face, Photo

PAIRS = 10  # of neighbouring frames that are drawn of a clip
OPEN = 0.03  # of the outer-eye distance, between the inner lips
FEWEST = 60  # px inside the inner lips that are judged
APART = 12  # frames at least, between a frame and the true one that stands for ours
BOX, HALF = 160, 0.55  # px of a mouth's square; half its side in eye distances
METRICS = ("sharpness", "inner_sharpness", "spread", "level", "change", "lpips", "csim")


@dataclass(frozen=True, eq=False)
class Judges:
    """What looks at mouths."""

    lpips: perceptual.Lpips
    vgg: perceptual.Vgg
    recogniser: perceptual.Recogniser


def drive_of(clip: Path, models: Models, cache: Path) -> ExpressionTrack:
    """The clip's own track; read once and kept."""
    names = [f.name for f in fields(ExpressionTrack) if f.name != "at_camera"]
    if not cache.exists():
        track = resample(track_video(clip, models), float(probe(clip).fps))
        save_arrays(cache, {name: getattr(track, name) for name in names})
    with np.load(cache) as file:
        return ExpressionTrack(**{name: file[name] for name in names})


def chosen_frames(faces: list[Face | None], count: int = PAIRS) -> list[int]:
    """Numbers of frames, spread over the clip, whose mouth is open and who have a neighbour, the first one left out."""
    gaps = [0.0 if face is None else float(lip_aperture(face.landmarks[None])[0]) for face in faces]
    usable = [k for k in range(5, len(gaps) - 1) if min(gaps[k], gaps[k + 1]) > OPEN]
    places = np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)
    return [usable[k] for k in np.unique(places)]


def square(landmarks: Array) -> Array:
    """[2, 3]: from px of a mouth's square to px of the frame; it stands as the eyes do, so lips move in it."""
    right, left = landmarks[list(OUTER_EYES), :2].astype(np.float64)
    return below_eyes(right, left, HALF, BOX)


def cut_square(frame: Array, landmarks: Array) -> Array:
    """[BOX, BOX, 3] uint8: the mouth's square of a frame."""
    to_frame = square(landmarks)
    at = np.moveaxis(np.mgrid[:BOX, :BOX], 0, -1)[..., ::-1] + 0.5
    x, y = np.moveaxis(at @ to_frame[:, :2].T + to_frame[:, 2] - 0.5, -1, 0)
    found = [
        ndimage.map_coordinates(frame[..., c].astype(np.float32), [y, x], order=1, mode="nearest") for c in (0, 1, 2)
    ]
    return np.stack(found, -1).round().clip(0, 255).astype(np.uint8)


def inner_mask(landmarks: Array, shape: tuple[int, ...]) -> Array:
    """[H, W] bool: inside the inner lips, one pixel in."""
    return np.asarray(ndimage.binary_erosion(inside_mask(landmarks[list(INNER_LIPS), :2], shape)))


def mouth_numbers(frame: Array, landmarks: Array) -> dict[str, float]:
    """Sharpness of the lips' box, and sharpness, spread and level of luma inside them, 0..255."""
    left, top, right, bottom = mouth_box(landmarks)
    part = frame[top:bottom, left:right]
    mask = inner_mask(landmarks[:, :2] - [left, top], part.shape)
    luma = pixels.grey(part)
    edges = ndimage.gaussian_laplace(luma, 1.0)[mask]
    few = mask.sum() < FEWEST
    return {
        "sharpness": pixels.sharpness(part),
        "inner_sharpness": float("nan") if few else float(edges.var()),
        "spread": float("nan") if few else float(luma[mask].std()),
        "level": float("nan") if few else float(luma[mask].mean()),
    }


def most_alike(faces: list[Face | None], frame: int) -> int:
    """The number of the frame, APART at least and with a face after it, whose lips are most like a frame's."""
    lips = [*OUTER_LIPS, *INNER_LIPS]
    shapes = {k: _in_square(face.landmarks, face.landmarks)[lips] for k, face in enumerate(faces) if face}
    others = [k for k in shapes if abs(k - frame) > APART and k + 1 in shapes]
    return min(others, key=lambda k: float(np.abs(shapes[k] - shapes[frame]).mean()))


def judge_clip(clip: Path, out: Path, models: Models, judges: Judges, real: bool = False) -> dict[str, Any] | None:
    """Median ratios and distances of a clip; None where it shows no open mouth. `real`: of other true frames."""
    drive = drive_of(clip, models, out / f"{clip.stem}.track.npz")
    truth = {k: frame.copy() for k, (_, frame) in enumerate(read_video(clip))}
    faces = follow(truth, models)
    chosen = [k for k in chosen_frames(faces) if k + 1 < len(drive)]
    if len(chosen) < 3:
        return None
    options = RenderOptions(fps=probe(clip).fps, pose="still", seed=0)
    avatar = build_avatar(Photo(truth[0]), models, options)
    rows, tiles = [], []
    features: dict[str, list[Array]] = {"ours": [], "truth": []}
    for k in chosen:
        true = [face for face in faces[k : k + 2] if face]
        if real:
            other = most_alike(faces, k)
            ours, places = [truth[other], truth[other + 1]], [face for face in faces[other : other + 2] if face]
        else:
            draw = animate(avatar, models, drive, relative=True, start=k)
            ours, places = [next(draw), next(draw)], true
        our_faces = [face for frame, at in zip(ours, places, strict=True) if (face := models.faces.track(frame, at))]
        if len(our_faces) < 2:
            continue
        row, boxes = judge_pair(ours, [truth[k], truth[k + 1]], our_faces, true, places, judges)
        rows.append(row)
        for name, box in zip(("ours", "truth"), boxes, strict=True):
            features[name].append(judges.vgg.features(box))
        tiles.append(np.concatenate(boxes[::-1]))
    save_arrays(out / f"{clip.stem}.features.npz", {name: np.array(v) for name, v in features.items()})
    Image.fromarray(np.concatenate(tiles, 1)).save(out / f"{clip.stem}.png")
    columns = {name: np.array([row[name] for row in rows]) for name in METRICS}
    return {name: float(np.nanmedian(v)) for name, v in columns.items() if np.isfinite(v).any()} | {"frames": len(rows)}


def follow(frames: dict[int, Array], models: Models) -> list[Face | None]:
    """The face in every frame."""
    found: list[Face | None] = []
    face: Face | None = None
    for frame in frames.values():
        face = models.faces.track(frame, face) if face else next(iter(models.faces.find(frame)), None)
        found.append(face)
    return found


def judge_pair(
    ours: list[Array], truth: list[Array], our_faces: list[Face], true: list[Face], places: list[Face], judges: Judges
) -> tuple[dict[str, float], tuple[Array, Array]]:
    """One frame's numbers, with what changes to the next, and the two mouths' squares: ours lies as `places` say."""
    a, b = mouth_numbers(ours[0], our_faces[0].landmarks), mouth_numbers(truth[0], true[0].landmarks)
    row = {name: a[name] / max(b[name], 1e-6) for name in a}
    squares = [
        [cut_square(f, t.landmarks) for f, t in zip(fs, at, strict=True)] for fs, at in ((ours, places), (truth, true))
    ]
    row["lpips"] = judges.lpips.distance(squares[0][0], squares[1][0])
    changes = []
    for pair, sides, at in zip(squares, (our_faces, true), (places, true), strict=True):
        marks = [_in_square(f.landmarks, t.landmarks) for f, t in zip(sides, at, strict=True)]
        mask = inner_mask(marks[0], (BOX, BOX)) & inner_mask(marks[1], (BOX, BOX))
        apart = np.abs(pixels.grey(pair[0]) - pixels.grey(pair[1]))[mask]
        changes.append(float(apart.mean()) if len(apart) > FEWEST else float("nan"))
    row["change"] = changes[0] / max(changes[1], 1e-6)
    row["csim"] = perceptual.cosine(
        judges.recogniser.descriptor(ours[0], our_faces[0].landmarks),
        judges.recogniser.descriptor(truth[0], true[0].landmarks),
    )
    return row, (squares[0][0], squares[1][0])


def _in_square(landmarks: Array, beside: Array) -> Array:
    """[478, 2]: landmarks [478, >=2] px of a frame in the square that `beside` places."""
    to_frame = square(beside)
    return (landmarks[:, :2] - to_frame[:, 2]) @ np.linalg.inv(to_frame[:, :2]).T


def report(out: Path, against: Path | None) -> dict[str, Any]:
    """Medians over clips with intervals, FD-VGG, and what changed against an earlier version."""
    rows = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(out.glob("*.json"))}
    summary: dict[str, Any] = {"clips": len(rows)}
    for name in METRICS:
        summary[name] = interval(np.array([row[name] for row in rows.values() if name in row]))
    summary["fd_vgg"] = fd_vgg(out, sorted(rows))
    if against is None:
        return summary
    before = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(against.glob("*.json"))}
    both = sorted(rows.keys() & before.keys())
    summary["clips in both"] = len(both)
    for name in METRICS:
        apart = [rows[c][name] - before[c][name] for c in both if name in rows[c] and name in before[c]]
        summary[f"{name} - before"] = interval(np.array(apart), "mean")
    shares = [rows[c]["lpips"] / before[c]["lpips"] - 1 for c in both]
    summary["lpips, share of before"] = interval(np.array(shares), "mean")
    summary["fd_vgg before"], summary["fd_vgg of both"] = fd_vgg(against, both), fd_vgg(out, both)
    return summary


def fd_vgg(out: Path, names: list[str]) -> float:
    """Of all clips' mouths together."""
    parts: dict[str, list[Array]] = {"ours": [], "truth": []}
    for name in names:
        with np.load(out / f"{name}.features.npz") as file:
            for side, found in parts.items():
                found.append(file[side])
    return pixels.frechet_distance(np.concatenate(parts["ours"]), np.concatenate(parts["truth"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--real", action="store_true", help="other true frames of the clip instead of ours")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    models = load_models()
    judges = Judges(perceptual.load_lpips(), perceptual.load_vgg(), perceptual.load_recogniser())
    for clip in sorted(given.clips.glob("*.mp4")):
        result = given.out / f"{clip.stem}.json"
        if result.exists() or (given.only and clip.stem not in given.only):
            continue
        numbers = judge_clip(clip, given.out, models, judges, given.real)
        if numbers is None:
            print(f"{clip.stem}: no open mouth", flush=True)
            continue
        result.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
        print(clip.stem, {name: round(value, 3) for name, value in numbers.items()}, flush=True)
    for name, value in report(given.out, given.against).items():
        print(name, np.round(value, 4).tolist())


if __name__ == "__main__":
    main()
