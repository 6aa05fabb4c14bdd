"""Speech to expression: Whisper features become lip modes and a voice probability, 25 a second, then a track.

From these features lips are heard by a linear map of the tokens around a moment; convolutional networks on
top did not hear unseen people better. Where the encoder's windows meet, their predictions are blended over
one second, so a long recording has no steps and needs no more memory than a short one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.models import gestures
from mggdub.models.expression import ExpressionBasis, close_lips, lip_gap, load_expression
from mggdub.models.whisper import CONTEXT, SAMPLE_RATE, TOKEN, WhisperEncoder, level, load_whisper, token_windows
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack, Waveform

RATE = gestures.VOICE_RATE  # predictions a second; one covers two Whisper tokens
FRAME = 2 * TOKEN  # samples of one prediction
CRISP, CRISP_WIDTH = 0.5, 1.5  # what a linear map smears: this share of the detail under 1.5 frames is added once more
TOUCH, TOUCH_REACH = 0.15, 0.35  # cm: lips heard nearly closed close; from twice the reach on nothing changes
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
        modes += CRISP * (modes - gaussian_filter1d(modes, CRISP_WIDTH, axis=0, mode="nearest"))
        spoken = gestures.phrases(np.where(energy > QUIETEST, voice, 0.0))
        gate = gestures.mouth_gate(spoken, times)[:, None]
        lips = close_lips(model.basis, mouth_scale * resample(touching(model.basis, modes), times)) * gate
    units = np.zeros((frames, len(BLENDSHAPES)), np.float32)
    rotation = np.zeros((frames, 3), np.float32)
    if blink == "natural":
        units += gestures.blinks(spoken, times, seed)
    if pose == "natural":
        rotation, brows = gestures.head_motion(spoken, gestures.stresses(energy, spoken), times, seed)
        units += brows
    return ExpressionTrack(times, units.clip(0.0, 1.0), lips.astype(np.float32), rotation)


def touching(basis: ExpressionBasis, modes: Array) -> Array:
    """Modes [n, 8] whose small openings are smaller: a map that is unsure of p, b and m stays a little open."""
    gap = lip_gap(basis, modes)
    return modes - TOUCH * np.exp(-np.square(gap / TOUCH_REACH))[:, None] * basis.opening


def frame_energy(samples: Array) -> Array:
    """Mean power [n] of a sound's frames of 40 ms."""
    frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    return np.square(frames, dtype=np.float64).mean(1)


def resample(values: Array, times: Array) -> Array:
    """Predictions [n, C] at 25 a second, smoothly interpolated at `times` [T] s."""
    own = (np.arange(len(values)) + 0.5) / RATE
    if len(values) < 2:
        return np.broadcast_to(values, (len(times), values.shape[1]))
    from scipy.interpolate import CubicSpline  # a third of a second to import

    return CubicSpline(own, values, bc_type="natural")(np.clip(times, own[0], own[-1]))
