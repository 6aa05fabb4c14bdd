"""The avatar file: a head that was built once, as one strict safetensors file, and as a PLY of its Gaussians.

The tensors are named after the fields that hold them (`gaussians.means`); everything else is one JSON text in the
header, under `mggdub`. What is kept follows from the dataclasses' own fields, so a field more needs no line here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from scipy.sparse import csr_matrix

from mggdub import types, weights
from mggdub.avatar import values
from mggdub.avatar.bounds import check_avatar, check_options, check_tensors
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError, MggdubError, UsageError, excerpt
from mggdub.media.files import appearing_whole, check_input, check_output
from mggdub.networks.mouth import load_mouth
from mggdub.options import AVATAR_OPTIONS
from mggdub.types import Gaussians
from mggdub.version import __version__

SUFFIX = ".mgg"
FORMAT = 5
KEY = "mggdub"  # of the header
ABOUT = {"format", "mggdub", "weights", "options", "fields"}  # what the header says besides its digest
LARGEST_FILE = 1 << 30  # bytes; the largest picture's avatar has a third of it
LARGEST_HEADER = 256 << 10  # bytes; an avatar's has 5,000
DC = 0.28209479177387814  # the constant spherical harmonic, in which PLY files count colours
VALUES = {
    name: value
    for module in (types, values)
    for name, value in vars(module).items()
    if is_dataclass(value) and isinstance(value, type)
}
Tensors = dict[str, torch.Tensor]


def is_avatar(path: Path) -> bool:
    """Whether a path that stands for a photo is an avatar file."""
    return path.suffix.lower() == SUFFIX


def save_avatar(path: Path, avatar: HeadAvatar, about: dict[str, Any], force: bool = False) -> None:
    """Write an avatar; `about` holds `options`, the AVATAR_OPTIONS it was built with.

    Raises UsageError or OutputError.
    """
    check_output(path, force, suffixes=(SUFFIX,))
    tensors: Tensors = {}
    tree = _take(avatar, "", tensors)
    told = {**about, "format": FORMAT, "mggdub": __version__, "weights": weights.fingerprint(), "fields": tree}
    told["sha256"] = _digest(told, tensors)
    data = save(tensors, {KEY: json.dumps(told, sort_keys=True)})  # one key: the order of several is not fixed
    with appearing_whole(path, force, private=True) as partial:  # it is a face
        partial.write_bytes(data)


def load_avatar(path: Path) -> tuple[HeadAvatar, dict[str, Any]]:
    """The avatar of a file, whoever made it, and what it says about itself. Raises UsageError or InputError."""
    check_input(path)
    again = f"make it again with mggdub avatar PHOTO -o {path.name}."
    try:
        about, tensors = _read(path)
        if about.get("format") != FORMAT:
            other = excerpt(about.get("format"))
            raise InputError(f"{path} has another format ({other}) than this mggdub reads; {again}")
        if about.get("weights") != weights.fingerprint():
            raise InputError(f"{path} was made by mggdub {_version(about)} with other weights; {again}")
        if about.pop("sha256", None) != _digest(about, tensors):
            raise ValueError("its bytes are not those that were written")
        return _checked(about, tensors), about
    except InputError:
        raise
    # What a file of a stranger may provoke in json, safetensors, scipy, the dataclasses and the mouth's painter.
    except (SafetensorError, MggdubError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or no avatar ({excerpt(error)}); {again}") from error
    except (AssertionError, MemoryError) as error:  # of safetensors for sizes that contradict each other
        raise InputError(f"{path} is damaged or no avatar; {again}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def _checked(about: dict[str, Any], tensors: Tensors) -> HeadAvatar:
    """The avatar of a file whose digest is right; its tree leaves `about`. Raises what strangers may provoke."""
    if about.keys() != ABOUT:
        raise ValueError("its header has other entries than an avatar's")
    check_options(about["options"])
    check_tensors(tensors)
    avatar = _give(about.pop("fields"), "", tensors)
    if not isinstance(avatar, HeadAvatar):
        raise ValueError("it holds something else")
    check_avatar(avatar, load_mouth())
    return avatar


def _version(about: dict[str, Any]) -> str:
    """What a file says of the mggdub that made it, if it is a version at all."""
    version = about.get("mggdub")
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version, re.ASCII)
    return str(version) if known else "of an unknown version"


def check_given(path: Path, about: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises UsageError if an option in `given` is not what the avatar at `path` was built with."""
    for name in AVATAR_OPTIONS:
        if name in given and given[name] != about["options"][name]:
            was = about["options"][name]
            raise UsageError(
                f"{path} was made with {name} {'unset' if was is None else was}; leave out --{name} or make another "
                "avatar with it."
            )


def write_ply(path: Path, avatar: HeadAvatar, force: bool = False) -> int:
    """Write the Gaussians of the photo's own state as 3-D Gaussian splatting PLY; returns how many.

    Centimetres with x to the viewer's right, y down, z away from the viewer; the folded lids are left out. Raises
    UsageError or OutputError.
    """
    check_output(path, force, suffixes=(".ply",))
    g: Gaussians = avatar.gaussians
    shown = np.ones(len(g), bool)
    for lid in avatar.lids:
        shown[lid] = False
    opacities = np.clip(g.opacities.numpy().astype(np.float64), 1e-6, 1 - 1e-6)
    quats = g.quats.numpy() / np.linalg.norm(g.quats.numpy(), axis=1, keepdims=True)
    columns = {
        "x y z": g.means.numpy(),
        "nx ny nz": np.zeros((len(g), 3)),
        "f_dc_0 f_dc_1 f_dc_2": (g.colors.numpy() - 0.5) / DC,
        "opacity": np.log(opacities / (1 - opacities))[:, None],
        "scale_0 scale_1 scale_2": np.log(np.maximum(g.scales.numpy(), 1e-9)),
        "rot_0 rot_1 rot_2 rot_3": quats,
    }
    rows = np.concatenate(list(columns.values()), 1)[shown].astype("<f4")
    names = " ".join(columns).split()
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in names] + ["end_header\n"]
    with appearing_whole(path, force, private=True) as partial:  # it is a face, too
        partial.write_bytes("\n".join(header).encode() + rows.tobytes())
    return len(rows)


def _take(value: Any, name: str, tensors: Tensors) -> Any:
    """The JSON of a value; its arrays go into `tensors` under the names of the fields that hold them."""
    if isinstance(value, np.ndarray):
        tensors[name] = torch.from_numpy(np.array(value, order="C"))
        return {"is": "array"}
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"is": "tensor"}
    if isinstance(value, csr_matrix):
        for part in ("data", "indices", "indptr"):
            _take(getattr(value, part), f"{name}.{part}", tensors)
        return {"is": "csr", "of": list(value.shape)}
    if isinstance(value, slice):
        return {"is": "slice", "of": [value.start, value.stop, value.step]}
    if isinstance(value, tuple):
        return {"is": "tuple", "of": [_take(part, f"{name}.{k}", tensors) for k, part in enumerate(value)]}
    if type(value).__name__ in VALUES:
        parts = {f.name: _take(getattr(value, f.name), f"{name}.{f.name}".lstrip("."), tensors) for f in fields(value)}
        return {"is": type(value).__name__, "of": parts}
    if isinstance(value, np.generic):
        value = value.item()
    assert value is None or isinstance(value, (bool, int, float, str)), f"{name} is a {type(value)}"
    return value


def _give(node: Any, name: str, tensors: Tensors) -> Any:
    """The value of a JSON and of tensors that are checked.

    Raises ValueError, TypeError or LookupError for anything that `_take` did not make.
    """
    if not isinstance(node, dict):
        if not (node is None or isinstance(node, (bool, int, float, str))) or (
            isinstance(node, float) and not math.isfinite(node)
        ):
            raise ValueError(f"{name} is no value")
        return node
    kind: str = node["is"]
    of: Any = node.get("of")
    if kind in ("array", "tensor"):
        return tensors[name].numpy() if kind == "array" else tensors[name]
    if kind == "csr":
        if not all(type(part) is int for part in of) or len(of) != 2:
            raise ValueError(f"{name} is no matrix")
        data, indices, indptr = (tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "indptr"))
        return csr_matrix((data, indices, indptr), shape=tuple(of), copy=False)  # raises if the rows are others
    if kind == "slice":
        if not all(part is None or type(part) is int for part in of) or len(of) != 3:
            raise ValueError(f"{name} is no range")
        return slice(*of)
    if kind == "tuple":
        return tuple(_give(part, f"{name}.{k}", tensors) for k, part in enumerate(of))
    value = VALUES[kind]
    hints = get_type_hints(value)
    wanted = [f.name for f in fields(value)]
    if sorted(wanted) != sorted(of):
        raise ValueError(f"{kind} has other fields in this version of mggdub")
    parts = {key: _give(of[key], f"{name}.{key}".lstrip("."), tensors) for key in wanted}
    for key, part in parts.items():
        if not _fits(part, hints[key]):
            raise ValueError(f"{name}.{key} is a {type(part).__name__}")
    return value(**parts)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a field is annotated with; Any takes everything."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is tuple and isinstance(value, tuple):
        return inner[1:] == (...,) or (
            len(inner) == len(value) and all(_fits(v, one) for v, one in zip(value, inner, strict=True))
        )
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool)))


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """The header's JSON and the tensors: of bytes that are read once, so that what is checked is what is used."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 30} GiB")
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE)
    size = int.from_bytes(data[:8], "little")
    if size > LARGEST_HEADER:
        raise ValueError("its header is too long")
    about = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
    if not isinstance(about, dict):
        raise ValueError("its header is no JSON object")
    return about, load(data)


def _digest(told: dict[str, Any], tensors: Tensors) -> str:
    """SHA-256 of everything in the file, so that a flipped bit is seen."""
    sum_ = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        sum_.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        if tensors[name].numel():
            sum_.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return sum_.hexdigest()
