"""Integrating exact normals gives back the surface they came from."""

import numpy as np
import pytest

from mggdub.geometry.camera import crop_camera
from mggdub.geometry.surface import integrate_normals, surfels

SIZE = 64
K = np.array([[256, 0, 32], [0, 256, 32], [0, 0, 1]], np.float32)


def rays() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.stack([(columns - 32) / 256, (rows - 32) / 256, np.ones((SIZE, SIZE))], -1)


def plane(normal: tuple[float, float, float], distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Camera z and normals of the plane through (0, 0, distance)."""
    unit = np.array(normal) / np.linalg.norm(normal)
    return distance * unit[2] / (rays() @ unit), np.broadcast_to(unit, (SIZE, SIZE, 3))


def test_tilted_plane() -> None:
    depth, normals = plane((0.4, -0.3, -1.0), 100.0)
    found = integrate_normals(normals, np.ones((SIZE, SIZE), bool), K, np.full((SIZE, SIZE), 100.0), prior_weight=1e-6)
    assert np.abs(found - found.mean() - depth + depth.mean()).max() < 0.02


def test_sphere_has_its_bulge() -> None:
    direction = rays() / np.linalg.norm(rays(), axis=-1, keepdims=True)
    along = 100 * direction[..., 2]
    reach = 11.0**2 - (100**2 - along**2)
    mask = reach > 11.0**2 * 0.1
    distance = along - np.sqrt(np.maximum(reach, 0))
    points = direction * distance[..., None]
    normals = (points - (0, 0, 100)) / 11.0
    flat = np.full((SIZE, SIZE), points[..., 2][mask].mean())
    found = integrate_normals(normals, mask, K, flat, prior_weight=1e-6)
    error = (found - points[..., 2])[mask]
    assert np.abs(error - error.mean()).max() < 0.15
    assert np.ptp(points[..., 2][mask]) > 5


def test_step_stays_sharp() -> None:
    """Two tilted planes with 4 cm between them; the prior knows neither tilt, but that one is nearer."""
    near, normals_near = plane((0.3, 0.1, -1.0), 98.0)
    far, normals_far = plane((-0.2, 0.2, -1.0), 102.0)
    left = np.arange(SIZE) < 32
    depth = np.where(left, near, far)
    normals = np.where(left[None, :, None], normals_near, normals_far)
    prior = np.where(left, near[:, :32].mean(), far[:, 32:].mean()) * np.ones((SIZE, 1))
    mask = np.ones((SIZE, SIZE), bool)
    sharp, smooth = (integrate_normals(normals, mask, K, prior, k=k, prior_weight=1e-4) for k in (2.0, 0.0))
    assert np.abs(sharp - depth).max() < 0.3
    assert np.abs(smooth - depth)[:, 30:34].mean() > 1.0  # without the bilateral weights the edge smears


def test_outside_the_mask_is_the_prior() -> None:
    depth, normals = plane((0.0, 0.0, -1.0), 50.0)
    mask = np.zeros((SIZE, SIZE), bool)
    assert np.array_equal(integrate_normals(normals, mask, K, depth), depth.astype(np.float32))


def test_patches_of_a_slanted_plane_touch() -> None:
    camera = crop_camera(np.eye(3), np.array([0.0, 0, 60]))
    side = 60 / camera.K[0, 0]
    pixels = np.array([[256.0, 256]])
    flat = surfels(pixels, np.array([60.0]), (np.zeros(1), np.zeros(1)), camera)
    assert flat[1][0, :2] == pytest.approx([side, side])
    slanted = surfels(pixels, np.array([60.0]), (np.array([2 * side]), np.zeros(1)), camera)
    assert slanted[1][0, :2] == pytest.approx([side * np.sqrt(5), side], rel=1e-4)
    w, x, y, z = slanted[0][0]
    longest = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)])
    assert np.abs(longest) == pytest.approx([1 / np.sqrt(5), 0, 2 / np.sqrt(5)], abs=1e-4)
