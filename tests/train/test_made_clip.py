"""A made clip, whose motion is known, through `prepare` and `head_data`."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggdub.media.encode import write_video
from mggdub.models import Models
from mggdub.train import common, head, head_data, head_losses, head_sample, prepare
from mggdub.types import LANDMARKS, Array

COUNT, SIDE = 8, 384
SHIFT = np.round(10 * np.sin(np.arange(COUNT) * 2 * np.pi / COUNT))  # px to the right


def moved(picture: Image.Image, shift: float) -> Array:
    """The picture, shifted; what comes in at the side is the edge's colour."""
    plain = np.pad(np.asarray(picture), ((0, 0), (16, 16), (0, 0)), mode="edge")
    return np.ascontiguousarray(plain[:, 16 - int(shift) : 16 - int(shift) + SIDE])


def write(path: Path, frames: Iterator[Array] | list[Array]) -> Path:
    write_video(path, iter(frames), fps=Fraction(25), size=(SIDE, SIDE), crf=8)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, head_png: Path) -> Path:
    picture = Image.open(head_png).convert("RGB")
    return write(tmp_path_factory.mktemp("clip") / "anna.mp4", [moved(picture, shift) for shift in SHIFT])


@pytest.fixture(scope="module")
def track(clip: Path, models: Models) -> dict[str, Array]:
    return prepare.prepare_clip(clip, models.faces, models.geometry)


def test_a_track_follows_the_head(track: dict[str, Array]) -> None:
    assert track["landmarks"].shape == track["mesh"].shape == (COUNT, LANDMARKS, 3)
    assert track["times"] == pytest.approx((np.arange(COUNT) + 0.5) / 25, abs=0.021)
    assert (track["presence"] > 0.9).all() and tuple(track["frame_size"]) == (SIDE, SIDE)
    crop = prepare.crop_of(track)
    across = np.median(track["landmarks"][:, :, 0], 1) / crop.scale  # px of the clip
    assert across - across[0] == pytest.approx(SHIFT - SHIFT[0], abs=1.5)
    turned = np.arccos(np.clip((np.einsum("tij,ij->t", track["rotation"], track["rotation"][0]) - 1) / 2, -1, 1))
    assert np.degrees(turned).max() < 4
    pull = track["translation"][:, 0] - track["translation"][0, 0]
    assert np.corrcoef(pull, SHIFT)[0, 1] > 0.97


def test_a_head_that_only_moves_shows_no_expression(track: dict[str, Array]) -> None:
    assert np.abs(track["gap"] - np.median(track["gap"])).max() < 0.06  # cm
    move, rest = prepare.displacement(track)
    assert np.sqrt((move**2).mean()) < 0.06 and np.abs(rest - track["rest"]).max() < 0.1
    assert track["neutral"].shape == (LANDMARKS, 3)


def test_clips_that_cannot_be_used_say_why(
    tmp_path: Path, head_png: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.open(head_png).convert("RGB")
    small = Image.new("RGB", (SIDE, SIDE), (120, 130, 140))
    small.paste(picture.resize((200, 200)), (0, 0))
    other = Image.new("RGB", (SIDE, SIDE), (120, 130, 140))
    other.paste(picture.resize((200, 200)), (180, 180))
    empty = np.full((SIDE, SIDE, 3), 120, np.uint8)
    cases = {
        "jumps by": [np.array(small)] * 3 + [np.array(other)] * 3,
        "in the first frame": [empty] * 4,
        "no face in": [np.array(picture)] * 3 + [empty] * 3,
    }
    monkeypatch.setattr(prepare, "steady_poses", None)  # is not reached
    for number, (words, frames) in enumerate(cases.items()):
        with pytest.raises(prepare.Unusable, match=words):
            prepare.prepare_clip(write(tmp_path / f"{number}.mp4", frames), models.faces, models.geometry)


def test_a_clip_becomes_a_pool_and_avatars_that_play_it(
    clip: Path, track: dict[str, Array], models: Models, tmp_path: Path
) -> None:
    size = 96
    pool, avatar = head_data.prepare_head(clip, track, models, sources=(1,), size=size)
    count = len(pool["frames"])
    assert sorted(pool["frames"].tolist()) == list(range(COUNT)) == list(range(count))
    height, width = pool["pictures"].shape[1:3]
    assert pool["heads"].shape == (count, height, width) and max(height, width) <= size + 1
    assert ((pool["landmarks"] > 0) & (pool["landmarks"] < size)).mean() > 0.9
    nose = pool["landmarks"][:, 1].astype(int)
    assert (pool["heads"][np.arange(count), nose[:, 1], nose[:, 0]] > 250).all()
    assert avatar["order"].tolist() == [1, *np.delete(np.arange(count), 1)]
    assert np.abs(avatar["displacement"][0]).max() < 0.03 and np.abs(avatar["rotation"][0]).max() < 1e-4
    pixels = SHIFT[pool["frames"][avatar["order"]]]
    assert np.corrcoef(avatar["translation"][:, 0], pixels)[0, 1] > 0.97
    assert np.isfinite(avatar["inputs"]).all() and avatar["states"].shape[0] == count

    common.save_arrays(tmp_path / "anna_0.npz", avatar)
    common.save_arrays(tmp_path / "anna.npz", pool | {"identity": np.array("anna")})
    one = head_sample.load_sample(tmp_path, "anna", 0)
    net = head.new_net(models.expression)
    still, _ = head_losses.picture(
        head_losses.drawn(net, head_losses.grids_of(net, one), one, 0)[0], one.camera, one.plates[0]
    )
    # The photo's own pose gives the photo, but for its detail, which splats alone lack.
    assert head.head_psnr(still.detach(), one, 0) > 24
