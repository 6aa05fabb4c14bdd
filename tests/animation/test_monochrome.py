"""Photos of one hue for each lightness have videos that do, too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mggdub.animation.animate import animate
from mggdub.animation.monochrome import Monochrome
from mggdub.avatar.build import build_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.motion.track import play_file
from mggdub.motion.track_file import read_track
from mggdub.options import RenderOptions
from mggdub.types import VIDEO_LUMA, Photo

SEPIA = np.array([1.05, 0.97, 0.8])


def test_an_old_print_with_a_border_of_another_tone_is_monochrome(avatar: HeadAvatar) -> None:
    grey = avatar.image.astype(float) @ np.array(VIDEO_LUMA)
    grey += np.random.default_rng(0).normal(0, 6, grey.shape)
    print_ = np.clip(grey[..., None] * SEPIA, 0, 255).astype(np.uint8)
    print_[:20], print_[:, :20] = (240, 236, 225), (240, 236, 225)
    found = Monochrome.of(replace(avatar, image=print_))
    assert found is not None and found.apart.min() < 3.7
    pixels = found.rgb(avatar.image.copy()) / SEPIA
    face = found.box.cut(pixels)[80:160, 80:160]
    assert np.ptp(face, axis=-1).max() < 35 < np.ptp(found.box.cut(avatar.image / SEPIA)[80:160, 80:160], axis=-1).max()


@pytest.mark.parametrize("tint", [np.ones(3), SEPIA])
def test_a_monochrome_photo_speaks_in_its_own_hue(
    tmp_path: Path, head_png: Path, models: Models, tint: np.ndarray
) -> None:
    light = read_image(head_png).pixels @ np.array(VIDEO_LUMA)
    photo = np.rint(np.clip(light[..., None] * tint, 0, 255)).astype(np.uint8)
    avatar = build_avatar(Photo(photo), models, RenderOptions(size=256, preview=True))
    (tmp_path / "a.csv").write_text("time_s,jawOpen\n0.02,0\n0.06,0.8\n")
    track = play_file(read_track(tmp_path / "a.csv"), models.expression).track
    resting, speaking = animate(avatar, models, track, relative=True)
    assert np.abs(resting.astype(int) - avatar.image).mean() < 1 and (speaking != resting).any()
    for frame in (resting, speaking):
        value = frame.astype(float)
        known = value.min(-1) > 12  # the ratio of dark colours is rounding's
        assert np.abs(value / tint - (value / tint).mean(-1, keepdims=True))[known].max() < 12
    for planes in animate(avatar, models, track, relative=True, planes=True):
        chroma = planes[256:].astype(int).reshape(2, -1)
        assert np.ptp(chroma[0]) < (4 if tint.min() == 1 else 30)
        assert tint.min() < 1 or np.abs(chroma - 128).max() <= 2


def test_a_photo_in_colours_is_none(avatar: HeadAvatar) -> None:
    assert Monochrome.of(avatar) is None
