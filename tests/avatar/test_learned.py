"""What was learned moves neither the edge of what is drawn nor the inner face, and colours no face."""

from dataclasses import replace

import numpy as np
import pytest

from mggdub.avatar.learned import BESIDE, INNER, motion_fade, shade_fade
from mggdub.face.mesh import OVAL
from mggdub.geometry.camera import cm_per_px, crop_camera
from mggdub.networks.head import FINE, GRID
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

RADIUS = 140  # px, of a round face


@pytest.fixture
def head() -> Portrait:
    marks = np.zeros((478, 3), np.float32)
    angle = np.arange(len(OVAL)) / len(OVAL) * 2 * np.pi
    marks[list(OVAL), :2] = 256 + RADIUS * np.stack([np.cos(angle), np.sin(angle)], 1)
    image, camera = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8), crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    return Portrait(image, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)


def below(fade: Array, head: Portrait) -> tuple[Array, Array]:
    """A column of a grid from the middle of the face down, and how far its cells lie outside the face, cm."""
    count = len(fade)
    rows = (np.arange(count) + 0.5) * (CROP_SIZE / count)
    return fade[count // 2 :, count // 2], (rows[count // 2 :] - 256 - RADIUS) * cm_per_px(head.camera)


def test_learned_motion_fades_towards_edge_and_inner_face(head: Portrait) -> None:
    edge = np.full((CROP_SIZE, CROP_SIZE), 1000.0)
    edge[:, :60] = 0
    fade = motion_fade(edge, head)
    assert fade.shape == (GRID, GRID) and not fade[:, : 60 // (CROP_SIZE // GRID) - 1].any()
    column, away = below(fade, head)
    assert (away < -INNER - 0.3).any() and column[away < -INNER - 0.3].max() < 1e-3
    assert column[away > 0.3] == pytest.approx(1)
    assert (np.diff(column[(away > 0.3 - INNER) & (away < -0.3)]) > 0).all()
    elsewhere = replace(head, landmarks=head.landmarks + 1000)
    assert motion_fade(edge, elsewhere)[GRID // 2, GRID // 2] == pytest.approx(1)


def test_learned_colours_lie_beside_the_face(head: Portrait) -> None:
    fade = shade_fade(head)
    assert fade.shape == (FINE, FINE)
    column, away = below(fade, head)
    assert column[away < -0.1].max() < 0.01 and column[away > BESIDE + 0.1] == pytest.approx(1)
