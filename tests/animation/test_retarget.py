"""What is played on top of a photo's own eyes and brows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mggdub.animation.retarget import (
    BROWS_FARTHER,
    EASE,
    LOWEST_UNIT,
    brows_past_skin,
    look_at_camera,
    on_top,
    open_past_edges,
)
from mggdub.face.expression import BROW_UNITS, lip_gap, with_gap
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.models import load_models
from mggdub.motion.gestures import LOOKS
from mggdub.motion.selection import NAMES
from mggdub.train.motion_figures import gaze
from mggdub.types import DRIVERS, LIP_MODES, ExpressionTrack


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


def test_open_mouths_open_past_the_reach_of_their_splats_but_for_the_photos_own() -> None:
    """Two thirds of a pixel farther where they are open, nothing where they are shut or as open as in the photo."""
    basis = load_models().expression
    units = DRIVERS - LIP_MODES
    drivers = np.zeros((5, DRIVERS), np.float32)
    gaps = np.array([-0.1, 0.0, 0.15, 0.9, 2.0])
    drivers[:, units:] = with_gap(basis, drivers[:, units:], gaps)
    drivers[:, 0] = 0.3
    for own, wider in ((0.0, [0, 0, None, 0.035, 0.035]), (0.9, [0, 0, None, 0, 0.035])):
        photo = np.zeros(DRIVERS, np.float32)
        photo[units:] = with_gap(basis, photo[units:], own)
        found = open_past_edges(basis, photo, drivers, 0.05)
        more = lip_gap(basis, found[:, units:]) - gaps
        assert np.array_equal(found[:, :units], drivers[:, :units])
        for value, true in zip(more, wider, strict=True):
            assert value == pytest.approx(true, abs=0.002) if true is not None else 0 < value < 0.035


def test_brows_go_farther_than_driven_and_the_photo_stays_itself():
    photo = np.random.default_rng(3).uniform(0, 0.3, DRIVERS).astype(np.float32)
    drivers = np.tile(photo, (2, 1))
    drivers[1] += 0.2
    played = brows_past_skin(photo, drivers)
    assert np.array_equal(played[0], photo)
    moved = played[1] - photo
    assert moved[BROW_UNITS] == pytest.approx(0.2 * BROWS_FARTHER, abs=1e-6)
    assert np.array_equal(np.delete(played[1], BROW_UNITS), np.delete(drivers[1], BROW_UNITS))
