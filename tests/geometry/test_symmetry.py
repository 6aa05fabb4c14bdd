"""The hidden side: mirrored where the photo agrees, closed by a shell elsewhere."""

import numpy as np

from mggdub.geometry.camera import crop_camera, project
from mggdub.geometry.symmetry import head_shell, mirror, surface_points, visible_filter, voxel_filter

CAMERA = crop_camera(np.eye(3), np.array([0.0, 0.0, 100.0]), 128)


def ball(radius: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """Matte and camera z [128, 128] of a ball at the origin of head space."""
    rows, columns = np.mgrid[:128, :128] + 0.5
    x, y = (columns - 64) / 512 * 100, (rows - 64) / 512 * 100
    inside = radius**2 - x * x - y * y
    return inside > 0, 100 - np.sqrt(np.maximum(inside, 0))


def test_mirroring_twice_gives_the_same_points() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert np.array_equal(mirror(mirror(points)), points)
    assert not np.array_equal(mirror(points), points)


def test_voxel_filter_drops_what_overlaps() -> None:
    visible = np.random.default_rng(1).uniform(-5, 5, (200, 3))
    assert not voxel_filter(visible, visible).any()
    assert voxel_filter(visible + np.array([30, 0, 0]), visible).all()
    assert voxel_filter(np.array([[0.0, 0, 0]]), np.array([[2.5, 0, 0]])).all()
    assert not voxel_filter(np.array([[0.0, 0, 0]]), np.array([[0.9, 0, 0]])).any()


def test_only_points_behind_the_surface_stay() -> None:
    matte, depth = ball()
    points = np.array([[0, 0, 5.0], [0, 0, -9.0], [11.0, 0, 0], [0, 7.0, 4.0], [500.0, 0, 0]])
    assert visible_filter(points, CAMERA, matte, depth).tolist() == [True, False, False, True, False]


def test_shell_closes_the_sides() -> None:
    """Behind a ball's outline lies a shell that a turn does not leave open."""
    matte, depth = ball()
    seen = surface_points(matte, depth, CAMERA)
    shell = head_shell(matte, matte, depth, CAMERA, seen)
    assert len(shell.points) > 500
    assert np.allclose(np.linalg.norm(shell.normals, axis=1), 1, atol=1e-5)
    assert ((shell.points * shell.normals).sum(1) > 0).all()
    assert matte[tuple(shell.rim.T)].all()
    turn = np.radians(35)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    turned = crop_camera(rotation, np.array([0.0, 0.0, 100.0]), 128)

    def covered(points: np.ndarray) -> float:
        hit = np.zeros((32, 32), bool)  # 4 px cells
        columns, rows = np.floor(project(points, turned) / 4).astype(int).T
        hit[np.clip(rows, 0, 31), np.clip(columns, 0, 31)] = True
        return float((hit & matte[2::4, 2::4]).sum() / matte[2::4, 2::4].sum())

    assert covered(seen) < 0.97
    assert covered(np.concatenate([seen, shell.points])) > 0.99


def test_nothing_is_added_where_points_are_known() -> None:
    matte, depth = ball()
    first = head_shell(matte, matte, depth, CAMERA, np.zeros((0, 3)))
    again = head_shell(matte, matte, depth, CAMERA, first.points)
    assert len(again.points) == 0
