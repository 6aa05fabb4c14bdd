"""The speech model, from talking clips with sound: `python -m mggdub.train.speech CLIPS_DIR TRACKS_DIR CACHE_DIR`.

Features of every clip and of altered copies of its sound are kept in CACHE_DIR. A first map, fitted on other
people, finds each clip's sound lag and drops clips whose lips do not follow their sound. The second is fitted
on the rest in closed form, and convolutions for the opening by gradient, with people left out in turn to measure, and
on everyone to ship. What was done lies in CACHE_DIR, so an interrupted run goes on; with other clips it needs another.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mggdub import weights
from mggdub.face.expression import ExpressionBasis, gap_of_modes, load_expression
from mggdub.metrics.landmarks import correlation
from mggdub.networks.speech import RATE, SHARE, LipMapConfig, OpeningNet, in_context, normalized
from mggdub.networks.whisper import load_whisper
from mggdub.train.prepare import clips
from mggdub.train.speech_data import (
    MARGIN,
    NOISE_SHARE,
    Section,
    cache_features,
    cache_noise,
    sections,
    silent_sections,
)
from mggdub.train.speech_opening import heard_by, shipped, train_opening
from mggdub.types import LIP_MODES, Array

FOLDS = 5
LARGEST_LAG = 4  # frames
RIDGE = 0.3  # of the mean square of what the map sees
QUANTILES = (0.2, 0.9)  # of the opening while speaking: nearly closed, and wide
LEAST_SYNC = 0.25  # correlation at the best lag
OWN_LAG = 60  # frames of a clip that is long enough to tell its own lag
CARD: dict[str, Any] = {
    "what": "Whisper features to 8 lip modes and a voice probability, 25 a second",
    "trained on": "talking clips of about 200 people with own sound (English, Arabic and others), altered by speed, "
    "noise, reverberation and band limits",
    "method": "ridge regression in closed form after lag correction, a minute on one CPU core; three nets of "
    "convolutions for the opening, a quarter of an hour with people left out; features half an hour",
    "licence": "research use only, see weights/LICENSE",
    "metrics": "inner-lip gap, people left out, lag corrected per clip, clips out of step dropped; median over people",
    "limits": "Lips only; no emotion, no tongue; articulation is that of an average speaker; singing is unseen",
}


def fold_of(people: list[str]) -> dict[str, int]:
    """A fold for every person, the same in every run."""
    order = np.random.default_rng(0).permutation(len(set(people)))
    return {person: int(place) % FOLDS for person, place in zip(sorted(set(people)), order, strict=True)}


def design(section: Section) -> Array:
    """[n, features * offsets + 1]: what the map sees of a section, and 1."""
    tokens = normalized(torch.from_numpy(section.features.astype(np.float32)))
    inputs = in_context(tokens, LipMapConfig().offsets)[MARGIN:-MARGIN]
    return torch.cat([inputs, torch.ones(len(inputs), 1)], 1).numpy()


def wanted_of(found: list[Section], basis: ExpressionBasis) -> list[Array]:
    """[n, 9] for every section: modes in standard deviations and voice -2..2.

    A person's rest is uncertain, so most of a section's mean is replaced by everyone's.
    """
    usual = np.average([s.modes.mean(0) for s in found], axis=0, weights=[s.weight for s in found])
    wanted = []
    for section in found:
        modes = section.modes if not section.person else section.modes - 0.7 * (section.modes.mean(0) - usual)
        wanted.append(np.concatenate([modes / basis.mode_std, 4 * section.voice[:, None] - 2], 1))
    return wanted


def linear_maps(found: list[Section], basis: ExpressionBasis) -> list[Array]:
    """Ridge regressions [features * offsets + 1, 9] to what is wanted, leaving out each fold's people in turn; the last
    one is fitted on everyone.
    """
    folds = fold_of([section.person for section in found if section.person])
    size = len(LipMapConfig().offsets) * found[0].features.shape[1] + 1
    gram, side = np.zeros((FOLDS, size, size), np.float32), np.zeros((FOLDS, size, LIP_MODES + 1), np.float32)
    for section, wanted in zip(found, wanted_of(found, basis), strict=True):
        x, fold = design(section), folds.get(section.person, 0)
        share = section.weight / len(section.gap) * section.seen[:, None]
        gram[fold] += x.T @ (share * x)
        side[fold] += x.T @ (share * wanted)
    ridge = RIDGE * np.trace(gram.sum(0)) / size * np.eye(size, dtype=np.float32)
    masks = [*(1.0 - np.eye(FOLDS, dtype=np.float32)), np.ones(FOLDS, np.float32)]
    return [np.linalg.solve(np.tensordot(mask, gram, 1) + ridge, np.tensordot(mask, side, 1)) for mask in masks]


def linear_gap(found: list[Section], maps: list[Array], basis: ExpressionBasis) -> list[Array]:
    """The gap [n] of every section as the map that left its person out hears it."""
    folds = fold_of([section.person for section in found])
    to_gap = gap_of_modes(basis) * basis.mode_std
    return [design(section) @ (maps[folds[section.person]][:, :LIP_MODES] @ to_gap) for section in found]


def opening_nets(found: list[Section], basis: ExpressionBasis, folder: Path) -> list[list[OpeningNet]]:
    """Nets of the opening that leave out each fold's people in turn; the last are fitted on everyone."""
    folds = fold_of([section.person for section in found if section.person])
    every, to_gap = wanted_of(found, basis), gap_of_modes(basis) * basis.mode_std
    nets: list[list[OpeningNet]] = []
    for fold in range(FOLDS + 1):
        kept = [i for i, s in enumerate(found) if not s.person or folds[s.person] != fold]
        sections_of, wanted = [found[i] for i in kept], [every[i] for i in kept]
        nets.append([])
        for seed in range(LipMapConfig().nets):
            nets[-1].append(train_opening(sections_of, wanted, to_gap, seed, folder / f"opening-{fold}-{seed}.pt"))
            print(f"net {seed} of fold {fold} is trained", flush=True)
    return nets


def heard_gap(
    found: list[Section], maps: list[Array], nets: list[list[OpeningNet]], basis: ExpressionBasis
) -> list[Array]:
    """The gap [n] of every section as the map and the nets that left its person out hear it."""
    folds = fold_of([section.person for section in found])
    linear = linear_gap(found, maps, basis)
    return [
        (1 - SHARE) * gap + SHARE * heard_by(nets[folds[section.person]], section)
        for section, gap in zip(found, linear, strict=True)
    ]


def lag_curve(heard: Array, true: Array, reach: int = 10) -> Array:
    """[2 reach + 1] correlation of the lips `lag` frames later with what is heard."""
    curve = []
    for lag in range(-reach, reach + 1):
        a, b = heard[max(0, -lag) : len(heard) - max(0, lag)], true[max(0, lag) : len(true) - max(0, -lag)]
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
    for section, predicted in zip(found, heard, strict=True):
        group = section.clip if frames[section.clip] >= OWN_LAG else section.person
        curves[group].append((len(predicted), lag_curve(predicted, section.gap)))
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
    usual = float(np.mean([np.mean(lags) for lags in by_person.values()]))
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
    true, predicted = by_clip(found, [s.gap for s in found]), by_clip(found, heard)
    voice = by_clip(found, [s.voice for s in found])
    person = {section.clip: section.person for section in found}
    scores: dict[str, list[Array]] = defaultdict(list)
    for clip, gap in true.items():
        if len(gap) < 25 or voice[clip].sum() < 12:
            continue
        ours, strangers = predicted[clip], [o for o in rng.permutation(sorted(predicted)) if person[o] != person[clip]]
        others = [o for o in strangers if len(predicted[o]) >= 25][:12]
        matched = correlation(ours, gap)
        scrambled = np.mean([correlation(predicted[o][: len(gap)], gap[: len(predicted[o])]) for o in others])
        speaking = voice[clip] > 0.5
        spread = np.quantile([ours[speaking], gap[speaking]], QUANTILES, axis=1).T.ravel()
        scores[person[clip]].append(np.array([matched, scrambled, ours.std() / max(gap.std(), 1e-3), *spread]))
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


def calibrate(
    linear: Array, nets: list[OpeningNet], scores: dict[str, float], basis: ExpressionBasis
) -> dict[str, Tensor]:
    """The state of a `LipMap`, from [features * offsets + 1, 9], whose lips close as often and open as far as seen.

    A map that is unsure moves too little around an opening that is too wide. What the bias closes too far, the
    track's own clamp holds at closed.
    """
    gain = (scores["seen_high"] - scores["seen_low"]) / (scores["heard_high"] - scores["heard_low"])
    shut = gain * scores["heard_low"] - scores["seen_low"]
    scaled = linear * np.append(gain * basis.mode_std, 1.0)
    scaled[-1, :LIP_MODES] -= shut * basis.opening
    arrays = {"linear.weight": scaled[:-1].T, "linear.bias": scaled[-1]}
    arrays |= {"gap": gap_of_modes(basis), "opening": basis.opening}
    return {name: torch.from_numpy(value.copy()).float() for name, value in arrays.items()} | shipped(nets, gain, shut)


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
    found = [*plain, *itertools.chain(*altered), *silent_sections(given.cache, NOISE_SHARE)]
    maps, nets = linear_maps(found, basis), opening_nets(found, basis, given.cache)
    print(json.dumps({"linear": measure(plain, linear_gap(plain, maps, basis))}, indent=1), flush=True)
    scores = measure(plain, heard_gap(plain, maps, nets, basis))
    print(json.dumps(scores, indent=1), flush=True)
    frames = sum(len(section.gap) for section in plain)
    about = {"clips": len(lags), "people": len({s.person for s in plain}), "minutes": round(frames / RATE / 60, 1)}
    state = calibrate(maps[-1], nets[-1], scores, basis)
    weights.save(given.out, "speech", state, asdict(LipMapConfig()), CARD | about | {"cross-validation": scores})


if __name__ == "__main__":
    main()
