from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.errors import InputError, UsageError
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import canonical_face
from mggdub.face.portrait import check_face, choose_face, cut, portrait
from mggdub.geometry.camera import face_height, head_mesh, project
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_euler
from mggdub.types import BLENDSHAPES, Crop, Face, Photo

PHOTO = Path(__file__).parents[2] / "examples" / "photo.png"
DATA = Path(__file__).parents[1] / "data"
SIZE = (600, 600)  # px of a picture around the head


@pytest.fixture(scope="module")
def finder():
    return FaceFinder(1)


@pytest.fixture(scope="module")
def pixels():
    return np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="module")
def face(finder, pixels):
    (found,) = finder.find(pixels)
    return found


def test_a_smile_is_found_as_one(face, pixels):
    units = dict(zip(BLENDSHAPES, face.blendshapes, strict=True))
    assert units["mouthSmileLeft"] > 0.5 and units["mouthSmileRight"] > 0.5
    assert units["eyeBlinkLeft"] < 0.4 and units["tongueOut"] == 0
    check_face(face, pixels.shape[1::-1])


def test_landmarks_follow_a_mirrored_picture(finder, pixels, face):
    (other,) = finder.find(np.ascontiguousarray(pixels[:, ::-1]))
    for left, right in ((33, 263), (61, 291), (152, 152)):
        there = [pixels.shape[1] - face.landmarks[left, 0], face.landmarks[left, 1]]
        assert other.landmarks[right, :2] == pytest.approx(there, abs=0.015 * face_height(face.landmarks))


def test_small_faces_in_a_large_picture_are_found_largest_first(finder, pixels, face):
    picture = np.full((1500, 2400, 3), 128, np.uint8)
    for size, x, y in ((512, 100, 80), (400, 1500, 900), (300, 1000, 200)):
        picture[y : y + size, x : x + size] = np.asarray(Image.fromarray(pixels).resize((size, size)))
    found = finder.find(picture)
    heights = np.array([face_height(f.landmarks) for f in found])
    assert heights == pytest.approx(face_height(face.landmarks) * np.array([512, 400, 300]) / pixels.shape[0], rel=0.05)
    assert choose_face(found, "1") is found[1]
    with pytest.raises(UsageError, match="3 faces"):
        choose_face(found, "3")


@pytest.mark.parametrize("kind", ["grey", "noise", "room", "cat"])
def test_no_face_is_seen_where_there_is_none(finder, kind):
    picture = np.full((300, 400, 3), 120, np.uint8)
    if kind == "noise":
        picture = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    if kind == "room":  # wall, floor, two windows and a door
        picture[200:] = (140, 100, 60)
        picture[40:120, 60:130] = picture[40:120, 260:330] = (200, 220, 255)
        picture[140:280, 170:220] = (80, 50, 30)
    if kind == "cat":
        picture = np.asarray(Image.open(DATA / "cat.jpg").convert("RGB"))
    found = finder.find(picture)
    with pytest.raises(InputError, match="No human face"):
        choose_face(found)


def test_tracking_stays_and_lets_go(finder, pixels, face):
    moved = np.roll(pixels, (4, 6), (0, 1))
    tracked = finder.track(moved, face)
    assert tracked is not None
    assert tracked.landmarks[:, :2] == pytest.approx(face.landmarks[:, :2] + [6, 4], abs=1.5)
    assert finder.track(np.full_like(pixels, 90), face) is None


def test_portrait_agrees_with_itself(finder, pixels, face):
    head = portrait(Photo(pixels), face, finder)
    assert face_height(head.landmarks) == pytest.approx(256, rel=0.02)
    assert head.crop.to_picture(head.landmarks)[:, :2] == pytest.approx(face.landmarks[:, :2], abs=1.5)
    mesh = head_mesh(head.landmarks, head.camera)
    assert project(mesh, head.camera) == pytest.approx(head.landmarks[:, :2], abs=1e-2)
    assert np.abs(mesh[:468] - canonical_face()[0]).max() < 3  # cm: a head, not far from the average one
    assert np.abs(matrix_to_euler(head.camera.viewmat[:3, :3])[1:]).max() < 8  # it looks at the viewer


def test_small_and_turned_faces_are_refused(face):
    tiny = replace(face, landmarks=face.landmarks * 40 / face_height(face.landmarks))
    with pytest.raises(InputError, match="too small"):
        check_face(tiny, SIZE)
    vertices = np.concatenate([canonical_face()[0], np.zeros((10, 3))])
    for yaw in (-70, 70):
        turned = vertices @ euler_to_matrix(np.array([0, yaw, 0])).T * 15 + 300
        with pytest.raises(InputError, match="turned away"):
            check_face(Face(turned.astype(np.float32), face.blendshapes, 1.0), SIZE)
    check_face(Face((vertices * 15 + 300).astype(np.float32), face.blendshapes, 1.0), SIZE)


def test_a_cut_beyond_the_picture_is_filled_without_an_edge():
    gradient = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None] + 60, (100, 100, 3)).copy()
    image = cut(gradient, Crop(-50, 0, 100, 64)).astype(int)
    assert np.abs(np.diff(image, axis=1)).max() <= 6
    assert image[32, -1, 0] == pytest.approx(60 + 50, abs=3)


def test_canonical_face_is_symmetric_and_looks_at_the_viewer():
    vertices, triangles = canonical_face()
    assert vertices.shape == (468, 3) and triangles.shape == (898, 3) and triangles.max() == 467
    assert vertices[4, 2] == vertices[:, 2].min()  # the nose's tip is nearest
    assert vertices[152, 1] > vertices[10, 1]  # chin below forehead
    assert vertices[33] * [-1, 1, 1] == pytest.approx(vertices[263], abs=1e-4)


def test_a_damaged_weight_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(b"no archive" * 9)
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"face_landmarker\.task is damaged"):
        FaceFinder()


def test_threads_may_share_the_nets(finder, pixels):
    pictures = [pixels, pixels[:, ::-1], np.zeros((64, 64, 3), np.uint8), pixels[::-1]]
    alone = [finder.find(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(finder.find, pictures * 2))
    for one, other in zip(alone * 2, together, strict=True):
        assert len(one) == len(other)
        assert all(np.array_equal(a.landmarks, b.landmarks) for a, b in zip(one, other, strict=True))
