"""Training of the learned head, on one made-up clip."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from mggdub.metrics.perceptual import Vgg
from mggdub.models.head import GRID, HeadConfig
from mggdub.train import head
from mggdub.types import CROP_SIZE, Array

SIDE, DISTANCE, MOMENTS, POINTS = 32, 60.0, 3, 32 * 32 + 8 + 6
SMALL = HeadConfig(widths=(8, 8, 16, 16), motion_rank=3, shade_rank=2, hidden=8)


def a_clip(folder: Path, identity: str, shift: float) -> None:
    """A flat face whose picture is brighter in every frame but the first; 8 hidden points, 4 of mouth, 2 of lids."""
    rng = np.random.default_rng(0)
    K = np.array([[4.0 * SIDE, 0, SIDE / 2], [0, 4.0 * SIDE, SIDE / 2], [0, 0, 1]], np.float32)
    crop = K * np.array([[CROP_SIZE / SIDE], [CROP_SIZE / SIDE], [1]], np.float32)
    view = np.eye(4, dtype=np.float32)
    view[2, 3] = DISTANCE
    at = np.stack(np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5), -1).reshape(-1, 2)
    extra = at[rng.integers(len(at), size=POINTS - len(at))]
    place = np.concatenate([at, extra])
    means = np.concatenate([(place - SIDE / 2) / K[0, 0] * DISTANCE, np.zeros((POINTS, 1))], 1).astype(np.float32)
    means[len(at) :, 2] = 2
    colors = np.full((POINTS, 3), 0.4, np.float32)
    skin = sparse.csr_matrix((POINTS, 478), dtype=np.float32)
    still = np.zeros((MOMENTS, 3), np.float32)
    states = np.zeros((MOMENTS, 38), np.float32)
    states[1:, 1] = 5
    picture = np.full((MOMENTS, SIDE, SIDE, 3), 102, np.uint8)
    picture[1:] += 40
    marks = np.tile(rng.uniform(8, 24, (478, 2)).astype(np.float32), (MOMENTS, 1, 1))
    first = len(at)
    avatar: dict[str, Array] = {
        "means": means, "scales": np.full((POINTS, 3), 0.4, np.float32), "colors": colors,
        "skin_data": skin.data, "skin_indices": skin.indices, "skin_indptr": skin.indptr,
        "neck": np.ones(POINTS, np.float32), "place": (place / SIDE).astype(np.float32),
        "slices": first + np.array([[0, 8], [8, 12], [12, 13], [13, 14]]),
        "own": np.full(32, shift, np.float32), "K": K, "viewmat": view, "crop_K": crop,
        "plate": np.zeros((SIDE, SIDE, 3), np.uint8), "image": np.full((256, 256, 3), 102, np.uint8),
        "fade": np.ones((GRID, GRID), np.float16), "inputs": np.zeros((63, GRID, GRID), np.float16),
        "order": np.arange(MOMENTS), "opacities": np.full((MOMENTS, POINTS), 0.95, np.float16),
        "displacement": np.zeros((MOMENTS, 478, 3), np.float16), "growth": np.ones((MOMENTS, 478), np.float16),
        "rotation": still, "translation": still, "states": states,
        "mouth_colors": np.full((MOMENTS, 4, 3), 0.1, np.float16),
        "mouth_radii": np.full((MOMENTS, 4), 0.1, np.float16),
    }  # fmt: skip
    np.savez(folder / f"{identity}_0.npz", **avatar)  # type: ignore[arg-type]
    heads = np.full((MOMENTS, SIDE, SIDE), 255, np.uint8)
    np.savez(folder / f"{identity}.npz", pictures=picture, heads=heads, landmarks=marks, identity=np.array(identity))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for identity, shift in (("anna", 0.0), ("bert", 0.1), ("carl", -0.1)):
        a_clip(folder, identity, shift)
    torch.manual_seed(0)
    kernels = tuple((torch.randn(4, width, 3, 3) * 0.2, torch.zeros(4)) for width in (3, *[4] * 6))
    monkeypatch.setattr(head, "load_vgg", lambda: Vgg(kernels))
    monkeypatch.setattr(head, "HELD_OUT", 10**6)
    monkeypatch.setattr(head, "KEEP_EVERY", 2)
    return folder


def test_a_resumed_run_equals_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    unbroken = head.train(data, tmp_path / "a", 4, config=SMALL)
    head.train(data, tmp_path / "b", 4, config=SMALL, seconds=0.0)  # one step
    assert torch.load(tmp_path / "b" / "state.pt", weights_only=True)["step"] == 1
    resumed = head.train(data, tmp_path / "b", 4, config=SMALL)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_it_learns_what_pose_does_to_colour(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LEARNING_RATE", 1e-2)
    monkeypatch.setattr(head, "SHADE_COST", 0.0)
    rows = head.people(data)[0]
    found = head.judge(head.train(data, tmp_path / "run", 40, config=SMALL), data, rows, frozenset())
    assert found["gain"] > 1 and found["better"] == 1


def test_cells_are_the_mean_of_their_children(data: Path) -> None:
    one = head.load_sample(data, "anna", 0)
    net = head.new_net(head.expression.load_expression(), SMALL)
    fine, _, _ = head.drawn(net, net(one.inputs[None], one.own[None]), one, 1)
    merged = head.coarse(fine, one)
    assert len(merged) == len(fine)  # 32 px over 128 cells: every point has a cell of its own
    picture, alpha = head.picture(fine, one.camera, one.plate)
    assert picture.shape == (3, SIDE, SIDE) and float(alpha.detach().mean()) > 0.9


def test_turned_heads_take_one_step_in_four(data: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    turned.mkdir()
    a_clip(turned, "dora", 0.5)
    sets = [(folder, head.people(folder)[0]) for folder in (data, turned)]
    steps = {step: float(samples[0].own[0]) == 0.5 for step, samples in head.batches(sets, range(8))}
    assert [step for step, is_turned in steps.items() if is_turned] == [3, 7]
    assert not any(samples[0].own[0] == 0.5 for _, samples in head.batches(sets[:1], range(8)))
    head.train(data, tmp_path / "run", 4, config=SMALL, turned=turned)
