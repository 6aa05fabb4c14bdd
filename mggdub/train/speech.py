"""The speech model, from talking clips with sound: `python -m mggdub.train.speech CLIPS_DIR TRACKS_DIR CACHE_DIR`.

Features of every clip and of altered copies of its sound are kept in CACHE_DIR. A cross-validated ridge
regression finds each clip's sound lag and drops clips whose lips do not follow their sound. Then small
networks are trained, with people left out in turn to measure, and on everyone to ship.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt
from torch import Tensor

from mggdub import weights
from mggdub.errors import MggdubError
from mggdub.media.audio import read_audio
from mggdub.models.expression import ExpressionBasis, gap_of_modes, lip_gap, lip_modes, load_expression
from mggdub.models.speech import FRAME, RATE, LipNet, LipNetConfig, frame_energy
from mggdub.models.whisper import CONTEXT, SAMPLE_RATE, WhisperEncoder, level, load_whisper, token_windows
from mggdub.train.prepare import clips, load_track
from mggdub.types import LIP_MODES, Array

VARIANTS = 3  # the clip as it is, and altered copies
FOLDS = 5
MARGIN = CONTEXT // 2  # frames of context around a section
CROP = 64  # frames of a training example
REACH = 24  # frames of context around it
BATCH = 16
STEPS = 1400
LEARNING_RATE = 2e-3
PERSON_CAP = 1000.0  # frames; a person with more is heard no more often than that
LARGEST_LAG = 4  # frames
SIZE = 0.95  # how far the shipped lips move, against those seen
LEAST_SYNC = 0.25  # correlation at the best lag
OWN_LAG = 60  # frames of a clip that is long enough to tell its own lag
CARD: dict[str, Any] = {
    "what": "Whisper features to 8 lip modes and a voice probability, 25 a second",
    "trained on": "talking clips of about 200 people with own sound (English, Arabic and others), altered by speed, "
    "noise, reverberation and band limits",
    "licence": "research use only",
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
    weight: float  # how often it is drawn


# --- sound -----------------------------------------------------------------------------------------------------------


def voice_of(samples: Array) -> Array:
    """[n] 1 where a clean levelled sound holds speech, by its energy between quietest and loudest frames."""
    decibels = 10 * np.log10(frame_energy(samples) + 1e-9)
    quiet, loud = np.percentile(decibels, [5, 95])
    return (decibels > np.clip(quiet + 9, loud - 32, loud - 18)).astype(np.float32)


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


def noise(count: int, rng: np.random.Generator) -> Array:
    """Unit-variance noise of a random colour, steady or swelling, sometimes a hum."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 50)
    sound = np.fft.irfft(spectrum * (frequency / 50) ** -rng.uniform(0.0, 1.0), count)
    time = np.arange(count) / SAMPLE_RATE
    if rng.random() < 0.3:
        hum = rng.choice([50, 60, 100, 120, 400, 1000])
        sound = sound / sound.std() + sum(np.sin(2 * np.pi * hum * k * time) / k for k in (1, 2, 3))
    if rng.random() < 0.4:
        sound = sound * (1.2 + np.sin(2 * np.pi * rng.uniform(0.1, 2.0) * time + rng.uniform(0, 6)))
    return sound / max(sound.std(), 1e-9)


# --- sections --------------------------------------------------------------------------------------------------------


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


def cache_noise(cache: Path, encoder: WhisperEncoder, count: int = 24) -> None:
    """Sounds without speech."""
    for index in range(count):
        target = cache / f"noise-{index:02d}.0.npz"
        if target.exists():
            continue
        rng = np.random.default_rng([99, index])
        length = int(rng.uniform(3, 8) * SAMPLE_RATE)
        sound = noise(length, rng) if index % 6 else 0.3 * np.sin(np.arange(length) * rng.uniform(0.02, 0.8))
        save_sound(target, encoder, sound.astype(np.float32), 1.0, np.zeros(-(-length // FRAME), np.float32))


def read_lips(path: Path, basis: ExpressionBasis) -> dict[str, Array]:
    """Mid-times [T], modes [T, 8], gap [T] (0 at rest) and whether the face was found [T] of one track."""
    track = load_track(path)
    middle = track["times"] + np.median(np.diff(track["times"])) / 2
    modes = lip_modes(basis, track["mesh"] - track["rest"])
    height = track["mesh"][:, 14, 1] - track["mesh"][:, 13, 1]
    rest = track["rest"][14, 1] - track["rest"][13, 1]
    return {"times": middle, "modes": modes, "gap": height - rest, "seen": track["presence"] > 0}


def sections(
    rows: list[dict[str, str]], tracks: Path, cache: Path, basis: ExpressionBasis, lags: dict[str, int] | None
) -> list[list[Section]]:
    """Sections of every variant; `lags` in frames shift the lips, clips without one are left out."""
    lips, spread = {}, defaultdict(list)
    for row in rows:
        stem = Path(row["file"]).stem
        path = tracks / row["split"] / f"{stem}.npz"
        if path.exists() and (lags is None or stem in lags):
            lips[stem] = read_lips(path, basis)
            spread[row["identity"]].append(lips[stem]["gap"])
    ordinary = {person: np.sqrt(np.mean([gap.var() for gap in gaps])) for person, gaps in spread.items()}
    middle = np.median(list(ordinary.values()))
    frames = {person: sum(map(len, gaps)) for person, gaps in spread.items()}
    people = {Path(row["file"]).stem: row["identity"] for row in rows}
    found: list[list[Section]] = [[] for _ in range(VARIANTS)]
    for variant in range(VARIANTS):
        for stem, own in lips.items():
            path = cache / f"{stem}.{variant}.npz"
            if not path.exists() or len(own["times"]) < 12:
                continue
            size = np.clip(middle / max(ordinary[people[stem]], 1e-3), 0.4, 2.5)
            share = min(1.0, PERSON_CAP / frames[people[stem]])
            late = (lags[stem] if lags else 0) / RATE
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


# --- is the sound in step with the lips? -----------------------------------------------------------------------------


def fold_of(people: list[str]) -> dict[str, int]:
    """A fold for every person, the same in every run."""
    order = np.random.default_rng(0).permutation(len(set(people)))
    return {person: int(place) % FOLDS for person, place in zip(sorted(set(people)), order, strict=True)}


def ridge_gap(found: list[Section]) -> list[Array]:
    """The gap [n] of every section as a linear map of its features sees it, fitted on other people."""
    folds = fold_of([section.person for section in found])
    offsets = 2 * np.array([-2, -1, 0, 1, 2])
    size = found[0].features.shape[1] * len(offsets) + 1
    gram, side = np.zeros((FOLDS, size, size), np.float32), np.zeros((FOLDS, size), np.float32)

    def design(section: Section) -> Array:
        x = section.features.astype(np.float32)
        x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        tokens = 2 * (MARGIN + np.arange(len(section.gap)))[:, None] + 1 + offsets
        return np.concatenate([x[tokens].reshape(len(tokens), -1), np.ones((len(tokens), 1), np.float32)], 1)

    for section in found:
        x, fold = design(section), folds[section.person]
        share = section.weight / len(section.gap) / max(section.gap.var(), 1e-3)
        gram[fold] += share * (x.T @ x)
        side[fold] += share * (x.T @ (section.gap - section.gap.mean()))
    total, answer = gram.sum(0), side.sum(0)
    ridge = 0.02 * np.trace(total) / size * np.eye(size, dtype=np.float32)
    maps = [np.linalg.solve(total - gram[f] + ridge, answer - side[f]) for f in range(FOLDS)]
    return [design(section) @ maps[folds[section.person]] for section in found]


def correlation(a: Array, b: Array) -> float:
    """Pearson; 0 where one of them does not move."""
    if len(a) < 6 or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def lag_curve(heard: Array, seen: Array, reach: int = 10) -> Array:
    """[2 reach + 1] correlation of the lips `lag` frames later with what is heard."""
    curve = []
    for lag in range(-reach, reach + 1):
        a, b = heard[max(0, -lag) : len(heard) - max(0, lag)], seen[max(0, lag) : len(seen) - max(0, -lag)]
        curve.append(correlation(a, b) if len(a) > 12 else 0.0)
    return np.array(curve)


def find_lags(found: list[Section]) -> dict[str, int]:
    """Each clip's lag in frames (positive: lips late); clips out of step are missing.

    Short clips share the lag of their person.
    """
    curves: dict[str, list[tuple[int, Array]]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    for section, heard in zip(found, ridge_gap(found), strict=True):
        frames = sum(len(other.gap) for other in found if other.clip == section.clip)
        group = section.clip if frames >= OWN_LAG else section.person
        curves[group].append((len(heard), lag_curve(heard, section.gap)))
        groups[group].add(section.clip)
    lags: dict[str, int] = {}
    for group, parts in curves.items():
        curve = np.average([c for _, c in parts], axis=0, weights=[n for n, _ in parts])
        lag = int(curve.argmax()) - 10
        if curve.max() >= LEAST_SYNC and abs(lag) <= LARGEST_LAG:
            lags |= dict.fromkeys(groups[group], lag)
    return lags


# --- learning --------------------------------------------------------------------------------------------------------


def draw(found: list[Section], chances: Array, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """A batch: features [B, 2 (CROP + 2 REACH), F], modes [B, CROP, 8], gap, voice and mask [B, CROP]."""
    batch: list[list[Array]] = [[] for _ in range(5)]
    for pick in rng.choice(len(found), BATCH, p=chances):
        section = found[pick]
        n = len(section.gap)
        start = int(rng.integers(0, max(n - CROP, 0) + 1))
        stop = min(start + CROP, n)
        x = section.features[2 * (start + MARGIN - REACH) : 2 * (stop + MARGIN + REACH)].astype(np.float32)
        parts = (
            x,
            section.modes[start:stop],
            section.gap[start:stop],
            section.voice[start:stop],
            section.seen[start:stop],
        )
        for column, part in zip(batch, parts, strict=True):
            length = CROP if column is not batch[0] else 2 * (CROP + 2 * REACH)
            column.append(np.pad(part, ((0, length - len(part)), *[(0, 0)] * (part.ndim - 1))))
    return tuple(torch.from_numpy(np.stack(column)) for column in batch)


def loss_of(
    out: Tensor, modes: Tensor, gap: Tensor, voice: Tensor, mask: Tensor, to_gap: Tensor, unit: float
) -> Tensor:
    """Modes, their speed, the opening of the lips (closures count more), and whether someone speaks.

    out [B, T, 9]; modes [B, T, 8] in standard deviations; `to_gap` [8] and `unit` turn modes into unit gaps. A person's
    rest is uncertain, so the mean error of a crop counts less than the error around it.
    """
    count = mask.sum().clamp(min=1)

    def around(error: Tensor, share: Tensor) -> Tensor:
        mean = (error * share).sum(1, keepdim=True) / share.sum(1, keepdim=True).clamp(min=1)
        return (error - 0.7 * mean).square()

    error = out[..., :LIP_MODES] - modes
    pull = to_gap.abs() + 0.3 * to_gap.abs().max()  # modes that open the lips count most
    shape = (around(error, mask[..., None]) * pull / pull.mean()).mean(-1)
    speed = ((error[:, 1:] - error[:, :-1]).square() * pull / pull.mean()).mean(-1)
    opening = (out[..., :LIP_MODES] @ to_gap - gap) / unit
    closed = mask * (1 + 1.0 * ((gap < 0.12 * unit) & (voice > 0.5)))
    total = (
        (shape * mask).sum() + 1.5 * (speed * mask[:, 1:] * mask[:, :-1]).sum() + (around(opening, mask) * closed).sum()
    )
    speaks = torch.nn.functional.binary_cross_entropy_with_logits(out[..., LIP_MODES], voice, reduction="none")
    return (total + 0.5 * (speaks * mask).sum()) / count


def train(
    variants: list[list[Section]], silent: list[Section], basis: ExpressionBasis, seed: int, steps: int
) -> LipNet:
    """One network, from its seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    found = [section for variant in variants for section in variant] + silent
    chances = np.array([section.weight for section in found])
    chances /= chances.sum()
    std = torch.from_numpy(basis.mode_std).float()
    to_gap = torch.from_numpy(gap_of_modes(basis)).float() * std
    unit = float(np.median([section.gap.std() for section in variants[0]]))
    network = LipNet(LipNetConfig(features=found[0].features.shape[1]))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        features, modes, gap, voice, mask = draw(found, chances, rng)
        with torch.autocast("cpu", torch.bfloat16):
            out = network(features)[:, REACH : REACH + CROP].float()
        loss = loss_of(out, modes / std, gap, voice, mask, to_gap, unit)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"seed {seed} step {step}: loss {loss.item():.3f}", flush=True)
    return network.eval()


@torch.inference_mode()
def hear(networks: list[LipNet], section: Section, basis: ExpressionBasis) -> tuple[Array, Array]:
    """Modes [n, 8] and voice logits [n] of one section."""
    x = torch.from_numpy(section.features.astype(np.float32))[None]
    out = torch.stack([network(x)[0, MARGIN:-MARGIN] for network in networks]).mean(0).numpy()
    return out[:, :LIP_MODES] * basis.mode_std, out[:, LIP_MODES]


def by_clip(found: list[Section], values: list[Array]) -> dict[str, Array]:
    """Sections' values joined again, in order."""
    joined: dict[str, list[Array]] = defaultdict(list)
    for section, value in zip(found, values, strict=True):
        joined[section.clip].append(value)
    return {clip: np.concatenate(parts) for clip, parts in joined.items()}


def measure(found: list[Section], heard: list[Array], rng: np.random.Generator) -> dict[str, float]:
    """Opening of the lips, heard against seen, clip by clip; people count alike. Scrambled: others' sound."""
    seen, said = by_clip(found, [s.gap for s in found]), by_clip(found, heard)
    person = {section.clip: section.person for section in found}
    scores: dict[str, list[Array]] = defaultdict(list)
    for clip, gap in seen.items():
        if len(gap) < 25:
            continue
        others = [o for o in rng.permutation(sorted(said)) if person[o] != person[clip] and len(said[o]) >= 25][:12]
        own = correlation(said[clip], gap)
        scrambled = np.mean([correlation(said[o][: len(gap)], gap[: len(said[o])]) for o in others])
        size = said[clip].std() / max(gap.std(), 1e-3)
        scores[person[clip]].append(np.array([own, scrambled, size, said[clip].mean(), gap.mean()]))
    table = np.array([np.mean(rows, axis=0) for rows in scores.values()])  # [P, 5]
    draws = [np.median(table[rng.integers(0, len(table), len(table)), 0]) for _ in range(1000)]
    return {
        "people": len(table),
        "correlation": float(np.median(table[:, 0])),
        "low": float(np.quantile(draws, 0.025)),
        "high": float(np.quantile(draws, 0.975)),
        "scrambled": float(np.median(table[:, 1])),
        "difference": float(np.median(table[:, 0] - table[:, 1])),
        "size": float(np.median(table[:, 2])),
        "heard_open": float(np.median(table[:, 3])),
        "seen_open": float(np.median(table[:, 4])),
    }


def cross_validate(
    variants: list[list[Section]], silent: list[Section], basis: ExpressionBasis, steps: int, seeds: int
) -> dict[str, Any]:
    """Every person heard by networks that never met them."""
    fold = fold_of([section.person for section in variants[0]])
    tested, heard = [], []
    for left_out in range(FOLDS):
        others = [[s for s in variant if fold[s.person] != left_out] for variant in variants]
        networks = [train(others, silent, basis, seed, steps) for seed in range(seeds)]
        for section in variants[0]:
            if fold[section.person] == left_out:
                modes, _ = hear(networks, section, basis)
                tested.append(section)
                heard.append(lip_gap(basis, modes))
        print(json.dumps(measure(tested, heard, np.random.default_rng(0))), flush=True)
    return measure(tested, heard, np.random.default_rng(0))


def calibrate(scores: dict[str, float], basis: ExpressionBasis) -> dict[str, Tensor]:
    """`mode_scale` and `mode_bias` [8], so that lips move as far and stand as open as those seen.

    Networks that are unsure move too little around an opening that is too wide; what the bias closes too far, the
    track's own clamp holds at closed.
    """
    gain = SIZE / scores["size"]
    shut = (gain * scores["heard_open"] - scores["seen_open"]) * basis.opening
    return {
        "mode_scale": torch.from_numpy(gain * basis.mode_std).float(),
        "mode_bias": torch.from_numpy(-shut).float(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--members", type=int, default=2)
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for row in clips(given.clips) if row["audio"] == "yes" and row["split"] != "val"]
    basis, encoder = load_expression(), load_whisper()
    cache_features(rows, given.clips, given.cache, encoder)
    cache_noise(given.cache, encoder)
    lags = find_lags(sections(rows, given.tracks, given.cache, basis, None)[0])
    variants = sections(rows, given.tracks, given.cache, basis, lags)
    silent = silent_sections(given.cache, 0.5)
    print(f"{len(lags)} of {len(rows)} clips are in step", flush=True)
    scores = cross_validate(variants, silent, basis, given.steps, given.members)
    networks = [train(variants, silent, basis, seed, given.steps) for seed in range(given.members)]
    state = {f"{i}.{name}": value for i, net in enumerate(networks) for name, value in net.state_dict().items()}
    state |= calibrate(scores, basis)
    config = vars(LipNetConfig(members=given.members))
    weights.save(given.out, "speech", state, config, CARD | {"cross-validation": scores})


if __name__ == "__main__":
    main()
