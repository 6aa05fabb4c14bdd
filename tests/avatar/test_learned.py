"""What was learned moves neither the edge of what is drawn nor lips."""

from dataclasses import replace

import numpy as np
import pytest

from mggdub.avatar.learned import FROM_LIPS, motion_fade
from mggdub.face.mesh import OUTER_LIPS
from mggdub.geometry.camera import cm_per_px, crop_camera
from mggdub.networks.head import GRID
from mggdub.types import BLENDSHAPES, CROP_SIZE, Crop, Portrait


def test_learned_motion_fades_towards_edge_and_lips() -> None:
    marks = np.zeros((478, 3), np.float32)
    angle = np.arange(len(OUTER_LIPS)) / len(OUTER_LIPS) * 2 * np.pi
    marks[list(OUTER_LIPS), :2] = 256 + np.stack([40 * np.cos(angle), 20 * np.sin(angle)], 1)
    image, camera = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8), crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    head = Portrait(image, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)
    edge = np.full((CROP_SIZE, CROP_SIZE), 1000.0)
    edge[:, :60] = 0
    fade = motion_fade(edge, head)
    step = CROP_SIZE // GRID
    assert fade.shape == (GRID, GRID) and not fade[:, : 60 // step - 1].any()
    assert fade[256 // step, 256 // step] < 0.01
    row, px = (np.arange(GRID) + 0.5) * step, cm_per_px(camera)
    away = (row - 256 - 20) * px
    column = fade[:, 256 // step]
    assert column[away > FROM_LIPS + 0.3] == pytest.approx(1)
    assert (np.diff(column[(away > 0) & (away < FROM_LIPS)]) > 0).all()
    elsewhere = replace(head, landmarks=marks + 1000)
    assert motion_fade(edge, elsewhere)[256 // step, 256 // step] == pytest.approx(1)
