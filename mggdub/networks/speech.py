"""The lip map: from Whisper's states to lip modes and voice.

A linear map tells all of it; how far the lips are apart is told by small convolutions, too, whose errors are others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.face.expression import ExpressionBasis, load_expression
from mggdub.networks.whisper import CONTEXT, TOKEN, WhisperEncoder, load_whisper, token_windows
from mggdub.types import LIP_MODES, Array

VOICE_RATE = 25.0
RATE = VOICE_RATE  # predictions a second; one covers two Whisper tokens
FRAME = 2 * TOKEN  # samples of one prediction
CRISP, CRISP_WIDTH = 0.2, 1.5  # what a linear map smears: this share of the detail under 1.5 frames is added once more
DILATIONS = (1, 2, 4)  # frames between what a convolution of the opening sees
SHARE = 0.5  # of the opening is what convolutions hear, the other half the linear map's
QUIETEST = 1e-7  # mean power of a levelled frame (45 dB below speech) that can hold speech at all


@dataclass(frozen=True)
class LipMapConfig:
    """What the map sees, and its convolutions."""

    features: int = 512
    offsets: tuple[int, ...] = (-4, -2, 0, 2, 4)  # tokens around a prediction's own, for the linear map
    nets: int = 3  # that hear the opening
    width: int = 128  # channels of one


class OpeningNet(nn.Module):
    """Whisper's normalised tokens [B, 2 T, features] to [B, T, outputs], 25 a second; it sees 0.6 s of sound.

    In training the outputs are the opening and, so that it learns more than one number, what a `LipMap` tells.
    Convolutions are matrix products, whose bits do not depend on how many threads there are.
    """

    def __init__(self, features: int, width: int, outputs: int = 1, dropout: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.dropout = dropout  # of the tokens and of what it makes of them
        self.enter = nn.Linear(features, width)
        self.halve = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in DILATIONS)
        self.wide = nn.ModuleList(nn.Linear(3 * width, width) for _ in DILATIONS)
        self.narrow = nn.ModuleList(nn.Linear(width, width) for _ in DILATIONS)
        self.out = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, 2 T, features] to [B, T, outputs]."""
        x = functional.gelu(self.enter(functional.dropout(tokens, self.dropout[0], self.training)))
        x = functional.gelu(self.halve(at_offsets(x, (-1, 0, 1, 2))[:, ::2]))
        for step, norm, wide, narrow in zip(DILATIONS, self.norms, self.wide, self.narrow, strict=True):
            inner = functional.gelu(wide(at_offsets(norm(x), (-step, 0, step))))
            x = x + narrow(functional.dropout(inner, self.dropout[1], self.training))
        return self.out(functional.dropout(x, self.dropout[1], self.training))


def at_offsets(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """[B, T, C] to [B, T, len(places) * C]: what lies so many steps away, zeros beyond the ends."""
    reach = max(map(abs, places))
    padded = functional.pad(x, (0, 0, reach, reach))
    return torch.cat([padded[:, reach + place : reach + place + x.shape[1]] for place in places], dim=-1)


class LipMap(nn.Module):
    """Features [2 T, features] to [T, 8 + 1]: lip modes, and a voice logit.

    Prediction j belongs to the time (j + 0.5) / 25 s, which is the centre of token 2 j + 1.
    """

    gap: Tensor  # [8] cm of inner-lip gap per mode
    opening: Tensor  # [8] modes per cm of it, as mouths open

    def __init__(self, config: LipMapConfig) -> None:
        super().__init__()
        self.offsets = config.offsets
        self.linear = nn.Linear(config.features * len(config.offsets), LIP_MODES + 1)
        self.nets = nn.ModuleList(OpeningNet(config.features, config.width) for _ in range(config.nets))
        self.register_buffer("gap", torch.zeros(LIP_MODES))
        self.register_buffer("opening", torch.zeros(LIP_MODES))

    def forward(self, features: Tensor) -> Tensor:
        """Whisper's tokens [2 T, F] to lip modes and voice [T, outputs]."""
        tokens = normalized(features)
        heard = self.linear(in_context(tokens, self.offsets))
        opening = torch.stack([net(tokens[None])[0, :, 0] for net in self.nets]).mean(0)  # [T] cm
        more = SHARE * (opening - heard[:, :LIP_MODES] @ self.gap)
        return heard + functional.pad(more[:, None] * self.opening, (0, 1))


def normalized(features: Tensor) -> Tensor:
    """[2 T, F]: tokens of mean 0 and variance 1."""
    return functional.layer_norm(features, features.shape[-1:])


def in_context(tokens: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """[2 T, F] to [T, len(offsets) * F]: for each prediction the normalised tokens around its own, ends repeated."""
    centres = torch.arange(1, len(tokens), 2)[:, None] + torch.tensor(offsets)
    return tokens[centres.clamp(0, len(tokens) - 1)].flatten(1)


@dataclass(frozen=True, eq=False)
class SpeechModel:
    """All that turns sound into a track."""

    encoder: WhisperEncoder
    lips: LipMap
    basis: ExpressionBasis


def load_speech() -> SpeechModel:
    """The shipped model. Raises InputError if a weight file is missing or damaged."""
    tensors, settings = weights.load("speech")
    config = weights.fitting(LipMapConfig, settings, "speech")
    lips = weights.network(lambda: LipMap(config), tensors, "speech")
    return SpeechModel(load_whisper(), lips.requires_grad_(False), load_expression())


@torch.inference_mode()
def predict(model: SpeechModel, samples: Array) -> tuple[Array, Array]:
    """Lip modes [n, 8] and voice probability [n], 25 a second, of a levelled sound."""
    count = -(-len(samples) // FRAME)
    total, weight = np.zeros((count, LIP_MODES + 1)), np.zeros(count)
    for token, features in token_windows(model.encoder, samples):
        out = model.lips(features).double().numpy()
        place = token // 2 - CONTEXT // 2 + np.arange(len(out))
        edge = np.minimum(np.arange(len(out)), np.arange(len(out))[::-1]) - CONTEXT / 4 + 0.5
        share = np.clip(edge / (CONTEXT / 2), 0.0, 1.0)  # one window fades out while the next fades in
        inside = (place >= 0) & (place < count) & (share > 0)
        total[place[inside]] += share[inside, None] * out[inside]
        weight[place[inside]] += share[inside]
    mean = total / weight[:, None]
    return mean[:, :LIP_MODES], 1.0 / (1.0 + np.exp(-mean[:, LIP_MODES]))
