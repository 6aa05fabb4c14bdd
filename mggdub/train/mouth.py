"""The atlas of mouths: `python -m mggdub.train.mouth CLIPS WORK WEIGHTS`.

Every training clip's mouth is followed and cut out of its frames (WORK keeps that and goes on from it), each person's
frames become sharp states, and those people are taken whose mouths suit others best. No frame is stored: a state is the
median of several, inside the lips only.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mggdub import weights
from mggdub.avatar.lips import closed_middle
from mggdub.avatar.mouth import BEHIND, cheek_colour, people_costs
from mggdub.errors import MggdubError
from mggdub.evaluation.perceptual import Lpips, load_lpips
from mggdub.face.clip import calm_frames, fit_person, smooth_pose
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import LOWER_LIP, UPPER_LIP
from mggdub.geometry.camera import crop_matrix, head_crop, head_meshes, project_with
from mggdub.media.video import probe, read_video
from mggdub.networks.mouth import NAME, MouthAtlas, MouthConfig
from mggdub.train.common import held_out, save_arrays
from mggdub.train.mouth_choice import Sample, Trial, costs, samples, showing, tried
from mggdub.train.mouth_states import Frames, X, Y, fit_states, place
from mggdub.train.prepare import clips as prepared_clips
from mggdub.train.prepare import first_of_each, lip_gap, load_track
from mggdub.types import Array, Crop, Face

LOOKED_FPS = 12.5  # about so many frames a second are looked at
MOST_LOOKED, LEAST_LOOKED = 100, 20  # of a clip
LARGE_FACE = 205  # px, smallest face height
CLIPS_EACH = 2  # of a person
OPEN, SURE, FRONTAL = 0.12, 0.5, 0.35  # cm of gap, presence and sine of the turn of frames that are used
MOST_FRAMES, FEWEST_FRAMES = 110, 25  # of a person
PEOPLE = 16  # whose mouths are shipped
SERVED = 3  # one in so many people shows whom the mouths of the others suit
WIDE, FEWEST_WIDE = 0.35, 20  # cm of gap, and how many frames must have it
CARD = {
    "what": "What is seen between the lips of some people: sharp states of their mouths",
    "method": "frames aligned by their teeth; each state is the median of a few that look alike, inside the lips only",
    "trained on": "talking clips of people not in the validation split, one in nine people held out; the choice of "
    "people and the few settings were judged on the other people of the training split",
    "licence": "research use only, see weights/LICENSE",
    "limits": "Teeth that a photo does not show are somebody else's, of those in similar light",
}


def collect(clips: Path, work: Path) -> list[Path]:
    """One file of mouths for every usable training clip; those that are there already are kept."""
    finder, made = FaceFinder(1), []
    for row in usable_clips(clips):
        target = work / f"{Path(row['file']).stem}.npz"
        if not target.exists():
            try:
                save_arrays(target, {**clip_mouths(clips / row["file"], finder), "identity": np.array(row["identity"])})
            except MggdubError as error:
                print(f"dropped {row['file']}: {error}", flush=True)
                continue
        made.append(target)
    return made


def usable_clips(clips: Path) -> list[dict[str, str]]:
    """Rows of the manifest: large frontal faces of people who are trained on, CLIPS_EACH of everybody."""
    usable = []
    for row in prepared_clips(clips):
        large = float(row.get("face_height_px", LARGE_FACE)) >= LARGE_FACE
        frontal = row.get("pose", "near-frontal") == "near-frontal"
        if row["split"] == "train" and large and frontal:
            usable.append(row)
    return first_of_each(usable, CLIPS_EACH)


def clip_mouths(path: Path, finder: FaceFinder) -> dict[str, Array]:
    """Open mouths of one clip: pictures [F, 96, 128, 3] uint8, mesh and rest [F, 478, 3], skin [F, 3]."""
    numbers, faces = followed(path, finder)
    if len(faces) < LEAST_LOOKED:
        return _no_mouths()
    landmarks = np.stack([face.landmarks for face in faces])
    crop = head_crop(np.median(landmarks[:5], 0))
    landmarks = crop.to_crop(landmarks)
    poses = smooth_pose(*fit_person(landmarks)[1:])
    mesh = head_meshes(landmarks, *poses, crop_matrix())
    rest = np.median(mesh[calm_frames(mesh, np.stack([face.blendshapes for face in faces]))], 0).astype(np.float32)
    sure = np.array([face.score for face in faces]) > SURE
    good = sure & (np.abs(poses[0][:, 0, 2]) < FRONTAL) & (lip_gap(mesh) > OPEN)
    taken = {numbers[k]: k for k in np.flatnonzero(good)}
    pictures, skins = [], []
    for number, (_, frame) in enumerate(read_video(path)):
        if number in taken:
            k = taken[number]
            pictures.append(head_picture(frame, crop, mesh[k], rest, poses[0][k], poses[1][k]))
            soft = ndimage.uniform_filter(frame, (5, 5, 1))
            skins.append(cheek_colour(soft, crop.to_picture(landmarks[k])))
    if not pictures:
        return _no_mouths()
    used = mesh[list(taken.values())].astype(np.float32)
    rests = np.repeat(rest[None], len(used), 0)
    return {"pictures": np.array(pictures), "mesh": used, "rest": rests, "skin": np.array(skins)}


def _no_mouths() -> dict[str, Array]:
    meshes = {name: np.zeros((0, 478, 3), np.float32) for name in ("mesh", "rest")}
    return {"pictures": np.zeros((0, len(Y), len(X), 3), np.uint8), "skin": np.zeros((0, 3)), **meshes}


def followed(path: Path, finder: FaceFinder) -> tuple[list[int], list[Face]]:
    """Numbers of the frames that are looked at, and the face in each; those without one are left out."""
    numbers: list[int] = []
    faces: list[Face] = []
    face: Face | None = None
    step = max(1, round(float(probe(path).fps) / LOOKED_FPS))
    for number, (_, frame) in enumerate(read_video(path)):
        if number % step:
            continue
        face = (finder.track(frame, face) if face else None) or next(iter(finder.find(frame)), None)
        if face:
            numbers.append(number)
            faces.append(face)
        if len(faces) == MOST_LOOKED:
            break
    return numbers, faces


def head_picture(frame: Array, crop: Crop, mesh: Array, rest: Array, rotation: Array, translation: Array) -> Array:
    """[96, 128, 3] uint8: the mouth as it lies in the skull's frame, at the depth of the teeth."""
    upper, lower = mesh[list(UPPER_LIP)], mesh[list(LOWER_LIP)]
    middle = closed_middle(rest)
    order = np.argsort(upper[:, 0])
    depth = np.interp(X + middle[0], upper[order, 0], (upper[order, 2] + lower[order, 2]) / 2) + BEHIND
    points = np.stack(np.broadcast_arrays((X + middle[0])[None], (Y + middle[1])[:, None], depth[None]), -1)
    at = crop.to_picture(project_with(points @ rotation.T + translation, crop_matrix())) - 0.5
    where = [at[..., 1], at[..., 0]]
    colours = [ndimage.map_coordinates(frame[..., c], where, order=1, mode="nearest") for c in range(3)]
    return np.stack(colours, -1)


def people(files: list[Path]) -> dict[str, Frames]:
    """Everybody's open mouths, of those who show enough of them."""
    parts: dict[str, list[dict[str, Array]]] = {}
    for path in files:
        mouths = load_track(path)
        parts.setdefault(str(mouths.pop("identity")), []).append(mouths)
    found = {}
    for name, several in sorted(parts.items()):
        whole = {key: np.concatenate([one[key] for one in several]) for key in several[0]}
        count = len(whole["pictures"])
        if count < FEWEST_FRAMES or (lip_gap(whole["mesh"]) > WIDE).sum() < FEWEST_WIDE:
            continue
        chosen = np.sort(np.random.default_rng(0).permutation(count)[:MOST_FRAMES])
        found[name] = Frames(*(whole[key][chosen] for key in ("pictures", "mesh", "rest", "skin")))
    return found


def atlas_of(rows: list[dict[str, Array]], config: MouthConfig) -> MouthAtlas:
    """An atlas of these people, whoever they suit."""
    atlas = MouthAtlas(replace(config, people=len(rows)))
    parts = {name: torch.from_numpy(np.array([row[name] for row in rows])) for name in rows[0]}
    atlas.load_state_dict({k: v if v.dtype == torch.uint8 else v.float() for k, v in parts.items()})
    return atlas.requires_grad_(False)


def best(atlas: MouthAtlas, trial: Trial, count: int) -> tuple[MouthAtlas, list[int]]:
    """The people who suit others best and their numbers."""
    cost = costs(trial, np.array([showing(atlas, k) for k in range(atlas.config.people)]))
    order = np.argsort(cost, kind="stable")[: min(count, int(np.isfinite(cost).sum()))].copy()
    state = {name: value[order] for name, value in atlas.state_dict().items()}
    chosen = MouthAtlas(replace(atlas.config, people=len(order)))
    chosen.load_state_dict(state)
    return chosen.requires_grad_(False), order.tolist()


def measure(atlas: MouthAtlas, everybody: list[list[Sample]], lpips: Lpips) -> dict[str, float]:
    """How the atlas serves people who are not in it, each painted with whom an avatar would choose."""
    trial = tried(atlas, everybody, lpips)
    rows = []
    for q, mouths in enumerate(everybody):
        if mouths:
            p = people_costs(atlas, mouths[0].skin).argmin()
            rows.append([trial.lpips[p, q], *trial.inside[p, q]])
    middle = np.nanmedian(np.array(rows), 0)
    named = dict(zip(("lpips", "inner_spread", "inner_level", "inner_sharpness"), middle, strict=True))
    return {"people": len(rows)} | {name: round(float(value), 4) for name, value in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--only", nargs="*", default=[], help="people whose mouths were looked at and found good")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    everybody = people(collect(given.clips, given.work))
    known = {name: frames for name, frames in everybody.items() if not held_out(name)}
    names = [name for name in known if not given.only or name in given.only]
    atlas = atlas_of([fit_states(place(known[name]), MouthConfig()) for name in names], MouthConfig())
    lpips = load_lpips()
    served = list(known)[::SERVED]
    trial = tried(atlas, [samples(known[name]) for name in served], lpips)
    same = np.array([[name == other for other in served] for name in names])  # nobody serves themselves
    trial.lpips[same] = trial.inside[same] = np.nan
    chosen, order = best(atlas, trial, given.people)
    others = [samples(frames) for name, frames in everybody.items() if held_out(name)]
    metrics = measure(chosen, others, lpips)
    frames = sum(len(frames) for frames in known.values())
    card = CARD | {"metrics": metrics, "people": len(order), "chosen from": len(known), "frames": frames}
    weights.save(given.weights, NAME, chosen.state_dict(), asdict(chosen.config), card)
    print(metrics, [names[k] for k in order])


if __name__ == "__main__":
    main()
