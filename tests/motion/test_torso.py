"""The torso's place and motion."""

import numpy as np
import pytest

from mggdub.avatar.shares import over_picture, torso_shares
from mggdub.geometry.camera import crop_camera, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.motion import torso
from mggdub.networks import geometry
from mggdub.types import BACKGROUND, CLOTHES, SKIN, Crop, ExpressionTrack

CM_PER_PX = 0.07


def test_clothes_and_what_is_well_below_the_chin_are_the_torso() -> None:
    marks = np.zeros((478, 3), np.float32)
    marks[152, 1] = 300
    labels = np.zeros((256, 256, 6), np.float32)
    labels[..., SKIN] = 1
    labels[180:, :, SKIN], labels[180:, :, CLOTHES] = 0, 1  # the collar is 60 px below the chin
    labels[:, :40] = np.eye(6)[BACKGROUND]
    matte = np.ones((512, 512), np.float32)
    matte[:, :80] = 0
    found = geometry.torso_matte(marks, geometry.clothes_share(labels), matte, CM_PER_PX)
    assert found[:290].max() == 0 and found[380:, 90:].min() > 0.99
    assert found[:, :70].max() == 0
    shares = torso_shares(found, CM_PER_PX)
    assert shares[400, 300] == pytest.approx(1) and 0 < shares[450, 60] < 1 and shares[450, 5] < 0.02
    assert torso_shares(np.zeros_like(found), CM_PER_PX).max() == 0


def test_shares_go_on_beyond_the_crop_and_end() -> None:
    shares = np.zeros((512, 512), np.float32)
    shares[400:] = 1
    crop = Crop(100.0, 0.0, 100.0)
    found = over_picture(shares, crop, (300, 1200), 18 / 256 * 2)
    height, width = found.shape
    assert (width, height) == (40, 160)
    at = {row: found[round(row / 1200 * height)] for row in (20, 90, 110, 1150)}
    assert at[20].max() == 0 and at[90][20] > 0.9 and at[110][20] > 0.8 and at[1150].max() < 0.1
    assert at[110][0] == 0 < at[110][8] < at[110][20]


def test_points_go_where_the_picture_goes() -> None:
    camera = crop_camera(euler_to_matrix(np.array([4.0, -8.0, 3.0])).astype(np.float32), np.array([1.0, -2, 65]))
    motion = np.array([0.6, -0.4, 5.0, 2.0])
    sway = torso.sway(motion, camera)
    # A point as far away as the head's origin.
    points = (np.array([[4.0, 15, 0], [-6, 20, 0]]) @ camera.viewmat[:3, :3]).astype(np.float32)
    moved = points + points @ sway[:, :3].T + sway[:, 3]
    turn, shift = torso.in_plane(motion, 65.0)
    before, after, centre = (project(p, camera) @ [1, 1j] for p in (points, moved, torso.CENTRE))
    expected = centre + turn * (before - centre) + shift * camera.K[0, 0] / 65
    assert np.abs(after - expected).max() < 0.06 * np.abs(after - before).max()  # CENTRE lies elsewhere in depth
    assert (torso.sway(np.zeros(4), camera) == 0).all()


def test_motion_comes_back_and_is_held_within_reason() -> None:
    motion = np.array([0.2, 0.1, 3.0, -1.0])
    turn, shift = torso.in_plane(motion, 60.0)
    back = torso.from_plane(np.array([turn]), np.array([shift]), 60.0)[0]
    assert back == pytest.approx(motion, abs=0.01)
    assert abs(torso.in_plane(np.array([30.0, 40, 0, 0]), 60.0)[1]) < torso.FARTHEST + 1e-6


def test_a_torso_follows_the_head_late_and_a_little() -> None:
    times = (np.arange(50) + 0.5) / 25
    there = np.zeros((50, 3), np.float32)
    there[25:] = [2.0, 1.0, 0]
    track = ExpressionTrack(times, np.zeros((50, 52), np.float32), np.zeros((50, 8), np.float32), 0 * there, there)
    moved = torso.add_torso(track).torso
    assert np.abs(moved[:10]).max() < 1e-3 and moved[45:, :2] == pytest.approx(np.tile([0.34, 0.216], (5, 1)), abs=0.01)
    assert 0 < moved[24, 0] < moved[25, 0] < moved[28, 0] and (moved[:, 2:] == 0).all()
    assert (torso.add_torso(ExpressionTrack(times[:1], track.blendshapes[:1], track.lip_modes[:1])).torso == 0).all()


def test_a_head_leans_as_its_torso_does_or_little_more() -> None:
    count = 50
    away = np.linspace(-9, 9, count, dtype=np.float32)
    none = np.zeros((count, 52), np.float32), np.zeros((count, 8), np.float32)
    place, body = np.zeros((count, 3), np.float32), np.zeros((count, 4), np.float32)
    place[:, 2], body[:, 3] = away, away / 3
    near = torso.near_head(ExpressionTrack(np.arange(count) / 25, *none, translation=place, torso=body))
    apart = near.translation[:, 2] - near.torso[:, 3]
    assert np.abs(apart).max() <= torso.NECK_REACHES
    assert (np.diff(near.translation[:, 2]) > 0).all()
    small = np.abs(away) < 0.5
    assert np.abs(near.translation[small, 2] - away[small]).max() < 0.02


def test_a_neck_stretches_no_farther_than_a_neck_can() -> None:
    count = 60
    away = np.linspace(-9, 9, count, dtype=np.float32)
    none = np.zeros((count, 52), np.float32), np.zeros((count, 8), np.float32)
    place, body = np.zeros((count, 3), np.float32), np.zeros((count, 4), np.float32)
    place[:, 0], place[:, 1], body[:, 1] = away, -away, -away
    near = torso.near_head(ExpressionTrack(np.arange(count) / 25, *none, translation=place, torso=body))
    apart = np.abs(near.translation[:, :2] - near.torso[:, :2])
    assert (apart.max(0) <= torso.NECK_STRETCHES).all() and apart.max() > 1
    small = np.abs(away) < 0.3
    assert np.abs(near.translation[small] - place[small]).max() < 0.02


def test_nothing_comes_in_from_beyond_the_edges_of_a_picture() -> None:
    shares = np.ones((512, 512), np.float32)
    crop = Crop(0.0, 0.0, 256.0)
    found = over_picture(shares, crop, (256, 256), 0.1)
    size, px = len(found), 256 / len(found)
    assert max(found[0].max(), found[-1].max(), found[:, 0].max(), found[:, -1].max()) < 0.01
    assert found[size // 2, size // 2] == pytest.approx(1)
    cm = px * 0.1 * crop.scale  # of a cell
    slope = np.abs(np.diff(found, axis=0)).max() / cm
    assert slope * torso.FARTHEST < 1  # what lies farther in comes from farther in: nothing folds
