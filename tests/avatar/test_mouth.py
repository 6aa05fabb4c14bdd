"""The mouth's inside."""

import numpy as np
import pytest
import torch

from mggdub.avatar.mouth import BEHIND, build_mouth, chord_rows, chords, paint_mouth
from mggdub.face.mesh import INNER_LIPS, LOWER_LIP, UPPER_LIP, canonical_face
from mggdub.geometry.camera import crop_camera, project
from mggdub.networks.mouth import MouthConfig, MouthNet, load_mouth
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
def net() -> MouthNet:
    return load_mouth()


def test_chords_run_from_lip_to_lip() -> None:
    mesh, along = lips(OPENING), np.linspace(0, 1, 11)
    ends = chords(along, np.array([0, 1]), mesh)
    np.testing.assert_allclose(ends[0], mesh[list(UPPER_LIP)], atol=1e-5)
    np.testing.assert_allclose(ends[1], mesh[list(LOWER_LIP)], atol=1e-5)
    half = chord_rows(along, np.full(11, 0.3)) @ mesh
    np.testing.assert_allclose(half, chords(along, np.array([0.3]), mesh)[0], atol=1e-5)


def test_an_open_photo_keeps_its_own_mouth(net: MouthNet) -> None:
    mesh = lips(OPENING)
    portrait = head(mesh, np.full(3, 0.7))
    layer = build_mouth(net, portrait, mesh, lips(0), float(mesh[list(INNER_LIPS), 2].max()))
    colors, _ = paint_mouth(net, layer, np.zeros_like(mesh))
    seen = np.abs(layer.residual).sum(1) > 0
    at = project(layer.means[seen], portrait.camera).astype(int)
    truth = portrait.image[at[:, 1], at[:, 0]] / 255
    assert seen.mean() > 0.4
    assert np.abs(colors[seen] - truth).mean() < 0.02
    elsewhere, _ = paint_mouth(net, layer, lips(0.3) - mesh)
    assert np.abs(elsewhere[seen] - truth).mean() > 0.03  # the photo's own is not smeared over other openings


def test_a_closed_photo_gets_teeth_of_plausible_light(net: MouthNet) -> None:
    closed = lips(0)
    for level in (0.3, 0.8):
        skin = np.array([1.0, 0.75, 0.62]) * level
        layer = build_mouth(net, head(closed, skin), closed, closed, float(closed[list(INNER_LIPS), 2].max()))
        assert not layer.residual.any()
        colors, _ = paint_mouth(net, layer, lips(OPENING) - closed)
        light = colors.mean(1)
        assert np.percentile(light, 95) > 0.4 * skin.mean()  # something lit
        assert np.percentile(light, 5) < 0.6 * np.percentile(light, 95)  # something dark
        assert colors.min() >= 0 and colors.max() <= 1


def test_points_lie_behind_the_lips_and_cover_the_opening(net: MouthNet) -> None:
    closed = lips(0)
    deepest = float(closed[list(INNER_LIPS), 2].max()) + 0.3
    layer = build_mouth(net, head(closed, np.full(3, 0.6)), closed, closed, deepest)
    middle = np.abs(layer.means[:, 0]) < 0.5
    assert layer.means[middle, 2].min() > closed[13, 2] + BEHIND
    small = paint_mouth(net, layer, lips(0.2) - closed)[1]
    large = paint_mouth(net, layer, lips(2.5) - closed)[1]
    assert large.max() > small.max()
    moved = layer.means + layer.skin @ (lips(2.5) - closed)
    near = np.abs(moved[:, 0]) < 0.1
    heights = np.sort(moved[near, 1])
    assert np.diff(heights).max() < 2.5 * large.max()  # no cracks between rows
    assert np.ptp(heights) > 2.5


def test_codes_are_people() -> None:
    torch.manual_seed(0)
    net = MouthNet(MouthConfig(identities=2))
    net.codes.data.normal_()
    net.skins.data[:] = torch.tensor([[0.2], [0.8]])
    closed = lips(0)
    layers = [build_mouth(net, head(closed, np.full(3, s)), closed, closed, 0.0) for s in (0.2, 0.8)]
    assert torch.equal(layers[0].code[0], net.codes[0]) and torch.equal(layers[1].code[0], net.codes[1])
    first, second = (paint_mouth(net, layer, lips(1.0) - closed)[0] / layer.light for layer in layers)
    assert np.abs(first - second).max() > 1e-3
