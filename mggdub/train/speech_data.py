"""What the speech network hears and sees: sections of clips with their lips, altered copies, noise without speech."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_closing
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from mggdub.errors import MggdubError
from mggdub.face.expression import ExpressionBasis, lip_modes
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.media.audio import read_audio
from mggdub.motion.speech import frame_energy
from mggdub.networks.speech import FRAME, RATE
from mggdub.networks.whisper import CONTEXT, SAMPLE_RATE, WhisperEncoder, level, token_windows
from mggdub.train.prepare import displacement, load_track
from mggdub.types import Array

VARIANTS = 5  # the clip as it is, and altered copies
MARGIN = CONTEXT // 2  # frames of context around a section
PERSON_CAP = 1000.0  # frames; a person with more is heard no more often than that
LOOSEST_REST = 0.1  # cm between the inner lips of a mouth that still counts as closed
NOISE_SHARE = 4.0  # how often a sound without speech counts


@dataclass(frozen=True, eq=False)
class Section:
    """Up to 8 s of one clip's sound and the lips that belong to it."""

    clip: str
    person: str
    features: Array  # [2 * (MARGIN + n + MARGIN), F] float16
    modes: Array  # [n, 8] cm, of a speaker of ordinary articulation
    gap: Array  # [n] cm of inner-lip gap, measured
    voice: Array  # [n] 0 or 1
    seen: Array  # [n] 1 where the face was found
    weight: float  # how much it counts


def voice_of(samples: Array) -> Array:
    """[n] 1 where a clean levelled sound holds speech, by its energy between quietest and loudest frames."""
    decibels = 10 * np.log10(frame_energy(samples) + 1e-9)
    quiet, loud = np.percentile(decibels, [5, 95])
    loud_enough = decibels > np.clip(quiet + 9, loud - 32, loud - 18)
    return binary_closing(np.pad(loud_enough, 5), np.ones(5))[5:-5].astype(np.float32)  # stops are speech


def alter(samples: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Another recording of the same words, and how much faster it is."""
    faster = float(rng.choice([0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15]))
    sound = resample_poly(samples, 100, round(100 * faster)).astype(np.float32)
    if rng.random() < 0.4:  # a room
        time = np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
        tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / rng.uniform(0.15, 0.6))
        tail *= rng.uniform(0.2, 0.8) / np.linalg.norm(tail)
        sound = sound + fftconvolve(sound, tail)[: len(sound)]
    if rng.random() < 0.7:
        power = np.sqrt(np.mean(sound**2)) * 10 ** (-rng.uniform(3, 25) / 20)
        sound = sound + power * noise(len(sound), rng)
    if rng.random() < 0.3:  # a telephone, or a poor codec
        band = [rng.uniform(80, 350), rng.uniform(3000, 7000)]
        sound = sosfilt(butter(4, band, "bandpass", fs=SAMPLE_RATE, output="sos"), sound)
    if rng.random() < 0.15:
        limit = np.quantile(np.abs(sound), 0.98)
        sound = np.clip(sound, -limit, limit)
    return sound.astype(np.float32), faster


def noise(count: int, rng: np.random.Generator, steepest: float = 1.0) -> Array:
    """Unit-variance noise, steady or swelling, sometimes with a hum.

    Its colour is random: amplitude falls with a power of the frequency from 0 to `steepest`.
    """
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 50)
    sound = np.fft.irfft(spectrum * (frequency / 50) ** -rng.uniform(0.0, steepest), count)
    time = np.arange(count) / SAMPLE_RATE
    if rng.random() < 0.3:
        hum = rng.choice([50, 60, 100, 120, 400, 1000])
        sound = sound / sound.std() + sum(np.sin(2 * np.pi * hum * k * time) / k for k in (1, 2, 3))
    if rng.random() < 0.4:
        sound = sound * (1.2 + np.sin(2 * np.pi * rng.uniform(0.1, 2.0) * time + rng.uniform(0, 6)))
    return sound / max(sound.std(), 1e-9)


def cache_features(rows: list[dict[str, str]], folder: Path, cache: Path, encoder: WhisperEncoder) -> None:
    """Features of every clip and VARIANTS - 1 altered copies; what is there already is kept."""
    for variant in range(VARIANTS):
        for index, row in enumerate(rows):
            target = cache / f"{Path(row['file']).stem}.{variant}.npz"
            if target.exists():
                continue
            try:
                clean = level(read_audio(folder / row["file"]).samples)
            except MggdubError as error:
                print(f"dropped {row['file']}: {error}", flush=True)
                continue
            rng = np.random.default_rng([variant, index])
            sound, faster = alter(clean, rng) if variant else (clean, 1.0)
            save_sound(target, encoder, sound, faster, voice_of(clean))


def save_sound(target: Path, encoder: WhisperEncoder, sound: Array, faster: float, voice: Array) -> None:
    windows: dict[str, Any] = {f"x{token}": x.half().numpy() for token, x in token_windows(encoder, level(sound))}
    np.savez(target, faster=faster, voice=voice, **windows)


def cache_noise(cache: Path, encoder: WhisperEncoder, count: int = 60) -> None:
    """Sounds without speech."""
    for index in range(count):
        target = cache / f"noise-{index:02d}.0.npz"
        if target.exists():
            continue
        rng = np.random.default_rng([99, index])
        length = int(rng.uniform(3, 8) * SAMPLE_RATE)
        sound = (
            noise(length, rng, steepest=1.8) if index % 6 else 0.3 * np.sin(np.arange(length) * rng.uniform(0.02, 0.8))
        )
        save_sound(target, encoder, sound.astype(np.float32), 1.0, np.zeros(-(-length // FRAME), np.float32))


def read_lips(path: Path, basis: ExpressionBasis) -> dict[str, Array]:
    """Mid-times [T], modes [T, 8], gap [T] cm since rest, its height at rest, and whether the face was found [T]."""
    track = load_track(path)
    middle = track["times"] + np.median(np.diff(track["times"])) / 2
    move, rest = displacement(track)
    opening = move[:, INNER_LOWER_LIP, 1] - move[:, INNER_UPPER_LIP, 1]
    height = rest[INNER_LOWER_LIP, 1] - rest[INNER_UPPER_LIP, 1]
    return {
        "times": middle,
        "modes": lip_modes(basis, move),
        "gap": opening,
        "rest": height,
        "seen": track["presence"] > 0,
    }


def close_rest(lips: dict[str, Array], closed: float, basis: ExpressionBasis) -> dict[str, Array]:
    """A clip whose rest is not closed, told from the lips' height when closed: opened by the difference."""
    more = max(float(lips["rest"]) - closed, 0.0)
    return lips | {"modes": lips["modes"] + more * basis.opening, "gap": lips["gap"] + more}


def sections(
    rows: list[dict[str, str]], tracks: Path, cache: Path, basis: ExpressionBasis, lags: dict[str, float] | None
) -> list[list[Section]]:
    """Sections of every variant; `lags` in frames shift the lips, clips without one are left out."""
    raw, clips_of = {}, defaultdict(list)
    for row in rows:
        stem = Path(row["file"]).stem
        path = tracks / row["split"] / f"{stem}.npz"
        if path.exists() and (lags is None or stem in lags):
            raw[stem] = read_lips(path, basis)
            clips_of[row["identity"]].append(stem)
    lips: dict[str, dict[str, Array]] = {}
    ordinary, frames = {}, {}
    for person, stems in clips_of.items():
        closed = min([float(basis.closed_gap) + LOOSEST_REST, *(float(raw[stem]["rest"]) for stem in stems)])
        lips |= {stem: close_rest(raw[stem], closed, basis) for stem in stems}
        ordinary[person] = np.sqrt(np.mean([lips[stem]["gap"].var() for stem in stems]))
        frames[person] = sum(len(lips[stem]["gap"]) for stem in stems)
    middle = np.median(list(ordinary.values()))
    people = {Path(row["file"]).stem: row["identity"] for row in rows}
    found: list[list[Section]] = [[] for _ in range(VARIANTS)]
    for variant in range(VARIANTS):
        for stem, track in lips.items():
            path = cache / f"{stem}.{variant}.npz"
            if not path.exists() or len(track["times"]) < 12:
                continue
            size = np.clip(middle / max(ordinary[people[stem]], 1e-3), 0.4, 2.5)
            share = min(1.0, PERSON_CAP / frames[people[stem]])
            late = (lags[stem] if lags else 0.0) / RATE
            with np.load(path) as file:
                faster, voice = float(file["faster"]), file["voice"]
                for name in [name for name in file.files if name.startswith("x")]:
                    features = file[name]
                    start, count = int(name[1:]) // 2, len(features) // 2 - 2 * MARGIN
                    times = (start + np.arange(count) + 0.5) / RATE * faster
                    at = times + late
                    tracked = (at >= track["times"][0] - 0.02) & (at <= track["times"][-1] + 0.02)
                    tracked &= np.interp(at, track["times"], track["seen"]) > 0.99
                    if tracked.sum() < 8:
                        continue
                    modes = np.stack([np.interp(at, track["times"], mode) for mode in track["modes"].T], 1)
                    gap = np.interp(at, track["times"], track["gap"])
                    spoken = np.interp(times, (np.arange(len(voice)) + 0.5) / RATE, voice)
                    found[variant].append(
                        Section(
                            stem,
                            people[stem],
                            features,
                            (size * modes).astype(np.float32),
                            (size * gap).astype(np.float32),
                            (spoken > 0.5).astype(np.float32),
                            tracked.astype(np.float32),
                            share * count,
                        )
                    )
    return found


def silent_sections(cache: Path, weight: float) -> list[Section]:
    """Sections in which nobody speaks and the mouth is closed."""
    found = []
    for path in sorted(cache.glob("noise-*.npz")):
        with np.load(path) as file:
            features = file["x0"]
        n = len(features) // 2 - 2 * MARGIN
        still = np.zeros(n, np.float32)
        found.append(
            Section(path.stem, "", features, np.zeros((n, 8), np.float32), still, still, still + 1, weight * n)
        )
    return found
