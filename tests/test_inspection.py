"""What inspect says of good and of doubtful photos and recordings."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw, ImageFilter

from mggdub import inspection, pipeline
from mggdub.config import RenderOptions
from mggdub.inspection import FaceFinding, as_text, hear, inspect_file, look
from mggdub.media import process
from mggdub.media.image import read_image
from mggdub.types import Photo


@pytest.fixture(scope="module")
def head(head_png: Path) -> Image.Image:
    return Image.fromarray(read_image(head_png).pixels)


def seen(models: pipeline.Models, picture: Image.Image) -> FaceFinding:
    photo = Photo(np.array(picture))
    return look(photo, models.faces.find(photo.pixels)[0], 0, models.faces, models.geometry)


def test_a_good_photo(models: pipeline.Models, head: Image.Image) -> None:
    found = seen(models, head)
    assert found.verdict == "good" and found.advice == ()
    assert found.mouth == "closed" and found.eyes == "open"
    assert max(abs(found.pitch), abs(found.yaw), abs(found.roll)) < 8 and 150 < found.height < 220
    left, top, right, bottom = found.box
    assert 0 < left < right < 384 and 0 < top < bottom < 384


def test_doubtful_photos_get_advice(models: pipeline.Models, head: Image.Image) -> None:
    small = seen(models, head.resize((160, 160)))
    assert small.verdict == "usable" and "small" in small.advice[0]
    blurred = seen(models, head.filter(ImageFilter.GaussianBlur(4)))
    assert blurred.verdict == "usable" and any("blurred" in sentence for sentence in blurred.advice)
    masked = head.copy()
    marks = models.faces.find(np.array(head))[0].landmarks
    low, high = marks[:, :2].min(0), marks[:, :2].max(0)
    ImageDraw.Draw(masked).rectangle((low[0], marks[2, 1], high[0], high[1] + 4), fill=(60, 110, 200))
    found = seen(models, masked)
    assert any("cover the chin" in sentence for sentence in found.advice), found


def test_two_faces_are_numbered_and_the_better_one_is_named(head: Image.Image, tmp_path: Path) -> None:
    group = Image.new("RGB", (840, 440), (120, 130, 140))
    group.paste(head.resize((430, 430)).filter(ImageFilter.GaussianBlur(4)), (0, 5))
    group.paste(head, (445, 30))
    group.save(tmp_path / "group.png")
    report = inspect_file(tmp_path / "group.png", tmp_path / "drawn.png")
    assert [face["index"] for face in report["faces"]] == [0, 1]
    assert report["verdict"] == "usable" and "--face 1" in report["advice"][0]
    drawn, plain = (np.asarray(Image.open(tmp_path / name)) for name in ("drawn.png", "group.png"))
    changed = (drawn != plain).any(-1)
    assert 200 < changed.sum() < 0.2 * changed.size
    assert "face 1: " in as_text(report)


def test_a_face_too_small_for_render_is_unusable(
    head: Image.Image, models: pipeline.Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mggdub.perception.face.SMALLEST_FACE", 1000.0)
    found = seen(models, head)
    assert found.verdict == "unusable" and "too small" in found.advice[0]
    with pytest.raises(inspection.InputError, match="too small"):
        pipeline.build_avatar(Photo(np.array(head)), models, RenderOptions())


def test_recordings(speech_wav: Path, tmp_path: Path) -> None:
    found = hear(speech_wav)
    assert found.verdict == "good" and (found.sample_rate, found.channels) == (22050, "mono")
    assert 0.6 < found.voice < 1 and found.leading < 0.3 and -30 < found.rms_db < -10
    samples, rate = soundfile.read(speech_wav)
    part = samples[: 2 * rate]
    made = {
        "quiet": part / 300,
        "clipped": np.clip(part * 8, -1, 1),
        "late": np.concatenate([np.zeros(rate), part]),
        "silent": np.zeros(rate),
    }
    heard = {}
    for name, data in made.items():
        soundfile.write(tmp_path / f"{name}.wav", data, rate)
        heard[name] = hear(tmp_path / f"{name}.wav")
    assert "quiet" in heard["quiet"].advice[0] and heard["quiet"].voice > 0.5
    assert "clipped" in heard["clipped"].advice[0] and heard["clipped"].clipped > 0.01
    assert heard["late"].leading == pytest.approx(1, abs=0.15)
    assert heard["silent"].voice == 0 and "closed" in heard["silent"].advice[0] and heard["silent"].rms_db is None
    assert "silent" in as_text(inspect_file(tmp_path / "silent.wav"))


def test_numbers_of_a_short_recording_are_possible(speech_wav: Path, tmp_path: Path) -> None:
    sound, rate = soundfile.read(speech_wav)
    for seconds in (0.012, 0.043, 0.111, 0.507):
        soundfile.write(tmp_path / "short.wav", sound[rate : rate + round(seconds * rate)] / np.abs(sound).max(), rate)
        report = inspect_file(tmp_path / "short.wav")
        assert 0 <= report["voice"] <= 1 and report["leading"] <= report["seconds"] + 0.05
        assert not as_text(report).split(": ")[1].startswith("0.0 s") and "-0.0" not in as_text(report)


def test_a_silent_track_beside_a_loud_one_is_told(speech_wav: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mute.wav", np.zeros(16000), 16000)
    inputs = ("-i", tmp_path / "mute.wav", "-t", "1", "-i", speech_wav, "-map", "0", "-map", "1")
    for first, words in (("default", "another one"), ("0", "")):
        marks = ("-disposition:a:0", first, "-disposition:a:1", "0" if words else "default")
        argv = [process.binary(), "-v", "error", "-y", *inputs, *marks, tmp_path / "two.mka"]
        subprocess.run([str(part) for part in argv], check=True)
        found = hear(tmp_path / "two.mka")
        assert any("another one" in sentence for sentence in found.advice) == bool(words)
        assert (found.voice > 0.5) == (not words)
