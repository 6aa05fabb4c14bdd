"""Training of the mouth's inside."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.train import mouth
from mggdub.types import Array


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    count = 24
    return {
        "colours": rng.integers(0, 255, (count, 24, 64, 3)).astype(np.uint8),
        "masks": np.ones((count, 24, 64), bool),
        "mesh": rng.normal(0, 1, (count, 478, 3)).astype(np.float32),
        "rest": rng.normal(0, 1, (count, 478, 3)).astype(np.float32),
        "skin": rng.integers(60, 255, (count, 3)).astype(np.float32),
        "identity": np.array([f"person {i % 12}" for i in range(count)]),
    }


def test_a_resumed_run_equals_an_unbroken_one(
    data: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mouth, "BATCH", 2)
    monkeypatch.setattr(mouth, "KEEP_EVERY", 2)
    unbroken = mouth.train(data, tmp_path / "a.pt", 4)
    monkeypatch.setattr(mouth, "decode", Stop(mouth.decode, 3))
    with pytest.raises(KeyboardInterrupt):
        mouth.train(data, tmp_path / "b.pt", 4)
    monkeypatch.undo()
    monkeypatch.setattr(mouth, "BATCH", 2)
    resumed = mouth.train(data, tmp_path / "b.pt", 4)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_crash_while_the_state_is_written_loses_nothing(
    data: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mouth, "BATCH", 2)
    mouth.train(data, tmp_path / "state.pt", 2)
    before = (tmp_path / "state.pt").read_bytes()

    def crash(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        mouth.train(data, tmp_path / "state.pt", 4)
    assert (tmp_path / "state.pt").read_bytes() == before


class Stop:
    """A function that is interrupted when it is called for the n-th time."""

    def __init__(self, function: object, calls: int) -> None:
        self.function, self.left = function, calls

    def __call__(self, *given: object) -> object:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.function(*given)  # type: ignore[operator]


def test_held_out_people_do_not_train(data: dict[str, Array]) -> None:
    person, use, skins = mouth.split(data)
    assert set(person[use]).isdisjoint(person[~use])
    assert person[use].max() < person[~use].min()  # so that codes are numbered without holes
    assert 0 < len(set(person[~use])) < len(set(person)) == len(skins)


def test_the_loss_sees_edges_and_nothing_outside_the_mask() -> None:
    truth, mask = torch.zeros(1, 4, 6, 3), torch.ones(1, 4, 6, 1)
    flat, edged = torch.full_like(truth, 0.5), torch.zeros_like(truth)
    edged[:, :, ::2] = 1.0
    assert mouth.mouth_loss(edged, truth, mask) > mouth.mouth_loss(flat, truth, mask) + 0.5
    mask[:, :, 3:] = 0
    flat[:, :, 3:] = 9
    assert mouth.mouth_loss(flat, truth, mask).item() == pytest.approx(0.5)
