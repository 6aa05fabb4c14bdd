"""The geometry network's training: jitter keeps normals true, and a resumed run equals an unbroken one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mggdub.networks.geometry import load_geometry
from mggdub.train import geometry, geometry_batches
from mggdub.train.geometry_data import MARGIN, OUTSIDE, SYNTH_SIZE, UNSURE, nearest_part, real_label
from mggdub.types import BACKGROUND, CLOTHES, EYES, HAIR, MOUTH, SKIN


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """Three noisy synthetic views."""
    rng = np.random.default_rng(0)
    size, folder = SYNTH_SIZE, tmp_path / "packs" / "synth"
    folder.mkdir(parents=True)
    np.save(folder / "image.npy", rng.integers(0, 255, (3, size, size, 3), dtype=np.uint8))
    np.save(folder / "alpha.npy", rng.integers(0, 255, (3, size, size), dtype=np.uint8))
    np.save(folder / "label.npy", rng.integers(0, 6, (3, size, size), dtype=np.uint8))
    np.save(folder / "depth.npy", rng.normal(0, 3, (3, size, size)).astype(np.float16))
    np.save(folder / "normal_xy.npy", rng.integers(-80, 80, (3, 2, size, size), dtype=np.int8))
    np.save(folder / "head.npy", np.array([0, 1, 4], np.int32))  # the last is held out
    return tmp_path / "packs"


def test_a_turned_picture_has_turned_normals() -> None:
    """The normals of a jittered dome are those of the jittered depth."""
    size = 128
    rows, columns = np.mgrid[:size, :size] / (size / 2) - 1
    depth = 0.5 * columns**2 + 0.3 * rows * columns + 0.2 * rows  # in units of half a picture
    slope = np.stack([columns + 0.3 * rows, 0.3 * columns + 0.2], 0)
    normal = np.concatenate([slope, -np.ones((1, size, size))]) / np.sqrt(1 + (slope**2).sum(0))
    rng = np.random.default_rng(5)
    matrices = geometry_batches.jitter(rng, 4)
    assert (torch.linalg.det(matrices[:, :, :2]) < 0).any()  # at least one is mirrored
    grid = F.affine_grid(matrices, [4, 1, size, size], align_corners=False)

    def seen(values: np.ndarray) -> torch.Tensor:
        return F.grid_sample(torch.from_numpy(values).float()[None].expand(4, -1, -1, -1), grid, align_corners=False)

    turned = geometry_batches.turn(seen(normal[:2]), matrices)
    scale = torch.linalg.vector_norm(matrices[:, :, 0], dim=1)[:, None, None]
    z = seen(depth[None])[:, 0]
    across = (z[:, 40:-40, 41:-39] - z[:, 40:-40, 39:-41]) / (4 / size) / scale
    along = (z[:, 41:-39, 40:-40] - z[:, 39:-41, 40:-40]) / (4 / size) / scale
    inner = turned[:, :, 40:-40, 40:-40]
    assert torch.allclose(-inner[:, 0] / inner[:, 2], across, atol=0.02)
    assert torch.allclose(-inner[:, 1] / inner[:, 2], along, atol=0.02)


def test_points_move_with_the_picture() -> None:
    matrices = geometry_batches.jitter(np.random.default_rng(2), 3)
    points = np.random.default_rng(3).random((3, 478, 3)).astype(np.float32)
    moved = geometry_batches.move_points(points, matrices)
    back = moved[..., :2] @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    assert torch.allclose(back, torch.from_numpy(points[..., :2]) * 2 - 1, atol=1e-5)


def test_resumed_run_equals_an_unbroken_one(packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_batches, "SYNTH_BATCH", 2)
    monkeypatch.setattr(geometry_batches, "BACKGROUNDS", 4)

    geometry.train(packs, tmp_path / "whole", 4, None)
    geometry.train(packs, tmp_path / "parts", 4, None, stop=2)
    monkeypatch.setattr("sys.argv", ["geometry", str(packs), str(tmp_path / "parts"), "--steps", "4"])
    geometry.main()
    whole, parts = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 4
    assert all(torch.equal(whole["mean"][name], parts["mean"][name]) for name in whole["mean"])
    held = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])
    assert held["depth_cm"] > 0


def test_what_is_taught_further_keeps_depth_and_normals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, folder, size = np.random.default_rng(0), tmp_path / "packs" / "real", 288
    folder.mkdir(parents=True)
    for name, edge in (("image", size), ("clean", size), ("fine_image", 2 * size), ("fine_clean", 2 * size)):
        np.save(folder / f"{name}.npy", rng.integers(0, 255, (3, edge, edge, 3), dtype=np.uint8))
    for name, edge in (("alpha", size), ("fine_alpha", 2 * size)):
        np.save(folder / f"{name}.npy", rng.integers(0, 255, (3, edge, edge), dtype=np.uint8))
    np.save(folder / "label.npy", rng.integers(0, 6, (3, size, size), dtype=np.uint8))
    np.save(folder / "part.npy", rng.integers(1, 3, (3, size, size), dtype=np.uint8))
    np.save(folder / "points.npy", rng.random((3, 478, 3), dtype=np.float32))
    (folder / "identity.json").write_text(json.dumps(["a", "b", "c"]), encoding="utf-8")
    monkeypatch.setattr(geometry_batches, "SYNTH_BATCH", 1)
    monkeypatch.setattr(geometry_batches, "REAL_BATCH", 1)
    monkeypatch.setattr(geometry_batches, "BACKGROUNDS", 4)
    monkeypatch.setattr(geometry_batches, "held_out", lambda name: name == "c")

    geometry.train(tmp_path / "packs", tmp_path / "run", 1, None, further=True, rate=0.0)
    first, held = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert {"depth", "normal", "matte", "label", "points", "fine"} <= first.keys() and held["points_cm"] > 0
    shipped, now = load_geometry().state_dict(), torch.load(tmp_path / "run" / "state.pt", weights_only=True)["net"]
    assert all(
        torch.equal(value, now[name]) for name, value in shipped.items() if "running" not in name and "num" not in name
    )


def test_depth_and_normals_that_nothing_teaches_are_those_from_before() -> None:
    net = load_geometry()
    image = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    none, maps = torch.zeros(2, 1, 192, 192), torch.zeros(2, 3, 192, 192)
    label, points = torch.ones(2, 192, 192, dtype=torch.int64), torch.zeros(2, 478, 3)
    batch = geometry_batches.Batch(image, none, label, none, maps, points, image[:0], none[:0], (0.0, 0.0), 0, 2)
    taught = geometry.with_earlier_depth(net, batch)
    with torch.no_grad():
        terms = geometry.losses(net, taught)
    assert (
        taught.exact == 2 and float(terms["depth"]) == 0 and float(terms["normal"]) < 1e-5 and float(terms["label"]) > 0
    )


def test_held_out_heads_are_never_trained_on(packs: Path) -> None:
    pack = geometry_batches.open_pack(packs / "synth", real=False)
    assert set(pack.held.tolist()) == {2}
    assert set(pack.train.tolist()) == {0, 1}
    assert pack.weights.sum() == pytest.approx(1)


def test_teachers_that_disagree_teach_nothing() -> None:
    size = 100
    parts = np.zeros((3, size, size), np.float32)
    alpha = np.zeros((size, size), np.uint8)
    alpha[10:] = 255
    parts[2, 10:30] = 1  # hair
    parts[0, 30:70] = 1  # skin
    parts[1, 90:] = 1  # clothes
    marks = np.tile(np.array([50.0, 50.0, 0.0]), (478, 1))
    marks[152], marks[10] = (50, 80, 0), (50, 30, 0)
    label = real_label(parts, alpha, marks)
    assert (label[:10] == BACKGROUND).all()
    assert (label[12:28, 2:40] == HAIR).all()
    assert (label[32:48, 2:30] == UNSURE).all()  # skin beside the face's oval might be thin hair
    assert (label[92:] == CLOTHES).all()
    assert {SKIN, EYES, MOUTH, OUTSIDE}.isdisjoint(np.unique(label[81:90]))
    assert MARGIN > 1


def test_clothes_and_hair_are_dyed_where_they_are() -> None:
    image = torch.full((2, 3, 32, 32), 0.4)
    image[:, 0, :16] = 0.1
    parts = torch.zeros(2, 2, 32, 32)
    parts[:, 0, 20:] = 1
    parts[:, 1, :10] = 1
    gains = torch.ones(2, 2, 3, 16, 16)
    gains[0, 0], gains[1, 1, 2] = 2.0, 0.5
    dyed = geometry_batches.dye(image, parts, gains)
    assert torch.allclose(dyed[0, :, 20:], torch.tensor(0.83)) and torch.allclose(dyed[0, :, :20], image[0, :, :20])
    assert torch.allclose(dyed[1, 2, :10], torch.tensor(0.185)) and torch.allclose(dyed[1, :, 10:], image[1, :, 10:])


def test_what_is_dyed_gets_another_colour_on_purpose() -> None:
    rng = np.random.default_rng(4)
    image, parts = torch.full((40, 3, 16, 16), 0.3), torch.zeros(40, 2, 16, 16)
    parts[:, 0, 8:], parts[:20, 1, :4] = 1, 1
    gains, dyed = geometry_batches.dyes(rng, image, torch.rand(40, 3, 8, 8), parts)
    assert 20 < int(dyed.sum()) < 40
    assert torch.equal(gains[20:, 1], torch.ones(20, 3, 16, 16))  # there is no hair
    changed = (gains != 1).any(2).any(2).any(2)
    assert torch.equal(changed.any(1), dyed[:, 0, 0, 0])
    assert float(gains[:, 1].min()) > 1 / 6 and float(gains.max()) < 5 * np.exp(0.35 * 5)


def test_every_place_has_the_part_that_lies_nearest() -> None:
    label = np.full((8, 8), UNSURE, np.uint8)
    label[0], label[7, :4], label[7, 4:], label[3, 3] = HAIR, CLOTHES, BACKGROUND, EYES
    part = nearest_part(label)
    assert set(np.unique(part)) == {SKIN, HAIR, CLOTHES}
    assert (part[:2] == HAIR).all() and part[3, 3] == part[4, 4] == SKIN and (part[6, :2] == CLOTHES).all()
