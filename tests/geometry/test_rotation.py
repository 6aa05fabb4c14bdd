import numpy as np
import pytest

from mggdub.geometry.rotation import (
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_quat,
    matrix_to_rotvec,
    plane_similarity,
    rotvec_to_matrix,
)

NOSE = np.array([0.0, 0.0, -1.0])  # a face looks at the viewer


@pytest.mark.parametrize(
    ("angles", "direction"),
    [((30, 0, 0), (0, 1, 0)), ((0, 30, 0), (1, 0, 0))],
    ids=["pitch is down", "yaw is to the viewer's right"],
)
def test_positive_angles_turn_the_nose(angles, direction):
    assert euler_to_matrix(np.array(angles)) @ NOSE @ direction == pytest.approx(0.5)


def test_positive_roll_is_clockwise_for_the_viewer():
    assert euler_to_matrix(np.array([0, 0, 30])) @ [1, 0, 0] == pytest.approx([np.sqrt(0.75), 0.5, 0])


def test_angles_and_vectors_return():
    angles = np.random.default_rng(0).uniform(-80, 80, (50, 3))
    rotation = euler_to_matrix(angles)
    assert matrix_to_euler(rotation) == pytest.approx(angles)
    assert rotvec_to_matrix(matrix_to_rotvec(rotation)) == pytest.approx(rotation, abs=1e-12)
    assert rotvec_to_matrix(np.array([1e-9, 0, 0])) == pytest.approx(np.eye(3), abs=1e-8)


def test_quaternion_of_half_turns_and_small_turns():
    assert np.abs(matrix_to_quat(np.diag([1.0, -1, -1]))) == pytest.approx([0, 1, 0, 0])
    quarter = matrix_to_quat(rotvec_to_matrix(np.array([0, 0, np.pi / 2])))
    assert quarter * np.sign(quarter[0]) == pytest.approx([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


def test_a_similarity_of_the_plane_is_found_from_points():
    points = np.random.default_rng(0).normal(size=(9, 2)) @ [1, 1j]
    assert plane_similarity(points, (0.9 + 0.4j) * points + 3 - 2j) == pytest.approx((0.9 + 0.4j, 3 - 2j))
    nearest, _ = plane_similarity(points, points.conj())  # no turn mirrors
    assert abs(nearest) < 1
