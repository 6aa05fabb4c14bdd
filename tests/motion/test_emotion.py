"""An emotion changes a face that speaks, not what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub import weights
from mggdub.errors import InputError, UsageError
from mggdub.face.expression import ExpressionBasis, lip_gap, load_expression, units_from_modes
from mggdub.motion.emotion import ACTED, LOWEST, load_emotion, with_emotion
from mggdub.options import MotionOptions
from mggdub.types import BLENDSHAPES, LIP_MODES, MOUTH_UNITS, ExpressionTrack

COUNT = 50


@pytest.fixture(scope="module")
def basis() -> ExpressionBasis:
    return load_expression()


@pytest.fixture(scope="module")
def talk(basis: ExpressionBasis) -> ExpressionTrack:
    """Lips that open and close, and a blink."""
    gap = np.clip(np.sin(np.arange(COUNT) / 3), 0, None)
    units = np.zeros((COUNT, len(BLENDSHAPES)), np.float32)
    units[20:23, BLENDSHAPES.index("eyeBlinkLeft")] = 1
    return ExpressionTrack((np.arange(COUNT) + 0.5) / 25, units, (gap[:, None] * basis.opening).astype(np.float32))


def change(talk: ExpressionTrack, basis: ExpressionBasis, name: str) -> dict[str, float]:
    """How each unit changes on average, mouth units by the lip modes."""
    shown = with_emotion(talk, basis, load_emotion(name), 1.0)
    units = (shown.blendshapes - talk.blendshapes).mean(0)
    mouth = (units_from_modes(basis, shown.lip_modes) - units_from_modes(basis, talk.lip_modes)).mean(0)
    found = dict(zip(BLENDSHAPES, units.tolist(), strict=True))
    return found | {BLENDSHAPES[unit]: float(value) for unit, value in zip(MOUTH_UNITS, mouth, strict=True)}


@pytest.mark.parametrize("name", ACTED)
def test_lips_stay_as_far_apart_and_lids_still_close(talk: ExpressionTrack, basis: ExpressionBasis, name: str) -> None:
    shown = with_emotion(talk, basis, load_emotion(name), 1.0)
    np.testing.assert_allclose(lip_gap(basis, shown.lip_modes), lip_gap(basis, talk.lip_modes), atol=1e-5)
    assert (shown.blendshapes[20:23, BLENDSHAPES.index("eyeBlinkLeft")] == 1).all()
    assert shown.blendshapes.min() >= LOWEST and shown.blendshapes.max() <= 1
    assert not np.array_equal(shown.drivers, talk.drivers)


@pytest.mark.parametrize("name", ACTED)
def test_who_says_nothing_holds_still(basis: ExpressionBasis, name: str) -> None:
    times, rest = np.arange(COUNT) / 25, np.zeros((COUNT, len(BLENDSHAPES)), np.float32)
    drivers = with_emotion(ExpressionTrack(times, rest, rest[:, :LIP_MODES]), basis, load_emotion(name), 0.7).drivers
    assert (drivers == drivers[0]).all() and drivers.any()


def test_strength_is_a_share_and_none_changes_nothing(talk: ExpressionTrack, basis: ExpressionBasis) -> None:
    full, half, none = (with_emotion(talk, basis, load_emotion("happy"), s) for s in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(2 * (half.lip_modes - talk.lip_modes), full.lip_modes - talk.lip_modes, atol=1e-5)
    np.testing.assert_allclose(none.drivers, talk.drivers, atol=1e-6)


def test_who_is_happy_smiles_and_who_is_surprised_raises_the_brows(
    talk: ExpressionTrack, basis: ExpressionBasis
) -> None:
    happy, surprised, afraid = (change(talk, basis, name) for name in ("happy", "surprised", "afraid"))
    assert min(happy["mouthSmileLeft"], happy["mouthSmileRight"]) > 0.15
    assert max(surprised["mouthSmileLeft"], afraid["mouthSmileLeft"]) < 0.05
    for scared in (surprised, afraid):
        assert scared["browInnerUp"] > 0.4 > abs(happy["browInnerUp"])
        assert scared["eyeBlinkLeft"] < -0.15


@pytest.mark.parametrize("name", ACTED)
def test_faces_are_even_and_look_nowhere_else(talk: ExpressionTrack, basis: ExpressionBasis, name: str) -> None:
    drivers = load_emotion(name)
    units = dict(zip(BLENDSHAPES, with_emotion(talk, basis, drivers, 1.0).blendshapes[0], strict=True))
    for unit, value in units.items():
        assert value == pytest.approx(units[unit.replace("Left", "Right")], abs=1e-6)
        assert not (unit.startswith("eyeLook") and value)


def test_a_driver_brings_its_own_emotion_and_look() -> None:
    with pytest.raises(UsageError, match="--emotion is for speech"):
        MotionOptions(emotion="happy", drive=Path("actor.mp4"))
    with pytest.raises(UsageError, match="--gaze is for speech"):
        MotionOptions(gaze="camera", drive=Path("actor.mp4"))
    with pytest.raises(UsageError, match="choose neutral or happy"):
        MotionOptions(emotion="bored")


def test_a_damaged_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights.save(tmp_path, "emotion", {"happy": torch.zeros(LIP_MODES)}, {}, {})
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="emotion is damaged at 'happy'"):
        load_emotion("happy")
