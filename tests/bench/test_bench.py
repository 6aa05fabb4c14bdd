"""The stages of a render add up to it, and what it is compared with draws the same."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from bench import STAGES, WINDOW, in_order, middle, on_cuda, pictures, plain, render

from mggdub.options import RenderOptions
from mggdub.renderer.rasterize import rasterize
from mggdub.types import Camera, Gaussians


@pytest.fixture(scope="module")
def ball() -> tuple[Gaussians, Camera]:
    """A head-sized ball of small Gaussians, 100 px."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(3000, 3))
    fields = (
        directions / np.linalg.norm(directions, axis=1, keepdims=True) * [7, 10, 9],
        random.normal(size=(3000, 4)),
        np.exp(random.normal(-2.5, 0.3, (3000, 3))),
        random.beta(3, 1.6, 3000),
        random.uniform(size=(3000, 3)),
    )
    view = np.eye(4, dtype=np.float32)
    view[2, 3] = 120
    camera = Camera(np.array([[800, 0, 50], [0, 800, 50], [0, 0, 1]], np.float32), view, 100, 100)
    return Gaussians(*(torch.tensor(field, dtype=torch.float32) for field in fields)), camera


def test_the_plain_loop_draws_the_same(ball: tuple[Gaussians, Camera]) -> None:
    drawn = rasterize(*ball).colors.numpy()
    assert np.abs(plain(*in_order(*ball), ball[1]) - drawn).mean() < 1e-5
    few, part = middle(*ball)
    inner = slice((100 - WINDOW) // 2, (100 + WINDOW) // 2)
    assert len(few) < 3000
    assert np.abs(rasterize(few, part).colors.numpy() - drawn[inner, inner]).max() < 1e-3


def test_ours_is_compared(ball: tuple[Gaussians, Camera]) -> None:
    row = pictures(*ball, repeats=5)
    assert row["gaussians"] == 3000 and row["from_twin_db"] > 60
    assert row["than_twin"] > 1 and row["than_plain_loop"] > 0 and row["fps"] > 0
    if not torch.cuda.is_available():
        assert "gsplat was not measured" in str(on_cuda(*ball))


def test_stages_add_up_to_the_render(head_png: Path, speech_wav: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "short.wav", samples[: 2 * rate], rate)
    row = render(head_png, tmp_path / "short.wav", tmp_path, RenderOptions(size=96, fps=10))
    assert sum(row[stage] for stage in STAGES) == pytest.approx(row["all"], abs=0.001)
    assert all(row[stage] > 0 for stage in STAGES) and row["gaussians"] > 1000 and row["photo_s"] > 0
