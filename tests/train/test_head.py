"""Training of the learned head, on one made-up clip."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from mggdub import types
from mggdub.avatar.hidden import MIRRORED_RADIUS, SHELL_RADIUS
from mggdub.avatar.values import SOLID
from mggdub.evaluation.perceptual import Vgg
from mggdub.networks.head import FINE, GRID, STATES, HeadConfig, HeadNet
from mggdub.train import flow, head, head_losses, head_sample
from mggdub.train.head_data import MOST_CLIPS, choose_clips
from mggdub.types import CROP_SIZE, Array

SIDE, DISTANCE, MOMENTS, POINTS = 32, 60.0, 3, 32 * 32 + 8 + 6
MIRRORED = 5  # of the 8 hidden points
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
    scales = np.full((POINTS, 3), 0.4, np.float32)
    scales[len(at) : len(at) + 8] = np.repeat([[MIRRORED_RADIUS], [SHELL_RADIUS]], [MIRRORED, 8 - MIRRORED], 0)
    skin = sparse.csr_matrix((POINTS, 478), dtype=np.float32)
    still = np.zeros((MOMENTS, 3), np.float32)
    states = np.zeros((MOMENTS, STATES), np.float32)
    states[1:, 1] = 10
    picture = np.full((MOMENTS, SIDE, SIDE, 3), 102, np.uint8)
    picture[1:] += 40
    marks = np.tile(rng.uniform(8, 24, (478, 2)).astype(np.float32), (MOMENTS, 1, 1))
    first = len(at)
    avatar: dict[str, Array] = {
        "means": means, "quats": np.tile(np.float32([1, 0, 0, 0]), (POINTS, 1)), "scales": scales, "colors": colors,
        "skin_data": skin.data, "skin_indices": skin.indices, "skin_indptr": skin.indptr,
        "neck": np.ones(POINTS, np.float32), "body": np.zeros(POINTS, np.float32),
        "place": (place / SIDE).astype(np.float32),
        "slices": first + np.array([[0, 8], [8, 12], [12, 13], [13, 14]]),
        "own": np.full(32, shift, np.float32), "K": K, "viewmat": view, "crop_K": crop,
        "plates": np.zeros((MOMENTS, SIDE, SIDE, 3), np.uint8), "image": np.full((256, 256, 3), 102, np.uint8),
        "fade": np.ones((GRID, GRID), np.float16), "shade_fade": np.ones((FINE, FINE), np.float16),
        "inputs": np.zeros((63, GRID, GRID), np.float16),
        "order": np.arange(MOMENTS), "opacities": np.full((MOMENTS, POINTS), 0.95, np.float16),
        "displacement": np.zeros((MOMENTS, 478, 3), np.float16), "growth": np.ones((MOMENTS, 478), np.float16),
        "rotation": still, "translation": still, "sway": np.zeros((MOMENTS, 3, 4), np.float32), "states": states,
        "mouth_colors": np.full((MOMENTS, 4, 3), 0.1, np.float16),
        "mouth_radii": np.full((MOMENTS, 4), 0.1, np.float16),
    }  # fmt: skip
    np.savez(folder / f"{identity}_0.npz", **avatar)  # type: ignore[arg-type]
    heads = np.full((MOMENTS, SIDE, SIDE), 255, np.uint8)
    np.savez(folder / f"{identity}.npz", pictures=picture, heads=heads, landmarks=marks, identity=np.array(identity))


class Apart:
    """Stands for LPIPS."""

    def distance(self, a: Array, b: Array) -> float:
        return float(np.abs(a / 255 - b / 255).mean())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for identity, shift in (("anna", 0.0), ("bert", 0.1), ("carl", -0.1)):
        a_clip(folder, identity, shift)
    torch.manual_seed(0)
    kernels = tuple((torch.randn(4, width, 3, 3) * 0.2, torch.zeros(4)) for width in (3, *[4] * 6))
    monkeypatch.setattr(head, "load_vgg", lambda: Vgg(kernels))
    monkeypatch.setattr(head, "load_lpips", Apart)
    monkeypatch.setattr(head, "HELD_OUT", 10**6)
    monkeypatch.setattr(head, "KEEP_EVERY", 2)
    return folder


@pytest.mark.parametrize("without", [(), head_sample.SWITCHES])
def test_a_resumed_run_equals_an_unbroken_one(data: Path, tmp_path: Path, without: tuple[str, ...]) -> None:
    switches = frozenset(without)
    unbroken = head.train(data, tmp_path / "a", 4, switches, SMALL)
    head.train(data, tmp_path / "b", 4, switches, SMALL, seconds=0.0)  # one step
    assert torch.load(tmp_path / "b" / "state.pt", weights_only=True)["step"] == 1
    resumed = head.train(data, tmp_path / "b", 4, switches, SMALL)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_it_learns_what_pose_does_to_colour(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LEARNING_RATE", 1e-2)
    monkeypatch.setattr(head_losses, "SHADE_COST", 0.0)
    rows = head.people(data)[0]
    found, each = head.judge(head.train(data, tmp_path / "run", 40, config=SMALL), data, rows, frozenset())
    assert found["gain"] > 1 and found["better"] == 1 and found["learned_lpips"] < found["plain_lpips"]
    assert [avatar["clip"] for avatar in each] == ["anna", "bert", "carl"]
    assert np.mean([avatar["learned"] for avatar in each]) == pytest.approx(found["learned"], abs=1e-3)


def test_cells_are_the_mean_of_their_children(data: Path) -> None:
    one = head_sample.load_sample(data, "anna", 0)
    net = head.new_net(head.expression.load_expression(), SMALL)
    fine, _, _ = head_losses.drawn(net, net(one.inputs[None], one.own[None]), one, 1)
    merged = head_losses.coarse(fine, one)
    assert len(merged) == len(fine)  # 32 px over 128 cells: every point has a cell of its own
    picture, alpha = head_losses.picture(fine, one.camera, one.plates[1])
    assert picture.shape == (3, SIDE, SIDE) and float(alpha.detach().mean()) > 0.9


def a_trained_net() -> HeadNet:
    """One whose every part says something."""
    net = head.new_net(head.expression.load_expression(), SMALL)
    for last in (net.refine, net.motion, net.shade, net.sym[-1]):
        torch.nn.init.normal_(last.weight, std=0.1)
        torch.nn.init.constant_(last.bias, 0.1)
    return net.requires_grad_(False)


def the_head(net: HeadNet, one: head_sample.Sample) -> types.Gaussians:
    return head_losses.drawn(net, head_losses.grids_of(net, one), one, 1)[0]


def test_without_refinement_the_surface_stays(data: Path) -> None:
    net = a_trained_net()
    whole, flat = (head_sample.load_sample(data, "anna", 0, frozenset(w)) for w in ((), ("refine",)))
    assert (
        head_losses.grids_of(net, whole).depth.abs().max() > 0
        and head_losses.grids_of(net, flat).depth.abs().max() == 0
    )
    assert torch.equal(head_losses.grids_of(net, whole).motion, head_losses.grids_of(net, flat).motion)


def test_without_symmetry_only_the_shell_is_hidden(data: Path) -> None:
    net = a_trained_net()
    whole, half = (head_sample.load_sample(data, "anna", 0, frozenset(w)) for w in ((), ("symmetry",)))
    assert half.hidden == slice(SIDE * SIDE, SIDE * SIDE + 8 - MIRRORED) and len(half.twin) == 8 - MIRRORED
    kept = np.delete(np.arange(POINTS), slice(SIDE * SIDE, SIDE * SIDE + MIRRORED))
    for name in ("means", "scales", "opacities", "colors"):
        assert torch.allclose(getattr(the_head(net, half), name), getattr(the_head(net, whole), name)[kept]), name


def test_without_the_sym_decoder_hidden_points_keep_their_colours(data: Path) -> None:
    net = a_trained_net()
    torch.nn.init.zeros_(net.shade.weight)
    torch.nn.init.zeros_(net.shade.bias)
    told, silent = (head_sample.load_sample(data, "anna", 0, frozenset(w)) for w in ((), ("sym",)))
    a, b = the_head(net, told), the_head(net, silent)
    hidden = told.hidden
    assert torch.allclose(b.colors[hidden], told.colors[hidden]) and (b.opacities[hidden] == SOLID).all()
    assert (a.colors[hidden] - b.colors[hidden]).abs().min() > 0.01
    assert (a.opacities[hidden] - b.opacities[hidden]).abs().min() > 0.01
    assert torch.equal(a.colors[: hidden.start], b.colors[: hidden.start])


def test_without_densification_a_cell_is_one_gaussian(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_sample, "GRID", SIDE // 2)  # of the cells: four children each
    net = a_trained_net()
    whole, few = (head_sample.load_sample(data, "anna", 0, frozenset(w)) for w in ((), ("densify",)))
    children, parents = the_head(net, whole), the_head(net, few)
    assert len(children) - len(parents) == SIDE * SIDE * 3 // 4
    assert torch.equal(parents.means, head_losses.coarse(children, whole).means)
    assert parents.scales[0, 0] == pytest.approx(2 * float(children.scales[0, 0]), rel=0.01)


def test_an_aim_is_where_points_lie_and_what_the_flow_adds(data: Path) -> None:
    pytest.importorskip("cv2", reason="the [train] extra is not installed")
    net = head.new_net(head.expression.load_expression(), SMALL).requires_grad_(False)
    one = head_sample.load_sample(data, "anna", 0)
    aim = flow.flows(net, one)  # flat pictures: nothing moves
    aim[:, :, 2] = 1
    for shift, cost in ((0.0, 0.0), (3.0, 2.5)):  # of smooth L1
        np.save(data / "aim.npy", aim + np.float32([shift, 0, 0]))
        (data / "aim.npy").rename(data / "anna_0.aim")
        one = head_sample.load_sample(data, "anna", 0)
        assert head_losses.astray(net, head_losses.grids_of(net, one), one, range(1, MOMENTS)) == pytest.approx(
            [cost] * 2, abs=1e-3
        )


def test_a_run_is_measured_on_another_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["head", str(data), str(tmp_path / "run"), "--steps", "1", "--on", str(data), "--rank", "2"]
    monkeypatch.setattr("sys.argv", command)
    head.main()
    found = json.loads((tmp_path / "run" / "judged.json").read_text())
    assert found["steps"] == 1 and len(found["each"]) == 3 and set(found["each"][0]) > {"photo", "plain", "learned"}


def test_few_people_are_spread_over_the_manifest() -> None:
    rows = [{"identity": f"p{i}", "file": f"{take}_{i}"} for take in range(MOST_CLIPS + 2) for i in range(9)]
    assert [row["file"] for row in choose_clips(rows, 3)] == ["0_0", "0_3", "0_6"]
    assert len(choose_clips(rows, 20)) == 9
    assert len(choose_clips(rows, None)) == 9 * MOST_CLIPS


def test_turned_heads_take_one_step_in_four(data: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    turned.mkdir()
    a_clip(turned, "dora", 0.5)
    sets = [(folder, head.people(folder)[0]) for folder in (data, turned)]
    steps = {step: float(samples[0].own[0]) == 0.5 for step, samples in head.batches(sets, range(8), frozenset())}
    assert [step for step, is_turned in steps.items() if is_turned] == [3, 7]
    assert not any(samples[0].own[0] == 0.5 for _, samples in head.batches(sets[:1], range(8), frozenset()))
    head.train(data, tmp_path / "run", 4, config=SMALL, turned=turned)
