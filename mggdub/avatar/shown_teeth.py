"""What a photo's own mouth says of its teeth: how light they are, and where the two rows end.

A mouth is a picture [3, R, C] laid out by its lips, `shown` [R, C] is where the photo shows it, 0..1, and `skin` [3]
the colour of lit skin; sRGB 0..1. Lips [2, 11, 2] are cm in a mouth of usual width.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.avatar.lips import lip_edges, lower_level, picture_places
from mggdub.avatar.teeth import LOWER, UPPER, opening_light, tooth_tone
from mggdub.metrics.pixels import grey
from mggdub.types import Array

FEWEST = 100  # pixels of a mouth that must be seen to learn from them
TEETH = 0.6  # of the skin's luma, that teeth have at least
DIM, BRIGHT = 0.1, 0.98  # quantiles of a mouth's luma; teeth are nearer to the second
PALE = 0.95  # of red over green, as skin has it, that teeth stay below
FEWEST_TEETH = 0.03  # of a mouth that is seen, or it shows none
FRONT, MOST_COLUMNS = 0.7, 0.5  # cm to either side, where teeth end alike; of its columns, that must show them
EDGE_ROWS = 4  # of a mouth's picture, in which it mixes with the lips
LEVELS = (-0.5, 0.8)  # cm, least and most of where upper teeth end
LOWER_LEVELS = (-0.8, 0.0)  # and lower ones
DARK, DARKNESS = 0.34, 0.25  # of the luma of teeth, below which there are none; cm of that: less is a lip's shadow
WHOLE, TOOTH_ROWS, LINE = 0.4, 4, 0.1  # of columns that show a tooth; rows of either; how dark a line between both is
OWN_TONE = 0.8  # share of the photo's own teeth in what is known of their colour
DIMMEST = 0.9  # of full light, that a photo's own teeth are taken to have at least


def tone_of_teeth(skin: Array, photo_mouth: Array, pale: Array, open_by: Array) -> Array:
    """[3] sRGB of front teeth in full light, beside lit skin and as the photo shows them, if it does.

    pale [R, C] bool, of `shown_teeth`; open_by: cm, of `mouth.opening`.
    """
    usual = tooth_tone(skin)
    if not pale.any():
        return usual
    teeth = np.median(photo_mouth[:, pale], 1)
    teeth /= max(float(opening_light(float(open_by))), DIMMEST)
    return np.asarray((teeth + 0.01) ** OWN_TONE * usual ** (1 - OWN_TONE), np.float32)


def shown_teeth(skin: Array, photo_mouth: Array, shown: Array) -> Array:
    """[R, C] bool: teeth of a photo's own mouth, nowhere if it shows none."""
    seen, luma = shown > 0.5, grey(np.moveaxis(photo_mouth, 0, -1))
    if seen.sum() < FEWEST:
        return np.zeros_like(seen)
    bright = luma >= np.quantile(luma[seen], (DIM, BRIGHT)).mean() - 1e-4
    pale = seen & bright & (photo_mouth[0] * skin[1] < PALE * skin[0] * photo_mouth[1])
    if pale.sum() < max(FEWEST, FEWEST_TEETH * seen.sum()) or np.median(luma[pale]) < TEETH * grey(skin):
        return np.zeros_like(seen)
    return pale


def levels_of_teeth(skin: Array, photo_mouth: Array, shown: Array, pale: Array, lips: Array) -> Array:
    """[2] cm: where upper teeth end below the middle of the closed lips, and lower ones from the lower lip.

    As the photo shows it, or where they usually do; pale [R, C] bool, of `shown_teeth`. Where its mouth is dark, upper
    teeth end above.
    """
    span, edges = lip_edges(lips, shown.shape[1])
    places = picture_places(span, edges, shown.shape[0])
    front = np.abs(places[0, :, 0] - places[0, :, 0].mean()) < FRONT
    down, lip = places[:, front, 1], float(lower_level(lips))
    teeth = ndimage.binary_closing(pale[:, front], np.ones((5, 3)))
    luma, level = np.median(grey(np.moveaxis(photo_mouth[:, :, front], 0, -1)), 1), np.median(down, 1)  # of rows
    dark = (luma < DARK * grey(tooth_tone(skin))) & (np.median(shown[:, front], 1) > 0)
    upper, lower = _upper_end(teeth, down), _lower_end(teeth, down - lip)
    meet = _where_rows_meet(teeth, luma)
    if meet is not None and level[meet] < upper:
        upper, lower = float(level[meet]), float(level[meet]) - lip
    upper = min(upper, _first_darkness(dark, level))
    return np.array([np.clip(upper, *LEVELS), np.clip(lower, *LOWER_LEVELS)], np.float32)


def _upper_end(teeth: Array, down: Array) -> float:
    """Cm where upper teeth end, of teeth [R, C] at places that are `down` [R, C] cm.

    Those that go down to the lower lip end there or below.
    """
    first, rows = teeth.argmax(0), np.arange(len(teeth))[:, None]
    ends = np.where(~teeth & (rows > first), rows, len(teeth)).min(0)  # of the uppermost row of them
    has = teeth.any(0) & (first < len(teeth) // 2)
    if has.mean() < MOST_COLUMNS:
        return UPPER.level
    level = float(np.median(down[np.clip(ends[has] - 1, 0, len(teeth) - 1), np.flatnonzero(has)]))
    covered = np.median(ends[has]) >= len(teeth) - EDGE_ROWS
    return max(level, UPPER.level) if covered else level


def _lower_end(teeth: Array, down: Array) -> float:
    """Cm where lower teeth end, otherwise as for `_upper_end`: something that is no tooth parts them from the upper."""
    rows = np.arange(len(teeth))[:, None]
    last = len(teeth) - 1 - teeth[::-1].argmax(0)
    begin = np.where(~teeth & (rows < last), rows, -1).max(0) + 1  # of the lowermost row of them
    has = teeth.any(0) & (last >= len(teeth) // 2) & (begin >= len(teeth) // 3)
    if has.mean() < MOST_COLUMNS:
        return LOWER.level
    return float(np.median(down[begin[has], np.flatnonzero(has)]))


def _where_rows_meet(teeth: Array, luma: Array) -> int | None:
    """The row of a picture in which upper teeth [R, C] meet lower ones: a darker line between both, of `luma` [R]."""
    full = teeth.mean(1) >= WHOLE
    above = np.maximum.accumulate(np.where(full, luma, 0))
    below = np.maximum.accumulate(np.where(full, luma, 0)[::-1])[::-1]
    count = np.cumsum(full)
    enough = (count >= TOOTH_ROWS) & (count[-1] - count >= TOOTH_ROWS)
    darker = np.where(enough, np.minimum(above, below) - luma, 0)
    return int(darker.argmax()) if darker.max() > LINE * luma.max() else None


def _first_darkness(dark: Array, down: Array) -> float:
    """Cm where the uppermost DARKNESS of `dark` rows [R] begins that are so far `down` [R] cm, inf: nowhere."""
    labels, count = ndimage.label(dark)
    for part in range(1, count + 1):
        rows = down[labels == part]
        if rows[-1] - rows[0] >= DARKNESS:
            return float(rows[0])
    return np.inf
