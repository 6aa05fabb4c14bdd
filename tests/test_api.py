"""The door: light, complete, documented, and its examples run."""

import ast
import doctest
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import mggdub
from mggdub import api
from mggdub.animation.animate import frame_motions
from mggdub.animation.retarget import look_at_camera
from mggdub.motion.selection import NAMES
from mggdub.motion.track import Performance, play_file, resample
from mggdub.motion.track_file import read_track


def test_importing_is_light() -> None:
    program = "import sys, mggdub; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numba", "numpy", "scipy", "PIL", "click"} & set(loaded)


def test_the_door_has_these_names_and_no_others() -> None:
    asked = (
        "render build_avatar load_avatar speech_track video_track read_track animate write_video load_models inspect"
    )
    assert {*asked.split(), "evaluate", "MggdubError", "HeadAvatar", "ExpressionTrack"} <= set(mggdub.__all__)
    assert sorted(mggdub.__all__) == mggdub.__all__ and set(api.__all__) < set(mggdub.__all__)
    for name in mggdub.__all__:
        assert (getattr(mggdub, name).__doc__ or "").strip(), name
    assert set(dir(mggdub)) == {*mggdub.__all__, "__version__"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = mggdub.nothing
    with pytest.raises(TypeError, match="colour"):
        mggdub.render("photo.jpg", None, "out.mp4", colour="red")


def test_rooms_do_not_hide_the_door() -> None:
    import mggdub.evaluation.video
    import mggdub.renderer.rasterize

    assert all(callable(getattr(mggdub, name)) for name in api.__all__)


@pytest.mark.usefixtures("built_once")
def test_every_function_of_the_door_has_an_example_that_runs(
    head_png: Path, speech_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "speech.wav", samples[rate : rate + round(0.24 * rate)], rate)
    with Image.open(head_png) as head:
        head.convert("RGB").resize((192, 192)).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    shared = {"mggdub": mggdub}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    functions = [node.name for node in ast.parse(Path(api.__file__).read_text("utf-8")).body
                 if isinstance(node, ast.FunctionDef) and node.name in api.__all__]  # fmt: skip
    for name in functions:
        test = doctest.DocTestFinder(recurse=False).find(getattr(api, name), name, globs=shared)[0]
        assert test.examples, f"{name} has no example"
        test.globs = shared
        assert runner.run(test, clear_globs=False).failed == 0, name


WRONG_OPTIONS = {
    "fps": [None, 0, "x"], "size": ["128", 128.0, True], "face": [None, -1], "background": [None, (255, 0, 0)],
    "seed": [1.5, "1"], "motion": [None], "mouth_scale": ["1", None, float("nan")], "emotion": [None],
    "crf": [18.5, "18"], "preview": ["no", 1], "force": ["no"], "device": ["gpu", None],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_values_without_meaning_are_one_sentence(name: str) -> None:
    for value in WRONG_OPTIONS[name]:
        with pytest.raises(mggdub.UsageError, match=f"--{name.replace('_', '-')} is ") as told:
            mggdub.render("photo.jpg", "speech.wav", "out.mp4", **{name: value})
        assert str(told.value).endswith(".")


def test_numbers_of_numpy_are_numbers(models: mggdub.Models) -> None:
    sound = mggdub.Waveform(np.zeros(1600, np.float32), 16000)
    assert len(mggdub.speech_track(sound, models, fps=np.float64(30), seed=np.int32(3), mouth_scale=np.float32(1))) == 3
    assert len(mggdub.speech_track(sound, models, fps=30 / 1.001, motion=1 / 3)) == 3
    with pytest.raises(mggdub.UsageError, match="does not exist"):
        mggdub.render("gone.jpg", "gone.wav", "a.mp4", preview=np.bool_(True), force=np.bool_(False))


def test_nothing_to_say_is_told_here_as_well(head_png: Path, tmp_path: Path) -> None:
    with pytest.raises(mggdub.UsageError, match="nothing to say"):
        mggdub.render(head_png, None, tmp_path / "a.mp4")


def test_arguments_of_another_kind_are_type_errors(models: mggdub.Models, avatar: mggdub.HeadAvatar) -> None:
    track = mggdub.ExpressionTrack(np.array([0.02]), np.zeros((1, 52)), np.zeros((1, 8)))
    wrong = [
        lambda: mggdub.render(Image.new("RGB", (64, 64)), "a.wav", "o.mp4"),  # type: ignore[arg-type]
        lambda: mggdub.render("a.jpg", np.zeros(9), "o.mp4"),  # type: ignore[arg-type]
        lambda: mggdub.render("a.jpg", None, "o.mp4", drive=track),
        lambda: mggdub.animate(track, avatar, models),  # type: ignore[arg-type]
        lambda: mggdub.build_avatar("a.jpg", None),  # type: ignore[arg-type]
        lambda: mggdub.inspect(3),  # type: ignore[arg-type]
    ]
    for call in wrong:
        with pytest.raises(TypeError, match=r"give the path|expected"):
            call()


def test_options_that_play_no_part_are_told(models: mggdub.Models) -> None:
    """A driver is nothing to a speech's track, a rate nothing to a head."""
    wrong = [
        lambda: mggdub.speech_track("a.wav", models, drive="a.mp4"),
        lambda: mggdub.speech_track("a.wav", models, size=512),
        lambda: mggdub.build_avatar("a.jpg", models, fps=30),
        lambda: mggdub.write_avatar("a.jpg", "a.mgg", motion="still"),
        lambda: mggdub.render("a.jpg", "a.wav", "a.mp4", strict=True),
    ]
    for call, name in zip(wrong, ("drive", "size", "fps", "motion", "strict"), strict=True):
        with pytest.raises(TypeError, match=f"no option '{name}' here; choose from "):
            call()


def test_options_that_change_nothing_are_told(models: mggdub.Models) -> None:
    """As the command does; what says the default is no choice, as of a program that passes all options on."""
    sound = mggdub.Waveform(np.zeros(1600, np.float32), 16000)
    mggdub.speech_track(sound, models, emotion="neutral", emotion_strength=1)
    with pytest.raises(mggdub.UsageError, match="name one, such as --emotion happy"):
        mggdub.speech_track(sound, models, emotion_strength=0.5)
    with pytest.raises(mggdub.UsageError, match="--seed is for speech"):
        mggdub.render("a.jpg", None, "a.mp4", drive="a.csv", seed=3)


def test_eyes_come_to_the_camera_as_in_the_command(models: mggdub.Models, avatar: mggdub.HeadAvatar) -> None:
    """A track that was asked for so brings the eyes of a photo that looks aside to it, whoever animates it."""
    aside = avatar.photo_drivers.copy()
    aside[[NAMES.index("eyeLookOutLeft"), NAMES.index("eyeLookInRight")]] = 0.5
    head = replace(avatar, photo_drivers=aside)
    sound = mggdub.Waveform(np.zeros(16000, np.float32), 16000)
    track = mggdub.speech_track(sound, models, gaze="camera", motion="still", blink="none")
    assert track.at_camera and not mggdub.speech_track(sound, models).at_camera
    left = replace(track, at_camera=False)
    tracks = track, look_at_camera(head, left), left
    came, by_hand, stayed = (list(frame_motions(head, models, one))[-1].displacement for one in tracks)
    assert (came == by_hand).all() and np.abs(came - stayed)[468:].max() > 0.05  # cm, of irises


def test_pixels_are_a_photo(models: mggdub.Models, head_png: Path) -> None:
    with Image.open(head_png) as head:
        pixels = np.asarray(head.convert("RGB"))
    small = {"size": 128, "preview": True}
    from_file, from_array = (mggdub.build_avatar(photo, models, **small) for photo in (head_png, pixels))
    assert (from_file.image == from_array.image).all()
    for odd in (pixels / 255.0, pixels[..., 0], np.dstack([pixels, pixels[..., 0]]), pixels[:0]):
        with pytest.raises(mggdub.UsageError, match="no picture"):
            mggdub.build_avatar(odd, models, **small)
    with pytest.raises(TypeError, match="or an array"):
        mggdub.build_avatar(Image.fromarray(pixels), models)  # type: ignore[arg-type]
    with pytest.raises(mggdub.UsageError, match="cannot be the name") as told:  # the bytes of a file, not its path
        mggdub.build_avatar(head_png.read_bytes(), models)  # type: ignore[arg-type]
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [(np.zeros(4410, np.float32), 44100, "44100"), (np.zeros(1600, np.int16), 16000, "floats"),
     (np.full(1600, np.nan, np.float32), 16000, "finite"), (np.zeros(0, np.float32), 16000, "no samples")],
)  # fmt: skip
def test_sound_that_is_not_taken_is_told(models: mggdub.Models, samples: np.ndarray, rate: int, words: str) -> None:
    with pytest.raises(mggdub.MggdubError, match=words):
        mggdub.speech_track(mggdub.Waveform(samples, rate), models)


def test_frames_that_are_not_alike_leave_nothing(tmp_path: Path) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    for frames, words in (([frame, frame[:32]], "Frame 1"), ([frame / 255], "uint8"), ([frame[..., 0]], "uint8")):
        with pytest.raises(mggdub.UsageError, match=words):
            mggdub.write_video(tmp_path / "a.mp4", frames)
    with pytest.raises(mggdub.UsageError, match="--crf"):
        mggdub.write_video(tmp_path / "a.mp4", [frame], crf=99)
    assert not list(tmp_path.iterdir())


def test_a_track_without_numbers_is_not_played(models: mggdub.Models, avatar: mggdub.HeadAvatar) -> None:
    track = mggdub.ExpressionTrack(np.array([0.02]), np.zeros((1, 52)), np.full((1, 8), np.nan))
    with pytest.raises(mggdub.UsageError, match="finite numbers"):
        mggdub.animate(avatar, track, models)
    words = mggdub.ExpressionTrack(np.array([0.02]), np.full((1, 52), "a"), np.zeros((1, 8)))
    with pytest.raises(mggdub.UsageError, match="finite numbers"):
        mggdub.animate(avatar, words, models)


@pytest.mark.parametrize("relative", [False, True])
def test_a_track_without_frames_is_told(models: mggdub.Models, avatar: mggdub.HeadAvatar, relative: bool) -> None:
    with pytest.raises(mggdub.UsageError, match="no frames"):
        mggdub.animate(avatar, mggdub.ExpressionTrack(*map(np.zeros, (0, (0, 52), (0, 8)))), models, relative=relative)
    one = mggdub.ExpressionTrack(*map(np.zeros, (1, (1, 52), (1, 8))))
    assert len(list(mggdub.animate(avatar, one, models, relative=relative))) == 1
    with pytest.raises(TypeError, match="relative is a str, expected bool"):
        mggdub.animate(avatar, one, models, relative="no")  # type: ignore[arg-type]


def test_values_of_wrong_shapes_are_told_when_they_are_made() -> None:
    with pytest.raises(ValueError, match="times has shape"):
        mggdub.ExpressionTrack(*map(np.zeros, ((1, 1), (1, 52), (1, 8))))
    with pytest.raises(ValueError, match="sample_rate is 0"):
        mggdub.Waveform(np.zeros(16000, np.float32), 0)


def test_a_driver_turns_a_head_no_farther_than_the_command_does(
    models: mggdub.Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever animates a track himself gets no head that is torn off, and no leap where the driver cuts."""
    times = (np.arange(50) + 0.5) / 25
    far = np.repeat(np.float32([0, 20, 20, 90, 90]), 10)
    rows = "".join(f"{time},{yaw},{yaw}\n" for time, yaw in zip(times, far, strict=True))
    (tmp_path / "a.csv").write_text(f"time_s,yaw_deg,x_cm\n{rows}")
    played = mggdub.read_track(tmp_path / "a.csv", models)
    assert played.rotation[:, 1].max() < 42.1 and played.translation.max() < 9.1 and played.rotation[15, 1] == 20
    driver = Performance(play_file(read_track(tmp_path / "a.csv"), models.expression).track, 2.0, cuts=(0.4, 1.2))
    monkeypatch.setattr(api, "track_video", lambda *_: driver)
    (tmp_path / "a.mp4").write_bytes(b"a video")
    watched = mggdub.video_track(tmp_path / "a.mp4", models)
    assert np.abs(watched.rotation).max() < 42.1 and np.abs(np.diff(watched.rotation[:, 1])).max() < 15
    assert (watched.rotation == resample(driver, 25).rotation).all()


def test_paths_are_texts_bytes_or_path_likes_and_never_empty(head_png: Path) -> None:
    assert mggdub.inspect(os.fsencode(head_png)) == mggdub.inspect(str(head_png))
    with pytest.raises(mggdub.UsageError, match="photo is empty"):
        mggdub.render("", "a.wav", "a.mp4")
    with pytest.raises(TypeError, match="speech is a ndarray"):
        mggdub.render(head_png, np.zeros(9), "a.mp4")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_files_of_another_kind_are_named_as_the_command_names_them(
    models: mggdub.Models, head_png: Path, speech_wav: Path, tmp_path: Path
) -> None:
    track, text, video = tmp_path / "a.csv", tmp_path / "a.txt", tmp_path / "a.mp4"
    track.write_text("time_s,jawOpen\n0.02,0\n0.06,1\n")
    text.write_text("Hello, I am Anna.")
    mggdub.write_video(video, [np.zeros((32, 32, 3), np.uint8)] * 3)
    said = {
        "a.csv is a track; give it with --drive": lambda: mggdub.speech_track(track, models),
        "head.png is a picture and holds no sound": lambda: mggdub.speech_track(head_png, models),
        "a.csv is a track already": lambda: mggdub.video_track(track, models),
        "head.png is a picture; a track is made of": lambda: mggdub.video_track(head_png, models),
        "a.csv is a track; inspect looks at": lambda: mggdub.inspect(track),
        "a.txt is a text, neither a picture nor": lambda: mggdub.inspect(text),
        "wav is a recording without pictures": lambda: mggdub.evaluate(speech_wav),
        "png is a picture; give a video": lambda: mggdub.evaluate(head_png),
        "wav is a recording; the photo comes first": lambda: mggdub.write_avatar(speech_wav, tmp_path / "a.mgg"),
        "so write ": lambda: mggdub.render(speech_wav, head_png, tmp_path / "b.mp4"),
        "a.mp4 is a video; the photo comes first": lambda: mggdub.render(video, speech_wav, tmp_path / "b.mp4"),
        "png is a picture; a photo is driven": lambda: mggdub.render(head_png, None, "b.mp4", drive=head_png),
        "png is a picture and holds": lambda: mggdub.write_video("b.mp4", np.zeros((1, 9, 9, 3), "u1"), audio=head_png),
    }
    for words, call in said.items():
        with pytest.raises(mggdub.MggdubError, match=words):
            call()


def test_a_forked_process_is_told_to_be_started_otherwise() -> None:
    program = """
        import multiprocessing, mggdub
        models = mggdub.load_models()
        def work(queue):
            try:
                mggdub.speech_track(mggdub.Waveform(__import__("numpy").zeros(1600, "f"), 16000), models)
            except mggdub.UsageError as error:
                queue.put(str(error))
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        context.Process(target=work, args=(queue,)).start()
        print(queue.get(timeout=60))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "get_context('spawn')" in done.stdout
