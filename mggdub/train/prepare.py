"""Talking clips to tracks: landmarks, blendshapes, head pose and head-space meshes of every frame.

`python -m mggdub.train.prepare CLIPS_DIR OUT_DIR` reads CLIPS_DIR/manifest.csv (columns file, split, identity, audio)
and writes OUT_DIR/<split>/<clip>.npz; clips that are done already are skipped, those that cannot be used are named with
the reason. A folder without a manifest is taken as training clips of as many people as it has videos.

`--split extra --lips 20` makes tracks of 20 s at most of every person of one split, for the speech model alone: poses
are those of the landmarks, the torso stands still. That takes a third of the time.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mggdub.errors import MggdubError
from mggdub.face import clip
from mggdub.face.clip import calm_frames, fit_person, smooth_pose
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.geometry.camera import crop_matrix, head_crop, head_meshes
from mggdub.media.video import read_video
from mggdub.motion.driving import steady_poses
from mggdub.networks.geometry import GeometryNet, load_geometry
from mggdub.train.common import save_arrays
from mggdub.types import Array, Crop, Face

MOST_LOST = 0.1  # of a clip's frames may be without a face
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
LARGEST_JUMP = 0.25  # face heights between frames; more is a cut


class Unusable(Exception):
    """Why a clip is dropped."""


def prepare_clip(path: Path, finder: FaceFinder, net: GeometryNet | None) -> dict[str, Array]:
    """The track of one clip, as `main` stores it; without a network, of its lips. Raises Unusable or MggdubError."""
    times, faces, size = _follow(path, finder)
    landmarks = np.stack([face.landmarks for face in faces])  # [T, 478, 3] px of the frame
    heights = np.linalg.norm(landmarks[:, 152, :2] - landmarks[:, 10, :2], axis=-1)
    jumps = np.abs(np.diff(np.median(landmarks[..., :2], 1), axis=0)).max(1, initial=0) / heights.min()
    if len(jumps) and jumps.max() > LARGEST_JUMP:
        raise Unusable(f"the face jumps by {jumps.max():.2f} face heights at frame {jumps.argmax() + 1}")
    crop = head_crop(np.median(landmarks[:5], 0))
    landmarks = crop.to_crop(landmarks)
    neutral, rotations, translations = fit_person(landmarks)
    poses = *smooth_pose(rotations, translations), np.zeros((len(times), 4), np.float32)
    if net:
        frames = (frame for _, frame in read_video(path))
        poses = steady_poses(frames, crop, landmarks, rotations, translations, net)
    meshes = head_meshes(landmarks, *poses[:2], crop_matrix())
    blendshapes = np.stack([face.blendshapes for face in faces])
    gap = lip_gap(meshes)
    return {
        "times": np.array(times),
        "landmarks": landmarks,
        "blendshapes": blendshapes,
        "presence": np.array([face.score for face in faces], np.float32),
        "crop": np.array([crop.left, crop.top, crop.side, crop.size, crop.angle]),
        "frame_size": np.array(size),
        "rotation": poses[0].astype(np.float32),
        "translation": poses[1].astype(np.float32),
        "torso": poses[2],
        "mesh": meshes,
        "neutral": neutral.astype(np.float32),
        "rest": np.median(meshes[calm_frames(meshes, blendshapes)], 0).astype(np.float32),
        "gap": gap.astype(np.float32),
    }


def _follow(path: Path, finder: FaceFinder) -> tuple[list[float], list[Face], tuple[int, int]]:
    """Times, one face per frame (a lost one repeats the last, with score 0) and (width, height)."""
    times: list[float] = []
    size = (0, 0)

    def frames() -> Iterator[Array]:
        nonlocal size
        for time, frame in read_video(path):
            times.append(time)
            size = (frame.shape[1], frame.shape[0])
            yield frame

    faces: list[Face] = []
    lost = 0
    for face in clip.follow_face(frames(), finder):
        if face is None and not faces:
            raise Unusable("no face in the first frame")
        lost += face is None
        faces.append(face or replace(faces[-1], score=0.0))
    if lost > MOST_LOST * len(faces):
        raise Unusable(f"no face in {lost} of {len(faces)} frames")
    return times, faces, size


def lip_gap(meshes: Array) -> Array:
    """Distance of the inner lips [T], cm."""
    return np.linalg.norm(meshes[:, INNER_UPPER_LIP] - meshes[:, INNER_LOWER_LIP], axis=-1)


def displacement(track: dict[str, Array]) -> tuple[Array, Array]:
    """(every frame's mesh minus rest [T, 478, 3] cm, rest [478, 3]) of a track."""
    calm = calm_frames(track["mesh"], track["blendshapes"])
    return clip.displacement(track["mesh"], track["rotation"], calm)


def load_track(path: Path) -> dict[str, Array]:
    """The fields of one prepared clip."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def crop_of(track: dict[str, Array]) -> Crop:
    """The crop that all frames of a track share."""
    left, top, side, size, *angle = track["crop"]
    return Crop(float(left), float(top), float(side), int(size), *map(float, angle))


def clips(folder: Path) -> list[dict[str, str]]:
    """Rows of the manifest: training clips with sound, then validation, extra and silent ones.

    Within each, the first clip of every person comes first, then the second of each, so that a run that is
    cut short has seen everybody.
    """
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)
        rows = [{"file": p.name, "split": "train", "identity": p.stem, "audio": "yes"} for p in found]
    order = {("train", "yes"): 0, ("val", "yes"): 1, ("extra", "yes"): 2}
    count: dict[str, int] = {}
    ranked = []
    for row in rows:
        count[row["identity"]] = count.get(row["identity"], 0) + 1
        ranked.append((order.get((row["split"], row["audio"]), 3), count[row["identity"]], row))
    return [row for *_, row in sorted(ranked, key=lambda item: item[:2])]


def first_of_each(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """At most so many rows of every person, the first ones, in their order."""
    count: dict[str, int] = {}
    chosen = []
    for row in rows:
        count[row["identity"]] = count.get(row["identity"], 0) + 1
        if count[row["identity"]] <= most:
            chosen.append(row)
    return chosen


def capped(rows: list[dict[str, str]], most: float) -> list[dict[str, str]]:
    """The first of every person's clips, `most` seconds together or one clip; without a manifest all of them."""
    taken: dict[str, float] = {}
    chosen = []
    for row in rows:
        if taken.get(row["identity"], 0.0) < most:
            chosen.append(row)
        taken[row["identity"]] = taken.get(row["identity"], 0.0) + float(row.get("seconds", 0))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--split", choices=("train", "val", "extra"), help="of the manifest; all of them without it")
    parser.add_argument("--lips", type=float, metavar="SECONDS", help="lips only, of so many seconds of every person")
    given = parser.parse_args()
    finder, net = FaceFinder(given.threads), None if given.lips else load_geometry()
    rows = [row for row in clips(given.clips) if given.split in (None, row["split"])]
    for row in capped(rows, given.lips) if given.lips else rows:
        target = given.out / row["split"] / (Path(row["file"]).stem + ".npz")
        if target.exists():
            continue
        try:
            track = prepare_clip(given.clips / row["file"], finder, net)
        except (Unusable, MggdubError) as error:
            print(f"dropped {row['file']}: {error}", flush=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(target, track)
        print(f"{row['file']}: {len(track['times'])} frames", flush=True)


if __name__ == "__main__":
    main()
