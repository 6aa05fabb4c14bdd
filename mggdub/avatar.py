"""The avatar file: a head that was built once, as one strict safetensors file, and as a PLY of its Gaussians.

The tensors are named after the fields that hold them (`gaussians.means`); everything else is one JSON text in the
header, under `mggdub`. What is kept follows from the dataclasses' own fields, so a field more needs no line here.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.sparse import csr_matrix

from mggdub import __version__, types, weights
from mggdub.config import AVATAR_OPTIONS, SIZE_RANGE, RenderOptions
from mggdub.errors import InputError, MggdubError, UsageError
from mggdub.media.files import appearing_whole, check_input, check_output
from mggdub.models import layers, mouth, torso
from mggdub.types import LANDMARKS, Gaussians, HeadAvatar

SUFFIX = ".mgg"
FORMAT = 1
KEY = "mggdub"  # of the header
LARGEST_FILE = 1 << 30  # bytes; the largest picture's avatar has a third of it
LARGEST_HEADER = 4 << 20
MOST_GAUSSIANS = 4_000_000
LARGEST_SCALE = 10.0  # cm
DC = 0.28209479177387814  # the constant spherical harmonic, in which PLY files count colours
VALUES = {
    name: value
    for module in (types, layers, mouth)
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
        told, tensors = _read(path)
        if told.get("format") != FORMAT:
            raise InputError(f"{path} has another format ({told.get('format')!r}) than this mggdub reads; {again}")
        if told.get("weights") != weights.fingerprint():
            raise InputError(f"{path} was made by mggdub {told.get('mggdub')} with other weights; {again}")
        if told.pop("sha256", None) != _digest(told, tensors):
            raise ValueError("its bytes are not those that were written")
        tree = told.pop("fields")
        if set(told["options"]) != set(AVATAR_OPTIONS):
            raise ValueError("its options are incomplete")
        RenderOptions(**told["options"])
        avatar = _give(tree, "", tensors)
        if not isinstance(avatar, HeadAvatar):
            raise ValueError("it holds something else")
        _check(avatar)
    except InputError:
        raise
    # What a file of a stranger may provoke in json, safetensors, scipy, the dataclasses and the mouth's network.
    except (SafetensorError, MggdubError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or no avatar ({_short(error)}); {again}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    return avatar, told


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
    with appearing_whole(path, force) as partial:
        partial.write_bytes("\n".join(header).encode() + rows.tobytes())
    return len(rows)


# --- from values to tensors and JSON, and back ----------------------------------------------------------------------


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
    """The value of a JSON. Raises ValueError, TypeError or LookupError for anything that `_take` did not make."""
    if not isinstance(node, dict):
        if not (node is None or isinstance(node, (bool, int, float, str))) or (
            isinstance(node, float) and not math.isfinite(node)
        ):
            raise ValueError(f"{name} is no value")
        return node
    kind: str = node["is"]
    of: Any = node.get("of")
    if kind in ("array", "tensor"):
        tensor = tensors[name]
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} is not finite")
        return tensor.numpy() if kind == "array" else tensor
    if kind == "csr":
        data, indices, indptr = (_give({"is": "array"}, f"{name}.{part}", tensors) for part in _CSR)
        matrix = csr_matrix((data, indices, indptr), shape=(int(of[0]), int(of[1])), copy=False)
        matrix.check_format(full_check=True)
        return matrix
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


_CSR = ("data", "indices", "indptr")


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
    """The header's JSON and the tensors; nothing larger than the file is allocated."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 30} GiB")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
            raise ValueError("its header is too long")
    with safe_open(path, framework="pt") as opened:
        told = json.loads((opened.metadata() or {})[KEY])
        if not isinstance(told, dict):
            raise ValueError("its header is no JSON object")
        return told, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _digest(told: dict[str, Any], tensors: Tensors) -> str:
    """SHA-256 of everything in the file, so that a flipped bit is seen."""
    sum_ = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        sum_.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        if tensors[name].numel():
            sum_.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return sum_.hexdigest()


def _check(avatar: HeadAvatar) -> None:
    """Raises ValueError (or what the mouth's network raises) where the fields do not fit together."""
    g, frame, camera, count = avatar.gaussians, avatar.frame, avatar.camera, len(avatar.gaussians)
    floats: list[Any] = [g.means, g.quats, g.scales, g.opacities, g.colors, camera.K, camera.viewmat]
    floats += [avatar.neck, avatar.body, avatar.sway, avatar.mesh, avatar.drivers, avatar.plate, avatar.skin]
    _want(all(str(part.dtype).endswith("float32") for part in floats), "its numbers are not float32")
    picture, own = avatar.picture, avatar.own_mouth
    _want(picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, "picture is none")
    _want(min(picture.shape[:2]) >= 2 and max(picture.shape[:2]) <= SIZE_RANGE[1], "picture has a wrong size")
    sway = avatar.sway
    _want(sway.ndim == 2 and 1 <= min(sway.shape) <= max(sway.shape) <= torso.CELLS, "sway does not fit the picture")
    _want(frame.left >= 0 and frame.left + frame.width <= picture.shape[1], "frame lies outside the picture")
    _want(frame.top >= 0 and frame.top + frame.height <= picture.shape[0], "frame lies outside the picture")
    _want(0 < frame.render_width <= frame.width and 0 < frame.render_height <= frame.height, "frame is empty")
    _want((camera.width, camera.height) == (frame.render_width, frame.render_height), "camera does not fit the frame")
    _want(0 < count <= MOST_GAUSSIANS and float(g.scales.max()) <= LARGEST_SCALE, "gaussians are too many or too large")
    _want(isinstance(avatar.skin, csr_matrix) and avatar.skin.shape == (count, LANDMARKS), "skin does not fit")
    _want(own.dtype == np.int64 and own.ndim == 1 and bool(((own >= 0) & (own < count)).all()), "own_mouth is no index")
    for part in (*avatar.lids, avatar.mouth):
        inside = part.step is None and type(part.start) is int and type(part.stop) is int
        _want(inside and 0 <= part.start <= part.stop <= count, "a range lies outside the gaussians")
    painted, _ = mouth.paint_mouth(mouth.load_mouth(), avatar.painter, np.zeros((LANDMARKS, 3), np.float32))
    _want(len(painted) == avatar.mouth.stop - avatar.mouth.start, "mouth does not fit its painter")


def _want(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
