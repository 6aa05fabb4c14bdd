"""What many tests share: the synthetic head, the example speech; and that no test goes on for ever."""

import faulthandler
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mggdub.cli.console import prepare_work

if TYPE_CHECKING:
    from mggdub.avatar.values import HeadAvatar
    from mggdub.models import Models

prepare_work()  # as the command line does: threads that spin while they wait take half of the processors' time
# A shell that runs the tests in the background ignores Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 900  # s for a test, what it compiles included, on a machine that has other things to do
_children: list["subprocess.Popen[Any]"] = []


def _remember_children() -> None:
    """Let every process that is started in this one be known to `no_program_outlives_its_test`."""
    begin = subprocess.Popen.__init__

    def remembered(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        _children.append(self)

    subprocess.Popen.__init__ = remembered  # type: ignore[method-assign]


_remember_children()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """End a test after LONGEST, and the tests where nothing else does."""

    def end(*_: Any) -> None:
        pytest.fail(f"it takes more than {LONGEST} s")

    if not hasattr(signal, "SIGALRM"):
        return (yield)
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LONGEST, 10)  # again, where the first is lost in native code
    faulthandler.dump_traceback_later(LONGEST + 300, exit=True)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_program_outlives_its_test() -> Iterator[None]:
    """A program that a test has started and not waited for is killed, and the test has failed."""
    _children.clear()
    yield
    living = [child for child in _children if child.poll() is None]
    for child in living:
        child.kill()
        child.wait()
    assert not living, f"still running: {[child.args for child in living]}"


@pytest.fixture(scope="session")
def head_png() -> Path:
    """A synthetic head, 384x384, mouth closed (tests/data/README.md)."""
    return ROOT / "tests" / "data" / "head.png"


@pytest.fixture(scope="session")
def speech_wav() -> Path:
    """8.8 s of synthetic speech, 22.05 kHz mono."""
    return ROOT / "examples" / "speech.wav"


@pytest.fixture(scope="session")
def models() -> "Models":
    """All shipped networks."""
    from mggdub.models import load_models

    return load_models()


@pytest.fixture(scope="session")
def avatar(models: "Models", head_png: Path) -> "HeadAvatar":
    """The synthetic head at 256 px, its head at preview quality."""
    from mggdub.avatar import build
    from mggdub.media.image import read_image
    from mggdub.options import RenderOptions

    return build.build_avatar(read_image(head_png), models, RenderOptions(size=256, preview=True))


@pytest.fixture
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that ask for the head of one photo again and again: it is built the first time."""
    from mggdub import jobs
    from mggdub.avatar import build
    from mggdub.options import AVATAR_OPTIONS

    real, built = build.build_avatar, dict[Any, Any]()

    def remembered(photo: Any, models: Any, options: Any) -> Any:
        key = photo.pixels.tobytes(), *(getattr(options, name) for name in AVATAR_OPTIONS)
        built[key] = built.get(key) or real(photo, models, options)
        return built[key]

    monkeypatch.setattr(build, "build_avatar", remembered)
    monkeypatch.setattr(jobs, "build_avatar", remembered)
