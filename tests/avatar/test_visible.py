"""Colours of a steep surface are the photo's own: it is drawn out when the head turns."""

import numpy as np

from mggdub.avatar.spots import Spots
from mggdub.avatar.visible import LEEWAY, STEEP_LEEWAY, color_leeway

CM = 0.1  # of a pixel


def test_a_fit_hardly_changes_colours_of_a_steep_surface() -> None:
    across = np.arange(40) * CM
    deep = np.broadcast_to(60 + np.where(across < 2, 0.5 * across, 1 + 4 * (across - 2)), (40, 40)).astype(np.float32)
    columns = np.array([5, 15, 25, 35])
    skin, hair = np.zeros_like(deep), np.ones_like(deep)
    spots = Spots(np.full(4, 20), columns, np.ones(4, np.float32))
    leeway = color_leeway(spots, deep, skin, CM)
    assert np.allclose(leeway, LEEWAY * np.array([1, 1, STEEP_LEEWAY, STEEP_LEEWAY]), rtol=1e-4)
    turned = color_leeway(Spots(columns, np.full(4, 20), np.ones(4, np.float32)), deep.T.copy(), skin, CM)
    assert np.array_equal(turned, leeway)
    assert np.allclose(color_leeway(spots, deep, hair, CM), LEEWAY)
