"""Faces that the expression basis is fitted to: tracked clips, and pairs of photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mggdub.face.clip import calm_frames
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP, canonical_face
from mggdub.face.portrait import portrait
from mggdub.geometry.camera import RIGID, crop_matrix, head_mesh, head_meshes, solve_pose
from mggdub.media.image import read_image
from mggdub.train.common import held_out
from mggdub.train.prepare import clips, displacement, load_track
from mggdub.types import LANDMARKS, Array

IDENTITY_CAP = 400  # frames: a person with more counts no more than that
PAIR_WEIGHT = 8.0  # a smiling photo counts like so many frames
HELD_OUT = 3  # one in three people of the photo pairs is only measured on
LARGEST_REST_GAP = 0.2  # cm; a clip whose rest gapes more never closes its lips
IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
IRIS_MIRROR = ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477))


@dataclass(frozen=True, eq=False)
class Talk:
    """The frames of one clip, relative to its rest."""

    identity: str
    displacement: Array  # [T, 478, 3] cm
    rest: Array  # [478, 3]
    units: Array  # [T, 52]
    rest_units: Array  # [52]
    single: Array  # [T', 478, 3] every fourth frame's mesh as a lone photo would give it
    weight: float = 1.0  # per frame


def read_talks(clips_dir: Path, tracks_dir: Path) -> list[Talk]:
    """Training clips whose lips close somewhere, weighted by identity."""
    canonical = canonical_face()[0][list(RIGID)]
    talks = []
    for row in clips(clips_dir):
        path = tracks_dir / "train" / (Path(row["file"]).stem + ".npz")
        if row["split"] != "train" or not path.exists():
            continue
        track = load_track(path)
        tracked = track["presence"] > 0
        move, rest = displacement(track)
        rest_units = np.median(track["blendshapes"][calm_frames(track["mesh"], track["blendshapes"])], 0)
        if height(rest) > LARGEST_REST_GAP:
            print(f"{path.name}: lips never close ({height(rest):.2f} cm), left out")
            continue
        landmarks = track["landmarks"][tracked][::4]
        poses = solve_pose(canonical, landmarks[:, list(RIGID), :2], crop_matrix())
        single = head_meshes(landmarks, *poses, crop_matrix())
        talks.append(Talk(row["identity"], move[tracked], rest, track["blendshapes"][tracked], rest_units, single))
    frames: dict[str, int] = {}
    for talk in talks:
        frames[talk.identity] = frames.get(talk.identity, 0) + len(talk.units)
    return [Talk(**{**talk.__dict__, "weight": min(1.0, IDENTITY_CAP / frames[talk.identity])}) for talk in talks]


def height(mesh: Array) -> Array:
    return mesh[..., INNER_LOWER_LIP, 1] - mesh[..., INNER_UPPER_LIP, 1]


def mirror_of(canonical: Array) -> Array:
    """The vertex across the symmetry plane [478]; irises by their known order."""
    mirror = np.arange(LANDMARKS)
    distance = np.linalg.norm(canonical[:468, None] * [-1, 1, 1] - canonical[None, :468], axis=-1)
    mirror[:468] = distance.argmin(1)
    for a, b in IRIS_MIRROR:
        mirror[a], mirror[b] = b, a
    assert (mirror[mirror] == np.arange(LANDMARKS)).all()
    return mirror


def read_pairs(photos_dir: Path) -> list[Talk]:
    """Neutral and smiling photos of the same people, each as a talk of one frame."""
    finder = FaceFinder(1)
    pairs = []
    for path in sorted(photos_dir.glob("*_neutral_*.jpg")):
        rest, rest_units = _photo_mesh(path, finder)
        smile, units = _photo_mesh(path.with_name(path.name.replace("neutral", "smiling")), finder)
        if height(rest) > LARGEST_REST_GAP:
            continue
        person = path.stem.rsplit("_", 1)[-1]
        move = (_onto(smile, rest) - rest)[None]
        about = (f"photo_{person}", move, rest, units[None], rest_units, smile[None], PAIR_WEIGHT)
        smiling = Talk(*about)
        pairs += [smiling, replace(smiling, displacement=0 * move, units=rest_units[None], single=rest[None])]
    return pairs


def _photo_mesh(path: Path, finder: FaceFinder) -> tuple[Array, Array]:
    photo = read_image(path)
    head = portrait(photo, finder.find(photo.pixels)[0], finder)
    return head_mesh(head.landmarks, head.camera), head.blendshapes


def _onto(mesh: Array, target: Array) -> Array:
    """A mesh turned and moved so that its rigid landmarks lie on the target's."""
    a, b = mesh[list(RIGID)], target[list(RIGID)]
    u, _, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return ((mesh - a.mean(0)) @ rotation.T + b.mean(0)).astype(np.float32)


def is_held_out(talk: Talk) -> bool:
    """Photo pairs that no fit sees."""
    return talk.identity.startswith("photo_") and held_out(talk.identity, HELD_OUT)
