import numpy as np
import pytest

from mggdub.metrics.pixels import contour_gradient, frechet_distance, psnr, sharpness, ssim

RNG = np.random.default_rng(0)
PICTURE = (np.kron(RNG.random((6, 7, 3)), np.ones((5, 5, 1))) * 255).astype(np.uint8)  # [30, 35, 3]
NOISY = np.clip(PICTURE + RNG.normal(0, 20, PICTURE.shape), 0, 255).astype(np.uint8)


def test_psnr_is_its_formula() -> None:
    assert psnr(PICTURE, PICTURE) == 100
    dark, light = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 51, np.uint8)
    assert psnr(dark, light) == pytest.approx(-10 * np.log10(0.2**2))
    half = light.copy()
    half[:4] = 0
    assert psnr(dark, half) == pytest.approx(-10 * np.log10(0.2**2 / 2))
    below = np.zeros((8, 8))
    below[4:] = 1
    assert psnr(dark, half, below) == pytest.approx(-10 * np.log10(0.2**2))
    assert psnr(dark, half, 1 - below) == 100


def test_ssim_is_the_definition() -> None:
    """Against a loop over windows in float64, straight from Wang et al. 2004."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = PICTURE / 255, NOISY / 255
    values = []
    for channel in range(3):
        for y in range(a.shape[0] - 10):
            for x in range(a.shape[1] - 10):
                p, q = (image[y : y + 11, x : x + 11, channel] for image in (a, b))
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                both = (window * (p - mp) * (q - mq)).sum()
                top = (2 * mp * mq + 0.01**2) * (2 * both + 0.03**2)
                values.append(top / ((mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2)))
    assert ssim(PICTURE, NOISY) == pytest.approx(np.mean(values), abs=1e-5)
    assert ssim(PICTURE, PICTURE) == pytest.approx(1)


def test_frechet_distance_of_gaussians() -> None:
    features = RNG.normal(size=(500, 6))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 6)
    # Twice as wide about the same mean: Tr(S + 4 S - 2 * 2 S) = Tr(S).
    middle = features.mean(0)
    wide = middle + 2 * (features - middle)
    assert frechet_distance(features, wide) == pytest.approx(np.trace(np.cov(features, rowvar=False)))
    few = RNG.normal(size=(3, 40))  # fewer samples than features
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)


def test_blur_is_less_sharp_and_an_edge_on_the_outline_is_seen() -> None:
    checks = np.repeat(np.indices((32, 32)).sum(0)[..., None] // 4 % 2 * 200, 3, 2).astype(np.uint8)
    soft = ((checks.astype(int) + np.roll(checks, 1, 0) + np.roll(checks, 2, 0)) // 3).astype(np.uint8)
    assert sharpness(soft) < 0.7 * sharpness(checks)
    matte = np.clip((np.arange(32) - 14) / 4, 0, 1)[None].repeat(32, 0)
    plain, seamed = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32, 3), 90, np.uint8)
    seamed[:, 16:] = 120
    assert contour_gradient(plain, matte) == 0
    assert contour_gradient(seamed, matte) > 3
    assert np.isnan(contour_gradient(plain, np.zeros((32, 32))))
