"""The plate: body and background as they would look without the moving head.

A gentle head uncovers a thin band only, so the fill is classical: push-pull pyramids, one for the background
and one for the body, joined where the neck rises behind the jaw.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from mggdub.types import Array


def push_pull(image: Array, known: Array) -> Array:
    """Fill where `known` is 0 from ever coarser averages of what is known.

    image [H, W, C] float32, known [H, W] float32 weights 0..1 -> [H, W, C] float32; known pixels stay.
    Without any known pixel the picture is returned as it is. After Gortler et al., The Lumigraph, 1996.
    """
    if not known.any():
        return image.astype(np.float32)
    weight = torch.from_numpy(np.ascontiguousarray(known, np.float32))[None, None]
    colour = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None] * weight
    return _fill(colour, weight)[0].permute(1, 2, 0).contiguous().numpy()


def _fill(colour: Tensor, weight: Tensor) -> Tensor:
    """Premultiplied colours and weights to full colours."""
    height, width = weight.shape[-2:]
    if height == 1 and width == 1:
        return colour / weight.clamp_min(1e-6)
    padding = (0, width % 2, 0, height % 2)
    down_colour = functional.avg_pool2d(functional.pad(colour, padding), 2)
    down_weight = functional.avg_pool2d(functional.pad(weight, padding), 2)
    gain = down_weight.clamp(1e-6, 0.25) * 4 / down_weight.clamp_min(1e-6)  # a quarter known counts as known
    coarse = _fill(down_colour * gain, down_weight * gain)
    smooth = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return colour + (1 - weight) * smooth[..., :height, :width]


def make_plate(image: Array, hole: Array, person: Array, neck: Array) -> Array:
    """The picture with `hole` filled.

    image [H, W, 3] float32 0..1; hole [H, W] bool, what the head covers and may uncover; person [H, W] float32,
    the matte of the whole person; neck [H, W] float32 0..1, where the fill should show body, not background.
    Returns [H, W, 3] float32, equal to the image outside the hole.
    """
    outside = ~hole
    background = push_pull(image, (outside & (person < 0.05)).astype(np.float32))
    body = push_pull(image, (outside & (person > 0.95)).astype(np.float32))
    fill = background + (body - background) * neck[..., None]
    edge = np.clip(ndimage.distance_transform_edt(hole) / 3.0, 0.0, 1.0)[..., None].astype(np.float32)
    return image + (fill - image) * edge
