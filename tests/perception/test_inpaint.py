import numpy as np
import pytest

from mggdub.perception.inpaint import make_plate, push_pull


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
    plate = make_plate(picture, hole, person, np.zeros((64, 64), np.float32))
    assert np.array_equal(plate[~hole], picture[~hole])
    assert plate[20:44, 20:44] == pytest.approx(0.8, abs=0.02)
