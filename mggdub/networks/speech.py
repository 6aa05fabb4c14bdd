"""The lip map: from Whisper's states to lip modes and voice."""

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
QUIETEST = 1e-7  # mean power of a levelled frame (45 dB below speech) that can hold speech at all


@dataclass(frozen=True)
class LipMapConfig:
    """What the map sees."""

    features: int = 512
    offsets: tuple[int, ...] = (-4, -2, 0, 2, 4)  # tokens around a prediction's own


class LipMap(nn.Module):
    """Features [2 T, features] to [T, 8 + 1]: lip modes, and a voice logit.

    Prediction j belongs to the time (j + 0.5) / 25 s, which is the centre of token 2 j + 1.
    """

    def __init__(self, config: LipMapConfig) -> None:
        super().__init__()
        self.offsets = config.offsets
        self.linear = nn.Linear(config.features * len(config.offsets), LIP_MODES + 1)

    def forward(self, features: Tensor) -> Tensor:
        """Whisper's normalised tokens [2 T, F] to lip modes and voice [T, outputs]."""
        return self.linear(around(features, self.offsets))


def around(features: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """[2 T, F] to [T, len(offsets) * F]: for each prediction the normalised tokens around its own, ends repeated."""
    tokens = functional.layer_norm(features, features.shape[-1:])
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
