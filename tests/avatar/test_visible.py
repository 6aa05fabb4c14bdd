"""What is steep is drawn out when a head turns: its colours are the photo's own, and hair that hangs is less so."""

import numpy as np

from mggdub.avatar.spots import Spots
from mggdub.avatar.visible import LEEWAY, STEEP_LEEWAY, _hanging, color_leeway
from mggdub.face.mesh import EAR_LOBES
from mggdub.types import CLOTHES, HAIR

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


def test_hair_below_the_ears_hangs_and_collars_and_hair_above_do_not() -> None:
    landmarks, labels = np.zeros((478, 3), np.float32), np.zeros((256, 256, 6), np.float32)
    landmarks[list(EAR_LOBES), 1] = 256  # crop px: half of the way down
    labels[:, 60:100, HAIR], labels[:, 180:190, HAIR], labels[:, 190:, CLOTHES] = 1, 0.8, 1
    hanging = _hanging(labels, landmarks, CM)
    assert hanging[:100].max() < 0.01 and hanging[160:, 70:90].min() > 0.99
    assert hanging[:, 186:].max() < 0.5 and hanging[:, 110:170].max() < 0.01
