"""Sound becomes a face that moves with it, and rests without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mggdub import weights
from mggdub.errors import InputError
from mggdub.face.expression import lip_gap
from mggdub.media.audio import read_audio
from mggdub.motion import speech
from mggdub.motion.body import interpolated
from mggdub.motion.speech import LATER, touching
from mggdub.networks import whisper
from mggdub.networks.motion import load_motion
from mggdub.networks.speech import RATE, SpeechModel, load_speech, predict
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack, Waveform

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"
SECOND = 16_000


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return load_speech()


@pytest.fixture(scope="module")
def spoken() -> Array:
    return read_audio(SPEECH).samples


def speech_track(model: SpeechModel, *args: Any, **options: Any) -> ExpressionTrack:
    return speech.listen(model, load_motion(), *args, **options)[0]


def sound(samples: Array) -> Waveform:
    return Waveform(np.asarray(samples, np.float32), SECOND)


def noise(seconds: float, loudness: float) -> Array:
    return loudness * np.random.default_rng(0).standard_normal(int(seconds * SECOND))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(3 * SECOND),
        np.full(3 * SECOND, 0.4),
        noise(3, 1e-4),
        noise(3, 0.2),
        0.01 * np.cumsum(noise(3, 0.1)),
        0.3 * np.sin(2 * np.pi * 50 * np.arange(3 * SECOND) / SECOND),
    ],
    ids=["digital", "offset", "faint noise", "loud noise", "rumble", "hum"],
)
def test_a_silent_recording_keeps_the_mouth_shut(model: SpeechModel, samples: Array) -> None:
    track = speech_track(model, sound(samples), 25.0, 75, motion=0.0)
    assert not track.lip_modes.any()
    assert not track.rotation.any()


def test_speech_opens_the_mouth_and_silence_around_it_closes_it(model: SpeechModel, spoken: Array) -> None:
    quiet = np.zeros(SECOND)
    samples = np.concatenate([quiet, spoken[: 4 * SECOND], quiet])
    gap = lip_gap(model.basis, speech_track(model, sound(samples), 25.0, 150).lip_modes)
    assert gap.max() > 0.5  # cm
    assert gap[30:120].std() > 0.15
    assert gap.min() > -1e-5
    assert not gap[:15].any() and not gap[-15:].any()


@pytest.mark.parametrize(("pause", "rests"), [(0.4, False), (1.2, True)])
def test_lips_stay_parted_for_a_breath_and_close_in_a_pause(
    model: SpeechModel, spoken: Array, pause: float, rests: bool
) -> None:
    half = round(1.8 * SECOND)
    samples = np.concatenate([spoken[:half], np.zeros(int(pause * SECOND)), spoken[half : 2 * half]])
    gap = lip_gap(model.basis, speech_track(model, sound(samples), 100.0, int(100 * len(samples) / SECOND)).lip_modes)
    middle = gap[180 + round(50 * pause) - 5 :][:10]
    assert (not middle.any()) if rests else (middle.min() > 0.1)


def test_lips_come_as_much_later_as_the_bursts_of_plosives_ask(model: SpeechModel, spoken: Array) -> None:
    """The map's own zero is that of its training clips, whose sound is late."""
    modes = predict(model, whisper.level(spoken))[0]
    heard = interpolated(modes, (np.arange(400) + 0.5) / 100)[:, 0]
    shown = speech_track(model, sound(spoken), 100.0, 400).lip_modes[:, 0]
    alike = [np.corrcoef(heard[50 - lag : 350 - lag], shown[50:350])[0, 1] for lag in range(-10, 11)]
    assert abs((int(np.argmax(alike)) - 10) * 10 - 1000 * LATER) <= 10


def test_small_openings_close_and_wide_ones_stay(model: SpeechModel) -> None:
    gap = np.linspace(-0.2, 1.5, 100)
    closed = lip_gap(model.basis, touching(model.basis, gap[:, None] * model.basis.opening))
    assert (np.diff(closed) > 0).all()
    assert closed[gap < 0.2].max() < 0.1
    np.testing.assert_allclose(closed[gap > 0.9], gap[gap > 0.9], atol=0.01)


def test_the_lips_follow_these_words_and_not_others(model: SpeechModel, spoken: Array) -> None:
    whole = predict(model, whisper.level(spoken))[0]
    again = predict(model, whisper.level(spoken + noise(len(spoken) / SECOND, 0.003)))[0]
    gap, noisy = lip_gap(model.basis, whole), lip_gap(model.basis, again)
    assert np.corrcoef(gap, noisy)[0, 1] > 0.9
    assert abs(np.corrcoef(gap, np.roll(noisy, len(gap) // 2))[0, 1]) < 0.4


def test_windows_join_without_a_step(model: SpeechModel, spoken: Array) -> None:
    """The same words at another place of the window grid give the same lips."""
    samples = whisper.level(np.tile(spoken, 2)[: 14 * SECOND])
    late = 5 * SECOND
    plain = lip_gap(model.basis, predict(model, samples)[0])
    shifted = lip_gap(model.basis, predict(model, np.concatenate([np.zeros(late, np.float32), samples]))[0])
    shifted = shifted[round(late / SECOND * RATE) :]
    difference = np.abs(plain - shifted)[25:]  # the first second has other context
    assert difference.max() < 0.25 * plain.std() + 0.15
    assert np.corrcoef(plain[25:], shifted[25:])[0, 1] > 0.97


@pytest.mark.parametrize(("seconds", "fps"), [(0.01, 25.0), (0.3, 30.0), (1.0, 24000 / 1001), (2.0, 60.0)])
def test_a_track_is_as_long_as_asked(model: SpeechModel, spoken: Array, seconds: float, fps: float) -> None:
    frames = max(1, round(seconds * fps))
    track = speech_track(model, sound(spoken[SECOND : SECOND + int(seconds * SECOND)]), fps, frames)
    assert len(track) == frames
    np.testing.assert_allclose(track.times, (np.arange(frames) + 0.5) / fps)
    assert np.isfinite(track.drivers).all() and np.isfinite(track.rotation).all()


def test_the_frame_rate_only_samples_the_same_motion(model: SpeechModel, spoken: Array) -> None:
    slow = speech_track(model, sound(spoken[: 3 * SECOND]), 20.0, 60, seed=3)
    fast = speech_track(model, sound(spoken[: 3 * SECOND]), 60.0, 180, seed=3)
    np.testing.assert_allclose(slow.times, fast.times[1::3])
    np.testing.assert_allclose(slow.lip_modes, fast.lip_modes[1::3], atol=1e-5)
    np.testing.assert_allclose(slow.rotation, fast.rotation[1::3], atol=1e-5)


def test_the_seed_decides_blinks_and_head_but_not_lips(model: SpeechModel, spoken: Array) -> None:
    one, same, other = (speech_track(model, sound(spoken), 25.0, 200, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.drivers, same.drivers) and np.array_equal(one.rotation, same.rotation)
    assert np.array_equal(one.lip_modes, other.lip_modes)
    assert not np.array_equal(one.blendshapes, other.blendshapes)
    assert not np.array_equal(one.rotation, other.rotation)


def test_blinks_and_pose_can_be_switched_off(model: SpeechModel, spoken: Array) -> None:
    track = speech_track(model, sound(spoken), 25.0, 200, blink="none", motion=0.0)
    assert not track.blendshapes.any() and not track.rotation.any()
    moving = speech_track(model, sound(spoken), 25.0, 200, blink="none")
    assert not moving.blendshapes[:, BLENDSHAPES.index("eyeBlinkLeft")].any()
    assert moving.rotation.any()


def test_mouth_scale_widens_the_opening(model: SpeechModel, spoken: Array) -> None:
    closed, plain, wide = (
        lip_gap(model.basis, speech_track(model, sound(spoken), 25.0, 200, mouth_scale=s).lip_modes)
        for s in (0.0, 1.0, 1.5)
    )
    assert not closed.any()
    np.testing.assert_allclose(wide, 1.5 * plain, atol=1e-4)


def test_loudness_offset_and_clipping_hardly_matter(model: SpeechModel, spoken: Array) -> None:
    plain = speech_track(model, sound(spoken), 25.0, 200).lip_modes[:, 0]
    for other in (0.01 * spoken, 0.4 * spoken + 0.2, np.clip(6 * spoken, -1, 1)):
        assert np.corrcoef(plain, speech_track(model, sound(other), 25.0, 200).lip_modes[:, 0])[0, 1] > 0.85


def test_log_mel_hears_a_tone_where_it_is(model: SpeechModel) -> None:
    time = torch.arange(SECOND) / SECOND
    burst = torch.sin(2 * np.pi * 1000 * time) * (time > 0.5)
    log_mel = model.encoder.log_mel(burst)
    assert log_mel.shape == (80, 100)
    edges = model.encoder.mel_filters[log_mel[:, 80].argmax()].nonzero() * SECOND / whisper.N_FFT
    assert edges.min() - 40 <= 1000 <= edges.max() + 40
    heard = (log_mel.amax(0) > 0.5).nonzero()
    assert abs(int(heard[0]) - 50) <= 1  # frame k is centred at k * 10 ms


def test_matrices_survive_int8() -> None:
    matrix = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    packed = whisper.quantize({"a.weight": matrix, "a.bias": matrix[0]})
    plain = whisper.dequantize(packed)
    assert packed["a.weight"].dtype == torch.int8 and set(plain) == {"a.weight", "a.bias"}
    assert (plain["a.weight"] - matrix).abs().max() <= matrix.abs().max() / 127
    assert torch.equal(plain["a.bias"], matrix[0])


def test_foreign_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, config = weights.load("speech")
    tensors.pop(next(name for name in tensors if name.endswith("linear.weight")))
    weights.save(tmp_path, "speech", tensors, config, {})
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="another version"):
        load_speech()
    (tmp_path / "speech.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        load_speech()
