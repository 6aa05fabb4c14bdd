"""Speech to expression: Whisper features become lip modes and a voice probability, 25 a second, then a track.

The network reads the same windows as Whisper (8 s and up to 1 s of context on both sides); where windows
meet, their predictions are blended over one second, so a long recording has no steps and needs no more
memory than a short one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.models import gestures
from mggdub.models.expression import ExpressionBasis, close_lips, load_expression
from mggdub.models.whisper import CONTEXT, SAMPLE_RATE, TOKEN, WhisperEncoder, level, load_whisper, token_windows
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack, Waveform

RATE = gestures.VOICE_RATE  # predictions a second; one covers two Whisper tokens
FRAME = 2 * TOKEN  # samples of one prediction
QUIETEST = 1e-7  # mean power of a levelled frame (45 dB below speech) that can hold speech at all


@dataclass(frozen=True)
class LipNetConfig:
    """Shape of the temporal network."""

    features: int = 512
    width: int = 160
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    dropout: float = 0.2
    members: int = 1  # networks whose predictions are averaged


class Residual(nn.Module):
    """A dilated convolution over time and a mix of channels, added to what comes in."""

    def __init__(self, config: LipNetConfig, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        reach = dilation * (config.kernel // 2)
        self.conv = nn.Conv1d(config.width, config.width, config.kernel, padding=reach, dilation=dilation)
        self.mix = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        heard = functional.gelu(self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2))
        return x + self.dropout(self.mix(heard))


class LipNet(nn.Module):
    """Features [B, 2 T, features] to [B, T, 8 + 1]: lip modes in standard deviations, and a voice logit.

    Prediction j belongs to the time (j + 0.5) / 25 s, which is the centre of token 2 j + 1.
    """

    def __init__(self, config: LipNetConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.features)
        self.inlet = nn.Conv1d(config.features, config.width, 3, stride=2)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Residual(config, dilation) for dilation in config.dilations)
        self.outlet = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, LIP_MODES + 1))

    def forward(self, features: Tensor) -> Tensor:
        x = functional.pad(self.norm(features).transpose(1, 2), (0, 1), mode="replicate")  # [B, features, 2 T + 1]
        x = self.dropout(functional.gelu(self.inlet(x).transpose(1, 2)))  # [B, T, width]
        for layer in self.layers:
            x = layer(x)
        return self.outlet(x)


@dataclass(frozen=True, eq=False)
class SpeechModel:
    """All that turns sound into a track."""

    encoder: WhisperEncoder
    members: tuple[LipNet, ...]
    mode_scale: Array  # [8] modes per unit of the networks' output, calibrated so that motion keeps its size ...
    mode_bias: Array  # [8] ... and the mouth its mean opening
    basis: ExpressionBasis


def load_speech() -> SpeechModel:
    """The shipped model. Raises InputError if a weight file is missing or damaged."""
    tensors, shape = weights.load("speech")
    config = LipNetConfig(**{**shape, "dilations": tuple(shape["dilations"])})
    scale, bias = tensors.pop("mode_scale").numpy(), tensors.pop("mode_bias").numpy()
    members = []
    for index in range(config.members):
        network = LipNet(config)
        prefix = f"{index}."
        own = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        network.load_state_dict(own, strict=True)
        members.append(network.eval().requires_grad_(False))
    assert not tensors, list(tensors)
    return SpeechModel(load_whisper(), tuple(members), scale, bias, load_expression())


@torch.inference_mode()
def predict(model: SpeechModel, samples: Array) -> tuple[Array, Array]:
    """Lip modes [n, 8] and voice probability [n], 25 a second, of a levelled sound."""
    count = -(-len(samples) // FRAME)
    total, weight = np.zeros((count, LIP_MODES + 1)), np.zeros(count)
    for token, features in token_windows(model.encoder, samples):
        out = torch.stack([member(features[None])[0] for member in model.members]).mean(0).double().numpy()
        place = token // 2 - CONTEXT // 2 + np.arange(len(out))
        edge = np.minimum(np.arange(len(out)), np.arange(len(out))[::-1]) - CONTEXT / 4 + 0.5
        share = np.clip(edge / (CONTEXT / 2), 0.0, 1.0)  # one window fades out while the next fades in
        inside = (place >= 0) & (place < count) & (share > 0)
        total[place[inside]] += share[inside, None] * out[inside]
        weight[place[inside]] += share[inside]
    mean = total / weight[:, None]
    return mean[:, :LIP_MODES] * model.mode_scale + model.mode_bias, 1.0 / (1.0 + np.exp(-mean[:, LIP_MODES]))


def speech_track(
    model: SpeechModel,
    waveform: Waveform,
    fps: float,
    frames: int,
    *,
    mouth_scale: float = 1.0,
    blink: str = "natural",
    pose: str = "natural",
    seed: int = 0,
) -> ExpressionTrack:
    """The face while `waveform` (16 kHz) is spoken: frame i's mid-time is (i + 0.5) / fps.

    `blink` is natural or none, `pose` natural or still. Without speech in it, a sound gives lip modes of exactly
    zero. The seed decides blinks and head motion only.
    """
    assert waveform.sample_rate == SAMPLE_RATE, waveform.sample_rate
    assert blink in ("natural", "none") and pose in ("natural", "still"), (blink, pose)
    times = (np.arange(frames) + 0.5) / fps
    samples = level(waveform.samples)
    energy = frame_energy(samples)
    spoken: list[tuple[float, float]] = []
    lips = np.zeros((frames, LIP_MODES))
    if np.any(energy > QUIETEST):
        modes, voice = predict(model, samples)
        spoken = gestures.phrases(np.where(energy > QUIETEST, voice, 0.0))
        gate = gestures.mouth_gate(spoken, times)[:, None]
        lips = close_lips(model.basis, mouth_scale * resample(modes, times)) * gate
    units = np.zeros((frames, len(BLENDSHAPES)), np.float32)
    rotation = np.zeros((frames, 3), np.float32)
    if blink == "natural":
        units += gestures.blinks(spoken, times, seed)
    if pose == "natural":
        rotation, brows = gestures.head_motion(spoken, gestures.stresses(energy, spoken), times, seed)
        units += brows
    return ExpressionTrack(times, units.clip(0.0, 1.0), lips.astype(np.float32), rotation)


def frame_energy(samples: Array) -> Array:
    """Mean power [n] of a sound's frames of 40 ms."""
    frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    return np.square(frames, dtype=np.float64).mean(1)


def resample(values: Array, times: Array) -> Array:
    """Predictions [n, C] at 25 a second, smoothly interpolated at `times` [T] s."""
    own = (np.arange(len(values)) + 0.5) / RATE
    if len(values) < 2:
        return np.broadcast_to(values, (len(times), values.shape[1]))
    return CubicSpline(own, values, bc_type="natural")(np.clip(times, own[0], own[-1]))
