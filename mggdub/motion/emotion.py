"""An emotion on the face of whoever speaks: held through the speech, over whatever else the face does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggdub.errors import InputError
from mggdub.face.expression import ExpressionBasis, with_gap
from mggdub.options import EMOTIONS
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, IS_BLINK, Array, ExpressionTrack
from mggdub.weights import load

ACTED = EMOTIONS[1:]  # without neutral
LOWEST = -0.3  # of a unit: wider eyes, smoother brows


def load_emotion(name: str) -> Array:
    """Drivers [32] of an emotion, 0 being how people look who simply talk. Raises InputError if the file is damaged."""
    drivers = load("emotion")[0].get(name)
    if drivers is None or tuple(drivers.shape) != (DRIVERS,) or not bool(drivers.isfinite().all()):
        raise InputError(f"The weight file emotion is damaged at {name!r}; reinstall mggdub.")
    return np.asarray(drivers.numpy(), np.float32)


def with_emotion(track: ExpressionTrack, basis: ExpressionBasis, drivers: Array, strength: float) -> ExpressionTrack:
    """The track with `strength` of an emotion's drivers [32] on top.

    Lips are as far apart as without it, so that speech stays legible, and lids still close when they blink.
    """
    count = len(DRIVING_UNITS)
    offset = np.zeros(len(BLENDSHAPES), np.float32)
    offset[list(DRIVING_UNITS)] = strength * drivers[:count]
    units = track.blendshapes + offset * np.where(IS_BLINK, 1 - track.blendshapes, 1)
    shaped = track.lip_modes + strength * with_gap(basis, drivers[count:], 0)
    return replace(track, blendshapes=units.clip(LOWEST, 1).astype(np.float32), lip_modes=shaped.astype(np.float32))
