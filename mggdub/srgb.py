"""sRGB's values and the light they stand for (IEC 61966-2-1), both 0..1."""

from __future__ import annotations

import numpy as np

from mggdub.types import Array


def light_of(values: Array) -> Array:
    """The light, of white, of sRGB's values [...]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def values_of(light: Array) -> Array:
    """sRGB's values of light [...], of white."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
