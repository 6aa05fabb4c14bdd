"""What training draws, so that gradients flow, is what the product draws of the same avatar."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.animation import animate
from mggdub.avatar import build, learned
from mggdub.avatar.values import HeadAvatar
from mggdub.avatar.visible import coarse_surface
from mggdub.face import expression
from mggdub.face.portrait import portrait
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.networks.geometry import estimate_geometry
from mggdub.networks.head import Grids, HeadNet
from mggdub.renderer.rasterize import rasterize, render_frame
from mggdub.train import common, head_data, head_losses, head_sample
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack, Gaussians

SIDE = 112
MOMENTS = 4


@dataclass(frozen=True, eq=False)
class Twins:
    """One photo's head, as the product builds it and as training loads it."""

    flat: HeadAvatar  # without the learned depth
    deep: HeadAvatar
    track: ExpressionTrack
    sample: head_sample.Sample
    grids: Grids  # of training, with depth


def playing() -> ExpressionTrack:
    """The photo's own state, then moments that all differ in expression, pose and torso."""
    rng = np.random.default_rng(0)
    units = rng.uniform(0, 0.6, (MOMENTS, len(BLENDSHAPES))).astype(np.float32)
    modes = rng.normal(0, 0.4, (MOMENTS, LIP_MODES)).astype(np.float32)
    rotation = rng.uniform(-9, 9, (MOMENTS, 3)).astype(np.float32)
    shift = rng.uniform(-0.6, 0.6, (MOMENTS, 3)).astype(np.float32)
    body = rng.uniform(-0.4, 0.4, (MOMENTS, 4)).astype(np.float32)
    for values in (units, modes, rotation, shift, body):
        values[0] = 0
    return ExpressionTrack(np.arange(MOMENTS) * head_data.FAR, units, modes, rotation, shift, body)


@pytest.fixture(scope="module")
def twins(models: Models, head_png: Path, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    photo = read_image(head_png)
    face = portrait(photo, models.faces.find(photo.pixels)[0], models.faces)
    maps = estimate_geometry(models.geometry, face)
    pictures, scale, box, crop_px = head_data.framed(face, [photo.pixels], SIDE)
    surface, own = coarse_surface(face, maps), expression.photo_state(models.expression, face)
    told = learned.predict_grids(models, face, maps, surface, own)
    flat, deep = (
        build.assemble(build.PhotoStudy(face, maps, surface, grids, own, pictures[0], scale, box), models)
        for grids in (told._replace(depth=torch.zeros_like(told.depth)), told)
    )
    folder, track = tmp_path_factory.mktemp("twins"), playing()
    untrained = models.having(head=HeadNet().eval().requires_grad_(False))
    arrays = head_data.avatar_arrays(face, maps, pictures[0], scale, box, track, untrained)
    common.save_arrays(folder / "anna_0.npz", arrays | {"order": np.arange(MOMENTS)})
    boxes = np.stack([head_data.in_box(pictures[0], box)] * MOMENTS)
    marks = np.stack([head_data.box_px(face.landmarks[:, :2], crop_px)] * MOMENTS)
    pool = {"pictures": boxes, "heads": np.full(boxes.shape[:3], 255, np.uint8), "landmarks": marks}
    common.save_arrays(folder / "anna.npz", pool | {"identity": np.array("anna")})
    sample = head_sample.load_sample(folder, "anna", 0)
    with torch.no_grad():
        return Twins(flat, deep, track, sample, head_losses.grids_of(models.head, sample))


def training_draws(twins: Twins, models: Models, moment: int) -> Gaussians:
    flat = twins.grids._replace(depth=torch.zeros_like(twins.grids.depth))
    with torch.no_grad():
        return head_losses.drawn(models.head, flat, twins.sample, moment)[0]


def test_training_moves_and_colours_points_as_the_product_does(twins: Twins, models: Models) -> None:
    """Where they differ is what the data file rounds to 16 bits, and the photo that hidden points are told of."""
    at_rest = twins.flat.gaussians.means.numpy()
    for moment, posed in enumerate(animate.posed_gaussians(twins.flat, models, twins.track, relative=True)):
        means, quats, scales, opacities, colors = posed.arrays
        drawn = training_draws(twins, models, moment)
        assert len(drawn) == len(means)
        move = np.abs(means - at_rest).max()
        assert (moment == 0) == (move < 0.05)  # it does move
        assert np.abs(drawn.means.numpy() - means).max() < 0.01, moment
        assert np.abs(drawn.quats.numpy() - quats).max() < 1e-5
        assert np.abs(drawn.scales.numpy() / scales - 1).max() < 0.01
        hidden = np.zeros(len(means), bool)
        hidden[twins.flat.hidden] = True
        faint = np.abs(drawn.opacities.numpy() - opacities)
        assert faint[~hidden].max() < 0.002 and faint[hidden].mean() < 0.005
        apart = np.abs(drawn.colors.numpy() - np.clip(colors, 0, 1))
        assert apart[~hidden].max() < 0.02 and apart[hidden].mean() < 0.01


def test_training_renders_the_picture_that_the_product_renders(twins: Twins, models: Models) -> None:
    for moment, posed in enumerate(animate.posed_gaussians(twins.flat, models, twins.track, relative=True)):
        colors, alphas = render_frame(posed, twins.flat.camera)
        seen = rasterize(training_draws(twins, models, moment), twins.sample.camera)
        assert float(np.abs(seen.alphas.numpy() - alphas).mean()) < 0.002
        assert float(np.abs(seen.colors.numpy() - colors).mean()) < 0.003, moment


def test_the_learned_depth_lies_where_the_product_puts_it(twins: Twins, models: Models) -> None:
    """In the photo's own pose, visible points slide along their rays."""
    with torch.no_grad():
        weights, _ = models.head.weights(twins.sample.states[0], twins.sample.own)
        means = head_sample.moved(weights, twins.grids, twins.sample, 0)[0].numpy()
    visible = slice(0, twins.flat.hidden.start)
    there = twins.deep.gaussians.means.numpy()[visible]
    slid = np.abs(there - twins.flat.gaussians.means.numpy()[visible]).max()
    assert slid > 0.03
    assert np.abs(means[visible] - there).max() < 0.15 * slid


def test_a_change_of_the_drawing_would_be_noticed(twins: Twins, models: Models) -> None:
    """The bounds above are tight: a learned part left out on one side is far outside of them."""
    drawn: Array = training_draws(twins, models, 1).means.numpy()
    stiff = replace(twins.flat, bases=replace(twins.flat.bases, motion=0 * twins.flat.bases.motion))
    means = list(animate.posed_gaussians(stiff, models, twins.track, relative=True))[1].means.numpy()
    assert np.abs(drawn - means).max() > 0.05
