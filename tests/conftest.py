"""What many tests share: the synthetic head, the example speech."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mggdub.avatar.values import HeadAvatar
    from mggdub.models import Models

    pass

# A shell that runs the tests in the background ignores Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


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
