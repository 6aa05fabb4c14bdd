"""What every training needs: who is held out, learning rates, a running mean of weights, files that appear whole.

A training writes down everything that its next step depends on and seeds every step by its number, so that a run that
was interrupted ends as an unbroken one.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mggdub.types import Array

HELD_OUT = 9  # one person in nine is never trained on, but measured on


def held_out(person: str, one_in: int = HELD_OUT) -> bool:
    """Whether nothing is trained on this person: it depends on the name alone, not on who else is in the data.

    So somebody is held out of every training or of none, and stays so when clips are added.
    """
    return sum(person.encode()) % one_in == 0


def interval(values: Array, statistic: str = "median", draws: int = 4000, seed: int = 0) -> tuple[float, float, float]:
    """(statistic, low, high) of values [N] with the bootstrap's 95 % interval; statistic is 'median' or 'mean'."""
    values = np.asarray(values, np.float64)
    of = np.median if statistic == "median" else np.mean
    picks = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(of(values[picks], axis=1), [2.5, 97.5])
    return float(of(values)), float(low), float(high)


def cosine_rate(step: int, steps: int, warm_up: int, floor: float = 0.0) -> float:
    """Share of the learning rate in a step: a linear rise over `warm_up` steps, then half a cosine down to `floor`."""
    return min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def set_rate(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """The learning rate of every group of parameters; one for all of them, or one each."""
    each = rates if len(rates) > 1 else rates * len(optimizer.param_groups)
    for group, rate in zip(optimizer.param_groups, each, strict=True):
        group["lr"] = rate


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state, where a running mean begins."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


@torch.no_grad()
def move_mean(mean: dict[str, Tensor], net: nn.Module, step: int, most: float, slow: int) -> None:
    """Let a running mean of the weights, in place, follow the network after a step.

    It keeps (step + 1) / (step + `slow`) of itself, at most `most`: the untrained weights are soon forgotten. (torch's
    AveragedModel starts from the weights after the first update instead.)
    """
    keep = min(most, (step + 1) / (step + slow))
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            mean[name].lerp_(value, 1 - keep)
        else:
            mean[name].copy_(value)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write what a run goes on from; a crash meanwhile leaves the one before."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote, or None where no run began."""
    return torch.load(path, weights_only=True) if path.exists() else None


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write an .npz that is there whole or not at all, also where several processes fill one folder."""
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
