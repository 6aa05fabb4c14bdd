"""Driving a photo: what is put into a synthetic video is tracked, and what is tracked moves the photo."""

import csv
import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mggdub import jobs
from mggdub.animation import animate, retarget
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError
from mggdub.face import expression
from mggdub.face.clip import follow_face
from mggdub.face.mesh import LIDS
from mggdub.geometry.camera import cm_per_px
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.media.encode import write_video
from mggdub.media.process import binary
from mggdub.media.video import probe, read_video
from mggdub.models import Models
from mggdub.motion import driving, limits
from mggdub.motion.track import Performance, apply_options, play_file, resample
from mggdub.motion.track_file import read_track
from mggdub.options import RenderOptions
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array, ExpressionTrack, Waveform

SMALL = RenderOptions(size=256, preview=True)
FPS = 25
COUNT = 30
LOST = slice(20, 23)  # frames of the driving video without a face
BLINK = slice(9, 13)
BLINKS = [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]


@pytest.fixture(scope="module")
def played(models: Models) -> ExpressionTrack:
    """The mouth opens twice, the head turns, the eyes close once."""
    phase = np.arange(COUNT) / COUNT * 2 * np.pi
    units = np.zeros((COUNT, 52), np.float32)
    units[BLINK, BLINKS[0]] = units[BLINK, BLINKS[1]] = 1
    modes = (0.6 - 0.6 * np.cos(2 * phase))[:, None] * models.expression.opening
    rotation = np.stack([2 * np.sin(2 * phase), 6 * np.sin(phase), 0 * phase], 1)
    return ExpressionTrack((np.arange(COUNT) + 0.5) / FPS, units, modes.astype(np.float32), rotation.astype(np.float32))


@pytest.fixture(scope="module")
def video(
    tmp_path_factory: pytest.TempPathFactory, models: Models, avatar: HeadAvatar, played: ExpressionTrack
) -> Path:
    """The synthetic head plays the track, silently; a few frames show nobody."""
    path = tmp_path_factory.mktemp("drive") / "driver.mp4"
    frames = list(animate.animate(avatar, models, played, relative=True))
    frames[LOST] = [np.full_like(frames[0], 128)] * len(frames[LOST])
    write_video(path, iter(frames), fps=Fraction(FPS), size=(256, 256))
    return path


@pytest.fixture(scope="module")
def tracked(video: Path, models: Models) -> Performance:
    return driving.track_video(video, models)


def correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def eyes_of(models: Models, frames: list[Array]) -> Array:
    """Opening of the eyes in every frame, px."""
    marks = np.stack([face.landmarks for face in follow_face(frames, models.faces) if face])
    return np.abs(marks[:, [159, 386], 1] - marks[:, [145, 374], 1]).mean(1)


def test_what_was_played_is_tracked(
    tracked: Performance, played: ExpressionTrack, models: Models, avatar: HeadAvatar
) -> None:
    track = tracked.track
    seen = np.delete(np.arange(COUNT), LOST)
    gap = expression.lip_gap(models.expression, track.lip_modes)
    basis, own = models.expression, avatar.photo_drivers
    drivers = retarget.open_past_edges(basis, own, retarget.retarget(basis, own, played), cm_per_px(avatar.camera))
    truth = expression.lip_gap(basis, drivers[:, 24:])
    assert correlation(gap[seen], truth[seen]) > 0.95 and np.abs(gap - truth)[seen].mean() < 0.2
    assert correlation(track.rotation[seen, 1], played.rotation[seen, 1]) > 0.98
    assert np.abs(track.rotation[seen] - played.rotation[seen]).mean() < 1.0
    closed = track.blendshapes[BLINK, BLINKS].mean() - np.median(track.blendshapes[:, BLINKS])
    assert closed > 0.4
    assert np.allclose(track.times, played.times, atol=1e-3) and tracked.seconds == pytest.approx(COUNT / FPS, abs=1e-3)


@pytest.mark.parametrize("quarters", [1, 2])
def test_a_driver_filmed_sideways_or_upside_down_says_the_same(
    video: Path, tracked: Performance, models: Models, tmp_path: Path, quarters: int
) -> None:
    path = tmp_path / "turned.mp4"
    frames = (np.ascontiguousarray(np.rot90(frame, quarters)) for _, frame in read_video(video))
    write_video(path, frames, fps=Fraction(FPS), size=(256, 256), crf=5)
    found = driving.track_video(path, models)
    assert found.held == tracked.held
    assert np.abs(found.track.rotation - tracked.track.rotation).max() < 1.5
    assert np.abs(found.track.translation - tracked.track.translation)[:, :2].max() < 0.3  # depth trembles anyway
    gap, other = (expression.lip_gap(models.expression, one.track.lip_modes) for one in (found, tracked))
    assert correlation(gap, other) > 0.97
    assert np.abs(found.track.blendshapes - tracked.track.blendshapes)[:, list(DRIVING_UNITS)].max() < 0.15
    assert np.abs(found.track.torso - tracked.track.torso)[:, :2].max() < 0.3


def test_a_shaking_camera_turns_no_head(tmp_path: Path, video: Path, tracked: Performance, models: Models) -> None:
    frames = [frame for _, frame in read_video(video)]
    wide = [np.pad(frame, ((24, 24), (24, 24), (0, 0)), mode="edge") for frame in frames]
    at = [(24 + round(20 * np.sin(0.9 * k)), 24 + round(20 * np.cos(1.7 * k))) for k in range(COUNT)]
    shaken = (one[y : y + 256, x : x + 256] for one, (x, y) in zip(wide, at, strict=True))
    write_video(tmp_path / "shaken.mp4", shaken, fps=Fraction(FPS), size=(256, 256), crf=4)
    found = driving.track_video(tmp_path / "shaken.mp4", models)
    assert found.held <= tracked.held + 1 and not found.cuts
    apart = np.abs(found.track.rotation - found.track.rotation[0] - tracked.track.rotation + tracked.track.rotation[0])
    assert apart[:, [0, 2]].max() < 4


def test_frames_without_a_face_hold_the_last(tracked: Performance) -> None:
    assert tracked.held == 3
    for values in (tracked.track.lip_modes, tracked.track.blendshapes):
        assert np.abs(np.diff(values[LOST.start - 1 : LOST.stop], axis=0)).max() < 1e-4


def test_no_face_at_all_is_said(tmp_path: Path, models: Models) -> None:
    path = tmp_path / "wall.mp4"
    write_video(path, iter([np.full((96, 128, 3), 128, np.uint8)] * 2), fps=Fraction(FPS), size=(128, 96))
    with pytest.raises(InputError, match="No human face"):
        driving.track_video(path, models)


def test_the_first_frame_is_the_photo_and_contact_is_absolute(models: Models) -> None:
    basis = models.expression
    own = np.zeros(32, np.float32)
    own[24:] = basis.opening * 0.8  # the photo's mouth is open, the driver's closes and opens again
    own[1] = 0.2
    modes = np.linspace(0.4, 0, 20)[:, None] * basis.opening
    units = np.full((20, 52), 0.1, np.float32)
    units[10, BLINKS] = 1
    track = ExpressionTrack((np.arange(20) + 0.5) / 25, units, modes.astype(np.float32))
    drivers = retarget.retarget(basis, own, track)
    assert np.allclose(drivers[0], own, atol=1e-5)
    gap = expression.lip_gap(basis, drivers[:, 24:])
    assert np.allclose(gap[8:], expression.lip_gap(basis, modes)[8:], atol=1e-4)  # after 0.3 s
    assert np.allclose(drivers[10, list(expression.BLINKS)], 1, atol=1e-5)
    assert np.allclose(drivers[:, 1], 0.2, atol=1e-6)


def test_a_blink_in_the_first_frame_is_no_open_eye(models: Models) -> None:
    units = np.zeros((20, 52), np.float32)
    units[:3, BLINKS] = 0.9
    track = ExpressionTrack((np.arange(20) + 0.5) / 25, units, np.zeros((20, 8), np.float32))
    lids = retarget.retarget(models.expression, np.zeros(32, np.float32), track)[:, list(expression.BLINKS)]
    assert np.allclose(lids[0], 0.9, atol=1e-5) and np.allclose(lids[5:], 0, atol=1e-5)


def test_options_hold_what_they_name(tracked: Performance) -> None:
    track = resample(tracked, 50.0)
    assert len(track) == 2 * COUNT and np.allclose(np.diff(track.times), 0.02)
    still = apply_options(track, replace(SMALL, pose="still", blink="none", expression_scale=0.0, mouth_scale=0.5))
    assert not still.rotation.any() and not still.translation.any()
    assert np.ptp(still.blendshapes, axis=0).max() < 1e-6
    assert np.allclose(still.lip_modes, track.lip_modes / 2)


def test_a_file_without_lip_modes_moves_lips(tmp_path: Path, models: Models) -> None:
    path = tmp_path / "take.csv"
    path.write_text(
        "Timecode,BlendShapeCount,JawOpen\n" + "".join(f"01:00:00:{k:02}.0,61,{k / 9}\n" for k in range(10))
    )
    driven = play_file(read_track(path), models.expression)
    gap = expression.lip_gap(models.expression, driven.track.lip_modes)
    assert (np.diff(gap) > 0).all() and gap[-1] > 0.5
    assert driven.seconds == pytest.approx(10 / 60) and "lip_0" not in driven.missing and "x_cm" in driven.missing


def test_a_track_is_exported_edited_and_rendered_without_blinks(
    video: Path,
    models: Models,
    avatar: HeadAvatar,
    head_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "load_models", lambda: models)  # built once for all tests here
    monkeypatch.setattr(jobs, "build_avatar", lambda *_: avatar)
    path, output = tmp_path / "track.csv", tmp_path / "out.mp4"
    report = jobs.track_file(video, path, SMALL, lambda *_: None)
    assert report.frames == COUNT and report.held == 3
    around = slice(BLINK.start - 4, BLINK.stop)

    def eyes() -> Array:
        file = play_file(read_track(path), models.expression)
        return eyes_of(models, list(animate.animate(avatar, models, file.track, relative=True))[around])

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

    report = jobs.render_file(head_png, None, output, replace(SMALL, drive=path), lambda *_: None)
    info = probe(output)
    assert report.frames == len(list(read_video(output))) == COUNT and report.seconds == COUNT / FPS
    assert not info.has_audio and report.held == 0 and report.missing == ()


@pytest.fixture(scope="module")
def cut_video(tmp_path_factory: pytest.TempPathFactory, head_png: Path) -> tuple[Path, Path]:
    """One person, then another who is larger, higher and moves; and a video of the other alone."""
    folder = tmp_path_factory.mktemp("cut")
    with Image.open(head_png) as head, Image.open(head_png.parents[2] / "examples/photo.png") as photo:
        one, other = head.convert("RGB").resize((200, 200)), photo.convert("RGB").crop((150, 30, 310, 190))

    def frames(person: Image.Image, side: int, count: int) -> list[Array]:
        shown = person.resize((side, side), Image.Resampling.BICUBIC)
        pictures = []
        for k in range(count):
            picture = Image.new("RGB", (256, 256), (150, 150, 155))
            picture.paste(shown, ((256 - side) // 2 + k, (256 - side) // 2))
            pictures.append(np.asarray(picture))
        return pictures

    first, second = frames(one, 170, 10), frames(other, 240, 10)
    for name, pictures in (("cut.mp4", first + second), ("second.mp4", second)):
        write_video(folder / name, iter(pictures), fps=Fraction(FPS), size=(256, 256), crf=4)
    return folder / "cut.mp4", folder / "second.mp4"


def test_after_a_cut_all_begins_anew(cut_video: tuple[Path, Path], models: Models) -> None:
    both, alone = (driving.track_video(path, models) for path in cut_video)
    assert both.cuts == (pytest.approx(10 / FPS, abs=1e-3),) and alone.cuts == () and both.held == 0
    after, single = slice(10, None), alone.track
    assert np.abs(both.track.rotation[10]).max() < 1e-5 and np.abs(both.track.translation[10]).max() < 1e-5
    assert np.abs(both.track.rotation[after] - single.rotation).max() < 0.5
    assert np.abs(both.track.translation[after] - single.translation)[:, :2].max() < 0.1
    assert np.abs(both.track.lip_modes[after] - single.lip_modes).max() < 0.5
    played = resample(both, FPS)
    assert np.abs(np.diff(played.translation, axis=0)).max() < 2 and np.abs(played.translation).max() < 6


def test_cuts_are_told(
    cut_video: tuple[Path, Path],
    models: Models,
    avatar: HeadAvatar,
    head_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "load_models", lambda: models)
    monkeypatch.setattr(jobs, "build_avatar", lambda *_: avatar)
    options = replace(SMALL, drive=cut_video[0])
    report = jobs.render_file(head_png, None, tmp_path / "out.mp4", options, lambda *_: None)
    assert report.cuts == 1 and report.limited == 0
    assert all(report.checks[name].ok for name in ("attached", "steady"))
    sentences = report.remarks
    assert len(sentences) == 1 and "cut.mp4 cuts in one place" in sentences[0]
    assert jobs.track_file(cut_video[0], tmp_path / "a.csv", SMALL, lambda *_: None).cuts == 1


def test_a_wild_track_is_held_to_what_a_photo_bears(tmp_path: Path, models: Models) -> None:
    path = tmp_path / "wild.csv"
    path.write_text("time_s,yaw_deg,x_cm,z_cm\n" + "".join(f"{k / 25},{3 * k},{k},{-4 * k}\n" for k in range(30)))
    wild = play_file(read_track(path), models.expression)
    played = resample(wild, FPS)
    assert played.rotation[:, 1].max() <= 42 and played.translation[:, 0].max() < 9
    assert played.translation[:, 2].min() >= -28 and limits.held_back(wild.track) > 10
    assert np.allclose(played.rotation[:8], wild.track.rotation[:8], atol=2)


def test_a_turned_first_frame_is_not_the_reference() -> None:
    angles = np.zeros((20, 3))
    angles[:3, 1] = [40, 38, 30]
    angles[5:, 1] = 2
    assert driving.reference_frame(euler_to_matrix(angles)) == 5
    angles[:3, 1] = 20
    assert driving.reference_frame(euler_to_matrix(angles)) == 0


def meshes_of(opening: Array) -> Array:
    """[T, 478, 3] cm of eyes that are so far open, [T, 2] cm, the left one first."""
    meshes = np.zeros((len(opening), 478, 3), np.float32)
    for side, lids in enumerate(LIDS):
        for upper, lower in lids:
            meshes[:, lower, 1] = meshes[:, upper, 1] + opening[:, [side]].T
    return meshes


def test_lids_close_together_where_the_eyes_do_and_a_wink_stays_one() -> None:
    shut = np.array([0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0])
    opening = (1 - shut)[:, None] * [1.0, 0.8]  # one eye is narrower
    units = np.zeros((10, len(BLENDSHAPES)), np.float32)
    blinks = [DRIVING_UNITS[blink] for blink in expression.BLINKS]
    units[:, blinks] = np.stack([1.2 * shut, 0.8 * shut], 1) - [0.1, 0.2]
    together = driving.paired_lids(units, meshes_of(opening))[:, blinks]
    closed = (together - [-0.1, -0.2]) / [1.1, 1.2]
    assert closed[:, 0] == pytest.approx(closed[:, 1], abs=1e-5) and closed[4, 0] == pytest.approx(0.879, abs=0.01)
    assert together[0] == pytest.approx([-0.1, -0.2])  # at rest they are as they were
    opening[:, 1] = 0.8
    wink = driving.paired_lids(units, meshes_of(opening))[4, blinks]
    assert wink[0] > 1 and wink[1] < 0.5
    others = np.setdiff1d(np.arange(len(BLENDSHAPES)), blinks)
    assert (driving.paired_lids(units, meshes_of(opening))[:, others] == 0).all()
    assert np.isfinite(driving.paired_lids(units[:1], meshes_of(0 * opening[:1]))).all()  # one frame, eyes shut


def test_an_extreme_first_expression_is_not_the_photos(models: Models) -> None:
    brow = DRIVING_UNITS.index(BLENDSHAPES.index("browInnerUp"))
    units = np.zeros((20, 52), np.float32)
    units[:2, BLENDSHAPES.index("browInnerUp")] = 1
    track = ExpressionTrack((np.arange(20) + 0.5) / 25, units, np.zeros((20, 8), np.float32))
    own = np.zeros(32, np.float32)
    drivers = retarget.retarget(models.expression, own, track)
    assert drivers[0, brow] == pytest.approx(0.3) and np.allclose(drivers[2:, brow], -0.3)
    own[brow] = 1  # the photo has the same brows: they are its own
    drivers = retarget.retarget(models.expression, own, track)
    assert drivers[0, brow] == 1 and np.allclose(drivers[2:, brow], 0)


def test_one_frame_and_a_late_face_drive(cut_video: tuple[Path, Path], models: Models, tmp_path: Path) -> None:
    frames = [frame.copy() for _, frame in read_video(cut_video[1])]
    wall = [np.full_like(frames[0], 128)] * 4
    write_video(tmp_path / "one.mp4", iter(frames[:1]), fps=Fraction(FPS), size=(256, 256))
    one = driving.track_video(tmp_path / "one.mp4", models)
    assert len(one.track) == 1 and np.abs(one.track.rotation).max() < 1e-5 and len(resample(one, 25)) == 1
    write_video(tmp_path / "late.mp4", iter(wall + frames), fps=Fraction(FPS), size=(256, 256), crf=4)
    late = driving.track_video(tmp_path / "late.mp4", models)
    assert late.held == 4 and late.cuts == () and np.abs(late.track.translation[:5]).max() < 1e-5


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (1.2, ""),
        (3.0, "3.0 s and its picture 1.0 s; the rest of it is not"),
        (0.3, "0.3 s and its picture 1.0 s; the video ends in silence"),
    ],
)
def test_a_driver_whose_sound_has_another_length_is_told(
    heard: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "sound_notes", lambda *_: [])
    sound = Waveform(np.zeros(round(heard * 16000), np.float32), 16000)
    notes = jobs._about_sound(None, Path("actor.mp4"), sound, 1.0)
    assert len(notes) == bool(said) and said in " ".join(notes)


def test_a_driver_whose_sound_cannot_be_decoded_is_refused_before_the_work(
    models: Models, head_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "build_avatar", None)
    sine = ("-f", "lavfi", "-i", "color=s=64x64:r=25:d=0.2", "-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac")
    subprocess.run([binary(), "-v", "error", *sine, tmp_path / "a.mkv"], check=True)
    drive = tmp_path / "rare.mkv"
    drive.write_bytes((tmp_path / "a.mkv").read_bytes().replace(b"A_AAC", b"A_XYZ"))
    for ask in (
        lambda: jobs.render_file(
            head_png, None, tmp_path / "a.mp4", replace(SMALL, drive=drive), lambda *_: None, models
        ),
        lambda: jobs.playing_time(None, drive),
    ):
        with pytest.raises(InputError, match=r"rare\.mkv cannot be decoded"):
            ask()


@pytest.mark.parametrize("name", ["text.mp4", "moving.webp", "sound.wav"])
@pytest.mark.parametrize("spoken", [False, True])
def test_a_driver_that_is_no_video_is_called_that_before_the_work(
    name: str, spoken: bool, models: Models, head_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "build_avatar", None)
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    soundfile.write(tmp_path / "sound.wav", np.full(16000, 0.01), 16000)
    speech, options = tmp_path / "sound.wav" if spoken else None, replace(SMALL, drive=tmp_path / name)
    with pytest.raises(InputError, match=f"{name} (holds no video|is a text and no video|is of a kind that is not)"):
        jobs.render_file(head_png, speech, tmp_path / "a.mp4", options, lambda *_: None, models)
    if name == "moving.webp":
        with pytest.raises(InputError, match="not read as a video"):
            jobs.track_file(tmp_path / name, tmp_path / "a.csv", options, lambda *_: None)


@pytest.mark.parametrize("people", [1, 2])
def test_whose_face_of_several_drives_is_told(people: int, models: Models, head_png: Path, tmp_path: Path) -> None:
    frame = np.concatenate([np.asarray(Image.open(head_png).convert("RGB").resize((256, 256)))] * people, 1)
    write_video(tmp_path / "a.mp4", iter([frame] * 2), fps=Fraction(25), size=(256 * people, 256))
    notes = driving.track_video(tmp_path / "a.mp4", models).notes
    assert len(notes) == people - 1
    for note in notes:
        assert note.startswith("2 faces in ") and re.search("the one on the (left|right) drives", note)


@pytest.mark.parametrize(("seconds", "said"), [(0.3, ""), (1.0, "the rest of it is not heard")])
def test_a_speech_of_another_length_than_its_driver_is_told(
    seconds: float,
    said: str,
    models: Models,
    avatar: HeadAvatar,
    head_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "build_avatar", lambda *_: avatar)
    nod, speech = tmp_path / "nod.csv", tmp_path / "a.wav"
    nod.write_text("time_s,jawOpen,pitch_deg\n0.02,0,0\n0.06,0.1,1\n0.10,0.2,2\n")
    soundfile.write(speech, np.full(round(seconds * 16000), 0.01), 16000)
    options = replace(SMALL, drive=nod)
    report = jobs.render_file(head_png, speech, tmp_path / "a.mp4", options, lambda *_: None, models)
    assert report.frames == 3 and said in " ".join(report.notes) and bool(report.notes) == bool(said)


def test_a_track_of_a_video_that_is_cut_short_is_no_matter_of_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "load_models", lambda: None)
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\1\0mdat" + bytes(99))
    with pytest.raises(InputError, match=r"cut\.mp4 was cut short on its way: \d+ %"):
        jobs.track_file(tmp_path / "cut.mp4", tmp_path / "a.csv", SMALL, lambda *_: None)
