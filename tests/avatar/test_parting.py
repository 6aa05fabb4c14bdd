"""Teeth and dark that lie beside the inner lips' landmarks, and the lips behind them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, sparse

from mggdub.avatar import build
from mggdub.avatar.parting import LINE, Parting, find_parting, lips_behind
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP, OUTER_LIPS
from mggdub.geometry.camera import cm_per_px, crop_camera
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import AvatarOptions
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

CHIN_SIDE = 17  # landmark, under the lower lip
DISTANCE = 145.0  # cm: 14 px a cm
MIDDLE = np.array([256.0, 300.0])
SKIN, LIP, TEETH, DARK = (
    np.array(c) for c in ((0.8, 0.6, 0.5), (0.7, 0.35, 0.35), (0.85, 0.83, 0.78), (0.12, 0.08, 0.08))
)
ROWS, COLUMNS = np.mgrid[:CROP_SIZE, :CROP_SIZE] + 0.5


def ellipse(wide: float, high: float, down: float = 0.0) -> Array:
    return np.asarray(((COLUMNS - MIDDLE[0]) / wide) ** 2 + ((ROWS - MIDDLE[1] - down) / high) ** 2 < 1)


def mouth(inside: Array, high: float, shown: float, up: float) -> tuple[Portrait, Array]:
    """Lips of 30 by 16 px whose inner landmarks are `high` px from the middle; the photo shows what is `inside` up to
    `shown` px from it, `up` px higher than they say. And a mesh whose lips are as far apart.
    """
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    image[ellipse(30, 16)] = LIP
    image[ellipse(24, shown, -up)] = inside
    marks = np.full((478, 3), 100, np.float32)
    for ring, wide, tall in ((OUTER_LIPS, 30, 16), (INNER_LIPS, 24, high)):
        turn = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        marks[list(ring), :2] = MIDDLE + np.stack([wide * np.cos(turn), tall * np.sin(turn)], 1)
    camera = crop_camera(np.eye(3), np.array([0, 0, DISTANCE]))
    pixels = np.rint(image * 255).astype(np.uint8)
    head = Portrait(pixels, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)
    mesh = np.zeros((478, 3), np.float32)
    mesh[INNER_UPPER_LIP, 1], mesh[INNER_LOWER_LIP, 1] = -high * cm_per_px(camera), high * cm_per_px(camera)
    return head, mesh


def held(found: Parting) -> Array:
    """[512, 512] bool."""
    pixels = np.stack([COLUMNS, ROWS], -1).reshape(-1, 2)
    return found.holds(pixels).reshape(CROP_SIZE, CROP_SIZE)


@pytest.mark.parametrize("inside", [TEETH, DARK])
def test_what_lies_above_a_narrow_parting_is_not_the_lips(inside: Array) -> None:
    found = find_parting(*mouth(inside, high=1.5, shown=2.5, up=2.5), 0.07)
    mask = held(found)
    stray = ellipse(22, 2.5, -2.5) & ~ellipse(24, 1.5)
    assert mask[stray].mean() > 0.95
    assert not mask[~ellipse(30, 16)].any()
    lip = ellipse(28, 15) & (np.abs(ROWS - MIDDLE[1]) > 9)
    assert not mask[lip].any()
    behind = found.lip_colors(np.stack([COLUMNS[stray], ROWS[stray]], 1))
    assert (
        np.abs(behind - LIP * np.linspace(1 - LINE, 1, 29)[:, None, None]).max(2).min(0).max() < 0.03
    )  # darker at the parting


def test_teeth_on_the_edge_of_an_open_mouth_are_found_and_its_shadow_is_kept() -> None:
    """The dark under the upper lip of an open mouth is the lip's own shadow; teeth on the lip are not."""
    teeth, shadow = (held(find_parting(*mouth(inside, high=6, shown=8, up=2), 0.07)) for inside in (TEETH, DARK))
    stray = ellipse(8, 8, -2) & ~ellipse(25, 7) & (MIDDLE[1] > ROWS)
    assert teeth[stray].mean() > 0.95
    assert not shadow[stray].any()
    assert teeth[ellipse(23, 5)].all() and shadow[ellipse(23, 5)].all()


def painted(head: Portrait, where: Array, color: Array) -> Portrait:
    """The same with pixels [512, 512] bool of a color 0..1."""
    return replace(head, image=np.where(where[..., None], np.rint(color * 255).astype(np.uint8), head.image))


def test_the_dark_in_the_corners_of_a_smile_is_the_mouths_also_beyond_the_lips() -> None:
    head, mesh = mouth(TEETH, high=6, shown=6, up=0)
    corners = (np.abs(np.abs(COLUMNS - MIDDLE[0]) - 26) < 4) & (np.abs(ROWS - MIDDLE[1]) < 2)
    mole = (np.abs(COLUMNS - MIDDLE[0] - 22) < 2) & (np.abs(ROWS - MIDDLE[1] - 9) < 1)
    found = find_parting(painted(head, corners, DARK), mesh, 0.07)
    assert held(found)[corners].mean() > 0.9
    assert not held(found)[~ellipse(33, 16)].any()
    assert not held(find_parting(painted(head, mole, DARK), mesh, 0.07))[mole].any()
    behind = found.lip_colors(np.stack([COLUMNS[corners], ROWS[corners]], 1))
    assert (behind > 0.9 * (1 - LINE) * LIP).all()
    closed, still = mouth(LIP, high=0.2, shown=0.2, up=0)
    assert not held(find_parting(painted(closed, corners, DARK), still, 0.07)).any()


def test_a_beard_beside_the_corners_is_no_part_of_the_mouth() -> None:
    head, mesh = mouth(TEETH, high=4, shown=4, up=0)
    beard = ~ellipse(30, 16) & (np.abs(ROWS - MIDDLE[1]) < 40)
    corners = (np.abs(np.abs(COLUMNS - MIDDLE[0]) - 26) < 4) & (np.abs(ROWS - MIDDLE[1]) < 2)
    bearded = painted(head, beard, DARK * 2)
    assert not (held(find_parting(bearded, mesh, 0.07)) & beard).any()
    found = held(find_parting(painted(bearded, corners, DARK), mesh, 0.07))
    assert found[corners & ellipse(30, 16)].mean() > 0.9
    assert (found & beard & ~ndimage.binary_dilation(corners, iterations=2)).sum() < 4


def test_a_dark_spot_among_teeth_on_the_lip_is_the_mouths() -> None:
    head, mesh = mouth(TEETH, high=6, shown=8, up=2)
    spot = (np.abs(COLUMNS - MIDDLE[0]) < 2) & (np.abs(ROWS - MIDDLE[1] + 8) < 1)
    assert held(find_parting(painted(head, spot, DARK), mesh, 0.07))[spot].all()


def test_the_line_between_closed_lips_does_not_go_with_the_lower_one() -> None:
    """But with the upper one, whose shadow it is, and where lips end. Without a line nothing is not theirs."""
    found = find_parting(*mouth(DARK, high=0.2, shown=1.5, up=0), 0.07)
    below = (MIDDLE[1] < ROWS) & (np.abs(COLUMNS - MIDDLE[0]) < 18)
    assert held(found)[below & ellipse(24, 1.5)].all()
    assert not held(found)[~below & (np.abs(COLUMNS - MIDDLE[0]) < 18) | (np.abs(COLUMNS - MIDDLE[0]) > 20)].any()
    assert not held(found)[MIDDLE[1] + 4 < ROWS].any()
    behind = found.lip_colors(np.stack([COLUMNS[held(found)], ROWS[held(found)]], 1))
    assert np.abs(behind - LIP).max() < 0.05
    for high in (0.2, 1.5):
        assert not held(find_parting(*mouth(LIP, high=high, shown=2.5, up=2.5), 0.07)).any()


def test_a_mouth_at_the_edge_of_the_crop_is_looked_at_too() -> None:
    head, mesh = mouth(TEETH, high=1.5, shown=2.5, up=2.5)
    for away in ([-MIDDLE[0], 0], [CROP_SIZE, 0], [0, CROP_SIZE]):
        moved = head.landmarks.copy()
        moved[:, :2] += away
        found = find_parting(Portrait(head.image, head.crop, moved, head.blendshapes, head.camera), mesh, 0.07)
        assert not held(found)[ellipse(30, 16)].any()  # a mouth that others have


def test_lips_lie_behind_what_is_not_theirs() -> None:
    head, mesh = mouth(TEETH, high=1.5, shown=2.5, up=2.5)
    found = find_parting(head, mesh, 0.07)
    pixels = np.array([[250.0, 297.0], [260.0, 297.0]])
    surface = np.full((CROP_SIZE, CROP_SIZE), DISTANCE, np.float32)
    layer = lips_behind(head, surface, found, pixels, sparse.csr_matrix(np.eye(2, 478, dtype=np.float32)), 0.07)
    assert (layer.means[:, 2] > 0).all()
    assert np.abs(layer.colors / layer.colors[:, :1] - LIP / LIP[0]).max() < 0.03
    assert not layer.photo.any()
    closed = find_parting(*mouth(DARK, high=0.2, shown=1.5, up=0), 0.07)
    assert lips_behind(head, surface, closed, pixels, layer.skin, 0.07).photo.all()  # or teeth would be drawn there


def test_an_avatar_counts_it_as_the_photos_mouth(
    avatar: HeadAvatar, models: Models, head_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It vanishes with the photo's mouth, which is empty without it."""

    def patch(head: Portrait, *_: object) -> Parting:
        corner = head.landmarks[CHIN_SIDE, :2].astype(int) - 2
        return Parting(corner, np.ones((4, 4), bool), np.full((4, 4, 3), 0.25, np.float32))

    options = AvatarOptions(size=256, preview=True)
    monkeypatch.setattr(build, "find_parting", patch)
    other = build.build_avatar(read_image(head_png), models, options)
    count = len(other.photo_mouth)
    assert count >= 4
    assert len(other.gaussians) - len(avatar.gaussians) == count - len(avatar.photo_mouth)
    behind = other.gaussians.colors[other.hidden][-count:]
    assert np.abs(behind.numpy() - 0.25).max() < 0.01
