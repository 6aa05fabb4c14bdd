"""Loudness, pitch, onsets and pauses are those of the sound."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scipy.signal import get_window

from mggdub.motion import prosody
from mggdub.motion.prosody import measure_prosody
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import Array

SECOND = 16_000


def voiced(seconds: float, hertz: Array | float, loud: Array | float = 0.2) -> Array:
    """A voice of ten harmonics."""
    count = int(seconds * SECOND)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, count)) / SECOND
    return (loud * sum(np.sin(k * phase) / k for k in range(1, 11))).astype(np.float32)


@pytest.mark.parametrize("hertz", [85.0, 120.0, 210.0, 330.0])
def test_the_pitch_of_a_voice_is_heard(hertz: float) -> None:
    found = measure_prosody(voiced(2, hertz))
    assert found.median_pitch == pytest.approx(hertz, rel=0.03)
    assert found.voiced[5:-5].all() and np.abs(found.pitch[5:-5]).max() < 0.6


def test_a_rising_voice_rises() -> None:
    found = measure_prosody(voiced(2, np.linspace(100, 200, 2 * SECOND)))
    assert found.pitch[40] - found.pitch[10] > 5  # of 12 semitones
    assert (np.diff(found.pitch[5:45]) > -0.3).all()


def test_pauses_are_heard_and_nothing_rises_in_them() -> None:
    samples = np.concatenate([voiced(1, 120), np.zeros(SECOND, np.float32), voiced(1, 120)])
    found = measure_prosody(samples)
    assert found.speaking[5:20].all() and not found.speaking[28:47].any() and found.speaking[55:70].all()
    assert not found.level[28:47].any() and not found.onset[28:47].any()
    assert found.onset[48:53].max() > 0.9
    assert found.summary()["speaking_share"] == pytest.approx(2 / 3, abs=0.05)


def test_a_value_belongs_to_its_middle() -> None:
    click = np.zeros(2 * SECOND, np.float32)
    click[SECOND : SECOND + 640] = 0.5  # 1.00 to 1.04 s, value 25
    assert measure_prosody(click, [(0.0, 2.0)]).level.argmax() == 25


def test_where_a_model_hears_nobody_nobody_is_heard() -> None:
    found = measure_prosody(voiced(1, 120), [])
    assert not found.level.any() and not found.speaking.any() and found.median_pitch == 0
    assert found.summary()["pitch_hz"] == 0


def test_an_hour_is_heard_in_parts_like_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = voiced(6, 100 + 40 * np.sin(np.arange(6 * SECOND) / 9000), np.abs(np.sin(np.arange(6 * SECOND) / 4000)))
    whole = measure_prosody(samples)
    monkeypatch.setattr(prosody, "CHUNK", 37)
    parts = measure_prosody(samples)
    for name in ("level", "pitch", "onset"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 100, 640, 641, 3000])
def test_short_sounds_have_values_too(count: int) -> None:
    found = measure_prosody(np.full(count, 0.1, np.float32))
    assert len(found) == max(1, -(-count // 640))
    assert all(np.isfinite(list(found.summary().values())))


def test_a_minute_takes_less_than_a_second() -> None:
    samples = voiced(60, 120)
    measure_prosody(samples[:SECOND])
    start = time.process_time()
    found = measure_prosody(samples)
    assert time.process_time() - start < 0.001 * len(found)
    assert len(found) == 60 * VOICE_RATE


def test_sound_is_heard_without_what_librosa_needs_elsewhere() -> None:
    program = """
import sys
import numpy as np
from mggdub.motion.prosody import measure_prosody
from mggdub.motion.body import interpolated
from mggdub.metrics.sound import band
noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
measure_prosody(noise), interpolated(noise[:25, None], np.arange(3.0)), band(noise, 16000, 300.0, 3400.0)
print(*sorted(m for m in ("signal", "stats", "interpolate", "optimize") if f"scipy.{m}" in sys.modules))
import librosa
print(librosa.feature.delta(noise).shape, librosa.core.audio.scipy.signal.__file__ is not None)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["", "(16000,) True"], run.stdout


def test_the_window_is_the_one_of_its_name() -> None:
    assert (get_window("hann", prosody.WINDOW) == prosody.HANN).all()


def test_ears_open_beside_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import sys
from mggdub.motion import prosody
with prosody.ears_open():
    assert not prosody._librosa.cache_info().currsize
print(prosody._librosa.cache_info().currsize)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"
    monkeypatch.setattr(prosody, "Thread", None)  # a second time there is nothing to import
    with prosody.ears_open():
        pass


def test_an_interruption_does_not_wait_for_ever_for_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    prosody._librosa.cache_clear()
    waiting = threading.Event()
    monkeypatch.setattr(prosody, "PATIENCE", 0.01)
    monkeypatch.setattr(prosody, "_import_quietly", waiting.wait)  # as for a lock that whoever is interrupted holds
    with pytest.raises(KeyboardInterrupt), prosody.ears_open():
        raise KeyboardInterrupt
    waiting.set()


def test_ears_that_do_not_open_are_told_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    prosody._librosa.cache_clear()
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(ZeroDivisionError), prosody.ears_open():
        _ = 1 / 0
    with prosody.ears_open():
        pass
    with pytest.raises(ImportError):
        measure_prosody(voiced(1, 100))
