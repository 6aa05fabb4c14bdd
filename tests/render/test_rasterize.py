import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggdub.geometry.rotation import euler_to_matrix
from mggdub.render.rasterize import rasterize, render_frame
from mggdub.render.reference import rasterize_reference
from mggdub.types import Camera, Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors")


def a_camera(width: int = 64, height: int = 48, focal: float = 120.0) -> Camera:
    view = np.eye(4, dtype=np.float32)
    view[:3, :3] = euler_to_matrix(np.array([8.0, -12.0, 5.0]))
    view[:3, 3] = (0.3, -0.2, 20)
    K = np.array([[focal, 0, width / 2 + 1.5], [0, focal * 1.1, height / 2 - 2.5], [0, 0, 1]], np.float32)
    return Camera(K, view, width, height)


def a_scene(count: int, seed: int = 0, size: float = 0.35) -> Gaussians:
    torch.manual_seed(seed)
    return Gaussians(
        torch.randn(count, 3) * torch.tensor([3.0, 2.5, 2.0]),
        torch.randn(count, 4) * 1.7,
        size * torch.exp(0.4 * torch.randn(count, 3)),
        torch.rand(count) * 0.95 + 0.03,
        torch.rand(count, 3),
    )


def of(gaussians: Gaussians, index: torch.Tensor) -> Gaussians:
    return Gaussians(*(getattr(gaussians, name)[index] for name in FIELDS))


def test_one_gaussian_renders_as_its_formula() -> None:
    camera = Camera(np.array([[100, 0, 16], [0, 100, 16], [0, 0, 1]], np.float32), np.eye(4, dtype=np.float32), 32, 32)
    one = Gaussians(
        torch.tensor([[0.0, 0, 10]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), 0.2),
        torch.tensor([0.8]),
        torch.tensor([[1.0, 0.5, 0.25]]),
    )
    drawn = rasterize(one, camera)
    variance = (0.2 * 100 / 10) ** 2 + 0.3
    at = 0.8 * math.exp(-0.5 * (0.5**2 + 2.5**2) / variance)  # pixel (16, 18) is half a pixel right, 2.5 below
    assert float(drawn.alphas[18, 16]) == pytest.approx(at, rel=1e-5)
    assert drawn.colors[18, 16].tolist() == pytest.approx([at, at / 2, at / 4], rel=1e-5)
    assert float(drawn.depths[18, 16]) == pytest.approx(10 * at, rel=1e-5)
    assert float(drawn.alphas[0, 0]) == 0


@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 97), (32, 32), (7, 5)])
def test_fast_equals_slow(width: int, height: int) -> None:
    scene, camera = a_scene(400, seed=width), a_camera(width, height)
    fast, slow = rasterize(scene, camera), rasterize_reference(scene, camera)
    assert float(slow.alphas.max()) > 0.5
    assert float((fast.colors - slow.colors).abs().max()) < 2e-4
    assert float((fast.alphas - slow.alphas).abs().max()) < 2e-4
    assert float((fast.depths - slow.depths).abs().max()) < 20 * 2e-4


def test_gradients_equal_those_of_the_slow_twin() -> None:
    scene, camera = a_scene(300, seed=3), a_camera()
    torch.manual_seed(9)
    into = torch.randn(48, 64, 3), torch.randn(48, 64), torch.randn(48, 64) * 0.1
    grads = []
    for render, kind in ((rasterize, torch.float32), (rasterize_reference, torch.float64)):
        leaves = [getattr(scene, name).clone().to(kind).requires_grad_() for name in FIELDS]
        drawn = render(Gaussians(*leaves), camera)
        value = (drawn.colors * into[0]).sum() + (drawn.alphas * into[1]).sum() + (drawn.depths * into[2]).sum()
        value.backward()
        grads.append([leaf.grad.double() for leaf in leaves])
    for name, fast, slow in zip(FIELDS, *grads, strict=True):
        assert float((fast - slow).norm() / slow.norm()) < 1e-4, name


def test_order_does_not_matter_and_bytes_repeat() -> None:
    scene, camera = a_scene(3000), a_camera(200, 150, 400)
    first, again = rasterize(scene, camera), rasterize(scene, camera)
    shuffled = rasterize(of(scene, torch.randperm(3000)), camera)
    assert torch.equal(first.colors, again.colors)
    assert float((first.colors - shuffled.colors).abs().max()) < 1e-4


def test_the_nearer_one_hides_the_farther() -> None:
    camera = a_camera()
    wall = Gaussians(
        torch.tensor([[0.0, 0, 0], [0.0, 0, 4]]),
        torch.tensor([[1.0, 0, 0, 0]] * 2),
        torch.full((2, 3), 9.0),
        torch.tensor([0.9999, 0.9999]),
        torch.tensor([[1.0, 0, 0], [0.0, 1, 0]]),
    )
    drawn = rasterize(wall, camera)
    assert float(drawn.colors[24, 32, 0]) > 0.99
    assert float(drawn.colors[24, 32, 1]) < 0.01


def test_what_cannot_be_drawn_is_left_out() -> None:
    camera, scene = a_camera(), a_scene(50)
    empty = rasterize(of(scene, torch.zeros(0, dtype=torch.long)), camera)
    assert float(empty.alphas.abs().max()) == 0 and empty.colors.shape == (48, 64, 3)
    behind = rasterize(replace(scene, means=scene.means - torch.tensor([0.0, 0, 500])), camera)
    assert float(behind.alphas.max()) == 0
    broken = scene.means.clone()
    broken[:10] = float("nan")
    kept = rasterize(replace(scene, means=broken), camera)
    assert torch.equal(kept.colors, rasterize(of(scene, torch.arange(10, 50)), camera).colors)


def test_the_numpy_entry_draws_the_same() -> None:
    scene, camera = a_scene(500), a_camera()
    colors, alphas = render_frame(*(getattr(scene, name).numpy() for name in FIELDS), camera)
    drawn = rasterize(scene, camera)
    assert np.array_equal(colors, drawn.colors.numpy()) and np.array_equal(alphas, drawn.alphas.numpy())
