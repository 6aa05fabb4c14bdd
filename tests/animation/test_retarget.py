"""What is played on top of a photo's own eyes and brows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mggdub.animation.retarget import EASE, LOWEST_UNIT, look_at_camera, on_top
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.motion.gestures import LOOKS
from mggdub.motion.selection import NAMES
from mggdub.train.motion_figures import gaze
from mggdub.types import ExpressionTrack


def test_all_of_a_unit_is_all_of_it_and_less_than_none_is_little_less() -> None:
    own = np.array([0.0, 0.4, 0.4, -0.5])
    np.testing.assert_allclose(on_top(own, np.ones(4)), 1)
    np.testing.assert_allclose(on_top(own, np.zeros(4)), own)
    np.testing.assert_allclose(on_top(own, np.full(4, -0.9)), [LOWEST_UNIT, LOWEST_UNIT, LOWEST_UNIT, -0.5])
    steps = on_top(own, np.linspace(-1, 1, 201)[:, None])
    assert (np.diff(steps, axis=0) >= 0).all() and np.diff(steps, axis=0).max() < 0.02


def an_avatar(yaw: float, **looks: float) -> Any:
    drivers = np.zeros(32, np.float32)
    for name, value in looks.items():
        drivers[NAMES.index(name)] = value
    view = np.eye(4)
    view[:3, :3] = euler_to_matrix(np.array([0, yaw, 0]))
    return SimpleNamespace(photo_drivers=drivers, camera=SimpleNamespace(viewmat=view))


def a_track() -> ExpressionTrack:
    times = (np.arange(25) + 0.5) / 25
    return ExpressionTrack(times, np.zeros((25, 52), np.float32), np.zeros((25, 8), np.float32))


def test_eyes_that_look_past_the_camera_come_to_it() -> None:
    past = an_avatar(0, eyeLookOutLeft=0.5, eyeLookInRight=0.5)  # to the person's left
    found = look_at_camera(past, a_track())
    assert gaze(found)[found.times > EASE, 0].max() < -0.3
    assert abs(gaze(found)[0, 0]) < 0.05


def test_eyes_on_the_camera_stay() -> None:
    track = a_track()
    assert look_at_camera(an_avatar(0, eyeLookOutLeft=0.05), track) is track
    turned = an_avatar(20, eyeLookOutRight=0.5, eyeLookInLeft=0.5)  # head to its left, eyes to its right: at the camera
    assert look_at_camera(turned, track) is track
    assert len(LOOKS) == 8
