"""A bank is made of people who are told apart by nothing but how they move."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mggdub.motion.lids import lid_curve
from mggdub.networks.motion import from_tensors, to_tensors
from mggdub.train import motion, motion_judge
from mggdub.train.motion_data import RATE, Take, lips_move
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack

LEFT, RIGHT = BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")


def a_take(person: str, size: float, seconds: float = 8.0, blinks: tuple[float, ...] = (2.0, 5.0)) -> Take:
    rng = np.random.default_rng(len(person) + int(10 * size))
    times = (np.arange(round(seconds * RATE)) + 0.5) / RATE
    count = len(times)

    def slow(columns: int) -> Array:
        phase = rng.uniform(0, 6, columns)
        return np.sin(2 * np.pi * rng.uniform(0.3, 0.6, columns) * times[:, None] + phase).astype(np.float32)

    units = np.zeros((count, 52), np.float32)
    units[:, BLENDSHAPES.index("browInnerUp")] = 0.1 * size * slow(1)[:, 0]
    for moment in blinks:
        for side, closed in ((LEFT, 0.9), (RIGHT, 0.7)):
            units[:, side] = np.maximum(units[:, side], closed * lid_curve(times - moment))
    lips = np.zeros((count, 8), np.float32)
    track = ExpressionTrack(times, units, lips, size * 3 * slow(3), size * slow(3), 0.2 * slow(4))
    return Take(person, person, "train", track, None, np.ones(count, bool))


def people() -> list[Take]:
    return [a_take(f"person{k}", size) for k, size in enumerate((0.6, 0.8, 1.0, 1.0, 1.2, 1.5))]


def test_people_come_nearer_to_the_middle_but_keep_their_order() -> None:
    before = motion.spreads(people())
    factors = motion.scales(before)
    after = {person: own["rotation"] * factors[person]["rotation"] for person, own in before.items()}
    ranked = sorted(before, key=lambda person: before[person]["rotation"])
    assert [after[a] <= after[b] + 1e-6 for a, b in pairwise(ranked)] == [True] * 5
    assert max(after.values()) / min(after.values()) < 0.7 * 1.5 / 0.6


def test_who_moves_like_nobody_is_left_out() -> None:
    takes = [*people(), a_take("wild", 9.0)]
    kept = {take.person for take in motion.ordinary(takes, motion.spreads(takes))}
    assert kept == {take.person for take in people()}


def test_a_bank_is_the_same_each_time_and_survives_its_file() -> None:
    one, two = motion.make_bank(people()), motion.make_bank(people())
    assert np.array_equal(one.pose, two.pose) and np.array_equal(one.blinks, two.blinks)
    again = from_tensors(to_tensors(one))
    np.testing.assert_allclose(again.units, one.units, atol=3e-5)
    assert len(one.sounds) == 6 and not one.sounds.any() and one.heard[:, -1].all()


def test_blinks_are_taken_out_and_remembered() -> None:
    bank = motion.make_bank(people())
    inside = bank.blinks[bank.blinks[:, 0] < bank.starts[1]]
    np.testing.assert_allclose((inside[:, 0] + 0.5) / RATE, [2.0, 5.0], atol=0.05)
    assert np.abs(bank.units[:, motion.LIDS]).mean() < 0.02  # of 0.04 with the blinks


def test_lids_close_fully_whatever_a_tracker_calls_closed_and_half_a_blink_stays_half_a_blink() -> None:
    """Of two people a tracker sees closed lids as 0.8 and 0.64; one narrows his eyes to half of that at 6.5 s."""
    takes = [a_take("wide", 1.0), a_take("narrow", 1.0)]
    for take, size in zip(takes, (1.0, 0.8), strict=True):
        take.track.blendshapes[:, [LEFT, RIGHT]] *= size
    half = 0.3 * lid_curve(takes[1].track.times - 6.5)
    takes[1].track.blendshapes[:, [LEFT, RIGHT]] += half[:, None].astype(np.float32)
    assert motion.closures(takes) == pytest.approx({"wide": 0.8, "narrow": 0.64}, abs=0.03)
    bank = motion.make_bank(takes)
    own = bank.blinks[bank.blinks[:, 0] >= bank.starts[1], 0] - bank.starts[1]
    np.testing.assert_allclose((own + 0.5) / RATE, [2.0, 5.0], atol=0.05)
    rest = bank.units[bank.starts[1] :, motion.LIDS].mean(1)
    assert rest[int(6.5 * RATE)] == pytest.approx(0.3 / 0.64, abs=0.1)


def test_waits_that_were_cut_short_count_as_longer() -> None:
    seen = np.stack([np.full(40, 2.0), np.ones(40)], 1)
    cut = np.stack([np.full(40, 2.0), np.zeros(40)], 1)
    longer = np.stack([np.linspace(3, 6, 10), np.ones(10)], 1)
    assert np.median(motion.waiting_times(np.concatenate([seen, longer]))) == pytest.approx(2.0)
    assert np.median(motion.waiting_times(np.concatenate([cut, longer]))) > 3


def test_lips_that_go_on_moving_speak() -> None:
    gap = np.zeros(200)
    gap[:100] = 0.3 * np.sin(np.arange(100))
    moving = lips_move(gap)
    assert moving[10:90].all() and not moving[125:].any()


def test_a_curve_of_chance_is_a_half_and_of_certainty_one() -> None:
    rng = np.random.default_rng(0)
    assert motion_judge.area(rng.standard_normal(500), rng.standard_normal(500)) == pytest.approx(0.5, abs=0.05)
    assert motion_judge.area(np.arange(10.0), np.arange(10.0) + 20) == 1


def test_true_motion_over_itself_is_one() -> None:
    takes = people()
    found = motion_judge.ratios(takes, [[take.track] for take in takes])
    assert all(found[name][0] == pytest.approx(1) for name in ("rotation", "speed", "shift", "brow"))
    half = [[replace(take.track, rotation=take.track.rotation / 2)] for take in takes]
    assert motion_judge.ratios(takes, half)["speed"][0] == pytest.approx(0.5)


def test_windows_last_four_seconds_and_count_from_what_is_usual() -> None:
    found = motion_judge.windows(a_take("one", 1.0).track)
    assert found.shape == (5, 14, 100)
    assert found[:, 11].max() == pytest.approx(motion_judge.SHUT)
