"""What skin lacks, in made-up frames."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mggdub.face.expression import BROW_PLACES, ExpressionBasis, load_expression
from mggdub.face.mesh import PIVOT
from mggdub.train.expression import LIPS
from mggdub.train.skin_motion import Lacking, believed, explained, fit, flow_at, joined, without_pose, without_turns
from mggdub.types import DRIVERS, LANDMARKS, LIP_MODES

CHEEK, LID = 50, 159


@pytest.fixture(scope="module")
def basis() -> ExpressionBasis:
    return load_expression()


def made(basis: ExpressionBasis, frames: int, seed: int = 0) -> tuple[Lacking, np.ndarray]:
    """Frames whose skin lacks a tenth of what the first, even lip mode moves, and how much that is per driver."""
    rng = np.random.default_rng(seed)
    drivers = np.zeros((frames, DRIVERS), np.float32)
    drivers[:, -LIP_MODES:] = rng.normal(size=(frames, LIP_MODES)) * basis.mode_std
    truth = np.zeros((DRIVERS, LANDMARKS, 3))
    truth[-LIP_MODES] = 0.1 * basis.motion[-LIP_MODES] * [1, 1, 0]
    seen, weight = np.ones((frames, LANDMARKS)), np.full(frames, 100.0)
    return Lacking(drivers, np.tensordot(drivers, truth, 1), seen, np.zeros((frames, 3)), weight), truth


def test_a_fit_finds_what_skin_lacks_and_leaves_lips_lids_and_brows(basis: ExpressionBasis) -> None:
    lacks, truth = made(basis, 80)
    found = fit(lacks, basis)
    assert explained(found, made(basis, 40, seed=1)[0], basis) > 0.95
    share = believed(basis)
    assert (
        share[CHEEK] == pytest.approx(1)
        and not share[list(LIPS)].any()
        and share[LID] == 0
        and not share[BROW_PLACES].any()
    )
    assert not found[:, list(LIPS)].any()
    np.testing.assert_allclose(found[-LIP_MODES, CHEEK], truth[-LIP_MODES, CHEEK], atol=0.1 * abs(truth).max())


def test_a_flow_gone_astray_counts_for_nothing(basis: ExpressionBasis) -> None:
    lacks, _ = made(basis, 80)
    wrong = replace(lacks, motion=lacks.motion.copy())
    wrong.motion[::4] += 3.0  # cm
    clean = joined([Lacking(*(array[k : k + 1] for array in vars(lacks).values())) for k in range(80) if k % 4])
    np.testing.assert_allclose(fit(wrong, basis), fit(clean, basis), atol=1e-9)


def test_what_goes_with_a_clips_rotation_is_left_out(basis: ExpressionBasis) -> None:
    lacks, _ = made(basis, 60)
    rotation = np.random.default_rng(3).normal(size=(60, 3)) * 8
    bent = replace(lacks, rotation=rotation, motion=lacks.motion + 0.02 * rotation[:, :1, None])
    left = without_turns(bent).motion
    assert np.abs(left[:, CHEEK]).std() < 0.5 * np.abs(bent.motion[:, CHEEK]).std()


def test_how_the_other_portraits_head_turned_is_no_expression(basis: ExpressionBasis) -> None:
    lacks, _ = made(basis, 1)
    turned = np.cross(np.radians([2.0, -1.0, 0.5]), basis.canonical - PIVOT) + np.array([0.1, -0.2, 0])
    posed = replace(lacks, motion=(turned * [1, 1, 0])[None])
    left = np.linalg.norm(without_pose(posed, basis.canonical).motion[0, :468], axis=1)
    assert left.max() < 0.15 * np.linalg.norm(turned[:468, :2], axis=1).max()


def test_flow_says_where_a_picture_has_moved(basis: ExpressionBasis) -> None:
    pytest.importorskip("cv2")
    rng, at = np.random.default_rng(0), basis.canonical[:, :2] * 20 + [200, 220]
    picture = ndimage.gaussian_filter(rng.normal(size=(440, 400)), 4)
    picture = np.repeat(((picture / abs(picture).max() + 1) * 127)[..., None], 3, -1)
    moved = ndimage.shift(picture, (2, 3, 0), order=1, mode="nearest")
    move, seen = flow_at(picture.astype(np.uint8), moved.astype(np.uint8), at)
    inner = [CHEEK, LID, 4, 280]
    np.testing.assert_allclose(move[inner], [[3, 2]] * 4, atol=0.25)
    assert (seen[inner] > 0.8).all()
