import numpy as np
import pytest

from mggdub.geometry.camera import (
    RIGID,
    RIGID_DEPTH,
    crop_camera,
    crop_matrix,
    head_crop,
    head_mesh,
    project,
    solve_pose,
    unproject,
)
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.types import Camera


@pytest.fixture
def face():
    """Points [478, 3] with the rough extent of a head."""
    points = np.random.default_rng(0).uniform([-7, -8, -6], [7, 9, 2], (478, 3))
    points[list(RIGID), 2] += RIGID_DEPTH - points[list(RIGID), 2].mean()
    return points


def camera_at(angles, translation=(0.5, -1.0, 120.0)) -> Camera:
    return crop_camera(euler_to_matrix(np.array(angles)), np.array(translation))


def test_unproject_undoes_project(face):
    camera = camera_at((10, -20, 5))
    depth = (face @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3])[:, 2]
    assert unproject(project(face, camera), depth, camera) == pytest.approx(face, abs=1e-3)


def test_pose_is_found_for_every_frame(face):
    cameras = [camera_at((20 * np.sin(t), 35 * np.cos(t), 3 * t), (t, 0, 110 + t)) for t in range(6)]
    pixels = np.stack([project(face[list(RIGID)], camera) for camera in cameras])
    rotations, translations = solve_pose(face[list(RIGID)], pixels, crop_matrix())
    assert rotations == pytest.approx(np.stack([c.viewmat[:3, :3] for c in cameras]), abs=1e-4)
    assert translations == pytest.approx(np.stack([c.viewmat[:3, 3] for c in cameras]), abs=2e-2)


def test_pose_ignores_a_wild_point(face):
    camera = camera_at((5, 10, 0))
    pixels = project(face[list(RIGID)], camera)[None]
    pixels[0, 3] += 60
    rotation, _ = solve_pose(face[list(RIGID)], pixels, crop_matrix(), iterations=30)
    assert rotation[0] == pytest.approx(camera.viewmat[:3, :3], abs=0.03)


def test_head_mesh_projects_onto_its_landmarks_and_lies_at_the_canonical_depth(face):
    camera = camera_at((8, 15, -4))
    in_camera = face @ camera.viewmat[:3, :3].T
    depth = (in_camera[:, 2] + 3.0) * camera.K[0, 0] / camera.viewmat[2, 3]  # an unknown zero
    mesh = head_mesh(np.column_stack([project(face, camera), depth]).astype(np.float32), camera)
    assert project(mesh, camera) == pytest.approx(project(face, camera), abs=1e-2)
    assert mesh[list(RIGID), 2].mean() == pytest.approx(RIGID_DEPTH, abs=1e-3)
    assert mesh == pytest.approx(face, abs=0.05)


def test_crop_holds_twice_the_face():
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = 300, 200
    landmarks[10, 1], landmarks[152, 1] = 100, 300
    crop = head_crop(landmarks)
    assert crop.side == pytest.approx(400)
    assert (crop.left, crop.top) == pytest.approx((100, 50))  # eyes at 200, chin at 300
    assert crop.to_picture(crop.to_crop(landmarks)) == pytest.approx(landmarks, abs=1e-3)
