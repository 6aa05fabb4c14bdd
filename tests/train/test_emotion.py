"""Emotions are read off clips' names, averaged over people, and shrunk where people disagree."""

from __future__ import annotations

import numpy as np
import pytest

from mggdub.face.expression import lip_gap, load_expression
from mggdub.train.emotion import NAMES, ON_PHOTOS, UNITS, Look, agreed, emotion_of, fit
from mggdub.types import DRIVERS


@pytest.mark.parametrize(
    ("person", "name", "emotion"),
    [
        ("RAVDESS_24", "03-01-03-02-02-02-24_GT.mp4", "happy"),
        ("RAVDESS_24", "03-01-02-02-02-02-24_GT.mp4", "other"),
        ("MEAD_M019", "M019_sur_3_014_GT.mp4", "surprised"),
        ("MEAD_M003", "M003_level_1_happy_024.mp4", "happy"),
        ("MEAD_W015", "W015_level_1_neutral_030.mp4", "other"),
        ("MayFile", "a_happy_day.mp4", None),
    ],
)
def test_the_name_of_a_clip_tells_its_emotion(person: str, name: str, emotion: str | None) -> None:
    assert emotion_of({"identity": person, "source_path": f"videos/{name}"}) == emotion


def test_what_people_disagree_in_is_shrunk() -> None:
    offsets = np.zeros((4, DRIVERS))
    offsets[:, 0] = 1.0
    offsets[:, 1] = 0.1
    found = agreed(offsets, np.full(DRIVERS, 0.2))
    assert 0.98 < found[0] < 1 and 0.04 < found[1] < 0.06 and not found[2:].any()


def test_people_count_alike_and_the_mouth_opens_no_farther() -> None:
    basis, rng = load_expression(), np.random.default_rng(0)
    raised = np.zeros(DRIVERS)
    raised[NAMES.index("browInnerUp")] = 0.8
    raised[UNITS] = 3.0
    talkers = [Look(f"talker {i}", None, 0.05 * rng.standard_normal(DRIVERS)) for i in range(20)]
    acted = [Look("a", "surprised", raised), Look("b", "surprised", 0.5 * raised)]
    one, more = (fit(talkers + acted[:1] * n + acted[1:], np.zeros((0, DRIVERS)), basis) for n in (1, 9))
    np.testing.assert_allclose(one["surprised"], more["surprised"], atol=1e-9)
    assert 0.5 < one["surprised"][NAMES.index("browInnerUp")] / ON_PHOTOS < 0.65
    assert abs(lip_gap(basis, one["surprised"][UNITS:])) < 1e-3
    assert set(one) == {"surprised"}
