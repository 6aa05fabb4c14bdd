"""What a library imports at its top is loaded when it is used."""

import importlib
import sys
from pathlib import Path

import pytest

from mggdub.deferred import imported_when_used


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that imports a large module and needs it in one function."""
    (tmp_path / "large_one").mkdir()
    (tmp_path / "large_one" / "__init__.py").write_text("VALUE = 7\n")
    (tmp_path / "large_one" / "inner.py").write_text("VALUE = 8\n")
    (tmp_path / "small_one.py").write_text("import large_one\n\n\ndef value():\n    return large_one.VALUE\n")
    (tmp_path / "eager_one.py").write_text("from large_one import VALUE\nfrom large_one.inner import VALUE as INNER\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("large_one", "large_one.inner", "small_one", "eager_one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "small_one"


def test_it_is_loaded_when_it_is_used(library: str) -> None:
    with imported_when_used("large_one"):
        small = importlib.import_module(library)
    assert "large_one" not in sys.modules
    assert small.value() == 7
    assert importlib.import_module("large_one") is sys.modules["large_one"]


@pytest.mark.usefixtures("library")
def test_what_is_used_at_once_is_loaded_at_once() -> None:
    with imported_when_used("large_one"):
        eager = importlib.import_module("eager_one")
    assert (eager.VALUE, eager.INNER) == (7, 8)
    assert sys.modules["large_one"].VALUE == 7  # the module itself


@pytest.mark.usefixtures("library")
def test_what_is_there_stays() -> None:
    there = importlib.import_module("large_one")
    with imported_when_used("large_one"):
        assert sys.modules["large_one"] is there
    assert sys.modules["large_one"] is there


def test_what_is_missing_is_told_when_it_is_used() -> None:
    with imported_when_used("no_such_module"):
        module = importlib.import_module("no_such_module")
    with pytest.raises(ModuleNotFoundError):
        _ = module.anything
