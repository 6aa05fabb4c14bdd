"""The geometry network on a head it never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import portrait
from mggdub.networks.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.types import BACKGROUND, GeometryMaps, Photo, Portrait


@pytest.fixture(scope="module")
def net() -> GeometryNet:
    return load_geometry()


@pytest.fixture(scope="module")
def head(head_png: Path) -> Portrait:
    photo, finder = Photo(np.asarray(Image.open(head_png).convert("RGB"))), FaceFinder()
    return portrait(photo, finder.find(photo.pixels)[0], finder)


@pytest.fixture(scope="module")
def maps(net: GeometryNet, head: Portrait) -> GeometryMaps:
    return estimate_geometry(net, head)


def at(values: np.ndarray, head: Portrait, landmark: int) -> np.ndarray:
    x, y = head.landmarks[landmark, :2] * values.shape[0] / 512
    return values[int(y), int(x)]


def test_nose_is_nearer_than_the_ears(maps: GeometryMaps, head: Portrait) -> None:
    tip, left, right = (float(at(maps.depth, head, k)) for k in (4, 127, 356))
    assert 4 < (left + right) / 2 - tip < 14  # cm


def test_normals_are_unit_and_face_outwards(maps: GeometryMaps, head: Portrait) -> None:
    assert np.allclose(np.linalg.norm(maps.normals, axis=-1), 1, atol=1e-3)
    assert at(maps.normals, head, 9)[2] < -0.7  # the forehead towards the viewer
    assert at(maps.normals, head, 234)[0] < -0.2  # cheeks to the sides
    assert at(maps.normals, head, 454)[0] > 0.2


def test_face_is_person_and_corner_is_not(maps: GeometryMaps, head: Portrait) -> None:
    assert np.allclose(maps.labels.sum(-1), 1, atol=1e-4)
    for landmark in (4, 50, 280, 152):
        assert at(maps.matte, head, landmark) > 0.9
        assert at(maps.labels, head, landmark)[BACKGROUND] < 0.1
    assert maps.matte[:20, :20].max() < 0.1


def test_mirrored_photo_has_mirrored_maps(net: GeometryNet, maps: GeometryMaps, head: Portrait) -> None:
    other = estimate_geometry(net, replace(head, image=np.ascontiguousarray(head.image[:, ::-1])))
    person = maps.labels[..., BACKGROUND] < 0.1
    assert np.abs(other.depth[:, ::-1] - maps.depth)[person].mean() < 1.0
    turned = other.normals[:, ::-1] * np.array([-1, 1, 1])
    assert (turned * maps.normals).sum(-1)[person].mean() > 0.9
    assert np.abs(other.matte[:, ::-1] - maps.matte).mean() < 0.03
