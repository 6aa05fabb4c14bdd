"""What people do while they speak or listen: takes from tracks and sound of clips, 25 values a second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from mggdub.errors import MggdubError
from mggdub.face.expression import ExpressionBasis, driving_units
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.audio import read_audio
from mggdub.motion.driving import relative_pose
from mggdub.motion.prosody import Prosody, measure_prosody
from mggdub.networks.whisper import level
from mggdub.train.prepare import clips, load_track
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, LIP_MODES, Array, ExpressionTrack

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
    track: ExpressionTrack  # without lips
    prosody: Prosody | None
    speaking: Array  # [n] bool


def read_takes(clips_folder: Path, tracks: Path, basis: ExpressionBasis, splits: tuple[str, ...]) -> list[Take]:
    """The usable takes of all clips of `splits` that have a track, in the manifest's order sorted by name."""
    found = []
    for row in sorted(clips(clips_folder), key=lambda row: row["file"]):
        path = tracks / row["split"] / (Path(row["file"]).stem + ".npz")
        if row["split"] not in splits or not path.is_file():
            continue
        track = still_rest(load_track(path), basis)
        if track is None:
            continue
        sound = _heard(clips_folder / row["file"], len(track)) if row["audio"] == "yes" else None
        lips = load_track(path)["gap"], load_track(path)["times"]
        speaking = sound.speaking if sound else lips_move(np.interp(track.times, lips[1], lips[0]))
        found.append(Take(path.stem, row["identity"], track, sound, speaking))
    return found


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
    angles = matrix_to_euler(track["rotation"])
    middle = int(np.linalg.norm(angles - np.median(angles, 0), axis=1).argmin())
    rotation, translation = relative_pose(track["rotation"].astype(np.float64), track["translation"], middle)
    units = np.zeros((len(stamps), len(BLENDSHAPES)), np.float32)
    units[:, list(DRIVING_UNITS)] = driving_units(basis, track["blendshapes"])
    times = (np.arange(int(seconds * RATE)) + 0.5) / RATE
    mid = stamps - stamps[0] + step / 2

    def at(values: Array, rest: bool = True) -> Array:
        base = np.median(values, 0) if rest else 0.0
        return np.stack([np.interp(times, mid, column) for column in (values - base).T], 1).astype(np.float32)

    lips = np.zeros((len(times), LIP_MODES), np.float32)
    parts = (at(units), lips, at(rotation), at(translation), at(track["torso"]))
    return ExpressionTrack(times, *parts) if all(np.isfinite(part).all() for part in parts) else None


def part(take: Take, start: int, end: int) -> Take:
    """Some of a take's values."""
    track = take.track
    rows = (track.blendshapes, track.lip_modes, track.rotation, track.translation, track.torso)
    cut = ExpressionTrack(track.times[: end - start], *(values[start:end] for values in rows))
    heard = take.prosody
    if heard:
        fields = (heard.level, heard.pitch, heard.voiced, heard.onset, heard.speaking)
        heard = Prosody(*(values[start:end] for values in fields), heard.median_pitch)
    return replace(take, track=cut, prosody=heard, speaking=take.speaking[start:end])
