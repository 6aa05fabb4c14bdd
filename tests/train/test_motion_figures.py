"""The figures of motion are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from mggdub.train.motion_figures import RATE, blink_starts, eyelids, gaze, head_speed, motion_figures
from mggdub.types import BLENDSHAPES, ExpressionTrack


def a_track(seconds: float = 20.0) -> ExpressionTrack:
    times = (np.arange(round(seconds * RATE)) + 0.5) / RATE
    count = len(times)
    return ExpressionTrack(times, np.zeros((count, 52), np.float32), np.zeros((count, 8), np.float32))


def test_stillness_is_nothing() -> None:
    assert max(motion_figures(a_track()).values()) < 1e-9


def test_a_nod_is_as_large_and_quick_as_it_is() -> None:
    track = a_track()
    track.rotation[:, 0] = 5 * np.sin(2 * np.pi * 0.2 * track.times)
    found = motion_figures(track)
    assert found["rotation"] == pytest.approx(5 / np.sqrt(2), rel=0.03)
    assert found["speed"] == pytest.approx(5 * 4 * 0.2, rel=0.03)
    assert head_speed(track).max() == pytest.approx(5 * 2 * np.pi * 0.2, rel=0.03)
    assert found["shift"] > 1  # eyes move when the head turns about its neck
    assert found["brow"] == found["gaze"] == found["blinks"] == 0


def test_shift_is_in_percent_of_the_eyes_distance() -> None:
    track = a_track()
    track.translation[:, 0] = np.where(np.arange(len(track)) % 2, 0.89, -0.89)
    assert motion_figures(track)["shift"] == pytest.approx(10, rel=0.01)


def test_blinks_are_counted_and_glances_seen() -> None:
    track = a_track()
    for start in (50, 200, 330):
        for side in ("Left", "Right"):
            track.blendshapes[start : start + 4, BLENDSHAPES.index(f"eyeBlink{side}")] = 0.8
    track.blendshapes[100:200, BLENDSHAPES.index("eyeLookOutLeft")] = 0.4
    track.blendshapes[100:200, BLENDSHAPES.index("eyeLookInRight")] = 0.4
    assert blink_starts(eyelids(track)).tolist() == [50, 200, 330]
    assert motion_figures(track)["blinks"] == pytest.approx(9)
    assert gaze(track)[150].tolist() == pytest.approx([0.4, 0.0])
