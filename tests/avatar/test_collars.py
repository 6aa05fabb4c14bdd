"""Collars that the geometry network takes for skin are clothes, where their colour says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mggdub.avatar.box import render_view
from mggdub.avatar.build import find_regions, study_photo
from mggdub.avatar.collars import skin_spreads, with_collars
from mggdub.avatar.plate import behind_jaw, neck_column
from mggdub.avatar.visible import undressed
from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import portrait
from mggdub.geometry.camera import cm_per_px
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import AvatarOptions
from mggdub.types import BACKGROUND, CLOTHES, HAIR, SKIN, Array, GeometryMaps, Portrait

NAVY, FLESH = (30, 50, 95), (205, 150, 125)


@pytest.fixture(scope="module")
def head(head_png) -> Portrait:  # type: ignore[no-untyped-def]
    photo, finder = read_image(head_png), FaceFinder()
    return portrait(photo, finder.find(photo.pixels)[0], finder)


def dressed(head: Portrait, collar: tuple[int, int, int]) -> tuple[Portrait, GeometryMaps, Array]:
    """Skin all over, clothes below, and a collar [256, 256] bool above them that is called skin."""
    image = np.full((512, 512, 3), FLESH, np.uint8)
    image[:, :, :] = (image + np.random.default_rng(0).normal(0, 4, image.shape)).clip(0, 255)
    chin = int(head.landmarks[152, 1])
    per_cm = 1 / cm_per_px(head.camera)
    top, edge = int(chin + 2.0 * per_cm), int(head.landmarks[152, 0] + 3.5 * per_cm)
    image[top:] = NAVY
    image[int(top - 1.5 * per_cm) : top, edge:] = collar
    labels = np.zeros((256, 256, 6), np.float32)
    labels[: top // 2, :, SKIN] = labels[top // 2 :, :, CLOTHES] = 1
    where = np.zeros((256, 256), bool)
    where[int(top - 1.5 * per_cm) // 2 + 1 : top // 2, edge // 2 + 1 :] = True
    maps = GeometryMaps(
        depth=np.zeros((256, 256), np.float32),
        normals=np.broadcast_to(np.array([0, 0, -1], np.float32), (256, 256, 3)).copy(),
        labels=labels,
        matte=np.ones((512, 512), np.float32),
    )
    return replace(head, image=image), maps, where


def test_a_collar_of_the_clothes_colour_is_clothes(head: Portrait) -> None:
    portrait, maps, where = dressed(head, NAVY)
    found = with_collars(portrait, maps, cm_per_px(head.camera))
    assert found[where].mean() > 0.9
    above = maps.labels[..., CLOTHES] < 0.5
    assert found[above & ~where].mean() < 0.02
    assert (found >= maps.labels[..., CLOTHES]).all()


def test_skin_and_hair_beside_clothes_are_none(head: Portrait) -> None:
    portrait, maps, where = dressed(head, FLESH)
    assert np.array_equal(with_collars(portrait, maps, cm_per_px(head.camera)), maps.labels[..., CLOTHES])
    portrait, maps, where = dressed(head, NAVY)
    maps.labels[where] = np.eye(6, dtype=np.float32)[HAIR]
    assert with_collars(portrait, maps, cm_per_px(head.camera))[where].max() < 0.5


def test_the_shadow_between_neck_and_shirt_is_no_collar(head: Portrait) -> None:
    portrait, maps, where = dressed(head, NAVY)
    rows, columns = np.nonzero(where)
    skin, top = portrait.image.copy(), 2 * rows.min()
    skin[top - 4 : 2 * rows.max() + 2, 2 * columns.min() + 4 :] = FLESH  # a speck of the collar is left
    found = with_collars(replace(portrait, image=skin), maps, cm_per_px(head.camera))
    assert np.array_equal(found, maps.labels[..., CLOTHES])


def test_the_face_tells_which_colours_are_skin(head: Portrait) -> None:
    portrait, maps, where = dressed(head, NAVY)
    spreads = skin_spreads(portrait, maps)
    assert (
        spreads is not None and spreads[where].min() > 4 and np.median(spreads[: np.nonzero(where)[0].min() - 4]) < 2.5
    )
    maps.labels[:] = np.eye(6, dtype=np.float32)[CLOTHES]
    assert skin_spreads(portrait, maps) is None


def test_without_skin_or_clothes_nothing_changes(head: Portrait) -> None:
    portrait, maps, _ = dressed(head, NAVY)
    for only in (BACKGROUND, CLOTHES):
        maps.labels[:] = np.eye(6, dtype=np.float32)[only]
        assert np.array_equal(with_collars(portrait, maps, cm_per_px(head.camera)), maps.labels[..., CLOTHES])


def test_what_goes_with_the_head_is_no_cloth_and_uncovers_cloth_beside_cloth(models: Models, head_png: Path) -> None:
    study = study_photo(read_image(head_png), models, AvatarOptions())
    view = render_view(study.head, study.scale, study.box)
    regions = find_regions(study, view)
    cloth = (regions.clothes > 0.55 * regions.person) & (regions.person > 0.05)
    assert cloth.sum() > 100 and regions.matte[cloth].max() < 0.01
    column = neck_column(view, regions.person, regions.head_share, regions.clothes)
    body = behind_jaw(view, regions.person, regions.clothes, column)
    beside = ndimage.binary_dilation(cloth, iterations=2) & ~cloth & (regions.person > 0.95)
    lower = view.crop_px[..., 1] > study.head.landmarks[152, 1]
    assert (beside & lower).sum() > 10 and body[beside & lower].min() > 0.5


def test_a_shoulder_beside_the_face_is_clothes_as_high_as_the_eyes(head: Portrait) -> None:
    """Somebody leans forward, and the network doubts what the shirt is."""
    portrait, maps, _ = dressed(head, FLESH)
    marks, per_cm = head.landmarks, 0.5 / cm_per_px(head.camera)
    high, beside = int(marks[4, 1]) // 2, int(marks[:, 0].max() / 2 + per_cm)
    below = int(maps.labels[..., CLOTHES].argmax(0)[0])
    image = portrait.image.copy()
    image[2 * high :, 2 * beside :] = (150, 200, 70)
    maps.labels[high:below, beside:] = 0.4 * np.eye(6)[SKIN] + 0.4 * np.eye(6)[CLOTHES] + 0.2 * np.eye(6)[HAIR]
    shoulder = np.zeros((256, 256), bool)
    shoulder[high:below, beside:] = True
    found = with_collars(replace(portrait, image=image), maps, cm_per_px(head.camera))
    assert found[shoulder].mean() > 0.75
    assert found[: high - int(per_cm)].max() < 0.1 and found[:below, : int(marks[:, 0].max() / 2)].max() < 0.1
    bare = with_collars(portrait, maps, cm_per_px(head.camera))  # of the same doubt, in skin's colours
    assert np.array_equal(bare, maps.labels[..., CLOTHES])


def test_the_soft_edge_of_a_shoulder_goes_with_it() -> None:
    person = np.clip((np.arange(60, dtype=np.float32)[:, None] - 20) / 4, 0, 1) * np.ones((60, 60), np.float32)
    clothes = np.clip((np.arange(60, dtype=np.float32)[:, None] - 22) / 2, 0, 1) * person  # ends sooner
    head = undressed(person, clothes, np.ones_like(person), 0.1)
    assert head[:, 20:40].max() < 0.01
    clothes[:, :30] = 0
    head = undressed(person, clothes, np.ones_like(person), 0.1)
    assert np.array_equal(head[:, :20], person[:, :20])
