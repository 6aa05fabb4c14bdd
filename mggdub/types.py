"""The nouns. Frozen values that check their shapes when they are made.

Letters in shape comments: N points, H W pixels, T frames, L landmarks (478), E blendshapes (52),
M lip modes (8), V mesh vertices (478).

Frames of reference: *photo* and *crop* are pixels, x right, y down, pixel centres at .5. *Camera* and
*head space* are centimetres with OpenCV axes (x right, y down, z away from the viewer). Head space is
MediaPipe's canonical face model in those axes; its symmetry plane is x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
CROP_SIZE = 512  # px, side of every head crop
FOCAL = 4.0 * CROP_SIZE  # px, the fixed focal length of a crop's camera
LANDMARKS = 478
LIP_MODES = 8
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, where pictures are looked at (BT.601)
VIDEO_LUMA = (0.2126, 0.7152, 0.0722)  # the same in a video (BT.709)
MOST_ADVICE, LONGEST_ADVICE = 16, 200  # sentences of an avatar; characters of one
# ARKit's names in alphabetical order: MediaPipe's 51 (without `_neutral`), plus tongueOut.
BLENDSHAPES = (
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft "
    "eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft "
    "eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose "
    "mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft "
    "mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight "
    "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight "
    "mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft "
    "noseSneerRight tongueOut"
).split()
# The 24 units that drive; the 28 of jaw, mouth and tongue are exchange only (lip modes drive there).
DRIVING_UNITS = tuple(i for i, name in enumerate(BLENDSHAPES) if name.startswith(("brow", "cheek", "eye", "nose")))
MOUTH_UNITS = tuple(i for i in range(len(BLENDSHAPES)) if i not in DRIVING_UNITS)
IS_BLINK = np.array([name.startswith("eyeBlink") for name in BLENDSHAPES])  # [52]
DRIVERS = len(DRIVING_UNITS) + LIP_MODES  # 32 numbers move a head


def check_shape(name: str, array: Array | Tensor, *shape: int | None) -> None:
    """Raises ValueError unless the array has this shape, TypeError if it is none; None fits any size."""
    if not hasattr(array, "shape"):
        raise TypeError(f"{name} is a {type(array).__name__}, expected an array")
    actual = tuple(array.shape)
    fits = len(actual) == len(shape) and all(s is None or s == a for a, s in zip(actual, shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {actual}, expected ({wanted})")


def check_kind(name: str, array: Array, kind: str) -> None:
    """Raises ValueError unless the array holds numbers of this kind (`uint8`, `float`) and at least one."""
    fits = array.dtype.kind == "f" if kind == "float" else array.dtype == kind
    if not fits or array.size == 0:
        what = f"numbers of type {array.dtype}, expected {kind}" if not fits else "no values"
        raise ValueError(f"{name} has {what}")


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a viewer would see it: upright, 8-bit sRGB, laid on white where it is transparent."""

    pixels: Array  # [H, W, 3] uint8
    alpha: Array | None = None  # [H, W] uint8, 255 is opaque; None if all of it is

    def __post_init__(self) -> None:
        check_shape("pixels", self.pixels, None, None, 3)
        check_kind("pixels", self.pixels, "uint8")
        if self.alpha is not None:
            check_shape("alpha", self.alpha, *self.pixels.shape[:2])
            check_kind("alpha", self.alpha, "uint8")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono sound in -1..1."""

    samples: Array  # [N] float32
    sample_rate: int
    cancels: bool = False  # the channels of the recording do so, so that one of them was taken

    def __post_init__(self) -> None:
        check_shape("samples", self.samples, None)
        if not self.sample_rate > 0:
            raise ValueError(f"sample_rate is {self.sample_rate}, expected samples a second")

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face. z of the landmarks is in px too, negative is nearer to the viewer."""

    landmarks: Array  # [478, 3] float32, px of the picture it was found in
    blendshapes: Array  # [52] float32, 0..1, in the order of BLENDSHAPES
    score: float  # 0..1, presence

    def __post_init__(self) -> None:
        check_shape("landmarks", self.landmarks, LANDMARKS, 3)
        check_shape("blendshapes", self.blendshapes, len(BLENDSHAPES))


@dataclass(frozen=True)
class Crop:
    """The square of a picture that holds a head; it may reach beyond the picture, and stands as the head does."""

    left: float  # px of the picture, before the square is turned about its middle
    top: float
    side: float
    size: int = CROP_SIZE  # px of the crop
    angle: float = 0.0  # degrees, clockwise as the viewer sees it

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return self.size / self.side

    def to_crop(self, points: Array) -> Array:
        """Picture px [..., 2 or 3] to crop px; a third coordinate is scaled along."""
        offset = np.array([self.left, self.top, 0.0], dtype=np.float32)[: points.shape[-1]]
        return ((self.turned(points, -self.angle) - offset) * self.scale).astype(np.float32)

    def to_picture(self, points: Array) -> Array:
        """Crop px [..., 2 or 3] to picture px."""
        offset = np.array([self.left, self.top, 0.0], dtype=np.float32)[: points.shape[-1]]
        return self.turned(points / self.scale + offset, self.angle).astype(np.float32)

    def turned(self, points: Array, degrees: float) -> Array:
        """Picture px [..., 2 or 3] turned clockwise about the crop's middle."""
        if degrees == 0:
            return points
        turn = complex(np.exp(1j * np.radians(degrees)))
        moved = np.array(points, np.float64)
        x, y = moved[..., 0] - self.left - self.side / 2, moved[..., 1] - self.top - self.side / 2
        moved[..., 0] = self.left + self.side / 2 + turn.real * x - turn.imag * y
        moved[..., 1] = self.top + self.side / 2 + turn.imag * x + turn.real * y
        return moved


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole. `viewmat` takes head space to camera space (gsplat's world-to-camera)."""

    K: Array  # [3, 3] float32, px
    viewmat: Array  # [4, 4] float32, cm
    width: int = CROP_SIZE
    height: int = CROP_SIZE

    def __post_init__(self) -> None:
        check_shape("K", self.K, 3, 3)
        check_shape("viewmat", self.viewmat, 4, 4)


@dataclass(frozen=True, eq=False)
class Portrait:
    """The head crop of a photo and what the face runtime says of it."""

    image: Array  # [512, 512, 3] uint8
    crop: Crop
    landmarks: Array  # [478, 3] float32, crop px
    blendshapes: Array  # [52] float32
    camera: Camera  # pose of the head in this photo

    def __post_init__(self) -> None:
        check_shape("image", self.image, self.crop.size, self.crop.size, 3)
        check_shape("landmarks", self.landmarks, LANDMARKS, 3)


# Classes of GeometryMaps.labels.
BACKGROUND, SKIN, HAIR, EYES, MOUTH, CLOTHES = range(6)


@dataclass(frozen=True, eq=False)
class GeometryMaps:
    """What the geometry network sees in a crop."""

    depth: Array  # [256, 256] float32, cm, camera z minus camera z of the head-space origin
    normals: Array  # [256, 256, 3] float32, unit, camera axes (OpenCV: towards the viewer is -z)
    labels: Array  # [256, 256, 6] float32, class probabilities, order of BACKGROUND..CLOTHES
    matte: Array  # [512, 512] float32, 0..1: the person (head, neck, body) against the background

    def __post_init__(self) -> None:
        check_shape("depth", self.depth, 256, 256)
        check_shape("normals", self.normals, 256, 256, 3)
        check_shape("labels", self.labels, 256, 256, 6)
        check_shape("matte", self.matte, CROP_SIZE, CROP_SIZE)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Anisotropic 3-D Gaussians, gsplat's fields. Plain values: scales in cm, opacities 0..1."""

    means: Tensor  # [N, 3] float32, cm
    quats: Tensor  # [N, 4] float32, wxyz (normalised by the renderer)
    scales: Tensor  # [N, 3] float32, cm
    opacities: Tensor  # [N] float32
    colors: Tensor  # [N, 3] float32, sRGB 0..1

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        check_shape("means", self.means, n, 3)
        check_shape("quats", self.quats, n, 4)
        check_shape("scales", self.scales, n, 3)
        check_shape("opacities", self.opacities, n)
        check_shape("colors", self.colors, n, 3)

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        """The fields as arrays that share the tensors' memory, which is the CPU's and has no gradients."""
        fields = (self.means, self.quats, self.scales, self.opacities, self.colors)
        means, quats, scales, opacities, colors = (field.numpy() for field in fields)
        return means, quats, scales, opacities, colors

    def to(self, device: str) -> Gaussians:
        """The same on 'cpu' or 'cuda'."""
        if self.means.device.type == device:
            return self
        fields = (self.means, self.quats, self.scales, self.opacities, self.colors)
        return Gaussians(*(field.to(device) for field in fields))

    @classmethod
    def of(cls, means: Array, quats: Array, scales: Array, opacities: Array, colors: Array) -> Gaussians:
        """Of float32 arrays of the shapes above, whose memory they share."""
        return cls(*(torch.from_numpy(field) for field in (means, quats, scales, opacities, colors)))


@dataclass(frozen=True, eq=False)
class Rendering:
    """Premultiplied colours: the picture over a background B is `colors + (1 - alphas) * B`."""

    colors: Tensor  # [H, W, 3] float32
    alphas: Tensor  # [H, W] float32
    depths: Tensor  # [H, W] float32, cm, sum of weight * camera z (divide by alphas for the mean)


@dataclass(frozen=True, eq=False)
class ExpressionTrack:
    """A face over time. Absolute: zeros are that person's face at rest with lips closed.

    Rotation is (pitch, yaw, roll), intrinsic x, y, z: positive is down, to the viewer's right, clockwise
    as the viewer sees it. Rotation and translation are relative to the photo's own head pose.
    """

    times: Array  # [T] float64, s, the mid-time of each frame
    blendshapes: Array  # [T, 52] float32
    lip_modes: Array  # [T, 8] float32, in the units of the shipped PCA (cm)
    rotation: Array = field(default_factory=lambda: np.zeros((0, 3), np.float32))  # [T, 3] degrees
    translation: Array = field(default_factory=lambda: np.zeros((0, 3), np.float32))  # [T, 3] cm
    torso: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))  # [T, 4] of `motion.torso`
    at_camera: bool = field(default=False, kw_only=True)  # the eyes of a photo that looks past the camera come to it

    def __post_init__(self) -> None:
        check_shape("times", self.times, None)
        count = len(self.times)
        for name, size in (("rotation", 3), ("translation", 3), ("torso", 4)):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros((count, size), np.float32))
            check_shape(name, getattr(self, name), count, size)
        check_shape("blendshapes", self.blendshapes, count, len(BLENDSHAPES))
        check_shape("lip_modes", self.lip_modes, count, LIP_MODES)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def drivers(self) -> Array:
        """[T, 32]: the 24 driving units, then the 8 lip modes."""
        return np.concatenate([self.blendshapes[:, list(DRIVING_UNITS)], self.lip_modes], 1).astype(np.float32)


def is_sentence(line: object) -> bool:
    """Whether it can be shown on a terminal, whoever wrote it."""
    return isinstance(line, str) and line.isprintable() and len(line) <= LONGEST_ADVICE


def as_tensor(array: Array) -> Tensor:
    """A float32 tensor on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
