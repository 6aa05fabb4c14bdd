"""The fast renderer equals its slow twin, and both equal the formulas."""

import math
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from mggdub.renderer.kernels import ALPHA_MAX, CLOSED
from mggdub.renderer.projection import ALPHA_MIN
from mggdub.renderer.rasterize import rasterize, render_frame, render_placed
from mggdub.renderer.reference import project, rasterize_reference, rotation
from mggdub.types import Camera, Gaussians, Rendering

FIELDS = ("means", "quats", "scales", "opacities", "colors")
PICTURES = ("colors", "alphas", "depths")


def camera(width: int, height: int) -> Camera:
    """40 cm from the origin, turned a little, with a principal point off the middle."""
    view = np.eye(4, dtype=np.float32)
    view[:3, :3] = rotation(torch.tensor([[1, 0.1, -0.2, 0.05]], dtype=torch.float64))[0].numpy()
    view[:3, 3] = 0.3, -0.5, 40
    return Camera(
        np.array([[150, 0, width * 0.48], [0, 140, height * 0.53], [0, 0, 1]], np.float32), view, width, height
    )


def scene(count: int, seed: int = 0) -> Gaussians:
    random = np.random.default_rng(seed)
    arrays = (
        random.normal(size=(count, 3)) * [6, 6, 4],
        random.normal(size=(count, 4)),
        np.exp(random.normal(-1, 0.5, (count, 3))),
        random.beta(2, 1, count),
        random.uniform(size=(count, 3)),
    )
    return Gaussians(*(torch.tensor(array, dtype=torch.float32) for array in arrays))


def pick(gaussians: Gaussians, rows: torch.Tensor) -> Gaussians:
    return Gaussians(*(getattr(gaussians, name)[rows] for name in FIELDS))


def pictures(rendering: Rendering) -> list[np.ndarray]:
    return [getattr(rendering, name).detach().double().numpy() for name in PICTURES]


def straight(width: int, height: int, focal: float = 100.0) -> Camera:
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return Camera(K, np.eye(4, dtype=np.float32), width, height)


def ball(z: float, color: tuple[float, float, float], opacity: float = 0.8, scale: float = 0.2) -> Gaussians:
    return Gaussians(
        torch.tensor([[0.0, 0, z]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), scale),
        torch.tensor([opacity]),
        torch.tensor([color]),
    )


def together(*parts: Gaussians) -> Gaussians:
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in FIELDS))


def test_one_gaussian_renders_as_its_formula() -> None:
    # 0.2 cm at 10 cm with a focal length of 100 px: 2 px, and the blur adds 0.3 px².
    drawn = rasterize(ball(10.0, (0.25, 0.5, 1.0)), straight(21, 33))
    x, y = np.arange(21) + 0.5 - 10.5, np.arange(33) + 0.5 - 16.5
    alpha = 0.8 * np.exp(-0.5 * (x[None] ** 2 + y[:, None] ** 2) / (2.0**2 + 0.3))
    alpha[alpha < 1 / 255] = 0
    np.testing.assert_allclose(drawn.alphas, alpha, atol=2e-6)
    np.testing.assert_allclose(drawn.colors, alpha[..., None] * [0.25, 0.5, 1.0], atol=2e-6)
    np.testing.assert_allclose(drawn.depths, alpha * 10, atol=2e-5)


@pytest.mark.parametrize(("count", "width", "height"), [(400, 67, 45), (1200, 96, 64), (800, 33, 100), (60, 5, 3)])
def test_fast_equals_slow(count: int, width: int, height: int) -> None:
    gaussians, view = scene(count), camera(width, height)
    fast, slow = pictures(rasterize(gaussians, view)), pictures(rasterize_reference(gaussians, view))
    for quick, exact, tolerance in zip(fast, slow, (1e-5, 1e-5, 5e-4), strict=True):
        # Two Gaussians of nearly one depth may change places in float32: a pixel or two.
        assert np.mean(np.abs(quick - exact) > tolerance) < 1e-3
        assert np.sqrt(np.mean((quick - exact) ** 2)) < 10 * tolerance


def test_gradients_equal_those_of_the_slow_twin() -> None:
    view, gaussians = camera(67, 45), scene(400)
    torch.manual_seed(0)
    weights = [torch.randn(45, 67, 3), torch.randn(45, 67), torch.randn(45, 67) * 0.1]
    gradients = []
    for draw, kind in ((rasterize, torch.float32), (rasterize_reference, torch.float64)):
        leaves = [getattr(gaussians, name).to(kind, copy=True).requires_grad_() for name in FIELDS]
        drawn = draw(Gaussians(*leaves), view)
        sum((getattr(drawn, name) * w).sum() for name, w in zip(PICTURES, weights, strict=True)).backward()
        gradients.append([leaf.grad.double() for leaf in leaves])
    for name, fast, slow in zip(FIELDS, *gradients, strict=True):
        assert float((fast - slow).norm() / slow.norm()) < 1e-4, name


def test_order_of_the_list_does_not_matter() -> None:
    gaussians, view = scene(500), camera(64, 64)
    shuffled = pick(gaussians, torch.randperm(500, generator=torch.Generator().manual_seed(1)))
    for one, other in zip(pictures(rasterize(gaussians, view)), pictures(rasterize(shuffled, view)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_nearer_one_hides_the_other() -> None:
    red, blue = ball(8.0, (1, 0, 0), opacity=1.0), ball(12.0, (0, 0, 1), opacity=1.0)
    middle = rasterize(together(blue, red), straight(21, 21)).colors[10, 10]
    np.testing.assert_allclose(middle, [0.999, 0, 0], atol=1e-6)  # blue would end the pixel: left out
    half = rasterize(together(blue, replace(red, opacities=torch.tensor([0.5]))), straight(21, 21)).colors[10, 10]
    np.testing.assert_allclose(half, [0.5, 0, 0.4995], atol=1e-6)


def test_what_cannot_be_seen_is_not_drawn() -> None:
    view, seen = straight(31, 21), ball(10.0, (0, 1, 0))
    unseen = [
        ball(-10.0, (1, 0, 0)),
        ball(0.0, (1, 0, 0)),
        replace(ball(10.0, (1, 0, 0)), means=torch.tensor([[1e4, 0, 10.0]])),
        ball(5.0, (1, 0, 0), opacity=0.003),
        ball(5.0, (1, 0, 0), opacity=-1.0),
        ball(float("nan"), (1, 0, 0)),
        ball(float("inf"), (1, 0, 0)),
        ball(5.0, (1, 0, 0), opacity=float("nan")),
        ball(5.0, (float("nan"), 0, 0)),
        ball(5.0, (1, 0, 0), scale=float("inf")),
        replace(ball(5.0, (1, 0, 0)), quats=torch.zeros(1, 4)),
    ]
    alone, crowd = rasterize(seen, view), together(*unseen[:5], seen, *unseen[5:])
    leaves = [getattr(crowd, name).clone().requires_grad_() for name in FIELDS]
    drawn = rasterize(Gaussians(*leaves), view)
    for one, other in zip(pictures(alone), pictures(drawn), strict=True):
        np.testing.assert_array_equal(one, other)
    drawn.colors.sum().backward()
    for leaf in leaves:
        assert leaf.grad.isfinite().all()
        assert not leaf.grad[torch.arange(len(crowd)) != 5].any()
    assert leaves[3].grad[5] > 0


def test_an_empty_scene_is_empty() -> None:
    nothing = pick(scene(3), torch.zeros(0, dtype=torch.long))
    assert not any(picture.any() for picture in pictures(rasterize(nothing, camera(40, 30))))
    hidden = rasterize(ball(-3.0, (1, 1, 1)), straight(40, 30))
    assert not any(picture.any() for picture in pictures(hidden))


def test_same_bytes_for_any_number_of_threads() -> None:
    gaussians, view = scene(3000), camera(200, 150)
    results = []
    available = numba.get_num_threads()
    try:
        for threads in (available, available, 1):
            numba.set_num_threads(threads)
            leaves = [getattr(gaussians, name).clone().requires_grad_() for name in FIELDS]
            drawn = rasterize(Gaussians(*leaves), view)
            (drawn.colors.square().sum() + drawn.alphas.sum() + drawn.depths.sum()).backward()
            results.append([getattr(drawn, n).detach() for n in PICTURES] + [leaf.grad for leaf in leaves])
    finally:
        numba.set_num_threads(available)
    for first, second, single in zip(*results, strict=True):
        assert first.numpy().tobytes() == second.numpy().tobytes() == single.numpy().tobytes()


def test_a_frame_is_the_same_picture() -> None:
    gaussians, view = scene(2000), camera(150, 90)
    rgb, alpha = render_frame(gaussians, view)
    drawn = rasterize(gaussians, view)
    np.testing.assert_array_equal(rgb, drawn.colors)
    np.testing.assert_array_equal(alpha, drawn.alphas)


def test_nothing_is_kept_without_gradients() -> None:
    with torch.no_grad():
        drawn = rasterize(scene(10), camera(20, 20))
    assert drawn.colors.grad_fn is None
    leaves = replace(scene(10), colors=scene(10).colors.requires_grad_())
    assert rasterize(leaves, camera(20, 20)).colors.grad_fn is not None


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="vulkan"):
        rasterize(scene(1), camera(8, 8), backend="vulkan")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="gsplat needs a CUDA device")
def test_gsplat_equals_ours() -> None:
    pytest.importorskip("gsplat")
    gaussians, view = scene(1200), camera(96, 64)
    on_device = Gaussians(*(getattr(gaussians, name).cuda() for name in FIELDS))
    theirs = [getattr(rasterize(on_device, view), name).cpu().double().numpy() for name in PICTURES]
    error = np.mean((theirs[0] - pictures(rasterize(gaussians, view))[0]) ** 2)
    assert -10 * math.log10(error) > 50


def closing(gaussians: Gaussians, values: np.ndarray, view: Camera) -> np.ndarray:
    """Sums [H, W, C] of values [N, C] the plain way: what would leave less than CLOSED takes all that is left."""
    centers, conics, depths, drawn = (part.numpy() for part in project(gaussians, view))
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    rest, total = np.ones_like(x), np.zeros((*x.shape, values.shape[1]))
    for i in sorted(np.flatnonzero(drawn), key=lambda i: depths[i]):
        dx, dy = x - centers[i, 0], y - centers[i, 1]
        power = (conics[i, 0] * dx**2 + conics[i, 2] * dy**2) / 2 + conics[i, 1] * dx * dy
        alpha = np.minimum(gaussians.opacities[i].item() * np.exp(-power), ALPHA_MAX)
        left = rest * (1 - np.where(alpha < ALPHA_MIN, 0, alpha))
        left[left <= CLOSED] = 0
        total += (rest - left)[..., None] * values[i]
        rest = left
    return total


def test_a_drawing_carries_places_beside_its_colours() -> None:
    gaussians, view = scene(3000), camera(96, 64)
    places = np.full((3000, 2), np.nan, np.float32)
    places[:2000] = np.random.default_rng(0).uniform(0, 90, (2000, 2))
    drawn = render_placed(gaussians, places, view)
    away = places - project(gaussians, view)[0].numpy()
    has = np.isfinite(away).all(1)
    away = np.where(has[:, None], away, 0)
    values = [gaussians.colors.numpy(), has[:, None], away, (away**2).sum(1)[:, None], np.ones((3000, 1))]
    expected = closing(gaussians, np.concatenate(values, 1), view)
    assert 0.1 < (expected[..., 7] < 1).mean() < 0.9
    apart = np.abs(drawn - expected) / np.abs(np.concatenate(values, 1)).max(0)
    assert (apart > 1e-4).any(2).mean() < 0.003  # where what is left is CLOSED to the last bit
    assert apart.max() < 0.01
