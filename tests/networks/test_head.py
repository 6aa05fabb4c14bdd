"""The learned head: nothing at the photo's own state, refinement along rays, bases at their place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mggdub.animation import animate
from mggdub.avatar.values import HeadAvatar
from mggdub.geometry import sampling
from mggdub.geometry.camera import crop_camera, project, unproject
from mggdub.models import Models
from mggdub.networks import head
from mggdub.types import DRIVERS, ExpressionTrack


@pytest.fixture(scope="module")
def net() -> head.HeadNet:
    """A network that says something."""
    torch.manual_seed(1)
    net = head.HeadNet(head.HeadConfig(widths=(8, 8, 16, 16), motion_rank=3, shade_rank=2))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval().requires_grad_(False)


def test_nothing_is_added_at_the_photos_own_state(net: head.HeadNet) -> None:
    own = torch.rand(DRIVERS)
    motion, shade = net.weights(torch.zeros(head.STATES), own)
    assert motion.shape == (3,) and shade.shape == (2,)
    assert motion.abs().max() < 1e-6 and shade.abs().max() < 1e-6
    turned = torch.zeros(head.STATES)
    turned[1] = 10.0
    assert net.weights(turned, own)[0].abs().max() > 1e-3
    turned[1] = head.TURNS[0]
    turned[12] = 1  # a face that moves in a head that hardly turns
    assert not any(part.any() for part in net.weights(turned, own))


def test_weights_of_one_frame_are_the_networks(net: head.HeadNet) -> None:
    rng = np.random.default_rng(0)
    own, states = rng.random(DRIVERS, np.float32), rng.normal(0, 8, (5, head.STATES)).astype(np.float32)
    frame = head.FrameWeights.of(net.requires_grad_(), own)  # of networks that learn, too
    net.requires_grad_(False)
    for state in states:  # turns of more than 15 degrees among them
        kept = state.copy()
        found, true = frame(state), net.weights(torch.from_numpy(state), torch.from_numpy(own))
        assert np.array_equal(state, kept)
        for one, other in zip(found, true, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other.numpy(), atol=1e-5 * float(other.abs().max()) + 1e-6)
    assert all((part == 0).all() for part in frame(np.zeros(head.STATES, np.float32)))


def test_an_untrained_network_leaves_heads_as_they_are() -> None:
    net = head.HeadNet(head.HeadConfig(widths=(8, 8, 16, 16))).requires_grad_(False)
    grids = net(torch.rand(1, net.config.inputs, head.GRID, head.GRID), torch.rand(1, DRIVERS))
    assert all(float(grid.abs().max()) == 0 for grid in (grids.depth, grids.motion, grids.shade))
    told = net.color_hidden(*(torch.rand(5, width) for width in (8, 8, 3, 3, 3)))
    assert float(told.abs().max()) == 0


def test_spread_equals_its_slow_twin() -> None:
    rng = np.random.default_rng(0)
    field = rng.normal(size=(3, 16, 16)).astype(np.float32)
    place = rng.uniform(0.04, 0.96, (200, 2)).astype(np.float32)
    out = np.ones((200, 3), np.float32)
    sampling.add_sampled(np.ascontiguousarray(field.transpose(1, 2, 0)), place, out)
    twin = sampling.sample_grid(torch.from_numpy(field), torch.from_numpy(place)).numpy() + 1
    assert out == pytest.approx(twin, abs=1e-5)


def test_points_move_along_their_rays() -> None:
    camera = crop_camera(np.eye(3), np.array([1.0, -2, 60]))
    place = np.array([[100.0, 200], [256, 256], [500, 20]])
    near, far = (unproject(place, np.full(3, depth), camera) for depth in (58.0, 59.0))
    assert near + head.rays(place, camera) == pytest.approx(far, abs=1e-4)
    assert project(near + 3 * head.rays(place, camera), camera) == pytest.approx(place, abs=1e-3)


def test_bases_move_and_colour_what_lies_at_their_place(models: Models, avatar: HeadAvatar) -> None:
    still = np.zeros((1, 52), np.float32)
    turned = np.array([[0.0, 5, 0]], np.float32)
    track = ExpressionTrack(np.zeros(1), still, avatar.photo_drivers[None, 24:], turned)
    motion = np.zeros_like(avatar.bases.motion)
    shade = np.zeros_like(avatar.bases.shade)
    plain = replace(avatar, bases=replace(avatar.bases, motion=motion, shade=shade))
    motion, shade = motion.copy(), shade.copy()
    motion[:, 0, :, : head.GRID // 2] = 1.0
    shade[:, 1, head.GRID :] = 0.05
    pushed = replace(avatar, bases=replace(avatar.bases, motion=motion, shade=shade))
    (before,), (after,) = (list(animate.posed_gaussians(a, models, track)) for a in (plain, pushed))
    left, low = avatar.crop_uv[:, 0] < 0.49, avatar.crop_uv[:, 1] > 0.51
    moved = (after.means - before.means).abs().amax(1).numpy()
    assert moved[left].min() > 1e-4 and moved[avatar.crop_uv[:, 0] > 0.51].max() < 1e-6
    solid = np.arange(len(low)) < avatar.hidden.stop
    recoloured = (after.colors - before.colors).abs().amax(1).numpy()
    assert recoloured[solid & low].min() > 1e-6 and recoloured[~solid].max() == 0
