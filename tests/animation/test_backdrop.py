"""The picture behind the head, when the torso sways."""

import numpy as np
import pytest

from mggdub.animation.backdrop import Backdrop


@pytest.fixture
def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)
    plate = rng.random((20, 30, 3)).astype(np.float32)
    share = np.zeros((40, 60), np.float32)
    share[20:] = 1
    return picture, plate, share


def test_what_stands_still_keeps_its_bytes(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    picture, plate, share = parts
    behind = Backdrop.of(picture, plate, 10, 15, share)
    same = behind.moved(1 + 0j, 0j, 30 + 40j)
    assert same[0] is plate and same[1] is picture
    moved_plate, moved_picture = behind.moved(1 + 0j, 3 + 2j, 30 + 40j)
    assert (moved_picture[:20] == picture[:20]).all() and (moved_plate[:5] == plate[:5]).all()
    assert (Backdrop.of(picture, plate, 10, 15, 0 * share).moved(1 + 0j, 3 + 2j, 0j)[1] == picture).all()


def test_picture_and_plate_shift_as_one(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    picture, plate, share = parts
    whole = picture.astype(np.float32) / 255
    whole[15:35, 10:40] = plate
    moved_plate, moved_picture = Backdrop.of(picture, plate, 10, 15, share).moved(1 + 0j, 3 + 2j, 30 + 40j)
    assert moved_plate[10:] == pytest.approx(whole[23:33, 7:37], abs=1e-5)
    assert np.abs(moved_picture[36:, 5:] / 255 - whole[34:38, 2:57]).max() < 0.01
    assert (moved_picture[30:35, 0] == moved_picture[30:35, 2]).all()  # the edge repeats


def test_turning_goes_about_the_centre() -> None:
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[20, 30] = 255
    share = np.ones((41, 41), np.float32)
    _, moved = Backdrop.of(picture, np.zeros((1, 1, 3), np.float32), 0, 0, share).moved(
        complex(np.exp(0.1j)), 0j, 20.5 + 20.5j
    )
    row, column = np.unravel_index(moved[..., 0].argmax(), (41, 41))
    assert (row, column) == (21, 30)  # clockwise, y down
