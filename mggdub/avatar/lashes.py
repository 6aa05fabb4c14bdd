"""The lashes of a closed eye: how far they hang below the lid's margin, and what they cover there."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array

DARK = 0.33  # of an open lid's height, by which the dark of lashes ends below the margin, where they are longest
SHORTEST = 0.12  # of that, where the eye ends
TIPS, TIPS_FORWARD = 0.8, 0.5  # cm that their tips hang, and stand out from the skin below, which would hide them
TIPS_COVER = (0, 0.2, 0.35, 0.5, 0.65, 0.8, 1), (0.4, 0.33, 0.25, 0.18, 0.1, 0.04, 0)  # by the way to the tips
LEAN = 0.5  # power of the way along the lid: they are longest at a quarter of it from the outer corner
# Of the way along, over which a closed lid comes in from the outer corner, where no lashes are, and over which they
# end at the inner one.
OUTER_END, INNER_END = 0.2, 0.12
BROADEST = 9  # columns, odd: what is dark and narrower along a lid is lashes, not a fold, a rim or a brow
DARKER = 0.04  # of light, by which those are darker than what they stand before


def lash_height(high: Array) -> Array:
    """[C] px: what lashes are measured by, of a lid that is `high` [C] px: most in the eye's outer part."""
    return np.asarray(high * (SHORTEST + (1 - SHORTEST) * _arch(len(high), 0.6)))


def tips_below(columns: int) -> Array:
    """[C] cm below the margin, where lashes end."""
    return TIPS * _arch(columns, 0.5)


def lashes_cover(fringe: Array, down: Array, high: Array) -> Array:
    """[R, C]: what lashes cover of what is `fringe` [R] of the way to their tips, `down` [R, C] px below the margin.

    high [C] px is an open lid's height.
    """
    dark = smoothstep((1 - down / (DARK * lash_height(high))) / 0.7)
    along = np.linspace(0, 1, len(high))
    ends = comes_in(len(high)) * smoothstep((1 - along) / INNER_END)
    return np.asarray(ends * np.maximum(dark, np.interp(fringe, *TIPS_COVER)[:, None]))


def comes_in(columns: int) -> Array:
    """[C]: how much of a closed lid there is, from the outer corner on."""
    return smoothstep(np.linspace(0, 1, columns) / OUTER_END)


def _arch(columns: int, power: float) -> Array:
    """[C]: how long lashes are along an eye, 1 where they are longest."""
    return np.asarray(np.sin(np.pi * np.linspace(0, 1, columns) ** LEAN).clip(0) ** power)


def stand_before(shown: Array) -> Array:
    """[R, C] bool: where lashes stand up before what the photo shows above a margin, [R, C, 3], column by column."""
    behind = ndimage.grey_closing(shown, (1, BROADEST, 1))
    return np.asarray(ndimage.binary_dilation((behind - shown).mean(-1) > DARKER, np.ones((1, 3), bool)))
