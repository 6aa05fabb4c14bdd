"""The convolutions that hear how far lips are apart, beside the linear map: fitted by gradient.

Every step is seeded by its number and a state is written every hundred, so an interrupted run ends as an unbroken one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mggdub.networks.speech import LipMapConfig, OpeningNet, normalized
from mggdub.train.common import cosine_rate, load_state, save_state, set_rate
from mggdub.train.speech_data import MARGIN, Section
from mggdub.types import LIP_MODES, Array

STEPS, WARM_UP = 450, 45  # more, and it learns people by heart
RATE, DECAY = 2e-3, 0.05
BATCH, LENGTH, CONTEXT = 32, 64, 12  # sections' parts, frames of one, and frames beside it
DROPOUT = (0.5, 0.2)
UNIT = 0.25  # cm, of the opening
BESIDE = 0.2  # what the modes and the voice weigh beside the opening
MODES = (1.0, 1.0, 0.3, 1.0, 0.6, 0.2, 0.4, 0.4, 0.3)  # what each of them weighs: some are hardly heard at all
SAVED = 100  # steps


def train_opening(found: Sequence[Section], wanted: Sequence[Array], gap: Array, seed: int, state: Path) -> OpeningNet:
    """A net of these sections, whose `wanted` [n, 9] are modes in standard deviations and voice; `gap` [8] cm of each.

    `state` is where the run goes on from.
    """
    config, outputs = LipMapConfig(), 1 + LIP_MODES + 1
    torch.manual_seed(seed)
    net = OpeningNet(config.features, config.width, outputs, DROPOUT)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=DECAY)
    parts = [(i, a) for i, s in enumerate(found) for a in range(0, max(1, len(s.gap) - LENGTH // 2), LENGTH)]
    goals = [np.column_stack([modes[:, :LIP_MODES] @ gap / UNIT, modes]).astype(np.float32) for modes in wanted]
    share = torch.tensor([1.0, *(BESIDE * np.divide(MODES, sum(MODES)))], dtype=torch.float32)
    first = 0
    if (saved := load_state(state)) is not None:
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        first = int(saved["step"])
    for step in range(first, STEPS):
        set_rate(optimizer, RATE * cosine_rate(step, STEPS, WARM_UP))
        torch.manual_seed(seed * STEPS + step)
        rng = np.random.default_rng([seed, step])
        tokens, goal, weight = batch(found, goals, [parts[k] for k in rng.integers(0, len(parts), BATCH)], rng)
        heard = net(tokens)[:, CONTEXT : CONTEXT + LENGTH]
        loss = (weight * ((heard - goal).square() @ share)).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % SAVED == 0 or step + 1 == STEPS:
            state_now = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_state(state, state_now)
    return net.eval()


def batch(
    found: Sequence[Section], goals: Sequence[Array], parts: Sequence[tuple[int, int]], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, 2 (LENGTH + 2 CONTEXT), F], goals [B, LENGTH, 10], weights [B, LENGTH] from about these frames on."""
    features, outputs = found[0].features.shape[1], goals[0].shape[1]
    tokens = np.zeros((len(parts), 2 * (LENGTH + 2 * CONTEXT), features), np.float32)
    goal, weight = np.zeros((len(parts), LENGTH, outputs), np.float32), np.zeros((len(parts), LENGTH), np.float32)
    for row, (index, start) in enumerate(parts):
        section = found[index]
        start = int(np.clip(start + rng.integers(-LENGTH // 4, LENGTH // 4 + 1), 0, max(0, len(section.gap) - LENGTH)))
        count = min(LENGTH, len(section.gap) - start)
        first = 2 * (MARGIN + start - CONTEXT)
        seen = section.features[first : first + tokens.shape[1]]
        tokens[row, : len(seen)] = seen
        goal[row, :count] = goals[index][start : start + count]
        weight[row, :count] = section.weight / len(section.gap) * section.seen[start : start + count]
    return normalized(torch.from_numpy(tokens)), torch.from_numpy(goal), torch.from_numpy(weight)


@torch.inference_mode()
def heard_by(nets: Sequence[OpeningNet], section: Section) -> Array:
    """The gap [n] cm of a section, the mean of what nets hear."""
    tokens = normalized(torch.from_numpy(section.features.astype(np.float32)))[None]
    heard = torch.stack([net(tokens)[0, :, 0] for net in nets]).mean(0)
    return UNIT * heard[MARGIN : MARGIN + len(section.gap)].numpy()


def shipped(nets: Sequence[OpeningNet], gain: float, shut: float) -> dict[str, Tensor]:
    """What a `LipMap` keeps of nets that shall hear `gain` times their opening less `shut` cm, of nothing else."""
    state = {}
    for place, net in enumerate(nets):
        for name, value in net.state_dict().items():
            state[f"nets.{place}.{name}"] = value
        state[f"nets.{place}.out.weight"] = gain * UNIT * state[f"nets.{place}.out.weight"][:1]
        state[f"nets.{place}.out.bias"] = gain * UNIT * state[f"nets.{place}.out.bias"][:1] - shut
    return state
