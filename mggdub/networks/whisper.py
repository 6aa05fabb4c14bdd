"""Speech features: the first layers of Whisper-base's encoder (multilingual, MIT), 50 vectors a second.

Whisper normalises a recording by its loudest moment and looks at 30 s at once, so its features change
with what happens far away. Here a recording is brought to a fixed speech level once, its log-mel has a
fixed floor, and the encoder sees windows of at most 8 s with up to 1 s of context on both sides. Training and
use share this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.errors import InputError
from mggdub.types import Array

SAMPLE_RATE = 16_000
N_FFT = 400
HOP_LENGTH = 160
TOKEN = 2 * HOP_LENGTH  # samples from one feature vector to the next; vector k is centred at k * TOKEN
WINDOW = 400  # tokens, 8 s that are kept
CONTEXT = 50  # tokens, 1 s on either side that is looked at and thrown away
SPEECH_LEVEL = 0.06  # root mean square of the louder half of the sounding 20 ms frames
LOG_FLOOR = -6.5  # log10 of mel power; Whisper's own floor for speech at this level


@dataclass(frozen=True)
class WhisperConfig:
    """Shape of the encoder that is kept."""

    layers: int = 3
    width: int = 512
    heads: int = 8
    n_mels: int = 80


class Block(nn.Module):
    """Whisper's encoder layer: attention and a two-layer perceptron, each normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        batch, count, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(q, k, v)  # [B, heads, T, width / heads]
        x = x + self.out(heard.transpose(1, 2).reshape(batch, count, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class WhisperEncoder(nn.Module):
    """log-mel [B, n_mels, 2 T] to features [B, T, width] of the last layer kept."""

    mel_filters: Tensor  # [n_mels, N_FFT / 2 + 1]

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.register_buffer("mel_filters", torch.zeros(config.n_mels, N_FFT // 2 + 1))

    def forward(self, log_mel: Tensor) -> Tensor:
        """[B, 80, 2 T] to tokens [B, T, width] after the last block that ships."""
        x = functional.gelu(self.conv1(log_mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)  # [B, T, width]
        x = x + sinusoids(x.shape[1], self.config.width)
        for block in self.blocks:
            x = block(x)
        return x

    def log_mel(self, samples: Tensor) -> Tensor:
        """Sound [N] at 16 kHz and SPEECH_LEVEL to [n_mels, N / HOP_LENGTH]; the first frame is centred at sample 0."""
        padded = functional.pad(samples, (N_FFT // 2, N_FFT // 2))
        spectrum = torch.stft(
            padded, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), center=False, return_complex=True
        )
        power = self.mel_filters @ spectrum[:, :-1].abs().square()
        return (power.clamp(min=10.0**LOG_FLOOR).log10() + 4.0) / 4.0


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's position code [length, width]."""
    rates = torch.exp(-np.log(10_000.0) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def level(samples: Array) -> Array:
    """Sound [N] without its mean, at SPEECH_LEVEL; digital silence stays as it is."""
    sound = (
        np.asarray(samples, np.float32) - np.float32(np.mean(samples, dtype=np.float64)) if len(samples) else samples
    )
    frames = np.pad(sound, (0, -len(sound) % TOKEN)).reshape(-1, TOKEN)
    power = np.square(frames, dtype=np.float64).mean(1)
    sounding = np.sort(power[power > 1e-10])
    if len(sounding) == 0:
        return sound
    return (sound * (SPEECH_LEVEL / np.sqrt(sounding[len(sounding) // 2 :].mean()))).astype(np.float32)


@torch.inference_mode()
def token_windows(encoder: WhisperEncoder, samples: Array) -> Iterator[tuple[int, Tensor]]:
    """(first token, features [CONTEXT + n + CONTEXT, width]) of a levelled sound [N], 50 a second; n <= WINDOW is even.

    Silence stands before the beginning and after the end, so that every window has its context.
    """
    tokens = 2 * -(-len(samples) // (2 * TOKEN))
    for start in range(0, tokens, WINDOW):
        stop = min(start + WINDOW, tokens)
        first, last = (start - CONTEXT) * TOKEN, (stop + CONTEXT) * TOKEN
        piece = samples[max(first, 0) : last]
        piece = np.pad(piece, (max(-first, 0), last - max(first, 0) - len(piece)))
        yield start, encoder(encoder.log_mel(torch.from_numpy(piece))[None])[0]


def load_whisper() -> WhisperEncoder:
    """The shipped encoder. Matrices are stored as int8 with one scale per row. Raises InputError if it is damaged."""
    tensors, settings = weights.load("whisper")
    config = weights.fitting(WhisperConfig, settings, "whisper")
    if not 0 < config.layers < len(tensors) or config.heads < 1 or config.width % config.heads:
        raise InputError("The weight file whisper is for another version of mggdub; reinstall mggdub.")
    try:
        plain = dequantize(tensors)
    except (LookupError, RuntimeError) as error:  # a scale without its matrix, or of another size
        raise InputError("The weight file whisper is damaged; reinstall mggdub.") from error
    return weights.network(lambda: WhisperEncoder(config), plain, "whisper").requires_grad_(False)


def quantize(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight matrices as int8 `name` and float `name.scale` [rows]; the rest as it is."""
    packed = {}
    for name, value in tensors.items():
        packed[name] = value
        if value.ndim < 2 or name == "mel_filters":
            continue
        scale = value.flatten(1).abs().amax(1).half().float() / 127.0
        packed[f"{name}.scale"] = scale
        packed[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().clamp(-127, 127).to(torch.int8)
    return packed


def dequantize(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantize`, float32."""
    plain = {name: value for name, value in tensors.items() if not name.endswith(".scale")}
    for name, value in tensors.items():
        if name.endswith(".scale"):
            matrix = plain[name.removesuffix(".scale")]
            plain[name.removesuffix(".scale")] = matrix.float() * value.view(-1, *[1] * (matrix.ndim - 1))
    return plain
