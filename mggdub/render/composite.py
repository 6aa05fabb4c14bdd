"""The head over its plate, and the plate back into the photo."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mggdub.types import Array


def composite(colors: Array, alphas: Array, plate: Array, picture: Array, left: int, top: int) -> Array:
    """One frame at the picture's own size.

    colors [h, w, 3] premultiplied and alphas [h, w], float32, as rendered; plate [H', W', 3] float32 0..1, the box of
    the picture the head may cover, in picture px (the rendering is scaled to it if it is smaller); picture [H, W, 3]
    uint8; left, top of the box. Returns [H, W, 3] uint8; pixels the head does not touch keep their bytes.
    """
    height, width = plate.shape[:2]
    if alphas.shape != (height, width):
        small = torch.from_numpy(np.dstack([colors, alphas])).permute(2, 0, 1)[None]
        large = functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)
        both = large[0].permute(1, 2, 0).clamp_(0, 1).numpy()
        colors, alphas = both[..., :3], both[..., 3]
    frame = picture.copy()
    mixed = (plate * (1 - alphas[..., None]) + colors) * 255 + 0.5
    frame[top : top + height, left : left + width] = np.clip(mixed, 0, 255).astype(np.uint8)
    return frame


def foreground(image: Array, matte: Array, background: Array) -> Array:
    """The head's own colour where hair is half transparent: solves image = matte * F + (1 - matte) * background.

    image, background [H, W, 3] float32 0..1, matte [H, W] -> [H, W, 3] float32.
    """
    alpha = np.clip(matte, 0.1, 1.0)[..., None]
    return np.clip((image - (1 - alpha) * background) / alpha, 0.0, 1.0).astype(np.float32)
