"""What many tests share: the synthetic head, the example speech."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mggdub import pipeline
    from mggdub.types import HeadAvatar

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
def models() -> "pipeline.Models":
    """All shipped networks."""
    from mggdub import pipeline

    return pipeline.load_models()


@pytest.fixture(scope="session")
def avatar(models: "pipeline.Models", head_png: Path) -> "HeadAvatar":
    """The synthetic head at 256 px, its head at preview quality."""
    from mggdub import pipeline
    from mggdub.config import RenderOptions
    from mggdub.media.image import read_image

    return pipeline.build_avatar(read_image(head_png), models, RenderOptions(size=256, preview=True))
