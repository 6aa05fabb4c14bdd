"""What a matte takes for hair, and is background."""

import numpy as np

from mggdub.avatar.beyond import _round_ends, arc_height
from mggdub.avatar.outline import background_share, stands_out
from mggdub.types import Array

CM = 0.1
ROWS, COLUMNS = np.mgrid[:200, :200]
HEAD = np.hypot(ROWS - 120, COLUMNS - 100) < 50
HIGH, INSIDE = np.full((200, 200), -1.0), np.full((200, 200), 5.0)


def share(picture: Array, matte: Array, above: Array = HIGH) -> Array:
    picture = picture.astype(np.float32)
    return background_share(picture, matte, matte, INSIDE, above, standing_out(picture, matte), CM)


def standing_out(picture: Array, matte: Array, cm: float = CM) -> Array:
    return stands_out(picture.astype(np.float32), matte, matte, cm)


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
    assert not background_share(np.zeros((2, 2, 3)), *(np.ones((2, 2)),) * 5, CM).any()


def test_hair_that_a_matte_lacks_stands_out_from_a_plain_wall_and_not_from_a_busy_one() -> None:
    """The wall shades from side to side; a tenth of what the matte takes for background is hair."""
    hair = ~HEAD & (np.hypot(ROWS - 60, COLUMNS - 150) < 22)
    shaded = 0.5 + 0.002 * COLUMNS[..., None] + np.random.default_rng(0).normal(0, 0.004, (200, 200, 3))
    matte = HEAD.astype(np.float32)
    found = standing_out(np.where((HEAD | hair)[..., None], 0.15, shaded), matte)
    beside = ~HEAD & ~hair & (np.hypot(ROWS - 120, COLUMNS - 100) > 54) & (np.hypot(ROWS - 60, COLUMNS - 150) > 26)
    core = hair & (np.hypot(ROWS - 60, COLUMNS - 150) < 19) & (np.hypot(ROWS - 120, COLUMNS - 100) > 53)
    assert found[core].min() > 0.95 and found[beside].max() < 0.1
    busy = np.where((HEAD | hair)[..., None], 0.15, wall())
    assert standing_out(busy, matte).max() < 0.05
    assert not standing_out(shaded, np.ones((200, 200), np.float32)).any()


def test_a_head_that_hardly_touches_the_picture_s_edge_hardly_goes_on_beyond_it() -> None:
    """A round head, cut over a width of w, reaches beyond the edge by what is missing to its circle."""
    reach = [arc_height(half) for half in (0.3, 2.0, 5.0, 9.0, 20.0)]
    assert reach[0] < 0.25 and 0.3 < reach[1] < 0.7 and 2 < reach[2] < 3 and reach[3] == reach[4] > 9


def test_a_plant_that_touches_a_head_is_no_hair() -> None:
    """Leaves are thick 8 cm beside a head, a lock 3 cm, and a single strand reaches farther than both."""
    leaves = ~HEAD & (np.abs(ROWS - 100) < 8) & (COLUMNS > 140) & (COLUMNS % 14 > 3)
    lock = ~HEAD & (np.abs(ROWS - 100) < 8) & (COLUMNS > 34) & (COLUMNS < 60)
    strand = ~HEAD & (np.abs(ROWS - 130) < 2) & (COLUMNS < 60)
    picture = 0.7 + np.random.default_rng(0).normal(0, 0.004, (200, 200, 3))
    picture[HEAD | leaves | lock | strand] = 0.15
    found = standing_out(picture, HEAD.astype(np.float32), 0.15)
    assert found[96:104, 160:190].max() < 0.05
    assert found[96:104, 38:52].min() > 0.95 and found[130, 5:40].min() > 0.95


def test_a_sofa_s_back_that_goes_on_beyond_the_picture_is_no_hair() -> None:
    """It is thick beside the head and shades into the wall farther on, but for its upper edge."""
    sofa = ~HEAD & (ROWS > 108) & np.where(COLUMNS > 35, ROWS < 130, ROWS < 111) & (COLUMNS < 60)
    picture = 0.7 + np.random.default_rng(0).normal(0, 0.004, (200, 200, 3))
    picture[HEAD | sofa] = 0.15
    assert standing_out(picture, HEAD.astype(np.float32), 0.15)[112:126, 20:40].max() < 0.05


def test_a_sofa_beside_a_body_is_no_hair_although_it_is_near_that_body() -> None:
    body = (ROWS > 150) & (np.abs(COLUMNS - 100) < 90) & ~HEAD
    sofa = (ROWS > 138) & ~HEAD & ~body
    picture = 0.7 + np.random.default_rng(0).normal(0, 0.004, (200, 200, 3))
    picture[HEAD | body | sofa] = 0.15
    person, head = (part.astype(np.float32) for part in (HEAD | body, HEAD))
    found = stands_out(picture.astype(np.float32), person, head, 0.15)
    assert found[141:146, 5:30].max() < 0.05 and found[80:135, 90:110].min() > 0.9


def test_of_a_head_of_few_pixels_all_is_known() -> None:
    rng = np.random.default_rng(0)
    for step in (10, 14, 18, 25):  # 20 to 8 px of a head of 10 cm
        picture, matte = wall()[::step, ::step].astype(np.float32), HEAD[::step, ::step].astype(np.float32)
        matte = np.clip(matte + rng.uniform(-0.04, 0.1, matte.shape), 0, 1).astype(np.float32)
        room = (part[::step, ::step] for part in (INSIDE, HIGH))
        standing = standing_out(picture, matte, step * CM)
        assert np.isfinite(background_share(picture, matte, matte, *room, standing, step * CM)).all()


def test_an_ear_at_the_edge_of_a_picture_is_not_drawn_out() -> None:
    edge = np.zeros(200, bool)
    edge[10:16], edge[60:160] = True, True  # an ear and a cheek
    high = _round_ends(edge)
    assert not high[~edge].any() and high[10:16].max() <= 3 and high[10] < 1.7
    assert 49 < high[60:160].max() <= 50 and high[60] < 8
