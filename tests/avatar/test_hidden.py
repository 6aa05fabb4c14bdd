"""The hidden side ends where a head does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mggdub.avatar.box import over_crop, render_view
from mggdub.avatar.build import assemble, find_regions, study_photo
from mggdub.avatar.hidden import MIRRORED_RADIUS, SHELL_RADIUS, hidden_layer, still_hidden
from mggdub.avatar.values import PointLayer
from mggdub.face.mesh import EAR_LOBES
from mggdub.geometry.camera import head_mesh, project
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.types import CLOTHES, HAIR, SKIN, Array, Gaussians


def test_below_the_ears_only_hair_hangs(models: Models, head_png: Path) -> None:
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    lobes = head_mesh(study.head.landmarks, study.head.camera)[list(EAR_LOBES), 1].mean()
    everywhere = np.ones((512, 512), np.float32)

    def lowest(labels: Array) -> float:
        maps = replace(study.maps, labels=labels)
        layer = hidden_layer(study.head, maps, study.surface, everywhere, models.expression.triangles)
        shell = layer.radius > (MIRRORED_RADIUS + SHELL_RADIUS) / 2
        assert shell.sum() > 300
        return float(layer.means[shell, 1].max())

    bald, haired = study.maps.labels.copy(), study.maps.labels.copy()
    bald[..., SKIN] += bald[..., HAIR]
    bald[..., HAIR] = 0
    haired[..., HAIR] += haired[..., SKIN]
    haired[..., SKIN] = 0
    assert lowest(bald) < lobes + 0.5  # cm, down
    assert lowest(haired) > lobes + 2


def test_nothing_hides_behind_what_shows_the_background(models: Models, head_png: Path) -> None:
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    everywhere = np.ones((512, 512), np.float32)

    def places(covered: Array | None) -> Array:
        arguments = study.head, study.maps, study.surface, everywhere, models.expression.triangles, False, covered
        return project(hidden_layer(*arguments).means, study.head.camera)

    all_of_it = places(None)
    assert np.array_equal(places(everywhere), all_of_it)
    open_air = everywhere.copy()
    left = np.median(all_of_it[:, 0])
    open_air[:, : int(left)] = 0.3
    assert (places(open_air)[:, 0] < left - 4).sum() == 0 < (all_of_it[:, 0] < left - 4).sum()


def test_a_picture_of_the_box_lies_over_the_crop(models: Models, head_png: Path) -> None:
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    view = render_view(study.head, study.scale, study.box)
    for axis in (0, 1):
        over = over_crop(view, view.crop_px[..., axis])
        at = np.broadcast_to(np.arange(512) + 0.5, (512, 512))
        inside = over_crop(view, np.ones(view.crop_px.shape[:2])) > 0
        apart = np.abs(over - (at if axis == 0 else at.T))[64:-64, 64:-64]
        assert inside.all() and apart.max() < 1e-2


def test_no_hidden_point_lies_before_clothes(models: Models, head_png: Path) -> None:
    """Clothes are no splats, so nothing would be before it. Here half of the hair is some."""
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    labels = study.maps.labels.copy()
    hair = labels[:, 128:, HAIR]
    labels[:, 128:, CLOTHES] += 0.7 * hair
    labels[:, 128:, HAIR] = 0.3 * hair
    study = replace(study, maps=replace(study.maps, labels=labels))
    view = render_view(study.head, study.scale, study.box)
    matte = find_regions(study, view).matte
    avatar = assemble(study, models)
    x, y = project(avatar.gaussians.means.numpy()[avatar.hidden], view.camera).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < matte.shape[1]) & (y < matte.shape[0])
    assert inside.sum() > 1000 and matte[y[inside], x[inside]].min() > 0.5


def test_no_hidden_point_shows_through_thin_hair(models: Models, head_png: Path) -> None:
    """In the photo's own state the hidden side of a head gives less than a thirtieth of any colour."""
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    avatar = assemble(study, models)
    own, rest = avatar.gaussians, slice(avatar.hidden.start)
    visible = Gaussians(own.means[rest], own.quats[rest], own.scales[rest], own.opacities[rest], own.colors[rest])
    at = avatar.hidden
    layer = PointLayer(
        own.means[at].numpy(),
        own.colors[at].numpy(),
        own.scales[at, 0].numpy(),
        avatar.mesh_weights[at],
        avatar.head_share[at],
        own.opacities[at].numpy(),
    )
    assert len(still_hidden(layer, visible, avatar.camera)) > 0.95 * len(layer)
    x = project(layer.means, avatar.camera)[:, 0]
    middle = float(np.median(x))
    thin = project(visible.means.numpy(), avatar.camera)[:, 0] < middle
    fainter = replace(
        visible, opacities=torch.where(torch.from_numpy(thin), 0.2 * own.opacities[rest], own.opacities[rest])
    )
    kept = still_hidden(layer, fainter, avatar.camera)
    left = project(kept.means, avatar.camera)[:, 0] < middle - 10
    assert left.sum() < 0.02 * (x < middle - 10).sum() and (~left).sum() > 0.8 * (x > middle).sum()
    assert len(still_hidden(layer.where(np.zeros(len(layer), bool)), visible, avatar.camera)) == 0
