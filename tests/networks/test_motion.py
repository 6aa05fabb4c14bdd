"""The bank of motion is whole, small, and nobody's."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub import weights
from mggdub.errors import InputError
from mggdub.networks.motion import MotionBank, from_tensors, load_motion, to_tensors


@pytest.fixture(scope="module")
def bank() -> MotionBank:
    return load_motion()


def test_the_shipped_bank_is_small_and_moves(bank: MotionBank) -> None:
    path = weights.locate("motion.safetensors")
    assert path.stat().st_size <= 3 << 20
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["people"] == len(set(bank.persons.tolist())) and card["takes"] == len(bank.sounds)
    assert 2 < np.sqrt(bank.pose[:, :3].var(0).sum()) < 10  # degrees
    assert np.abs(bank.pose[:, :3]).max() < 25
    assert np.abs(np.diff(bank.pose[:, :3], axis=0))[: bank.starts[1] - 1].max() < 8


def test_every_blink_lies_in_a_take(bank: MotionBank) -> None:
    assert (np.diff(bank.blinks[:, 0]) > 0).all()
    assert bank.blinks[:, 0].min() >= 0 and bank.blinks[:, 0].max() < len(bank.pose)
    assert ((bank.blinks[:, 1] > 0) & (bank.blinks[:, 1] < 0.8)).all()


def test_what_is_kept_comes_back(bank: MotionBank) -> None:
    again = from_tensors({k: v.half() if v.is_floating_point() else v for k, v in to_tensors(bank).items()})
    for field in fields(MotionBank):
        np.testing.assert_allclose(getattr(again, field.name), getattr(bank, field.name), atol=0.01)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.pop("blinks"),
        lambda t: t.update(pose=t["pose"][:-1]),
        lambda t: t.update(pose=torch.full_like(t["pose"], float("nan"))),
        lambda t: t.update(pose=t["pose"] * 1e4),
        lambda t: t.update(starts=t["starts"].flip(0)),
        lambda t: t.update(units=t["units"][:, :5]),
        lambda t: t.update(intervals=t["intervals"] * 0),
        lambda t: t.update(more=t["pose"]),
    ],
)
def test_another_bank_is_refused(
    bank: MotionBank, spoil: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = to_tensors(bank)
    spoil(tensors)  # type: ignore[operator]
    weights.save(tmp_path, "motion", tensors, {}, {})
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"another version|damaged"):
        load_motion()
