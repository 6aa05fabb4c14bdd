"""What people do while they speak or listen: takes from tracks and sound of clips, 25 values a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from mggdub.errors import MggdubError
from mggdub.face.expression import ExpressionBasis
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.audio import read_audio
from mggdub.motion.driving import read_expression, relative_pose
from mggdub.motion.prosody import Prosody, measure_prosody
from mggdub.motion.torso import add_torso
from mggdub.networks.whisper import level
from mggdub.train.prepare import clips, load_track
from mggdub.types import LIP_MODES, Array, ExpressionTrack

RATE = 25.0
SLOWEST = 20.0  # frames a second of a clip; fewer do not show how a head starts to move
SHORTEST = 2.5  # s
LIPS_MOVE = 0.06  # cm, spread of the lips' gap over LIPS_OVER: who moves them so is speaking, heard or not
LIPS_OVER = 15  # values


@dataclass(frozen=True, eq=False)
class Take:
    """One clip: what the face does against its own rest, and how it is said if there is sound."""

    clip: str
    person: str
    split: str
    track: ExpressionTrack  # without lips
    prosody: Prosody | None
    speaking: Array  # [n] bool


def read_takes(clips_folder: Path, tracks: Path, basis: ExpressionBasis, splits: tuple[str, ...]) -> list[Take]:
    """The usable takes of all clips of `splits` that have a track, in the manifest's order sorted by name."""
    found = []
    for row in sorted(clips(clips_folder), key=lambda row: row["file"]):
        path = tracks / row["split"] / (Path(row["file"]).stem + ".npz")
        if row["split"] in splits and path.is_file() and (take := read_one(row, clips_folder, path, basis)):
            found.append(take)
    return found


def read_one(row: dict[str, str], clips_folder: Path, path: Path, basis: ExpressionBasis) -> Take | None:
    """The take of one row of the manifest and its track; None if it cannot be used."""
    prepared = load_track(path)
    track = still_rest(prepared, basis)
    if track is None:
        return None
    sound = _heard(clips_folder / row["file"], len(track)) if row["audio"] == "yes" else None
    stamps = prepared["times"] - prepared["times"][0]
    speaking = sound.speaking if sound else lips_move(np.interp(track.times, stamps, prepared["gap"]))
    return Take(path.stem, row["identity"], row["split"], track, sound, speaking)


def _heard(clip: Path, count: int) -> Prosody | None:
    """How the sound of a clip goes, `count` values of it; None where nobody is heard."""
    try:
        samples = read_audio(clip).samples
    except MggdubError:
        return None
    wanted = int(count * 16000 / RATE)
    heard = measure_prosody(level(np.pad(samples, (0, max(0, wanted - len(samples))))[:wanted]))
    return heard if heard.speaking.mean() > 0.2 else None


def lips_move(gap: Array) -> Array:
    """[n] bool: where lips [n] cm go on moving."""
    mean = uniform_filter1d(gap.astype(np.float64), LIPS_OVER, mode="nearest")
    spread = np.sqrt(np.maximum(uniform_filter1d(np.square(gap - mean), LIPS_OVER, mode="nearest"), 0))
    return maximum_filter1d((spread > LIPS_MOVE).astype(np.int8), LIPS_OVER).astype(bool)


def still_rest(track: dict[str, Array], basis: ExpressionBasis) -> ExpressionTrack | None:
    """A prepared clip at 25 a second, counted from what is usual in it; None if it is too short, slow or broken."""
    stamps = track["times"].astype(np.float64)
    if len(stamps) < 2:
        return None
    step = float(np.median(np.diff(stamps)))
    seconds = stamps[-1] - stamps[0] + step
    if seconds < SHORTEST or 1 / step < SLOWEST or np.diff(stamps).max() > 4 * step:
        return None
    poses = track["rotation"].astype(np.float64), track["translation"].astype(np.float64)
    angles = matrix_to_euler(poses[0])
    middle = int(np.linalg.norm(angles - np.median(angles, 0), axis=1).argmin())
    rotation, translation = relative_pose(*poses, middle)
    units, _ = read_expression(basis, track["mesh"], track["rotation"], track["blendshapes"])
    times = (np.arange(int(seconds * RATE)) + 0.5) / RATE
    mid = stamps - stamps[0] + step / 2

    def at(values: Array, rest: bool = True) -> Array:
        base = np.median(values, 0) if rest else 0.0
        return np.stack([np.interp(times, mid, column) for column in (values - base).T], 1).astype(np.float32)

    lips = np.zeros((len(times), LIP_MODES), np.float32)
    parts = (at(units), lips, at(rotation), at(translation), at(track["torso"]))
    if not all(np.isfinite(part).all() for part in parts):
        return None
    found = ExpressionTrack(times, *parts)
    return found if track["torso"].any() else add_torso(found)  # shoulders that are out of the picture
