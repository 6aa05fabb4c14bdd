"""Faces in pictures that stand on their side or on their head, or lean: all right or none, never a wrong one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import cut
from mggdub.geometry.camera import face_height, face_turn, head_crop
from mggdub.types import Array, Crop

ROOT = Path(__file__).parents[2]
PORTRAITS = {name: ROOT / name for name in ("examples/photo.png", "tests/data/head.png")}


@pytest.fixture(scope="module")
def finder():
    return FaceFinder(1)


def turned(pixels: Array, angle: float, fill: tuple[int, int, int]) -> Array:
    """A picture turned clockwise, with room for its corners."""
    return np.array(Image.fromarray(pixels).rotate(-angle, Image.Resampling.BICUBIC, expand=True, fillcolor=fill))


def place(points: Array, pixels: Array, shape: tuple[int, ...], angle: float) -> Array:
    """Where px of a picture lie after `turned`."""
    old, new = (np.array([shape[1], shape[0]]) / 2 for shape in (pixels.shape, shape))
    at = Crop(0, 0, 0).turned(np.asarray(points, np.float64)[:, :2] - old, angle)
    return np.asarray(at + new)


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("fill", [(0, 0, 0), (255, 255, 255)])
def test_a_face_is_found_at_every_turn_and_no_other(finder, name, fill):
    pixels = np.asarray(Image.open(PORTRAITS[name]).convert("RGB"))
    (face,) = finder.find(pixels)
    quarters = (0, 90, 180, 270) if fill == (0, 0, 0) else ()  # which leave no corners to fill
    for angle in (45, 135, 225, 315, *quarters):
        picture = turned(pixels, angle, fill)
        (found,) = finder.find(picture)
        off = found.landmarks[:, :2] - place(face.landmarks, pixels, picture.shape, angle)
        assert np.linalg.norm(off, axis=1).mean() < 0.03 * face_height(face.landmarks)
        lean = face_turn(found.landmarks) - face_turn(face.landmarks) - angle
        assert abs((lean + 180) % 360 - 180) < 3
        crop = head_crop(found.landmarks)
        assert face_height(crop.to_crop(found.landmarks)) == pytest.approx(256, rel=0.01)
        assert abs(face_turn(crop.to_crop(found.landmarks))) <= 20.5  # in its crop every head stands nearly upright


def test_the_expression_of_a_face_is_the_same_at_every_quarter_turn(finder):
    pixels = np.asarray(Image.open(PORTRAITS["tests/data/head.png"]).convert("RGB"))
    (face,) = finder.find(pixels)
    for quarters in (1, 2, 3):
        (found,) = finder.find(np.ascontiguousarray(np.rot90(pixels, quarters)))
        assert np.abs(found.blendshapes - face.blendshapes).max() < 0.1


def test_small_faces_of_a_picture_that_is_upside_down_are_found_largest_first(finder):
    pixels = Image.open(PORTRAITS["examples/photo.png"]).convert("RGB")
    picture = np.full((1500, 2400, 3), 128, np.uint8)
    for size, x, y in ((512, 100, 80), (400, 1500, 900), (300, 1000, 200)):
        picture[y : y + size, x : x + size] = np.asarray(pixels.resize((size, size)))
    upright, upset = (finder.find(np.ascontiguousarray(one)) for one in (picture, picture[::-1, ::-1]))
    assert len(upright) == len(upset) == 3
    for face, other in zip(upright, upset, strict=True):
        there = np.array([2400, 1500]) - other.landmarks[:, :2]
        assert np.linalg.norm(there - face.landmarks[:, :2], axis=1).mean() < 0.03 * face_height(face.landmarks)


def test_the_crop_of_a_picture_turned_by_quarters_is_the_same_picture(finder):
    pixels = np.asarray(Image.open(PORTRAITS["examples/photo.png"]).convert("RGB"))
    (face,) = finder.find(pixels)
    crop = head_crop(face.landmarks)
    assert crop.angle == 0
    straight = cut(pixels, crop)
    for quarters, angle in ((1, 90.0), (2, 180.0), (3, 270.0)):
        picture = np.ascontiguousarray(np.rot90(pixels, -quarters))
        marks = place(face.landmarks, pixels, picture.shape, angle)
        other = head_crop(marks)
        assert (other.angle - angle) % 360 == 0
        assert np.abs(cut(picture, other).astype(int) - straight).max() <= 1


def test_the_crop_of_a_leaning_picture_shows_what_the_straight_one_does(finder):
    pixels = np.asarray(Image.open(PORTRAITS["examples/photo.png"]).convert("RGB"))
    (face,) = finder.find(pixels)
    leaning = turned(pixels, 45, (0, 0, 0))
    crop = head_crop(place(face.landmarks, pixels, leaning.shape, 45))
    assert crop.angle == pytest.approx(45 + face_turn(face.landmarks), abs=0.1)
    half = crop.side / 2
    middle = np.array([[crop.left + half, crop.top + half]]) - np.array(leaning.shape[1::-1]) / 2
    x, y = (Crop(0, 0, 0).turned(middle, -45) + np.array(pixels.shape[1::-1]) / 2)[0].tolist()
    straight = cut(pixels, Crop(x - half, y - half, crop.side, angle=crop.angle - 45))
    inner = slice(128, 384)
    assert np.abs(cut(leaning, crop)[inner, inner].astype(int) - straight[inner, inner]).mean() < 4


def test_crops_take_points_there_and_back():
    points = np.random.default_rng(0).uniform(0, 500, (20, 3)).astype(np.float32)
    for angle in (0.0, 33.0, 90.0, -180.0):
        crop = Crop(120.0, 80.0, 200.0, angle=angle)
        assert crop.to_picture(crop.to_crop(points)) == pytest.approx(points, abs=1e-3)
        assert crop.to_crop(np.array([[220.0, 180.0]])) == pytest.approx(np.array([[256.0, 256.0]]), abs=1e-3)
    assert Crop(0, 0, 100, 100, 90.0).to_crop(np.array([[100.0, 0.0]])) == pytest.approx(np.array([[0, 0]]), abs=1e-3)


def test_a_cat_is_no_face_however_it_is_turned(finder):
    rng = np.random.default_rng(1)
    cat = Image.open(ROOT / "tests" / "data" / "cat.jpg").convert("RGB")
    for size in (0.3, 0.6, 1.0):
        small = cat.resize((round(size * cat.width), round(size * cat.height)))
        for angle in (0, 45, 90, 180, 270):
            picture = small.rotate(angle + rng.uniform(-5, 5), Image.Resampling.BICUBIC, expand=True)
            assert finder.find(np.array(picture)) == []
