"""Avatars of renders: one synthetic head, whose other views are made of the first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mggdub.face.detector import FaceFinder
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.networks.head import nothing_learned
from mggdub.train import head_losses, head_sample, head_synth
from mggdub.types import Array

SIDE, DISTANCE = 384, 140.0
K = np.array([[8.0 * 180, 0, 190], [0, 8.0 * 180, 200], [0, 0, 1]], np.float32)
ROLL, YAW = 12.0, 10.0


def a_view(folder: Path, number: int, picture: Image.Image, turn: Array) -> None:
    """A flat head as it looks after a `turn` [3] degrees about the camera's axis or the head's origin."""
    picture.save(folder / f"000007_{number}.jpg", quality=95)
    view = np.eye(4, dtype=np.float32)
    view[:3, :3], view[2, 3] = euler_to_matrix(turn), DISTANCE
    label = np.ones((SIDE, SIDE), np.uint8)
    label[330:] = 6
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    maps = {"label": label, "alpha": alpha, "depth": np.zeros((SIDE, SIDE), np.float16)}
    np.savez(folder / f"000007_{number}.npz", K=K, world_to_camera=view, **maps)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, head_png: Path) -> Path:
    views, out = tmp_path_factory.mktemp("views"), tmp_path_factory.mktemp("out")
    front = Image.open(head_png).convert("RGB")
    rolled = front.rotate(-ROLL, Image.Resampling.BICUBIC, center=(float(K[0, 2]), float(K[1, 2])))
    a_view(views, 0, front, np.zeros(3))
    a_view(views, 1, rolled, np.array([0, 0, ROLL]))
    a_view(views, 2, front, np.array([0, YAW, 0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["head_synth", str(views), str(out)])
        head_synth.main()
    return out


def test_heads_without_maps_are_named(
    tmp_path: Path, head_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["head_synth", str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        head_synth.main()
    assert "no <head>_0.jpg" in capsys.readouterr().err
    Image.open(head_png).convert("RGB").save(tmp_path / "000001_0.jpg")
    head_synth.main()
    assert capsys.readouterr().out.startswith("dropped 000001: ") and not list((tmp_path / "out").iterdir())


def test_a_head_is_where_its_view_shows_it(made: Path) -> None:
    one = head_sample.load_sample(made, "000007", 0)
    for moment in (0, 1):
        pixels = (one.pictures[moment].numpy() * 255).astype(np.uint8)
        (face,) = FaceFinder(1).find(pixels)
        off = np.linalg.norm(one.landmarks[moment] - face.landmarks[:, :2], axis=1)
        assert np.median(off) < 1.5, moment


def test_poses_are_those_of_the_views(made: Path) -> None:
    one = head_sample.load_sample(made, "000007", 0)
    assert np.abs(one.rotation[0]).max() < 1e-3 and np.abs(one.translation[0]).max() < 1e-3
    assert one.rotation[1][2] == pytest.approx(ROLL, abs=1) and one.rotation[2][1] == pytest.approx(YAW, abs=1)
    nose, bridge = (one.landmarks[:, i, 0] for i in (1, 168))
    assert nose[2] - bridge[2] > nose[0] - bridge[0] + 1  # turned to the viewer's right
    assert not one.states[:, 6:].any() and np.abs(one.displacement).max() < 0.1


def test_aims_are_exact(made: Path) -> None:
    one = head_sample.load_sample(made, "000007", 0)
    assert one.aim is not None
    grids = nothing_learned()
    rank = torch.zeros(grids.motion.shape[1])
    plain = [
        head_losses.on_screen(head_sample.moved(rank, grids, one, m, one.lead)[0], one.camera)
        for m in range(len(one.states))
    ]
    off, trusted = (one.aim[..., :2] - torch.stack(plain)).numpy(), one.aim[0, :, 2].numpy() > 0
    assert trusted.mean() > 0.3
    assert np.abs(off[:2, trusted]).max() < 0.5  # rolling about the camera's axis tells nothing of depth
    nose = trusted & (np.linalg.norm(plain[0].numpy() - one.landmarks[0, 1], axis=1) < 4)
    assert off[2, nose, 0].max() < -1  # a flat head has no nose that goes further than its cheeks


def test_clothes_are_no_head(made: Path) -> None:
    one = head_sample.load_sample(made, "000007", 0)
    assert float(one.heads[0][:200].min()) == 1 and float(one.heads[0][-1].max()) == 0
