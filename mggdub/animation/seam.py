"""The line where lips meet, of mouths that were open in the photo, which shows none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggdub.avatar.mouth import PARTED, SEEN_GAP
from mggdub.compiled import compiled
from mggdub.face.mesh import INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array

DARK = 0.45  # of what is seen there, that the line takes
WIDTH = 0.006  # of the outer-eye distance, its standard deviation
COARSE = 0.6  # px of a drawing, below which a line is drawn wider, and fainter
GONE = 0.25  # cm that lips are apart, where the dark behind them is seen instead
STEPS = 32  # along it, where its level is known
ENDS = 0.12  # of its length, over which it begins and ends


class Seam(NamedTuple):
    """Where the line lies in a window of the lower face, px."""

    ends: Array  # [2] left and right
    levels: Array  # [STEPS + 1] from one to the other
    share: float  # how dark it is
    width: float  # standard deviation


def find_seam(
    mesh: Array, displacement: Array, photo_mouth: float, inside: Array, to_drawing: Array, unit: float
) -> Seam:
    """Of a photo's mesh [478, 3] cm that moves by `displacement` [478, 3] cm; `photo_mouth` of its own is still seen.

    inside [20, 2] px of a window are the inner lips, `unit` px of it an outer-eye distance, and to_drawing [2, 3] leads
    from there to px of the drawing.
    """
    apart = mesh[INNER_LOWER_LIP] - mesh[INNER_UPPER_LIP]
    now = apart[1] + displacement[INNER_LOWER_LIP, 1] - displacement[INNER_UPPER_LIP, 1]
    parted = float(smoothstep((np.linalg.norm(apart) - PARTED) / (SEEN_GAP - PARTED)))
    share = DARK * parted * float(smoothstep(1 - now / GONE)) * (1 - photo_mouth)
    half = len(INNER_LIPS) // 2
    ends = np.sort(inside[[0, half], 0])
    places = np.linspace(ends[0], ends[1], STEPS + 1)
    lips = (inside[: half + 1], np.concatenate([inside[half:], inside[:1]]))
    levels = [np.interp(places, *lip[np.argsort(lip[:, 0])].T) for lip in lips]
    width = max(WIDTH * unit, COARSE / float(np.sqrt(abs(np.linalg.det(to_drawing[:, :2])))))
    return Seam(ends.astype(np.float32), np.mean(levels, 0).astype(np.float32), share * WIDTH * unit / width, width)


@compiled(boundscheck=False, fastmath=True)
def darken(drawn, from_drawing, reach, ends, levels, share, width):  # type: ignore[no-untyped-def]
    """Darken the colours of drawn [h, w, 8] where a seam is; from_drawing [2, 3] leads to px of its window, float32.

    reach: left, top, right and bottom px of the drawing, within which the window lies.
    """
    left, top, right, bottom = reach
    one, steps = np.float32(1), np.float32(len(levels) - 1)
    across = one / max(ends[1] - ends[0], np.float32(1e-3))
    for i in range(top, bottom):
        for j in range(left, right):
            x, y = np.float32(j) + np.float32(0.5), np.float32(i) + np.float32(0.5)
            along = (from_drawing[0, 0] * x + from_drawing[0, 1] * y + from_drawing[0, 2] - ends[0]) * across
            if along <= 0 or along >= 1:
                continue
            v = from_drawing[1, 0] * x + from_drawing[1, 1] * y + from_drawing[1, 2]
            at = along * steps
            before = min(np.int32(at), np.int32(len(levels) - 2))
            level = levels[before] + (levels[before + 1] - levels[before]) * (at - np.float32(before))
            away = (v - level) / width
            if abs(away) < 3:
                near = min(min(along, one - along) / np.float32(ENDS), one)
                left_over = one - share * near * np.exp(np.float32(-0.5) * away * away)
                for c in range(3):
                    drawn[i, j, c] *= left_over
