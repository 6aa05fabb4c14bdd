"""The rim of hair fades where the hidden side lies behind it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.avatar.box import RenderView, render_view
from mggdub.avatar.build import PhotoStudy, Regions, assemble, find_regions, study_photo
from mggdub.avatar.rims import RIM, covered_when_turned, hair_rim
from mggdub.avatar.spots import Spots, fading_last, find_spots
from mggdub.avatar.values import HeadAvatar
from mggdub.geometry.camera import unproject
from mggdub.geometry.distance import distance_inside
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.types import Array


@pytest.fixture(scope="module")
def study(models: Models, head_png: Path) -> PhotoStudy:
    return study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))


@pytest.fixture(scope="module")
def found(study: PhotoStudy) -> tuple[Spots, RenderView, Regions]:
    view = render_view(study.head, study.scale, study.box)
    regions = find_regions(study, view)
    return find_spots(view, regions.matte, regions.film, regions.head_share, study.maps.normals), view, regions


@pytest.fixture(scope="module")
def built(study: PhotoStudy, models: Models) -> HeadAvatar:
    return assemble(study, models)


def rim_of(spots: Spots, view: RenderView, matte: Array, hair: Array, image: Array) -> Array:
    """Of a picture [h, w, 3] before a white wall, without skin."""
    return hair_rim(spots, image, np.ones_like(image), matte, hair, np.zeros_like(matte), view.cm_per_px)


def test_the_rim_is_hair_at_the_outline(found: tuple[Spots, RenderView, Regions]) -> None:
    spots, view, regions = found
    everywhere, dark = np.ones_like(regions.matte), np.full((*regions.matte.shape, 3), 0.1, np.float32)
    rim = rim_of(spots, view, regions.matte, everywhere, dark)
    inside = (distance_inside(regions.matte > 0.5) * view.cm_per_px)[spots.rows, spots.columns]
    assert np.array_equal(rim, inside < RIM)
    assert not rim_of(spots, view, regions.matte, 0 * everywhere, dark).any()


def test_strands_with_wall_between_them_stay(found: tuple[Spots, RenderView, Regions]) -> None:
    """Stripes of the wall in what the matte takes for hair, on the left of the picture."""
    spots, view, regions = found
    everywhere, dark = np.ones_like(regions.matte), np.full((*regions.matte.shape, 3), 0.1, np.float32)
    middle = regions.matte.shape[1] // 2
    dark[:, :middle:3] = 0.95
    rim, left = rim_of(spots, view, regions.matte, everywhere, dark), spots.columns < middle
    near, plain = np.abs(spots.columns - middle) * view.cm_per_px < 2, ~left
    dense = rim_of(spots, view, regions.matte, everywhere, np.full_like(dark, 0.1))
    assert (dense & left & ~near).sum() > 30 and not (rim & left & ~near).any()
    assert np.array_equal((rim & ~near)[plain], (dense & ~near)[plain])


def test_an_outline_with_nothing_behind_it_stays(found: tuple[Spots, RenderView, Regions], built: HeadAvatar) -> None:
    spots, view, regions = found
    dark = np.full((*regions.matte.shape, 3), 0.1, np.float32)
    rim = rim_of(spots, view, regions.matte, np.ones_like(regions.matte), dark)
    points, middle = built.gaussians.means.numpy(), built.mesh.mean(0)
    places = unproject(spots.of(view.crop_px)[rim], spots.of(regions.depth)[rim], view.head.camera)

    def covered(hidden: Array) -> Array:
        return covered_when_turned(places, hidden, middle, built.camera)

    hidden = points[built.hidden]
    all_of_it = covered(hidden)
    assert 30 < all_of_it.sum() < len(places)
    assert not covered(hidden[:0]).any()
    assert covered(middle + (hidden - middle) * 0.5).sum() < 0.2 * all_of_it.sum()


def test_what_fades_comes_last(found: tuple[Spots, RenderView, Regions], built: HeadAvatar) -> None:
    spots, _, regions = found
    spots = replace(spots, film=2)
    fades = np.zeros(len(spots.rows), bool)
    fades[[7, 3]] = True
    now = fading_last(spots, fades)
    order = np.r_[np.delete(np.arange(len(fades)), [3, 7]), 3, 7]
    order = np.r_[order[:-4], 3, 7, order[-4:-2]]
    assert now.film == 4 and np.array_equal(now.rows, spots.rows[order])
    assert np.array_equal(now.columns, spots.columns[order]) and np.array_equal(now.size, spots.size[order])
    assert built.film.stop - built.film.start > 20 + (regions.film > 0.5).sum()


def test_what_fades_does_not_depend_on_what_is_learned(study: PhotoStudy, models: Models, built: HeadAvatar) -> None:
    nearer = study.grids._replace(depth=study.grids.depth - torch.linspace(0, 1, 128), features=-study.grids.features)
    other = assemble(replace(study, grids=nearer), models)
    assert other.film == built.film
    assert np.array_equal(other.crop_uv[: other.film.stop], built.crop_uv[: built.film.stop])
    assert not np.array_equal(other.gaussians.means[other.film], built.gaussians.means[built.film])
