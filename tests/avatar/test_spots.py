"""Spots cover every drawn pixel once; only smooth inner parts of a face have blocks."""

import numpy as np
import pytest

from mggdub.avatar.box import RenderView, render_view
from mggdub.avatar.build import find_regions, study_photo
from mggdub.avatar.spots import DRAWN, Spots, find_spots
from mggdub.avatar.strands import FILM
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import INNER_LIPS
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import AvatarOptions
from mggdub.types import Array


@pytest.fixture(scope="module")
def found(models: Models, head_png) -> tuple[Spots, RenderView, Array]:  # type: ignore[no-untyped-def]
    study = study_photo(read_image(head_png), models, AvatarOptions(size=256))
    view = render_view(study.head, study.scale, study.box)
    regions = find_regions(study, view)
    spots = find_spots(view, regions.matte, regions.film, regions.head_share, study.maps.normals)
    return spots, view, np.maximum(regions.matte, regions.film)


def covered(spots: Spots, shape: tuple[int, ...]) -> Array:
    count = np.zeros(shape, int)
    for down in (0, 1):
        for right in (0, 1):
            reach = (spots.size > 1) | (down + right == 0)
            np.add.at(count, (spots.rows[reach] + down, spots.columns[reach] + right), 1)
    return count


def test_every_drawn_pixel_is_covered_once(found: tuple[Spots, RenderView, Array]) -> None:
    spots, _, matte = found
    assert np.array_equal(covered(spots, matte.shape), (matte > DRAWN).astype(int))
    assert (spots.size > 1).sum() > 0.05 * len(spots.size)


def test_lips_eyes_and_rim_keep_their_pixels(found: tuple[Spots, RenderView, Array]) -> None:
    spots, view, matte = found
    blocks = spots.size > 1
    crop_px = spots.of(view.crop_px)[blocks]
    for mark in (13, 14, 159, 386, 61, 291):
        assert np.linalg.norm(crop_px - view.head.landmarks[mark, :2], axis=1).min() > 5
    shown = spots.of(matte)[blocks]
    assert ((shown > 0.97) | (shown < FILM + 0.01)).all()


def test_a_film_beside_a_head_needs_few_spots(models: Models, head_png) -> None:  # type: ignore[no-untyped-def]
    study = study_photo(read_image(head_png), models, AvatarOptions(size=256))
    view = render_view(study.head, study.scale, study.box)
    regions = find_regions(study, view)
    film = np.full_like(regions.matte, 0.3)
    spots = find_spots(view, regions.matte, film, regions.head_share, study.maps.normals)
    assert covered(spots, film.shape).min() == covered(spots, film.shape).max() == 1
    beside = spots.of(regions.matte) < 0.01
    assert (spots.size[beside] > 1).mean() > 0.9
    filmed = spots.of(film) > spots.of(regions.matte)
    assert spots.film > 0.9 * beside.sum() and filmed[-spots.film :].all() and not filmed[: -spots.film].any()


def test_a_spot_has_the_mean_of_its_pixels_and_its_middle() -> None:
    spots = Spots(np.array([1, 2]), np.array([3, 0]), np.array([1, 2], np.float32))
    picture = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert spots.of(picture).tolist() == [9, (12 + 13 + 18 + 19) / 4]
    assert spots.centres.tolist() == [[3.5, 1.5], [1, 3]]


def test_a_head_shows_the_photo_in_its_pixels_lids_and_lips_only(avatar: HeadAvatar) -> None:
    """Lips lie behind the line between closed ones, and are the last of what is hidden."""
    shows = avatar.shows_photo
    lips = shows[avatar.hidden]
    assert 0 < lips.sum() < 200 and lips[-lips.sum() :].all() and not shows[avatar.mouth].any()
    places, ring = avatar.gaussians.means[avatar.hidden].numpy()[lips], avatar.mesh[list(INNER_LIPS)]
    assert np.linalg.norm(places[:, None] - ring, axis=-1).min(1).max() < 0.8  # cm
    assert all(0.1 < shows[lid].mean() < 0.9 for lid in avatar.lids)
    assert shows[: avatar.hidden.start].mean() > 0.5
