"""How something is said: loudness, pitch, onsets and pauses, 25 values a second. librosa measures them.

Value k belongs to the time (k + 0.5) / 25 s, as a voice's does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from threading import Thread
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

import mggdub.compiled  # noqa: F401  librosa's kernels, too, are kept only where a folder can be written to
from mggdub.deferred import imported_when_used
from mggdub.motion.voice import phrases, spoken_at
from mggdub.networks.speech import FRAME, QUIETEST, VOICE_RATE
from mggdub.networks.whisper import SAMPLE_RATE
from mggdub.types import Array

WINDOW = 1024  # samples that are looked at together: 64 ms, four periods of a deep voice
LOWEST, HIGHEST = 65.0, 400.0  # Hz of a voice
VOICED = 0.45  # of the sound's power repeats after a period
FIRST_PEAK = 0.92  # of the best peak: the shortest period that repeats so well is the pitch's
DEEP = 35.0  # dB below loud speech, where the level is 0
HEARD = 0.3  # of the level: below it nobody is taken to speak, where no model says so
HANN = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, WINDOW + 1)[:-1])  # by its name it would be scipy.signal's
CHUNK = 1500  # values that are worked out together, so that hours need no more memory than a minute
AROUND = 25  # values on either side that a chunk is heard with
OCTAVE = 12.0  # semitones
PATIENCE = 5.0  # s that an import may go on for after the work beside it was given up
# Half of what librosa takes to import, of which nothing here uses anything; the last two are looked for everywhere.
UNUSED = ("scipy.signal", "scipy.interpolate", "samplerate", "resampy")


@dataclass(frozen=True, eq=False)
class Prosody:
    """n values of each, 25 a second."""

    level: Array  # [n] 0 to about 1, loud speech
    pitch: Array  # [n] semitones above the speaker's median; carried on where nothing is voiced
    voiced: Array  # [n] bool
    onset: Array  # [n] how much louder the bands of hearing become, 1 at a strong syllable
    speaking: Array  # [n] bool
    median_pitch: float  # Hz, 0 if nothing is voiced

    def __len__(self) -> int:
        return len(self.level)

    def summary(self) -> dict[str, float]:
        """What was heard, for a report."""
        seconds = len(self) / VOICE_RATE
        begun = int((np.diff(self.speaking.astype(np.int8), prepend=np.int8(0)) > 0).sum())
        sung = self.pitch[self.voiced & self.speaking]
        spread = float(np.subtract(*np.percentile(sung, [90, 10]))) if len(sung) else 0.0
        spoken = max(float(self.speaking.sum()) / VOICE_RATE, 1 / VOICE_RATE)
        return {
            "speaking_share": round(float(self.speaking.mean()), 3) if len(self) else 0.0,
            "phrases_per_minute": round(60 * begun / max(seconds, 1.0), 1),
            "pitch_hz": round(self.median_pitch, 1),
            "pitch_range_semitones": round(spread, 1),
            "onsets_per_second": round(float(_peaks(self.onset * self.speaking)) / spoken, 2),
        }


def measure_prosody(samples: Array, spoken: list[tuple[float, float]] | None = None) -> Prosody:
    """Of a levelled sound [N] at 16 kHz. `spoken` says where somebody speaks; without, loudness does."""
    count = max(1, -(-len(samples) // FRAME))
    chunks = [_chunk(samples, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    power, period, repeats, onset = (np.concatenate(part) for part in zip(*chunks, strict=True))
    decibel = 10 * np.log10(power + 1e-12)
    loud = np.percentile(decibel[power > QUIETEST], 95) if (power > QUIETEST).any() else 0.0
    level = np.clip(1 + (decibel - loud) / DEEP, 0.0, 1.2)
    if spoken is None:
        spoken = phrases(level, HEARD)
    times = (np.arange(count) + 0.5) / VOICE_RATE
    speaking = spoken_at(spoken, times)
    voiced = (repeats > VOICED) & speaking & (power > QUIETEST)
    semitones = OCTAVE * np.log2(SAMPLE_RATE / period)
    middle = float(np.median(semitones[voiced])) if voiced.any() else 0.0
    pitch = _carried_on(median_filter(np.clip(semitones - middle, -OCTAVE, OCTAVE), 3, mode="nearest"), voiced)
    strong = np.percentile(onset[speaking], 95) if speaking.any() else 1.0
    onset = np.clip(onset / max(float(strong), 1e-6), 0.0, 2.0) * speaking
    hertz = float(2 ** (middle / OCTAVE)) if voiced.any() else 0.0
    return Prosody(level * speaking, pitch, voiced, onset, speaking, hertz)


@cache
def _librosa() -> Any:
    """With what is used of it. It takes its time to import: not before there is something to hear."""
    with imported_when_used(*UNUSED):
        import librosa

        _ = librosa.autocorrelate, librosa.feature.melspectrogram, librosa.onset.onset_strength, librosa.util.frame
    return librosa


@contextmanager
def ears_open() -> Iterator[None]:
    """What hears is imported beside the block, which leaves Python's lock alone for half of its time.

    What goes wrong with it is told when there is something to hear.
    """
    if _librosa.cache_info().currsize:
        yield
        return
    thread = Thread(target=_import_quietly, name="ears", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        # Who was interrupted may have left a lock closed, LLVM's for one, for which the import waits for ever.
        thread.join(PATIENCE)
        raise
    thread.join()


def _import_quietly() -> None:
    with suppress(Exception):
        _librosa()


def _chunk(samples: Array, start: int, end: int) -> tuple[Array, Array, Array, Array]:
    """Power, period (samples), share that repeats and rise of the bands, [end - start] each."""
    librosa = _librosa()
    before = min(start, AROUND)
    first, last = (start - before) * FRAME - (WINDOW - FRAME) // 2, (end + AROUND) * FRAME + (WINDOW - FRAME) // 2
    inside = samples[max(first, 0) : min(last, len(samples))].astype(np.float32)
    heard = np.pad(inside, (max(-first, 0), max(last - len(samples), 0)))
    frames = librosa.util.frame(heard, frame_length=WINDOW, hop_length=FRAME).T  # [n, WINDOW]
    power = np.square(frames).mean(1)
    bands = librosa.feature.melspectrogram(
        y=heard, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=FRAME, n_mels=40, center=False, fmax=8000.0, window=HANN
    )
    rise = librosa.onset.onset_strength(S=np.log10(np.maximum(bands, 1e-6)), center=False)
    period, repeats = _periods(frames - frames.mean(1, keepdims=True))
    keep = slice(before, before + end - start)
    return power[keep], period[keep], repeats[keep], rise[keep]


def _periods(frames: Array) -> tuple[Array, Array]:
    """Period [n] in samples and how much of the power repeats after it [n], of frames [n, WINDOW]."""
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    correlation = _librosa().autocorrelate(frames, max_size=longest + 1, axis=-1)
    sums = np.cumsum(np.square(frames), axis=1)
    lags = np.arange(shortest, longest + 1)
    head, tail = sums[:, WINDOW - 1 - lags], sums[:, -1:] - sums[:, lags - 1]
    likeness = correlation[:, lags] / np.sqrt(np.maximum(head * tail, 1e-12))
    best = likeness.max(1)
    peak = np.ones_like(likeness, bool)
    peak[:, 1:] &= likeness[:, 1:] >= likeness[:, :-1]
    peak[:, :-1] &= likeness[:, :-1] >= likeness[:, 1:]
    first = (peak & (likeness >= FIRST_PEAK * best[:, None])).argmax(1)
    return lags[first].astype(np.float64), best


def _carried_on(pitch: Array, voiced: Array) -> Array:
    """The pitch where it is voiced, straight lines between, smooth."""
    if not voiced.any():
        return np.zeros(len(pitch))
    at = np.flatnonzero(voiced)
    return gaussian_filter1d(np.interp(np.arange(len(pitch)), at, pitch[at]), 1.0, mode="nearest")


def _peaks(onset: Array) -> int:
    """How many syllables begin."""
    if len(onset) < 3:
        return 0
    middle = onset[1:-1]
    return int(((middle > 0.35) & (middle > onset[:-2]) & (middle >= onset[2:])).sum())
