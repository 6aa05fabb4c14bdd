"""Batches of the geometry network: packs of rendered and of real heads, backgrounds, and their alterations."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mggdub.geometry.sampling import push_pull
from mggdub.train.common import held_out
from mggdub.train.geometry_data import MARGIN, OUTSIDE, UNSURE
from mggdub.types import CLOTHES, HAIR, Array

SYNTH_BATCH, REAL_BATCH = 10, 6
# The last part also trains the matte's fine head, on windows of the 512² picture.
FINE_SHARE, FINE_SIZE = 0.5, 256
BACKGROUNDS = 600
DYED, PRINTED = {CLOTHES: 0.6, HAIR: 0.4}, 0.3  # shares of clothes and hair in other colours, of clothes with prints
LEAST_DYED, FLOOR, MOST_GAIN = 30, 0.03, 5.0  # px; of colours, below which there is none; of a colour at most


@dataclass(frozen=True, eq=False)
class Pack:
    """Memory-mapped arrays of one kind, the rows to train on, those held out, and their weights."""

    arrays: dict[str, Array]
    train: Array
    held: Array
    weights: Array  # of `train`, sum 1


@dataclass(frozen=True, eq=False)
class Batch:
    """B pictures [B, 3, S, S] and their targets, real ones last; geometry is zero where it is unknown."""

    image: Tensor
    alpha: Tensor  # [B, 1, S, S]
    label: Tensor  # [B, S, S] int64
    depth: Tensor  # [B, 1, S, S] cm
    normal: Tensor  # [B, 3, S, S]
    points: Tensor  # [B, 478, 3]: x, y in -1..1 of the picture, depth cm
    fine_image: Tensor  # [B', 3, 256, 256], windows of the real pictures at 512²
    fine_alpha: Tensor  # [B', 1, 256, 256]
    window: tuple[float, float]  # left, top of the window, 0..0.5 of the picture
    exact: int  # pictures, from the first on, whose depth and normals are known
    real: int  # pictures, to the last, whose points are


def open_pack(folder: Path, real: bool) -> Pack:
    """Read a pack; rows are split by head or by identity, and real people weigh the same however many frames."""
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    if real:
        names = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
    else:
        names = [f"head {number}" for number in arrays["head"]]
    _, people = np.unique(names, return_inverse=True)
    held = np.array([held_out(name) for name in names])
    train = np.flatnonzero(~held)
    share = 1 / np.bincount(people)[people[train]]
    return Pack(arrays, train, np.flatnonzero(held), share / share.sum())


def background_bank(real: Pack | None, photos: list[Path], size: int) -> Array:
    """[BACKGROUNDS, size, size, 3] uint8: cut-outs of photos, made-up clutter, rooms behind real people."""
    rng = np.random.default_rng(7)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
    bank = np.zeros((BACKGROUNDS, size, size, 3), np.uint8)
    for i in range(BACKGROUNDS):
        kind = i % 3
        if kind == 0 and pictures:
            picture = pictures[rng.integers(len(pictures))]
            side = int(min(picture.shape[:2]) * rng.uniform(0.15, 0.8))
            top, left = (rng.integers(n - side + 1) for n in picture.shape[:2])
            part = Image.fromarray(picture[top : top + side, left : left + side])
        elif kind == 1 and real is not None:
            row = rng.choice(real.train, p=real.weights)
            image, alpha = real.arrays["image"][row, ::2, ::2], real.arrays["alpha"][row, ::2, ::2]
            part = Image.fromarray((push_pull(image.astype(np.float32) / 255, alpha < 5) * 255).astype(np.uint8))
        else:
            part = Image.fromarray(_clutter(rng, size))
        bank[i] = np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))
    return bank


def _clutter(rng: np.random.Generator, size: int) -> Array:
    """Overlapping boxes, discs and stripes in a few colours, often dark."""
    level = rng.uniform(0.02, 0.3) if rng.random() < 0.5 else rng.uniform(0.2, 0.9)
    rows, columns = np.mgrid[:size, :size] / size
    image = np.ones((size, size, 3)) * level * np.exp(rng.normal(0, 0.2, 3))
    for _ in range(rng.integers(3, 40)):
        colour = np.clip(level * np.exp(rng.normal(0, 0.6)) * np.exp(rng.normal(0, 0.25, 3)), 0, 1)
        x, y = rng.uniform(-0.1, 1.1, 2)
        w, h = np.exp(rng.normal(-2, 0.8, 2))
        u, v = (columns - x) / w, (rows - y) / h
        shape = rng.random()
        mask = (np.abs(u) < 1) & (np.abs(v) < 1) if shape < 0.6 else u * u + v * v < 1
        mask &= (np.sin(u * rng.uniform(4, 20)) > 0) if shape > 0.85 else True
        image[mask] = colour
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def make_batch(synth: Pack | None, real: Pack | None, bank: Array, step: int, size: int, fine: bool) -> Batch:
    """The training batch of a step; the step is its seed. Without synthetic heads it has as many real ones more."""
    rng = np.random.default_rng([11, step])
    rows = rng.choice(synth.train, SYNTH_BATCH, p=synth.weights) if synth else np.zeros(0, int)
    many = REAL_BATCH if synth else SYNTH_BATCH + REAL_BATCH
    real_rows = rng.choice(real.train, many, p=real.weights) if real else np.zeros(0, int)
    matrices = jitter(rng, len(rows) + len(real_rows))
    parts = [_synthetic(rng, synth, rows, bank, matrices[: len(rows)], size)] if synth else []
    if real:
        parts.append(_real(rng, real, real_rows, bank, matrices[len(rows) :], size, fine))
    image, alpha, label, depth, normal, points = (
        torch.cat(values) for values in zip(*(p[0] for p in parts), strict=True)
    )
    fine_image, fine_alpha, window = parts[-1][1] if real else (image[:0], alpha[:0], (0.0, 0.0))
    image, tones = photometric(rng, image.clamp(0, 1))
    if len(fine_image):
        fine_image = tone_curve(fine_image, *(t[-len(fine_image) :] for t in tones))
    counts = (len(rows), len(real_rows))
    return Batch(image, alpha, label, depth, normal, points, fine_image, fine_alpha, window, *counts)


Part = tuple[
    tuple[Tensor, ...], tuple[Tensor, Tensor, tuple[float, float]]
]  # fields of Batch up to points, and the rest


def _synthetic(rng: np.random.Generator, pack: Pack, rows: Array, bank: Array, matrices: Tensor, size: int) -> Part:
    at = F.affine_grid(matrices, [len(rows), 1, size, size], align_corners=False)
    image, alpha = pictures(pack, rows, "image", at), pictures(pack, rows, "alpha", at)
    label = nearest(pack.arrays["label"][rows][:, None], at)[:, 0].long()
    depth = nearest(pack.arrays["depth"][rows][:, None], at)
    normal = turn(nearest(pack.arrays["normal_xy"][rows], at) / 127, matrices)
    normal = normal * ((label > 0) & (label < UNSURE))[:, None]
    image = _replace(rng, image, image, alpha, bank, size, 0.5)
    points = torch.zeros(len(rows), 478, 3)
    return (image, alpha, label, depth, normal, points), (image[:0], alpha[:0], (0.0, 0.0))


def _real(
    rng: np.random.Generator, pack: Pack, rows: Array, bank: Array, matrices: Tensor, size: int, fine: bool
) -> Part:
    at, count = F.affine_grid(matrices, [len(rows), 1, size, size], align_corners=False), len(rows)
    image, clean, alpha = (pictures(pack, rows, name, at) for name in ("image", "clean", "alpha"))
    picks = rng.integers(len(bank), size=count)
    swap = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None].float()
    tone = torch.from_numpy(np.exp(rng.normal(0, 0.3, (count, 1, 1, 1)))).float()
    behind = _bytes(bank[picks]) * tone
    parts = torch.stack([parts_at(pack, rows, kind, at) for kind in DYED], 1)
    gains, dyed = dyes(rng, clean, behind, parts * alpha)
    swap = torch.where(dyed, 1, swap)  # what shines through hair keeps its colour
    fine_image, fine_alpha, window = image[:0], alpha[:0], (0.0, 0.0)
    if fine:
        window = tuple(rng.integers(0, 2 * FINE_SIZE // 2 // 8 + 1, 2) * 8 / (2 * FINE_SIZE))
        fine_image, fine_alpha = _fine(pack, rows, matrices, window, behind, swap, gains)
    behind = F.interpolate(behind, (size, size), mode="bilinear", align_corners=False).clamp(0, 1)
    image = image * (1 - swap) + (dye(clean, parts, gains) * alpha + behind * (1 - alpha)) * swap
    label = nearest(pack.arrays["label"][rows][:, None], at, OUTSIDE)[:, 0].long()
    unknown = torch.zeros(count, 4, size, size)
    points = move_points(pack.arrays["points"][rows], matrices)
    return (image, alpha, label, unknown[:, :1], unknown[:, 1:], points), (fine_image, fine_alpha, window)


def parts_at(pack: Pack, rows: Array, kind: int, grid: Tensor) -> Tensor:
    """[B, S, S] float32 0..1: where in the pictures `rows` a part of `nearest_part` lies."""
    mask = torch.from_numpy((pack.arrays["part"][rows] == kind).astype(np.float32))[:, None]
    return F.grid_sample(mask, grid, padding_mode="border", align_corners=False)[:, 0]


def dyes(rng: np.random.Generator, image: Tensor, behind: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Other colours for the clothes and the hair of pictures [B, 3, S, S], so that neither is known by its colour.

    parts [B, P, S, S] 0..1 of DYED; behind [B, 3, S', S'] the new backgrounds. A third of the colours are those of
    another part, or of the background. Returns gains [B, P, 3, 16, 16] and [B, 1, 1, 1] bool, what is dyed at all.
    """
    area = parts.sum((2, 3))
    means = torch.einsum("bpij,bcij->bpc", parts, image) / area.clamp_min(1)[..., None]
    count, kinds = area.shape
    gains, dyed = torch.ones(count, kinds, 3, 16, 16), torch.zeros(count, dtype=torch.bool)
    for i in range(count):
        for k, (kind, share) in enumerate(DYED.items()):
            if rng.random() >= share or area[i, k] < LEAST_DYED:
                continue
            others = [means[i, 1 - k], behind[i].mean((1, 2)), image[i].mean((1, 2))]
            color = others[rng.integers(3)] if rng.random() < 1 / 3 else _color(rng, kind)
            gain = ((color + FLOOR) / (means[i, k] + FLOOR)).clamp(1 / MOST_GAIN, MOST_GAIN)
            print_ = rng.normal(0, 0.35, (3, 16, 16)) if kind == CLOTHES and rng.random() < PRINTED else 0.0
            gains[i, k] = gain[:, None, None] * torch.exp(torch.as_tensor(print_, dtype=torch.float32))
            dyed[i] = True
    return gains, dyed[:, None, None, None]


def _color(rng: np.random.Generator, kind: int) -> Tensor:
    """[3] 0..1: of clothes any, often dark or white; of hair from black by brown, red and fair to white."""
    if kind == HAIR:
        level = rng.uniform(0.04, 0.85)
        warmth = rng.uniform(0, 0.45) * (1 - abs(2 * level - 0.9)) * (rng.random() < 0.7)
        return torch.tensor([level, level * (1 - warmth), level * (1 - 1.7 * warmth)]).float().clamp(0, 1)
    level = rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.1, 0.8), rng.uniform(0.75, 1.0)])
    tint = rng.uniform(0, 1) * (rng.random(3) - 0.5)
    return torch.from_numpy(level * (1 + tint)).float().clamp(0, 1)


def dye(image: Tensor, parts: Tensor, gains: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] with gains [B, P, 3, 16, 16] of `dyes` where parts [B, P, H, W] lie."""
    for k in range(parts.shape[1]):
        gain = F.interpolate(gains[:, k], image.shape[2:], mode="bilinear", align_corners=False)
        dyed = ((image + FLOOR) * gain - FLOOR).clamp(0, 1)
        image = image + (dyed - image) * parts[:, k : k + 1]
    return image


def jitter(rng: np.random.Generator, count: int) -> Tensor:
    """Affine matrices [B, 2, 3], picture to canvas in -1..1: turned, scaled, shifted, half of them mirrored."""
    angle = np.radians(np.clip(rng.normal(0, 7, count), -20, 20))
    scale = np.exp(rng.normal(0, 0.06, count)) / MARGIN
    flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    shift = rng.normal(0, 0.035, (count, 2))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.stack([np.stack([cos * flip, -sin, shift[:, 0]], 1), np.stack([sin * flip, cos, shift[:, 1]], 1)], 1)
    return torch.from_numpy(matrix).float()


def turn(normal_xy: Tensor, matrices: Tensor) -> Tensor:
    """Normals [B, 3, S, S] in the jittered picture from canvas x and y [B, 2, S, S]."""
    linear = matrices[:, :, :2] / torch.linalg.vector_norm(matrices[:, :, 1:2], dim=1, keepdim=True)
    xy = torch.einsum("bji,bjhw->bihw", linear, normal_xy)  # the inverse of a rotation is its transpose
    return torch.cat([xy, -(1 - xy.square().sum(1, keepdim=True)).clamp_min(0).sqrt()], 1)


def move_points(points: Array, matrices: Tensor) -> Tensor:
    """Canvas points [B, L, 3] (0..1, cm) in the jittered picture (-1..1, cm)."""
    xy = torch.from_numpy(np.array(points[..., :2])) * 2 - 1
    inverse = torch.linalg.inv(matrices[:, :, :2])
    moved = (xy - matrices[:, None, :, 2]) @ inverse.transpose(1, 2)
    return torch.cat([moved, torch.from_numpy(np.array(points[..., 2:]))], -1)


def _bytes(array: Array) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).float() / 255
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor[:, None]


def pictures(pack: Pack, rows: Array, name: str, grid: Tensor) -> Tensor:
    return F.grid_sample(_bytes(pack.arrays[name][rows]), grid, padding_mode="reflection", align_corners=False)


def nearest(array: Array, grid: Tensor, beyond: int = 0) -> Tensor:
    """Maps [B, C, H, W] at the grid; `beyond` outside."""
    values = torch.from_numpy(array.astype(np.float32)) - beyond
    return F.grid_sample(values, grid, mode="nearest", align_corners=False) + beyond


def _replace(
    rng: np.random.Generator, image: Tensor, clean: Tensor, alpha: Tensor, bank: Array, size: int, share: float
) -> Tensor:
    """Other backgrounds behind a share of the pictures."""
    behind = _bytes(bank[rng.integers(len(bank), size=len(image))])
    tone = torch.from_numpy(np.exp(rng.normal(0, 0.3, (len(image), 1, 1, 1)))).float()
    behind = F.interpolate(behind * tone, (size, size), mode="bilinear", align_corners=False).clamp(0, 1)
    swap = torch.from_numpy(rng.random(len(image)) < share)[:, None, None, None].float()
    return image * (1 - swap) + (clean * alpha + behind * (1 - alpha)) * swap


def _fine(
    real: Pack,
    rows: Array,
    matrices: Tensor,
    window: tuple[float, float],
    behind: Tensor,
    swap: Tensor,
    gains: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same window of each real picture and matte at full sharpness."""
    linear, centre = matrices[:, :, :2], torch.tensor([2 * window[0] - 0.5, 2 * window[1] - 0.5], dtype=torch.float32)
    part = torch.cat([linear * 0.5, linear @ centre[:, None] + matrices[:, :, 2:]], 2)
    grid = F.affine_grid(part, [len(rows), 1, FINE_SIZE, FINE_SIZE], align_corners=False)
    own, clean, alpha = (pictures(real, rows, f"fine_{name}", grid) for name in ("image", "clean", "alpha"))
    clean = dye(clean, torch.stack([parts_at(real, rows, kind, grid) for kind in DYED], 1), _part_of(gains, window))
    wide = F.interpolate(behind, (2 * FINE_SIZE, 2 * FINE_SIZE), mode="bilinear", align_corners=False).clamp(0, 1)
    left, top = (round(w * 2 * FINE_SIZE) for w in window)
    wide = wide[:, :, top : top + FINE_SIZE, left : left + FINE_SIZE]
    return own * (1 - swap) + (clean * alpha + wide * (1 - alpha)) * swap, alpha


def _part_of(gains: Tensor, window: tuple[float, float]) -> Tensor:
    """The gains [B, P, 3, 16, 16] of the half of a picture whose left and top edge `window` tells, 0..0.5."""
    wide = F.interpolate(gains.flatten(0, 1), (64, 64), mode="bilinear", align_corners=False)
    left, top = (round(edge * 64) for edge in window)
    return F.interpolate(wide[:, :, top : top + 32, left : left + 32], (16, 16), mode="area").reshape(gains.shape)


def photometric(rng: np.random.Generator, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Exposure, contrast, colour cast, saturation, lamp gradients, softness, grain, JPEG; and the tone curves."""
    count, size = len(image), image.shape[2]

    def draw(sd: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.normal(0, sd, (count, channels, 1, 1))).float()

    tones = (draw(0.25).exp() * draw(0.07, 3).exp(), draw(0.25).exp(), draw(0.3).exp().clamp(0, 1.6))
    grey = torch.from_numpy(rng.random((count, 1, 1, 1)) < 0.05).float()
    tones = (*tones[:2], tones[2] * (1 - grey))
    image = tone_curve(image, *tones)
    rows = torch.linspace(-1, 1, size)
    lamp = 1 + draw(0.15) * rows[:, None] + draw(0.15) * rows
    image = image * lamp.clamp(0.4, 1.8)
    for i in range(count):
        if rng.random() < 0.35:
            small = int(size * rng.uniform(0.3, 0.8))
            soft = F.interpolate(image[i : i + 1], (small, small), mode="bilinear", antialias=True)
            image[i : i + 1] = F.interpolate(soft, (size, size), mode="bilinear", align_corners=False)
        if rng.random() < 0.3:
            grain = torch.from_numpy(rng.standard_normal((3, size, size), dtype=np.float32))
            image[i] += grain * rng.uniform(0.005, 0.06)
        if rng.random() < 0.3:
            image[i] = _jpeg(image[i], int(rng.integers(20, 80)))
    return image.clamp(0, 1), tones


def tone_curve(image: Tensor, gain: Tensor, gamma: Tensor, saturation: Tensor) -> Tensor:
    """Colour gain, gamma and saturation of pictures [B, 3, S, S]."""
    mean = image.mean(1, keepdim=True)
    return ((mean + (image - mean) * saturation).clamp(1e-4, 1) ** gamma * gain).clamp(0, 1)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray((image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255
