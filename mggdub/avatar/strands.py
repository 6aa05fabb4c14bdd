"""Single strands of hair before a plain background, too thin and too faint for any matte."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.avatar.visible import body_edge, variation
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array

THIN = 0.25  # cm, wider than a strand
FAINT, SIGMAS = 0.012, 3.0  # of luma: the least that a strand differs by, and times of what a background does
LONG, REACH = 0.6, (3.0, 5.0)  # cm of the least strand, and from full to no reach beside the head
GAP = 0.2  # cm between parts of one thing
BEGINS, LONGEST, LEAVES = 1.0, 6.0, 1.5  # cm from a head: within which hair begins and ends; where it leaves no picture
PLAIN, CALM, CALM_AROUND = 0.95, (0.03, 0.05), 1.0  # how plain all is; of colours within so many cm, where it is not
AROUND = 0.12  # cm that a film is wider than its strand; then it fades over twice as much
FILM = 0.3  # opacity from which all of the detail shows (`animation/compositor.py`: COVERED), and hardly a colour


def strand_film(image: Array, matte: Array, person: Array, plain: float, cm: float) -> Array:
    """[h, w] float32 0..FILM: opacity of a film in the background's colours that takes strands along with the head.

    image [h, w, 3], matte of the head and person [h, w] 0..1; plain 0..1, how plain the background is; cm of a pixel.
    Strands are lines, darker or lighter than what lies beside them: edges are none. Nor are leaves and edges of sofas,
    which hang together with what lies farther from a head than hair does, or go on beyond the picture.
    """
    free = (person < 0.02) & (matte < 0.02)
    away = distance_inside(matte < 0.5) * cm
    if not free.any():
        return np.zeros_like(matte)
    luma, size = image.mean(-1), 2 * max(1, round(THIN / cm / 2)) + 1
    line = np.maximum(ndimage.grey_closing(luma, size) - luma, luma - ndimage.grey_opening(luma, size))
    calm = free & (away > REACH[1])
    usual = float(np.median(line[calm if calm.any() else free]))
    fine = (line > max(FAINT, SIGMAS * usual)) & (person - matte < 0.05) & (matte < 0.5)
    fine &= ~body_edge(matte, person, cm)
    fine &= _long(fine, LONG / cm) & _near(fine, away, GAP / cm)
    if not fine.any():
        return np.zeros_like(matte)
    near = np.clip(1.5 - distance_inside(~fine) * cm / AROUND / 2, 0, 1)
    if plain < PLAIN:
        near *= _plain_nearby(image, free & (near == 0), cm)
    return (FILM * near * smoothstep((REACH[1] - away) / (REACH[1] - REACH[0]))).astype(np.float32)


def _plain_nearby(image: Array, free: Array, cm: float) -> Array:
    """[h, w] 0..1: how plain the background is round a place of an image [h, w, 3], where it is `free` [h, w] bool."""
    seen = ndimage.gaussian_filter(free.astype(np.float32), CALM_AROUND / cm)
    spread = variation(image, free, CALM_AROUND / cm)
    return smoothstep((CALM[1] - spread) / (CALM[1] - CALM[0])) * smoothstep(seen / 0.1 - 1)


def _long(lines: Array, least: float) -> Array:
    """[h, w] bool: parts of lines [h, w] bool that are `least` px long."""
    parts, _ = ndimage.label(lines, np.ones((3, 3), bool))
    spans = [0.0] + [float(np.hypot(*(side.stop - side.start for side in box))) for box in ndimage.find_objects(parts)]
    return np.asarray(np.array(spans)[parts] > least)


def _near(lines: Array, away: Array, gap: float) -> Array:
    """[h, w] bool: where parts of lines [h, w] bool, with gaps of `gap` px, begin at the head and end beside it."""
    wide = ndimage.binary_dilation(lines, iterations=max(1, round(gap / 2)))
    parts, _ = ndimage.label(wide)
    edge = np.ones_like(lines)
    edge[1:-1, 1:-1] = False
    near, far = wide & (away < BEGINS), (away > LONGEST) | (edge & (away > LEAVES))
    return np.isin(parts, parts[near]) & ~np.isin(parts, parts[wide & far]) & wide
