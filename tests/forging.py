"""Avatar files taken apart and put together again, whatever is in them, with a right digest."""

import json
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from mggdub.avatar import file, packing
from mggdub.avatar.bounds import TENSORS

STREAM = torch.int8  # of what is no array, but stands in the file as it is
Tensors = dict[str, torch.Tensor]
About = dict[str, Any]


def read_parts(path: Path) -> tuple[Tensors, About]:
    """What an honest file holds, without its digest."""
    about, rows = file._read(path)
    del about["sha256"]
    shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
    return {name: torch.from_numpy(array.copy()) for name, array in file._unpacked(rows, shapes).items()}, about


def packed(name: str, tensor: torch.Tensor) -> bytes:
    """A tensor as a file has it; where it has a name, a type or a shape that no file can have, its bare bytes."""
    array = tensor.numpy()
    if tensor.dtype == STREAM:
        return array.tobytes()
    return _packed(name, array.dtype, array.shape, array.tobytes())


@lru_cache(128)  # a forgery leaves most tensors as they were
def _packed(name: str, dtype: np.dtype, shape: tuple[int, ...], data: bytes) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN becomes some whole number
        try:
            assert dtype == TENSORS[name][0]
            return packing.pack(name, np.frombuffer(data, dtype).reshape(shape))
        except (AssertionError, LookupError, ValueError):
            return zlib.compress(data)


def as_stream(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.int8).copy())


def write_parts(path: Path, tensors: Tensors, about: About) -> None:
    rows = {name: np.frombuffer(packed(name, tensor), np.uint8) for name, tensor in tensors.items()}
    about = {**about, "sha256": file._digest(about, rows)}
    path.write_bytes(save(rows, {file.KEY: json.dumps(about, sort_keys=True)}))


def shapes_of(tensors: Tensors, before: dict[str, list[int]]) -> dict[str, list[int]]:
    """What a header says of tensors; of a stream, what it said before."""
    return {
        name: before.get(name, [1]) if tensor.dtype == STREAM else list(tensor.shape)
        for name, tensor in tensors.items()
    }
