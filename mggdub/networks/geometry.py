"""What a head crop is made of: depth, normals, classes and matte, by one small network (GeoWizard's place).

A convolutional U-Net sees the crop at 192²; a light head then sharpens its matte on the full 512² picture,
where hair is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from mggdub.geometry.sampling import smoothstep
from mggdub.networks.unet import decode, encode
from mggdub.types import BACKGROUND, CLOTHES, EYES, MOUTH, SKIN, Array, GeometryMaps, Portrait
from mggdub.weights import load, network

MAPS_SIZE = 256
MATTE_GAIN = 1.5  # clears haze: mean error on held-out real faces 0.053 instead of 0.069, edges the same
# What opens in a face: class, landmarks of its left and right corner, of its upper and lower edge.
OPENINGS = ((EYES, 33, 133, 159, 145), (EYES, 362, 263, 386, 374), (MOUTH, 78, 308, 13, 14))
DEPTH_UNIT = 5.0  # cm for an output of 1


def clothes_share(labels: Array) -> Array:
    """[512, 512] float32: how much of the person at each crop pixel is clothes; labels [256, 256, 6]."""
    person = np.maximum(1 - labels[..., BACKGROUND], 1e-3)
    return ndimage.zoom(np.clip(labels[..., CLOTHES] / person, 0, 1), 2, order=1).astype(np.float32)


def torso_matte(landmarks: Array, clothes: Array, matte: Array, cm_per_px: float) -> Array:
    """[512, 512] 0..1: what belongs to the torso: clothes, and everything of the person well below the chin.

    landmarks [478, >=2] px; clothes [512, 512] their share of the person, matte [512, 512] of the person.
    """
    below = (np.arange(len(matte))[:, None] + 0.5 - landmarks[152, 1]) * cm_per_px  # cm below the chin
    return (matte * np.maximum(clothes * smoothstep(below + 1), smoothstep(below / 3 - 0.5))).astype(np.float32)


@dataclass(frozen=True)
class GeometryConfig:
    """Sizes of the network."""

    input_size: int = 192  # px, what the U-Net sees
    widths: tuple[int, ...] = (24, 40, 80, 128, 160)  # channels at 1/2, 1/4 ... 1/32 of it
    blocks: tuple[int, ...] = (0, 1, 2, 2, 1)  # residual blocks per level of the encoder
    classes: int = 6
    edge_width: int = 16  # channels of the matte's fine head
    edge_features: int = 8  # what the U-Net tells it


class GeometryOutput(NamedTuple):
    """At the input's size S, all linear: depth [B, 1, S, S] cm, normals [B, 3, S, S], class logits
    [B, 6, S, S], matte logits [B, 1, S, S]; features [B, F, S/2, S/2] for the fine matte.
    """

    depth: Tensor
    normals: Tensor
    labels: Tensor
    matte: Tensor
    features: Tensor


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Block(nn.Module):
    """Two convolutions around an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return F.relu(x + self.second(self.first(x)))


class GeometryNet(nn.Module):
    """Crop to depth, normals, classes and matte."""

    def __init__(self, config: GeometryConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeometryConfig()
        widths = config.widths
        self.stem = _conv(3 * 4 + 2, widths[0])  # 2 × 2 pixels and where they lie
        self.down = nn.ModuleList(
            nn.Sequential(_conv(a, b, 3, 2), *(Block(b) for _ in range(n)))
            for a, b, n in zip(widths[:-1], widths[1:], config.blocks[1:], strict=True)
        )
        pairs = list(zip(widths[-1:0:-1], widths[-2::-1], strict=True))  # (deep, shallow), deepest first
        self.merge = nn.ModuleList(_conv(deep + shallow, shallow, 1) for deep, shallow in pairs)
        self.up = nn.ModuleList(_conv(shallow, shallow) for _, shallow in pairs)
        self.outputs = nn.Conv2d(widths[0], 4 * (1 + 3 + config.classes + 1), 1)  # 2 × 2 pixels each
        self.tell = nn.Conv2d(widths[0], config.edge_features, 1)
        self.edge = nn.Sequential(
            _conv(3 * 4 + 1 + config.edge_features, config.edge_width),
            _conv(config.edge_width, config.edge_width),
            nn.Conv2d(config.edge_width, 4, 3, padding=1),
        )

    def forward(self, image: Tensor) -> GeometryOutput:
        """Image [B, 3, S, S] in 0..1, S a multiple of 32."""
        *levels, deepest = encode(self.stem(_with_place(F.pixel_unshuffle(image * 2 - 1, 2))), self.down)
        x = decode(deepest, levels, self.merge, self.up)
        raw = F.pixel_shuffle(self.outputs(x), 2).float()
        depth, normals, labels, matte = raw.split([1, 3, self.config.classes, 1], 1)
        return GeometryOutput(depth * DEPTH_UNIT, F.normalize(normals, dim=1, eps=1e-4), labels, matte, self.tell(x))

    def fine_matte(self, image: Tensor, matte: Tensor, features: Tensor) -> Tensor:
        """Matte logits [B, 1, H, H] for the picture [B, 3, H, H] from coarse logits and features of the same area."""
        half = (image.shape[2] // 2, image.shape[3] // 2)
        coarse_inputs = [
            F.interpolate(x.float(), half, mode="bilinear", align_corners=False) for x in (matte, features)
        ]
        change = self.edge(
            torch.cat([F.pixel_unshuffle(image * 2 - 1, 2), coarse_inputs[0].clamp(-6, 6), coarse_inputs[1]], 1)
        ).float()
        coarse = F.interpolate(matte, image.shape[2:], mode="bilinear", align_corners=False)
        return coarse + F.pixel_shuffle(change, 2)


def _with_place(x: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype, device=x.device)
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    return torch.cat([x, place.expand(x.shape[0], -1, -1, -1)], 1)


def load_geometry() -> GeometryNet:
    """The shipped network. Raises InputError if its weights are missing or damaged."""
    net = network(GeometryNet, load("geometry")[0], "geometry")
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@torch.inference_mode()
def estimate_geometry(net: GeometryNet, portrait: Portrait) -> GeometryMaps:
    """The maps of a portrait's crop."""
    picture = torch.from_numpy(np.array(portrait.image)).permute(2, 0, 1)[None].float() / 255  # [1, 3, 512, 512]
    size = net.config.input_size
    small = F.interpolate(picture, (size, size), mode="bilinear", antialias=True)
    output = net(small)
    matte = full_matte(net, picture, output)
    depth, normals, logits = (
        F.interpolate(x, (MAPS_SIZE, MAPS_SIZE), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).contiguous()
        for x in (output.depth, output.normals, output.labels)
    )
    return GeometryMaps(
        depth[..., 0].numpy(),
        F.normalize(normals, dim=-1).numpy(),
        _eyes_and_mouth(logits.softmax(-1).numpy(), portrait.landmarks * (MAPS_SIZE / portrait.crop.size)),
        matte[0, 0].numpy(),
    )


def full_matte(net: GeometryNet, picture: Tensor, output: GeometryOutput) -> Tensor:
    """Matte [B, 1, H, H] in 0..1: the mean of the coarse and the fine logits, steeper."""
    fine = net.fine_matte(picture, output.matte, output.features)
    coarse = F.interpolate(output.matte, picture.shape[2:], mode="bilinear", align_corners=False)
    return (MATTE_GAIN * (fine + coarse) / 2).sigmoid()


def _eyes_and_mouth(labels: Array, landmarks: Array) -> Array:
    """The network finds eyes and mouths too wide and takes one for the other; the landmarks know where they are."""
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]] + 0.5
    both = labels[..., EYES] + labels[..., MOUTH]
    corrected = labels.copy()
    corrected[..., [EYES, MOUTH]] = 0
    for kind, left, right, top, bottom in OPENINGS:
        corners, lids = landmarks[[left, right], :2], landmarks[[top, bottom], :2]
        x, y = (corners.mean(0) + lids.mean(0)) / 2
        width = np.linalg.norm(corners[1] - corners[0]) / 2 + 1
        height = np.linalg.norm(lids[1] - lids[0]) / 2 + 1
        inside = np.hypot((columns - x) / width, (rows - y) / height) < 1
        corrected[..., kind] = np.where(inside, both, corrected[..., kind])
    corrected[..., SKIN] += both - corrected[..., EYES] - corrected[..., MOUTH]
    return corrected
