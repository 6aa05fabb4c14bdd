"""What a matte takes for hair, and is background."""

import numpy as np

from mggdub.avatar.outline import background_share
from mggdub.types import Array

CM = 0.1
ROWS, COLUMNS = np.mgrid[:200, :200]
HEAD = np.hypot(ROWS - 120, COLUMNS - 100) < 50
HIGH, INSIDE = np.full((200, 200), -1.0), np.full((200, 200), 5.0)


def share(picture: Array, matte: Array, above: Array = HIGH) -> Array:
    return background_share(picture.astype(np.float32), matte, matte, INSIDE, above, CM)


def wall(colour: tuple[float, float, float] = (0.5, 0.6, 0.4)) -> Array:
    noise = np.random.default_rng(0).normal(0, 0.06, (200, 200, 3))
    return np.where(HEAD[..., None], 0.15, np.array(colour)) + noise


def test_a_haze_with_the_wall_s_colours_is_no_head_and_hair_with_the_head_s_stays() -> None:
    haze = ~HEAD & (np.abs(COLUMNS - 100) < 30) & (ROWS > 20) & (ROWS < 120)
    matte = np.where(HEAD, 1.0, np.where(haze, 0.8, 0)).astype(np.float32)
    far = haze & (np.hypot(ROWS - 120, COLUMNS - 100) > 57)
    assert share(wall(), matte)[far].min() > 0.7 and share(wall(), matte)[HEAD].max() < 0.05
    hair = np.where(haze[..., None], 0.15, wall())
    assert share(hair, matte)[far & (ROWS > 30) & (np.abs(COLUMNS - 100) < 20)].max() < 0.05  # not at its corners
    between = np.where(haze[..., None], 0.28, wall())
    high = haze & (ROWS < 50) & (ROWS > 30)
    assert share(between, matte)[high].max() < 0.05
    assert share(between, matte, 12 - 0.1 * ROWS)[high].min() > 0.7  # nobody's hair is so high, if it may be none


def test_a_narrow_blob_is_no_head_and_a_strand_of_hair_is() -> None:
    for width, kept in ((12, False), (3, True)):
        part = ~HEAD & (np.abs(COLUMNS - 100) <= width // 2) & (ROWS > 45) & (ROWS < 120)
        matte = np.where(HEAD, 1.0, np.where(part, 0.8, 0)).astype(np.float32)
        found = share(np.where(part[..., None], 0.15, wall()), matte)[50:62, 100]
        assert (found.max() < 0.3) if kept else (found.min() > 0.9)


def test_before_a_plain_wall_thin_hair_stays_and_haze_goes() -> None:
    plain = np.where(HEAD[..., None], 0.15, 0.7) + np.random.default_rng(0).normal(0, 0.003, (200, 200, 3))
    lock = ~HEAD & (np.abs(COLUMNS - 100) <= 6) & (ROWS > 45) & (ROWS < 120)
    matte = np.where(HEAD, 1.0, np.where(lock, 0.6, 0)).astype(np.float32)
    thin = np.where(lock[..., None], 0.55, plain)  # most of what shines through it is wall
    assert share(plain, matte)[50:62, 100].min() > 0.95 and share(thin, matte)[50:62, 100].max() < 0.2


def test_where_a_matte_is_sure_or_shows_no_background_nothing_changes() -> None:
    assert share(wall(), HEAD.astype(np.float32)).max() < 0.05
    assert not share(wall(), np.ones((200, 200), np.float32)).any()
    assert not background_share(np.zeros((2, 2, 3)), *(np.ones((2, 2)),) * 4, CM).any()
