"""How emotions look while people speak: `python -m mggdub.train.emotion CLIPS_DIR TRACKS_DIR PHOTOS_DIR`.

From the acted clips of RAVDESS and MEAD (the emotion is in their names): a person's mean drivers minus those of people
who simply talk; from photo pairs: a smile minus the same person's neutral face. What people do not agree in is shrunk,
sides are alike, gaze is nobody's emotion, and how far the mouth opens is left to the speech. Closed form, a minute.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mggdub import weights
from mggdub.face.expression import (
    ExpressionBasis,
    driving_units,
    lip_modes,
    load_expression,
    rest_drivers,
    vertex_motion,
    with_gap,
)
from mggdub.motion.emotion import ACTED
from mggdub.train.expression_data import read_pairs
from mggdub.train.prepare import clips, load_track
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, Array

RAVDESS = {"01": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "afraid", "07": "disgusted"} | {
    "08": "surprised"
}
MEAD = {"hap": "happy", "sad": "sad", "ang": "angry", "fea": "afraid", "dis": "disgusted", "sur": "surprised"}
LEAST = 25  # frames of a clip
ON_PHOTOS = 1.5  # of a driver: rendered photos show half of what the face runtime sees in the actors
PHOTOS = 1  # the pairs of photos count as so many people who speak
UNITS = len(DRIVING_UNITS)
NAMES = [BLENDSHAPES[unit] for unit in DRIVING_UNITS]
CARD: dict[str, Any] = {
    "what": "32 drivers of six emotions, as offsets from how people look who simply talk",
    "trained on": "acted clips of RAVDESS and MEAD, London Set photo pairs (CC BY 4.0)",
    "method": "differences of means, shrunk by how much people disagree; a minute on one CPU core",
    "licence": "research use only, see weights/LICENSE",
    "limits": "Two to four actors for each emotion; held through the speech, not timed with it",
}


@dataclass(frozen=True, eq=False)
class Look:
    """How somebody looks in one clip."""

    person: str
    emotion: str | None  # None: whoever simply talks
    drivers: Array  # [32] mean over its frames


def emotion_of(row: dict[str, str]) -> str | None:
    """The emotion that a clip's name tells of, 'other' for one that is not among ACTED, None where none is acted."""
    name = Path(row["source_path"]).name
    if row["identity"].startswith("RAVDESS"):
        found = RAVDESS.get(name.split("-")[2], "other")
    elif row["identity"].startswith("MEAD"):
        found = next((MEAD[word[:3]] for word in name.split("_") if word[:3] in MEAD), "other")
    else:
        return None
    return found if found in ACTED else "other"


def read_looks(rows: list[dict[str, str]], tracks: Path, basis: ExpressionBasis) -> list[Look]:
    """Of the clips that have a track."""
    looks = []
    for row in rows:
        path = tracks / row["split"] / f"{Path(row['file']).stem}.npz"
        if not path.exists():
            continue
        track = load_track(path)
        faces = [rest_drivers(basis, *face) for face in zip(track["mesh"], track["blendshapes"], strict=True)]
        if len(faces) >= LEAST:
            looks.append(Look(row["identity"], emotion_of(row), np.mean(faces, 0)))
    return looks


def of_people(looks: list[Look], emotion: str | None) -> Array:
    """[P, 32], a row for every person."""
    people = defaultdict(list)
    for look in looks:
        if look.emotion == emotion:
            people[look.person].append(look.drivers)
    return np.array([np.mean(rows, 0) for rows in people.values()]).reshape(-1, DRIVERS)


def read_smiles(photos: Path, basis: ExpressionBasis) -> Array:
    """[P, 32]: smiling minus neutral."""
    pairs = [pair for pair in read_pairs(photos) if pair.displacement.any()]
    moves = [np.concatenate([unit_change(basis, p), lip_modes(basis, p.displacement[0])]) for p in pairs]
    return np.array(moves).reshape(-1, DRIVERS)


def unit_change(basis: ExpressionBasis, pair: Any) -> Array:
    """[24] driving units of a smile since that person's rest."""
    return driving_units(basis, pair.units[0]) - driving_units(basis, pair.rest_units)


def agreed(offsets: Array, spread: Array) -> Array:
    """The mean of people's offsets [P, 32], each shrunk towards 0 by how unsure it is; `spread` [32] of talkers."""
    mean, doubt = offsets.mean(0), np.square(spread) / len(offsets)
    return mean * np.square(mean) / (np.square(mean) + doubt)


def even(basis: ExpressionBasis, drivers: Array) -> Array:
    """Drivers [32] whose sides are alike, without gaze."""
    swapped = [NAMES.index(name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")) for name in NAMES]
    units = np.where([name.startswith("eyeLook") for name in NAMES], 0, (drivers[:UNITS] + drivers[swapped]) / 2)
    lips = np.concatenate([np.zeros(UNITS), drivers[UNITS:]])
    other = vertex_motion(basis, lips)[basis.mirror] * [-1, 1, 1]
    return np.concatenate([units, (drivers[UNITS:] + lip_modes(basis, other)) / 2])


def fit(looks: list[Look], smiles: Array, basis: ExpressionBasis) -> dict[str, Array]:
    """[32] of every emotion that somebody acts."""
    talking = of_people(looks, None)
    usual, spread = talking.mean(0), talking.std(0)
    found = {}
    for emotion in ACTED:
        offsets = of_people(looks, emotion) - usual
        if emotion == "happy" and len(smiles):
            offsets = np.concatenate([offsets, np.repeat(smiles.mean(0)[None], PHOTOS, 0)])
        if len(offsets):
            drivers = ON_PHOTOS * even(basis, agreed(offsets, spread))
            found[emotion] = np.concatenate([drivers[:UNITS], with_gap(basis, drivers[UNITS:], 0)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    given = parser.parse_args()
    basis = load_expression()
    rows = [row for row in clips(given.clips) if row["split"] == "train" and row["audio"] == "yes"]
    looks = read_looks(rows, given.tracks, basis)
    found = fit(looks, read_smiles(given.photos, basis), basis)
    people = {name: len(of_people(looks, name)) for name in found} | {"talking": len(of_people(looks, None))}
    state = {name: torch.from_numpy(drivers).float() for name, drivers in found.items()}
    weights.save(given.out, "emotion", state, {}, CARD | {"people": people})
    for name, drivers in found.items():
        strongest = np.argsort(-np.abs(drivers[:UNITS]))[:5]
        largest = ", ".join(f"{NAMES[i]} {drivers[i]:+.2f}" for i in strongest)
        print(f"{name} ({people[name]} people): {largest}; lips {np.round(drivers[UNITS:], 1).tolist()}", flush=True)


if __name__ == "__main__":
    main()
