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

NECK_TURNS = 3.5  # cm that the neck's sides below the chin go along with a turned head
CONTRAST = (0.1, 0.3)  # of colours: no and enough difference to tell head from background
ON_THE_LINE = 0.12  # off the line between both colours a pixel is neither's mixture
OVERLAP = 0.6  # as powers of what shines through: one splat, which others overlap, and its pixel
OPAQUE = (0.8, 0.98)  # of the highest alpha: from no to full trust in a pixel's colour
FAINT = 0.2  # alpha, below which what lies around a head is its own soft edge
SHAPE = (0.015, 0.04)  # of opaque pixels without a person: cut out (0.007 at most), cut round (0.07 and more)
RIM_LEEWAY = 0.3  # of colours where background was mixed in; opacities do the rest


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


def opaque_colors(image: Array, alpha: Array) -> Array:
    """What a picture laid on white shows without the white: colours of opaque pixels, continued where it is not opaque.

    image [H, W, 3], alpha [H, W] float32 0..1 -> [H, W, 3] float32. Where alpha is low a colour may be anything, and
    files that were multiplied by their alpha once too often are dark there.
    """
    trust = np.clip((alpha / max(float(alpha.max()), 1e-6) - OPAQUE[0]) / (OPAQUE[1] - OPAQUE[0]), 0, 1)
    straight = (image - (1 - alpha[..., None])) / np.maximum(alpha, 0.1)[..., None]
    return np.clip(push_pull(np.clip(straight, 0, 1), trust), 0, 1)


def plate_alpha(alpha: Array, hole: Array, person: Array, neck: Array) -> Array:
    """[H, W] float32 0..1: how opaque `make_plate`'s picture is, whose arguments these are.

    A photo that was cut round, or has round corners, shows opaque pixels without a person: there the plate ends where
    the photo does. Where the person was cut out, behind the head goes on what lies beside it.
    """
    opaque, free = alpha > 0.5, person < 0.05
    faint = np.where(alpha < FAINT, 0, alpha)  # a fringe of the head itself, which would stay behind as its outline
    shape = np.clip(((opaque & free).sum() / max(1, opaque.sum()) - SHAPE[0]) / (SHAPE[1] - SHAPE[0]), 0, 1)
    background = push_pull(faint[..., None], free.astype(np.float32))[..., 0]
    body = push_pull(alpha[..., None], (~hole & (person > 0.95)).astype(np.float32))[..., 0]
    fill = background + (body - background) * neck
    behind = np.clip(fill + (alpha - fill) * shape, 0, 1)
    return np.where(hole & ~free, behind, np.where(hole, faint, alpha)).astype(np.float32)


def veiled_opacity(opacity: Array, alpha: Array) -> Array:
    """[N] float32: opacities of splats, so that they and their neighbours cover no more than alpha [N] 0..1."""
    return np.minimum(opacity, 1 - (1 - np.clip(alpha, 0, 1)) ** OVERLAP).astype(np.float32)


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


def neck_fill(width: Array, share: Array, cm: float, column: Array | None = None) -> Array:
    """[H, W] 0..1: where the plate shows the neck rather than background, above the shoulders.

    width [C] 0..1 is the neck's in the photo, share [H, W] what it has of the head's motion; cm of a pixel. Where it
    goes along with the head, its sides leave background behind. column [H, W] is where in `width` a pixel lies, if the
    neck does not stand upright.
    """
    deep = ndimage.distance_transform_edt(np.pad(width > 0.5, 1))[1:-1] * cm  # inside the neck
    flank = min(NECK_TURNS, 0.6 * deep.max(initial=0.0)) * share
    if column is not None:
        width, deep = width[column], deep[column]
    return np.asarray(width * np.clip((deep - flank) / 0.8 + 1 - np.minimum(flank, 1), 0, 1), np.float32)


def rim(
    image: Array, own: Array, matte: Array, background: Array, free: Array, bare: Array, width: int
) -> tuple[Array, Array, Array]:
    """The head's colours [H, W, 3] and opacities [H, W] near its outline, and how far colours may be fitted [H, W].

    own [H, W, 3] are the colours that `matte` explains; free [H, W] bool is background, bare [H, W] 1 where no clothes
    are. Up to `width` px inside the outline a photo may show more background than the matte says. Where its colour is a
    mixture of the background's and of the head's further in, the head has the latter, and the splat's opacity that
    explains the photo.
    """
    deep = ndimage.binary_erosion(ndimage.binary_fill_holes(matte > 0.95), iterations=width, border_value=1)
    inside = ndimage.distance_transform_edt(~free)
    if not deep.any() or not free.any():
        return own, matte, np.ones_like(matte)
    near = deep & (inside < 4 * width)
    inner = push_pull(image, near.astype(np.float32))
    away = inner - background
    length = np.linalg.norm(away, axis=-1)
    share = np.clip(((image - background) * away).sum(-1) / np.maximum(length**2, 1e-6), 0, 1)
    off = np.linalg.norm(image - background - share[..., None] * away, axis=-1)
    mixed = np.clip((length - CONTRAST[0]) / (CONTRAST[1] - CONTRAST[0]), 0, 1) * np.exp(-((off / ON_THE_LINE) ** 2))
    beside = np.clip(2 - inside / width, 0, 1) * np.clip(bare, 0, 1)
    mixed *= np.clip((matte - share) / 0.1, 0, 1) * beside * ~deep
    opacity = 1 - (1 - matte - (share - matte) * mixed) ** (1 - (1 - OVERLAP) * beside)
    colors = own + (inner - own) * mixed[..., None]
    return colors.astype(np.float32), opacity.astype(np.float32), (1 + (RIM_LEEWAY - 1) * mixed).astype(np.float32)
