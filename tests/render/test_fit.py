import numpy as np
import torch
from scipy import ndimage

from mggdub.render.fit import SMALLEST, fit_photo
from mggdub.render.rasterize import rasterize
from mggdub.types import Camera, Gaussians, as_tensor


def psnr(a: torch.Tensor, b: np.ndarray) -> float:
    return float(-10 * torch.log10(((a - as_tensor(b)) ** 2).mean()))


def test_one_gaussian_a_pixel_draws_the_photo_after_the_fit() -> None:
    rng = np.random.default_rng(0)
    photo = ndimage.gaussian_filter(rng.random((64, 64, 3)), (1.2, 1.2, 0)).astype(np.float32)
    photo = (photo - photo.min()) / np.ptp(photo)
    camera = Camera(np.array([[256, 0, 32], [0, 256, 32], [0, 0, 1]], np.float32), np.eye(4, dtype=np.float32), 64, 64)
    y, x = np.mgrid[:64, :64] + 0.5
    means = np.stack([(x - 32) / 256 * 100, (y - 32) / 256 * 100, np.full_like(x, 100)], -1).reshape(-1, 3)
    start = Gaussians(
        as_tensor(means),
        as_tensor(np.tile([1.0, 0, 0, 0], (4096, 1))),
        torch.full((4096, 3), 0.62 * 100 / 256),
        torch.full((4096,), 0.9),
        as_tensor(photo.reshape(-1, 3)),
    )
    black = np.zeros_like(photo)
    before = psnr(rasterize(start, camera).colors, photo)
    fitted = fit_photo(start, camera, photo, np.ones((64, 64), bool), black)
    after = psnr(rasterize(fitted, camera).colors, photo)
    assert after > 40 and after > before + 8
    assert float((fitted.scales / start.scales).min()) >= SMALLEST - 1e-4
    assert torch.equal(fitted.means, start.means)
