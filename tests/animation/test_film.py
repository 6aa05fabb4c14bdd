"""The film over single strands fades on the side that turns into view, and only there."""

from dataclasses import replace

import numpy as np
import pytest

from mggdub.animation.animate import posed_gaussians
from mggdub.animation.film import film_shown, film_sides, head_view
from mggdub.avatar.values import HeadAvatar
from mggdub.models import Models
from mggdub.types import ExpressionTrack


@pytest.fixture(scope="module")
def filmed(avatar: HeadAvatar) -> HeadAvatar:
    return replace(avatar, film=slice(0, avatar.hidden.start))


def test_a_side_that_turns_into_view_loses_its_film(filmed: HeadAvatar) -> None:
    sides, x = film_sides(filmed), filmed.crop_uv[filmed.film, 0] - 0.5
    beside = (filmed.head_share[filmed.film] > 0.97) & (filmed.crop_uv[filmed.film, 1] > 0.5)
    for yaw in (-20.0, 20.0):  # to the viewer's right shows more of the left
        shown = film_shown(sides, head_view(filmed.camera, np.array([0, yaw, 0])))
        comes = x * yaw < 0
        assert not shown[beside & comes & (abs(x) > 0.1)].any()
        assert (shown[beside & ~comes] == 1).all()


def test_a_face_that_sinks_loses_the_film_of_its_crown(filmed: HeadAvatar) -> None:
    down = film_shown(film_sides(filmed), head_view(filmed.camera, np.array([25.0, 0, 0])))
    above = filmed.crop_uv[filmed.film, 1] < 0.2
    assert down[above & (abs(filmed.crop_uv[filmed.film, 0] - 0.5) < 0.1)].max() == 0


def test_at_rest_and_in_small_turns_all_of_it_shows(filmed: HeadAvatar) -> None:
    sides = film_sides(filmed)
    for turn in ((0, 0, 0), (4, 5, 20), (-4, -5, -20)):
        assert (film_shown(sides, head_view(filmed.camera, np.array(turn))) == 1).all()


def test_splats_fade_and_no_others(filmed: HeadAvatar, models: Models) -> None:
    half = replace(filmed, film=slice(100, filmed.hidden.start // 2))
    turns = np.array([[0, 20, 0]], np.float32)
    track = ExpressionTrack(np.zeros(1), np.zeros((1, 52), np.float32), np.zeros((1, 8), np.float32), turns)
    none = replace(filmed, film=slice(0, 0))
    faded, whole = (next(posed_gaussians(head, models, track)).opacities.numpy() for head in (half, none))
    share = film_shown(film_sides(half), head_view(half.camera, turns[0]))
    assert faded[half.film] == pytest.approx(whole[half.film] * share, abs=1e-6) and share.min() == 0
    faded[half.film] = whole[half.film]
    assert np.array_equal(faded, whole)
