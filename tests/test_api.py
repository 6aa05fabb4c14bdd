"""The door: light, complete, documented, and its examples run."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from PIL import Image

import mggdub
from mggdub import api


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
