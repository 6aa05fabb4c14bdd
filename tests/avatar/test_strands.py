"""Single hairs before a wall go along with the head; edges, leaves and what lies before a busy wall do not."""

import numpy as np

from mggdub.avatar.strands import FILM, strand_film
from mggdub.types import Array

CM = 0.1
ROWS, COLUMNS = np.mgrid[:240, :240]
HEAD = np.hypot(ROWS - 130, COLUMNS - 120) < 50
STRAND = ~HEAD & (np.abs(COLUMNS - 178) < 1) & (ROWS > 100) & (ROWS < 140)


def film(*dark: Array, plain: float = 1.0, shade: float = 0.05) -> Array:
    """Of a wall that shades to the right, with a head and what is a little darker than the wall."""
    picture = 0.7 + shade * COLUMNS / 240 + np.random.default_rng(0).normal(0, 0.003, HEAD.shape)
    for part in dark:
        picture[part] -= 0.04
    picture[HEAD] = 0.15
    image, matte = np.repeat(picture[..., None], 3, 2).astype(np.float32), HEAD.astype(np.float32)
    return strand_film(image, matte, matte, plain, CM)


def test_a_faint_strand_has_a_film_that_is_hardly_wider() -> None:
    found = film(STRAND)
    assert np.allclose(found[STRAND], FILM, atol=0.02)
    assert not found[(np.abs(COLUMNS - 178) > 5) & ~HEAD].any() and not found[HEAD].any()


def test_without_strands_there_is_none() -> None:
    assert not film().any()
    specks = STRAND & (ROWS % 9 == 0)
    assert not film(specks).any()


def test_edges_and_what_goes_on_beyond_all_hair_are_no_strands() -> None:
    curtain = ~HEAD & (COLUMNS > 176)
    shelf = ~HEAD & (np.abs(ROWS - 130) < 1) & (COLUMNS > 172)
    assert not film(curtain)[60:200].any() and not film(shelf).any()
    fold = np.abs(COLUMNS - 190) < 1
    assert not film(fold).any() and not film(fold & (ROWS > 110) & (ROWS < 150)).any()


def test_elsewhere_a_room_may_be_busy_but_not_beside_the_strand() -> None:
    poster = (COLUMNS > 225) & (ROWS % 20 < 10)
    assert np.allclose(film(STRAND, poster, plain=0.0)[STRAND], FILM, atol=0.02)
    leaves = np.random.default_rng(1).random(HEAD.shape) < 0.5
    assert film(STRAND, leaves & ~HEAD, leaves & (ROWS % 2 > 0), leaves & (COLUMNS % 3 > 0), plain=0.0).max() < 0.05


def test_only_a_wall_beside_the_head_counts() -> None:
    everywhere = np.ones_like(HEAD, np.float32)
    assert not strand_film(np.zeros((240, 240, 3), np.float32), everywhere, everywhere, 1.0, CM).any()
