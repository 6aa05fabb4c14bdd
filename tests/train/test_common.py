"""What all trainings share."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mggdub.train import common


def test_one_person_in_nine_is_held_out_whoever_else_is_there() -> None:
    names = [f"{first}{number}" for first in ("anna ", "photo_", "p") for number in range(300)]
    out = {name for name in names if common.held_out(name)}
    assert 0.08 < len(out) / len(names) < 0.14
    assert out & set(names[:100]) == {name for name in names[:100] if common.held_out(name)}
    assert all(common.held_out(name, 1) for name in names[:9])


def test_the_rate_rises_then_falls_to_its_floor() -> None:
    rates = [common.cosine_rate(step, 100, 10, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01) and max(rates) == rates[9] > 0.95
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.ones(1))]}])
    common.set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    common.set_rate(optimizer, 0.5, 1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1.0]


def test_the_mean_forgets_where_it_began_and_counts_are_copied() -> None:
    net = nn.BatchNorm1d(2)
    mean = common.weights_of(net)
    with torch.no_grad():
        net.weight.fill_(3)
        net.num_batches_tracked.fill_(7)
    common.move_mean(mean, net, 0, 0.99, 10)
    assert mean["weight"].tolist() == pytest.approx([0.1 * 1 + 0.9 * 3] * 2) and mean["num_batches_tracked"] == 7
    for step in range(1, 2000):
        common.move_mean(mean, net, step, 0.99, 10)
    assert mean["weight"].tolist() == pytest.approx([3, 3])


def test_a_state_comes_back_whole_or_is_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    assert common.load_state(path) is None
    common.save_state(path, {"step": 3, "net": {"a": torch.arange(4)}})

    def crash(_: object, to: Path) -> None:
        to.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        common.save_state(path, {"step": 4})
    again = common.load_state(path)
    assert again is not None and again["step"] == 3 and torch.equal(again["net"]["a"], torch.arange(4))


def test_arrays_appear_whole(tmp_path: Path) -> None:
    common.save_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    with np.load(tmp_path / "a.npz") as file:
        assert file["x"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_the_interval_holds_the_statistic_and_shrinks_with_more_values() -> None:
    values = np.random.default_rng(1).normal(size=400)
    middle, low, high = common.interval(values)
    assert low < middle < high
    few = common.interval(values[:20])
    assert high - low < few[2] - few[1]
