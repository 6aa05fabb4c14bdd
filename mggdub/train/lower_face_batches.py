"""Batches for the lower face's network: windows that were drawn and true ones, varied, on a device.

What is true is laid over what was drawn, so that nothing is paid for where lips are: that is the tracker's matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.networks.lower_face import SIZE
from mggdub.train.common import held_out
from mggdub.types import LUMA, Array

LIGHT, TINT = (0.75, 1.25), (0.92, 1.08)  # factors of what is seen
TILT, SIZES, SHIFT = 6.0, (0.92, 1.1), 3.0  # degrees, factors and px by which a window is laid otherwise
FLOW_MOST, FLOW_SMOOTH, FLOW_ROUNDS, FLOW_FLAT = 2.0, 5.0, 4, 4e-4  # px, px, and of luminance's squared slope


class Windows(NamedTuple):
    """A batch: inputs [B, 13, S, S], the whole picture and the true one [B, 3, S, S]."""

    inputs: Tensor
    whole: Tensor
    true: Tensor

    @property
    def lips(self) -> Tensor:
        """[B, 1, S, S]: the lips and what is between them."""
        return self.inputs[:, 7:8]

    @property
    def inside(self) -> Tensor:
        """[B, 1, S, S]: what is between the lips."""
        return self.inputs[:, 8:9]

    def changed(self, change: Tensor) -> Tensor:
        """The whole picture with a change of the head's colours in it."""
        return (self.whole + change * self.inputs[:, 3:4]).clamp(0, 1)

    def judged(self, picture: Tensor, inside: bool) -> Tensor:
        """A picture, with the drawn mouth between its lips unless that is judged, too."""
        return picture if inside else picture + (self.whole - picture) * self.inside


@dataclass(frozen=True, eq=False)
class Data:
    """All avatars of DATA by person."""

    avatars: dict[str, list[dict[str, Array]]]

    @classmethod
    def read(cls, folders: list[Path]) -> Data:
        """What `lower_face_data` put into some folders."""
        found: dict[str, list[dict[str, Array]]] = {}
        for path in sorted(path for folder in folders for path in folder.glob("*.npz")):
            with np.load(path) as file:
                found.setdefault(str(file["identity"]), []).append({n: file[n] for n in file.files if n != "identity"})
        return cls(found)

    def part(self, held: bool) -> Data:
        """The people who are held out, or the others."""
        return Data({name: avatars for name, avatars in self.avatars.items() if held_out(name) is held})


@dataclass(frozen=True, eq=False)
class Bank:
    """All windows of some people on a device, what is true laid over what was drawn."""

    windows: Windows  # inputs as float16, pictures as uint8
    people: tuple[tuple[tuple[int, int], ...], ...]  # of each, of each of his avatars, the first window and one past it

    @classmethod
    def of(cls, data: Data, device: str) -> Bank:
        """Everything is kept there: a thousand windows take 0.4 GB."""
        parts: list[Windows] = []
        people, count = [], 0
        for avatars in data.avatars.values():
            spans = []
            for avatar in avatars:
                frames = len(avatar["true"])
                batch = Windows(*(x.to(device) for x in windows_of([(avatar, k) for k in range(frames)])))
                batch = batch._replace(true=laid_over(batch))
                parts.append(Windows(batch.inputs.half(), *(_bytes_of(x) for x in (batch.whole, batch.true))))
                spans.append((count, count + frames))
                count += frames
            people.append(tuple(spans))
        return cls(Windows(*(torch.cat(list(all_)) for all_ in zip(*parts, strict=True))), tuple(people))

    def batch(self, step: int, size: int) -> Windows:
        """The windows of a step: a person each, one of his avatars, one of its frames; varied."""
        rng = np.random.default_rng([11, step])
        rows = []
        for who in rng.choice(len(self.people), size, replace=len(self.people) < size).tolist():
            spans = self.people[who]
            rows.append(int(rng.integers(*spans[int(rng.integers(len(spans)))])))
        return varied(self.take(rows), rng)

    def take(self, rows: list[int]) -> Windows:
        """Some windows, as float32."""
        at = torch.tensor(rows, device=self.windows.inputs.device)
        inputs, whole, true = (x[at].float() for x in self.windows)
        return Windows(inputs, whole / 255, true / 255)


def _bytes_of(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round().byte()


def blurred(x: Tensor, sigma: float) -> Tensor:
    """[B, C, H, W] by a Gaussian, edges going on."""
    reach = math.ceil(2.5 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / sigma) ** 2)
    kernel = (line / line.sum()).to(x)[None, None, None].expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), kernel, groups=x.shape[1])
    kernel = kernel.transpose(2, 3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), kernel, groups=x.shape[1])


def moved(picture: Tensor, flow: Tensor) -> Tensor:
    """[B, C, H, W] looked up `flow` [B, 2, H, W] px further right and down."""
    height, width = picture.shape[2:]
    rows, columns = torch.meshgrid(*(torch.arange(n, device=flow.device) + 0.5 for n in (height, width)), indexing="ij")
    x, y = (columns + flow[:, 0]) * (2 / width) - 1, (rows + flow[:, 1]) * (2 / height) - 1
    return F.grid_sample(picture, torch.stack([x, y], -1), padding_mode="border", align_corners=False)


@torch.no_grad()
def laid_over(batch: Windows) -> Tensor:
    """[B, 3, S, S]: what is true, laid over what was drawn by a smooth flow (Lucas and Kanade 1981)."""
    light = torch.tensor(LUMA, device=batch.true.device).view(1, 3, 1, 1)
    inside, *grays = (F.avg_pool2d(x, 2) for x in (batch.inside, *((p * light).sum(1, True) for p in batch[1:])))
    aim, true = (gray - blurred(gray, FLOW_SMOOTH) for gray in grays)
    trust, flow = 1 - F.max_pool2d(inside, 3, 1, 1), torch.zeros_like(true).expand(-1, 2, -1, -1)
    for _ in range(FLOW_ROUNDS):
        warped = moved(true, flow)
        across, down = (torch.gradient(warped, dim=axis)[0] for axis in (3, 2))
        products = [across * across, across * down, down * down, across * (aim - warped), down * (aim - warped)]
        xx, xy, yy, xd, yd = blurred(torch.cat(products, 1) * trust, FLOW_SMOOTH / 2).unbind(1)
        xx, yy = xx + FLOW_FLAT, yy + FLOW_FLAT
        area = xx * yy - xy * xy
        flow = flow + torch.stack([(yy * xd - xy * yd) / area, (xx * yd - xy * xd) / area], 1)
        flow = blurred(flow.clamp(-FLOW_MOST / 2, FLOW_MOST / 2), 1.0)
    return moved(batch.true, 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear"))


def windows_of(rows: list[tuple[dict[str, Array], int]]) -> Windows:
    """A batch of frames, (avatar, number of its frame) each."""
    inputs = np.stack([np.concatenate([a["drawn"][k], a["photo"]]) for a, k in rows]).astype(np.float32)
    pictures = [np.stack([a[name][k] for a, k in rows]).astype(np.float32) / 255 for name in ("whole", "true")]
    whole, true = (torch.from_numpy(np.ascontiguousarray(p.transpose(0, 3, 1, 2))) for p in pictures)
    return Windows(torch.from_numpy(inputs), whole, true)


def varied(batch: Windows, rng: np.random.Generator) -> Windows:
    """In other light, laid a little otherwise, and half of them as in a mirror."""
    count, device = len(batch.inputs), batch.inputs.device
    light, tint = rng.uniform(*LIGHT, (count, 1, 1, 1)), rng.uniform(*TINT, (count, 3, 1, 1))
    sharp = rng.random(count) < 0.5  # as sharp as they are
    tilt, size = np.radians(rng.uniform(-TILT, TILT, count)) * ~sharp, np.where(sharp, 1, rng.uniform(*SIZES, count))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    turn = np.stack([np.cos(tilt) * mirror, -np.sin(tilt), np.sin(tilt) * mirror, np.cos(tilt)], 1).reshape(-1, 2, 2)
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2, 1)) * 2 / SIZE * ~sharp[:, None, None]
    gain, there, back = (
        torch.from_numpy(x.astype(np.float32)).to(device)
        for x in (light * tint, np.concatenate([turn / size[:, None, None], shift], 2), turn * size[:, None, None])
    )
    inputs = batch.inputs.clone()
    inputs[:, :3] = torch.minimum(inputs[:, :3] * gain, inputs[:, 3:4])
    inputs[:, 9:12] = (inputs[:, 9:12] * gain).clamp(0, 1)
    pictures = torch.cat([inputs, (batch.whole * gain).clamp(0, 1), (batch.true * gain).clamp(0, 1)], 1)
    grid = F.affine_grid(there, list(pictures.shape), align_corners=False)
    pictures = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    inputs, whole, true = pictures.split([batch.inputs.shape[1], 3, 3], 1)
    inputs = inputs.clone()
    inputs[:, 4:6] = torch.einsum("bji,bjhw->bihw", back, inputs[:, 4:6])
    return Windows(inputs, whole, true)
