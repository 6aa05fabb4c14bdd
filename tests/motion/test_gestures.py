"""Head, brows, eyes and lids move as the pieces of the bank do, and the mouth closes in pauses."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mggdub.face.expression import BROW_UNITS
from mggdub.motion import body, gestures, lids, selection
from mggdub.motion.gestures import (
    LOOKS,
    TURNED,
    conjugate,
    fill_blinks,
    held_looks,
    less_turned,
    nearer,
    with_blinks,
    with_gaze,
    without_lids,
)
from mggdub.motion.lids import LIDS, lid_curve, lid_motion, lids_with_blinks, resting, split_blinks, with_beside
from mggdub.motion.manner import (
    LEVELS,
    LOWERED,
    MIDDLE,
    RATES,
    Manner,
    blink_rates,
    lowering,
    manner,
    person_levels,
    unlikeness,
)
from mggdub.motion.voice import EASE, PARTED, REST_EASE, lip_gate, mouth_gate, phrases
from mggdub.networks.motion import MotionBank, load_motion
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import BLENDSHAPES, Array

_spec = importlib.util.spec_from_file_location("bank", Path(__file__).parent / "bank.py")
assert _spec is not None and _spec.loader is not None
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)
a_bank, said, TAKE = _made.a_bank, _made.said, _made.TAKE
LEFT, RIGHT = BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")


@pytest.fixture(scope="module")
def bank() -> MotionBank:
    return a_bank()


def moments(seconds: float, fps: float = 25.0) -> Array:
    return (np.arange(round(seconds * fps)) + 0.5) / fps


def test_stop_consonants_do_not_end_a_phrase_and_clicks_do_not_start_one() -> None:
    voice = np.zeros(100)
    voice[10:30] = voice[33:50] = voice[60:80] = voice[90] = 0.9
    assert phrases(voice) == [(10 / 25, 50 / 25), (60 / 25, 80 / 25)]


def test_lips_stay_with_the_speaker_in_short_pauses_and_rest_in_long_ones() -> None:
    times = moments(6, 100)
    breath, rest = (2.0, 2.0 + 0.9 * PARTED), (3.5, 5.0)
    gate = lip_gate([(1.0, breath[0]), (breath[1], rest[0]), (rest[1], 5.5)], times)
    assert (gate[(times > 1.0) & (times < rest[0])] == 1).all()
    assert not gate[(times > rest[0] + REST_EASE) & (times < rest[1] - REST_EASE)].any()
    assert not gate[times < 1.0 - REST_EASE].any()
    assert np.abs(np.diff(gate)).max() < 0.06  # of the opening, in a hundredth of a second
    assert not lip_gate([], times).any()


def test_a_voiced_moment_reaches_a_tenth_of_a_second_beyond_its_phrase() -> None:
    times = moments(4, 100)
    gate = mouth_gate([(1.0, 2.0), (2.2, 3.0)], times)
    assert (gate[(times > 1.0) & (times < 2.0)] == 1).all()
    assert not gate[(times < 1.0 - EASE) | (times > 3.0 + EASE)].any()
    assert gate[(times > 2.0) & (times < 2.2)].min() < 0.01
    assert np.abs(np.diff(gate)).max() < 0.2
    assert not mouth_gate([], times).any()


def test_pieces_fill_the_time_and_lie_within_their_takes(bank: MotionBank) -> None:
    found = body.body_motion(bank, said(40), 0)
    assert len(found.pose) == len(found.units) == 1000
    starts, ends = [p.start for p in found.pieces], [p.end for p in found.pieces]
    assert starts == [0, *ends[:-1]] and ends[-1] == 1000
    assert all(p.source // TAKE == (p.source + p.end - p.start - 1) // TAKE for p in found.pieces)


def test_who_is_silent_moves_like_a_listener_and_who_speaks_like_a_speaker(bank: MotionBank) -> None:
    for silent in (False, True):
        pieces = body.body_motion(bank, said(40, silent), 3).pieces
        listening = sum(p.end - p.start for p in pieces if (p.source // TAKE) % 2) / 1000
        assert (listening > 0.9) if silent else (listening < 0.2)


def test_nothing_leaps_where_pieces_join(bank: MotionBank) -> None:
    found = body.body_motion(bank, said(60), 1)
    speed = np.diff(found.pose, axis=0)
    joins = np.array([p.start for p in found.pieces[1:]])
    assert len(joins) > 5
    change = np.abs(np.diff(speed, axis=0))
    assert change[np.concatenate([joins - 2, joins - 1])].max() < 2.5 * change.max(0).mean() + 0.05
    assert np.abs(found.pose[0]).max() < 1e-6  # it starts as the photo is


def test_ten_minutes_show_nothing_twice() -> None:
    many = a_bank(takes=140)  # 18 minutes
    pieces = body.body_motion(many, said(600), 0).pieces
    shown = np.zeros((2, len(many.pose)), int)
    for piece in pieces:
        shown[int(piece.mirrored), piece.source : piece.source + piece.end - piece.start] += 1
    assert (shown > 1).mean() < 0.02


def test_ten_minutes_of_the_shipped_bank_neither_repeat_nor_leap() -> None:
    """4 s of different true takes correlate by up to 0.94; 99.9 % of true steps are below 6.3 degrees."""
    found = body.body_motion(load_motion(), said(600), 0)
    pose = found.pose[:, :6] / [4, 4, 4, 1, 1, 1]
    starts = np.arange(0, len(pose) - 99, 5)
    windows = np.stack([pose[start : start + 100] for start in starts])
    windows = (windows - windows.mean(1, keepdims=True)).reshape(len(starts), -1)
    size = np.linalg.norm(windows, axis=1)
    alike = (windows @ windows.T) / (size[:, None] * size)
    moving = size > np.quantile(size, 0.1)
    apart_by = np.abs(starts[:, None] - starts) > 250
    assert alike[apart_by & moving[:, None] & moving].max() < 0.94
    joins = np.array([piece.start for piece in found.pieces[1:]])
    steps = np.abs(np.diff(found.pose[:, :3], axis=0)).max(1)
    at = np.concatenate([joins - 2, joins - 1, joins])
    assert steps[at[at < len(steps)]].max() < 6.3


def test_a_seed_is_a_performance(bank: MotionBank) -> None:
    one, same, other = (body.body_motion(bank, said(30), seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pose, same.pose) and np.array_equal(one.units, same.units)
    assert one.pieces != other.pieces


def test_more_sound_does_not_change_what_was_before(bank: MotionBank) -> None:
    short, long = (body.body_motion(bank, said(seconds), 1) for seconds in (20, 40))
    first = short.pieces[0]
    assert long.pieces[0].source == first.source
    np.testing.assert_array_equal(short.pose[: first.end], long.pose[: first.end])


def test_a_mirrored_piece_turns_to_the_other_side(bank: MotionBank) -> None:
    pose, units = selection.mirrored(bank.pose[:5], bank.units[:5])
    np.testing.assert_array_equal(pose[:, [0, 4, 5]], bank.pose[:5][:, [0, 4, 5]])
    np.testing.assert_array_equal(pose[:, [1, 2, 3]], -bank.pose[:5][:, [1, 2, 3]])
    left, right = (selection.NAMES.index(f"eyeLookOut{side}") for side in ("Left", "Right"))
    np.testing.assert_array_equal(units[:, left], bank.units[:5][:, right])
    again = selection.mirrored(pose, units)
    np.testing.assert_array_equal(again[0], bank.pose[:5])
    np.testing.assert_array_equal(again[1], bank.units[:5])


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_blinks_close_fully_at_every_frame_rate(bank: MotionBank, fps: float) -> None:
    rested, known = split_blinks(bank)
    found = body.body_motion(rested, said(60), 0)
    blinks = fill_blinks(bank, found, said(60), 0, Manner())
    shown = lid_motion(known, blinks, moments(60, fps))
    for moment, _ in blinks[blinks[:, 0] < 59]:
        assert shown[np.abs(moments(60, fps) - moment) < 0.06].max() > 0.93
    assert shown.max() <= 1 and shown.min() == 0


def test_blinks_of_the_pieces_stay_and_long_waits_are_filled(bank: MotionBank) -> None:
    prosody = said(60)
    found = body.body_motion(bank, prosody, 0)
    blinks = fill_blinks(bank, found, prosody, 0, Manner())
    assert (np.abs(found.blinks[1:-1, :1] - blinks[:, 0]).min(1) < 0.021).mean() > 0.8
    silent = body.BodyMotion(found.pose, found.units, np.zeros((0, 2)), found.pieces)
    alone = fill_blinks(bank, silent, prosody, 0, Manner())
    waits = np.diff(alone[:, 0])
    assert 10 < len(alone) < 40
    assert waits.min() >= gestures.SHORTEST_INTERVAL - 1e-6
    assert waits.max() < np.quantile(bank.intervals, gestures.PATIENCE) + 2 * gestures.SNAP
    assert alone[0, 0] > gestures.FIRST_BLINK


def test_a_burst_of_blinks_in_a_piece_is_thinned_out_and_double_blinks_stay(bank: MotionBank) -> None:
    prosody = said(20)
    found = body.body_motion(bank, prosody, 0)
    burst = np.stack([np.arange(2.0, 18.0, 0.4), np.zeros(40)], 1)
    crowded = body.BodyMotion(found.pose, found.units, burst, found.pieces)
    for rate, most in ((12.0, 2), (24.0, 4), (36.0, 5)):
        shown = fill_blinks(bank, crowded, prosody, 0, Manner(rate))[:, 0]
        within = [int(((shown >= start) & (shown < start + 5.9)).sum()) for start in shown]
        assert max(within) == most
        assert np.diff(shown).min() < 0.5


def test_blinks_of_the_shipped_bank_are_as_frequent_as_people_s_in_every_first_ten_seconds() -> None:
    """Over seeds 30 a minute, at most six in any six seconds; people who are held out have up to six."""
    shipped, prosody = load_motion(), said(10)
    counts = []
    for seed in range(20):
        person = manner(shipped, seed)
        found = body.body_motion(shipped, prosody, seed, person)
        moments_ = fill_blinks(shipped, found, prosody, seed, person)[:, 0]
        counts.append(len(moments_))
        assert max(((moments_ >= m) & (moments_ < m + 6)).sum() for m in moments_) <= 6
    assert 22 < 6 * np.mean(counts) < 36
    assert np.std(counts) > 0.8 and min(counts) >= 1


def test_a_person_who_blinks_seldom_plays_pieces_with_few_blinks(bank: MotionBank) -> None:
    starts, half = bank.starts, len(bank.sounds) // 2
    seldom = bank.blinks[bank.blinks[:, 0] >= starts[half]]  # none in half of the takes
    uneven = replace(bank, blinks=seldom)
    few, many = (len(body.body_motion(uneven, said(60), 0, Manner(rate)).blinks) for rate in (9.0, 36.0))
    assert few < 0.6 * many
    rates = blink_rates(uneven)
    assert len(rates) == len(bank.sounds) and not rates[:half].any() and rates[half:].min() > 20
    drawn = [manner(uneven, seed).blinks for seed in range(30)]
    assert min(drawn) == RATES[0] and max(drawn) > 20
    assert manner(uneven, 3) == manner(uneven, 3)


def test_a_seed_is_a_person_calmer_or_livelier_than_others() -> None:
    shipped = load_motion()
    people = [manner(shipped, seed) for seed in range(200)]
    heads, faces = np.array([p.head for p in people]), np.array([p.face for p in people])
    assert np.median(heads) == pytest.approx(MIDDLE, abs=0.08) and np.median(faces) == pytest.approx(1.0, abs=0.15)
    for levels in (heads, faces):
        assert LEVELS[0] <= levels.min() < 0.7 and 1.2 < levels.max() <= LEVELS[1]
    assert len({p.unlike for p in people}) > 80
    assert 24 < np.median([p.blinks for p in people]) < 36


def test_lively_people_play_lively_pieces_and_move_farther(bank: MotionBank) -> None:
    lively = np.arange(len(bank.sounds)) >= len(bank.sounds) // 2
    size = np.repeat(np.where(lively, 1.5, 0.7), TAKE)[:, None].astype(np.float32)
    uneven = replace(bank, pose=bank.pose * size, units=bank.units * size)
    levels = person_levels(uneven)
    apart_by = unlikeness(uneven, levels, 0)
    assert apart_by[~lively].max() < apart_by[lively].min()
    for person, wanted in ((0, False), (len(lively) - 1, True)):
        like = Manner(unlike=tuple(unlikeness(uneven, levels, person)))
        pieces = body.body_motion(uneven, said(60), 0, like).pieces
        fitting = sum(p.end - p.start for p in pieces if lively[p.source // TAKE] == wanted)
        assert fitting > 0.7 * 1500
    drawn = {seed: manner(uneven, seed) for seed in range(20)}
    calm, wild = min(drawn, key=lambda s: drawn[s].head), max(drawn, key=lambda s: drawn[s].head)
    heads = [gestures.gestures(uneven, said(20), moments(20), seed).rotation for seed in (calm, wild)]
    assert np.diff(heads[1], axis=0).std() > 1.5 * np.diff(heads[0], axis=0).std()


def a_blink(shape: Array, held: float = 0.12, seed: int = 0) -> tuple[MotionBank, Array]:
    """A bank of one take whose lids [n, 2] did this around value 20, and the lids themselves, kept as a bank keeps."""
    trembling = 0.02 * np.random.default_rng(seed).normal(size=(60, 2))
    whole = trembling.copy()
    whole[16 : 16 + len(shape)] = np.maximum(whole[16 : 16 + len(shape)], shape[:, None])
    curve = lid_curve((np.arange(16, 32) - 20) / VOICE_RATE / lids.stretched(held))[:, None]
    kept = whole.copy()
    kept[16:32] = np.clip((whole[16:32] - curve) / np.maximum(1 - curve, 0.3), -0.3, 0.45)
    units = np.zeros((60, len(selection.NAMES)), np.float32)
    units[:, LIDS] = kept
    blinks, ends = np.array([[20.0, held]]), np.array([0, 60])
    many = np.zeros((60, 10), np.float32), units, np.zeros((60, 4), np.float32), ends
    return MotionBank(*many, np.ones(1, bool), np.zeros(1, int), blinks, np.linspace(0.8, 6, 25)), whole


def test_lids_that_a_bank_took_apart_are_whole_again() -> None:
    slow = np.array([0, 0, 0.12, 0.8, 1, 0.9, 0.5, 0.4, 0.35, 0.3, 0.22, 0.2, 0.12, 0.1, 0.05, 0])
    bank, whole = a_blink(slow)
    beside = np.r_[0:18, 23:60]
    np.testing.assert_allclose(lids_with_blinks(bank)[beside], whole[beside], atol=1e-4)
    rested, known = split_blinks(bank)
    assert np.abs(rested.units[:, LIDS]).max() < 0.15
    lasting = lid_motion(known, np.array([[20.5 / VOICE_RATE, 0]]), moments(2.4))
    np.testing.assert_allclose(lasting[beside], np.clip(whole.mean(1), 0, 1)[beside], atol=0.06)


def test_a_blink_that_was_quicker_than_the_usual_one_is_not_made_slow() -> None:
    bank, _ = a_blink(np.array([0, 0, 0, 0.5, 1, 0.3, 0, 0, 0, 0]), 0.08)
    assert lids_with_blinks(bank)[[18, 22, 23]].max() < 0.1 < lid_curve(np.array([0.08])).min()


def test_every_blink_has_its_own_shape_and_closes_quicker_than_it_opens() -> None:
    times = moments(3, 1000)
    opening = np.linspace(1, 0, 12)
    long, _ = a_blink(np.concatenate([[0, 0, 0.1, 0.8], opening]), 0.16)
    short, _ = a_blink(np.array([0, 0, 0.1, 0.8, 1, 0.8, 0.3, 0.1, 0, 0, 0, 0, 0, 0, 0, 0]), 0.12)
    one, other = (lid_motion(split_blinks(b)[1], np.array([[1.0, 0]]), times) for b in (long, short))
    for shown in (one, other):
        closing, left = (np.ptp(times[(shown > 0.1) & (shown < 0.9) & side]) for side in (times < 1, times > 1))
        assert 0.02 < closing < left < 0.45
    assert (one > 0.2).sum() > 1.4 * (other > 0.2).sum()


def a_blink_with_brows() -> tuple[MotionBank, Array]:
    """A bank whose only blink has eyes that look down, brows that sink and one that rises; and its units."""
    bank, _ = a_blink(np.array([0, 0, 0.1, 0.8, 1, 0.8, 0.3, 0.1, 0, 0]))
    units = bank.units.copy()
    units[18:24, [selection.NAMES.index(f"eyeLookDown{side}") for side in ("Left", "Right")]] += 0.3
    units[18:24, selection.NAMES.index("browInnerUp")] -= 0.1
    units[18:24, selection.NAMES.index("browOuterUpLeft")] += 0.2
    return replace(bank, units=units), units


def test_eyes_and_brows_go_with_a_blink_wherever_it_is_played_and_not_without_it() -> None:
    bank, units = a_blink_with_brows()
    rested, known = split_blinks(bank)
    down, brow = (selection.NAMES.index(name) for name in ("eyeLookDownLeft", "browInnerUp"))
    assert np.abs(rested.units[:, [down, brow]]).max() < 1e-6
    again = with_beside(rested.units, known, np.array([[20.5 / VOICE_RATE, 0]]))
    others = [k for k in range(len(selection.NAMES)) if k not in LIDS]
    np.testing.assert_allclose(again[:, others], units[:, others], atol=1e-6)
    later = with_beside(np.zeros((60, len(units.T))), known, np.array([[40.5 / VOICE_RATE, 0]]))
    assert later[38:44, down] == pytest.approx(0.3) and later[38:44, brow] == pytest.approx(-0.1)
    one, other = (selection.NAMES.index(f"browOuterUp{side}") for side in ("Left", "Right"))
    assert later[40, one] == later[40, other] == pytest.approx(0.1)  # what one side does alone stays where it was
    assert rested.units[20, one] - rested.units[20, other] == pytest.approx(0.2)


@pytest.mark.parametrize("moment", [0.02, 0.1, 2.3, 2.39])
def test_a_blink_at_either_end_moves_brows_as_far_as_there_is_time(moment: float) -> None:
    rested, known = split_blinks(a_blink_with_brows()[0])
    moved = with_beside(rested.units, known, np.array([[moment, 0]]))
    assert moved.shape == rested.units.shape
    assert np.abs(moved - rested.units)[int(moment * VOICE_RATE)].max() == pytest.approx(0.3)


def test_without_blinks_nothing_goes_with_them(bank: MotionBank) -> None:
    units = bank.units.copy()
    down = [selection.NAMES.index(f"eyeLookDown{side}") for side in ("Left", "Right")]
    for at, _ in bank.blinks:
        units[int(at) - 1 : int(at) + 3, down] += 0.3
    nodding = replace(bank, units=units)
    with_, without = (gestures.gestures(nodding, said(20), moments(20), 0, blink=b) for b in ("natural", "none"))
    column = BLENDSHAPES.index("eyeLookDownLeft")
    assert with_.units[with_.lids > 0.9, column].mean() > without.units[with_.lids > 0.9, column].mean() + 0.2
    assert not without.lids.any()


def test_faces_do_not_stand_still_where_takes_end(bank: MotionBank) -> None:
    found = body.body_motion(bank, said(60), 0)
    ends = {piece.source + piece.end - piece.start for piece in found.pieces[:-1]}
    assert not ends & set(bank.starts.tolist())
    assert (np.abs(np.diff(found.units, axis=0)).max(1) > 1e-6).all()


def test_who_lowers_brows_plays_pieces_of_people_who_lower_them(bank: MotionBank) -> None:
    frowning = np.arange(len(bank.sounds)) % 2 == 1
    units = bank.units.copy()
    up = [k for k in BROW_UNITS if k not in LOWERED]
    units[np.ix_(np.repeat(frowning, TAKE), up)] *= 0.05
    units[np.ix_(np.repeat(~frowning, TAKE), LOWERED)] *= 0.05
    both = replace(bank, units=units)
    assert (lowering(both)[frowning] > 1).all() and (lowering(both)[~frowning] < -1).all()
    for person in (0, 1):
        like = Manner(unlike=tuple(unlikeness(both, person_levels(both), person)))
        pieces = body.body_motion(both, said(60), 0, like).pieces
        same = sum(p.end - p.start for p in pieces if frowning[p.source // TAKE] == frowning[person])
        assert same > 0.7 * 1500


def test_between_blinks_lids_tremble_as_people_do_and_stay_less_sunk() -> None:
    trembling = 0.03 * np.random.default_rng(0).normal(size=(200, 2))
    sunk = resting(trembling + 0.4)
    assert sunk.mean() <= lids.LID_REST[1]
    assert np.diff(sunk, axis=0).std() > 0.9 * np.diff(trembling, axis=0).std()
    wide = resting(trembling - 0.4)
    assert -lids.LID_REST[0] <= wide.mean() < -0.1


def test_lids_that_are_narrowed_for_a_moment_are_not_taken_for_blinks() -> None:
    narrowed = np.zeros((60, 2))
    narrowed[29:32] = np.array([0.3, 0.7, 0.4])[:, None]
    shown = resting(narrowed)
    assert 0.2 < shown.max() <= sum(lids.FLUTTER) < 0.31
    small = resting(narrowed / 5)
    assert small.max() == pytest.approx(0.14, abs=0.04)


def test_heads_go_less_far_but_what_is_quick_in_them_stays() -> None:
    pose = np.zeros((200, 10))
    pose[:, 3] = 2 * np.sin(np.arange(200) / 30)
    quick = 0.05 * np.where(np.arange(200) % 2, 1, -1)
    less = nearer(pose + quick[:, None])
    assert np.ptp(less[:, 3]) == pytest.approx(gestures.GOES * 4, abs=0.2)
    np.testing.assert_allclose(np.diff(less[:, 3]), np.diff(quick), atol=0.06)
    np.testing.assert_allclose(less[:, 0], quick)


def test_blinks_close_half_closed_lids_fully() -> None:
    units = np.zeros((3, 52), np.float32)
    units[:, LEFT], units[:, RIGHT] = 0.3, -0.1
    closed = with_blinks(units, np.array([0.0, 1.0, 0.5]))
    np.testing.assert_allclose(closed[:, LEFT], [0.3, 1.0, 0.65])
    np.testing.assert_allclose(closed[:, RIGHT], [-0.1, 1.0, 0.45])
    assert not without_lids(closed)[:, [LEFT, RIGHT]].any()


def test_liveliness_scales_the_same_motion(bank: MotionBank) -> None:
    times = moments(20)
    still, calm, plain = (gestures.gestures(bank, said(20), times, 1, amount) for amount in (0.0, 0.5, 1.0))
    assert not still.rotation.any() and not still.units.any() and not still.torso.any()
    assert still.lids.any()
    np.testing.assert_allclose(calm.rotation, 0.5 * plain.rotation, atol=1e-5)
    np.testing.assert_allclose(calm.lids, plain.lids)


def test_the_frame_rate_only_samples_the_same_motion(bank: MotionBank) -> None:
    slow, fast = (gestures.gestures(bank, said(10), moments(10, fps), 1) for fps in (20, 60))
    np.testing.assert_allclose(slow.rotation, fast.rotation[1::3], atol=1e-5)
    np.testing.assert_allclose(slow.units, fast.units[1::3], atol=1e-5)
    np.testing.assert_allclose(slow.lids, fast.lids[1::3], atol=1e-9)


def test_eyes_on_the_camera_turn_back_as_the_head_turns() -> None:
    pose = np.zeros((2, 10))
    pose[0, 1], pose[1, 0] = 10.0, 10.0  # to the viewer's right, which is the person's left; down
    aside, up = held_looks(pose)
    assert aside[[selection.NAMES[k] for k in LOOKS].index("eyeLookOutRight")] > 0.05
    assert up[[selection.NAMES[k] for k in LOOKS].index("eyeLookUpLeft")] > 0.05
    np.testing.assert_allclose(conjugate(aside), aside, atol=1e-9)
    glancing = np.zeros((2, len(selection.NAMES)))
    glancing[:, LOOKS] = 0.4 * np.sign(aside)
    towards, free = (with_gaze(glancing, 0 * pose, 1.0, gaze) for gaze in ("camera", "natural"))
    assert np.abs(towards[:, LOOKS]).max() < 0.5 * np.abs(free[:, LOOKS]).max()


def test_values_lie_at_the_middle_of_their_frames() -> None:
    values = np.arange(10.0)[:, None]
    assert body.interpolated(values, np.array([4.5 / VOICE_RATE]))[0, 0] == pytest.approx(4)
    assert body.interpolated(values, np.array([0.0, 9.0]))[:, 0] == pytest.approx([0, 9])


@pytest.mark.parametrize("count", [2, 3, 4, 40])
def test_values_between_are_those_of_a_natural_cubic_spline(count: int) -> None:
    rng = np.random.default_rng(count)
    values, times = rng.normal(size=(count, 3)), rng.uniform(-0.1, count / VOICE_RATE + 0.1, 100)
    own = (np.arange(count) + 0.5) / VOICE_RATE
    expected = CubicSpline(own, values, bc_type="natural")(np.clip(times, own[0], own[-1]))
    np.testing.assert_allclose(body.interpolated(values, times), expected, rtol=0, atol=1e-12)


def test_heads_that_speak_turn_no_farther_than_a_photo_bears() -> None:
    angles = np.linspace(0, 40, 81)[:, None] * [0.6, 0.64, 0.48]
    held = np.linalg.norm(less_turned(angles), axis=1)
    assert np.array_equal(less_turned(angles[:26]), angles[:26])
    assert (np.diff(held) > 0).all() and held.max() < TURNED and np.diff(held).max() < 0.5 + 1e-9
