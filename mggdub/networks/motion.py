"""A bank of motion: how people's heads, brows and eyes moved while they spoke or listened, 25 values a second.

Nobody is named in it. Every *take* is what one person did without a break, counted from that person's own rest, with
the lids' blinks taken out and kept as moments; beside it, how it was said.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mggdub import weights
from mggdub.errors import InputError
from mggdub.types import DRIVING_UNITS, Array

NAME = "motion"
POSE = 10  # pitch, yaw, roll in degrees; right, down, away in cm; the torso's four
HEARD = 4  # level, pitch (of an octave), onset, speaking
UNIT_STEP = (
    1 / 20000
)  # of a unit, by which units are kept as whole numbers; in coarser steps brows would stand and leap
HEARD_STEP = 1 / 60
BLINK_STEP = 1 / 100  # of a value, and of a second
LONGEST_BANK = 1 << 20  # values
MOST_TAKES = 1 << 14


@dataclass(frozen=True, eq=False)
class MotionBank:
    """N values of C takes with B blinks."""

    pose: Array  # [N, 10] float32
    units: Array  # [N, 24] float32, the driving units, of which eyeBlink is how the lids rest
    heard: Array  # [N, 4] float32
    starts: Array  # [C + 1] int64: take c is starts[c]:starts[c + 1]
    sounds: Array  # [C] bool: whether level, pitch and onset are known; speaking always is
    persons: Array  # [C] int64
    blinks: Array  # [B, 2] float64: value at whose middle the lids are closed (rising), seconds from half to half
    intervals: Array  # [Q] float32, s: quantiles of the time between blinks

    @property
    def take_of(self) -> Array:
        """[N] the take of every value."""
        return np.repeat(np.arange(len(self.sounds)), np.diff(self.starts))


def load_motion() -> MotionBank:
    """The shipped bank. Raises InputError if it is missing or damaged."""
    return from_tensors(weights.load(NAME)[0])


def from_tensors(tensors: dict[str, Tensor]) -> MotionBank:
    """A bank of what `to_tensors` made. Raises InputError if it is none."""
    if set(tensors) != {field.name for field in fields(MotionBank)}:
        raise InputError(f"The weight file {NAME} belongs to another version of mggdub; reinstall mggdub.")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    bank = MotionBank(
        arrays["pose"].astype(np.float32),
        arrays["units"].astype(np.float32) * np.float32(UNIT_STEP),
        arrays["heard"].astype(np.float32) * np.float32(HEARD_STEP),
        arrays["starts"].astype(np.int64),
        arrays["sounds"].astype(bool),
        arrays["persons"].astype(np.int64),
        arrays["blinks"].astype(np.float64) * BLINK_STEP,
        arrays["intervals"].astype(np.float32),
    )
    if not _is_whole(bank):
        raise InputError(f"The weight file {NAME} is damaged; reinstall mggdub.")
    return bank


def to_tensors(bank: MotionBank) -> dict[str, Tensor]:
    """What `mggdub.weights` keeps: poses in half precision, the rest as whole numbers."""

    def whole(values: Array, step: float, kind: type[np.signedinteger]) -> Tensor:
        most = np.iinfo(kind).max
        return torch.from_numpy(np.clip(np.rint(values / step), -most, most).astype(kind))

    return {
        "pose": torch.from_numpy(bank.pose.astype(np.float32)),
        "units": whole(bank.units, UNIT_STEP, np.int16),
        "heard": whole(bank.heard, HEARD_STEP, np.int8),
        "starts": torch.from_numpy(bank.starts.astype(np.int32)),
        "sounds": torch.from_numpy(bank.sounds.astype(np.uint8)),
        "persons": torch.from_numpy(bank.persons.astype(np.int32)),
        "blinks": torch.from_numpy(np.rint(bank.blinks / BLINK_STEP).astype(np.int32)),
        "intervals": torch.from_numpy(bank.intervals.astype(np.float32)),
    }


def _is_whole(bank: MotionBank) -> bool:
    """Whether sizes and numbers agree with each other."""
    count, takes = len(bank.pose), len(bank.sounds)
    shapes = (
        (bank.pose, (count, POSE)),
        (bank.units, (count, len(DRIVING_UNITS))),
        (bank.heard, (count, HEARD)),
        (bank.starts, (takes + 1,)),
        (bank.sounds, (takes,)),
        (bank.persons, (takes,)),
        (bank.blinks, (len(bank.blinks), 2)),
        (bank.intervals, (len(bank.intervals),)),
    )
    if not (0 < count <= LONGEST_BANK and 0 < takes <= MOST_TAKES and len(bank.intervals) > 1):
        return False
    if any(array.shape != shape for array, shape in shapes):
        return False
    if not all(np.isfinite(array).all() for array in (bank.pose, bank.blinks, bank.intervals)):
        return False
    if not (np.abs(bank.pose) < 100).all() or not (bank.intervals > 0).all():
        return False
    if not ((bank.blinks[:, 0] >= 0) & (bank.blinks[:, 0] <= count - 1)).all():
        return False
    return bool(bank.starts[0] == 0 and bank.starts[-1] == count and (np.diff(bank.starts) > 0).all())
