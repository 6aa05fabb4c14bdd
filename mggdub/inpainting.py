"""LaMa, which paints what a head hides: the package simple-lama-inpainting, and the file of its model.

R. Suvorov et al., Resolution-robust Large Mask Inpainting with Fourier Convolutions, WACV 2022. The package and its
model are others' and optional; the model is fetched only when somebody asks for it by name.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mggdub.errors import InputError, MggdubError, OutputError, UsageError, excerpt
from mggdub.media.files import appearing_whole, check_input, status
from mggdub.media.partial import remove_stale
from mggdub.progress import Progress, Stage
from mggdub.types import Array
from mggdub.weights import digest

URL = "https://github.com/enesmsahin/simple-lama-inpainting/releases/download/v0.1.0/big-lama.pt"
SHA256 = "344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9"
SIZE = 205_669_692  # bytes
VARIABLE = "LAMA_MODEL"  # names another model's file; the package reads it, too
INSTALL = "pip install 'mggdub[lama]' and then pip install --no-deps simple-lama-inpainting"
PATIENCE = 30  # s without a byte
BLOCK = 1 << 20  # bytes


def check(inpainter: str) -> None:
    """Raises UsageError or InputError if LaMa is asked for by name and cannot be used; a model may yet be fetched."""
    if inpainter == "lama":
        lama_class()
        find_model()


def prepare(inpainter: str, progress: Progress) -> None:
    """Fetch LaMa's model if it is asked for by name and not there yet. Raises MggdubError."""
    check(inpainter)
    if inpainter == "lama" and find_model() is None:
        fetch_model(progress)


def usable() -> bool:
    """Whether package and model are there, the model with the checksum that it should have."""
    try:
        lama_class()
        path = find_model()
        return path is not None and (_named() or known_digest(path) == SHA256)
    except MggdubError:
        return False


def identity(inpainter: str) -> str:
    """What may paint a background here: other models paint other pictures. It raises nothing; `check` does."""
    if inpainter == "fast" or (inpainter == "auto" and not usable()):
        return "fast"
    try:
        path = find_model()
        return f"lama {known_digest(path) if path else SHA256}"
    except MggdubError:
        return "none"


def lama_class() -> Any:
    """The package's SimpleLama. Raises UsageError if it is not installed or cannot be imported."""
    try:
        from simple_lama_inpainting import SimpleLama
    except Exception as error:  # of other versions of numpy and OpenCV than it knows, too
        if isinstance(error, ModuleNotFoundError) and error.name == "simple_lama_inpainting":
            raise UsageError(f"--inpainter lama needs the package simple-lama-inpainting; {INSTALL}.") from error
        raise UsageError(f"simple-lama-inpainting cannot be imported ({excerpt(error)}); {INSTALL}.") from error
    return SimpleLama


def find_model() -> Path | None:
    """The model's file, None if it is to be fetched yet. Raises UsageError or InputError if it cannot be one.

    It is what LAMA_MODEL names, or the release in the folder where torch.hub, and so the package, keeps it.
    """
    if _named():
        path = Path(os.environ[VARIABLE])
        try:
            check_input(path)
        except MggdubError as error:
            raise type(error)(f"{VARIABLE} is wrong: {error}") from error
        if not _is_torchscript(path):
            raise InputError(f"{VARIABLE} names {path}, which is no TorchScript model; correct or unset it.")
        return path
    path = release_path()
    return check_input(path) if status(path) else None


def release_path() -> Path:
    """Where the released model lies, or will."""
    return Path(torch.hub.get_dir()) / "checkpoints" / URL.rpartition("/")[2]


def fetch_model(progress: Progress) -> None:
    """Fetch the released model; it appears whole and with the right checksum, or not at all.

    Raises InputError if it cannot be had, OutputError if it cannot be written.
    """
    path = release_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path.parent} cannot be made ({error.strerror or error}).") from error
    remove_stale(path.parent)
    progress(Stage.FETCH, 0, 1)
    with appearing_whole(path) as partial, partial.open("wb") as file:
        sum_ = hashlib.sha256()
        for block in _blocks():
            sum_.update(block)
            file.write(block)
        if sum_.hexdigest() != SHA256:
            raise InputError(f"What {URL} gave is not LaMa's model (its checksum is another); {_by_hand()}.")


def _blocks() -> Iterator[bytes]:
    """The bytes of the release, no more than there should be. Raises InputError."""
    left = SIZE + 1
    try:
        with urllib.request.urlopen(URL, timeout=PATIENCE) as answer:
            while left > 0 and (block := answer.read(min(BLOCK, left))):
                left -= len(block)
                yield block
    except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(f"LaMa's model could not be fetched from {URL} ({excerpt(why)}); {_by_hand()}.") from error


def _by_hand() -> str:
    return f"try again, or fetch it by hand and name it with {VARIABLE}"


def paint(image: Array, mask: Array) -> Array:
    """[H, W, 3] uint8: what LaMa makes of an image [H, W, 3] uint8 where mask [H, W] is True, and of the rest.

    The model is opened for this one picture, after its checksum, so that every picture is a new process's first.
    Raises UsageError or InputError.
    """
    path = _checked_model()
    height, width = mask.shape
    model = _open(path)
    try:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            painted = np.asarray(model(image, mask.astype(np.uint8) * 255))[:height, :width]  # it is padded
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _no_painter(path, error) from error
    if painted.shape != image.shape or painted.dtype != np.uint8:
        raise _no_painter(path, f"it makes {painted.shape} of {image.shape}")
    return painted


def _checked_model() -> Path:
    path = find_model()
    if path is None:
        raise InputError(f"LaMa's model is not at {release_path()}; render with --inpainter lama, which fetches it.")
    if not _named() and digest(path) != SHA256:
        raise InputError(f"{path} is not LaMa's model (its checksum is another); remove it and try again.")
    return path


def _open(path: Path) -> Any:
    """The package's class with a model on the CPU, whose bytes do not depend on a graphics card."""
    make = lama_class()
    try:
        with _environment(VARIABLE, str(path)):
            return make(device=torch.device("cpu"))
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        raise _no_painter(path, error) from error


def _no_painter(path: Path, why: object) -> InputError:
    return InputError(f"{path} is no model that LaMa's package can use ({excerpt(why)}); correct or unset {VARIABLE}.")


def _named() -> bool:
    return bool(os.environ.get(VARIABLE))


def _is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of the kind that torch.jit.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names)


def known_digest(path: Path) -> str:
    """SHA-256 of a file, reckoned anew when it is another one. Raises InputError."""
    try:
        about = path.stat()
        return _digest(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


@cache
def _digest(path: Path, *about: int) -> str:  # noqa: ARG001
    return digest(path)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
