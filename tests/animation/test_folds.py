"""Folds of a smile are lines beside the mouth, and go where a mouth gets narrower."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mggdub.animation.folds import around_folds, find_folds, folds_open, line_depth, open_folds, part_of_drawing
from mggdub.animation.lower_face import inverse
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import MOUTH_CORNERS
from mggdub.geometry.camera import project
from mggdub.types import Array

SKIN, LINE = (200, 160, 140), (150, 110, 95)
FOLD = {"Right": (203, 206, 216, 212), "Left": (423, 426, 436, 432)}  # landmarks along a smile's fold


def drawn_on(avatar: HeadAvatar, side: str, spots: bool = False) -> HeadAvatar:
    """The head as smooth skin with a fold, or with spots instead."""
    box = avatar.box
    ratio = [box.width / box.render_width, box.height / box.render_height]
    marks = project(avatar.mesh[list(FOLD[side])], avatar.camera) * ratio + [box.left, box.top]
    picture = Image.new("RGB", avatar.image.shape[1::-1], SKIN)
    draw = ImageDraw.Draw(picture)
    if spots:
        for x, y in marks.tolist():
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), LINE)
    else:
        draw.line([tuple(point) for point in marks.tolist()], LINE, 2)
    return replace(avatar, image=np.asarray(picture))


def test_a_line_is_deep_and_a_spot_is_not() -> None:
    light = np.ones((40, 60), np.float32)
    light[20, 5:30] = 0.6
    light[19:21, 45:47] = 0.6
    depth = line_depth(light, 9)
    assert depth[20, 10:25] == pytest.approx(0.4) and depth[:, 38:].max() < 1e-6 and depth[:12].max() < 1e-6


@pytest.mark.parametrize("side", FOLD)
def test_a_fold_beside_the_mouth_is_found_and_spots_are_not(avatar: HeadAvatar, side: str) -> None:
    folds = find_folds(drawn_on(avatar, side))
    middle = project(avatar.mesh[MOUTH_CORNERS[0]] / 2 + avatar.mesh[MOUTH_CORNERS[1]] / 2, avatar.camera)[0]
    beside = folds[:, : int(middle)] if side == "Right" else folds[:, int(middle) :]
    assert folds.max() > 0.03 and beside.max() == folds.max() and beside.sum() == pytest.approx(folds.sum())
    assert np.abs(find_folds(drawn_on(avatar, side, spots=True))).max() < 0.3 * folds.max()
    assert not find_folds(replace(avatar, image=np.full_like(avatar.image, 128))).any()


def test_folds_open_where_a_mouth_gets_narrower(avatar: HeadAvatar) -> None:
    right, left = MOUTH_CORNERS

    def moved(wider: float) -> Array:
        displacement = np.zeros_like(avatar.mesh)
        displacement[left, 0], displacement[right, 0] = wider / 2, -wider / 2
        return displacement

    opened = [folds_open(avatar.mesh, moved(wider)) for wider in (0.5, 0, -0.1, -0.25, -0.6, -1)]
    assert opened[:2] == [0, 0] and 0 < opened[2] < opened[3] < 1 and opened[4:] == [1, 1]


def test_folds_go_where_their_place_in_the_photo_goes() -> None:
    drawn = np.zeros((6, 8, 8), np.float32)
    drawn[..., :3], drawn[..., 3], drawn[..., 6], drawn[..., 7] = 0.5, 1, 1, 1
    drawn[..., 4] = 2  # px to the right lies what each pixel shows
    drawn[4, :, 6] = 0  # takes no detail
    folds = np.zeros((6, 8), np.float32)
    folds[2:5, 5] = 0.2
    open_folds(drawn, folds, np.float32(0.5), (0, 0, 8, 6))
    changed = drawn[..., 0] - 0.5
    assert changed[2, 3] == pytest.approx(0.1) and changed[3, 3] == pytest.approx(0.1)
    changed[2:4, 3] = 0
    assert not changed.any() and (drawn[..., 3:] == [1, 2, 0, 1, 1]).all(-1)[[0, 1, 2, 3, 5]].all()


def test_only_what_can_show_folds_is_looked_through(avatar: HeadAvatar) -> None:
    folds = find_folds(drawn_on(avatar, "Left"))
    turn = np.array([[0.9, -0.2, -30.5], [0.2, 0.9, -60.25]])
    around, height, width = around_folds(folds, turn), *folds.shape
    left, top, right, bottom = part_of_drawing(around, inverse(turn), width, height)
    shown = np.argwhere(folds)
    assert (shown.min(0) >= (top + 8, left + 8)).all() and (shown.max(0) < (bottom - 8, right - 8)).all()
    assert (right - left) * (bottom - top) < 0.4 * folds.size
    none = part_of_drawing(around_folds(np.zeros_like(folds), turn), inverse(turn), width, height)
    assert (none[2] - none[0]) * (none[3] - none[1]) <= 1
