"""The expression basis from prepared tracks: lip modes, vertex motion, rest estimate, exchange map.

`python -m mggdub.train.expression CLIPS_DIR TRACKS_DIR PHOTOS_DIR WEIGHTS_DIR` (closed form, minutes).
PHOTOS_DIR holds pairs NAME_neutral_ID.jpg and NAME_smiling_ID.jpg of the same people: their rest is known.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from mggdub.face.expression import (
    BLINKS,
    NAME,
    ExpressionBasis,
    driving_units,
    estimate_modes,
    from_tensors,
    lip_gap,
    lip_modes,
    rest_drivers,
    unit_features,
)
from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP, LIDS, canonical_face
from mggdub.train.expression_data import IRISES, Talk, height, is_held_out, mirror_of, read_pairs, read_talks
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, LANDMARKS, LIP_MODES, MOUTH_UNITS, Array
from mggdub.weights import save

LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
MOUTH_CENTRE = np.array([0.0, 4.3])  # cm, x and y in head space
MOUTH_REACH = 4.0  # cm from the centre; the jaw below is part of the region too
OTHER_WEIGHT = 0.3  # of region vertices that are not lips
SHAPE_AXES = 60  # of a lone mesh that the rest estimate looks at
REST_RIDGE = 0.02
DEAD = 0.03  # units that never move more say nothing


def mouth_region(canonical: Array) -> tuple[Array, Array]:
    """Vertices [R] around the mouth and on the jaw, and their weights [R]."""
    near = np.linalg.norm(canonical[:468, :2] - MOUTH_CENTRE, axis=1) < MOUTH_REACH
    below_nose = canonical[:468, 1] > 1.6
    region = np.flatnonzero(near & below_nose | (canonical[:468, 1] > 6.0))
    return region, np.where(np.isin(region, LIPS), 1.0, OTHER_WEIGHT)


def fit_modes(talks: list[Talk], region: Array, weights: Array, mirror: Array) -> tuple[Array, Array]:
    """Modes [8, R, 3] and analysis [R * 3, 8], each mode even or odd in x.

    Principal components of x and y, orthonormal under the weights; depth, which is the face runtime's guess and
    takes up every error of pitch, follows by regression and is not looked at.
    """
    count = len(region)
    scale = np.concatenate([np.repeat(weights, 2), np.ones(count)])
    moment = np.zeros((len(scale), len(scale)))
    for talk in talks:
        for side in (talk.displacement, mirrored(talk.displacement, mirror)):
            mouth = side[:, region]
            flat = np.concatenate([mouth[..., :2].reshape(len(mouth), -1), mouth[..., 2]], 1) * scale
            moment += talk.weight * flat.T @ flat
    power, vectors = np.linalg.eigh(moment[: 2 * count, : 2 * count])
    power, vectors = power[::-1][:LIP_MODES], vectors[:, ::-1][:, :LIP_MODES]  # [R * 2, 8]
    plane = (vectors.T / scale[: 2 * count]).reshape(LIP_MODES, count, 2)
    depth = vectors.T @ moment[: 2 * count, 2 * count :] / power[:, None]  # [8, R]
    modes = np.concatenate([plane, depth[..., None]], -1)
    analysis = (vectors.T * scale[: 2 * count]).reshape(LIP_MODES, count, 2)
    analysis = np.concatenate([analysis, np.zeros((LIP_MODES, count, 1))], -1).reshape(LIP_MODES, -1).T
    where = {int(v): i for i, v in enumerate(region)}
    gap = modes[:, where[INNER_LOWER_LIP], 1] - modes[:, where[INNER_UPPER_LIP], 1]
    lean = np.where(np.abs(gap) > 1e-3, gap, -modes[..., 0].mean(1))
    sign = np.where(lean < 0, -1.0, 1.0)  # even modes open, odd ones go to the viewer's left
    return modes * sign[:, None, None], analysis * sign


def mirrored(displacement: Array, mirror: Array) -> Array:
    """[..., 478, 3] as seen in a mirror."""
    return displacement[..., mirror, :] * np.array([-1, 1, 1], np.float32)


def explained(talks: list[Talk], region: Array, weights: Array, mirror: Array, folds: int = 3) -> dict[str, float]:
    """Share of lip-landmark motion (x and y) that 4 and 8 modes explain on identities they were not fitted on."""
    names = sorted({talk.identity for talk in talks})
    fold = {name: i % folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
    lips = np.isin(region, LIPS)
    plane = np.array([1, 1, 0])
    left, total = np.zeros(2), 0.0
    for k in range(folds):
        modes, analysis = fit_modes([t for t in talks if fold[t.identity] != k], region, weights, mirror)
        for talk in (t for t in talks if fold[t.identity] == k):
            mouth = talk.displacement[:, region]
            values = mouth.reshape(len(mouth), -1) @ analysis
            total += talk.weight * float((mouth[:, lips] ** 2 * plane).sum())
            for j, count in enumerate((4, 8)):
                rest = mouth - np.tensordot(values[:, :count], modes[:count], 1)
                left[j] += talk.weight * float((rest[:, lips] ** 2 * plane).sum())
    return {"lips_explained_by_4": 1 - left[0] / total, "lips_explained_by_8": 1 - left[1] / total}


def unit_mirror() -> Array:
    """[52]: the unit of the other side."""
    swap = {"Left": "Right", "Right": "Left"}
    other = [next((n.removesuffix(s) + t for s, t in swap.items() if n.endswith(s)), n) for n in BLENDSHAPES]
    return np.array([BLENDSHAPES.index(name) for name in other])


def driving_mirror() -> list[int]:
    """[24]: the driving unit of the other side."""
    return [DRIVING_UNITS.index(unit) for unit in unit_mirror()[list(DRIVING_UNITS)]]


def blink_gain(talks: list[Talk], unit_rest: Array) -> Array:
    """[24]: one over the units' rise from rest to a closed eye, for the blinks; 1 elsewhere."""
    gain = np.ones(len(DRIVING_UNITS))
    rises = []
    for blink, pairs in zip(BLINKS, LIDS, strict=True):
        upper, lower = pairs[3]
        for talk in talks:
            eye = talk.displacement + talk.rest
            opening = eye[:, lower, 1] - eye[:, upper, 1]
            shut = opening < 0.15 * np.median(opening)
            if shut.sum() >= 2:
                rises.append(float(np.median(talk.units[shut, DRIVING_UNITS[blink]]) - unit_rest[DRIVING_UNITS[blink]]))
    print(f"closed eyes: {len(rises)} eyes, blink rises by {np.percentile(rises, [10, 50, 90]).round(2)}")
    gain[list(BLINKS)] = 1 / np.median(rises)
    return gain


def fit_motion(
    talks: list[Talk], modes: Array, analysis: Array, region: Array, mirror: Array, gain: Array, ridge: float = 0.02
) -> Array:
    """Motion [32, 478, 3]: ridge regression on the drivers outside the mouth region, the modes inside."""
    odd = sides(modes, region, mirror)
    order = driving_mirror()
    xx, xy = np.zeros((DRIVERS, DRIVERS)), np.zeros((DRIVERS, LANDMARKS * 3))
    for talk in talks:
        units = (talk.units - talk.rest_units)[:, list(DRIVING_UNITS)] * gain
        values = talk.displacement[:, region].reshape(len(units), -1) @ analysis
        for flipped in (False, True):
            x = np.concatenate([units[:, order] if flipped else units, values * (odd if flipped else 1)], 1)
            y = (mirrored(talk.displacement, mirror) if flipped else talk.displacement).reshape(len(x), -1)
            xx += talk.weight * x.T @ x
            xy += talk.weight * x.T @ y
    power = np.diag(xx).copy()
    motion = np.linalg.solve(xx + ridge * np.diag(power + 0.001 * power.max()), xy).reshape(DRIVERS, LANDMARKS, 3)
    motion[: len(DRIVING_UNITS), region] = 0
    motion[len(DRIVING_UNITS) :, region] = modes
    return motion


def mirrored_region(modes: Array, region: Array, mirror: Array) -> Array:
    """Modes [8, R, 3] as seen in a mirror."""
    full = np.zeros((len(modes), LANDMARKS, 3))
    full[:, region] = modes
    return mirrored(full, mirror)[:, region]


def sides(modes: Array, region: Array, mirror: Array) -> Array:
    """[8]: 1 of modes [8, R, 3] that are even in a mirror, -1 of odd ones."""
    return np.asarray(np.sign((modes * mirrored_region(modes, region, mirror)).sum((1, 2))))


def close_lids(motion: Array, rest: Array) -> Array:
    """Blink motion rescaled so that 1 closes the eyes of the mean face: every upper lid point meets its lower one."""
    motion = motion.copy()
    for blink, pairs in zip(BLINKS, LIDS, strict=True):
        side = np.sign(rest[pairs[3][0], 0])
        motion[blink, np.sign(rest[:, 0]) != side] = 0
        upper, lower = pairs[3]
        opening = rest[lower, 1] - rest[upper, 1]
        closing = motion[blink, upper, 1] - motion[blink, lower, 1]
        motion[blink] *= opening / closing
        for upper, lower in pairs:
            motion[blink, upper] = rest[lower] + motion[blink, lower] - rest[upper]
    return motion


def fit_rest(basis: ExpressionBasis, meshes: Array, units: Array, modes: Array, weights: Array) -> dict[str, Array]:
    """The rest estimate: weighted ridge from a lone mesh and its units to lip modes."""
    shape = (meshes - basis.mean_rest).reshape(len(meshes), -1)
    middle = np.average(shape, axis=0, weights=weights)
    root = np.sqrt(weights)[:, None]
    centred = (shape - middle) * root
    power, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes.T[::-1][:SHAPE_AXES] / np.sqrt(power[::-1][:SHAPE_AXES, None] / weights.sum())  # whitened [S, 1434]
    extra = unit_features(basis, units)
    size = np.sqrt(np.average(extra**2, axis=0, weights=weights)) + DEAD
    features = np.concatenate([(shape - middle) @ axes.T, extra / size, np.ones((len(shape), 1))], 1)
    penalty = np.full(features.shape[1], REST_RIDGE * weights.sum())
    penalty[-1] = 0
    solution = np.linalg.solve(
        (features * root).T @ (features * root) + np.diag(penalty), features.T @ (modes * weights[:, None])
    )
    on_mesh = axes.T @ solution[: len(axes)]
    return {
        "rest_mesh_weights": on_mesh,
        "rest_unit_weights": solution[len(axes) : -1] / size[:, None],
        "rest_bias": solution[-1] - middle @ on_mesh,
    }


def fit_basis(talks: list[Talk]) -> ExpressionBasis:
    """Everything from the talks given."""
    vertices, triangles = canonical_face()
    rests, rest_units = _by_identity(talks, "rest"), _by_identity(talks, "rest_units")
    mean_rest = rests.mean(0)
    canonical = np.concatenate([vertices, mean_rest[468:]])
    mirror = mirror_of(canonical)
    mean_rest = (mean_rest + mirrored(mean_rest, mirror)) / 2
    canonical[468:] = mean_rest[468:]
    fans = [[iris[0], iris[1 + i], iris[1 + (i + 1) % 4]] for iris in IRISES for i in range(4)]
    region, weights = mouth_region(canonical)
    modes, analysis = fit_modes(talks, region, weights, mirror)
    units = rest_units.mean(0)
    units = (units + units[unit_mirror()]) / 2
    gain = blink_gain(talks, units)
    motion = close_lids(fit_motion(talks, modes, analysis, region, mirror, gain), mean_rest)
    values, frame_weights, mouth_units = _mouth_samples(talks, region, analysis)
    gap = values @ height(motion[len(DRIVING_UNITS) :])
    opening = (values * (frame_weights * gap)[:, None]).sum(0) / (frame_weights * gap**2).sum()
    odd = sides(modes, region, mirror)
    opening = np.where(odd > 0, opening, 0)
    basis = ExpressionBasis(
        triangles=np.concatenate([triangles, fans]),
        mirror=mirror,
        canonical=canonical,
        mean_rest=mean_rest,
        motion=motion,
        region=region,
        analysis=analysis,
        mode_std=np.sqrt(np.average(values**2, axis=0, weights=frame_weights)),
        opening=opening / (opening @ height(motion[len(DRIVING_UNITS) :])),
        unit_rest=units,
        unit_gain=gain,
        units_to_modes=_ridge(mouth_units, values, frame_weights),
        modes_to_units=_ridge(values, mouth_units, frame_weights),
        closed_gap=np.array(np.median(height(rests))),
        rest_mesh_weights=np.zeros((LANDMARKS * 3, LIP_MODES)),
        rest_unit_weights=np.zeros((2 * len(BLENDSHAPES), LIP_MODES)),
        rest_bias=np.zeros(LIP_MODES),
    )
    return replace(basis, **fit_rest(basis, *_lone_samples(basis, talks)))


def _by_identity(talks: list[Talk], name: str) -> Array:
    """The mean of a field over each person's clips, [people, ...]."""
    people = sorted({talk.identity for talk in talks})
    return np.stack([np.mean([getattr(t, name) for t in talks if t.identity == person], 0) for person in people])


def _mouth_samples(talks: list[Talk], region: Array, analysis: Array) -> tuple[Array, Array, Array]:
    """Modes [N, 8], weights [N] and mouth units above rest [N, 28] of all frames."""
    values = [t.displacement[:, region].reshape(len(t.units), -1) @ analysis for t in talks]
    weights = [np.full(len(t.units), t.weight) for t in talks]
    units = [(t.units - t.rest_units)[:, list(MOUTH_UNITS)] for t in talks]
    return np.concatenate(values), np.concatenate(weights), np.concatenate(units)


def _lone_samples(basis: ExpressionBasis, talks: list[Talk]) -> tuple[Array, Array, Array, Array]:
    """Meshes [N, 478, 3], units [N, 52], true modes [N, 8] and weights [N] of frames seen as lone photos."""
    true = [lip_modes(basis, t.displacement)[::4] for t in talks]
    weights = np.concatenate([np.full(len(t.single), t.weight) for t in talks])
    return (
        np.concatenate([t.single for t in talks]),
        np.concatenate([t.units[::4] for t in talks]),
        np.concatenate(true),
        weights,
    )


def _ridge(x: Array, y: Array, weights: Array, ridge: float = 0.01) -> Array:
    """Linear map [X, Y]; inputs that vary by less than DEAD have little say."""
    moment = (x * weights[:, None]).T @ x
    penalty = ridge * np.diag(moment) + weights.sum() * DEAD**2
    return np.linalg.solve(moment + np.diag(penalty), (x * weights[:, None]).T @ y)


def measure_rest(basis: ExpressionBasis, talks: list[Talk]) -> dict[str, float]:
    """How well the rest estimate finds the modes of lone pictures; gaps in % of the outer eyes' distance."""
    meshes, units, true, weights = _lone_samples(basis, talks)
    eyes = np.linalg.norm(meshes[:, 33] - meshes[:, 263], axis=1)
    guess = {
        "regression": estimate_modes(basis, meshes, units),
        "with_gap": rest_drivers(basis, meshes, units)[:, len(DRIVING_UNITS) :],
        "zero": np.zeros_like(true),
    }
    gap = height(meshes) - basis.closed_gap
    guess["gap_only"] = gap[:, None] * basis.opening
    report: dict[str, float] = {}
    for name, modes in guess.items():
        error = modes - true
        report[f"{name}_mode_error"] = float(np.sqrt(np.average((error**2).sum(1), weights=weights)))
        report[f"{name}_gap_percent"] = float(np.average(np.abs(lip_gap(basis, error)) / eyes, weights=weights) * 100)
        left = np.abs(gap - lip_gap(basis, modes)) / eyes
        report[f"{name}_gap_left_percent"] = float(np.average(left, weights=weights) * 100)
    report["mode_size"] = float(np.sqrt(np.average((true**2).sum(1), weights=weights)))
    return report


def measure_motion(basis: ExpressionBasis, talks: list[Talk]) -> dict[str, float]:
    """Root mean square of vertex motion in x and y, and of what the 32 drivers leave of it, mm per vertex."""
    left = total = lips = lips_total = weight = 0.0
    for talk in talks:
        units = driving_units(basis, talk.units) - driving_units(basis, talk.rest_units)
        drivers = np.concatenate([units, lip_modes(basis, talk.displacement)], 1)
        move = talk.displacement[..., :2]
        error = move - np.tensordot(drivers, basis.motion[..., :2], 1)
        left += talk.weight * float((error**2).sum())
        total += talk.weight * float((move**2).sum())
        lips += talk.weight * float((error[:, list(LIPS)] ** 2).sum())
        lips_total += talk.weight * float((move[:, list(LIPS)] ** 2).sum())
        weight += talk.weight * len(error)
    return {
        "all_mm": 10 * float(np.sqrt(total / weight / LANDMARKS)),
        "all_left_mm": 10 * float(np.sqrt(left / weight / LANDMARKS)),
        "lips_mm": 10 * float(np.sqrt(lips_total / weight / len(LIPS))),
        "lips_left_mm": 10 * float(np.sqrt(lips / weight / len(LIPS))),
    }


def cross_validate(talks: list[Talk], folds: int = 3) -> dict[str, float]:
    """Means over folds of identities, fitted on the others."""
    names = sorted({talk.identity for talk in talks})
    fold = {name: i % folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
    reports = []
    for k in range(folds):
        basis = fit_basis([t for t in talks if fold[t.identity] != k])
        unseen = [t for t in talks if fold[t.identity] == k]
        reports.append(measure_rest(basis, unseen) | measure_motion(basis, unseen))
    return {key: round(float(np.mean([r[key] for r in reports])), 4) for key in reports[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clips", "tracks", "photos", "weights"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    pairs = read_pairs(given.photos)
    talks = read_talks(given.clips, given.tracks)
    frames = sum(len(t.units) for t in talks)
    talks += [pair for pair in pairs if not is_held_out(pair)]
    fitted = fit_basis(talks)
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in asdict(fitted).items()}
    basis = from_tensors({k: t.half().float() if t.is_floating_point() else t for k, t in tensors.items()})
    region, weights = mouth_region(basis.canonical)
    metrics = explained(talks, region, weights, basis.mirror) | cross_validate(talks)
    unseen = [pair for pair in pairs if is_held_out(pair)]
    for name, photos in (("smiles", unseen[::2]), ("neutrals", unseen[1::2])):
        metrics |= {f"unseen_{name}_{key}": round(value, 4) for key, value in measure_rest(basis, photos).items()}
    for key, value in metrics.items():
        print(f"{key}: {value:.4f}")
    card = {
        "what": "Lip modes, vertex motion of 32 drivers, rest estimate and exchange map",
        "trained on": f"{len(talks)} talking clips and photo pairs of {len({t.identity for t in talks})} people, "
        f"{frames} frames; London Set photo pairs (CC BY 4.0) without one person in three",
        "method": "closed form (PCA and ridge regression), under five minutes on two CPU cores",
        "licence": "research use only, see weights/LICENSE",
        "limits": "Adults who speak, mostly seen from the front; fine mouth units are nearly dead in the source.",
        "metrics": metrics,
    }
    save(given.weights, NAME, tensors, {"drivers": DRIVERS}, card)


if __name__ == "__main__":
    main()
