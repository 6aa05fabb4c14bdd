from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from scipy import ndimage

from mggdub.avatar.box import RenderView
from mggdub.avatar.plate import (
    bare_throat,
    behind_jaw,
    below_shoulders,
    make_plate,
    neck_fill,
    plate_alpha,
    visible_body,
)
from mggdub.avatar.transparency import opaque_colors
from mggdub.avatar.visible import foreground, rim, with_wisps
from mggdub.face.mesh import CHIN_TIP
from mggdub.geometry.camera import cm_per_px, crop_camera
from mggdub.geometry.sampling import push_pull
from mggdub.types import Array, Crop


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 64)])
def test_a_plain_wall_is_filled_with_itself(size: tuple[int, int]) -> None:
    wall = np.full((*size, 3), (0.2, 0.5, 0.7), np.float32)
    known = np.zeros(size, np.float32)
    known[0, 0] = 1
    broken = wall * known[..., None]
    assert push_pull(broken, known) == pytest.approx(wall, abs=1e-5)


def test_known_pixels_stay_and_the_fill_lies_between_them() -> None:
    picture = np.zeros((40, 60, 1), np.float32)
    picture[:, 30:] = 1
    known = np.ones((40, 60), np.float32)
    known[10:30, 20:40] = 0
    filled = push_pull(picture, known)
    assert np.array_equal(filled[known == 1], picture[known == 1])
    inside = filled[known == 0]
    assert inside.min() >= 0 and inside.max() <= 1
    assert filled[20, 21, 0] < filled[20, 38, 0]


def test_nothing_known_leaves_the_picture() -> None:
    picture = np.random.default_rng(0).random((9, 9, 3)).astype(np.float32)
    assert np.array_equal(push_pull(picture, np.zeros((9, 9), np.float32)), picture)


def test_the_plate_is_the_photo_outside_the_hole_and_has_no_head_inside() -> None:
    picture = np.full((64, 64, 3), 0.8, np.float32)
    picture[16:48, 16:48] = (0.9, 0.1, 0.1)  # the head
    person = (picture[..., 1] < 0.5).astype(np.float32)
    hole = np.zeros((64, 64), bool)
    hole[12:52, 12:52] = True
    plate = make_plate(picture, hole, person, np.zeros((64, 64), np.float32), np.zeros((64, 64), bool))
    assert np.array_equal(plate[~hole], picture[~hole])
    assert plate[20:44, 20:44] == pytest.approx(0.8, abs=0.02)


def test_behind_a_chin_there_is_skin_not_the_collar_below() -> None:
    picture = np.full((96, 96, 3), 0.9, np.float32)
    picture[10:60, 28:68] = (0.8, 0.5, 0.4)  # head and neck
    picture[60:, 10:86] = 0.05  # a black jumper
    person = (picture[..., 0] < 0.85).astype(np.float32)
    hole, neck, throat = np.zeros((3, 96, 96), bool)
    hole[6:64, 24:72], neck[40:64, 28:68], throat[48:58, 32:64] = True, True, True
    plate = make_plate(picture, hole, person, neck.astype(np.float32), throat)
    assert plate[44:50, 40:56] == pytest.approx(np.broadcast_to(picture[50, 48], (6, 16, 3)), abs=0.05)
    bare = make_plate(picture, hole, person, neck.astype(np.float32), np.zeros_like(throat))
    assert bare[44:50, 40:56].max() < 0.3  # the jumper's colour, where nothing bare is known
    assert np.array_equal(plate[~hole], picture[~hole])


def test_the_rim_has_the_colour_of_the_hair_not_of_the_old_background() -> None:
    rows, columns = np.mgrid[:96, :96] - 47.5
    distance = 30 - np.hypot(rows, columns)
    truth, told = np.clip(distance / 6, 0, 1), np.clip(distance / 2, 0, 1)  # the matte takes the rim for solid
    white, hair = np.ones((96, 96, 3), np.float32), np.full((96, 96, 3), 0.2, np.float32)
    photo = (white + (hair - white) * truth[..., None]).astype(np.float32)
    own = foreground(photo, told, white)
    at_rim = (distance > 2) & (distance < 4)
    assert own[at_rim].max() > 0.5
    colors, opacity = rim(photo, own, told.astype(np.float32), white, told < 0.05, np.ones((96, 96)), 5)
    assert colors[at_rim].max() < 0.3
    assert opacity[at_rim].max() < truth[at_rim].max()
    same, _ = rim(hair, hair, told.astype(np.float32), hair, told < 0.05, np.ones((96, 96)), 5)
    assert np.abs(same - hair).max() < 1e-6


def test_a_rim_that_the_matte_explains_has_the_hairs_colour_too() -> None:
    rows, columns = np.mgrid[:96, :96] - 47.5
    truth = np.clip((30 - np.hypot(rows, columns)) / 6, 0, 1).astype(np.float32)
    white, hair = np.ones((96, 96, 3), np.float32), np.full((96, 96, 3), 0.2, np.float32)
    photo = (white + (hair - white) * truth[..., None]).astype(np.float32)
    colors, _ = rim(photo, photo, truth, white, truth < 0.05, np.ones((96, 96)), 3)
    soft = (truth > 0.1) & (truth < 0.8)
    assert photo[soft].max() > 0.9 and colors[soft].max() < 0.25


SHOULDERS = np.zeros((100, 100), np.float32)  # of the head's motion


def wall_with_a_head(pattern: Array) -> tuple[Array, Array, Array]:
    """A dark head with one hair beside it before a wall [100, 100, 3]; where the hair is; the head's matte."""
    rows, columns = np.mgrid[:100, :100]
    head = np.hypot(rows - 50, columns - 40) < 25
    hair = (columns == 68) & (rows > 30) & (rows < 70) & ~head
    picture = pattern.copy()
    picture[head | hair] = 0.1
    return picture.astype(np.float32), hair, head.astype(np.float32)


def test_thin_hair_beside_a_head_goes_with_it() -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, (100, 100, 3))
    picture, hair, head = wall_with_a_head(0.7 + noise)
    matte = with_wisps(picture, head, head, np.zeros_like(head), SHOULDERS, 0.1)
    assert matte[hair].min() > 0.5 and matte[(head == 0) & ~hair].max() < 0.05
    assert np.array_equal(matte[head == 1], head[head == 1])
    clothes = np.maximum(head, hair).astype(np.float32)
    other = with_wisps(picture, head, clothes, head, SHOULDERS, 0.1)
    assert other[hair].max() == 0  # what is another part of the person is no hair


def test_a_lock_that_stands_out_goes_with_the_head_however_far_it_reaches() -> None:
    rows, columns = np.mgrid[:100, :100]
    head = (np.hypot(rows - 50, columns - 40) < 25).astype(np.float32)
    lock = (np.abs(rows - 50) < 3) & (columns > 60) & (columns < 92)
    apart = (np.abs(rows - 20) < 3) & (columns > 70) & (columns < 90)
    picture = (0.7 + np.random.default_rng(0).normal(0, 0.005, (100, 100, 3))).astype(np.float32)
    picture[(head > 0) | lock | apart] = 0.1
    standing = (lock | apart).astype(np.float32)
    matte = with_wisps(picture, head, head, standing, SHOULDERS, 0.1)
    assert matte[lock & (columns < 90)].min() > 0.9 and matte[apart].max() == 0
    assert with_wisps(picture, head, head, np.zeros_like(head), SHOULDERS, 0.1)[lock & (columns > 80)].max() == 0


def test_a_shoulder_is_no_lock_and_a_hood_goes_with_its_head() -> None:
    """A shirt of the hair's colour hangs together with the head before a plain wall."""
    rows, columns = np.mgrid[:100, :100]
    head = (np.hypot(rows - 50, columns - 40) < 25).astype(np.float32)
    beside = (np.abs(rows - 60) < 8) & (columns > 55) & (head == 0)
    picture = (0.7 + np.random.default_rng(0).normal(0, 0.005, (100, 100, 3))).astype(np.float32)
    picture[(head > 0) | beside] = 0.1
    standing = beside.astype(np.float32)
    dressed = np.maximum(head, standing)
    assert with_wisps(picture, head, dressed, standing, SHOULDERS, 0.1)[beside].max() == 0
    assert with_wisps(picture, head, dressed, standing, SHOULDERS + 1, 0.1)[beside & (columns < 90)].min() > 0.9
    assert with_wisps(picture, head, head, standing, SHOULDERS, 0.1)[beside & (columns < 90)].min() > 0.9


def test_a_busy_background_is_not_taken_for_hair() -> None:
    picture, _, head = wall_with_a_head(np.random.default_rng(0).choice([0.1, 0.9], (100, 100, 1)).repeat(3, 2))
    assert with_wisps(picture, head, head, np.zeros_like(head), SHOULDERS, 0.1)[head == 0].max() < 0.05


def test_beside_the_neck_there_is_no_skin_of_the_throat() -> None:
    picture = np.full((96, 96, 3), 0.9, np.float32)
    picture[10:60, 28:68], picture[60:, 10:86] = (0.8, 0.5, 0.4), 0.05
    person = (picture[..., 0] < 0.85).astype(np.float32)
    hole, neck, throat, column = np.zeros((4, 96, 96), bool)
    hole[6:64, 24:72], neck[40:64, 28:68], throat[48:58, 32:64], column[:, 40:56] = True, True, True, True
    plate = make_plate(picture, hole, person, neck.astype(np.float32), throat, None, column.astype(np.float32))
    assert plate[46:54, 42:54, 0].min() > 0.6 and plate[46:54, 29:38].max() < 0.3
    assert plate[46:54, 58:67].max() < 0.3


def test_a_polo_neck_that_is_called_skin_is_no_throat() -> None:
    view, person, _ = beside_a_collar(40)
    view.head.landmarks[CHIN_TIP, :2] = 50, 20
    spreads = np.ones((100, 100), np.float32)
    spreads[70:] = 9  # black
    found = bare_throat(view, person, np.zeros((100, 100)), spreads)
    assert found[60:68].any() and not found[70:].any()
    assert bare_throat(view, person, np.zeros((100, 100)), None)[70:90].any()  # the face's colours are not known


def test_a_body_that_the_matte_half_doubts_is_seen_where_its_colours_are_not_the_walls() -> None:
    picture, person, hole = (
        np.full((100, 100, 3), 0.8, np.float32),
        np.zeros((100, 100), np.float32),
        np.zeros((100, 100), bool),
    )
    person[70:], picture[70:] = 1, 0.2
    hole[:75, 40:60] = True
    person[50:70, 30:40], picture[50:70, 30:40] = 0.3, 0.2  # a dark collar
    person[50:70, 70:80] = 0.3  # a wall
    body = visible_body(picture, person, hole, 0.1)
    assert body[52:, 31:40].min() == 1 and np.array_equal(body[:, 60:], person[:, 60:])
    person[55:65, 35:40] = 0  # the dark inside of the collar, between it and the head
    assert visible_body(picture, person, hole, 0.1)[56:64, 36:40].min() == 1
    assert np.array_equal(visible_body(picture, np.ones_like(person), hole, 0.1), np.ones_like(person))


def test_the_bright_edge_of_a_collar_that_the_matte_lacks_is_body_and_a_wall_s_pattern_is_none() -> None:
    person, picture = np.zeros((100, 100), np.float32), np.full((100, 100, 3), 0.8, np.float32)
    person[60:], picture[60:] = 1, 0.1
    picture[54:60, 20:40] = (0.5, 0.5, 0.6)  # its edge, of which the matte has nothing
    hole = np.zeros((100, 100), bool)
    hole[:75, 40:60] = True
    body = visible_body(picture, person, hole, 0.1)
    assert body[54:, 20:40].min() == 1 and body[:54].max() == 0 and body[:60, 60:].max() == 0
    busy = np.random.default_rng(0).choice([0.2, 0.8], (100, 100, 1)).repeat(3, 2).astype(np.float32)
    assert np.array_equal(visible_body(np.where(person[..., None] > 0, picture, busy), person, hole, 0.1), person)


def test_a_neck_that_turns_with_the_head_leaves_background_at_its_sides() -> None:
    width = np.zeros(100, np.float32)
    width[20:80] = 1
    fill = neck_fill(width, np.repeat([[1.0], [0.0]], 100, 1), 0.2)
    assert fill[0, [21, 25, 74, 78]].max() < 0.05 and fill[0, 50] == 1
    assert (fill[1] == width).all()
    assert neck_fill(np.zeros(100, np.float32), np.ones((2, 100)), 0.2).max() == 0


def beside_a_collar(nose: float) -> tuple[RenderView, Array, Array]:
    """A body whose collar stands higher on the left, a head before both, with its hole; the nose's row."""
    rows, columns = np.mgrid[:100, :100]
    head = (columns > 35) & (columns < 65) & (rows > 10) & (rows < 85)
    body = rows > np.where(columns < 50, 60, 70)
    marks = np.zeros((478, 3), np.float32)
    marks[:, 0], marks[:, 1] = np.linspace(38, 62, 478), nose
    camera = crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    seen, cm = SimpleNamespace(landmarks=marks, camera=camera, crop=Crop(0, 0, 100)), cm_per_px(camera)
    view = SimpleNamespace(crop_px=np.stack([columns, rows], -1), crop_px_per_px=1.0, head=seen, cm_per_px=cm)
    return cast(RenderView, view), (head | body).astype(np.float32), ndimage.binary_dilation(head, iterations=2)


def test_a_collar_goes_on_behind_the_head() -> None:
    view, person, hole = beside_a_collar(40)
    below = below_shoulders(view, person, hole)
    assert below[55:58, 34:66].max() < 0.3 and below[73:, 34:66].min() == 1  # above both shoulders, below both
    assert below[66, 36] == 1 and below[66, 64] < 0.5  # beside the higher one, beside the lower one
    middle = below[:, 50]
    assert 63 < (middle < 0.5).sum() < 68 and (np.diff(middle) >= 0).all()
    assert below[:59].max() == 0  # nothing of a head above
    view.head.landmarks[:, 0] -= 80
    assert below_shoulders(view, person, hole)[:, 40:].max() == 0  # far beside the face hair hangs


@pytest.mark.parametrize(("angle", "turns"), [(90.0, -1), (180.0, 2), (-90.0, 1), (-70.0, 1), (30.0, 0)])
def test_shoulders_of_a_head_that_lies_in_the_picture_lie_beside_it(angle: float, turns: int) -> None:
    view, person, hole = beside_a_collar(40)
    upright = below_shoulders(view, person, hole)
    view.head.crop, view.crop_px = replace(view.head.crop, angle=angle), np.rot90(view.crop_px, turns)  # type: ignore[misc]
    lying = below_shoulders(view, np.rot90(person, turns), np.rot90(hole, turns))
    assert upright.any() and np.array_equal(lying, np.rot90(upright, turns))


def test_a_shoulder_goes_on_as_high_as_it_is_just_beside_the_head() -> None:
    view, person, hole = beside_a_collar(40)
    before = below_shoulders(view, person, hole)
    person[60:66, 31:34] = 0  # its last columns are half the head's
    assert not hole[60:66, 31:34].any()
    assert np.array_equal(below_shoulders(view, person, hole)[:, 36:64], before[:, 36:64])


def test_what_a_lock_hides_of_a_shoulder_is_shoulder_however_far_beside() -> None:
    view, person, hole = beside_a_collar(40)
    view.head.landmarks[:, 0] += 200
    hole[:, 5:9] = False
    assert below_shoulders(view, person, hole)[:, 5:9].max() == 0
    hole[int(62 + 1 / view.cm_per_px) :, 5:9] = True
    below = below_shoulders(view, person, hole)[:, 5:9]
    assert below[hole[:, 5:9]].min() > 0.95 and below[~hole[:, 5:9]].max() == 0


def test_clothes_beside_a_neck_do_not_rise_above_their_end() -> None:
    view, person, _ = beside_a_collar(40)
    clothes = np.zeros((100, 100), np.float32)
    clothes[60:, :36] = 1
    body = behind_jaw(view, np.ones_like(person), clothes, np.zeros_like(person))
    per_cm = 1 / view.cm_per_px
    assert body[80, 36] > 0.9 and body[80, int(36 + 1.5 * per_cm)] == 0  # goes on beside, and ends
    assert body[int(59 - 0.6 * per_cm), :40].max() == 0


def test_what_stands_higher_than_the_nose_is_no_shoulder() -> None:
    view, person, hole = beside_a_collar(90)
    assert below_shoulders(view, person, hole).max() == 0
    person[:, :34] = person[:, 66:] = 0
    assert below_shoulders(beside_a_collar(40)[0], person, hole).max() == 0  # no body is seen


def test_colours_come_from_opaque_pixels_only() -> None:
    """Under a soft edge a colour may be anything: right, dark since it was multiplied twice, or left over."""
    size, hair = 48, np.array([0.3, 0.2, 0.1], np.float32)
    away = np.hypot(*(np.mgrid[:size, :size] - size / 2 + 0.5))
    alpha = np.clip((16 - away) / 6, 0, 1).astype(np.float32)
    for below in (hair, hair * alpha[..., None], np.array([0.0, 1.0, 0.0])):
        colours = np.where(alpha[..., None] > 0.8, hair, below)
        found = opaque_colors((colours * alpha[..., None] + 1 - alpha[..., None]).astype(np.float32), alpha)
        assert np.abs(found - hair).max() < 0.02
    even = np.full((size, size, 3), 0.5, np.float32)
    assert opaque_colors(even, np.full((size, size), 0.6, np.float32)) == pytest.approx((0.5 - 0.4) / 0.6, abs=1e-4)


def test_a_plate_is_as_transparent_as_what_lies_beside_the_head() -> None:
    size = 64
    away = np.hypot(*(np.mgrid[:size, :size] - size / 2 + 0.5))
    person = (away < 14).astype(np.float32)
    hole, none = away < 18, np.zeros((size, size), np.float32)
    assert plate_alpha(person, hole, person, none)[hole].max() < 0.05  # cut out: nothing behind the head
    soft = np.clip((15.4 - away) / 1.4, 0, 1).astype(np.float32)  # and of edges that the matte lacks
    assert plate_alpha(soft, hole, person, none)[hole].max() < 0.05
    cut_round = (away < 28).astype(np.float32)
    np.testing.assert_array_equal(plate_alpha(cut_round, hole, person, none), cut_round)
    assert plate_alpha(person, hole, person, np.ones_like(none))[hole & (person > 0)].min() > 0.95  # the neck goes on
