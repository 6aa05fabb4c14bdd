"""One person through a video: cuts, dissolves, flashes, people who change places, hide or pass."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.face.clip import Sighting, displacement, follow_face, sightings
from mggdub.face.detector import FaceFinder
from mggdub.face.likeness import face_look, unlikeness
from mggdub.geometry.rotation import rotvec_to_matrix
from mggdub.motion.shots import settled
from mggdub.types import Array

SIDE = 192
COUNT = 8  # frames of a scene
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def people() -> tuple[Image.Image, Image.Image]:
    """Two people whose faces are as large."""
    with Image.open(ROOT / "tests/data/head.png") as one, Image.open(ROOT / "examples/photo.png") as other:
        return one.convert("RGB").resize((256, 256)), other.convert("RGB").crop((130, 20, 310, 200)).resize((256, 256))


def scene(
    person: Image.Image, scale: float = 1.0, right: float = 0, count: int = COUNT, width: int = SIDE
) -> list[Array]:
    """Somebody who sways a little before a grey wall."""
    size = round(SIDE * scale)
    shown = person.resize((size, size), Image.Resampling.BICUBIC)
    frames = []
    for k in range(count):
        picture = Image.new("RGB", (width, SIDE), (150, 150, 155))
        picture.paste(shown, (round((width - size) / 2 + right + np.sin(k / 2)), (SIDE - size) // 2))
        frames.append(np.asarray(picture))
    return frames


def beside(one: list[Array], other: list[Array]) -> list[Array]:
    return [np.concatenate(pair, 1) for pair in zip(one, other, strict=True)]


def watched(finder: FaceFinder, *scenes: list[Array], fps: float = 25) -> list[Sighting]:
    frames: Iterator[Array] = (frame for one in scenes for frame in one)
    return settled(list(sightings(((k / fps, frame) for k, frame in enumerate(frames)), finder)))


def as_text(seen: list[Sighting]) -> str:
    """Runs of frames: the number of the shot, or a dot without a face."""
    return "".join(key for key, _ in groupby("." if one.face is None else str(one.shot) for one in seen))


def places(seen: list[Sighting]) -> str:
    return "".join(
        key
        for key, _ in groupby("." if s.face is None else "LR"[int(s.face.landmarks[:, 0].mean() > SIDE)] for s in seen)
    )


def test_looks_tell_people_apart(finder: FaceFinder, people: tuple[Image.Image, Image.Image]) -> None:
    looks = [
        [
            face_look(frame, face.landmarks)
            for frame, face in zip(frames, follow_face(frames, finder), strict=True)
            if face
        ]
        for frames in (scene(people[0], 1, count=2), scene(people[0], 1.4, count=2), scene(people[1], 1, count=2))
    ]
    assert unlikeness(looks[0][0], looks[0][1]) < -5 and unlikeness(looks[0][0], looks[1][0]) < -3
    assert unlikeness(looks[0][0], looks[2][0]) > 1


def test_who_only_moves_is_one_shot(finder: FaceFinder, people: tuple[Image.Image, Image.Image]) -> None:
    walk = [scene(people[0], 0.7, right, 1)[0] for right in np.linspace(-25, 25, 16)]
    zoom = [scene(people[0], scale, count=1)[0] for scale in np.linspace(0.7, 1.3, 16)]
    for frames in (walk, zoom):
        assert as_text(watched(finder, frames)) == "0"
        assert all(follow_face(frames, finder))


@pytest.mark.parametrize(
    "after", [(1, 1.0, 0), (0, 1.5, 0), (0, 0.75, 0), (0, 0.7, 30)], ids=["person", "nearer", "farther", "elsewhere"]
)
def test_a_cut_is_found(
    finder: FaceFinder, people: tuple[Image.Image, Image.Image], after: tuple[int, float, float]
) -> None:
    who, scale, right = after
    before = scene(people[0], 0.7, -30) if right else scene(people[0])
    seen = watched(finder, before, scene(people[who], scale, right))
    assert as_text(seen) == "01" and seen[COUNT].shot == 1 and seen[COUNT - 1].shot == 0


def test_black_and_flashes_divide_only_what_differs(
    finder: FaceFinder, people: tuple[Image.Image, Image.Image]
) -> None:
    one, other = scene(people[0]), scene(people[1])
    black, white = ([np.full_like(one[0], level)] * 2 for level in (0, 250))
    assert as_text(watched(finder, one, black, one)) == "0.0"
    assert as_text(watched(finder, one, black, other)) == "0.1"
    assert as_text(watched(finder, one, white[:1], one)) == "0.0"
    assert as_text(watched(finder, one, other[:1], one)) == "0.0"  # a damaged frame
    assert as_text(watched(finder, black, one)) == ".0"
    assert as_text(watched(finder, one[:1])) == "0"


def test_a_dissolve_belongs_to_neither_shot(finder: FaceFinder, people: tuple[Image.Image, Image.Image]) -> None:
    one, other = scene(people[0], count=10), scene(people[1], count=10)
    shares = np.linspace(0, 1, 12)[1:-1]
    mixed = [((1 - a) * x + a * y).astype(np.uint8) for a, x, y in zip(shares, one, other, strict=True)]
    seen = watched(finder, one, mixed, other)
    assert as_text(seen) == "0.1"
    held = [k for k, sighting in enumerate(seen) if sighting.face is None]
    assert 9 <= held[0] <= 12 and 17 <= held[-1] <= 20
    dark = [(frame * 0.5).astype(np.uint8) for frame in one]
    dimmed = [((1 - a) * x + a * y).astype(np.uint8) for a, x, y in zip(shares, one, dark, strict=True)]
    assert as_text(watched(finder, one, dimmed, dark)) == "0"  # the light goes down


def test_people_who_change_places_are_not_mixed(finder: FaceFinder, people: tuple[Image.Image, Image.Image]) -> None:
    one, other = scene(people[0], 1.1), scene(people[1], 0.8)
    assert places(watched(finder, beside(one, other))) == "L"
    seen = watched(finder, beside(one, other), beside(other, one))
    assert places(seen) == "LR" and as_text(seen) == "01"
    alone = watched(finder, beside(one, other), beside(other, [np.full_like(one[0], 150)] * COUNT))
    assert places(alone) == "L" and as_text(alone) == "01"  # the first has left


def test_who_is_hidden_is_waited_for(finder: FaceFinder, people: tuple[Image.Image, Image.Image]) -> None:
    one, other = scene(people[0], 1.1), scene(people[1], 0.8)
    covered = [frame.copy() for frame in one]
    for frame in covered:
        frame[20:180, 20:170] = 90
    seen = watched(finder, beside(one, other), beside(covered, other), beside(one, other))
    assert places(seen) == "L.L" and as_text(seen) == "0.0"
    for_good = watched(finder, beside(one, other), *[beside(covered, other)] * 4)
    assert places(for_good) == "L.R" and as_text(for_good) == "0.1"


@pytest.mark.parametrize(("seconds", "degrees", "left"), [(4, 2.5, (0.9, 1.0)), (120, 8, (0.0, 0.15))])
def test_lips_that_go_with_a_short_sway_are_expression(seconds: int, degrees: float, left: tuple[float, float]) -> None:
    sway = np.sin(np.arange(25 * seconds) * 0.2)  # a head's, and of a mouth that widens as it goes, by chance or not
    meshes = np.zeros((len(sway), 478, 3), np.float32)
    meshes[:, 61, 0] = 0.3 * sway
    turns = np.radians(degrees) * np.stack([0 * sway, sway, 0 * sway], 1)
    move, rest = displacement(meshes, rotvec_to_matrix(turns), np.argsort(np.abs(sway))[:10])
    share = np.ptp(move[:, 61, 0]) / 0.6
    assert left[0] < share <= left[1]
    assert not move[:, 62].any() and not rest[62].any()
