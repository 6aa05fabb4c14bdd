"""Gaussians that reproduce a photo: a few gradient steps through the renderer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mggdub.renderer.rasterize import rasterize
from mggdub.types import Array, Camera, Gaussians, as_tensor

# MKL chooses its kernels when a function is called first. Two threads that did so at once have chosen different ones,
# one of half the precision, and the first avatar of a process differed from the next: so one thread calls them first.
torch.log(torch.ones(1)).exp()

# How a field is stepped: into an unbounded space and back, with Adam's step there.
_SPACES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], float]] = {
    "colors": (torch.clone, torch.clone, 0.04),
    "scales": (torch.log, torch.exp, 0.03),
    "opacities": (lambda o: torch.logit(o, 1e-4), torch.sigmoid, 0.1),
}


class Adam:
    """Kingma and Ba 2015, as torch.optim has it, whose first step imports torch's compiler: 1.7 s of every command."""

    def __init__(self, parameters: list[tuple[Tensor, float]], betas: tuple[float, float]) -> None:
        self.parameters, self.betas, self.steps = parameters, betas, 0
        self.means = [torch.zeros_like(parameter) for parameter, _ in parameters]
        self.squares = [torch.zeros_like(parameter) for parameter, _ in parameters]

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Go a `share` of every parameter's rate against its gradient, which is then forgotten."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        for (parameter, rate), mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            gradient = parameter.grad
            assert gradient is not None
            mean.lerp_(gradient, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
            parameter.addcdiv_(mean, (square / second).sqrt_().add_(1e-8), value=-share * rate / first)
            parameter.grad = None


def fit_photo(
    gaussians: Gaussians,
    camera: Camera,
    target: Array,
    mask: Array,
    steps: int = 20,
    background: Array | None = None,
    min_scale: float = 0.7,
    fields: tuple[str, ...] = ("colors", "scales", "opacities"),
    leeway: float | Array = 1.0,
) -> Gaussians:
    """Step `fields` (colors, scales, opacities) so that the picture over `background` is the photo within the mask.

    target, background [H, W, 3] float32 0..1 (no background is black), mask [H, W] bool or weights. No scale falls
    below `min_scale` times what it was, or moved skin would crack; colours stay in 0..1
    and within `leeway` (of each [N], or of all) of what they were.
    """
    goal, weight = as_tensor(target), as_tensor(mask)[..., None]
    weight = weight / weight.sum().clamp(min=1)
    behind = torch.zeros_like(goal) if background is None else as_tensor(background)
    parameters = {name: _SPACES[name][0](getattr(gaussians, name).detach()).requires_grad_() for name in fields}
    floor = torch.log(gaussians.scales * min_scale)
    apart = torch.as_tensor(leeway).reshape(-1, 1)
    darkest, brightest = (gaussians.colors - apart).clamp_min(0), (gaussians.colors + apart).clamp_max(1)
    adam = Adam([(parameters[name], _SPACES[name][2]) for name in fields], (0.8, 0.95))

    def current() -> Gaussians:
        return replace(gaussians, **{name: _SPACES[name][1](parameters[name]) for name in fields})

    for step in range(steps):
        drawn = rasterize(current(), camera)
        picture = drawn.colors + (1 - drawn.alphas[..., None]) * behind
        ((picture - goal).square() * weight).sum().backward()
        adam.step(1 - 0.8 * step / steps)
        with torch.no_grad():
            if "scales" in fields:
                parameters["scales"].copy_(torch.maximum(parameters["scales"], floor))
            if "colors" in fields:
                parameters["colors"].clamp_(darkest, brightest)
    with torch.no_grad():
        return current()
