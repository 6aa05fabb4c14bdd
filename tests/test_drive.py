"""Driving a photo: what is put into a synthetic video is tracked, and what is tracked moves the photo."""

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mggdub import drive, pipeline
from mggdub.config import RenderOptions
from mggdub.errors import InputError
from mggdub.media.track import read_track
from mggdub.media.video import probe, read_video, write_video
from mggdub.models import expression
from mggdub.perception.follow import follow
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack, HeadAvatar

SMALL = RenderOptions(size=256, preview=True)
FPS = 25
COUNT = 30
LOST = slice(20, 23)  # frames of the driving video without a face
BLINK = slice(9, 13)
BLINKS = [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]


@pytest.fixture(scope="module")
def played(models: pipeline.Models) -> ExpressionTrack:
    """The mouth opens twice, the head turns, the eyes close once."""
    phase = np.arange(COUNT) / COUNT * 2 * np.pi
    units = np.zeros((COUNT, 52), np.float32)
    units[BLINK, BLINKS[0]] = units[BLINK, BLINKS[1]] = 1
    modes = (0.6 - 0.6 * np.cos(2 * phase))[:, None] * models.expression.opening
    rotation = np.stack([2 * np.sin(2 * phase), 6 * np.sin(phase), 0 * phase], 1)
    return ExpressionTrack((np.arange(COUNT) + 0.5) / FPS, units, modes.astype(np.float32), rotation.astype(np.float32))


@pytest.fixture(scope="module")
def video(
    tmp_path_factory: pytest.TempPathFactory, models: pipeline.Models, avatar: HeadAvatar, played: ExpressionTrack
) -> Path:
    """The synthetic head plays the track, silently; a few frames show nobody."""
    path = tmp_path_factory.mktemp("drive") / "driver.mp4"
    frames = list(pipeline.animate(avatar, models, played, relative=True))
    frames[LOST] = [np.full_like(frames[0], 128)] * len(frames[LOST])
    write_video(path, iter(frames), fps=Fraction(FPS), size=(256, 256))
    return path


@pytest.fixture(scope="module")
def tracked(video: Path, models: pipeline.Models) -> drive.Drive:
    return drive.track_video(video, models.eyes)


def correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def eyes_of(models: pipeline.Models, frames: list[Array]) -> Array:
    """Opening of the eyes in every frame, px."""
    marks = np.stack([face.landmarks for face in follow(frames, models.faces) if face])
    return np.abs(marks[:, [159, 386], 1] - marks[:, [145, 374], 1]).mean(1)


def test_what_was_played_is_tracked(
    tracked: drive.Drive, played: ExpressionTrack, models: pipeline.Models, avatar: HeadAvatar
) -> None:
    track = tracked.track
    seen = np.delete(np.arange(COUNT), LOST)
    gap = expression.lip_gap(models.expression, track.lip_modes)
    truth = expression.lip_gap(models.expression, drive.onto_photo(models.expression, avatar.drivers, played)[:, 24:])
    assert correlation(gap[seen], truth[seen]) > 0.95 and np.abs(gap - truth)[seen].mean() < 0.2
    assert correlation(track.rotation[seen, 1], played.rotation[seen, 1]) > 0.98
    assert np.abs(track.rotation[seen] - played.rotation[seen]).mean() < 1.0
    closed = track.blendshapes[BLINK, BLINKS].mean() - np.median(track.blendshapes[:, BLINKS])
    assert closed > 0.4
    assert np.allclose(track.times, played.times, atol=1e-3) and tracked.seconds == pytest.approx(COUNT / FPS, abs=1e-3)
    assert tracked.sound is None


@pytest.mark.parametrize("quarters", [1, 2])
def test_a_driver_filmed_sideways_or_upside_down_says_the_same(
    video: Path, tracked: drive.Drive, models: pipeline.Models, tmp_path: Path, quarters: int
) -> None:
    path = tmp_path / "turned.mp4"
    frames = (np.ascontiguousarray(np.rot90(frame, quarters)) for _, frame in read_video(video))
    write_video(path, frames, fps=Fraction(FPS), size=(256, 256), crf=5)
    found = drive.track_video(path, models.eyes)
    assert found.held == tracked.held
    assert np.abs(found.track.rotation - tracked.track.rotation).max() < 1.5
    assert np.abs(found.track.translation - tracked.track.translation)[:, :2].max() < 0.3  # depth trembles anyway
    gap, other = (expression.lip_gap(models.expression, one.track.lip_modes) for one in (found, tracked))
    assert correlation(gap, other) > 0.97
    assert np.abs(found.track.torso - tracked.track.torso)[:, :2].max() < 0.3


def test_frames_without_a_face_hold_the_last(tracked: drive.Drive) -> None:
    assert tracked.held == 3
    for values in (tracked.track.lip_modes, tracked.track.blendshapes):
        assert np.abs(np.diff(values[LOST.start - 1 : LOST.stop], axis=0)).max() < 1e-4


def test_no_face_at_all_is_said(tmp_path: Path, models: pipeline.Models) -> None:
    path = tmp_path / "wall.mp4"
    write_video(path, iter([np.full((96, 128, 3), 128, np.uint8)] * 2), fps=Fraction(FPS), size=(128, 96))
    with pytest.raises(InputError, match="No human face"):
        drive.track_video(path, models.eyes)


def test_the_first_frame_is_the_photo_and_contact_is_absolute(models: pipeline.Models) -> None:
    basis = models.expression
    own = np.zeros(32, np.float32)
    own[24:] = basis.opening * 0.8  # the photo's mouth is open, the driver's closes and opens again
    own[1] = 0.2
    modes = np.linspace(0.4, 0, 20)[:, None] * basis.opening
    units = np.full((20, 52), 0.1, np.float32)
    units[10, BLINKS] = 1
    track = ExpressionTrack((np.arange(20) + 0.5) / 25, units, modes.astype(np.float32))
    drivers = drive.onto_photo(basis, own, track)
    assert np.allclose(drivers[0], own, atol=1e-5)
    gap = expression.lip_gap(basis, drivers[:, 24:])
    assert np.allclose(gap[8:], expression.lip_gap(basis, modes)[8:], atol=1e-4)  # after 0.3 s
    assert np.allclose(drivers[10, list(expression.BLINKS)], 1, atol=1e-5)
    assert np.allclose(drivers[:, 1], 0.2, atol=1e-6)


def test_a_blink_in_the_first_frame_is_no_open_eye(models: pipeline.Models) -> None:
    units = np.zeros((20, 52), np.float32)
    units[:3, BLINKS] = 0.9
    track = ExpressionTrack((np.arange(20) + 0.5) / 25, units, np.zeros((20, 8), np.float32))
    lids = drive.onto_photo(models.expression, np.zeros(32, np.float32), track)[:, list(expression.BLINKS)]
    assert np.allclose(lids[0], 0.9, atol=1e-5) and np.allclose(lids[5:], 0, atol=1e-5)


def test_options_hold_what_they_name(tracked: drive.Drive) -> None:
    track = drive.resample(tracked, 50.0)
    assert len(track) == 2 * COUNT and np.allclose(np.diff(track.times), 0.02)
    still = drive.styled(track, replace(SMALL, pose="still", blink="none", expression_scale=0.0, mouth_scale=0.5))
    assert not still.rotation.any() and not still.translation.any()
    assert np.ptp(still.blendshapes, axis=0).max() < 1e-6
    assert np.allclose(still.lip_modes, track.lip_modes / 2)


def test_a_file_without_lip_modes_moves_lips(tmp_path: Path, models: pipeline.Models) -> None:
    path = tmp_path / "take.csv"
    path.write_text(
        "Timecode,BlendShapeCount,JawOpen\n" + "".join(f"01:00:00:{k:02}.0,61,{k / 9}\n" for k in range(10))
    )
    driven = drive.from_file(read_track(path), models.expression)
    gap = expression.lip_gap(models.expression, driven.track.lip_modes)
    assert (np.diff(gap) > 0).all() and gap[-1] > 0.5
    assert driven.seconds == pytest.approx(10 / 60) and "lip_0" not in driven.missing and "x_cm" in driven.missing


def test_a_track_is_exported_edited_and_rendered_without_blinks(
    video: Path,
    models: pipeline.Models,
    avatar: HeadAvatar,
    head_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "load_models", lambda: models)  # built once for all tests here
    monkeypatch.setattr(pipeline, "build_avatar", lambda *_: avatar)
    path, output = tmp_path / "track.csv", tmp_path / "out.mp4"
    report = pipeline.track_file(video, path, SMALL, lambda *_: None)
    assert report["frames"] == COUNT and report["held"] == 3
    around = slice(BLINK.start - 4, BLINK.stop)

    def eyes() -> Array:
        file = drive.from_file(read_track(path), models.expression)
        return eyes_of(models, list(pipeline.animate(avatar, models, file.track, relative=True))[around])

    before = eyes()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["eyeBlinkLeft"] = row["eyeBlinkRight"] = "0"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    after = eyes()
    assert before.min() < 0.5 * before.max() and after.min() > 0.75 * before.max()

    report = pipeline.render_file(head_png, None, output, replace(SMALL, drive=path), lambda *_: None)
    info = probe(output)
    assert report["frames"] == len(list(read_video(output))) == COUNT and report["seconds"] == COUNT / FPS
    assert not info.has_audio and report["held"] == 0 and report["missing"] == []
