"""The making of the atlas of mouths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mggdub.avatar.lips import lips_of
from mggdub.face.mesh import LOWER_LIP, UPPER_LIP, canonical_face
from mggdub.networks.mouth import MouthConfig
from mggdub.train import mouth
from mggdub.train.common import held_out, save_arrays
from mggdub.train.mouth_choice import Trial, costs, painted, samples
from mggdub.train.mouth_states import (
    PITCH,
    Frames,
    X,
    Y,
    best_shifts,
    centres,
    effective,
    fit_states,
    middle_mean,
    place,
)
from mggdub.types import Array

SMALL = MouthConfig(people=1, states=2, rows=24, columns=48)


def lips(opening: float) -> Array:
    """The canonical face with its mouth open by so many cm, the upper lip as it goes in speech."""
    mesh = np.concatenate([canonical_face()[0], np.zeros((10, 3))]).astype(np.float32)
    upper, lower = list(UPPER_LIP[1:-1]), list(LOWER_LIP[1:-1])
    middle = (mesh[upper] + mesh[lower]) / 2
    arch = np.sin(np.arange(1, 10) / 10 * np.pi)[:, None] * np.array([0, opening, 0])
    mesh[upper], mesh[lower] = middle - 0.27 * arch, middle + 0.73 * arch
    return mesh


def filmed(count: int = 30, tremble: float = 0.1, light: float = 1.0) -> tuple[Frames, Array]:
    """Open mouths with teeth of 0.5 cm, whose landmarks tremble, and by how many cm [F, 2]."""
    rng = np.random.default_rng(0)
    rest, shifts = lips(0), np.round(rng.uniform(-tremble, tremble, (count, 2)) / PITCH) * PITCH
    pictures, meshes = [], []
    for k in range(count):
        mesh = lips(0.5 + 0.9 * k / count)
        x, y = np.meshgrid(X - shifts[k, 0], Y - shifts[k, 1])
        seen = np.where((y < 0.15) & (np.abs((x + 0.25) % 0.5 - 0.25) > 0.05), 220, 50.0)
        pictures.append(np.repeat(light * ndimage.gaussian_filter(seen, 0.7)[..., None], 3, -1))
        moved = mesh.copy()
        moved[:, :2] += shifts[k]
        meshes.append(moved)
    skin = np.full((count, 3), 180.0 * light)
    return Frames(np.array(pictures).astype(np.uint8), np.array(meshes), np.repeat(rest[None], count, 0), skin), shifts


def test_a_shifted_picture_is_found() -> None:
    rng = np.random.default_rng(0)
    mean = ndimage.gaussian_filter(rng.uniform(0, 255, (24, 40)), 1.5)
    shifts = np.array([[0, 0], [2, -3], [-4, 1]])
    pictures = np.array([np.roll(mean, tuple(s), (0, 1)) for s in shifts])
    zones = np.zeros((3, 24, 40))
    zones[:, 5:-5, 5:-5] = 1
    found = best_shifts(0.5 * pictures + 20, zones, mean, np.ones((24, 40)))  # other light, the same teeth
    np.testing.assert_array_equal(found, shifts)
    assert not best_shifts(pictures, 0 * zones, mean, np.ones((24, 40))).any()  # what shows nothing stays


def test_trembling_landmarks_are_put_right_by_the_teeth() -> None:
    frames, shifts = filmed()
    placed = place(frames)
    error = placed.upper - shifts
    assert np.abs(error - np.median(error, 0)).mean() < 0.5 * PITCH
    still = placed.lips[:, 0, 5, 1]
    assert np.abs(np.diff(still)).max() < 0.05  # the lip moves steadily over the teeth


def test_states_are_sharper_than_the_mean_and_no_single_frame() -> None:
    frames, _ = filmed()
    row = fit_states(place(frames), SMALL)
    pictures = row["pictures"].astype(float)
    assert pictures.shape == (2, 3, 24, 48) and row["edges"].shape == (2, 2, 48)
    contrast = [np.percentile(p[:, 4:8, 12:-12], 95) - np.percentile(p[:, 4:8, 12:-12], 5) for p in pictures]
    assert min(contrast) > 100
    odd = frames.pictures.copy()
    odd[7] = 255 - odd[7]  # one broken frame leaves no trace
    again = fit_states(place(Frames(odd, frames.mesh, frames.rest, frames.skin)), SMALL)
    assert np.median(np.abs(again["pictures"].astype(float) - pictures)) < 4


def test_the_middle_of_several_does_not_see_an_outlier() -> None:
    colours = np.full((5, 2, 2, 3), 100.0)
    colours[3] = 255
    weights = np.ones((5, 2, 2))
    weights[:, 0, 0] = [0, 0, 0, 1, 0]
    found, total = middle_mean(colours, weights)
    assert found[1, 1].tolist() == [100, 100, 100] and found[0, 0, 0] == pytest.approx(255)
    assert total[0, 0] == 1 and total[1, 1] == 5


def test_shares_of_frames_and_shapes_that_are_far_apart() -> None:
    share = effective(np.linspace(0, 3, 30), 4.0)
    assert share.sum() == pytest.approx(1) and 1 / np.square(share).sum() == pytest.approx(4, abs=0.1)
    shapes = np.concatenate([np.zeros((40, 6)), np.ones((3, 6)), np.full((3, 6), 2.0)])
    assert sorted(centres(shapes, 3)[:, 0].round().tolist()) == [0, 1, 2]


def test_a_mouth_painted_with_its_own_states_looks_like_itself() -> None:
    frames, _ = filmed()
    atlas = mouth.atlas_of([fit_states(place(frames), SMALL)], SMALL)
    for sample in samples(frames):
        inside = ndimage.binary_erosion(sample.mask, iterations=2)
        error = np.abs(painted(atlas, 0, sample).astype(float) - sample.picture)[inside]
        assert error.mean() < 25
        same = painted(atlas, 0, sample)[~sample.mask] == sample.picture[~sample.mask]
        assert same.all()  # nothing beyond the lips


def test_who_is_wrong_in_contrast_or_blurred_costs_more() -> None:
    inside = np.ones((3, 4, 3))
    inside[..., 1], inside[..., 2] = 1.05, 1.7
    inside[1, :, 0], inside[2, :, 2] = 0.5, 0.8
    cost = costs(Trial(np.full((3, 4), 0.2), inside), np.ones(3))
    assert cost[0] == pytest.approx(0) and cost[1] > 0.05 and cost[2] > 0.03
    dull = costs(Trial(np.full((3, 4), 0.2), inside), np.array([0, 1, 1.0]))
    assert dull[0] > 0.05 and dull[1] == cost[1]
    atlas = mouth.atlas_of([fit_states(place(filmed(light=x)[0]), SMALL) for x in (1.0, 0.7, 0.5)], SMALL)
    chosen, order = mouth.best(atlas, Trial(np.full((3, 4), 0.2), inside), 2)
    assert chosen.config.people == 2 and order == [0, 2]
    assert torch.equal(chosen.pictures[0], atlas.pictures[0]) and torch.equal(chosen.pictures[1], atlas.pictures[2])


def test_a_mouth_with_white_teeth_and_dark_shows_more_than_a_grey_one() -> None:
    atlas = mouth.atlas_of([fit_states(place(filmed()[0]), MouthConfig()) for _ in range(2)], MouthConfig())
    assert mouth.showing(atlas, 0) > 0.3
    atlas.pictures[1] = (atlas.pictures[1].float() * 0.2 + 60).to(torch.uint8)
    assert mouth.showing(atlas, 1) == 0


def test_people_with_few_open_mouths_are_left_out(tmp_path: Path) -> None:
    frames, _ = filmed()
    for name, count in (("somebody", 30), ("nobody", 5)):
        fields = ("pictures", "mesh", "rest", "skin")
        parts = {field: getattr(frames, field)[:count] for field in fields}
        save_arrays(tmp_path / f"{name}.npz", {**parts, "identity": np.array(name)})
    found = mouth.people(sorted(tmp_path.glob("*.npz")))
    assert list(found) == ["somebody"] and len(found["somebody"]) == 30


def test_clips_of_small_and_turned_faces_are_not_looked_at(tmp_path: Path) -> None:
    rows = ["file,split,identity,audio,face_height_px,pose"]
    rows += ["a.mp4,train,one,yes,300,near-frontal", "b.mp4,train,one,yes,150,near-frontal"]
    rows += ["c.mp4,train,two,yes,300,3/4", "d.mp4,val,three,yes,300,near-frontal"]
    rows += [f"e{k}.mp4,train,four,no,300,near-frontal" for k in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert [row["file"] for row in mouth.usable_clips(tmp_path)] == ["a.mp4", "e0.mp4", "e1.mp4"]


def test_held_out_people_are_no_part_of_the_atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"person {k}" for k in range(12)]
    assert 0 < sum(map(held_out, names)) < 12
    frames = filmed()[0]
    monkeypatch.setattr(mouth, "people", lambda _: dict.fromkeys(names, frames))
    monkeypatch.setattr(mouth, "collect", lambda *_: [])
    monkeypatch.setattr(mouth, "load_lpips", lambda: type("Flat", (), {"distance": lambda *_: 0.1})())
    row = fit_states(place(frames), SMALL)
    monkeypatch.setattr(mouth, "fit_states", lambda *_: row)
    monkeypatch.setattr(mouth, "place", lambda found: found)
    monkeypatch.setattr(mouth, "MouthConfig", lambda: SMALL)
    saved: dict[str, object] = {}
    monkeypatch.setattr(mouth.weights, "save", lambda *given: saved.update(card=given[-1], tensors=given[2]))
    monkeypatch.setattr("sys.argv", ["mouth", str(tmp_path), str(tmp_path / "work"), str(tmp_path)])
    mouth.main()
    card = saved["card"]
    assert isinstance(card, dict)
    assert card["chosen from"] == 12 - sum(map(held_out, names))
    assert card["metrics"]["people"] == sum(map(held_out, names))


def test_lips_are_told_from_the_middle_of_the_closed_ones() -> None:
    assert np.abs(lips_of(lips(0), lips(0))[:, :, 1].mean()) < 1e-4
