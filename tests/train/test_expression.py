"""The fits of the expression basis, on talks that were made of a known one."""

from dataclasses import replace

import numpy as np
import pytest

from mggdub.face.expression import BLINKS, ExpressionBasis, lip_modes, load_expression, vertex_motion
from mggdub.face.mesh import LIDS
from mggdub.train import expression, expression_data
from mggdub.train.expression_data import Talk
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, LANDMARKS, LIP_MODES, MOUTH_UNITS, Array

FRAMES = 240


@pytest.fixture(scope="module")
def truth() -> ExpressionBasis:
    return load_expression()


def a_talk(truth: ExpressionBasis, number: int) -> Talk:
    """Somebody with a face of his own whose every frame is what the drivers say; some blinks are whole."""
    rng = np.random.default_rng(number)
    drivers = np.zeros((FRAMES, DRIVERS), np.float32)
    drivers[:, : len(DRIVING_UNITS)] = rng.beta(0.6, 3, (FRAMES, len(DRIVING_UNITS)))
    drivers[:, list(BLINKS)] = rng.beta(0.5, 4, (FRAMES, 1))
    drivers[::20, list(BLINKS)] = 1
    drivers[:, -LIP_MODES:] = rng.normal(0, 1, (FRAMES, LIP_MODES)) * truth.mode_std
    width, height = rng.normal(1, 0.03, 2)
    rest = (truth.mean_rest * [width, height, 1]).astype(np.float32)
    move = vertex_motion(truth, drivers)
    for blink, pairs in zip(BLINKS, LIDS, strict=True):  # this person's lids meet, too
        for upper, lower in pairs:
            gap = rest[lower] - rest[upper] - (truth.mean_rest[lower] - truth.mean_rest[upper])
            move[:, upper] += drivers[:, blink, None] * gap
    units = np.tile(truth.unit_rest, (FRAMES, 1)).astype(np.float32)
    units[:, list(DRIVING_UNITS)] += drivers[:, : len(DRIVING_UNITS)] / truth.unit_gain
    units[:, list(MOUTH_UNITS)] += drivers[:, -LIP_MODES:] @ truth.modes_to_units
    single = (rest + move)[::4].astype(np.float32)
    return Talk(f"person {number}", move.astype(np.float32), rest, units, truth.unit_rest, single)


@pytest.fixture(scope="module")
def talks(truth: ExpressionBasis) -> list[Talk]:
    return [a_talk(truth, number) for number in range(4)]


@pytest.fixture(scope="module")
def fitted(talks: list[Talk]) -> ExpressionBasis:
    return expression.fit_basis(talks)


def test_the_fit_explains_what_the_drivers_did(
    fitted: ExpressionBasis, truth: ExpressionBasis, talks: list[Talk]
) -> None:
    found = expression.measure_motion(fitted, talks)
    assert found["lips_left_mm"] < 0.15 * found["lips_mm"] and found["all_left_mm"] < 0.25 * found["all_mm"]
    assert fitted.unit_gain[list(BLINKS)] == pytest.approx(truth.unit_gain[list(BLINKS)], rel=0.1)
    stranger = a_talk(truth, 9)
    new = expression.measure_motion(fitted, [stranger])
    assert new["lips_left_mm"] < 0.2 * new["lips_mm"]


def test_modes_are_even_or_odd_and_uncorrelated(fitted: ExpressionBasis, talks: list[Talk]) -> None:
    modes = fitted.motion[len(DRIVING_UNITS) :, fitted.region]
    other = expression.mirrored_region(modes, fitted.region, fitted.mirror)
    for mode, mirrored in zip(modes, other, strict=True):
        nearest = min(np.abs(mode - mirrored).max(), np.abs(mode + mirrored).max())
        assert nearest < 0.05 * np.abs(mode).max()
    values = np.concatenate([lip_modes(fitted, talk.displacement) for talk in talks])
    again = np.tensordot(values, modes, 1).reshape(len(values), -1) @ fitted.analysis
    assert again == pytest.approx(values, abs=1e-3 * np.abs(values).max())  # analysis undoes the modes


def test_a_blink_of_one_closes_the_mean_face(fitted: ExpressionBasis) -> None:
    for blink, pairs in zip(BLINKS, LIDS, strict=True):
        face = fitted.mean_rest + fitted.motion[blink]
        for upper, lower in pairs:
            assert face[upper] == pytest.approx(face[lower], abs=1e-4)
        side = np.sign(fitted.mean_rest[pairs[3][0], 0])
        assert not fitted.motion[blink][np.sign(fitted.mean_rest[:, 0]) == -side].any()


def test_the_rest_of_a_lone_picture_is_found(fitted: ExpressionBasis, truth: ExpressionBasis) -> None:
    found = expression.measure_rest(fitted, [a_talk(truth, 9)])
    assert found["regression_mode_error"] < 0.5 * found["zero_mode_error"]
    assert found["with_gap_gap_percent"] < 0.5 * found["zero_gap_percent"]


def test_eight_modes_explain_more_than_four_of_strangers(fitted: ExpressionBasis, talks: list[Talk]) -> None:
    region, weights = expression.mouth_region(fitted.canonical)
    found = expression.explained(talks, region, weights, fitted.mirror, folds=2)
    assert 0.5 < found["lips_explained_by_4"] < found["lips_explained_by_8"] and found["lips_explained_by_8"] > 0.97


def test_people_count_alike_and_some_pairs_are_held_out(talks: list[Talk]) -> None:
    pairs = [replace(talks[0], identity=f"photo_{number:03}") for number in range(60)]
    held = [pair.identity for pair in pairs if expression_data.is_held_out(pair)]
    assert 12 < len(held) < 28 and not expression_data.is_held_out(talks[0])
    assert expression._by_identity([talks[0], talks[0], talks[1]], "rest").shape == (2, LANDMARKS, 3)


def test_a_mirror_swaps_sides(fitted: ExpressionBasis) -> None:
    swap: Array = expression.unit_mirror()
    assert (swap[swap] == np.arange(len(BLENDSHAPES))).all()
    assert BLENDSHAPES[swap[BLENDSHAPES.index("eyeBlinkLeft")]] == "eyeBlinkRight"
    assert fitted.canonical[fitted.mirror] == pytest.approx(fitted.canonical * [-1, 1, 1], abs=0.05)
