"""Finding, reading and writing weights: strict safetensors with their config in the header and a card beside.

A weight `name` is `weights/name.safetensors` with `weights/name.json` (the card); other files (the face
task) have a card of their own. Look-up order: $MGGDUB_WEIGHTS, the installed package, the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mggdub.errors import InputError


def folders() -> list[Path]:
    """Where weights may lie, first match wins."""
    package = Path(__file__).resolve().parent
    override = os.environ.get("MGGDUB_WEIGHTS")
    here = [package / "_weights", package.parent / "weights"]
    return [Path(override), *here] if override else here


def locate(filename: str) -> Path:
    """The path of a weight file. Raises InputError if no folder has it."""
    for folder in folders():
        if (folder / filename).is_file():
            return folder / filename
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
    """The cards of the first folder that has any, sorted by name."""
    for folder in folders():
        found = sorted(folder.glob("*.json"))
        if found:
            return [json.loads(p.read_text(encoding="utf-8")) | {"path": str(p.parent)} for p in found]
    return []


@cache
def fingerprint() -> str:
    """SHA-256 over all weights that are in use, hex: what is made with others is something else."""
    names = sorted({str(card["file"]) for card in cards()})
    return hashlib.sha256("".join(f"{name} {digest(locate(name))}\n" for name in names).encode()).hexdigest()


def verify() -> list[tuple[str, bool]]:
    """(file, whether its bytes are the ones its card names) for every card."""
    return [(c["file"], digest(Path(c["path"]) / c["file"]) == c["sha256"]) for c in cards()]


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
