"""Weights come back as they were saved, and what ships is what its card says."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mggdub import weights
from mggdub.errors import InputError
from mggdub.face.detector import FaceFinder
from mggdub.face.expression import load_expression
from mggdub.face.mesh import canonical_face
from mggdub.face.task import LARGEST_PART
from mggdub.networks import head, speech, sync, whisper

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
    assert [(card["file"], weights.state(card)) for card in weights.cards()] == [("thing.safetensors", "ok")]
    assert weights.locate("thing.safetensors").parent == saved


def test_damage_is_noticed(saved: Path) -> None:
    path = saved / "thing.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert [weights.state(card) for card in weights.cards()] == ["damaged"]
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="damaged"):
        weights.load("thing")
    with pytest.raises(InputError, match="missing"):
        weights.load("other")


def test_a_network_of_another_shape_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="another version"):
        weights.network(lambda: torch.nn.Linear(2, 2), weights.load("thing")[0], "thing")
    assert saved.is_dir()


CARD = {"file": "thing.safetensors", "sha256": "0" * 64, "bytes": 3, "licence": "none"}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "[" * 100_000, '{"a": ' * 50_000, "\0",
        *(json.dumps(CARD | other) for other in (
            {"file": "../../etc/passwd"}, {"file": "/etc/passwd"}, {"file": ["x"]}, {"sha256": 3},
            {"licence": "\x1b[31m"}, {"licence": 3}, {"bytes": "3"}, {"bytes": 10**400}, {"bytes": -1},
            {"more": "x" * (2 << 20)},
        )),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_damaged_card_is_one_sentence(saved: Path, text: str) -> None:
    (saved / "thing.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="card") as error:
        weights.cards()
    assert str(error.value).isprintable() and str(error.value).endswith(".")


@dataclass(frozen=True)
class Sizes:
    width: int = 3
    share: float = 0.5
    levels: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    "config",
    [
        {"width": 10**9}, {"width": 10**400}, {"width": "3"}, {"width": None}, {"width": [3]}, {"width": True},
        {"width": 3.5}, {"share": float("nan")}, {"share": 1e300}, {"levels": 3}, {"levels": []}, {"levels": [1] * 99},
        {"levels": [[1]]}, {"levels": ["1"]}, {"more": 1}, {"self": 1},
    ],
)  # fmt: skip
def test_what_a_network_may_not_be_is_refused_before_it_is_made(config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="another version"):
        weights.fitting(Sizes, config, "thing")


def test_a_config_is_made_of_what_a_file_says() -> None:
    assert weights.fitting(Sizes, {"width": 4, "share": 1, "levels": [3, 4]}, "thing") == Sizes(4, 1, (3, 4))


@pytest.mark.parametrize("name", ["head", "whisper", "speech", "sync", "expression"])
def test_other_sizes_than_the_tensors_are_refused_before_anything_is_allocated(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = {"head": head.load_head, "whisper": whisper.load_whisper,
            "speech": speech.load_speech, "sync": sync.load_judge, "expression": load_expression}[name]  # fmt: skip
    tensors, config = weights.load(name)
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    numbers = [key for key, value in config.items() if type(value) is int and key != "drivers"]
    changes = [{**config, key: 10_000} for key in numbers]
    for other in changes:
        weights.save(tmp_path, name, tensors, other, {})
        with pytest.raises(InputError, match=r"another version|damaged"):
            load()
    first = sorted(tensors)[0]
    for spoiled in ({}, {first: tensors[first]}, {**tensors, first: tensors[first].reshape(-1)[:1]},
                    {**tensors, "more": torch.zeros(2)}):  # fmt: skip
        if name == "expression" and "more" in spoiled:
            continue  # what it does not know it does not read
        weights.save(tmp_path, name, spoiled, config, {})
        with pytest.raises(InputError, match=r"another version|damaged|has no"):
            load()


@pytest.mark.parametrize("config", ["[]", "3", "{", "[" * 100_000, "x" * (2 << 20)])
def test_a_header_that_is_none_is_one_sentence(saved: Path, config: str) -> None:
    save_file({"weight": torch.zeros(1)}, saved / "thing.safetensors", metadata={"config": config})
    for ask in (weights.load, weights.settings):
        with pytest.raises(InputError, match="damaged"):
            ask("thing")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"x" * 1000])
def test_a_damaged_task_is_one_sentence(saved: Path, content: bytes) -> None:
    (saved / "face_landmarker.task").write_bytes(content)
    for ask in (FaceFinder, canonical_face.__wrapped__):
        with pytest.raises(InputError, match="damaged"):
            ask()


def test_a_task_that_unpacks_to_gigabytes_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved / "face_landmarker.task", "w", zipfile.ZIP_DEFLATED) as task:
        for name in ("face_detector.tflite", "geometry_pipeline_metadata_landmarks.binarypb"):
            task.writestr(name, bytes(LARGEST_PART + 1))
    for ask in (FaceFinder, canonical_face.__wrapped__):
        with pytest.raises(InputError, match="damaged"):
            ask()


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
