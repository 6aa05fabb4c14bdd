"""The avatar file: a head that was built once, as one strict safetensors file, and as a PLY of its Gaussians.

The arrays are named after the fields that hold them (`gaussians.means`), listed in `bounds.TENSORS` and packed as
`packing.CODINGS` says, each a row of bytes; everything else is one JSON text in the header, under `mggdub`: what the
file is, the arrays' shapes, and under `fields` the numbers of a head.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.sparse import csr_matrix

from mggdub import weights
from mggdub.avatar.bounds import TENSORS, check_avatar, check_options, check_shapes, check_tensors
from mggdub.avatar.packing import pack, rounded, unpack
from mggdub.avatar.values import Bases, HeadAvatar, MouthLayer, RenderBox
from mggdub.errors import InputError, MggdubError, UsageError, excerpt
from mggdub.media.files import appearing_whole, check_input, check_output
from mggdub.options import AVATAR_OPTIONS
from mggdub.types import Array, Camera, Gaussians
from mggdub.version import __version__

SUFFIX = ".mgg"
FORMAT = 11
KEY = "mggdub"  # of the header
SAME_FACE = {"largest", "0"}
ABOUT = {"format", "mggdub", "weights", "options", "shapes", "fields"}  # what the header says besides its digest
LARGEST_FILE = 512 << 20  # bytes; what the largest avatar has unpacked
LARGEST_HEADER = 256 << 10  # bytes; an avatar's has 6,000
DC = 0.28209479177387814  # the constant spherical harmonic, in which PLY files count colours
CLOUD = ("means", "quats", "scales", "opacities", "colors")
SIDES = ("left", "top", "width", "height", "render_width", "render_height")
Tensors = dict[str, Array]  # under the names of TENSORS
Node = dict[str, Any]  # of the header's JSON


def is_avatar(path: Path) -> bool:
    """Whether a path that stands for a photo is an avatar file."""
    return path.suffix.lower() == SUFFIX


def save_avatar(path: Path, avatar: HeadAvatar, about: dict[str, Any], force: bool = False) -> None:
    """Write an avatar; `about` holds `options`, the AVATAR_OPTIONS it was built with.

    Of an avatar that is not `as_saved` what is finer than that is lost. Raises UsageError or OutputError.
    """
    check_output(path, force, suffixes=(SUFFIX,))
    tensors = _tensors(avatar)
    header = {**about, "format": FORMAT, "mggdub": __version__, "weights": weights.fingerprint()}
    header |= {"shapes": {name: list(array.shape) for name, array in tensors.items()}, "fields": _fields(avatar)}
    packed = {name: np.frombuffer(pack(name, array), np.uint8) for name, array in tensors.items()}
    header["sha256"] = _digest(header, packed)
    data = save(packed, {KEY: _json(header)})  # one key: the order of several is not fixed
    with appearing_whole(path, force, private=True) as partial:  # it is a face
        partial.write_bytes(data)


def load_avatar(path: Path) -> tuple[HeadAvatar, dict[str, Any]]:
    """The avatar of a file, whoever made it, and what it says about itself. Raises UsageError or InputError."""
    check_input(path)
    again = f"make it again with mggdub avatar PHOTO -o {path.name}."
    ours = weights.fingerprint()  # what is wrong with these is not the file's fault
    try:
        about, packed = _read(path)
        if about.get("format") != FORMAT:
            other = excerpt(about.get("format"))
            raise InputError(f"{path} has another format ({other}) than this mggdub reads; {again}")
        if about.get("weights") != ours:
            raise InputError(f"{path} was made by mggdub {_version(about)} with other weights; {again}")
        if about.pop("sha256", None) != _digest(about, packed):
            raise ValueError("its bytes are not those that were written")
        return _checked(about, packed), about
    except InputError:
        raise
    # What a file of a stranger may provoke in json, safetensors, scipy, the dataclasses and the mouth's painter.
    except (SafetensorError, MggdubError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or no avatar ({excerpt(error)}); {again}") from error
    except (AssertionError, MemoryError) as error:  # of safetensors for sizes that contradict each other
        raise InputError(f"{path} is damaged or no avatar; {again}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def as_saved(avatar: HeadAvatar) -> HeadAvatar:
    """The avatar that its file gives back."""
    return _avatar(_fields(avatar), {name: rounded(name, array) for name, array in _tensors(avatar).items()})


def _checked(about: dict[str, Any], packed: Tensors) -> HeadAvatar:
    """The avatar of a file whose digest is right; what it is made of leaves `about`.

    Raises what strangers may provoke.
    """
    if about.keys() != ABOUT:
        raise ValueError("its header has other entries than an avatar's")
    check_options(about["options"])
    tensors = _unpacked(packed, check_shapes(about.pop("shapes")))
    check_tensors(tensors)
    avatar = _avatar(about.pop("fields"), tensors)
    check_avatar(avatar)
    return avatar


def _unpacked(packed: Tensors, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """The arrays of a file, whose shapes are checked. Raises ValueError."""
    if packed.keys() != TENSORS.keys() or any(row.ndim != 1 or row.dtype != np.uint8 for row in packed.values()):
        raise ValueError("it has other tensors than an avatar")
    return {name: unpack(name, packed[name].data, TENSORS[name][0], shapes[name]) for name in TENSORS}


def _version(about: dict[str, Any]) -> str:
    """What a file says of the mggdub that made it, if it is a version at all."""
    version = about.get("mggdub")
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version, re.ASCII)
    return str(version) if known else "of an unknown version"


def check_given(path: Path, about: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises UsageError if an option in `given` is not what the avatar at `path` was built with."""
    for name in AVATAR_OPTIONS:
        was = about["options"][name]
        if name not in given or given[name] == was or (name == "face" and {given[name], was} <= SAME_FACE):
            continue
        how = f"with --{name} {was}" if not isinstance(was, bool | None) else f"with{'' if was else 'out'} --{name}"
        raise UsageError(f"{path} was made {how}; leave out --{name} or make another avatar with it.")


@contextmanager
def appearing_ply(path: Path, avatar: HeadAvatar, force: bool = False) -> Iterator[int]:
    """Write the Gaussians of the photo's own state as 3-D Gaussian splatting PLY, which appears after the block.

    The block is told how many; where it fails there is no PLY.

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
        yield len(rows)


def _tensors(avatar: HeadAvatar) -> Tensors:
    """The arrays of an avatar."""
    values = {name: attrgetter(name)(avatar) for name in TENSORS}
    return {
        name: value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in values.items()
    }


def _fields(avatar: HeadAvatar) -> Node:
    """What a file says of an avatar beside its tensors: the numbers, and of what kind every field is."""
    camera, box, mouth = avatar.camera, avatar.box, avatar.mouth_layer
    own = {"size": mouth.size, "skin": _matrix(mouth.skin)}
    sides = {name: getattr(box, name) for name in SIDES}
    parts = {
        "gaussians": _object("Gaussians", {name: {"is": "tensor"} for name in CLOUD}),
        "mesh_weights": _matrix(avatar.mesh_weights),
        "hidden": _range(avatar.hidden),
        "film": _range(avatar.film),
        "bases": _object("Bases", _arrays("bases.")),
        "lids": {"is": "tuple", "of": [_range(lid) for lid in avatar.lids]},
        "mouth": _range(avatar.mouth),
        "mouth_layer": _object("MouthLayer", _arrays("mouth_layer.") | own),
        "camera": _object("Camera", _arrays("camera.") | {"width": camera.width, "height": camera.height}),
        "box": _object("RenderBox", sides),
        "angle": avatar.angle,
        "inpainter": avatar.inpainter,
        "advice": {"is": "tuple", "of": list(avatar.advice)},
    }
    return _object("HeadAvatar", _arrays("") | parts)


def _object(kind: str, parts: dict[str, Any]) -> Node:
    return {"is": kind, "of": parts}


def _arrays(prefix: str) -> Node:
    """Of the arrays whose names are a prefix and one word more."""
    names = (name.removeprefix(prefix) for name in TENSORS if name.startswith(prefix))
    return {name: {"is": "array"} for name in names if "." not in name}


def _matrix(matrix: csr_matrix) -> Node:
    return {"is": "csr", "of": list(matrix.shape)}


def _range(points: slice) -> Node:
    return {"is": "slice", "of": [points.start, points.stop, points.step]}


def _avatar(tree: Node, tensors: Tensors) -> HeadAvatar:
    """The avatar of a header's `fields` and of arrays that are checked.

    Raises ValueError, TypeError or LookupError for anything that `_fields` did not make.
    """
    of, array = tree["of"], tensors
    mouth, camera, box = (of[name]["of"] for name in ("mouth_layer", "camera", "box"))
    left, right = of["lids"]["of"]
    avatar = HeadAvatar(
        gaussians=Gaussians.of(*(array[f"gaussians.{name}"] for name in CLOUD)),
        mesh_weights=_as_matrix("mesh_weights", of["mesh_weights"], array),
        head_share=array["head_share"],
        torso_share=array["torso_share"],
        crop_uv=array["crop_uv"],
        shows_photo=array["shows_photo"],
        hidden=_as_range(of["hidden"]),
        film=_as_range(of["film"]),
        bases=Bases(array["bases.motion"], array["bases.shade"]),
        mesh=array["mesh"],
        photo_drivers=array["photo_drivers"],
        photo_mouth=array["photo_mouth"],
        lids=(_as_range(left), _as_range(right)),
        lid_places=array["lid_places"],
        mouth=_as_range(of["mouth"]),
        mouth_layer=MouthLayer(
            means=array["mouth_layer.means"],
            skin=_as_matrix("mouth_layer.skin", mouth["skin"], array),
            mesh=array["mouth_layer.mesh"],
            rest=array["mouth_layer.rest"],
            size=_number(mouth["size"]),
            tone=array["mouth_layer.tone"],
            levels=array["mouth_layer.levels"],
            own=array["mouth_layer.own"],
            own_share=array["mouth_layer.own_share"],
        ),
        camera=Camera(array["camera.K"], array["camera.viewmat"], _whole(camera["width"]), _whole(camera["height"])),
        box=RenderBox(**{name: _whole(box[name]) for name in SIDES}),
        plate=array["plate"],
        image=array["image"],
        torso_share_map=array["torso_share_map"],
        angle=_number(of["angle"]),
        inpainter=of["inpainter"],
        advice=tuple(of["advice"]["of"]),
    )
    if _json(_fields(avatar)) != _json(tree):
        raise ValueError("its fields are not those of an avatar")
    return avatar


def _as_matrix(name: str, node: Node, array: dict[str, Array]) -> csr_matrix:
    rows, columns = (_whole(size) for size in node["of"])
    parts = tuple(array[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=(rows, columns), copy=False)  # raises if the rows are others


def _as_range(node: Node) -> slice:
    start, stop, _ = node["of"]
    return slice(_whole(start), _whole(stop))


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"a {type(value).__name__} stands where a whole number should")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"a {type(value).__name__} stands where a number should")
    return value  # type: ignore[no-any-return]


def _json(value: Node) -> str:
    return json.dumps(value, sort_keys=True, default=np.generic.item)


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """The header's JSON and the packed arrays: of bytes that are read once, so that what is checked is what is used."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
        data = file.read(size)  # of LARGEST_FILE, Python would ask for all the room first
    size = int.from_bytes(data[:8], "little")
    if size > LARGEST_HEADER:
        raise ValueError("its header is too long")
    about = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
    if not isinstance(about, dict):
        raise ValueError("its header is no JSON object")
    return about, load(data)


def _digest(header: dict[str, Any], packed: Tensors) -> str:
    """SHA-256 of everything in the file, so that a flipped bit is seen."""
    sum_ = hashlib.sha256(_json(header).encode())
    for name in sorted(packed):
        sum_.update(f"{name} {packed[name].dtype} {list(packed[name].shape)}".encode())
        sum_.update(packed[name].tobytes())
    return sum_.hexdigest()
