"""Weights come back as they were saved, and what ships is what its card says."""

import json
from pathlib import Path

import pytest
import torch

from mggdub import weights
from mggdub.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "weights"
MIB = 2**20


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    tensors = {"weight": torch.linspace(-1, 1, 7), "index": torch.arange(5)}
    weights.save(tmp_path, "thing", tensors, {"width": 7}, {"licence": "test"})
    return tmp_path


def test_a_saved_network_comes_back(saved: Path) -> None:
    tensors, config = weights.load("thing")
    assert config == {"width": 7}
    assert tensors["weight"].dtype == torch.float32 and tensors["index"].dtype == torch.int64
    torch.testing.assert_close(tensors["weight"], torch.linspace(-1, 1, 7), atol=1e-3, rtol=0)
    assert weights.verify() == [("thing.safetensors", True)]
    assert weights.locate("thing.safetensors").parent == saved


def test_damage_is_noticed(saved: Path) -> None:
    path = saved / "thing.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert weights.verify() == [("thing.safetensors", False)]
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="damaged"):
        weights.load("thing")
    with pytest.raises(InputError, match="missing"):
        weights.load("other")


def test_a_network_of_another_shape_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="another version"):
        weights.build(torch.nn.Linear(2, 2), "thing")
    assert saved.is_dir()


@pytest.mark.parametrize("card", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_what_ships_is_what_its_card_says(card: Path) -> None:
    about = json.loads(card.read_text(encoding="utf-8"))
    file = FOLDER / about["file"]
    assert weights.digest(file) == about["sha256"]
    assert "licence" in about and ("source" in about or {"trained on", "limits"} <= set(about)), sorted(about)


def test_every_shipped_file_has_a_card_and_all_fit() -> None:
    files = {p.name for p in FOLDER.iterdir()} - {"LICENSE", "README.md"}
    cards = {p.name for p in FOLDER.glob("*.json")}
    named = {json.loads((FOLDER / c).read_text(encoding="utf-8"))["file"] for c in cards}
    assert named and files == cards | named
    assert sum((FOLDER / name).stat().st_size for name in named) <= 32 * MIB
