"""The mouth's inside."""

import numpy as np
import pytest
import torch

from mggdub.avatar.lips import Lips, chord_rows, chords, closed_width, lip_edges, lip_shape, lips_of, picture_places
from mggdub.avatar.mouth import (
    BEHIND,
    _paint,
    build_mouth,
    nearest_states,
    not_burnt,
    paint_mouth,
    paint_places,
    sample_states,
)
from mggdub.face.mesh import INNER_LIPS, LOWER_LIP, UPPER_LIP, canonical_face, inside
from mggdub.geometry.camera import crop_camera, project
from mggdub.networks.mouth import MouthAtlas, MouthConfig, load_mouth
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

OPENING = 0.9  # cm


def lips(opening: float) -> Array:
    """The canonical face with its mouth open."""
    mesh = np.concatenate([canonical_face()[0], np.zeros((10, 3))]).astype(np.float32)
    upper, lower = list(UPPER_LIP[1:-1]), list(LOWER_LIP[1:-1])
    middle = (mesh[upper] + mesh[lower]) / 2
    arch = np.sin(np.arange(1, 10) / 10 * np.pi)[:, None] * np.array([0, opening, 0])
    mesh[upper], mesh[lower] = middle - 0.2 * arch, middle + 0.8 * arch
    mesh[[152, 175, 199, 200], 1] += 0.8 * opening
    return mesh


def head(mesh: Array, skin: Array) -> Portrait:
    """A face of one colour whose mouth shows a pattern."""
    camera = crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    marks = np.zeros((478, 3), np.float32)
    marks[:, :2] = project(mesh, camera)
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    pattern = 0.5 + 0.2 * np.sin(columns / 6) * np.cos(rows / 9)
    image = np.repeat(pattern[..., None], 3, 2)
    image[np.abs(columns - 256) > 70] = skin
    return Portrait(
        np.rint(image * 255).astype(np.uint8),
        Crop(0, 0, CROP_SIZE),
        marks,
        np.zeros(len(BLENDSHAPES), np.float32),
        camera,
    )


@pytest.fixture(scope="module")
def atlas() -> MouthAtlas:
    return load_mouth()


def striped(skins: tuple[float, ...] = (0.7,)) -> MouthAtlas:
    """People with two states, 0.8 and 1.4 cm open: white teeth of 0.4 cm each with a dark gap at x = 0.3, red below."""
    config = MouthConfig(people=len(skins), states=2, rows=60, columns=120)
    made = MouthAtlas(config)
    for state, opening in enumerate((0.8, 1.4)):
        own = lips_of(lips(opening), lips(0))
        span, edges = lip_edges(own, config.columns, config.margin)
        x, y = np.moveaxis(picture_places(span, edges, config.rows, config.margin), -1, 0)
        tooth = (y < TEETH_END) & (np.abs(x - 0.3) > 0.06)
        picture = np.where(tooth[..., None], [230, 230, 230], [90, 20, 20])
        made.pictures[:, state] = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.uint8))
        made.spans[:, state], made.edges[:, state] = torch.from_numpy(span), torch.from_numpy(edges)
        made.lows[:, state] = float(own[1, 4:7, 1].mean())
        made.shapes[:, state] = torch.from_numpy(lip_shape(own, 0.0))
    made.skins[:] = torch.tensor(skins)[:, None]
    made.widths[:] = closed_width(lips(0))
    return made


TEETH_END = 0.15  # cm below the closed lips


def test_chords_run_from_lip_to_lip() -> None:
    mesh, along = lips(OPENING), np.linspace(0, 1, 11)
    ends = chords(along, np.array([0, 1]), mesh)
    np.testing.assert_allclose(ends[0], mesh[list(UPPER_LIP)], atol=1e-5)
    np.testing.assert_allclose(ends[1], mesh[list(LOWER_LIP)], atol=1e-5)
    half = chord_rows(along, np.full(11, 0.3)) @ mesh
    np.testing.assert_allclose(half, chords(along, np.array([0.3]), mesh)[0], atol=1e-5)


def test_upper_teeth_stay_on_the_skull_while_lips_move() -> None:
    atlas, rest = striped(), lips(0)
    x, y = np.meshgrid(np.linspace(-0.5, 1, 151), np.array([0.0]))
    places = np.stack([x, y], -1)
    gaps = []
    for opening in np.linspace(0.8, 1.4, 7):
        own = Lips.of(lips(float(opening)), rest, 1.0)
        upper, lower = own.lips[:, 5, 1]
        down = (places[..., 1] - upper) / (lower - upper)
        row = paint_places(atlas, 0, own, places, down)[0, :, 0]
        gaps.append(float((x[0] * (1 - row)).sum() / (1 - row).sum()))
    assert np.ptp(gaps) < 0.01  # cm
    assert gaps[0] == pytest.approx(0.3, abs=0.05)


def test_lower_teeth_move_with_the_lower_lip() -> None:
    atlas, rest = striped(), lips(0)
    for state, opening in enumerate((0.8, 1.4)):
        span, edges = lip_edges(lips_of(lips(opening), rest), atlas.config.columns, atlas.config.margin)
        above = edges[1] - picture_places(span, edges, atlas.config.rows, atlas.config.margin)[..., 1]
        bar = np.where((above > 0.05) & (above < 0.2), 240, 40).astype(np.uint8)
        atlas.pictures[0, state] = torch.from_numpy(bar)
    levels = []
    for opening in (0.8, 1.0, 1.2, 1.4):
        own = Lips.of(lips(opening), rest, 1.0)
        y = np.linspace(0, 1.3, 261)[:, None]
        upper, lower = own.lips[:, 5, 1]
        column = paint_places(atlas, 0, own, np.stack([0 * y, y], -1), np.clip((y - upper) / (lower - upper), 0, 1))
        bright = np.maximum(column[:, 0, 0] - 0.3, 0)
        levels.append(float((y[:, 0] * bright).sum() / bright.sum() - lower))
    assert np.ptp(levels) < 0.08  # cm


def test_compiled_painting_is_the_sampling_of_states(atlas: MouthAtlas) -> None:
    rng = np.random.default_rng(0)
    parts = atlas.pictures[0, :4], atlas.spans[0, :4], atlas.edges[0, :4]
    places = rng.normal(size=(30, 40, 2)).astype(np.float32) * [2.5, 1]  # some beyond the pictures
    sinks, lower, light = rng.random((30, 40)), rng.normal(size=4) / 5, rng.random(4)
    moved = np.repeat(places[None], 4, 0)
    moved[..., 1] -= sinks * lower[:, None, None]
    sampled = sample_states(parts[0].float(), *parts[1:], atlas.config.margin, torch.from_numpy(moved).float())
    expected = np.einsum("k,kdrc->rcd", light, sampled.numpy())
    painted = np.empty((30, 40, 3), np.float32)
    given = (places, sinks, lower, light)
    _paint(*(part.numpy() for part in parts), atlas.config.margin, *(x.astype(np.float32) for x in given), painted)
    assert np.ptp(expected) > 100
    assert np.abs(painted - expected).max() < 0.5  # of 255; the last thousandth of a pixel is left out


def test_states_change_without_a_leap() -> None:
    atlas = load_mouth()
    shapes = np.linspace(atlas.shapes[0].numpy().min(0), atlas.shapes[0].numpy().max(0), 400)
    shares = np.zeros((400, atlas.config.states))
    for row, shape in zip(shares, shapes, strict=True):
        states, weights = nearest_states(atlas, 0, shape)
        row[states] = weights
    assert np.allclose(shares.sum(1), 1) and shares.min() >= 0
    assert np.abs(np.diff(shares, axis=0)).max() < 0.25
    assert (shares.max(0) > 0.3).sum() > 3  # several states have their turn


def test_smiles_show_more_light_than_round_mouths() -> None:
    made, rest = striped(), lips(0)
    levels = []
    for stretch in (0.8, 1.0, 1.1):
        own = lips_of(lips(0.8), rest)
        own[..., 0] *= stretch
        places = np.zeros((1, 1, 2))
        levels.append(float(paint_places(made, 0, Lips(own, 0.0, 1.0), places, np.zeros((1, 1))).mean()))
    assert levels[0] < levels[1] < levels[2] < 1.4 * levels[1]


def test_teeth_in_bright_light_keep_their_shading() -> None:
    colors = not_burnt(np.array([0.2, 0.6, 0.9, 1.2, 1.6]))
    np.testing.assert_allclose(colors[:2], [0.2, 0.6])
    assert (np.diff(colors) > 0.005).all() and colors.max() < 0.94


def test_an_open_photo_keeps_its_own_mouth(atlas: MouthAtlas) -> None:
    mesh = lips(OPENING)
    portrait = head(mesh, np.full(3, 0.7))
    layer = build_mouth(atlas, portrait, mesh, lips(0), float(mesh[list(INNER_LIPS), 2].max()))
    colors, _ = paint_mouth(atlas, layer, np.zeros_like(mesh))
    at = project(layer.means, portrait.camera)
    seen = inside(at, portrait.landmarks[list(INNER_LIPS), :2])
    at = at.astype(int)
    truth = portrait.image[at[:, 1], at[:, 0]] / 255
    assert seen.mean() > 0.4
    error = np.abs(colors - truth)[seen]
    assert np.median(error) < 0.02 and error.mean() < 0.05
    elsewhere, _ = paint_mouth(atlas, layer, lips(0.3) - mesh)
    assert np.abs(elsewhere[seen] - truth[seen]).mean() > 0.03  # the photo's own is not smeared over other openings


def test_a_closed_photo_gets_teeth_of_plausible_light(atlas: MouthAtlas) -> None:
    closed = lips(0)
    for level in (0.3, 0.8):
        skin = np.array([1.0, 0.75, 0.62]) * level
        layer = build_mouth(atlas, head(closed, skin), closed, closed, float(closed[list(INNER_LIPS), 2].max()))
        assert not layer.own_share.any()
        colors, _ = paint_mouth(atlas, layer, lips(OPENING) - closed)
        light = colors.mean(1)
        assert np.percentile(light, 95) > 0.4 * skin.mean()  # something lit
        assert np.percentile(light, 5) < 0.6 * np.percentile(light, 95)  # something dark
        assert colors.min() >= 0 and colors.max() <= 1


def test_points_lie_behind_the_lips_and_cover_the_opening(atlas: MouthAtlas) -> None:
    closed = lips(0)
    deepest = float(closed[list(INNER_LIPS), 2].max()) + 0.3
    layer = build_mouth(atlas, head(closed, np.full(3, 0.6)), closed, closed, deepest)
    middle = np.abs(layer.means[:, 0]) < 0.5
    assert layer.means[middle, 2].min() > closed[13, 2] + BEHIND
    small = paint_mouth(atlas, layer, lips(0.2) - closed)[1]
    large = paint_mouth(atlas, layer, lips(2.5) - closed)[1]
    assert large.max() > small.max()
    moved = layer.means + layer.skin @ (lips(2.5) - closed)
    near = np.abs(moved[:, 0]) < 0.1
    heights = np.sort(moved[near, 1])
    assert np.diff(heights).max() < 2.5 * large.max()  # no cracks between rows
    assert np.ptp(heights) > 2.5


def test_whose_light_is_alike_is_taken() -> None:
    made, closed = striped((0.2, 0.8)), lips(0)
    for skin, person in ((0.2, 0), (0.8, 1)):
        layer = build_mouth(made, head(closed, np.full(3, skin)), closed, closed, 0.0)
        assert layer.person == person
        np.testing.assert_allclose(layer.light, 1, atol=0.05)
    alone = striped((0.2,))
    layer = build_mouth(alone, head(closed, np.full(3, 0.8)), closed, closed, 0.0)
    assert layer.light.min() > 1.5  # a darker person's mouth is lit up
