"""LaMa's package and model: found, fetched, checked, and told in a sentence where they cannot be used."""

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from lama_model import Nothing, install, write_model

from mggdub import doctor, inpainting
from mggdub.errors import InputError, OutputError, UsageError
from mggdub.progress import Stage, silent
from mggdub.weights import digest


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with neither package nor model, and no way to the true one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("LAMA_MODEL", raising=False)
    monkeypatch.setattr(inpainting, "URL", "file:///nowhere/big-lama.pt")
    install("none", monkeypatch)
    yield


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model that stands for the released one, where it can be fetched."""
    (tmp_path / "web").mkdir()
    path = write_model(tmp_path / "web" / "big-lama.pt")
    monkeypatch.setattr(inpainting, "URL", path.as_uri())
    monkeypatch.setattr(inpainting, "SHA256", digest(path))
    monkeypatch.setattr(inpainting, "SIZE", path.stat().st_size)
    install("stand-in", monkeypatch)
    return path


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Neither side a multiple of 8."""
    mask = np.zeros((37, 53), bool)
    mask[10:30, 20:40] = True
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8), mask


@pytest.mark.parametrize("kind", ["stand-in", "true"])
def test_it_paints_the_hole_and_leaves_the_rest(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LAMA_MODEL", str(write_model(tmp_path / "own.pt")))
    install(kind, monkeypatch)
    image, mask = picture()
    painted = inpainting.paint(image, mask)
    assert painted.shape == image.shape and painted.dtype == np.uint8
    assert np.abs(painted[~mask].astype(int) - image[~mask]).max() <= 1
    assert set(map(tuple, painted[mask].tolist())) == {(255, 0, 0), (0, 0, 255)}
    assert np.array_equal(inpainting.paint(image, mask), painted)


def test_without_the_package_a_sentence_says_how_to_get_it() -> None:
    with pytest.raises(UsageError, match=r"needs the package simple-lama-inpainting; pip install .*--no-deps"):
        inpainting.prepare("lama", silent)
    assert not inpainting.usable() and inpainting.identity("auto") == "fast"


def test_a_package_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simple_lama_inpainting", ModuleType("simple_lama_inpainting"))
    with pytest.raises(UsageError, match="cannot be imported"):
        inpainting.check("lama")


def test_an_own_model_must_be_a_torchscript_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("stand-in", monkeypatch)
    text, archive = tmp_path / "text.pt", tmp_path / "archive.pt"
    text.write_text("no model", encoding="utf-8")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("weights/data.pkl", "as torch.save writes it")
    for path, kind, told in (
        (tmp_path / "missing.pt", UsageError, "does not exist"),
        (tmp_path, UsageError, "is a folder"),
        (text, InputError, "no TorchScript"),
        (archive, InputError, "no TorchScript"),
    ):
        monkeypatch.setenv("LAMA_MODEL", str(path))
        with pytest.raises(kind, match=f"LAMA_MODEL.*{told}"):
            inpainting.prepare("lama", silent)
        inpainting.prepare("auto", silent)
        assert not inpainting.usable() and inpainting.identity("auto") == "fast"
        assert not doctor._lama().ok


def test_a_model_of_another_kind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("stand-in", monkeypatch)
    monkeypatch.setenv("LAMA_MODEL", str(write_model(tmp_path / "other.pt", Nothing())))
    with pytest.raises(InputError, match=r"other\.pt is no model that LaMa's package can use"):
        inpainting.paint(*picture())
    broken = tmp_path / "broken.pt"
    with zipfile.ZipFile(broken, "w") as file:
        file.writestr("x/code/y.py", "")
        file.writestr("x/constants.pkl", "")
    monkeypatch.setenv("LAMA_MODEL", str(broken))
    with pytest.raises(InputError, match=r"broken\.pt is no model"):
        inpainting.paint(*picture())


def test_the_release_is_fetched_once_and_only_by_name(release: Path) -> None:
    told: list[tuple[Stage, int, int]] = []
    inpainting.prepare("auto", lambda *step: told.append(step))
    inpainting.prepare("fast", lambda *step: told.append(step))
    assert not told and not inpainting.release_path().exists() and not inpainting.usable()
    with pytest.raises(InputError, match="--inpainter lama, which fetches it"):
        inpainting.paint(*picture())
    before = inpainting.identity("lama")
    inpainting.prepare("lama", lambda *step: told.append(step))
    assert inpainting.release_path().read_bytes() == release.read_bytes()
    assert told == [(Stage.FETCH, 0, 1)] and inpainting.usable()
    assert inpainting.identity("lama") == inpainting.identity("auto") == before
    release.unlink()
    inpainting.prepare("lama", lambda *step: told.append(step))
    assert len(told) == 1 and inpainting.paint(*picture()).shape == (37, 53, 3)
    assert doctor._lama().ok and "sha256 as released" in doctor._lama().what


@pytest.mark.parametrize("damage", ["other", "short", "long", "gone"])
def test_what_is_not_the_release_never_appears(damage: str, release: Path) -> None:
    data = release.read_bytes()
    if damage == "gone":
        release.unlink()
    else:
        release.write_bytes({"other": data[:-1] + b"x", "short": data[:-9], "long": data + b"x" * (1 << 21)}[damage])
    with pytest.raises(InputError, match="fetch it by hand and name it with LAMA_MODEL") as error:
        inpainting.prepare("lama", silent)
    assert "\n" not in str(error.value)
    assert not list(inpainting.release_path().parent.iterdir())


def test_a_cache_that_cannot_be_written_is_the_output_s_fault(release: Path, tmp_path: Path) -> None:
    assert release.exists()
    (tmp_path / "torch").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be made"):
        inpainting.fetch_model(silent)


def test_a_release_with_another_checksum_is_never_opened(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inpainting.prepare("lama", silent)
    inpainting.release_path().write_bytes(release.read_bytes() + b"x")
    monkeypatch.setattr(inpainting, "_open", lambda _: pytest.fail("it was opened"))
    with pytest.raises(InputError, match="remove it and try again"):
        inpainting.paint(*picture())
    assert not inpainting.usable() and not doctor._lama().ok
    assert inpainting.identity("auto") == "fast"


def test_other_models_are_other_identities(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inpainting.prepare("lama", silent)
    first = inpainting.identity("lama")
    monkeypatch.setenv("LAMA_MODEL", str(write_model(tmp_path / "own.pt", Nothing())))
    assert len({first, inpainting.identity("lama"), inpainting.identity("fast")}) == 3
    assert release.exists()


def test_the_variable_is_as_it_was(release: Path) -> None:
    inpainting.prepare("lama", silent)
    inpainting.paint(*picture())
    assert "LAMA_MODEL" not in os.environ and release.exists()


def test_doctor_says_that_it_is_not_needed() -> None:
    found = doctor._lama()
    assert found.ok and "not needed" in found.what and "pip install" in found.what
