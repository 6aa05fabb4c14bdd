"""A head that lies, stands on its head or leans in its picture moves as it does upright."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.animation import animate
from mggdub.avatar import build
from mggdub.avatar.file import load_avatar, save_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.models import Models
from mggdub.motion import torso
from mggdub.options import AVATAR_OPTIONS, RenderOptions
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack, Photo

SMALL = RenderOptions(size=256, preview=True)
LARGE = RenderOptions(size=362, preview=True)  # of a picture turned by 45 degrees: the head is as large
BLINKS = [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]


@pytest.fixture(scope="module")
def track(models: Models) -> ExpressionTrack:
    """The photo's own state; the head turned with the mouth open; nodding with closed eyes; the chest moved aside."""
    units, modes = np.zeros((4, 52), np.float32), np.zeros((4, 8), np.float32)
    modes[1] = models.expression.opening
    units[2, BLINKS] = 1
    rotation = np.array([[0, 0, 0], [0, 8, 0], [6, 0, 4], [0, 0, 0]], np.float32)
    chest = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1.5, 0.5, 2, 0]], np.float32)
    return ExpressionTrack(np.arange(4) + 1.0, units, modes, rotation, torso=chest)


@pytest.fixture(scope="module")
def upright(models: Models, avatar: HeadAvatar, track: ExpressionTrack) -> list[Array]:
    return list(animate.animate(avatar, models, track, relative=True))


def likeness(one: Array, other: Array) -> float:
    """PSNR, dB."""
    return float(-10 * np.log10(max(((one / 255.0 - other / 255.0) ** 2).mean(), 1e-9)))


@pytest.mark.parametrize("quarters", [1, 2])
def test_quarter_turns_change_nothing(
    models: Models, head_png: Path, upright: list[Array], track: ExpressionTrack, quarters: int, tmp_path: Path
) -> None:
    pixels = np.asarray(Image.open(head_png).convert("RGB"))
    avatar = build.build_avatar(Photo(np.ascontiguousarray(np.rot90(pixels, -quarters))), models, SMALL)
    assert (avatar.angle - 90 * quarters) % 360 == 0
    options = {name: getattr(SMALL, name) for name in AVATAR_OPTIONS}
    save_avatar(tmp_path / "head.mgg", avatar, {"options": options})
    kept, _ = load_avatar(tmp_path / "head.mgg")
    frames = list(animate.animate(kept, models, track, relative=True))
    for frame, other in zip(frames, upright, strict=True):
        assert likeness(np.rot90(frame, quarters), other) > 32
        assert likeness(np.rot90(frame, quarters), other) > likeness(frame, other) + 10


def test_a_leaning_head_is_as_clean_as_an_upright_one(
    models: Models, head_png: Path, avatar: HeadAvatar, upright: list[Array], track: ExpressionTrack
) -> None:
    image = Image.open(head_png).convert("RGB")
    turned = np.array(image.rotate(-45, Image.Resampling.BICUBIC, expand=True, fillcolor=image.getpixel((2, 2))))
    leaning = build.build_avatar(Photo(turned), models, LARGE)
    assert leaning.angle == pytest.approx(45, abs=4)
    frames = list(animate.animate(leaning, models, track, relative=True))
    assert likeness(frames[0], leaning.image) > likeness(upright[0], avatar.image) - 2
    outside = np.ones(leaning.image.shape[:2], bool)
    box = leaning.box
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    assert (frames[0][outside] == leaning.image[outside]).all()
    half, middle = 80, leaning.image.shape[0] // 2  # what lies well within the turned picture
    for frame, other in zip(frames, upright, strict=True):
        straight = np.asarray(Image.fromarray(frame).rotate(45, Image.Resampling.BICUBIC))
        inner = straight[middle - half : middle + half, middle - half : middle + half]
        assert likeness(inner, other[128 - half : 128 + half, 128 - half : 128 + half]) > 26


def test_a_torso_sways_as_its_person_stands(avatar: HeadAvatar) -> None:
    """Down for a person turned clockwise by a quarter is to the left of the picture."""
    turn, shift = torso.in_plane(np.array([0.0, 1.0, 5.0, 0.0]), 60.0, 90.0)
    straight, down = torso.in_plane(np.array([0.0, 1.0, 5.0, 0.0]), 60.0)
    assert shift == pytest.approx(down * 1j) and shift.real < -0.9 and turn == straight
    moved = avatar.camera.viewmat[:3, :3] @ torso.sway(np.array([0.0, 1.0, 0.0, 0.0]), avatar.camera, 90.0)[:, 3]
    assert moved == pytest.approx([shift.real, 0, 0], abs=1e-4)  # in the camera's axes: to the left
