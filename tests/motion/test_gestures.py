"""Blinks, nods and the gate that closes the mouth in pauses."""

from __future__ import annotations

import numpy as np

from mggdub.motion.gestures import BlinkStyle, HeadStyle, blinks, head_motion, stresses
from mggdub.motion.voice import EASE, PARTED, REST_EASE, lip_gate, mouth_gate, phrases
from mggdub.networks.speech import VOICE_RATE
from mggdub.types import BLENDSHAPES, Array

LEFT, RIGHT = BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")


def talk(seconds: float) -> list[tuple[float, float]]:
    """Phrases of 2.5 s with pauses of 0.8 s."""
    starts = np.arange(0.3, seconds - 3, 3.3)
    return [(float(start), float(start) + 2.5) for start in starts]


def moments(seconds: float, fps: float = 25.0) -> Array:
    return (np.arange(round(seconds * fps)) + 0.5) / fps


def closures(lids: Array) -> Array:
    """Frames at which the lids pass half way on their way down."""
    return np.flatnonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5))


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


def test_people_blink_as_people_do() -> None:
    lids = np.stack([blinks(talk(300), moments(300), seed)[:, LEFT] for seed in range(4)])
    per_minute = np.mean([len(closures(one)) for one in lids]) / 5
    assert 13 < per_minute < 22
    assert lids.max() <= 1 and lids.max() > 0.95
    gaps = np.concatenate([np.diff(closures(one)) / 25 for one in lids])
    assert gaps.min() > 0.8 * BlinkStyle().shortest_interval
    assert gaps.std() > 0.3 * gaps.mean()


def test_a_blink_closes_faster_than_it_opens_and_lasts_a_quarter_of_a_second() -> None:
    times = moments(30, 1000)
    lids = blinks([], times, 5)
    assert np.array_equal(lids[:, LEFT], lids[:, RIGHT])
    first = np.flatnonzero(lids[:, LEFT])
    end = first[np.flatnonzero(np.diff(first) > 1)[0]]
    one = lids[first[0] : end + 1, LEFT]
    assert 0.22 < len(one) / 1000 < 0.32
    assert one.argmax() < len(one) / 2
    assert times[first[0]] > 0.2


def test_blinks_prefer_the_ends_of_phrases() -> None:
    spoken = talk(600)
    times = moments(600)
    closed = times[np.concatenate([closures(blinks(spoken, times, seed)[:, LEFT]) for seed in range(3)])]
    ends = np.array([end for _, end in spoken])
    near = np.abs(closed[:, None] - ends).min(1) < 0.15
    assert near.mean() > 2 * (0.3 / 3.3)


def test_the_head_starts_at_rest_moves_gently_and_rests_in_pauses() -> None:
    spoken = [(0.5, 20.0), (25.0, 40.0)]
    times = moments(40)
    stressed = [(float(t), 0.9) for t in np.arange(1, 20, 1.3)]
    rotation, brows = head_motion(spoken, stressed, times, 0)
    assert np.abs(rotation[0]).max() < 0.05
    assert (np.abs(rotation) <= HeadStyle().limit).all()
    assert (rotation[50:500].std(0) > 0.2).all()
    assert np.abs(rotation[(times > 23) & (times < 24.8)]).max() < 0.1
    assert np.abs(np.diff(rotation, axis=0)).max() < 0.7  # degrees a frame
    assert 0 < brows.max() < 0.3
    assert not head_motion([], [], times, 0)[0].any()


def test_stresses_are_the_loud_syllables_of_speech() -> None:
    time = (np.arange(250) + 0.5) / VOICE_RATE
    energy = 0.01 + np.exp(-(((time - 3) / 0.1) ** 2)) + np.exp(-(((time - 7) / 0.1) ** 2))
    found = stresses(energy, [(1.0, 5.0)])
    assert len(found) == 1
    assert abs(found[0][0] - 3) < 0.06
    assert stresses(energy, []) == []
