"""A bank of motion of nobody, in which everything is known."""

from __future__ import annotations

import numpy as np

from mggdub.motion.prosody import Prosody
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

TAKE = 200  # values of a take


def a_bank(takes: int = 24, seed: int = 0) -> MotionBank:
    """Takes that swing slowly; odd ones listen, even ones speak, louder and softer; a blink every two seconds."""
    rng = np.random.default_rng(seed)
    time = np.arange(TAKE) / VOICE_RATE
    poses, units, heard, blinks = [], [], [], []
    for take in range(takes):
        rate, phase = rng.uniform(0.2, 0.6, 10), rng.uniform(0, 6, 10)
        poses.append(rng.uniform(0.5, 2, 10) * np.sin(2 * np.pi * rate * time[:, None] + phase))
        units.append(0.1 * np.sin(time[:, None] * rng.uniform(0.5, 2, 24)))
        speaking = np.full(TAKE, float(take % 2 == 0))
        level = speaking * (0.7 + 0.3 * np.sin(time * rng.uniform(3, 8)))
        heard.append(np.stack([level, 0.1 * speaking, level > 0.9, speaking], 1))
        blinks += [(take * TAKE + at, 0.12) for at in range(25, TAKE, 50)]
    starts = np.arange(takes + 1) * TAKE
    return MotionBank(
        np.concatenate(poses).astype(np.float32),
        np.concatenate(units).astype(np.float32),
        np.concatenate(heard).astype(np.float32),
        starts,
        np.ones(takes, bool),
        np.arange(takes),
        np.array(blinks, np.float64),
        np.linspace(0.8, 6, 25).astype(np.float32),
    )


def said(seconds: float, silent: bool = False) -> Prosody:
    """Phrases of 2.4 s with pauses of 0.6 s, or nothing."""
    count = round(seconds * VOICE_RATE)
    time = np.arange(count) / VOICE_RATE
    speaking: Array = (time % 3 < 2.4) & (not silent)
    level = speaking * (0.7 + 0.3 * np.sin(5 * time))
    return Prosody(level, np.sin(time) * speaking, speaking, (level > 0.9) * 1.0, speaking, 120.0)
