"""The judge's training: what it is asked, and that an interrupted run ends as an unbroken one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.networks.sync import POINTS, Judge, JudgeConfig
from mggdub.train import sync
from mggdub.train.sync import LENGTH, Talk, examine, make_batch, mirrored, shift_losses

CONFIG = JudgeConfig(features=12, kept=8, hidden=8, joint=6)


@pytest.fixture(scope="module")
def talks() -> list[Talk]:
    random, found = np.random.default_rng(0), []
    for number in range(3):
        lips = random.normal(0, 0.2, (130, 2 * len(POINTS))).astype(np.float32)
        tokens = random.normal(size=(260, CONFIG.features)).astype(np.float16)
        found.append(Talk(f"clip {number}", f"person {number}", lips, tokens, np.ones(130, bool)))
    return found


def fresh() -> Judge:
    torch.manual_seed(0)
    return Judge(CONFIG)


def test_the_other_side_of_the_other_side_is_this_side() -> None:
    other = mirrored()
    assert (other[other] == np.arange(len(POINTS))).all()
    assert (other != np.arange(len(POINTS))).sum() > 30


def test_the_same_step_is_the_same_batch(talks: list[Talk]) -> None:
    chances = np.full(3, 1 / 3)
    once, again, next_one = (make_batch(talks, chances, step) for step in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], next_one[0])
    assert once[0].shape[1] == LENGTH and once[2].any(1).all()


def test_lips_in_step_cost_less_than_lips_out_of_step() -> None:
    """A judge that puts both into the same place where they say the same."""

    class Same(torch.nn.Module):
        def see(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(x, dim=-1)

        keep = torch.nn.Identity()

        def hear(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(x, dim=-1)

    seen = torch.randn(2, LENGTH, 16, generator=torch.manual_seed(0))
    known, sharp = torch.ones(2, LENGTH, dtype=torch.bool), torch.tensor([2.0, 2.0])
    right, wrong = (
        sum(shift_losses(Same(), sharp, seen, heard, known).values())  # type: ignore[arg-type]
        for heard in (seen, seen.roll(5, 1))
    )
    assert torch.isfinite(wrong) and right < 0.5 * wrong


def test_an_interrupted_run_ends_as_an_unbroken_one(
    talks: list[Talk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "EVERY", 2)
    monkeypatch.setattr(sync, "BATCH", 4)
    unbroken, broken = fresh(), fresh()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sync.train(talks[:2], unbroken, tmp_path / "a", 5, talks[2:])

    def stop(*given: object) -> object:
        if given[2] == 3:
            raise KeyboardInterrupt
        return make_batch(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sync, "make_batch", stop)
        sync.train(talks[:2], fresh(), tmp_path / "b", 5, talks[2:])
    sync.train(talks[:2], broken, tmp_path / "b", 5, talks[2:])
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, broken.state_dict()[name]), name
        assert not torch.equal(value, fresh().state_dict()[name])
    assert 0 <= examine(broken, talks)["1 s: 1 of 31 within a frame"] <= 1
