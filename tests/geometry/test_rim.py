"""A surface is evened along its outline, not across it, and goes on beyond it without steps."""

import numpy as np
import pytest

from mggdub.geometry.rim import DEEP, beyond_outline, even_rim, no_steeper
from mggdub.types import Array

CM, SIZE = 0.1, 120
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
RADIUS = np.hypot(ROWS - 60, COLUMNS - 60) * CM
MASK = RADIUS < 4.5
BALL = 100 - np.sqrt(np.maximum(5.0**2 - RADIUS**2, 0))


@pytest.fixture(scope="module")
def saw() -> Array:
    """Another depth in every third row, near the outline."""
    return np.where(RADIUS > 3.5, np.random.default_rng(0).normal(0, 0.5, SIZE // 3 + 1)[ROWS // 3], 0)


def test_teeth_along_an_outline_are_evened(saw: Array) -> None:
    at = MASK & (RADIUS > 4.2) & (np.abs(ROWS - 60) < 25)
    before, after = saw[at], (even_rim(BALL + saw, MASK, CM) - BALL)[at]
    assert after.std() < 0.6 * before.std()


def test_a_surface_bends_away_as_it_did() -> None:
    even = even_rim(BALL, MASK, CM)
    assert np.abs(even - BALL)[MASK].max() < 0.15
    deep = RADIUS < 4.5 - DEEP - CM
    assert np.array_equal(even[deep], BALL[deep]) and np.array_equal(even[~MASK], BALL[~MASK])


def test_it_goes_on_without_steps(saw: Array) -> None:
    whole = beyond_outline(BALL + saw, MASK, CM)
    assert np.array_equal(whole[MASK], (BALL + saw)[MASK])
    step = np.abs(np.diff(whole, axis=0))
    far = (RADIUS > 5.5)[1:] & (COLUMNS < 20)[1:]
    near = (~MASK & (RADIUS < 4.7))[1:] & (COLUMNS < 20)[1:]
    assert step[far].max() < 0.1 < step[near].max()


def test_hair_that_hangs_lies_no_farther_behind_than_beside() -> None:
    """A cheek that ends in a steep slope; what is nearer outside the mask does not count."""
    steep = 50 + 0.5 * np.maximum(COLUMNS - 60, 0)
    mask, hair = COLUMNS < 110, (ROWS > 60) * 1.0
    wall = np.where(mask, steep, 10.0)
    even = no_steeper(wall, mask, hair, CM, 60)
    assert np.array_equal(even[:61], wall[:61])
    assert np.allclose(even[61:][mask[61:]], (50 + CM * np.maximum(COLUMNS - 60, 0))[61:][mask[61:]])
    short = no_steeper(wall, mask, hair, CM, 5)
    assert np.allclose(short[90, 100], wall[90, 95] + 5 * CM)  # only what lies within the reach counts
