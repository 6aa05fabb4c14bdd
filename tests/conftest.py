"""What many tests share: the synthetic head, the example speech."""

import signal
from pathlib import Path

import pytest

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
