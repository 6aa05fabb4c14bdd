"""The command line's promises: exit codes, one sentence, results on stdout only, nothing left behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageFilter

import mggdub
from mggdub.cli import console, main
from mggdub.errors import InputError, UsageError
from mggdub.media.image import read_image
from mggdub.options import NTSC, RenderOptions, parse_fps, parse_motion
from mggdub.progress import Stage
from mggdub.reports import Check

Run = Callable[..., SimpleNamespace]
CAT = Path(__file__).parent / "data" / "cat.jpg"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process: `code`, `out`, `err`."""

    def call(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["mggdub", *map(str, arguments)])
        capfd.readouterr()
        code = main.run()
        said = capfd.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return call


@pytest.fixture
def fake_jobs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """In place of the real one: remembers what it was asked for, or fails as told."""
    fake = SimpleNamespace(asked=[], problem=None, checks={})

    def render_file(photo: Path, speech: Path, output: Path, options: RenderOptions, progress: Any, **_: Any) -> Any:
        fake.asked.append((photo, speech, output, options))
        for done in range(21):
            progress("render", done, 20)
        if fake.problem:
            raise fake.problem
        said = {"output": str(output), "checks": {}}
        return SimpleNamespace(silent=False, advice=(), remarks=(), checks=fake.checks, as_dict=lambda: said)

    fake.render_file = render_file
    monkeypatch.setitem(sys.modules, "mggdub.jobs", fake)
    monkeypatch.setattr(mggdub, "jobs", fake, raising=False)
    return fake


@pytest.fixture
def inputs(tmp_path: Path, head_png: Path, speech_wav: Path) -> dict[str, Path]:
    """Good and bad files by name."""
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "short.wav", samples[rate : rate + rate // 3], rate)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    (tmp_path / "text.wav").write_text("this is text\n" * 50)
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(head_png.read_bytes()[:9000])
    Image.effect_noise((400, 300), 40).convert("RGB").filter(ImageFilter.GaussianBlur(3)).save(tmp_path / "wall.png")
    (tmp_path / "old.mp4").write_bytes(b"precious")
    made = {path.name: path for path in tmp_path.iterdir()}
    return made | {
        "head": head_png,
        "cat": CAT,
        "missing": tmp_path / "missing.png",
        "folder": tmp_path,
        "out": tmp_path / "out.mp4",
        "nowhere": tmp_path / "nowhere" / "out.mp4",
        "avi": tmp_path / "out.avi",
        "proc": Path("/proc/out.mp4"),
    }


# photo, speech, output, exit code, what is said
TABLE = [
    ("missing", "short.wav", "out", 2, "does not exist"),
    ("head", "missing", "out", 2, "does not exist"),
    ("folder", "short.wav", "out", 2, "is a folder"),
    ("head", "short.wav", "avi", 2, "does not end in"),
    ("cat", "short.wav", "out", 3, "face"),
    ("wall.png", "short.wav", "out", 3, "face"),
    ("half.png", "short.wav", "out", 3, "ends before the picture does"),
    ("zero.png", "short.wav", "out", 3, "0 bytes"),
    ("text.wav", "short.wav", "out", 3, "a text, which is not read as a photo"),
    ("head", "text.wav", "out", 3, "a text and no recording"),
    ("head", "none.wav", "out", 3, "no audio samples"),
    ("head", "cat", "out", 3, "no sound|cannot be read as sound"),
    ("head", "short.wav", "old.mp4", 4, "--force"),
    ("head", "short.wav", "nowhere", 4, "does not exist"),
    pytest.param("head", "short.wav", "proc", 4, "cannot be written", marks=pytest.mark.skipif(
        not Path("/proc").is_dir(), reason="needs a folder where nobody may write")),
]  # fmt: skip


@pytest.mark.parametrize(("photo", "speech", "output", "code", "words"), TABLE)
def test_bad_input_gets_a_code_and_a_sentence(
    run: Run, inputs: dict[str, Path], photo: str, speech: str, output: str, code: int, words: str
) -> None:
    before = {path: path.read_bytes() for path in inputs["folder"].iterdir()}
    said = run("render", inputs[photo], inputs[speech], "-o", inputs[output], "--quiet")
    lines = [line for line in said.err.splitlines() if line.startswith("Error")]
    assert said.code == code, said.err
    assert said.out == "" and len(lines) == 1 and lines[0].endswith(".")
    assert any(word in lines[0] for word in words.split("|")), lines
    assert {path: path.read_bytes() for path in inputs["folder"].iterdir()} == before


@pytest.mark.parametrize(
    "wrong",
    [["--fps", "abc"], ["--fps", "1/0"], ["--fps", "500"], ["--size", "5"], ["--size", "x"], ["--pose", "wild"],
     ["--motion", "wild"], ["--motion", "2.1"], ["--motion", "-1"], ["--motion", "nan"], ["--gaze", "up"],
     ["--crf", "99"], ["--mouth-scale", "-1"], ["--mouth-scale", "nan"], ["--face", "middle"], ["--background", "rot"],
     ["--inpainter", "best"], ["--seed", "-1"], ["--device", "tpu"], ["--nonsense"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_options_are_usage_errors(run: Run, inputs: dict[str, Path], fake_jobs: Any, wrong: list[str]) -> None:
    said = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], *wrong)
    assert said.code == 2 and wrong[0].lstrip("-") in said.err and not fake_jobs.asked


def test_numbers_may_have_a_decimal_comma(run: Run, inputs: dict[str, Path], fake_jobs: Any) -> None:
    words = ("--mouth-scale", "0,5", "--orbit", "12,5", "--fps", "29,97", "--motion", "0,5")
    assert run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], *words).code == 0
    options = fake_jobs.asked[0][3]
    assert (options.mouth_scale, options.orbit, options.fps) == (0.5, 12.5, Fraction(30000, 1001))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://x.org/a.jpg", "https://x.org/a.jpg is an address"),
        ("file:///a.jpg", "is an address"),
        ("-", "Standard input"),
    ],
)
def test_what_is_no_file_is_named_for_what_it_is(run: Run, inputs: dict[str, Path], given: str, words: str) -> None:
    for photo, speech in ((given, inputs["short.wav"]), (inputs["head"], given)):
        said = run("render", photo, speech, "-o", inputs["out"])
        assert said.code == 2 and words in said.err


def test_limits_are_told_in_full(run: Run, inputs: dict[str, Path]) -> None:
    assert "2147483647" in run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--seed", "-1").err


@pytest.mark.parametrize(
    ("text", "color"),
    [("#00FF00", "#00ff00"), ("00ff00", "#00ff00"), ("0f0", "#00ff00"), ("#0f0", "#00ff00"), ("lime", "#00ff00"),
     ("Light Gray", "#d3d3d3"), ("white", "#ffffff"), ("keep", "keep"), (" KEEP ", "keep"), ("Navy", "#000080")],
)  # fmt: skip
def test_a_background_has_a_name_or_digits(text: str, color: str) -> None:
    assert RenderOptions(background=text).background == color
    assert (RenderOptions(background=text).background_color is None) == (color == "keep")


@pytest.mark.parametrize("text", ["", "#", "#00ff", "00ff000", "#00ff0080", "gren", "rgb(0,255,0)", "transparent"])
def test_other_backgrounds_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="colour's name"):
        RenderOptions(background=text)


def test_the_help_shows_a_colour_in_quotes(run: Run) -> None:
    for command in ("render", "avatar", "batch"):
        assert "'#00ff00'" in run(command, "--help").out


@pytest.mark.parametrize(
    ("text", "kept", "amount"),
    [("still", "still", 0), ("Calm", "calm", 0.5), ("natural", "natural", 1), ("lively", "lively", 1.5), ("0", "0", 0),
     ("0.70", "0.7", 0.7), ("1,5", "1.5", 1.5), (" 2 ", "2", 2), (".5", "0.5", 0.5), (0.25, "0.25", 0.25)],
)  # fmt: skip
def test_motion_is_a_word_or_a_number(text: Any, kept: str, amount: float) -> None:
    options = RenderOptions(motion=text)
    assert options.motion == kept and options.liveliness == amount
    assert RenderOptions(motion=text, pose="still").liveliness == 0


def test_words_may_be_capitalised(run: Run, inputs: dict[str, Path], fake_jobs: Any) -> None:
    """As spreadsheets and phones write what somebody types."""
    wanted = RenderOptions(gaze="camera", blink="none", emotion="happy", inpainter="fast", device="cpu", motion="calm")
    words = {"gaze": "Camera", "blink": "NONE", "emotion": "Happy", "inpainter": "Fast", "device": "CPU"}
    words["motion"] = "Calm"
    assert RenderOptions(**words, face="Largest", background="Keep") == wanted  # type: ignore[arg-type]
    given = [word for name, value in words.items() for word in (f"--{name}", value)]
    assert run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], *given).code == 0
    assert fake_jobs.asked[0][3] == wanted


@pytest.mark.parametrize(("word", "instead"), [("help", "mggdub --help"), ("version", "mggdub --version")])
def test_what_is_an_option_and_no_command_is_told(run: Run, word: str, instead: str) -> None:
    said = run(word)
    assert said.code == 2 and f"write {instead}" in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("more", [[], ["--emotion", "neutral"]])
def test_a_strength_without_an_emotion_is_told(run: Run, inputs: dict[str, Path], more: list[str]) -> None:
    said = run("render", inputs["head"], inputs["short.wav"], "-o", "x.mp4", "--emotion-strength", 0.5, *more)
    assert said.code == 2 and "--emotion happy" in said.err


def test_options_arrive(run: Run, inputs: dict[str, Path], fake_jobs: Any) -> None:
    paths = inputs["head"], inputs["short.wav"], inputs["old.mp4"]
    wanted = RenderOptions(
        preview=True, size=256, fps=Fraction(30000, 1001), pose="still", mouth_scale=1.2,
        motion="0.8", gaze="camera",
        face="1", background="#00ff00", device="cpu", crf=20, seed=7, force=True,
        emotion="happy", emotion_strength=0.5, inpainter="fast",
    )  # fmt: skip
    said = run(
        "render", *paths[:2], "-o", paths[2], "--preview", "--size", 256, "--fps", "29.97", "--pose", "still",
        "--motion", "0.80", "--gaze", "camera", "--mouth-scale", 1.2,
        "--face", 1, "--background", "#00ff00",
        "--device", "cpu", "--crf", 20, "--seed", 7, "--force", "--emotion", "happy", "--emotion-strength", 0.5,
        "--inpainter", "fast",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert fake_jobs.asked == [(*paths, wanted)]
    assert said.out == f"{paths[2]}\n" and "20 of 20 frames" in said.err
    assert wanted.background_color == (0, 255, 0)
    assert run("render", *paths[:2], "-o", inputs["out"], "--expression-scale", "0,5", "--blink", "none").code == 0
    assert fake_jobs.asked[1][3] == RenderOptions(expression_scale=0.5, blink="none")


def test_the_environment_gives_defaults_but_never_overwrites(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGGDUB_RENDER_FPS", "30")
    monkeypatch.setenv("MGGDUB_RENDER_FORCE", "1")
    assert run("render", inputs["head"], inputs["short.wav"], "-o", inputs["old.mp4"]).code == 4
    said = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--json", "--quiet")
    assert said.code == 0 and fake_jobs.asked[0][3].fps == 30
    assert json.loads(said.out)["output"] == str(inputs["out"]) and said.err == ""


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [("FPS", "abc", "--fps"), ("PREVIEW", "maybe", "--preview"), ("C2PA_CERT", "a.pem", "--c2pa-cert"),
     ("MOUTH_SCALE", "3", "--mouth-scale")],
)  # fmt: skip
def test_what_is_wrong_in_the_environment_is_told_to_be_there(
    run: Run, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, value: str, option: str
) -> None:
    """Nobody has typed the option that is complained of."""
    monkeypatch.setenv(f"MGGDUB_RENDER_{name}", value)
    argv = "render", inputs["head"], inputs["short.wav"], "-o", inputs["out"]
    told = f"MGGDUB_RENDER_{name} in the environment sets {option}.\n"
    said = run(*argv)
    assert said.code == 2 and said.err.endswith(told)
    assert told not in run(*argv, "--preview", "--fps", "abc", "--mouth-scale", 4, "--c2pa-cert", "x").err
    assert told not in run("batch", "rows.csv", "-o", "x", "--jobs", 0).err


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [(KeyboardInterrupt(), 130, "Interrupted"), (RuntimeError("odd"), 1, "bug"), (UsageError("No."), 2, "Error: No.")],
)
def test_what_goes_wrong_inside(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, problem: BaseException, code: int, words: str
) -> None:
    fake_jobs.problem = problem
    said = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"])
    assert said.code == code and words in said.err and said.out == "" and "Traceback" not in said.err


def test_a_config_file_gives_defaults(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = inputs["folder"] / "slow.toml"
    config.write_text('fps = 29.97\nmouth_scale = 2\ncrf = 30\nface = 1\npose = "still"\nmotion = 0.5\nquiet = true\n')
    monkeypatch.setenv("MGGDUB_RENDER_CRF", "25")
    said = run(
        "render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--config", config, "--mouth-scale", "0.5"
    )
    assert said.code == 0 and said.err == ""
    options = fake_jobs.asked[0][3]
    assert (options.fps, options.face, options.pose, options.motion) == (Fraction(30000, 1001), "1", "still", "0.5")
    assert (options.crf, options.mouth_scale) == (25, 0.5)  # environment and command line come first


@pytest.mark.parametrize(
    ("text", "said"),
    [("fsp = 30", "'fsp'"), ("output = 'a.mp4'", "'output'"), ("force = true", "'force'"),
     ("[render]\nfps = 1", "render"),
     ("crf = '20'", "whole number"), ("crf = true", "whole number"), ("preview = 1", "true or false"),
     ("pose = 3", "text"),
     ("pose = 'wild'", "natural"), ("mouth-scale = '1'", "a number"), ("fps = 'abc'", "--fps"), ("fps = [25]", "fps"),
     ("fps = ", "TOML"), ("crf = 99", "--crf")],
)  # fmt: skip
def test_a_wrong_config_file_is_one_sentence(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, text: str, said: str
) -> None:
    config = inputs["folder"] / "a.toml"
    config.write_text(text)
    told = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--config", config)
    assert told.code == 2 and said in told.err and not fake_jobs.asked
    assert told.err.startswith("Error: ") and told.err.count("\n") == 1 and told.err.endswith(".\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [("seed = " + "9" * 5000, "TOML"), ("size = " + "9" * 4000, "60 digits"), ("fps = 1e9999999", "inf"),
     ("fps = '1e9999999'", "1e9999999"), ("fps = nan", "nan"), ("mouth-scale = 1e400", "inf"),
     ("a = " + "[" * 9000, "nested"), ("a." * 20000 + "a = 1", "dots"), ("crf = 1\ncrf = 2", "TOML"),
     ("mouth-scale = 1\nmouth_scale = 2", "twice"), ("crf = {a = 1}", "table"), ("pose = 1979-05-27", "text"),
     ("x" * 5000 + " = 1", "cannot be set"), ("pose = '" + "x" * 5000 + "'", "natural"), ("#" * 70000, "64 KiB"),
     ('c2pa-cert = "a\\u0000b"', "cannot be the name"), ("face = " + "9" * 4200, "--face"), ("a = '\x01'", "TOML"),
     ("c2pa-cert = '" + "x" * 300 + "'\nc2pa-key = 'y'\ncrf = 99", "--crf")],
    ids=lambda value: value[:24],
)  # fmt: skip
def test_a_monstrous_config_file_is_one_short_sentence(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, text: str, said: str
) -> None:
    config = inputs["folder"] / "a.toml"
    config.write_text(text)
    told = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--config", config)
    assert told.code == 2 and said in told.err and not fake_jobs.asked, told.err
    assert told.err.startswith("Error: ") and told.err.count("\n") == 1 and len(told.err) < 600


@pytest.mark.parametrize("wrong", ["1e9999999", "1e-9999999", "9" * 5000, "1/" + "9" * 5000, "-0", "nan", "٣"])
@pytest.mark.usefixtures("fake_jobs")
def test_monstrous_options_are_usage_errors(
    run: Run, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    argv = "render", inputs["head"], inputs["short.wav"], "-o", inputs["out"]
    for option in ("fps", "size", "mouth-scale"):
        given = run(*argv, f"--{option}={wrong}")
        monkeypatch.setenv(f"MGGDUB_RENDER_{option.upper().replace('-', '_')}", wrong)
        inherited = run(*argv)
        monkeypatch.delenv(f"MGGDUB_RENDER_{option.upper().replace('-', '_')}")
        for told in (given, inherited):
            right = option == "mouth-scale" and wrong in ("1e-9999999", "-0", "٣")  # 0, and digits of another script
            assert told.code == 2 or right, told.err
            assert len(told.err) < 800 and "Traceback" not in told.err
    assert parse_fps(" 25 ") == 25


def test_a_failed_check_is_told_and_strict_fails(run: Run, inputs: dict[str, Path], fake_jobs: Any) -> None:
    good = Check(True, None, 1, "x")
    fake_jobs.checks = {"ends": good, "seam": Check(False, 2.5, 1.5, "gradient")}
    argv = "render", inputs["head"], inputs["short.wav"], "-o", inputs["out"]
    lax = run(*argv)
    assert lax.code == 0 and "'seam' failed" in lax.err and "'ends'" not in lax.err
    strict = run(*argv, "--strict", "--quiet")
    assert strict.code == 6 and strict.out == f"{inputs['out']}\n"
    assert strict.err.startswith(f"Error: {inputs['out']} was written, but") and "2.5" in strict.err
    fake_jobs.checks = {"ends": good}
    assert run(*argv, "--strict").code == 0


@pytest.mark.usefixtures("fake_jobs")
def test_progress_in_a_pipe_is_plain_lines(run: Run, inputs: dict[str, Path]) -> None:
    said = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"])
    assert "20 of 20 frames" in said.err and not any(ord(c) < 32 and c != "\n" for c in said.err + said.out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_for_what_main_answers(shell: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "_MGGDUB_COMPLETE" in run("completion", shell).out
    monkeypatch.setenv("_MGGDUB_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "mggdub ins")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr(sys, "argv", ["mggdub"])
    with pytest.raises(SystemExit):
        main.run()


def test_inspect_tells_and_refuses_as_render_does(run: Run, inputs: dict[str, Path], tmp_path: Path) -> None:
    drawing = tmp_path / "found.png"
    good = run("inspect", inputs["head"], "--json", "--image", drawing)
    assert good.code == 0 and json.loads(good.out)["verdict"] == "good" and good.err == ""
    assert read_image(drawing).size == read_image(inputs["head"]).size
    assert run("inspect", inputs["head"], "--image", drawing).code == 4
    assert run("inspect", inputs["short.wav"]).out.startswith(("good", "usable"))
    nobody = run("inspect", inputs["cat"], "--json")
    assert nobody.code == 3 and json.loads(nobody.out)["faces"] == [] and "No human face" in nobody.out
    for name, code in (("missing", 2), ("text.wav", 3), ("half.png", 3), ("none.wav", 3)):
        told = run("inspect", inputs[name])
        assert told.code == code and told.out == "" and told.err.startswith("Error: "), name


def test_a_drive_needs_no_speech(run: Run, fake_jobs: SimpleNamespace, inputs: dict[str, Path]) -> None:
    done = run("render", inputs["head"], "--drive", inputs["short.wav"], "-o", inputs["out"])
    (asked,) = fake_jobs.asked
    assert done.code == 0 and asked[1] is None and asked[3].drive == inputs["short.wav"]
    none = run("render", inputs["head"], "-o", inputs["out"])
    assert none.code == 2 and "--drive" in none.err and none.out == ""
    gone = run("render", inputs["head"], "--drive", inputs["missing"], "-o", inputs["out"])
    assert gone.code == 2 and "does not exist" in gone.err


def test_what_a_driver_brings_of_itself_is_not_chosen(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that would change nothing are told; as defaults of the environment they may be there."""
    argv = "render", inputs["head"], "--drive", inputs["short.wav"], "-o", inputs["out"]
    for option in (("--seed", 7), ("--gaze", "camera"), ("--emotion", "happy")):
        said = run(*argv, *option)
        assert said.code == 2 and f"{option[0]} is for speech" in said.err and not fake_jobs.asked
    for name, value in (("SEED", "7"), ("GAZE", "camera"), ("EMOTION", "happy"), ("EMOTION_STRENGTH", "0.5")):
        monkeypatch.setenv(f"MGGDUB_RENDER_{name}", value)
    assert run(*argv).code == 0
    assert fake_jobs.asked[0][3].gaze == "natural" and fake_jobs.asked[0][3].emotion == "neutral"


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--motion", "still", "--expression-scale", 1.5], "--motion still has none"),
     (["--pose", "still", "--expression-scale", 1.5], "--motion still has none"),
     (["--motion", 0, "--blink", "none", "--seed", 3], "--seed is of motion and blinks")],
)  # fmt: skip
def test_options_that_change_nothing_are_told(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, options: list[Any], words: str
) -> None:
    argv = inputs["head"], inputs["short.wav"], "-o", inputs["out"]
    said = run("render", *argv, *options)
    assert said.code == 2 and words in said.err and not fake_jobs.asked


@pytest.mark.parametrize("option", [("--fps", 50), ("--seed", 0)])
def test_a_videos_track_has_its_own_rate(
    run: Run, inputs: dict[str, Path], tmp_path: Path, option: tuple[str, int]
) -> None:
    pictures = [Image.new("RGB", (64, 64), (k, 0, 0)) for k in (0, 90, 180)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    said = run("track", tmp_path / "a.gif", "-o", tmp_path / "t.csv", *option)
    assert said.code == 2 and f"{option[0]} is for recordings" in said.err and not (tmp_path / "t.csv").exists()
    assert run("track", inputs["short.wav"], "-o", tmp_path / "t.csv", *option).code == 0


def test_track_wants_a_csv(run: Run, inputs: dict[str, Path], tmp_path: Path) -> None:
    assert run("track", inputs["missing"], "-o", tmp_path / "t.csv").code == 2
    wrong = run("track", inputs["short.wav"], "-o", inputs["out"])
    assert wrong.code == 2 and ".csv" in wrong.err
    (tmp_path / "t.csv").write_text("old")
    kept = run("track", inputs["short.wav"], "-o", tmp_path / "t.csv")
    assert kept.code == 4 and (tmp_path / "t.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("problem", "code"),
    [(MemoryError(), 3), (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 3),
     (ImportError("libtorch.so: failed to map segment from shared object"), 3), (OSError(12, "Cannot allocate"), 3),
     (OSError("libLiteRt.so: failed to map segment from shared object"), 3),
     (OSError(28, "No space left on device", "/tmp/x"), 4), (PermissionError(13, "Permission denied", b"x\xe9"), 4),
     (EOFError(), 1), (ValueError("memory of an elephant"), 1)],
)  # fmt: skip
def test_what_the_system_refuses_is_no_bug(
    run: Run, inputs: dict[str, Path], fake_jobs: Any, problem: Exception, code: int
) -> None:
    fake_jobs.problem = problem
    told = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--quiet")
    assert told.code == code and told.err.startswith("Error: ") and told.out == "", told.err
    assert ("bug" in told.err) == (code == 1) and ("memory; close" in told.err) == (code == 3)


def test_what_a_reader_takes_for_damage_is_no_damage_where_memory_is_short(
    run: Run, inputs: dict[str, Path], fake_jobs: Any
) -> None:
    damaged = InputError("head.mgg is damaged; make it again.")
    damaged.__cause__ = RuntimeError("mmap failed: Cannot allocate memory")
    fake_jobs.problem = damaged
    told = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--quiet")
    assert told.code == 3 and "memory; close" in told.err and "damaged" not in told.err


def test_quiet_means_quiet(run: Run, inputs: dict[str, Path], fake_jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(*_: Any, **__: Any) -> Any:
        warnings.warn("a library's", RuntimeWarning, stacklevel=1)
        os.write(2, b"a native library's\n")
        return SimpleNamespace(silent=False, advice=(), remarks=(), checks={})

    monkeypatch.setattr(fake_jobs, "render_file", noisy)
    said = run("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"], "--quiet")
    assert said.code == 0 and said.err == "" and said.out == f"{inputs['out']}\n"


def test_a_command_that_was_left_out_is_suggested(run: Run, inputs: dict[str, Path]) -> None:
    photo, speech = inputs["head"], inputs["short.wav"]
    for argv in ((photo, speech), (photo, speech, "-o", "my video.mp4"), ("-o", "my video.mp4", photo, speech)):
        told = run(*argv)
        assert told.code == 2 and told.err.startswith("Error: The command is missing; write mggdub render "), told.err
        assert str(photo) in told.err and "-o " in told.err and ("'my video.mp4'" in told.err) == ("-o" in argv)
    assert "mggdub render?" in run("rendr", photo).err and run("rendr").code == 2
    assert run("nonsense").code == 2 and run("--nonsense").code == 2


def test_version_in_short_and_not_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGGDUB_VERSION", "of the image")
    assert run("-V").out == run("--version").out == f"mggdub {mggdub.__version__}\n"
    assert run("weights").code == 0


@pytest.mark.parametrize(
    ("script", "told"),
    [(None, "not a program"), ("folder", "not a program"), ("#!/bin/sh\nexit 1\n", "ends with 1"),
     ("#!/bin/sh\necho hello\n", "version"), ("#!/bin/sh\nexec sleep 60\n", "answer"), ("no program", "")],
)  # fmt: skip
def test_a_broken_ffmpeg_is_named(
    run: Run, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, script: str | None, told: str
) -> None:
    if told == "answer":  # the others may take as long as a busy machine wants
        monkeypatch.setattr("mggdub.media.process.ANSWER", 0.3)
    broken = inputs["folder"] / "ffmpeg"
    if script == "folder":
        broken.mkdir()
    elif script:
        broken.write_text(script)
        broken.chmod(0o755)
    monkeypatch.setenv("MGGDUB_FFMPEG", str(broken))
    said = run("inspect", inputs["short.wav"])
    assert said.code == 2 and "MGGDUB_FFMPEG" in said.err and told in said.err and said.err.count("\n") == 1, said.err


def test_missing_or_damaged_weights_are_named_by_every_command(
    run: Run, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(folder))
    everything = (
        ("weights",), ("weights", "verify"), ("inspect", inputs["head"]), ("inspect", inputs["short.wav"]),
        ("track", inputs["short.wav"], "-o", inputs["folder"] / "t.csv"),
        ("avatar", inputs["head"], "-o", inputs["folder"] / "a.mgg"),
        ("render", inputs["head"], inputs["short.wav"], "-o", inputs["out"]),
    )  # fmt: skip
    for argv in everything:
        said = run(*argv)
        assert said.code == 2 and f"MGGDUB_WEIGHTS names {folder}" in said.err and "bug" not in said.err, argv
    folder.mkdir()
    for text in ("{", "[]", "{}", '{"file": "../../x", "sha256": ""}', '{"file": 5}', "[" * 5000, "\xff"):
        (folder / "a.json").write_text(text, encoding="latin-1")
        for argv in everything[:2]:
            said = run(*argv)
            assert said.code == 3 and "a.json" in said.err and said.err.count("\n") == 1, (argv, text, said.err)


def test_help_version_weights_and_doctor(run: Run) -> None:
    assert all(word in run("--help").out for word in ("render", "doctor", "weights"))
    assert run("--version").out == f"mggdub {mggdub.__version__}\n"
    assert "face_landmarker.task" in run("weights").out
    verified = run("weights", "verify")
    assert verified.code == 0 and all(line.startswith("ok") for line in verified.out.splitlines())
    examined = run("doctor", "--json")
    findings = json.loads(examined.out)
    assert examined.code == 0, findings
    assert {"cpu", "torch", "ffmpeg", "weights", "self-test"} <= {finding["name"] for finding in findings}


def test_damaged_weights_are_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"file": "a.task", "sha256": "0" * 64, "licence": "none", "bytes": 4}
    (tmp_path / "a.json").write_text(json.dumps(card))
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path))
    assert run("weights", "verify").code == 3
    (tmp_path / "a.task").write_bytes(b"data")
    said = run("weights", "verify")
    assert said.code == 3 and "damaged" in said.out
    sick = run("doctor")
    assert sick.code == 3
    assert any(line.startswith("BAD  weights") and "install mggdub again" in line for line in sick.out.splitlines())
    (tmp_path / "a.json").write_text("{")
    monkeypatch.setenv("MGGDUB_FFMPEG", str(tmp_path))
    worse = run("doctor")
    bad = [line.split()[1] for line in worse.out.splitlines() if line.startswith("BAD")]
    assert worse.code == 3 and bad == ["ffmpeg", "weights", "self-test"] and worse.err == ""


@pytest.mark.parametrize(
    ("text", "fps"),
    [("25", Fraction(25)), ("29.97", Fraction(30000, 1001)), ("23.976", Fraction(24000, 1001)),
     ("30000/1001", Fraction(30000, 1001)), ("12.5", Fraction(25, 2)), (str(30 / 1.001), Fraction(30000, 1001)),
     (str(24000 / 1001), Fraction(24000, 1001)), (str(15 / 1.001), Fraction(15000, 1001)), ("59.9400", NTSC["59.94"]),
     ("2997/100", Fraction(2997, 100)), (f"{30 / 1.001:.30f}", Fraction(30000, 1001)), ("29.98", Fraction(1499, 50))],
)  # fmt: skip
def test_rates_are_exact(text: str, fps: Fraction) -> None:
    """Rates that a program worked out are those that they come from, be they of 17 digits."""
    assert parse_fps(text) == fps


@pytest.mark.parametrize(
    ("text", "motion"),
    [("1/3", None), (str(1 / 3), "0.333333"), ("1e-07", "1e-07"), (str(np.float64(0.1 + 0.2)), "0.3"), ("1,5", "1.5")],
)
def test_how_lively_may_be_a_number_that_was_worked_out(text: str, motion: str | None) -> None:
    if motion is None:
        with pytest.raises(UsageError):
            parse_motion(text)
    else:
        assert parse_motion(parse_motion(text)) == motion


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_ctrl_c_leaves_nothing(inputs: dict[str, Path], speech_wav: Path) -> None:
    """The real thing, in a process of its own, interrupted while frames are being written."""
    argv = [sys.executable, "-m", "mggdub", "render", inputs["head"], speech_wav, "-o", inputs["out"], "--preview"]
    before = sorted(inputs["folder"].iterdir())
    child = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if list(inputs["folder"].glob(".out.*.mp4")):
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert out == "" and "Interrupted" in err and "Traceback" not in err
    assert sorted(inputs["folder"].iterdir()) == before


@pytest.mark.parametrize(
    ("each", "said"), [(0.1, ""), (0.5, "about 2 minutes"), (0.3, "about 70 seconds"), (40, "2.6 hours")]
)
def test_long_work_is_told_once_at_its_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], each: float, said: str
) -> None:
    """Frames that were there before, which are told first, cost nothing and do not count."""
    now, lines = 100.0, []
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.progress_bar(quiet=False) as tell:
        for done in range(20, 260):
            tell(Stage.RENDER, done, 260)
            now += each
            lines += [(done, line) for line in capsys.readouterr().err.splitlines() if "will take" in line]
    assert len(lines) == bool(said)
    assert not said or (lines[0][0] <= 20 + console.SURE / each + 3 and said in lines[0][1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells glibc")
def test_memory_that_a_frame_frees_serves_the_next() -> None:
    program = (
        "import resource; from threading import Thread; from mggdub.cli.console import prepare_work; prepare_work()\n"
        "import numpy as np\n"
        "def work(count):\n"
        "    for _ in range(count):\n"
        "        parts = [np.full(1_200_000, 1, np.float32) for _ in range(3)]\n"
        "        del parts\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def on_thread(count):\n"
        "    before = faults(); thread = Thread(target=work, args=(count,)); thread.start(); thread.join()\n"
        "    return faults() - before\n"
        "print(on_thread(1), on_thread(21))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    once, often = (int(count) for count in done.stdout.split())
    assert once > 500 and often < 3 * once


def test_the_time_left_is_that_of_frames_without_compiling() -> None:
    from mggdub.cli.console import Outlook

    def told(took: list[float], total: int = 1000) -> list[str]:
        outlook, now = Outlook(), 0.0
        said = [outlook.hear(done, total, now := now + seconds) for done, seconds in enumerate(took, 1)]
        return [sentence for sentence in said if sentence]

    assert "about 8 minutes" in told([1.0] + [0.5] * 20)[0]
    assert "about 3 minutes" in told([1.0, 20.0, *[0.2] * 8, 15.0, *[0.2] * 30])[0]  # two of them compiled
    assert "about 10 minutes" in told([1.0, *([9.6] + [0.0] * 15) * 5])[0]  # sixteen at once
    assert told([1.0] + [0.05] * 80) == [] and told([1.0, 20.0, *[0.02] * 300]) == []


@pytest.mark.parametrize("place", [1, 2, 4])
def test_an_empty_path_is_not_the_folder(run: Run, inputs: dict[str, Path], place: int) -> None:
    given: list[Any] = ["render", inputs["head"], inputs["short.wav"], "-o", inputs["out"]]
    given[place] = ""
    said = run(*given)
    assert said.code == 2 and "is empty; give a path" in said.err


def test_a_terminal_shows_no_bar_before_there_are_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with console.progress_bar(quiet=False) as tell:
        tell(Stage.LOAD, 0, 1)
        time.sleep(0.6)  # from then on tqdm would show one
        tell(Stage.PHOTO, 0, 1)
        assert screen.getvalue() == "Loading the networks ...\nBuilding the head ...\n"
        for done in range(4):
            tell(Stage.RENDER, done, 3)
            time.sleep(0.2)
    assert "/3 [" in screen.getvalue()
