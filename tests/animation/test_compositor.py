"""A head that is drawn small is as sharp as its photo, at rest and moved."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mggdub.animation.animate import animate
from mggdub.animation.compositor import Compositor, in_photo_state, photo_places
from mggdub.avatar.values import HeadAvatar
from mggdub.avatar.visible import foreground
from mggdub.metrics.pixels import psnr
from mggdub.models import Models
from mggdub.renderer.blocks import ALL_MOUTH, PAD
from mggdub.types import Array, ExpressionTrack

STILL = np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def compositor(avatar: HeadAvatar) -> Compositor:
    return Compositor.of(avatar)


def sharp(avatar: HeadAvatar, frame: Array) -> float:
    """Of the middle of the face."""
    part = avatar.box.cut(frame)
    height, width = part.shape[:2]
    middle = part[height // 4 : height * 3 // 4, width // 3 : width * 2 // 3]
    return float(ndimage.laplace(middle.astype(np.float32).mean(-1)).std())


def test_the_photos_own_state_is_the_photo(avatar: HeadAvatar, compositor: Compositor) -> None:
    frame = compositor.rgb(compositor.draw(in_photo_state(avatar)), STILL)
    assert psnr(avatar.box.cut(frame), avatar.box.cut(avatar.image)) > 42
    outside = np.ones(frame.shape[:2], bool)
    avatar.box.cut(outside)[:] = False
    assert np.array_equal(frame[outside], avatar.image[outside])


def test_detail_of_the_photos_own_mouth_is_a_part_of_the_face(avatar: HeadAvatar, compositor: Compositor) -> None:
    detail = compositor.detail.reshape(avatar.box.height + 2 * PAD, -1, 4)[PAD:-PAD, PAD:-PAD]
    ratio = avatar.box.width / avatar.box.render_width
    x, y = (photo_places(avatar)[avatar.photo_mouth] * ratio).astype(int).T
    open_ = bool(avatar.mouth_layer.own_share.any())
    assert not open_ or np.median(detail[y, x, 3]) == ALL_MOUTH
    assert (detail[..., 3] > 0).any() == open_ and (detail[..., 3] > 0).mean() < 0.1


def test_a_head_drawn_at_half_its_size_is_sharp_at_rest_and_turned(
    models: Models, avatar: HeadAvatar, compositor: Compositor
) -> None:
    turns = np.array([[0, 0, 0], [0, 6, 0], [4, -5, 2]], np.float32)
    none = np.zeros((3, 52), np.float32), np.zeros((3, 8), np.float32)
    track = ExpressionTrack(np.arange(3) / 25, *none, rotation=turns)
    photo = sharp(avatar, avatar.image)
    rest, *moved = (sharp(avatar, frame) / photo for frame in animate(avatar, models, track, relative=True))
    assert rest > 0.97 and min(moved) > 0.86
    plain = replace(compositor, detail=np.zeros_like(compositor.detail))
    assert sharp(avatar, plain.rgb(plain.draw(in_photo_state(avatar)), STILL)) / photo < rest


def test_lids_have_the_detail_of_their_own_places(avatar: HeadAvatar) -> None:
    other = replace(avatar, lid_places=np.full_like(avatar.lid_places, 20))
    lid = avatar.lids[1]
    shown = photo_places(other)[lid]
    assert (shown[avatar.shows_photo[lid]] == 20).all() and np.isnan(shown[~avatar.shows_photo[lid]]).all()
    assert np.array_equal(
        photo_places(other)[: lid.start - len(shown)], photo_places(avatar)[: lid.start - len(shown)], True
    )


def test_planes_and_frames_show_the_same(avatar: HeadAvatar, compositor: Compositor) -> None:
    drawn, body = compositor.draw(in_photo_state(avatar)), np.array([0.3, 0.2, 1.0, 0], np.float32)
    frame, planes = compositor.rgb(drawn, body), compositor.yuv(drawn, body)
    height, width = frame.shape[:2]
    assert planes.shape == (height * 3 // 2, width)
    luma = 16 + 219 / 255 * (frame @ np.array([0.2126, 0.7152, 0.0722]))
    assert np.abs(planes[:height] - luma).max() < 1.01
    assert not np.array_equal(frame[-40:], avatar.image[-40:])  # the torso sways


def test_behind_the_head_is_the_plate(avatar: HeadAvatar, compositor: Compositor) -> None:
    assert np.array_equal(avatar.box.cut(compositor.behind(STILL)), avatar.plate)


def test_the_foreground_is_what_was_mixed() -> None:
    rng = np.random.default_rng(1)
    own, background = rng.random((2, 8, 8, 3)).astype(np.float32)
    matte = rng.uniform(0.2, 1, (8, 8)).astype(np.float32)
    mixed = matte[..., None] * own + (1 - matte[..., None]) * background
    assert foreground(mixed, matte, background) == pytest.approx(own, abs=1e-4)
