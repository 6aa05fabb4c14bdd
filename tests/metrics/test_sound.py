import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from mggdub.metrics.sound import band, loudness, silent, sound_lag, voice
from mggdub.types import Array, Waveform

RATE = 16_000


def talking(seconds: float, seed: int = 0) -> tuple[Array, Waveform]:
    """Openings [n at 1 kHz] and noise that is as loud as the mouth is open; the last second is silent."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 1000)) / 1000
    opening = np.zeros(len(time))
    for moment in np.cumsum(rng.uniform(0.15, 0.35, 200)):
        if moment < seconds - 1.2:
            opening += rng.uniform(0.3, 1) * np.exp(-0.5 * ((time - moment) / 0.04) ** 2)
    loud = np.interp(np.arange(round(seconds * RATE)) / RATE, time, opening)
    return opening, Waveform((0.2 * loud * rng.normal(size=len(loud))).astype(np.float32).clip(-1, 1), RATE)


@pytest.mark.parametrize("delay", [-0.2, -0.04, 0.0, 0.12, 0.3])
def test_sound_that_comes_later_has_a_positive_lag(delay: float) -> None:
    opening, sound = talking(6)
    times = (np.arange(150) + 0.5) / 25
    aperture = np.interp(times, np.arange(len(opening)) / 1000, opening)
    moved = Waveform(np.roll(sound.samples, round(delay * RATE)), RATE)
    lag, r = sound_lag(aperture, times, moved)
    assert lag == pytest.approx(1000 * delay, abs=20) and r > 0.5


def test_no_lag_without_motion_or_sound() -> None:
    opening, sound = talking(6)
    times = (np.arange(150) + 0.5) / 25
    assert sound_lag(np.full(150, 0.1), times, sound) == (0, 0)
    assert sound_lag(opening[20::40], times, Waveform(np.zeros(6 * RATE, np.float32), RATE)) == (0, 0)
    assert sound_lag(np.zeros(3), times[:3], sound) == (0, 0)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_voice_is_where_it_is_loud_whatever_the_noise(noise: float) -> None:
    _, sound = talking(6)
    heard = sound.samples + noise * np.random.default_rng(1).normal(size=len(sound.samples))
    spoken = voice(Waveform(heard.astype(np.float32), RATE))
    assert spoken[5:115].mean() > 0.6
    assert not spoken[-22:].any()
    quiet = silent(Waveform(heard.astype(np.float32), RATE), (np.arange(150) + 0.5) / 25)
    assert quiet[-20:].all() and not quiet[10:110].any()


def test_a_silent_recording_has_no_voice_and_a_tone_its_level() -> None:
    assert not voice(Waveform(np.zeros(RATE, np.float32), RATE)).any()
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert loudness(Waveform(tone, RATE), 25) == pytest.approx(np.full(25, -3.01), abs=0.1)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("count", [2003, 20_011])
def test_a_band_is_butterworths_to_and_fro(rate: int, count: int) -> None:
    samples = np.random.default_rng(0).normal(size=count).astype(np.float32)
    there = sosfiltfilt(butter(2, (300.0, 3400.0), "band", fs=rate, output="sos"), samples)
    found = band(samples, rate, 300.0, 3400.0)
    assert found.dtype == np.float32 and found.shape == (count,)
    edge = round(0.015 * rate)  # where they take other things for granted
    np.testing.assert_allclose(found[edge:-edge], there[edge:-edge], rtol=0, atol=1e-3)
