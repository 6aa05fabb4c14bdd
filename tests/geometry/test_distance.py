"""Distances are exact."""

import numpy as np
import pytest
from scipy import ndimage

from mggdub.geometry.distance import distance_inside


@pytest.mark.parametrize("share", [0.003, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (64, 111), (130, 50)])
def test_distances_are_scipys_to_the_last_bit(shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(round(1000 * share) + shape[0])
    for _ in range(20):
        mask = rng.random(shape) > share
        np.testing.assert_array_equal(distance_inside(mask), ndimage.distance_transform_edt(mask))


def test_shapes_and_views_of_them() -> None:
    y, x = np.mgrid[:120, :160]
    mask = np.hypot(y - 50, x - 70) < 45
    for view in (mask, mask[::-1], mask.T, mask[::3, 5:77], mask.astype(np.uint8), ~mask):
        np.testing.assert_array_equal(distance_inside(view), ndimage.distance_transform_edt(view))


def test_nothing_outside_is_as_scipy_has_it() -> None:
    mask = np.ones((5, 7), bool)
    np.testing.assert_array_equal(distance_inside(mask), ndimage.distance_transform_edt(mask))
    assert not distance_inside(~mask).any()
