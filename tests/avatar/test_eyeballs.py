"""Irises over a filled white."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from mggdub.avatar.eyeballs import (
    DARKENS,
    GLINT_FOLLOWS,
    IRIS_BEHIND,
    OPEN,
    WHITE_BEHIND,
    between_lids,
    eyeball_layer,
    eyes_of,
    fill_iris,
    turn_irises,
    usual_iris,
)
from mggdub.face.mesh import IRISES, LEFT_EYE, RIGHT_EYE, UPPER_LIDS
from mggdub.geometry.camera import cm_per_px, crop_camera, project
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

DISTANCE = 70.0
SURFACE = np.full((CROP_SIZE, CROP_SIZE), DISTANCE, np.float32)
SKIN, WHITE, BLUE = np.array([0.7, 0.5, 0.4]), np.array([0.8, 0.8, 0.75]), np.array([0.2, 0.4, 0.6])
RADIUS = 8.0  # px
MIDDLES = ((330.0, 250.0), (180.0, 250.0))


def head(height: float = 10.0, glint: bool = False) -> Portrait:
    """Two eyes, `height` px from the middle to either lid, with blue irises."""
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE] + 0.5
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    marks = np.full((478, 3), 300, np.float32)
    for ring, iris, (x, y) in zip((LEFT_EYE, RIGHT_EYE), IRISES, MIDDLES, strict=True):
        turn = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        way = 1 if ring is LEFT_EYE else -1  # both begin at their outer corner and go over the upper lid
        marks[list(ring), :2] = np.stack([x + way * 22 * np.cos(turn), y - height * np.sin(turn)], 1)
        marks[list(iris), :2] = np.array([x, y]) + RADIUS * np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]])
        opening = ((columns - x) / 22) ** 2 + ((rows - y) / height) ** 2 < 1
        image[opening] = WHITE
        image[opening & (np.hypot(columns - x, rows - y) < RADIUS)] = BLUE
        if glint:
            image[np.hypot(columns - x - 2, rows - y + 1) < 2] = 1
    camera = crop_camera(np.eye(3), np.array([0, 0, DISTANCE]))
    pixels = np.rint(image * 255).astype(np.uint8)
    return Portrait(pixels, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)


def follows(layer_skin: sparse.csr_matrix) -> Array:
    """[N] which points follow a vertex."""
    return np.diff(layer_skin.indptr) > 0


def test_edges_and_radii_are_measured_in_the_photo() -> None:
    eye = eyes_of(head())[0]
    assert eye.from_iris(np.array([[330.0, 250], [338.0, 250]])) == pytest.approx([0, 1])
    assert eye.from_edge(np.array([[330.0, 250], [330.0, 245], [330.0, 235]])) == pytest.approx([10, 5, -5], abs=0.5)


def test_white_lies_behind_the_iris_and_goes_on_behind_the_lids() -> None:
    photo = head()
    layer = eyeball_layer(photo, SURFACE)
    iris = follows(layer.skin)
    z = layer.means[:, 2]
    assert z[~iris] == pytest.approx(WHITE_BEHIND, abs=0.01) and z[iris] == pytest.approx(IRIS_BEHIND, abs=0.01)
    off = np.abs(layer.colors[~iris] - WHITE).max(1)
    assert np.quantile(off, 0.98) < 0.06 and off.max() < 0.2  # corners, where the opening is narrow
    solid = iris & (layer.opacity > 0.9)
    assert np.quantile(np.abs(layer.colors[solid] - BLUE).max(1), 0.9) < 0.06
    at = project(layer.means - [0, 0, WHITE_BEHIND], photo.camera)[~iris]
    assert at[:, 1].min() < 250 - 12 and at[:, 1].max() > 250 + 12


def test_hidden_parts_of_an_iris_are_as_its_seen_ones() -> None:
    at = np.linspace(0, 0.9, 200)
    colors = np.repeat(at[:, None], 3, 1).astype(np.float32)
    shown = np.arange(200) % 2 == 0
    dark = colors.copy()
    dark[~shown] = 0
    assert fill_iris(at, dark, shown) == pytest.approx(colors, abs=0.06)
    assert (fill_iris(at, dark, np.zeros(200, bool)) == dark).all()


def test_irises_turn_and_reflections_lag() -> None:
    photo = head(glint=True)
    pixels = np.stack(np.meshgrid(np.arange(150, 360) + 0.5, np.arange(230, 270) + 0.5), -1).reshape(-1, 2)
    still = sparse.csr_matrix((len(pixels), 478), dtype=np.float32)
    skin = turn_irises(still, photo, pixels)
    for iris, middle in zip(IRISES, MIDDLES, strict=True):
        share = skin[:, [iris[0]]].toarray()[:, 0]
        within = np.linalg.norm(pixels - middle, axis=1) < RADIUS - 1
        glint = np.linalg.norm(pixels - middle - [2, -1], axis=1) < 1
        assert share[glint] == pytest.approx(GLINT_FOLLOWS)
        beside = within & (np.linalg.norm(pixels - middle - [2, -1], axis=1) > 3.5)
        assert share[beside] == pytest.approx(1)
        ring = np.linalg.norm(pixels - middle, axis=1) / RADIUS
        assert share[(ring > 1.02) & (ring < DARKENS - 0.02)] == pytest.approx(1)
        assert share[ring > DARKENS + 0.02] == pytest.approx(0)


def test_the_white_that_an_iris_uncovers_has_none_of_its_dark_ring() -> None:
    photo = head(height=14)
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE] + 0.5
    image = photo.image.copy()
    for x, y in MIDDLES:
        ring = np.hypot(columns - x, rows - y)
        image[(ring >= RADIUS) & (ring < 1.15 * RADIUS)] = (WHITE * 255 * 0.6).astype(np.uint8)
    layer = eyeball_layer(replace(photo, image=image), SURFACE)
    white = layer.colors[~follows(layer.skin)]
    assert np.quantile(np.abs(white - WHITE).max(1), 0.98) < 0.06


def test_an_eye_that_is_closed_in_the_photo_gets_an_iris_and_lashes_that_go_up() -> None:
    photo = head(height=1.5)
    layer = eyeball_layer(photo, SURFACE)
    iris = follows(layer.skin)
    dark, white = layer.colors[iris & (layer.opacity > 0.9)], layer.colors[~iris]
    assert dark.mean() < 0.5 * SKIN.mean() and white.mean() > 1.5 * dark.mean()
    assert np.ptp(layer.means[~iris, 1]) > 1.2  # cm, as far as an eye opens
    pixels = np.array([MIDDLES[0], MIDDLES[1]])
    skin = turn_irises(sparse.csr_matrix((2, 478), dtype=np.float32), photo, pixels)
    for row, side in enumerate(("Left", "Right")):
        assert skin[row, list(UPPER_LIDS[side][0])].sum() == pytest.approx(1, abs=0.1)


def test_lashes_of_eyes_that_were_half_shut_are_behind_the_margin_when_they_have_opened() -> None:
    photo = head(height=3)
    eye, px_cm = eyes_of(photo)[0], cm_per_px(photo.camera)
    column = np.array(MIDDLES[0]) + np.linspace(-2.5, 2.5, 11)[:, None] * [0, 1]
    skin = turn_irises(sparse.csr_matrix((11, 478), dtype=np.float32), photo, column)
    shares = skin[:, list(UPPER_LIDS["Left"][0])].sum(1).A1
    assert (np.diff(shares) > 0).all() and shares[0] > 1 and shares[-1] < 2
    opened = OPEN / px_cm - np.ptp(eye.opening[:, 1])  # px that the margin goes up
    margin = eye.opening[:, 1].min()
    assert column[:, 1] - opened * (shares - 1) == pytest.approx(margin, abs=0.3)


def test_what_is_seen_between_narrow_lids_is_known_by_how_it_follows_them() -> None:
    steps = np.linspace(-2, 2, 9)[:, None] * [0, 1]
    pixels = np.concatenate([np.array(MIDDLES[0]) + steps, np.array(MIDDLES[1]) + steps])
    still = sparse.csr_matrix((len(pixels), 478), dtype=np.float32)
    left, right = between_lids(turn_irises(still, head(height=3), pixels))
    assert left.tolist() == list(range(9)) and right.tolist() == list(range(9, 18))
    assert [len(part) for part in between_lids(turn_irises(still, head(height=10), pixels))] == [0, 0]


def test_an_eye_that_hardly_shows_has_no_iris_of_shadow() -> None:
    shown, shadow = head(height=10), head(height=3)
    dark = shadow.image.copy()
    x, y = (int(place) for place in MIDDLES[0])
    dark[y - 3 : y + 4, x - 22 : x + 23] = 5
    colors = []
    for photo in (shown, replace(shadow, image=dark)):
        layer = eyeball_layer(photo, SURFACE)
        left = follows(layer.skin) & (layer.means[:, 0] > 0) & (layer.opacity > 0.9)
        colors.append(layer.colors[left])
    assert colors[0][:, 2].mean() > 1.5 * colors[0][:, 0].mean()  # blue, as it is
    assert colors[1].mean() > 0.08 and colors[1].max() > 0.4  # brown with a light, not black
    assert colors[1][:, 0].mean() > colors[1][:, 2].mean()


def test_a_usual_iris_is_browner_than_the_skin_and_lit_from_above() -> None:
    light = np.array([0.7, 0.5, 0.4])
    places = np.array([[0.6, 0.6], [0.22, -0.2], [0.0, 0.0]])
    plain, lit, pupil = usual_iris(np.linalg.norm(places, axis=1), places, light)
    assert plain[0] / plain[2] > light[0] / light[2] and plain.max() < 0.35
    assert (lit > plain + 0.2).all() and pupil.mean() < lit.mean()
