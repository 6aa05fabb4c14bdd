"""Finding, reading and writing weights: strict safetensors with their config in the header and a card beside.

A weight `name` is `weights/name.safetensors` with `weights/name.json` (the card); other files (the face
task) have a card of their own. Look-up order: $MGGDUB_WEIGHTS, the installed package, the checkout. That folder may be
anybody's: sizes are limited, and what a file says of its network is checked before the network is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mggdub.errors import InputError, UsageError, excerpt

LARGEST_FILE = 2 << 30  # bytes
LARGEST_HEADER = 1 << 20  # bytes; the largest has 15,000
LARGEST_CARD = 1 << 20  # bytes
MOST_CARDS = 100
LARGEST_SETTING = 10_000  # of a network
MOST_SETTINGS = 32  # in a list
NAME = re.compile(r"[\w][\w.-]{0,99}", re.ASCII)  # of a weight file: it lies beside its card
Config = TypeVar("Config")
Network = TypeVar("Network", bound=torch.nn.Module)


def folders() -> list[Path]:
    """Where weights may lie, first match wins. Raises UsageError if $MGGDUB_WEIGHTS is no folder."""
    package = Path(__file__).resolve().parent
    override = os.environ.get("MGGDUB_WEIGHTS")
    here = [package / "_weights", package.parent / "weights"]
    if not override:
        return here
    if not os.path.isdir(override):  # noqa: PTH112  raises nothing
        raise UsageError(f"MGGDUB_WEIGHTS names {override}, which is not a folder; correct or unset it.")
    return [Path(override), *here]


def locate(filename: str) -> Path:
    """The path of a weight file. Raises UsageError or InputError if no folder has it."""
    for folder in folders():
        path = folder / filename
        if os.path.isfile(path):  # noqa: PTH113  raises nothing
            if not os.access(path, os.R_OK):
                raise InputError(f"The weight file {path} may not be read; change its permissions.")
            return path
    raise InputError(
        f"The weight file {filename} is missing; reinstall mggdub or point MGGDUB_WEIGHTS at the folder that has it."
    )


def load(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float ones as float32) and the config of `name`. Raises InputError if damaged."""
    path = locate(f"{name}.safetensors")
    try:
        config = _config(path)
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, config
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"The weight file {path} is damaged ({excerpt(error)}); reinstall mggdub.") from error


def settings(name: str) -> dict[str, Any]:
    """The config of `name` alone. Raises InputError if damaged."""
    path = locate(f"{name}.safetensors")
    try:
        return _config(path)
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"The weight file {path} is damaged ({excerpt(error)}); reinstall mggdub.") from error


def _config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 30} GiB")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST_HEADER:
            raise ValueError("its header is too long")
        header = json.loads(file.read(size))
    config = json.loads(header.get("__metadata__", {}).get("config", "{}"))
    if not isinstance(config, dict):
        raise ValueError("its config is no JSON object")
    return config


def fitting(kind: type[Config], config: dict[str, Any], name: str) -> Config:
    """The config of `name` as a dataclass of numbers and tuples of whole numbers.

    Raises InputError for other fields, types and sizes than such a network may have.
    """
    hints = get_type_hints(kind)
    usable = config.keys() <= hints.keys() and all(_is_setting(config[key], hints[key]) for key in config)
    if not usable:
        raise InputError(f"The weight file {name} is for another version of mggdub; reinstall mggdub.")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in config.items()})


def _is_setting(value: Any, hint: Any) -> bool:
    if isinstance(value, list):
        return hint not in (int, float) and 0 < len(value) <= MOST_SETTINGS and all(_is_setting(v, int) for v in value)
    if hint is float and isinstance(value, float):
        return math.isfinite(value) and abs(value) <= LARGEST_SETTING
    return hint in (int, float) and type(value) is int and abs(value) <= LARGEST_SETTING


def save(folder: Path, name: str, tensors: dict[str, Tensor], config: dict[str, Any], card: dict[str, Any]) -> Path:
    """Write `name` in half precision with its card; integer tensors keep their type."""
    half = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in tensors.items()}
    path = folder / f"{name}.safetensors"
    save_file(half, path, metadata={"config": json.dumps(config, sort_keys=True)})
    path.chmod(0o644)  # safetensors writes for the owner alone
    about = {**card, "name": name, "file": path.name, "sha256": digest(path), "bytes": path.stat().st_size}
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cards() -> list[dict[str, Any]]:
    """The cards of the first folder that has any, sorted by name. Raises InputError if one is none."""
    for folder in folders():
        paths = sorted(folder.glob("*.json"))
        if len(paths) > MOST_CARDS:
            raise InputError(f"{folder} holds {len(paths)} cards of weights; point MGGDUB_WEIGHTS at mggdub's own.")
        if paths:
            return [_card(path) for path in paths]
    return []


def _card(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_CARD:
            raise ValueError("it is too large")
        card = json.loads(path.read_text(encoding="utf-8"))
        if not (NAME.fullmatch(card["file"]) and re.fullmatch(r"[0-9a-f]{64}", card["sha256"])):
            raise ValueError("it names no file and no sha256")
        if not (type(card.get("bytes", 0)) is int and 0 <= card.get("bytes", 0) < 1 << 60):
            raise ValueError("its bytes are no number")
        if not card.get("licence", "").isprintable():
            raise ValueError("its licence is no line of text")
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"The card {path} is damaged ({excerpt(error)}); reinstall mggdub.") from error
    return card | {"path": str(path.parent)}


def state(card: dict[str, Any]) -> str:
    """'ok', 'missing' or 'damaged': what the bytes of a card's file are."""
    path = Path(card["path"]) / card["file"]
    try:
        return "ok" if digest(path) == card["sha256"] else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:  # a folder, or not to be read
        return "damaged"


@cache
def fingerprint() -> str:
    """SHA-256 over all weights that are in use, hex: what is made with others is something else."""
    names = sorted({str(card["file"]) for card in cards()})
    return hashlib.sha256("".join(f"{name} {digest(locate(name))}\n" for name in names).encode()).hexdigest()


def network(make: Callable[[], Network], tensors: dict[str, Tensor], name: str) -> Network:
    """The network that `make` makes of a file's config, filled with the file's tensors, in evaluation mode.

    Its sizes are compared before anything is allocated for it. Raises InputError if they are others.
    """
    try:
        with torch.device("meta"):
            shapes = {key: tensor.shape for key, tensor in make().state_dict().items()}
    except (RuntimeError, ValueError, LookupError, ArithmeticError) as error:  # sizes that contradict each other
        raise InputError(f"The weight file {name} belongs to another version of mggdub; reinstall mggdub.") from error
    if shapes != {key: tensor.shape for key, tensor in tensors.items()}:
        raise InputError(f"The weight file {name} belongs to another version of mggdub; reinstall mggdub.")
    filled = make()
    filled.load_state_dict(tensors)
    return filled.eval()
