"""Holes are filled with what lies round them: patterns go on, known pixels stay, the same photo gives the same."""

import numpy as np
import pytest

from mggdub.avatar import background
from mggdub.avatar.patches import patch_fill
from mggdub.geometry.sampling import push_pull
from mggdub.types import Array

CM = 0.1


def stripes(size: int = 160) -> Array:
    """Dark and light bars of 10 px with a soft edge."""
    columns = np.arange(size)[None, :, None] / 10 * np.pi
    return np.broadcast_to(0.5 + 0.4 * np.tanh(4 * np.sin(columns)), (size, size, 3)).astype(np.float32).copy()


@pytest.fixture
def hole() -> Array:
    found = np.zeros((160, 160), bool)
    found[50:120, 45:110] = True
    return found


def test_a_pattern_goes_on(hole: Array) -> None:
    image = stripes()
    broken = np.where(hole[..., None], 0, image).astype(np.float32)
    filled, smooth = patch_fill(broken, ~hole, hole, CM), push_pull(broken, (~hole).astype(np.float32))
    off, blurred = (np.sqrt(np.mean((fill[hole] - image[hole]) ** 2)) for fill in (filled, smooth))
    assert off < 0.5 * blurred and filled[hole].std() > 0.8 * image[hole].std()
    assert np.array_equal(filled[~hole], image[~hole])
    assert np.array_equal(filled, patch_fill(broken, ~hole, hole, CM))
    assert filled.min() >= 0 and filled.max() <= 1


def test_what_is_not_wanted_goes_on_smoothly_from_what_is(hole: Array) -> None:
    wanted = hole.copy()
    wanted[60:110, 55:100] = False
    filled = patch_fill(stripes(), ~hole, wanted, CM)
    outside = (~hole | wanted).astype(np.float32)
    assert np.allclose(filled, push_pull(filled, outside), atol=1e-6)
    assert filled[hole & ~wanted].std() < 0.5 * stripes()[hole & ~wanted].std()


def test_a_way_into_a_hole_is_filled_by_one_part_not_by_its_nearest_colours_again_and_again(hole: Array) -> None:
    image = np.full((160, 160, 3), 0.7, np.float32)
    image[:, 24:27] = 0.1  # a post two centimetres beside the hole
    image[40:130, 28:] = 0.7
    filled = patch_fill(np.where(hole[..., None], 0, image).astype(np.float32), ~hole, hole, CM)
    posts = np.diff((filled[70:100, 45:75, 0] < 0.4).astype(int), axis=1) == 1
    assert posts.sum(1).max() <= 1


@pytest.mark.parametrize("case", ["nothing known", "nothing wanted", "small", "no room for a patch", "odd"])
def test_where_no_patch_fits_colours_are_smooth(case: str, hole: Array) -> None:
    image, known, wanted = stripes(), ~hole, hole
    if case == "nothing known":
        known, wanted = np.zeros_like(hole), np.ones_like(hole)
    elif case == "nothing wanted":
        wanted = np.zeros_like(hole)
    elif case == "small":
        image, known, wanted = image[40:70, 40:70], known[40:70, 40:70], wanted[40:70, 40:70]
    elif case == "no room for a patch":
        known = np.zeros_like(hole)
        known[::5] = True
        wanted = ~known
    else:
        image, known, wanted = image[:131, :97], known[:131, :97], wanted[:131, :97]
    filled = patch_fill(image, known, wanted, CM)
    assert filled.shape == image.shape and np.isfinite(filled).all()
    if case != "odd":
        assert np.array_equal(filled, push_pull(image, known.astype(np.float32)))


def test_patches_reach_as_far_as_a_head_uncovers(hole: Array) -> None:
    person, cm = hole.astype(np.float32), 0.1
    filled = background.patched_background(stripes(), hole, person, cm)
    assert filled is not None
    near = hole.copy()
    near[50 + 25 : 120 - 25, 45 + 25 : 110 - 25] = False
    smooth = push_pull(stripes(), (~hole).astype(np.float32))
    assert np.abs(filled - smooth)[near].mean() > 0.1


def test_frames_on_a_wall_go_on_and_detail_that_ends_before_the_head_does_not(hole: Array) -> None:
    rows, columns = np.mgrid[:160, :160]
    wall = np.full((160, 160, 3), 0.8, np.float32)
    wall[(columns < 20) | (rows < 25) | (columns > 130)] = 0.2
    assert background.patched_background(wall, hole, hole.astype(np.float32), CM) is not None
    leaves = wall + np.random.default_rng(0).normal(0, 0.15, wall.shape).astype(np.float32)
    leaves[30:140, 25:130] = 0.6
    assert background.patched_background(leaves, hole, hole.astype(np.float32), CM) is None
