import numpy as np
import pytest

from mggdub.face.mesh import LIP_LANDMARKS
from mggdub.metrics.landmarks import (
    best_lag,
    blinks,
    correlation,
    head_motion,
    jitter,
    landmark_distance,
    lip_aperture,
)


def test_aperture_is_a_ratio_that_does_not_know_the_picture_size() -> None:
    marks = np.zeros((2, 478, 3), np.float32)
    marks[:, 33, 0], marks[:, 263, 0] = 0, 100
    marks[:, 14, 1] = (5, 20)
    assert lip_aperture(marks) == pytest.approx([0.05, 0.2])
    assert lip_aperture(marks * 3) == pytest.approx([0.05, 0.2])


def test_a_moved_curve_is_found_where_it_was_moved_to() -> None:
    curve = np.random.default_rng(0).normal(size=200).cumsum()
    assert best_lag(curve[:-4], curve[4:]) == 4  # the first one lags: it shows later what the other shows now
    assert correlation(curve, curve) == pytest.approx(1)
    assert correlation(curve, -curve) == pytest.approx(-1)
    assert correlation(curve, np.ones(200)) == 0


def test_landmark_distance_is_in_percent_of_the_eyes_and_blind_to_where_the_face_is() -> None:
    truth = np.random.default_rng(2).normal(size=(478, 3)) * 50
    truth[33], truth[263] = (0, 0, 0), (200, 0, 0)
    assert landmark_distance(truth + 7, truth) == pytest.approx(0, abs=1e-9)
    moved = truth.copy()
    moved[list(LIP_LANDMARKS)[:20], 0] += (
        3  # half of the lips to the right: each point 1.5 px from where the mean puts it
    )
    assert landmark_distance(moved, truth, LIP_LANDMARKS) == pytest.approx(100 * 1.5 / 200)


def test_a_blink_is_short_and_closed_eyes_are_none() -> None:
    eyes = np.full(250, 0.3)
    eyes[50:54] = eyes[150:155] = 0.05
    assert blinks(eyes, 25) == 2
    eyes[200:240] = 0.05  # 1.6 s
    eyes[20] = 0.2  # a squint
    eyes[53] = np.nan
    assert blinks(eyes, 25) == 2
    assert blinks(np.full(250, 0.3), 25) == 0


def test_motion_and_jitter_have_their_units() -> None:
    angles = np.zeros((100, 3))
    assert head_motion(angles) == 0
    angles[:, 0], angles[:, 1] = np.resize([3, -3], 100), np.resize([4, -4], 100)
    assert head_motion(angles) == pytest.approx(5)
    even = np.linspace(0, 50, 100)[:, None, None] * np.ones((1, 30, 2))
    assert jitter(even, np.full(100, 100.0), 25) == pytest.approx(0, abs=1e-9)  # steady motion is no jitter
    shaking = even + np.resize([1, -1], 100)[:, None, None]
    assert jitter(shaking, np.full(100, 100.0), 25) == pytest.approx(4 / 100 * 625)
