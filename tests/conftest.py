"""What many tests share: the synthetic head, the example speech."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def head_png() -> Path:
    """A synthetic head, 384x384, mouth closed (tests/data/README.md)."""
    return ROOT / "tests" / "data" / "head.png"


@pytest.fixture(scope="session")
def speech_wav() -> Path:
    """8.8 s of synthetic speech, 22.05 kHz mono."""
    return ROOT / "examples" / "speech.wav"
