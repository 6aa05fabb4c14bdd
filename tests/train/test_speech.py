"""What the speech model's training rests on: sound in step with lips, voice labels, altered copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.face.expression import gap_of_modes, load_expression
from mggdub.networks.speech import RATE, LipMap, LipMapConfig, OpeningNet
from mggdub.train import speech_opening
from mggdub.train.speech import calibrate, fold_of, lag_curve, wanted_of
from mggdub.train.speech_data import MARGIN, Section, alter, voice_of
from mggdub.train.speech_opening import UNIT, heard_by, train_opening
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
    """What the fit heard as nearly closed and as wide open becomes what was seen, by the map and by the nets."""
    basis = load_expression()
    size = 512 * len(LipMapConfig().offsets) + 1
    to_gap = gap_of_modes(basis) * basis.mode_std
    for heard, seen in ((0.3, 0.2), (0.8, 1.0)):
        linear = np.zeros((size, 9))
        linear[-1, :8] = heard * to_gap / (to_gap @ to_gap)
        nets = [deaf_net(heard) for _ in range(LipMapConfig().nets)]
        scores = {"heard_low": 0.3, "heard_high": 0.8, "seen_low": 0.2, "seen_high": 1.0}
        lips = LipMap(LipMapConfig())
        lips.load_state_dict(calibrate(linear, nets, scores, basis))
        with torch.inference_mode():
            modes = lips(torch.zeros(4, 512))[0, :8].numpy()
            nothing = LipMap(LipMapConfig())
            nothing.load_state_dict(calibrate(0 * linear, nets, scores, basis))
            alone = nothing(torch.zeros(4, 512))[0, :8].numpy()
        assert modes @ gap_of_modes(basis) == pytest.approx(seen, abs=0.02)
        unheard = 1.6 * (0.0 - 0.3) + 0.2  # what the calibrated map alone says of nothing
        assert alone @ gap_of_modes(basis) == pytest.approx((seen + unheard) / 2, abs=0.02)


def deaf_net(gap: float) -> OpeningNet:
    """It hears the same opening in everything."""
    net = OpeningNet(512, LipMapConfig().width, 10)
    torch.nn.init.zeros_(net.out.weight)
    torch.nn.init.constant_(net.out.bias, gap / UNIT)  # type: ignore[arg-type]
    return net.eval()


def spoken(count: int, seed: int, person: str) -> Section:
    """A section whose first feature is how far its lips are apart."""
    rng = np.random.default_rng(seed)
    gap = rng.uniform(0, 1, count).astype(np.float32)
    features = rng.standard_normal((2 * (count + 2 * MARGIN), 512)).astype(np.float16)
    features[2 * MARGIN : -2 * MARGIN, 0] = 8 * (np.repeat(gap, 2) - 0.5)
    basis = load_expression()
    modes = (gap[:, None] * basis.opening).astype(np.float32)
    ones = np.ones(count, np.float32)
    return Section(person, person, features, modes, gap, ones, ones, float(count))


def test_a_net_of_the_opening_that_was_interrupted_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis = load_expression()
    found = [spoken(80, seed, f"person {seed}") for seed in range(4)]
    wanted, gap = wanted_of(found, basis), gap_of_modes(basis) * basis.mode_std
    for name, value in {"STEPS": 60, "WARM_UP": 6, "SAVED": 25, "BATCH": 4, "DROPOUT": (0.1, 0.1)}.items():
        monkeypatch.setattr(speech_opening, name, value)
    whole = train_opening(found, wanted, gap, 3, tmp_path / "whole.pt")

    saving = speech_opening.save_state

    def save_once(path: Path, state: dict[str, object]) -> None:
        saving(path, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(speech_opening, "save_state", save_once)
        train_opening(found, wanted, gap, 3, tmp_path / "broken.pt")
    resumed = train_opening(found, wanted, gap, 3, tmp_path / "broken.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    new = spoken(80, 9, "somebody else")
    assert np.corrcoef(heard_by([whole], new), new.gap)[0, 1] > 0.5
