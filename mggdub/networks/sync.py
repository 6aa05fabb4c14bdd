"""The judge of lips and sound, used as SyncNet is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.face.mesh import LIP_LANDMARKS
from mggdub.networks.whisper import WhisperEncoder, load_whisper

RATE = 25  # frames a second
REACH = 15  # frames that the sound is shifted either way
POINTS = (*LIP_LANDMARKS, 18, 200, 199, 175, 152, 148, 176, 377, 400)  # lips and chin
SPREAD = 0.2  # cm, usual motion of a point


@dataclass(frozen=True)
class JudgeConfig:
    """Shape of the two networks."""

    features: int = 512  # Whisper's width
    kept: int = 64  # of a token
    hidden: int = 96
    joint: int = 64  # of the space in which both meet


class Judge(nn.Module):
    """Lips and sound to unit vectors [B, T, joint] each, RATE a second."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        c = config
        self.token = nn.Linear(c.features, c.kept)
        self.hearing = _tower(2 * c.kept, c.hidden, c.joint)
        self.seeing = _tower(2 * len(POINTS), c.hidden, c.joint)

    def see(self, lips: Tensor) -> Tensor:
        """Of `head_lips` minus their median over time [B, T, 2 * points]."""
        return functional.normalize(self.seeing(lips.transpose(1, 2) / SPREAD).transpose(1, 2), dim=-1)

    def keep(self, tokens: Tensor) -> Tensor:
        """What is needed of Whisper's tokens: [..., features] to [..., kept]."""
        normal = functional.layer_norm(tokens, tokens.shape[-1:])
        return self.token(functional.dropout(normal, 0.2, self.training))

    def hear(self, features: Tensor) -> Tensor:
        """Of features [B, 2 * T, kept]; frame j is tokens 2 j and 2 j + 1 and their neighbours."""
        pairs = features.reshape(len(features), features.shape[1] // 2, -1)
        return functional.normalize(self.hearing(pairs.transpose(1, 2)).transpose(1, 2), dim=-1)


def _tower(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three convolutions that see 13 frames together."""
    return nn.Sequential(
        nn.Conv1d(inputs, hidden, 5, padding=2),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Conv1d(hidden, hidden, 5, padding=2),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Conv1d(hidden, outputs, 5, padding=2),
    )


@dataclass(frozen=True, eq=False)
class SyncJudge:
    """The networks that see and hear, loaded once."""

    judge: Judge
    encoder: WhisperEncoder


def load_judge() -> SyncJudge:
    """The shipped networks. Raises InputError if a weight file is missing or damaged."""
    tensors, settings = weights.load("sync")
    config = weights.fitting(JudgeConfig, settings, "sync")
    judge = weights.network(lambda: Judge(config), tensors, "sync")
    return SyncJudge(judge.requires_grad_(False), load_whisper())
