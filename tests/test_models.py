"""A command loads the networks that it uses, all of them before its work begins, and no others."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from mggdub import jobs, weights
from mggdub.avatar.file import save_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError
from mggdub.models import BUILDING, DRAWING, HEARING, Models, load_models
from mggdub.networks.head import HeadNet
from mggdub.options import RenderOptions
from mggdub.progress import Stage, silent

SMALL = RenderOptions(size=96, preview=True, force=True)
ABOUT = {"options": {"preview": True, "size": 256, "face": "largest", "background": "keep", "inpainter": "auto"}}


class Watched(Models):
    """Remembers what was loaded ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def load(self, names: tuple[str, ...]) -> None:
        super().load(names)
        self.told |= set(names)

    @property
    def loaded(self) -> set[str]:
        return set(vars(self)) - {"told"}


@pytest.fixture
def inputs(avatar: HeadAvatar, head_png: Path, speech_wav: Path, tmp_path: Path) -> dict[str, Path]:
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "s.wav", samples[rate : rate + rate // 4], rate)
    save_avatar(tmp_path / "head.mgg", avatar, ABOUT)
    rows = "".join(f"{time:.2f},{open_:.1f}\n" for time, open_ in ((0.02, 0.0), (0.06, 0.3), (0.1, 0.1)))
    (tmp_path / "t.csv").write_text("time_s,jawOpen\n" + rows)
    names = {name: tmp_path / name for name in ("s.wav", "head.mgg", "t.csv", "o.mp4", "o.csv", "o.mgg")}
    return names | {"head.png": head_png}


Job = Callable[[dict[str, Path]], object]
PLAIN = RenderOptions(force=True)
JOBS: dict[str, tuple[Job, set[str]]] = {
    "photo and speech": (
        lambda of: jobs.render_file(of["head.png"], of["s.wav"], of["o.mp4"], SMALL, silent),
        {*BUILDING, *HEARING, *DRAWING},
    ),
    "avatar and speech": (
        lambda of: jobs.render_file(of["head.mgg"], of["s.wav"], of["o.mp4"], PLAIN, silent),
        {"speech", "motion", "expression", "lower_face", "head"},
    ),
    "avatar and track": (
        lambda of: jobs.render_file(
            of["head.mgg"], None, of["o.mp4"], RenderOptions(force=True, drive=of["t.csv"]), silent
        ),
        {"expression", "lower_face", "head"},
    ),
    "avatar": (
        lambda of: jobs.avatar_file(of["head.png"], of["o.mgg"], None, SMALL, silent),
        {"faces", "geometry", "expression", "head"},
    ),
    "track": (
        lambda of: jobs.track_file(of["s.wav"], of["o.csv"], PLAIN, silent),
        {"speech", "motion", "expression"},
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_loads_what_it_uses_and_no_more(
    name: str, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched()
    monkeypatch.setattr(jobs, "load_models", lambda: watched)
    job, used = JOBS[name]
    job(inputs)
    assert watched.loaded == used
    assert watched.told == used  # before the work began


def test_a_missing_network_is_told_before_the_work_begins(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, stages = weights.locate, []

    def locate(filename: str) -> Path:
        return found("nothing.safetensors" if filename.startswith("lower_face") else filename)

    monkeypatch.setattr(weights, "locate", locate)
    with pytest.raises(InputError, match="missing"):
        jobs.render_file(
            inputs["head.png"], inputs["s.wav"], inputs["o.mp4"], SMALL, lambda stage, *_: stages.append(stage)
        )
    assert stages == [Stage.LOAD]


def test_models_are_loaded_once_and_shared() -> None:
    models = load_models()
    assert not vars(models)
    basis = models.expression
    assert models.expression is basis
    other = HeadNet().eval()
    changed = models.having(head=other)
    assert changed.head is other and changed.expression is basis
    assert changed.having().head is other
    assert models.head is not other and load_models(other).head is other


def test_loading_everything_imports_no_compiler() -> None:
    """torch._dynamo takes two seconds, and comes with arithmetic on the meta device."""
    words = f"import sys; from mggdub.models import *; load_models().load({(*BUILDING, *HEARING, *DRAWING)})"
    code = f"{words}; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
