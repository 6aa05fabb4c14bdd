"""What the speech model's training rests on: sound in step with lips, voice labels, altered copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mggdub.face.expression import gap_of_modes, load_expression
from mggdub.networks.speech import RATE, LipMap, LipMapConfig
from mggdub.train.speech import calibrate, fold_of, lag_curve
from mggdub.train.speech_data import alter, voice_of
from mggdub.types import Array

SECOND = 16_000


def bursts() -> Array:
    """Noise for the second and fourth of five seconds."""
    time = np.arange(5 * SECOND) / SECOND
    loud = (time // 1) % 2
    return (np.random.default_rng(0).standard_normal(len(time)) * (0.001 + 0.1 * loud)).astype(np.float32)


def test_lips_that_come_late_have_a_positive_lag() -> None:
    heard = np.random.default_rng(0).standard_normal(100)
    assert lag_curve(heard, np.roll(heard, 3)).argmax() - 10 == 3
    assert lag_curve(heard, np.roll(heard, -2)).argmax() - 10 == -2


def test_voice_is_where_the_sound_is_loud() -> None:
    voice = voice_of(bursts())
    assert len(voice) == 5 * RATE
    np.testing.assert_array_equal(voice.reshape(5, -1).mean(1) > 0.5, [False, True, False, True, False])


def test_an_altered_copy_is_as_much_shorter_as_it_says() -> None:
    sound = bursts()
    for seed in range(6):
        copy, faster = alter(sound, np.random.default_rng(seed))
        assert len(copy) == pytest.approx(len(sound) / faster, rel=0.01)
        assert np.isfinite(copy).all() and copy.std() > 0


def test_nobody_is_in_two_folds() -> None:
    people = [f"person {i % 23}" for i in range(200)]
    folds = fold_of(people)
    assert folds == fold_of(people[::-1]) and set(folds) == set(people)
    assert len(set(folds.values())) == 5


def test_the_shipped_lips_open_as_far_as_those_seen() -> None:
    """What the fit heard as nearly closed and as wide open becomes what was seen."""
    basis = load_expression()
    size = 512 * len(LipMapConfig().offsets) + 1
    to_gap = gap_of_modes(basis) * basis.mode_std
    for heard, seen in ((0.3, 0.2), (0.8, 1.0)):
        linear = np.zeros((size, 9))
        linear[-1, :8] = heard * to_gap / (to_gap @ to_gap)
        scores = {"heard_low": 0.3, "heard_high": 0.8, "seen_low": 0.2, "seen_high": 1.0}
        lips = LipMap(LipMapConfig())
        lips.load_state_dict(calibrate(linear, scores, basis))
        with torch.inference_mode():
            modes = lips(torch.zeros(4, 512))[0, :8].numpy()
        assert modes @ gap_of_modes(basis) == pytest.approx(seen, abs=0.02)
