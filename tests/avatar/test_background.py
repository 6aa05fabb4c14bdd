"""The background that LaMa paints: when, from what, and what of it is taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lama_model import StandIn, install, write_model

from mggdub import jobs
from mggdub.avatar import build
from mggdub.avatar.background import Painted, add_detail, is_worthwhile, paint_background, seen_size
from mggdub.avatar.file import load_avatar
from mggdub.avatar.plate import make_plate
from mggdub.avatar.values import HeadAvatar, RenderBox
from mggdub.batch import row as rows
from mggdub.batch.manifest import Row
from mggdub.errors import InputError, UsageError
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.progress import silent
from mggdub.types import Array
from mggdub.weights import digest

SMALL = RenderOptions(size=256, preview=True)


@pytest.fixture
def lama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install("stand-in", monkeypatch)
    path = write_model(tmp_path / "own.pt")
    monkeypatch.setenv("LAMA_MODEL", str(path))
    return path


def scene(size: int = 200) -> tuple[Array, Array, Array]:
    """A plain picture, a hole for a head in it and a person whose body goes on below."""
    away = np.hypot(*(np.mgrid[:size, :size] - size / 2 + 0.5))
    body = (np.abs(np.mgrid[:size, :size][1] - size / 2) < size / 5) & (np.mgrid[:size, :size][0] > size / 2)
    person = ((away < size / 4) | body).astype(np.float32)
    return np.full((size, size, 3), 0.5, np.float32), away < size / 4 + 2, person


def test_it_is_worth_its_time_where_a_large_hole_has_a_varied_background() -> None:
    plain, hole, person = scene()
    slope = plain * np.linspace(0.6, 1.4, 200, dtype=np.float32)[:, None]
    shelves = plain + 0.2 * np.sign(np.sin(np.arange(200) / 4)).astype(np.float32)[:, None, None]
    assert not is_worthwhile(plain, hole, person, 0.1, 2.0)
    assert not is_worthwhile(slope, hole, person, 0.1, 2.0)
    assert is_worthwhile(shelves, hole, person, 0.1, 2.0)
    assert not is_worthwhile(shelves, hole, person, 0.1, 0.5)  # a head of a few pixels
    assert not is_worthwhile(shelves, hole, np.ones_like(person), 0.1, 2.0)  # nothing is seen of it


@pytest.mark.parametrize(("width", "height", "seen"), [(300, 200, (300, 200)), (3000, 1500, (1024, 512))])
def test_it_sees_the_box_at_its_own_size_up_to_a_limit(width: int, height: int, seen: tuple[int, int]) -> None:
    box = seen_size(RenderBox(5, 6, width, height, 160, 80))
    assert (box.render_width, box.render_height) == seen and (box.left, box.width) == (5, width)


def test_the_whole_person_is_hidden_from_it(lama: Path) -> None:
    image, hole, person = scene()
    image[person > 0] = (1, 0, 0)
    box = RenderBox(0, 0, 400, 400, 200, 200)
    painted = paint_background(np.repeat(np.repeat(image, 2, 0), 2, 1), box, hole, person, 0.1)
    assert lama.exists() and painted is not None
    (seen, mask), *more = StandIn.seen
    assert not more and seen.shape == (400, 400, 3)
    assert not (seen[mask == 0] == (255, 0, 0)).all(-1).any()
    assert (mask[::2, ::2][hole] > 0).all() and 0.2 < (mask > 0).mean() < 0.8
    assert painted.small.shape == (200, 200, 3) and painted.large.shape == (400, 400, 3)
    assert paint_background(image, box, hole, np.ones_like(person), 0.1) is None and len(StandIn.seen) == 1


def test_a_painted_background_fills_the_hole_and_nothing_else() -> None:
    image, hole, person = scene()
    blue = np.broadcast_to(np.array([0, 0, 1], np.float32), image.shape)
    neck, throat = np.zeros(hole.shape, np.float32), np.zeros_like(hole)
    plate = make_plate(image, hole, person, neck, throat, blue)
    assert np.array_equal(plate[~hole], image[~hole])
    assert plate[95:105, 95:105] == pytest.approx(blue[:10, :10], abs=1e-6)
    neck[:] = 1
    body = make_plate(image, hole, person, neck, throat)
    assert np.array_equal(make_plate(image, hole, person, neck, throat, blue), body)


def test_an_enlarged_plate_gets_the_detail_of_what_was_painted() -> None:
    fine = np.zeros((64, 64, 3), np.float32)
    fine[::2] = 1
    painted, grey = Painted(np.full((16, 16, 3), 0.5, np.float32), fine), np.full((64, 64, 3), 128, np.uint8)
    weight = np.zeros((16, 16), np.float32)
    assert np.array_equal(add_detail(grey, painted, weight), grey)
    weight[:, 8:] = 1
    detailed = add_detail(grey, painted, weight)
    assert np.array_equal(detailed[:, :24], grey[:, :24])
    assert np.abs(detailed[:, 48:].astype(int) - np.rint(255 * fine[:, 48:])).max() <= 1


@pytest.fixture(scope="module")
def study(models: Models, head_png: Path) -> build.PhotoStudy:
    return build.study_photo(read_image(head_png), models, SMALL)


@pytest.fixture(scope="module")
def fast(models: Models, study: build.PhotoStudy) -> HeadAvatar:
    return build.assemble(replace(study, inpainter="fast"), models)


@pytest.fixture(scope="module")
def painted(models: Models, study: build.PhotoStudy, tmp_path_factory: pytest.TempPathFactory) -> HeadAvatar:
    with pytest.MonkeyPatch.context() as patch:
        install("stand-in", patch)
        patch.setenv("LAMA_MODEL", str(write_model(tmp_path_factory.mktemp("lama") / "own.pt")))
        return build.assemble(replace(study, inpainter="lama"), models)


def test_an_avatar_has_the_painted_background_behind_its_head_only(fast: HeadAvatar, painted: HeadAvatar) -> None:
    assert fast.inpainter == "fast" and painted.inpainter == "lama"
    changed = (painted.plate != fast.plate).any(-1)
    head = (fast.plate != fast.box.cut(fast.image)).any(-1)
    assert changed.mean() > 0.1 and head[changed].mean() > 0.99
    paint = painted.plate[changed].astype(int)  # red and blue stripes: no green
    assert np.mean(paint[:, 1] < 30) > 0.5
    assert np.array_equal(painted.image, fast.image)


def test_auto_asks_before_it_paints(
    painted: HeadAvatar,
    lama: Path,
    models: Models,
    study: build.PhotoStudy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert study.inpainter == SMALL.inpainter == "auto"
    monkeypatch.setattr(build, "is_worthwhile", lambda *_: False)
    plain = build.assemble(replace(study, inpainter="fast"), models)
    for worthwhile, same in ((True, painted), (False, plain)):
        monkeypatch.setattr(build, "is_worthwhile", lambda *_, answer=worthwhile: answer)
        avatar = build.assemble(study, models)
        assert avatar.inpainter == same.inpainter and np.array_equal(avatar.plate, same.plate)
    monkeypatch.setattr(build, "is_worthwhile", lambda *_: True)
    monkeypatch.setattr(build, "patched_background", lambda *_: None)
    lama.unlink()
    avatar = build.assemble(study, models)
    assert avatar.inpainter == "fast" and np.array_equal(avatar.plate, plain.plate)


def test_an_avatar_file_keeps_what_was_chosen(lama: Path, models: Models, head_png: Path, tmp_path: Path) -> None:
    path, options = tmp_path / "head.mgg", replace(SMALL, inpainter="lama")
    assert jobs.avatar_file(head_png, path, None, options, silent, models).inpainter == "lama"
    avatar, about = load_avatar(path)
    assert avatar.inpainter == about["options"]["inpainter"] == "lama"
    lama.unlink()
    assert isinstance(jobs._read_head(path, options), HeadAvatar)  # what is built needs no model
    with pytest.raises(UsageError, match="was made with --inpainter lama; leave out --inpainter"):
        jobs._read_head(path, replace(SMALL, inpainter="fast"))


def test_a_model_that_is_missing_is_told_before_the_networks_are_loaded(
    head_png: Path, speech_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("none", monkeypatch)
    monkeypatch.setattr(jobs, "load_models", lambda: pytest.fail("they were loaded"))
    options = replace(SMALL, inpainter="lama")
    with pytest.raises(UsageError, match="simple-lama-inpainting"):
        jobs.render_file(head_png, speech_wav, tmp_path / "x.mp4", options, silent)
    with pytest.raises(UsageError, match="simple-lama-inpainting"):
        jobs.avatar_file(head_png, tmp_path / "x.mgg", None, options, silent)


def test_rows_of_a_batch_with_another_painter_are_not_resumed(
    lama: Path, head_png: Path, speech_wav: Path, tmp_path: Path
) -> None:
    plan = rows.Plan(tmp_path, tmp_path / "avatars", "run")

    def job(inpainter: str) -> rows.Job:
        options = replace(SMALL, inpainter=inpainter)
        row = Row(2, head_png, speech_wav, Path("x.mp4"), options, frozenset())
        return rows.make_job(row, plan, digest)

    auto, asked = job("auto"), job("lama")
    assert job("auto") == auto
    rows._check_machine(auto)
    lama.unlink()
    without = job("auto")
    assert without.head != auto.head and without.key != auto.key and without.inpainter == "fast"
    with pytest.raises(InputError, match="another LaMa, or none"):
        rows._check_machine(auto)
    ready, refused = rows.fetch_inpainter([auto, asked], silent)
    assert ready == [auto] and [result["exit_code"] for result in refused] == [2]
