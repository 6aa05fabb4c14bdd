"""The checks pass a sound render and notice each kind of damage."""

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from mggdub import checks
from mggdub.avatar.values import HeadAvatar
from mggdub.checks import FrameStats, failures, run_checks
from mggdub.media import process
from mggdub.media.encode import write_video
from mggdub.models import Models
from mggdub.motion import speech
from mggdub.types import Array, ExpressionTrack, Waveform

FRAMES, FPS = 50, 25.0


@pytest.fixture(scope="module")
def scene(models: Models, avatar: HeadAvatar, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two seconds: a hum that swells three times and rests in the last second; lips that follow it."""
    times = (np.arange(FRAMES) + 0.5) / FPS
    at = np.arange(2 * 16000) / 16000
    swell = np.where(at < 0.8, np.sin(2 * np.pi * at / 0.4) ** 2, 0)
    sound = Waveform((0.4 * swell * np.sin(2 * np.pi * 500 * at)).astype(np.float32), 16000)
    opening = np.where(times < 0.8, np.sin(2 * np.pi * times / 0.4) ** 2, 0)
    modes = (opening[:, None] * models.expression.opening).astype(np.float32)
    track = ExpressionTrack(times, np.zeros((FRAMES, 52), np.float32), modes)
    folder = tmp_path_factory.mktemp("scene")
    soundfile.write(folder / "a.wav", sound.samples, 16000)
    height, width = avatar.image.shape[:2]
    out = folder / "a.mp4"
    moved = [avatar.image, np.roll(avatar.image, 1, 0)]
    write_video(out, iter(moved * 25), fps=Fraction(25), size=(width, height), audio=folder / "a.wav", duration=2.0)
    return SimpleNamespace(track=track, sound=sound, out=out, moved=moved)


def judged(scene: SimpleNamespace, models: Models, avatar: HeadAvatar, frames: Any, **other: Any) -> dict[str, Any]:
    watch = FrameStats.of(avatar, FRAMES)
    for index, frame in enumerate(frames):
        watch.see(index, frame)
    given = {"track": scene.track, "sound": scene.sound} | other
    return run_checks(watch, scene.out, FPS, given["track"], models.expression, given["sound"])


def good(scene: SimpleNamespace) -> Iterator[Array]:
    yield from scene.moved * 25


def failed(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found.items() if not check.ok]


def test_a_sound_render_passes_and_everything_is_measured(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    found = judged(scene, models, avatar, good(scene))
    assert failed(found) == [] and failures(found) == []
    measured = {name for name, check in found.items() if check.value is not None}
    assert measured >= {"ends", "black", "frozen", "silence", "seam"}
    assert found["seam"].value == pytest.approx(1, abs=0.1) and found["black"].value > 0.9


def test_a_black_frame_is_noticed(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    frames = list(good(scene))
    frames[17] = np.zeros_like(frames[17])
    found = judged(scene, models, avatar, frames)
    assert failed(found) == ["black"] and found["black"].value == 0
    assert failures(found)[0].startswith("the check 'black' failed")


def test_a_frozen_picture_is_noticed_only_while_lips_should_move(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    frames = list(good(scene))
    assert failed(judged(scene, models, avatar, frames[:25] + frames[25:26] * 25)) == []  # in the pause
    assert failed(judged(scene, models, avatar, frames[:1] * 20 + frames[20:])) == ["frozen"]


def test_lips_open_in_a_pause_are_noticed(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    open_lips = np.tile(0.4 * models.expression.opening, (FRAMES, 1)).astype(np.float32)
    track = ExpressionTrack(scene.track.times, scene.track.blendshapes, open_lips)
    assert failed(judged(scene, models, avatar, good(scene), track=track)) == ["silence"]
    driven = judged(scene, models, avatar, good(scene), track=track, sound=None)
    assert failed(driven) == [] and driven["silence"].value is driven["lip_lag"].value is None


def test_a_hard_outline_is_noticed(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    at = avatar.box
    edge = np.abs(FrameStats.of(avatar, FRAMES).matte - 0.5) < 0.15
    rows, columns = (np.arange(n) * m // n for n, m in zip((at.height, at.width), edge.shape, strict=True))
    line = edge[np.ix_(rows, columns)][..., None]
    box = np.s_[at.top : at.top + at.height, at.left : at.left + at.width]
    frames = list(good(scene))
    for index, frame in enumerate(frames):
        frames[index] = frame.copy()
        frames[index][box] = np.where(line, 0, frame[box])
    assert "seam" in failed(judged(scene, models, avatar, frames))


def test_late_sound_is_noticed(models: Any, speech_wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mggdub.media.audio import read_audio
    from mggdub.options import RenderOptions

    sound = read_audio(speech_wav)
    track = speech.speech_track(sound, models, RenderOptions())[0]
    monkeypatch.setattr(checks, "ends", lambda _: (len(track), 1.0, 1.0))
    seen = FrameStats((slice(0), slice(0)), 1.0, 1.0, np.zeros((2, 2)), frozenset())
    late = Waveform(np.concatenate([np.zeros(16000 // 4, np.float32), sound.samples]), 16000)
    lags = [run_checks(seen, Path("x"), 25.0, track, models.expression, heard)["lip_lag"] for heard in (sound, late)]
    assert lags[0].ok and abs(lags[0].value) < 100
    assert not lags[1].ok and lags[1].value == pytest.approx(lags[0].value + 250, abs=60)


def test_missing_frames_and_a_short_sound_are_noticed(
    scene: Any, models: Any, avatar: HeadAvatar, tmp_path: Path
) -> None:
    assert judged(scene, models, avatar, good(scene))["ends"].value < 0.01
    soundfile.write(tmp_path / "b.wav", scene.sound.samples[:8000], 16000)
    height, width = avatar.image.shape[:2]
    mute, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_video(mute, iter(scene.moved * 25), fps=Fraction(25), size=(width, height))
    subprocess.run(
        [process.binary(), "-v", "error", "-i", mute, "-i", tmp_path / "b.wav", "-c:v", "copy", other], check=True
    )
    scene = SimpleNamespace(**{**vars(scene), "out": other})
    assert "ends" in failed(judged(scene, models, avatar, good(scene)))


@pytest.mark.parametrize(
    ("column", "value", "names"),
    [(0, 40.0, ["attached"]), (1, -30.0, ["attached"]), (2, -90.0, ["attached"]), (2, -20.0, [])],
    ids=["aside", "above", "giant", "nearer"],
)
def test_a_head_that_leaves_its_body_is_noticed(
    scene: Any, models: Any, avatar: HeadAvatar, column: int, value: float, names: list[str]
) -> None:
    away = np.zeros((FRAMES, 3), np.float32)
    away[:, column] = value * np.linspace(0, 1, FRAMES)
    track = ExpressionTrack(scene.track.times, scene.track.blendshapes, scene.track.lip_modes, translation=away)
    found = judged(scene, models, avatar, good(scene), track=track)
    assert failed(found) == names and (found["attached"].value > found["attached"].limit) == bool(names)


def test_a_head_that_leaps_is_noticed(scene: Any, models: Any, avatar: HeadAvatar) -> None:
    for column, value in ((0, 8.0), (2, -80.0)):
        leap = np.zeros((FRAMES, 3), np.float32)
        leap[25:, column] = value
        track = ExpressionTrack(scene.track.times, scene.track.blendshapes, scene.track.lip_modes, translation=leap)
        assert "steady" in failed(judged(scene, models, avatar, good(scene), track=track))
