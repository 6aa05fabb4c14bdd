"""Do lips and sound belong together? A small network sees and hears half a second of each and puts both in one space.

Used as SyncNet is (Chung and Zisserman, Out of time, 2016): the distance of lips and sound for every shift of the
sound, mean over the frames. It sees landmarks, not pictures, so that clips and renderings are judged alike, and hears
Whisper's features. Training and use share this file.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mggdub.face.mesh import canonical_face
from mggdub.geometry.camera import RIGID
from mggdub.networks.sync import POINTS, RATE, REACH, SyncJudge
from mggdub.networks.whisper import CONTEXT, SAMPLE_RATE, level, token_windows
from mggdub.types import Array, Waveform

SHORTEST = 2 * REACH + RATE  # frames that are needed


def distances(lips: Tensor, sound: Tensor) -> Tensor:
    """[B, T, 2 * REACH + 1]: how far lips [B, T, joint] are from the sound [B, T, joint] `shift` frames later.

    Shifts are -REACH .. REACH; NaN where the sound has no such frame.
    """
    count = sound.shape[1]
    wide = functional.pad(sound, (0, 0, REACH, REACH))
    alike = torch.stack([(lips * wide[:, at : at + count]).sum(-1) for at in range(2 * REACH + 1)], -1)
    later = torch.arange(count)[:, None] + torch.arange(-REACH, REACH + 1)
    return (2 - 2 * alike).clamp_min(1e-6).sqrt().masked_fill((later < 0) | (later >= count), float("nan"))


def head_lips(landmarks: Array) -> Array:
    """[T, 2 * points] float32 cm: x and y of POINTS in the head's frame, of landmarks [T, 478, 3] px.

    Each frame is turned, moved and scaled so that its rigid landmarks fit the canonical face.
    """
    target = canonical_face()[0][list(RIGID)].astype(np.float64)
    target = target - target.mean(0)
    marks = landmarks.astype(np.float64)
    middle = marks[:, list(RIGID)].mean(1, keepdims=True)
    rigid = marks[:, list(RIGID)] - middle
    u, singular, vt = np.linalg.svd(np.einsum("ki,tkj->tij", target, rigid))
    sign = np.sign(np.linalg.det(u @ vt))  # Umeyama, 1991
    singular[:, 2] *= sign
    vt[:, 2] *= sign[:, None]
    scale = singular.sum(1) / (rigid**2).sum((1, 2))
    placed = (marks[:, list(POINTS)] - middle) @ (u @ vt).transpose(0, 2, 1) * scale[:, None, None]
    return placed[..., :2].reshape(len(marks), -1).astype(np.float32)


def sync_judge(net: SyncJudge, lips: Array, times: Array, sound: Waveform) -> tuple[float, float, float] | None:
    """(least distance, median distance minus the least, ms that the sound comes later than the lips).

    Distances are means over the frames, over shifts of +-REACH frames; the least is found between frames. Arguments as
    of `shift_curve`; None where that is None.
    """
    curve = shift_curve(net, lips, times, sound)
    if curve is None:
        return None
    best = int(curve[1:-1].argmin()) + 1
    before, least, after = curve[best - 1 : best + 2].astype(np.float64)
    bend = before - 2 * least + after
    between = float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend > 1e-9 else 0.0  # of a parabola
    return float(least), float(np.median(curve) - least), 1000 * (best - REACH + between) / RATE


@torch.inference_mode()
def shift_curve(net: SyncJudge, lips: Array, times: Array, sound: Waveform) -> Array | None:
    """[2 * REACH + 1] mean distance of the lips from the sound -REACH .. REACH frames later.

    lips [T, 2 * points] of `head_lips` at mid-times [T] s of the sound's clock; frames without a face are left out.
    None where picture and sound share fewer than SHORTEST frames.
    """
    assert sound.sample_rate == SAMPLE_RATE, sound.sample_rate
    windows = token_windows(net.encoder, level(sound.samples))
    token_features = [net.judge.keep(tokens)[CONTEXT:-CONTEXT] for _, tokens in windows]
    if len(times) < 2 or not token_features:
        return None
    heard = net.judge.hear(torch.cat(token_features)[None])
    grid = (np.arange(heard.shape[1]) + 0.5) / RATE
    nearest = times[np.searchsorted((times[1:] + times[:-1]) / 2, grid)]
    known = np.abs(nearest - grid) <= max(1 / RATE, float(np.median(np.diff(times))))
    if known.sum() < SHORTEST:
        return None
    motion = np.stack([np.interp(grid, times, point) for point in (lips - np.median(lips, 0)).T], 1).astype(np.float32)
    far = distances(net.judge.see(torch.from_numpy(motion)[None]), heard)[0].numpy()
    return np.asarray(np.nanmean(far[known], 0))
