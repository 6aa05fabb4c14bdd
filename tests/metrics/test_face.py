import numpy as np
import pytest

from mggdub.metrics.face import best_lag, correlation, interval, lip_aperture


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


def test_the_interval_holds_the_statistic_and_shrinks_with_more_values() -> None:
    values = np.random.default_rng(1).normal(size=400)
    middle, low, high = interval(values)
    assert low < middle < high
    few = interval(values[:20])
    assert high - low < few[2] - few[1]
