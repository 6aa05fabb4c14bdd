"""The slow twin of `rasterize`: plain torch in float64, every Gaussian at every pixel, gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from mggdub.render.kernels import BLUR, MARGIN, NEAR
from mggdub.render.strips import ALPHA_MAX, TRANSMITTANCE_MIN
from mggdub.types import Camera, Gaussians, Rendering


def rasterize_reference(gaussians: Gaussians, camera: Camera) -> Rendering:
    """Like `rasterize`, in float64 and O(N H W) memory. Formulas: Zwicker et al., EWA splatting, 2002."""
    view, K = torch.from_numpy(camera.viewmat).double(), torch.from_numpy(camera.K).double()
    points = gaussians.means.double() @ view[:3, :3].T + view[:3, 3]  # [N, 3]
    seen = points[:, 2] > NEAR
    order = torch.argsort(points[:, 2])
    order = order[seen[order]]
    points, opacities = points[order], gaussians.opacities.double()[order]
    centres, conics = _splats(points, gaussians, order, view, K, camera)
    x = torch.arange(camera.width, dtype=torch.float64) + 0.5
    y = torch.arange(camera.height, dtype=torch.float64) + 0.5
    dx, dy = x - centres[:, 0, None, None], y[:, None] - centres[:, 1, None, None]  # [M, 1, W], [M, H, 1]
    a, b, c = (conics[:, i, None, None] for i in range(3))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = torch.where(alpha < 1 / 255, 0, alpha.clamp_max(ALPHA_MAX))  # [M, H, W]
    through = torch.cat([torch.ones_like(alpha[:1]), torch.cumprod(1 - alpha, 0)])[: len(alpha)]
    alpha = torch.where(through > TRANSMITTANCE_MIN, alpha, 0)
    left = torch.cumprod(torch.cat([torch.ones(1, camera.height, camera.width).double(), 1 - alpha]), 0)
    weights = left[:-1] * alpha
    return Rendering(
        torch.einsum("mhw,mc->hwc", weights, gaussians.colors.double()[order]),
        1 - left[-1],
        torch.einsum("mhw,m->hw", weights, points[:, 2]),
    )


def _splats(
    points: Tensor, gaussians: Gaussians, order: Tensor, view: Tensor, K: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Centres [M, 2] px and conics [M, 3] (the inverse covariance's xx, xy, yy)."""
    focal, centre = K[[0, 1], [0, 1]], K[:2, 2]
    size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    slope = points[:, :2] / points[:, 2:]
    border = MARGIN * size / focal
    clipped = torch.minimum(torch.maximum(slope, -centre / focal - border), (size - centre) / focal + border)
    zero = torch.zeros(len(points), dtype=torch.float64)
    scale = focal / points[:, 2:]  # [M, 2]
    jacobian = torch.stack(
        [
            torch.stack([scale[:, 0], zero, -scale[:, 0] * clipped[:, 0]], 1),
            torch.stack([zero, scale[:, 1], -scale[:, 1] * clipped[:, 1]], 1),
        ],
        1,
    )  # [M, 2, 3]
    w, x, y, z = torch.nn.functional.normalize(gaussians.quats.double()[order], dim=1).unbind(1)
    rotation = torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        1,
    ).view(-1, 3, 3)
    axes = jacobian @ view[:3, :3] @ rotation * gaussians.scales.double()[order][:, None]  # [M, 2, 3]
    covariance = axes @ axes.transpose(1, 2) + BLUR * torch.eye(2, dtype=torch.float64)
    inverse = torch.linalg.inv(covariance)
    return focal * slope + centre, torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1)
