"""How far a head may move."""

import numpy as np

from mggdub.motion import limits
from mggdub.types import Array, ExpressionTrack


def track(rotation: Array, translation: Array, torso: Array | None = None) -> ExpressionTrack:
    count = len(rotation)
    parts = (np.asarray(part, np.float32) for part in (rotation, translation))
    body = np.zeros((count, 4), np.float32) if torso is None else torso.astype(np.float32)
    times = (np.arange(count) + 0.5) / 25
    return ExpressionTrack(times, np.zeros((count, 52), np.float32), np.zeros((count, 8), np.float32), *parts, body)


def test_ordinary_motion_is_unchanged_and_wild_motion_ends() -> None:
    rng = np.random.default_rng(0)
    calm = track(rng.uniform(-19, 19, (50, 3)), rng.uniform(-4, 4, (50, 3)))
    same = limits.bounded(calm)
    assert (same.rotation == calm.rotation).all() and (same.translation == calm.translation).all()
    assert limits.held_back(calm) == 0
    wild = track(rng.uniform(-180, 180, (50, 3)), rng.uniform(-100, 100, (50, 3)), rng.uniform(-100, 100, (50, 4)))
    held = limits.bounded(wild)
    assert (np.abs(held.rotation) <= [32, 42, 34]).all() and (np.abs(held.translation) <= [9, 7, 28]).all()
    assert np.abs(held.torso[:, 2]).max() <= 16 and limits.held_back(wild) > 45


def test_the_limit_is_smooth_and_keeps_order() -> None:
    yaw = np.linspace(-90, 90, 1801)
    rotation = np.stack([0 * yaw, yaw, 0 * yaw], 1)
    less = limits.bounded(track(rotation, 0 * rotation)).rotation[:, 1].astype(float)
    slope = np.diff(less) / 0.1
    assert (slope > -1e-4).all() and slope.max() < 1.001 and np.abs(np.diff(slope)).max() < 0.02
    assert np.allclose(less, -less[::-1], atol=1e-5)


def test_a_zoom_is_forgotten_and_a_lean_is_not() -> None:
    times = np.arange(250) / 25
    none = np.zeros((250, 4), np.float32)
    nearer = -60 * np.clip(times / 2, 0, 1)  # the camera zooms for two seconds and stays
    translation = np.stack([0 * times, 0 * times, nearer], 1).astype(np.float32)
    moved, _ = limits.recentred(times, translation, none)
    assert np.abs(moved[-50:]).max() < 3 and moved[:, 2].min() < -17
    lean = (translation * (15 / 60)).astype(np.float32)
    assert limits.recentred(times, lean, none)[0] is lean


def test_a_cut_is_eased_within_a_fifth_of_a_second() -> None:
    turned = np.zeros((50, 3))
    turned[:25, 1] = 12
    jump = track(turned, turned / 6)
    eased = limits.eased(jump, (1.0,))
    assert np.abs(np.diff(eased.rotation[:, 1])).max() < 5 and (eased.rotation[:25] == jump.rotation[:25]).all()
    assert np.abs(eased.rotation[31:]).max() < 1e-4 and np.abs(eased.translation[31:]).max() < 1e-4
    assert limits.eased(jump, ()) is jump
