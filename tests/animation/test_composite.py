import numpy as np
import pytest

from mggdub.animation.backdrop import composite
from mggdub.avatar.visible import foreground


def test_without_a_head_the_picture_is_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    plate = picture[5:25, 8:32].astype(np.float32) / 255
    frame = composite(np.zeros((20, 24, 3), np.float32), np.zeros((20, 24), np.float32), plate, picture, 8, 5)
    assert np.array_equal(frame, picture)


def test_the_head_covers_only_its_box_and_the_picture_is_not_written_to() -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    colors = np.ones((10, 12, 3), np.float32)
    frame = composite(colors, np.ones((10, 12), np.float32), np.zeros((20, 24, 3), np.float32), picture, 8, 5)
    assert (frame[5:25, 8:32] == 255).all()
    assert frame.sum() == 255 * 3 * 20 * 24
    assert picture.sum() == 0


def test_the_foreground_is_what_was_mixed() -> None:
    rng = np.random.default_rng(1)
    own, background = rng.random((2, 8, 8, 3)).astype(np.float32)
    matte = rng.uniform(0.2, 1, (8, 8)).astype(np.float32)
    mixed = matte[..., None] * own + (1 - matte[..., None]) * background
    assert foreground(mixed, matte, background) == pytest.approx(own, abs=1e-4)
