"""Pairs of drawn and true lower faces: `python -m mggdub.train.lower_face_data CLIPS TRACKS OUT [--portraits FOLDER]`.

CLIPS is a folder of videos with its manifest.csv, TRACKS what `prepare` made of it. One frame of a clip becomes an
avatar that others of its frames drive, those that differ most; OUT/<clip>_<n>.npz holds the windows of the lower face
of what was drawn and of what is true. `--portraits`: photos of people at rest and smiling, named
<set>_<neutral|smiling>_<number>, each driven to the other's expression. What is there is not made again.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mggdub.animation.animate import posed_heads
from mggdub.animation.compositor import Compositor
from mggdub.animation.lower_face import LowerFace, cut_window, drawn_inputs, find_window
from mggdub.avatar.build import build_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import MggdubError
from mggdub.face.expression import lip_modes, photo_state
from mggdub.face.portrait import choose_face, portrait
from mggdub.geometry.camera import head_mesh
from mggdub.geometry.rotation import plane_similarity
from mggdub.media.image import read_image
from mggdub.media.video import read_video
from mggdub.models import Models, load_models
from mggdub.motion.driving import read_expression, relative_pose
from mggdub.networks.lower_face import LowerFaceNet
from mggdub.options import RenderOptions
from mggdub.train.common import save_arrays
from mggdub.train.head_data import FAR, SHORTEST, choose_frames
from mggdub.train.prepare import clips, first_of_each, load_track
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array, ExpressionTrack, Photo

POOL, SOURCES = 14, (0, 3, 7)  # frames of a clip, and which of them become avatars
CLIPS_EACH = 3  # of a person
SMALLEST = 256  # px of a frame's side
MOST_TURN = 25.0  # degrees between the photo and what it is driven to
# Landmarks that no expression moves much, by which one portrait is laid over the other.
STEADY = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 234, 454)


@dataclass(frozen=True, eq=False)
class Drive:
    """An avatar and what drives it: a track of `retarget` whose first frame is the photo, and the true frames."""

    avatar: HeadAvatar
    track: ExpressionTrack
    truth: list[Array]  # [H, W, 3] uint8 each, cut like the avatar's picture


def windows(drive: Drive, models: Models) -> dict[str, Array]:
    """What is trained on.

    photo [4, S, S] float16; drawn [F, 9, S, S] float16, whole and true [F, S, S, 3] uint8.
    """
    avatar, track, truth = drive.avatar, drive.track, drive.truth
    compositor, lower_face = Compositor.of(avatar), LowerFace.of(avatar, models.lower_face)
    found: dict[str, list[Array]] = {"drawn": [], "whole": [], "true": []}
    for number, (now, head) in enumerate(posed_heads(avatar, models, track, relative=True)):
        if number == 0:
            continue  # the photo itself
        window = find_window(avatar.mesh, now.displacement, now.rotation, now.translation, avatar.camera)
        drawn = compositor.draw(head)
        found["drawn"].append(drawn_inputs(drawn, window, lower_face.at_rest).astype(np.float16))
        found["whole"].append(cut_window(compositor.rgb(drawn, track.torso[number]), avatar, window))
        found["true"].append(cut_window(truth[number], avatar, window))
    return {"photo": lower_face.photo.astype(np.float16)} | {name: np.array(values) for name, values in found.items()}


def clip_drive(path: Path, track: dict[str, Array], models: Models, source: int) -> Drive:
    """Of a clip whose pool's frame number `source` is the photo. Raises MggdubError."""
    basis = models.expression
    pool = choose_frames(basis, track, POOL)
    first = int(pool[source])
    angles, shift = relative_pose(track["rotation"], track["translation"], first, track["landmarks"][first])
    order = np.array([first, *(k for k in pool if k != first and np.abs(angles[k]).max() < MOST_TURN)])
    frames = {k: frame.copy() for k, (_, frame) in enumerate(read_video(path)) if k in set(order.tolist())}
    units, modes = read_expression(basis, track["mesh"], track["rotation"], track["blendshapes"])
    torsos = track["torso"] - track["torso"][first]
    times = np.arange(len(order)) * FAR
    played = ExpressionTrack(times, units[order], modes[order], angles[order], shift[order], torsos[order])
    avatar = build_avatar(Photo(frames[first]), models, RenderOptions())
    return Drive(avatar, played, [frames[k] for k in order.tolist()])


def portrait_drive(photo: Photo, other: Photo, models: Models) -> Drive:
    """Of one portrait with the expression of another of the same person. Raises MggdubError.

    How lips differ between both is measured, not estimated from each alone.
    """
    basis = models.expression
    heads = [portrait(p, choose_face(models.faces.find(p.pixels)), models.faces) for p in (photo, other)]
    states = np.stack([photo_state(basis, head) for head in heads])
    meshes = [head_mesh(head.landmarks, head.camera) for head in heads]
    apart = meshes[1] - meshes[0]
    apart -= apart[list(STEADY)].mean(0)
    count = len(DRIVING_UNITS)
    units = np.zeros((2, len(BLENDSHAPES)), np.float32)
    units[:, list(DRIVING_UNITS)] = states[:, :count]
    modes = np.stack([states[0, count:], states[0, count:] + lip_modes(basis, apart)])
    still = np.zeros((2, 3), np.float32)
    played = ExpressionTrack(np.arange(2) * FAR, units, modes, still, still, np.zeros((2, 4), np.float32))
    avatar = build_avatar(photo, models, RenderOptions())
    scale = avatar.image.shape[1] / photo.size[0]
    here, there = (head.crop.to_picture(head.landmarks[list(STEADY), :2]) for head in heads)
    turn, shift = plane_similarity(here * scale @ [1, 1j], there @ [1, 1j])  # px of the output to px of the other photo
    rows, columns = np.mgrid[: avatar.image.shape[0], : avatar.image.shape[1]] + 0.5
    at = turn * (columns + 1j * rows) + shift
    places = [at.imag - 0.5, at.real - 0.5]
    laid = [ndimage.map_coordinates(other.pixels[..., c], places, order=1, mode="nearest") for c in range(3)]
    return Drive(avatar, played, [avatar.image, np.stack(laid, -1)])


def portraits(folder: Path) -> dict[str, dict[str, Path]]:
    """Photos of every person by expression."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(r"(\w+?)_(neutral|smiling)_(\w+)", path.stem):
            found.setdefault(f"{match[1]}_{match[3]}", {})[match[2]] = path
    return {person: both for person, both in found.items() if len(both) == 2}


def usable(folder: Path, split: str) -> list[dict[str, str]]:
    """Rows of the manifest's split: near-frontal faces that are large enough, CLIPS_EACH of everybody."""
    rows = [row for row in clips(folder) if row["split"] == split and row.get("pose") != "profile"]
    return first_of_each([row for row in rows if int(row.get("size", SMALLEST)) >= SMALLEST], CLIPS_EACH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path)
    parser.add_argument("--split", default="train")
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = load_models(lower_face=LowerFaceNet().eval())  # what is trained here plays no part
    given.out.mkdir(parents=True, exist_ok=True)
    for person, both in (portraits(given.portraits) if given.portraits else {}).items():
        photos = {name: read_image(path) for name, path in both.items()}
        for name, other in (("neutral", "smiling"), ("smiling", "neutral")):
            target = given.out / f"{person}_{name}.npz"
            if not target.exists():
                found = windows(portrait_drive(photos[name], photos[other], models), models)
                save_arrays(target, found | {"identity": np.array(person)})
                print(target.stem, flush=True)
    for source in SOURCES:
        for row in usable(given.clips, given.split):
            stem = Path(row["file"]).stem
            tracked, target = given.tracks / given.split / f"{stem}.npz", given.out / f"{stem}_{source}.npz"
            if target.exists() or not tracked.exists():
                continue
            track = load_track(tracked)
            if len(track["times"]) < SHORTEST:
                continue
            try:
                found = windows(clip_drive(given.clips / row["file"], track, models, source), models)
            except MggdubError as error:
                print(f"dropped {row['file']}: {error}", flush=True)
                continue
            if len(found["true"]):
                save_arrays(target, found | {"identity": np.array(row["identity"])})
                print(target.stem, len(found["true"]), flush=True)


if __name__ == "__main__":
    main()
