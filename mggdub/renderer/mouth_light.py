"""How light a small drawing is between lips, for what is drawn there at the picture's full size."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from mggdub.compiled import compiled
from mggdub.geometry.sampling import between

BLUR, REACH = 2.0, 5  # px of a drawing: standard deviation of its light's blur, and how far it goes
DARKEST, MOUTH_LIGHT = 0.003, (0.4, 2.5)  # of 0..1, added to what is compared; the least and the largest factor
BELL = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / BLUR) ** 2).astype(np.float32)


@compiled(boundscheck=False, fastmath=True)
def compare_light(drawn, small, left, top, light):
    """Fill factors light [r, c, 3]: by how much a drawing [h, w, 8] is lighter from `left`, `top` on than `small`.

    small [r, c, 4]: red, green, blue, and how far within the lips. Both are blurred first, and count as far as no splat
    with a place covers them.
    """
    rows, columns = small.shape[0], small.shape[1]
    reach = len(BELL) // 2
    both, wide = np.empty((rows, columns, 6), np.float32), np.zeros((rows, columns, 6), np.float32)
    for i in range(rows):
        for j in range(columns):
            pixel = drawn[top + i, left + j]
            share = min(max(pixel[7] - pixel[3], np.float32(0)), np.float32(1)) * small[i, j, 3]
            for c in range(3):
                both[i, j, c], both[i, j, 3 + c] = share * pixel[c], share * small[i, j, c]
    for i in range(rows):
        for j in range(columns):
            for k in range(max(0, j - reach), min(columns, j + reach + 1)):
                for c in range(6):
                    wide[i, j, c] += BELL[k - j + reach] * both[i, k, c]
    total, darkest = np.empty(6, np.float32), np.float32(DARKEST)
    low, high = np.float32(MOUTH_LIGHT[0]), np.float32(MOUTH_LIGHT[1])
    for i in range(rows):
        for j in range(columns):
            total[:] = darkest
            for k in range(max(0, i - reach), min(rows, i + reach + 1)):
                for c in range(6):
                    total[c] += BELL[k - i + reach] * wide[k, j, c]
            for c in range(3):
                light[i, j, c] = min(max(total[c] / total[3 + c], low), high)


@compiled(boundscheck=False, fastmath=True)
def relight(colors, small, light, cells, corner, ratio, out):
    """Fill out [R, C, 7] with colours [R, C, 4] and with small [r, c, 4] enlarged, both times light [r, c, 3].

    cells (left, top, step) of `colors`; small and light begin at `corner` of the drawing; ratio [2, 2]: px of the
    picture in one of the drawing, right and down, and where the first of them begins.
    """
    left, top, step = cells
    rows, columns = light.shape[0], light.shape[1]
    for i in range(colors.shape[0]):
        v = (top + (i + 0.5) * step - ratio[1, 1]) / ratio[0, 1] - corner[1] - 0.5
        v = min(max(v, 0.0), rows - 1.0)
        above = min(int(v), max(rows - 2, 0))
        below, t = min(above + 1, rows - 1), np.float32(v - above)
        for j in range(colors.shape[1]):
            u = (left + (j + 0.5) * step - ratio[1, 0]) / ratio[0, 0] - corner[0] - 0.5
            u = min(max(u, 0.0), columns - 1.0)
            before = min(int(u), max(columns - 2, 0))
            after, s = min(before + 1, columns - 1), np.float32(u - before)
            out[i, j, 3] = colors[i, j, 3]
            for c in range(3):
                factor = _between(light, above, below, before, after, t, s, c)
                out[i, j, c] = colors[i, j, c] * factor
                out[i, j, 4 + c] = _between(small, above, below, before, after, t, s, c) * factor


@compiled(boundscheck=False, fastmath=True, forceinline=True)
def _between(picture, above, below, before, after, t, s, c):
    """A channel of a picture between two rows, t of the way down, and two columns, s of the way to the right."""
    high, deep = picture[above], picture[below]
    return between(high[before, c], high[after, c], deep[before, c], deep[after, c], s, t)
