"""The speech model, from talking clips with sound: `python -m mggdub.train.speech CLIPS_DIR TRACKS_DIR CACHE_DIR`.

Features of every clip and of altered copies of its sound are kept in CACHE_DIR. A first map, fitted on other
people, finds each clip's sound lag and drops clips whose lips do not follow their sound. The second is fitted
on the rest in closed form, with people left out in turn to measure, and on everyone to ship.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_closing
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt
from torch import Tensor

from mggdub import weights
from mggdub.errors import MggdubError
from mggdub.face.expression import ExpressionBasis, gap_of_modes, lip_modes, load_expression
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.media.audio import read_audio
from mggdub.metrics.landmarks import correlation
from mggdub.motion.speech import frame_energy
from mggdub.networks.speech import FRAME, RATE, LipMapConfig, around
from mggdub.networks.whisper import CONTEXT, SAMPLE_RATE, WhisperEncoder, level, load_whisper, token_windows
from mggdub.train.prepare import clips, displacement, load_track
from mggdub.types import LIP_MODES, Array

VARIANTS = 2  # the clip as it is, and altered copies
FOLDS = 5
MARGIN = CONTEXT // 2  # frames of context around a section
PERSON_CAP = 1000.0  # frames; a person with more is heard no more often than that
LARGEST_LAG = 4  # frames
LOOSEST_REST = 0.1  # cm between the inner lips of a mouth that still counts as closed
RIDGE = 0.3  # of the mean square of what the map sees
NOISE_SHARE = 4.0  # how often a sound without speech counts
QUANTILES = (0.2, 0.9)  # of the opening while speaking: nearly closed, and wide
LEAST_SYNC = 0.25  # correlation at the best lag
OWN_LAG = 60  # frames of a clip that is long enough to tell its own lag
CARD: dict[str, Any] = {
    "what": "Whisper features to 8 lip modes and a voice probability, 25 a second",
    "trained on": "talking clips of about 200 people with own sound (English, Arabic and others), altered by speed, "
    "noise, reverberation and band limits",
    "method": "ridge regression in closed form after lag correction; a minute on one CPU core, features ten more",
    "licence": "research use only, see weights/LICENSE",
    "metrics": "inner-lip gap, people left out, lag corrected per clip, clips out of step dropped; median over people",
    "limits": "Lips only; no emotion, no tongue; articulation is that of an average speaker; singing is unseen",
}


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
    kept: dict[str, Any] = {f"x{token}": x.half().numpy() for token, x in token_windows(encoder, level(sound))}
    np.savez(target, faster=faster, voice=voice, **kept)


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
        for stem, own in lips.items():
            path = cache / f"{stem}.{variant}.npz"
            if not path.exists() or len(own["times"]) < 12:
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
                    seen = (at >= own["times"][0] - 0.02) & (at <= own["times"][-1] + 0.02)
                    seen &= np.interp(at, own["times"], own["seen"]) > 0.99
                    if seen.sum() < 8:
                        continue
                    modes = np.stack([np.interp(at, own["times"], mode) for mode in own["modes"].T], 1)
                    gap = np.interp(at, own["times"], own["gap"])
                    spoken = np.interp(times, (np.arange(len(voice)) + 0.5) / RATE, voice)
                    found[variant].append(
                        Section(
                            stem,
                            people[stem],
                            features,
                            (size * modes).astype(np.float32),
                            (size * gap).astype(np.float32),
                            (spoken > 0.5).astype(np.float32),
                            seen.astype(np.float32),
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


def fold_of(people: list[str]) -> dict[str, int]:
    """A fold for every person, the same in every run."""
    order = np.random.default_rng(0).permutation(len(set(people)))
    return {person: int(place) % FOLDS for person, place in zip(sorted(set(people)), order, strict=True)}


def design(section: Section) -> Array:
    """[n, features * offsets + 1]: what the map sees of a section, and 1."""
    seen = around(torch.from_numpy(section.features.astype(np.float32)), LipMapConfig().offsets)[MARGIN:-MARGIN]
    return torch.cat([seen, torch.ones(len(seen), 1)], 1).numpy()


def linear_maps(found: list[Section], basis: ExpressionBasis) -> list[Array]:
    """Ridge regressions [features * offsets + 1, 9] to modes in standard deviations and voice -2..2, leaving out each
    fold's people in turn; the last one is fitted on everyone.

    A person's rest is uncertain, so most of a section's mean is replaced by everyone's.
    """
    folds = fold_of([section.person for section in found if section.person])
    usual = np.average([s.modes.mean(0) for s in found], axis=0, weights=[s.weight for s in found])
    size = len(LipMapConfig().offsets) * found[0].features.shape[1] + 1
    gram, side = np.zeros((FOLDS, size, size), np.float32), np.zeros((FOLDS, size, LIP_MODES + 1), np.float32)
    for section in found:
        x, fold = design(section), folds.get(section.person, 0)
        modes = section.modes if not section.person else section.modes - 0.7 * (section.modes.mean(0) - usual)
        wanted = np.concatenate([modes / basis.mode_std, 4 * section.voice[:, None] - 2], 1)
        share = section.weight / len(section.gap) * section.seen[:, None]
        gram[fold] += x.T @ (share * x)
        side[fold] += x.T @ (share * wanted)
    ridge = RIDGE * np.trace(gram.sum(0)) / size * np.eye(size, dtype=np.float32)
    kept = [*(1.0 - np.eye(FOLDS, dtype=np.float32)), np.ones(FOLDS, np.float32)]
    return [np.linalg.solve(np.tensordot(k, gram, 1) + ridge, np.tensordot(k, side, 1)) for k in kept]


def linear_gap(found: list[Section], maps: list[Array], basis: ExpressionBasis) -> list[Array]:
    """The gap [n] of every section as the map that left its person out hears it."""
    folds = fold_of([section.person for section in found])
    to_gap = gap_of_modes(basis) * basis.mode_std
    return [design(section) @ (maps[folds[section.person]][:, :LIP_MODES] @ to_gap) for section in found]


def lag_curve(heard: Array, seen: Array, reach: int = 10) -> Array:
    """[2 reach + 1] correlation of the lips `lag` frames later with what is heard."""
    curve = []
    for lag in range(-reach, reach + 1):
        a, b = heard[max(0, -lag) : len(heard) - max(0, lag)], seen[max(0, lag) : len(seen) - max(0, -lag)]
        curve.append(correlation(a, b) if len(a) > 12 else 0.0)
    return np.array(curve)


def find_lags(found: list[Section], basis: ExpressionBasis) -> dict[str, float]:
    """Each clip's lag in frames (positive: lips later than most people's); clips out of step are missing.

    Short clips share the lag of their person.
    """
    heard = linear_gap(found, linear_maps(found, basis), basis)
    frames: dict[str, int] = defaultdict(int)
    for section in found:
        frames[section.clip] += len(section.gap)
    curves: dict[str, list[tuple[int, Array]]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    for section, said in zip(found, heard, strict=True):
        group = section.clip if frames[section.clip] >= OWN_LAG else section.person
        curves[group].append((len(said), lag_curve(said, section.gap)))
        groups[group].add(section.clip)
    lags: dict[str, float] = {}
    for group, parts in curves.items():
        curve = np.average([c for _, c in parts], axis=0, weights=[n for n, _ in parts])
        best = int(curve[1:-1].argmax()) + 1
        before, peak, after = curve[best - 1 : best + 2]
        lag = best - len(curve) // 2 + 0.5 * (before - after) / min(before - 2 * peak + after, -1e-3)
        if peak >= LEAST_SYNC and abs(lag) <= LARGEST_LAG:
            lags |= dict.fromkeys(groups[group], float(lag))
    by_person: dict[str, list[float]] = defaultdict(list)
    for section in found:
        if section.clip in lags and frames[section.clip] >= OWN_LAG:
            by_person[section.person].append(lags[section.clip])
    usual = float(np.mean([np.mean(own) for own in by_person.values()]))
    print(f"lips usually follow {usual:+.2f} frames later than the first map hears them", flush=True)
    return {clip: lag - usual for clip, lag in lags.items()}


def by_clip(found: list[Section], values: list[Array]) -> dict[str, Array]:
    """Sections' values joined again, in order."""
    joined: dict[str, list[Array]] = defaultdict(list)
    for section, value in zip(found, values, strict=True):
        joined[section.clip].append(value)
    return {clip: np.concatenate(parts) for clip, parts in joined.items()}


def measure(found: list[Section], heard: list[Array]) -> dict[str, float]:
    """Opening of the lips, heard against seen, clip by clip; people count alike. Scrambled: others' sound."""
    rng = np.random.default_rng(0)
    seen, said = by_clip(found, [s.gap for s in found]), by_clip(found, heard)
    voice = by_clip(found, [s.voice for s in found])
    person = {section.clip: section.person for section in found}
    scores: dict[str, list[Array]] = defaultdict(list)
    for clip, gap in seen.items():
        if len(gap) < 25 or voice[clip].sum() < 12:
            continue
        others = [o for o in rng.permutation(sorted(said)) if person[o] != person[clip] and len(said[o]) >= 25][:12]
        own = correlation(said[clip], gap)
        scrambled = np.mean([correlation(said[o][: len(gap)], gap[: len(said[o])]) for o in others])
        speaking = voice[clip] > 0.5
        spread = np.quantile([said[clip][speaking], gap[speaking]], QUANTILES, axis=1).T.ravel()
        scores[person[clip]].append(np.array([own, scrambled, said[clip].std() / max(gap.std(), 1e-3), *spread]))
    table = np.array([np.mean(rows, axis=0) for rows in scores.values()])  # [P, 7]
    middle = np.median(table, 0)
    draws = [np.median(table[rng.integers(0, len(table), len(table)), 0]) for _ in range(1000)]
    return {
        "people": len(table),
        "correlation": float(middle[0]),
        "low": float(np.quantile(draws, 0.025)),
        "high": float(np.quantile(draws, 0.975)),
        "scrambled": float(middle[1]),
        "difference": float(np.median(table[:, 0] - table[:, 1])),
        "size": float(middle[2]),
        **dict(zip(("heard_low", "heard_high", "seen_low", "seen_high"), map(float, middle[3:]), strict=True)),
    }


def calibrate(linear: Array, scores: dict[str, float], basis: ExpressionBasis) -> dict[str, Tensor]:
    """The state of a `LipMap`, from [features * offsets + 1, 9], whose lips close as often and open as far as seen.

    A map that is unsure moves too little around an opening that is too wide. What the bias closes too far, the
    track's own clamp holds at closed.
    """
    gain = (scores["seen_high"] - scores["seen_low"]) / (scores["heard_high"] - scores["heard_low"])
    shut = gain * scores["heard_low"] - scores["seen_low"]
    scaled = linear * np.append(gain * basis.mode_std, 1.0)
    scaled[-1, :LIP_MODES] -= shut * basis.opening
    weight, bias = torch.from_numpy(scaled[:-1].T.copy()).float(), torch.from_numpy(scaled[-1]).float()
    return {"linear.weight": weight, "linear.bias": bias}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for row in clips(given.clips) if row["audio"] == "yes" and row["split"] != "val"]
    basis, encoder = load_expression(), load_whisper()
    cache_features(rows, given.clips, given.cache, encoder)
    cache_noise(given.cache, encoder)
    everyone = sections(rows, given.tracks, given.cache, basis, None)[0]
    lags = find_lags(everyone, basis)
    plain, *altered = sections(rows, given.tracks, given.cache, basis, lags)
    print(f"{len(lags)} of {len({section.clip for section in everyone})} clips are in step", flush=True)
    maps = linear_maps([*plain, *itertools.chain(*altered), *silent_sections(given.cache, NOISE_SHARE)], basis)
    scores = measure(plain, linear_gap(plain, maps, basis))
    print(json.dumps(scores, indent=1), flush=True)
    frames = sum(len(section.gap) for section in plain)
    about = {"clips": len(lags), "people": len({s.person for s in plain}), "minutes": round(frames / RATE / 60, 1)}
    state = calibrate(maps[-1], scores, basis)
    weights.save(given.out, "speech", state, asdict(LipMapConfig()), CARD | about | {"cross-validation": scores})


if __name__ == "__main__":
    main()
