"""Finding, reading and writing weights: strict safetensors with their config in the header and a card beside.

A weight `name` is `weights/name.safetensors` with `weights/name.json` (the card); other files (the face
task) have a card of their own. Look-up order: $MGGDUB_WEIGHTS, the installed package, the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mggdub.errors import InputError, UsageError, excerpt

LARGEST_CARD = 1 << 20  # bytes
MOST_CARDS = 100
NAME = re.compile(r"[\w][\w.-]{0,99}", re.ASCII)  # of a weight file: it lies beside its card


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
        with safe_open(path, framework="pt") as file:
            config = dict(json.loads((file.metadata() or {}).get("config", "{}")))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InputError(f"The weight file {path} is damaged ({error}); reinstall mggdub.") from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, config


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
    """SHA-256 of a file, hex."""
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
        if not isinstance(card.get("bytes", 0), int) or not isinstance(card.get("licence", ""), str):
            raise ValueError("its bytes are no number or its licence no text")
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


def verify() -> list[tuple[str, bool]]:
    """(file, whether its bytes are the ones its card names) for every card. Raises UsageError or InputError."""
    return [(card["file"], state(card) == "ok") for card in cards()]


def build(network: torch.nn.Module, name: str) -> torch.nn.Module:
    """Load `name` strictly into `network` and put it in evaluation mode. Raises InputError if it does not fit."""
    return fill(network, load(name)[0], name)


def fill(network: torch.nn.Module, tensors: dict[str, Tensor], name: str) -> torch.nn.Module:
    """The network in evaluation mode with the tensors of `name`. Raises InputError if they are not its own."""
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InputError(f"The weight file {name} belongs to another version of mggdub; reinstall mggdub.") from error
    return network.eval()
