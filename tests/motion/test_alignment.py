"""Direct alignment against pictures whose motion is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mggdub.geometry.camera import crop_matrix, project_with
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.motion import alignment
from mggdub.motion.alignment import SIZE
from mggdub.types import Array

DISTANCE, DEPTH = 60.0, -3.0  # cm; a flat face lies DEPTH before the head's origin
AWAY = np.array([0, 0, DISTANCE])


@pytest.fixture(scope="module")
def texture() -> Array:
    """Smooth noise as grey levels, a little larger than a crop."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(2 * SIZE, 2 * SIZE)), 3)
    return (128 + 40 * noise / noise.std()).clip(0, 255)


def picture(texture: Array, at: Array) -> Array:
    """The crop [SIZE, SIZE, 3] whose px show the texture at [SIZE, SIZE, 2] px of the unmoved crop."""
    rows, columns = at[..., 1] + SIZE / 2 - 0.5, at[..., 0] + SIZE / 2 - 0.5
    grey = ndimage.map_coordinates(texture, [rows, columns], order=1, mode="reflect")
    return np.repeat(np.rint(grey)[..., None], 3, 2).astype(np.uint8)


def grid() -> Array:
    at = np.arange(SIZE) + 0.5
    return np.stack(np.meshgrid(at, at), -1)


def plane(texture: Array, rotation: Array, translation: Array) -> Array:
    """The textured plane z = DEPTH of head space, seen in a pose."""
    K = crop_matrix(SIZE)
    rays = np.concatenate([(grid() - K[:2, 2]) / K[0, 0], np.ones((SIZE, SIZE, 1))], -1) @ rotation
    start = -translation @ rotation
    points = start + rays * ((DEPTH - start[2]) / rays[..., 2])[..., None]
    return picture(texture, project_with(points + AWAY, K))


def anchors(torso: Array | None = None) -> alignment.TrackedPoints:
    x, y = np.meshgrid(np.linspace(-4, 4, 40), np.linspace(-4, 4, 40))
    skin = np.stack([x.ravel(), y.ravel(), np.full(x.size, DEPTH)], 1)
    return alignment.TrackedPoints(skin, skin[[0, 39, 820, -40, -1]], np.zeros((0, 2)) if torso is None else torso)


def test_a_pose_is_found_through_trembling_landmarks_and_other_light(texture: Array) -> None:
    angles, shift = np.array([3.0, -5.0, 4.0]), np.array([0.4, -0.3, 1.5])
    rotations = np.stack([np.eye(3), euler_to_matrix(angles)])
    translations = np.stack([AWAY, AWAY + shift])
    crops = [plane(texture, r, t) for r, t in zip(rotations, translations, strict=True)]
    crops[1] = (crops[1] * 0.7 + 30).astype(np.uint8)  # darker and flatter
    crops[1][:40] = 0  # something in the way
    what = anchors()
    marks = np.stack(
        [project_with(what.marks @ r.T + t, crop_matrix(SIZE)) for r, t in zip(rotations, translations, strict=True)]
    )
    marks[1] += np.random.default_rng(1).normal(0, 1.5, marks[1].shape)
    turned = np.array([1.5, -1, 1])
    start = (
        np.stack([np.eye(3), euler_to_matrix(angles + turned)]),
        translations + np.array([[0, 0, 0], [0.15, 0.1, -1]]),
    )
    found = alignment.refine_poses(crops, what, marks, *start)

    def miss(rotation: Array, translation: Array) -> float:
        """px, mean distance from where the skin is."""
        seen, true = (
            project_with(what.skin @ r.T + t, crop_matrix(SIZE))
            for r, t in ((rotation, translation), (rotations[1], translations[1]))
        )
        return float(np.linalg.norm(seen - true, axis=1).mean())

    assert miss(start[0][1], start[1][1]) > 1.5
    assert miss(found.rotations[1], found.translations[1]) < 0.15
    assert (found.rotations[0] == np.eye(3)).all() and (found.turns == 1).all()  # no torso is no motion


def test_a_torso_shifts_grows_and_turns(texture: Array) -> None:
    torso = grid()[120:200:3, 30:190:3].reshape(-1, 2)
    pivot = complex(*torso.mean(0))
    moves = [(0j, 1 + 0j), (3 - 2j, 1.01 + 0.02j), (7.5 - 5j, 1.03 * np.exp(0.05j))]
    crops = []
    for shift, turn in moves:
        at = grid()[..., 0] + 1j * grid()[..., 1]
        from_ = (at - pivot - shift) / turn + pivot
        crops.append(picture(texture, np.stack([from_.real, from_.imag], -1)))
    what = anchors(torso)
    still = np.repeat(np.eye(3)[None], 3, 0), np.tile(AWAY, (3, 1)).astype(float)
    marks = np.tile(project_with(what.marks + AWAY, crop_matrix(SIZE)), (3, 1, 1))
    found = alignment.refine_poses(crops, what, marks, *still)
    assert found.pivot == pytest.approx(pivot)
    assert found.shifts == pytest.approx([shift for shift, _ in moves], abs=0.1)
    assert found.turns == pytest.approx([turn for _, turn in moves], abs=0.007)  # it is a little stiff
    other = picture(texture.T, grid())
    hidden = alignment.refine_poses([crops[0], other], what, marks, *(part[:2] for part in still))
    assert hidden.shifts[1] == 0  # something else in its place: as before
    few = replace(what, torso=torso[:20])
    assert (alignment.refine_poses(crops, few, marks, *still).shifts == 0).all()
