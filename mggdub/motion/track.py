"""What moves a head over time: resampled, with options applied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mggdub.face import expression
from mggdub.face.expression import ExpressionBasis
from mggdub.motion import limits, torso
from mggdub.motion.track_file import TrackFile
from mggdub.options import MotionOptions
from mggdub.types import IS_BLINK, MOUTH_UNITS, Array, ExpressionTrack

ORBIT_TIME = 6.0  # s


@dataclass(frozen=True, eq=False)
class Performance:
    """What moves a head, and where it came from."""

    track: ExpressionTrack
    seconds: float
    held: int = 0  # frames without a face, which repeat the one before
    cuts: tuple[float, ...] = ()  # s, where another shot begins: pose and rest begin anew there
    missing: tuple[str, ...] = ()  # columns that a track file lacks
    limited: int = 0  # frames in which the head would go farther than a photo bears
    heard: dict[str, float] | None = None  # how the speech that moves it is said
    notes: tuple[str, ...] = ()  # what else is to be said of it


def play_file(file: TrackFile, basis: ExpressionBasis) -> Performance:
    """The track of a file; lips that it has no modes for follow from the mouth's units, a torso from the head."""
    track, missing = file.track, file.missing
    if not file.has_lips:
        track = replace(track, lip_modes=expression.modes_from_units(basis, track.blendshapes))
        missing = tuple(name for name in missing if not name.startswith("lip_"))
    if not file.has_torso:
        track = torso.add_torso(track)
        missing = tuple(name for name in missing if not name.startswith("torso_"))
    half_step = float(np.median(np.diff(track.times))) / 2 if len(track) > 1 else max(float(track.times[0]), 0.02)
    return Performance(track, float(track.times[-1]) + half_step, missing=missing)


def fill_mouth_units(track: ExpressionTrack, basis: ExpressionBasis) -> ExpressionTrack:
    """The track with the units of jaw, mouth and tongue that come nearest to its lip modes, for exchange."""
    units = track.blendshapes.copy()
    units[:, list(MOUTH_UNITS)] = expression.units_from_modes(basis, track.lip_modes)
    return replace(track, blendshapes=units)


def resample(drive: Performance, fps: float) -> ExpressionTrack:
    """The track at the mid-times of a video's frames; before its first and after its last time it stands still."""
    track = drive.track
    times = (np.arange(max(1, round(drive.seconds * fps))) + 0.5) / fps

    def at(values: Array) -> Array:
        return np.stack([np.interp(times, track.times, column) for column in values.T], 1).astype(np.float32)

    parts = (track.blendshapes, track.lip_modes, track.rotation, track.translation, track.torso)
    return limits.bounded(limits.eased(ExpressionTrack(times, *map(at, parts)), drive.cuts))


def apply_options(track: ExpressionTrack, options: MotionOptions) -> ExpressionTrack:
    """The track with `--motion`, `--blink` and the two scales applied: expressions grow from its first frame's."""
    scale = np.where(IS_BLINK, float(options.blink == "natural"), options.expression_scale)
    first = track.blendshapes[:1]
    moving = np.float32(options.liveliness)
    played = replace(
        track,
        blendshapes=(first + (track.blendshapes - first) * scale).astype(np.float32),
        lip_modes=(track.lip_modes * options.mouth_scale).astype(np.float32),
        rotation=track.rotation * moving,
        translation=track.translation * moving,
        torso=track.torso * moving,
    )
    return limits.bounded(played) if moving > 1 else played


def add_orbit(track: ExpressionTrack, degrees: float, seconds: float) -> ExpressionTrack:
    """The track with the head turned to one side, the other and back, once or every ORBIT_TIME or so."""
    if degrees == 0:
        return track
    turns = max(1, round(seconds / ORBIT_TIME))
    rotation = track.rotation.copy()
    rotation[:, 1] += degrees * np.sin(2 * np.pi * turns * track.times / seconds)
    return replace(track, rotation=rotation)
