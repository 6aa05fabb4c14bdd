"""Where lower lids begin."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from mggdub.avatar.lower_lids import cover_white, find_lower_lids
from mggdub.face.mesh import LEFT_EYE, LIDS, RIGHT_EYE
from mggdub.geometry.camera import crop_camera
from mggdub.types import BLENDSHAPES, CROP_SIZE, LANDMARKS, Array, Crop, Portrait

SKIN, WHITE = np.array([0.7, 0.5, 0.4]), np.array([0.8, 0.8, 0.75])
MIDDLE = [low for _, low in (LIDS[0][2:5] + LIDS[1][2:5])]  # of both lower lids


def head(raised: float = 0.0, white: Array = WHITE) -> Portrait:
    """Two eyes of 44 by 24 px, whose lower landmarks lie `raised` px above the white's edge."""
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE] + 0.5
    image, marks = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1)), np.full((LANDMARKS, 3), 300, np.float32)
    for ring, x, way in ((LEFT_EYE, 330, 1), (RIGHT_EYE, 180, -1)):
        turn = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        y = 250 - 12 * np.sin(turn) - raised * (np.sin(turn) < -0.3)
        marks[list(ring), :2] = np.stack([x + way * 22 * np.cos(turn), y], 1)
        image[((columns - x) / 22) ** 2 + ((rows - 250) / 12) ** 2 < 1] = white
    camera = crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    pixels = np.rint(image * 255).astype(np.uint8)
    return Portrait(pixels, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)


def moved(photo: Portrait) -> Array:
    """[6] px that the middles of lower lids go down."""
    return (find_lower_lids(photo).landmarks - photo.landmarks)[MIDDLE, 1]


@pytest.mark.parametrize("raised", [0.0, 2.0, 4.0])
def test_a_lower_lid_begins_where_the_white_ends(raised: float) -> None:
    assert moved(head(raised)) == pytest.approx([raised] * 6, abs=0.8)


def test_landmarks_stay_where_no_white_is_told_from_the_skin() -> None:
    assert not moved(head(3.0, white=SKIN * 0.9)).any()


def test_only_lower_lids_move_and_never_beyond_the_next_ring() -> None:
    photo = head(4.0)
    marks = photo.landmarks.copy()
    below = [252, 253, 254, 22, 23, 24]  # of the ring below the lids
    marks[below] = marks[MIDDLE] + [0, 2, 0]
    found = find_lower_lids(replace(photo, landmarks=marks))
    others = np.setdiff1d(np.arange(LANDMARKS), [low for pairs in LIDS for _, low in pairs])
    assert np.array_equal(found.landmarks[others], marks[others])
    assert (found.landmarks[MIDDLE, 1] < marks[MIDDLE, 1] + 2).all()


def test_lids_that_shut_meet_at_the_landmarks_of_the_photo() -> None:
    photo, found = head(3.0), find_lower_lids(head(3.0))
    upper, lower = LIDS[0][3]
    skin = cover_white(sparse.identity(LANDMARKS, np.float32, format="csr"), photo, found)
    motion = np.zeros((LANDMARKS, 3), np.float32)
    motion[upper, 1] = photo.landmarks[lower, 1] - photo.landmarks[upper, 1]
    meeting = (found.landmarks + skin @ motion)[[upper, lower], 1]
    assert meeting == pytest.approx([photo.landmarks[lower, 1]] * 2, abs=0.01)
