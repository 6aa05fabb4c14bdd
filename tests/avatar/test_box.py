"""Where a head may move, and what of its photo is looked at for that."""

from dataclasses import replace

import numpy as np

from mggdub.avatar.box import ASIDE, reach_beyond
from mggdub.geometry.camera import cm_per_px
from mggdub.types import BLENDSHAPES, CROP_SIZE, Camera, Crop, GeometryMaps, Portrait


def head_in_crop(left: int, right: int) -> tuple[Portrait, GeometryMaps]:
    """A head between two columns of its crop, in the middle of a photo of 1,500 px, 0.07 cm a pixel."""
    K = np.array([[1000, 0, 256], [0, 1000, 256], [0, 0, 1]], np.float32)
    viewmat = np.eye(4, dtype=np.float32)
    viewmat[2, 3] = 70
    marks = np.full((478, 3), 256, np.float32)
    marks[152, 1] = 400  # the chin
    head = Portrait(
        np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8),
        Crop(500, 500, CROP_SIZE),
        marks,
        np.zeros(len(BLENDSHAPES), np.float32),
        Camera(K, viewmat),
    )
    matte = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
    matte[100:400, left:right] = 1
    maps = GeometryMaps(
        np.zeros((256, 256), np.float32),
        np.zeros((256, 256, 3), np.float32),
        np.zeros((256, 256, 6), np.float32),
        matte,
    )
    return head, maps


def test_a_head_near_its_crop_s_edge_may_lean_beyond_it_as_far_as_the_photo_goes() -> None:
    """A head that leans by 10 degrees goes 4 cm aside: at the box's edge it was cut off, straight."""
    head, maps = head_in_crop(40, 380)
    needed = ASIDE / cm_per_px(head.camera) - 40
    left, top, right = reach_beyond(head, maps, (1500, 1500), None)
    assert abs(left - needed) < 1e-3 and left > 20 and top == right == 0
    at_edge = replace(head, crop=Crop(10, 10, CROP_SIZE))
    assert reach_beyond(at_edge, maps, (1500, 1500), None)[0] == 10
    assert reach_beyond(head, replace(maps, matte=0 * maps.matte), (1500, 1500), None) == (0, 0, 0)
