"""A few gradient steps, so that the photo's own pose and expression draw the photo."""

from __future__ import annotations

from dataclasses import replace

import torch

from mggdub.render.rasterize import rasterize
from mggdub.types import Array, Camera, Gaussians, as_tensor

STEPS = 20
RATES = {"colors": 0.02, "opacities": 0.02, "scales": 0.02}  # Adam, the last on log scales
SMALLEST, LARGEST = 0.85, 1.5  # of the first scale: smaller ones would crack when the skin moves


def fit_photo(
    gaussians: Gaussians, camera: Camera, target: Array, mask: Array, background: Array, steps: int = STEPS
) -> Gaussians:
    """Gaussians whose rendering over `background` is nearer to `target` within `mask`.

    target and background [H, W, 3] float32 0..1, mask [H, W] bool. Moves colours, opacities and scales; scales stay
    within bounds of what they were.
    """
    picture, behind, weight = as_tensor(target), as_tensor(background), as_tensor(mask)[..., None]
    colors = gaussians.colors.clone().requires_grad_()
    opacities = gaussians.opacities.clone().requires_grad_()
    growth = torch.zeros(len(gaussians), 1, requires_grad=True)
    values = {"colors": colors, "opacities": opacities, "scales": growth}
    optimiser = torch.optim.Adam([{"params": [values[name]], "lr": rate} for name, rate in RATES.items()])
    bounds = torch.log(torch.tensor([SMALLEST, LARGEST]))
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, RATES.values(), strict=True):
            group["lr"] = rate * (1 - 0.9 * step / steps)
        optimiser.zero_grad()
        current = replace(gaussians, colors=colors, opacities=opacities, scales=gaussians.scales * growth.exp())
        drawn = rasterize(current, camera)
        error = (drawn.colors + (1 - drawn.alphas[..., None]) * behind - picture) * weight
        (error**2).sum().backward()
        optimiser.step()
        with torch.no_grad():
            colors.clamp_(-0.2, 1.2)
            opacities.clamp_(0.005, 0.995)
            growth.clamp_(bounds[0], bounds[1])
    return replace(
        gaussians,
        colors=colors.detach(),
        opacities=opacities.detach(),
        scales=(gaussians.scales * growth.exp()).detach(),
    )
