"""A small dubbed video, measured."""

import json
import sys
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from mggdub import jobs
from mggdub.cli import main
from mggdub.errors import InputError, UsageError
from mggdub.evaluation import perceptual
from mggdub.evaluation.pictures import Judges, load_judges
from mggdub.evaluation.summary import METRICS, Measurement
from mggdub.evaluation.video import measure
from mggdub.media.audio import read_audio
from mggdub.media.encode import write_video
from mggdub.media.image import read_image
from mggdub.media.video import read_video
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.train import compare
from mggdub.types import Array, Photo, Waveform

SECONDS = 3


def write_wav(path: Path, sound: Waveform) -> Path:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(path, sound.samples, sound.sample_rate)
    return path


def write(path: Path, frames: list[Array], sound: Path, fps: int = 25) -> Path:
    size = (frames[0].shape[1], frames[0].shape[0])
    write_video(path, iter(frames), fps=Fraction(fps), size=size, audio=sound, duration=len(frames) / fps)
    return path


@pytest.fixture(scope="module")
def judges() -> Judges:
    return load_judges()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def talking(folder: Path, head_png: Path, speech_wav: Path) -> Path:
    """SECONDS of a talking head; its sound is `sound.wav`."""
    sound = read_audio(speech_wav)
    cut = Waveform(sound.samples[: SECONDS * sound.sample_rate], sound.sample_rate)
    jobs.render_file(
        head_png,
        write_wav(folder / "sound.wav", cut),
        folder / "talking.mp4",
        RenderOptions(preview=True, size=320),
        lambda *_: None,
    )
    return folder / "talking.mp4"


@pytest.fixture(scope="module")
def short(folder: Path, talking: Path) -> Path:
    """The first frames of it."""
    return write(folder / "short.mp4", [frame for _, frame in read_video(talking)][:4], folder / "sound.wav")


@pytest.fixture(scope="module")
def itself(talking: Path, judges: Judges, head_png: Path) -> Measurement:
    """The talking head compared with itself and with its photo."""
    return measure(talking, judges, talking, read_image(head_png), pictures=3)


def test_a_video_equals_itself(itself: Measurement) -> None:
    found, numbers = itself, itself.numbers
    assert set(numbers) <= set(METRICS) and all(np.isfinite(value) for value in numbers.values())
    assert numbers["psnr"] == numbers["psnr_head"] == numbers["psnr_black"] == 100
    assert numbers["ssim"] == pytest.approx(1) and numbers["lip_r"] == pytest.approx(1)
    assert numbers["f_lmd"] == numbers["m_lmd"] == numbers["aed_mp"] == numbers["apd_mp"] == numbers["lip_lag"] == 0
    assert numbers.get("lpips_alex", 0) == 0 and numbers.get("csim_dlib", 1) > 0.9
    assert numbers.get("csim_dlib_true", 1) > 0.999
    assert numbers["frames"] == SECONDS * 25 and numbers["frames_without_face"] == 0
    assert abs(numbers["end_difference"]) <= 40
    assert numbers["lip_std"] > 0.5 and numbers["frames_compared"] == 3
    assert 0.3 < numbers["mouth_sharpness"] < 2 and 0.5 < numbers["seam"] < 2
    assert len(found.curves["lips"]) == SECONDS * 25


def test_late_sound_is_told(talking: Path, itself: Measurement, judges: Judges, folder: Path) -> None:
    sound = read_audio(folder / "sound.wav")
    late = Waveform(np.concatenate([np.zeros(1920, np.float32), sound.samples])[: len(sound.samples)], 16_000)
    frames = [frame for _, frame in read_video(talking)]
    moved = write(folder / "late.mp4", frames, write_wav(folder / "late.wav", late))
    before, after = itself.numbers, measure(moved, judges).numbers
    assert before["sound_lag_r"] > 0.3
    assert after["sound_lag"] - before["sound_lag"] == pytest.approx(120, abs=20)
    assert before["sync_c_mgg"] > 0.3
    assert after["sync_offset"] - before["sync_offset"] == pytest.approx(120, abs=20)


def test_late_lips_and_worse_pictures_are_told(talking: Path, judges: Judges, folder: Path) -> None:
    frames = [frame for _, frame in read_video(talking)]
    changed = [np.clip(frame * 0.9, 0, 255).astype(np.uint8) for frame in frames[:1] * 3 + frames[:-3]]
    found = measure(write(folder / "worse.mp4", changed, folder / "sound.wav"), judges, talking, pictures=1).numbers
    assert found["lip_lag"] == 120 and found["lip_lag_r"] > 0.9 > found["lip_r"]
    assert found["psnr"] < 30 and found["ssim"] < 1 and found["m_lmd"] > 0


@pytest.mark.usefixtures("talking")
def test_a_photo_that_stands_still(judges: Judges, head_png: Path, folder: Path) -> None:
    picture = read_image(head_png)
    path = write(folder / "still.mp4", list(repeat(picture.pixels, 25)), folder / "sound.wav")
    found = measure(path, judges, photo=picture, pictures=2).numbers
    assert found["mouth_sharpness"] == pytest.approx(1, abs=0.25) and found["seam"] == pytest.approx(1, abs=0.1)
    assert found["head_motion"] < 0.1 and found["blinks_per_minute"] == 0 and found["lip_std"] < 0.1
    assert found["sound_lag"] == found["sound_lag_r"] == 0
    assert found.get("csim_dlib", 1) > 0.98


def test_a_reference_that_ends_early_is_told(talking: Path, short: Path, judges: Judges) -> None:
    found = measure(talking, judges, short, pictures=1)
    assert found.numbers["frames"] in (4, 5) and found.numbers["f_lmd"] < 1  # the last one may hold for a frame more
    assert "end_difference" not in found.numbers and "short.mp4 is shorter" in " ".join(found.skipped)
    whole = measure(short, judges, talking, pictures=1)
    assert "end_difference" in whole.numbers and "were measured" not in " ".join(whole.skipped)
    assert whole.skipped[-1].startswith(f"{short} is shorter than {talking}, with the first ")


def test_a_reference_that_ends_before_the_video_begins_is_told(
    short: Path, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [(9.0, frame, None) for _, frame in read_video(short)]
    monkeypatch.setattr("mggdub.evaluation.video._paired", lambda *_: iter(late))
    with pytest.raises(InputError, match="has ended before"):
        measure(short, judges, short)


def test_what_cannot_be_measured_is_a_sentence(folder: Path, short: Path, judges: Judges) -> None:
    grey = write(folder / "grey.mp4", [np.full((240, 240, 3), 120, np.uint8)] * 10, folder / "sound.wav")
    with pytest.raises(InputError, match="No face"):
        measure(grey, judges)
    with pytest.raises(InputError, match="No face"):
        measure(short, judges, grey)
    wide = write(folder / "wide.mp4", [np.full((120, 240, 3), 120, np.uint8)] * 10, folder / "sound.wav")
    with pytest.raises(UsageError, match="same shape"):
        measure(short, judges, wide)
    with pytest.raises(InputError, match="photo"):
        measure(short, judges, photo=Photo(np.full((200, 200, 3), 120, np.uint8)), pictures=1)


def test_the_command_prints_numbers_and_what_is_missing(
    folder: Path, short: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(perceptual, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["mggdub", *map(str, ("evaluate", short, "--reference", short, "--json"))])
    capfd.readouterr()
    assert main.run() == 0
    said = json.loads(capfd.readouterr().out)
    assert said["metrics"]["psnr"] == 100 and "lpips_alex" not in said["metrics"]
    assert any("LPIPS" in sentence and "mggdub[eval]" in sentence for sentence in said["skipped"])
    monkeypatch.setattr(sys, "argv", ["mggdub", "evaluate", str(folder / "nothing.mp4")])
    assert main.run() == 2


@pytest.mark.slow
def test_a_folder_of_clips(
    folder: Path, talking: Path, models: Models, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_networks", lambda: (models, judges))
    monkeypatch.setattr(compare, "RenderOptions", partial(RenderOptions, preview=True))
    clips, out = folder / "clips", folder / "out"
    clips.mkdir()
    frames = [frame for _, frame in read_video(talking)]
    write(clips / "a.mp4", frames[50:54], folder / "sound.wav")
    write(clips / "b.mp4", [np.full_like(frames[0], 120)] * 4, folder / "sound.wav")
    compare.evaluate_folder(sorted(clips.iterdir()), out, 1, 1, "a")
    report = json.loads((out / "report.json").read_text())
    assert report["summary"]["All clips"]["n"] == report["summary"]["a* alone"]["n"] == 1
    assert "No human face" in report["left_out"]["b"]
    assert set(report["clips"]["a"]) == set(compare.ROWS)
    assert report["clips"]["a"]["truth"]["lip_r"] == pytest.approx(1)
    assert report["clips"]["a"]["still photo"]["psnr_head"] < 60
    assert "| psnr |" in (out / "report.md").read_text()
    assert (out / "sheet.jpg").is_file() and (out / "curves.png").is_file()
    done = out / "clips" / "a" / "result.json"
    written = done.stat().st_mtime_ns
    compare.evaluate_folder(sorted(clips.iterdir()), out, 1, 1, "a")
    assert done.stat().st_mtime_ns == written


def test_a_cut_is_no_motion(talking: Path, judges: Judges, folder: Path, speech_wav: Path) -> None:
    frames = [frame for _, frame in read_video(talking)][:8]
    nearer = [np.ascontiguousarray(np.kron(frame[40:240, 60:260], np.ones((2, 2, 1), np.uint8))) for frame in frames]
    plain = [np.ascontiguousarray(np.pad(frame, ((40, 40), (40, 40), (0, 0)))) for frame in frames]
    path = write(folder / "cut.mp4", plain + nearer, speech_wav)
    alone = measure(write(folder / "plain.mp4", plain, speech_wav), judges).numbers
    numbers = measure(path, judges, path, pictures=2).numbers
    assert numbers["cuts"] == 1 and "cuts" not in alone
    assert numbers["jitter"] < 3 * alone["jitter"] + 5 and numbers["head_motion"] < 2
    assert numbers["psnr"] == 100 and numbers["frames_compared"] == 2
