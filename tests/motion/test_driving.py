"""Poses of a driver, told as the photo's head space has them."""

import numpy as np

from mggdub.face.mesh import PIVOT, canonical_face
from mggdub.face.portrait import head_pose
from mggdub.geometry.camera import crop_matrix, project_with
from mggdub.geometry.rotation import euler_to_matrix, rotvec_to_matrix
from mggdub.motion.driving import relative_pose


def test_a_head_that_comes_nearer_does_so_in_the_picture_however_its_person_was_fitted() -> None:
    canonical = np.concatenate([canonical_face()[0], np.zeros((10, 3))])
    seen_from = canonical @ rotvec_to_matrix(np.array([[0.1, 0.2, 0]]))[0].T + [1, 2, 140.0]
    landmarks = project_with(seen_from, crop_matrix())
    photo_turn, photo_place = head_pose(landmarks)
    apart = rotvec_to_matrix(np.radians([[5.0, -4, 1]]))[0]
    fitted = photo_turn @ apart  # what a person's own mesh says of the same frame
    turns = fitted @ rotvec_to_matrix(np.radians([[0, 0, 0], [3, 8, -2], [-6, 2, 4]]))
    places = photo_place / 1.04 + np.array([[0, 0, 0], [0, 0, -7.0], [2, -1, 3]])
    points = np.random.default_rng(0).normal(size=(20, 3)) * 4  # in the photo's head space
    angles, shift = relative_pose(turns, places, 0, landmarks)
    for turn, place, angle, moved in zip(turns, places, angles, shift, strict=True):
        played = (points - PIVOT) @ euler_to_matrix(angle).T + PIVOT + moved
        seen = played @ photo_turn.T + photo_place
        true = (points @ (turn @ fitted.T @ photo_turn).T) + 1.04 * place
        np.testing.assert_allclose(project_with(seen, crop_matrix()), project_with(true, crop_matrix()), atol=0.01)
