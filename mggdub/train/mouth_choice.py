"""Whose mouths suit others: every person's open mouths painted with the states of everybody else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mggdub.avatar.lips import LIP_TIP, MIDDLE, Lips, lips_of
from mggdub.avatar.mouth import mouth_size, paint_places, relative_light
from mggdub.evaluation.perceptual import Lpips
from mggdub.metrics.pixels import grey
from mggdub.networks.mouth import MouthAtlas
from mggdub.train.mouth_states import RAISED, Frames, X, Y, lip_mask
from mggdub.types import Array

ROWS, COLUMNS = slice(8, 80), slice(16, 112)  # of a picture, around its mouth
TRIED = 2  # mouths of a person that are painted
SEEN = 0.35  # cm, from which gap on
USUAL_LEVEL = 1.05
WRONG_COST, BLUR_COST = 0.1, 0.06  # of LPIPS, for each e-fold of contrast or level and of missing sharpness
SHARP = 1.7  # of the true sharpness, before splats soften it
DULL_COST = 0.08  # of LPIPS, for a mouth that shows nothing of what mouths show
FEWEST_OPEN, FEWEST_CM = 4, 0.45  # states that are open by so many cm
FEWEST = 60  # px inside the lips that are judged


@dataclass(frozen=True, eq=False)
class Sample:
    """One open mouth that is painted anew."""

    picture: Array  # [h, w, 3] uint8
    mask: Array  # [h, w] inside the lips
    lips: Array  # [2, 11, 2] cm, raised as an avatar's are
    out: float  # cm
    rest: Array  # [478, 3]
    places: Array  # [h, w, 2] cm
    down: Array  # [h, w] 0..1
    skin: Array  # [3] 0..1


def samples(frames: Frames, count: int = TRIED) -> list[Sample]:
    """Mouths of one person, from hardly open to wide open; none of somebody who shows too few."""
    lips = np.array([lips_of(mesh, rest) for mesh, rest in zip(frames.mesh, frames.rest, strict=True)])
    gaps = lips[:, 1, MIDDLE, 1] - lips[:, 0, MIDDLE, 1]
    order = np.argsort(gaps, kind="stable")
    order = order[gaps[order] > SEEN]
    if len(order) < count:
        return []
    chosen = order[np.linspace(0.15 * len(order), len(order) - 1, count).astype(int)]
    skin = np.median(frames.skin, 0) / 255
    return [_sample(frames, int(k), lips[k], float(gaps[k]), skin) for k in chosen]


def _sample(frames: Frames, k: int, lips: Array, gap: float, skin: Array) -> Sample:
    raised = lips[0, MIDDLE - 1 : MIDDLE + 2, 1].mean() - RAISED * gap
    off = np.array([lips[:, [0, -1], 0].mean(), raised])  # of the landmarks' tremble, which avatars do not have
    upper, lower = (np.interp(X, lip[order, 0], lip[order, 1]) for lip in lips for order in [np.argsort(lip[:, 0])])
    down = np.clip((Y[:, None] - upper) / np.maximum(lower - upper, 0.05), 0, 1)
    places = np.stack(np.meshgrid(X, Y), -1) - off
    out = float(frames.mesh[k, LIP_TIP, 2] - frames.rest[k, LIP_TIP, 2])
    parts = (frames.pictures[k], lip_mask(lips) > 0)
    cut = [part[ROWS, COLUMNS] for part in (*parts, places, down)]
    return Sample(cut[0], cut[1], lips - off, out, frames.rest[k], cut[2], cut[3], skin)


def painted(atlas: MouthAtlas, person: int, sample: Sample) -> Array:
    """[h, w, 3] uint8: the sample's picture with a mouth of the atlas."""
    lips = Lips(sample.lips, sample.out, mouth_size(atlas, person, sample.rest))
    colours = paint_places(atlas, person, lips, sample.places, sample.down)
    colours = 255 * colours * relative_light(atlas, person, sample.skin)
    share = (ndimage.gaussian_filter(sample.mask.astype(np.float32), 0.7) * sample.mask)[..., None]
    return (sample.picture * (1 - share) + colours * share).clip(0, 255).round().astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Trial:
    """How P people of an atlas serve Q others; NaN where there is nothing to see."""

    lpips: Array  # [P, Q] to the true pictures
    inside: Array  # [P, Q, 3] spread, level and sharpness inside the lips over the true ones


def tried(atlas: MouthAtlas, everybody: list[list[Sample]], lpips: Lpips) -> Trial:
    """Paint everybody's samples with everybody of the atlas."""
    apart = np.full((atlas.config.people, len(everybody)), np.nan)
    inside = np.full((*apart.shape, 3), np.nan)
    for q, mouths in enumerate(everybody):
        for p in range(len(apart) if mouths else 0):
            pictures = [painted(atlas, p, one) for one in mouths]
            apart[p, q] = np.mean([lpips.distance(a, one.picture) for a, one in zip(pictures, mouths, strict=True)])
            numbers = [inner_numbers(a, one) for a, one in zip(pictures, mouths, strict=True)]
            if measured := [n for n in numbers if n is not None]:
                inside[p, q] = np.median(measured, 0)
    return Trial(apart, inside)


def costs(trial: Trial, showing: Array) -> Array:
    """[P] what taking a person costs, in LPIPS.

    LPIPS against a frame whose teeth lie elsewhere rewards blur, so contrast, level and sharpness count beside it, and
    `showing` [P].
    """
    served = np.isfinite(trial.lpips).any(0)
    lpips, inside = trial.lpips[:, served], trial.inside[:, served]
    apart = np.nanmean(lpips - np.nanmean(lpips, 0, keepdims=True), 1)
    spread, level, sharp = np.nanmedian(inside, 1).T
    wrong = np.abs(np.log(spread)) + np.abs(np.log(level / USUAL_LEVEL))
    blur = np.maximum(np.log(SHARP / sharp), 0)
    return np.asarray(apart + WRONG_COST * wrong + BLUR_COST * blur + DULL_COST * (1 - showing))


def showing(atlas: MouthAtlas, person: int) -> float:
    """0..1: how well a person's states show what a mouth should look like: white teeth, dark, detail, wide openings."""
    skin = atlas.skins[person].numpy()
    every = [_tones(atlas, person, k, skin) for k in range(atlas.config.states)]
    tones = np.array([tone for tone in every if tone is not None])
    if len(tones) < FEWEST_OPEN:
        return 0.0
    bright, dark, tint, detail = np.median(tones, 0)
    widest = float(atlas.shapes[person, :, 0].max())
    parts = (
        *((bright - 0.6) / 0.3, (1.9 - bright) / 0.6, (0.55 - dark) / 0.2),
        *((tint - 0.9) / 0.2, (1.75 - tint) / 0.3, detail / 0.025, (widest - 0.8) / 0.8),
    )
    return float(np.prod(np.clip(parts, 0, 1)))


def _tones(atlas: MouthAtlas, person: int, state: int, skin: Array) -> list[float] | None:
    """Bright and dark luma and its detail over the skin's, and how blue what is bright is; None of a small mouth."""
    edges, margin, rows = atlas.edges[person, state].numpy(), atlas.config.margin, atlas.config.rows
    tall = edges[1] - edges[0]
    below = ((np.arange(rows) + 0.5) / rows)[:, None] * (tall + 2 * margin) - margin
    inside = (below > 0.05) & (tall - below > 0.05) & (tall > 0.25)
    if float(atlas.shapes[person, state, 0]) < FEWEST_CM or inside.sum() < FEWEST:
        return None
    picture = atlas.pictures[person, state].permute(1, 2, 0).numpy() / 255
    luma = grey(picture) / grey(skin)
    low, high, top = np.percentile(luma[inside], [8, 92, 85])
    bright = picture[inside & (luma > top)].mean(0)
    both = inside[:, 1:] & inside[:, :-1]
    detail = float(np.abs(np.diff(luma, axis=1))[both].mean())
    return [float(high), float(low), float(bright[2] / bright[0] / (skin[2] / skin[0])), detail]


def inner_numbers(picture: Array, sample: Sample) -> tuple[float, float, float] | None:
    """Spread, level and sharpness of luma inside the lips, over those of the truth; None of too few pixels."""
    mask = ndimage.binary_erosion(sample.mask)
    if mask.sum() < FEWEST:
        return None
    ours, true = grey(picture), grey(sample.picture)
    edges = [ndimage.gaussian_laplace(luma, 1.0)[mask].var() for luma in (ours, true)]
    spread, level = ours[mask].std() / max(true[mask].std(), 1), ours[mask].mean() / max(true[mask].mean(), 1)
    return float(spread), float(level), float(edges[0] / max(edges[1], 0.1))
