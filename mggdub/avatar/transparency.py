"""Photos with transparent parts: heads are built from opaque colours, the background comes last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mggdub.avatar.values import RenderBox
from mggdub.face.portrait import cut
from mggdub.geometry.sampling import push_pull
from mggdub.media.image import lay_over, resize
from mggdub.types import Array, Crop, GeometryMaps, Photo, Portrait

OPAQUE = (0.8, 0.98)  # of the highest alpha: from no to full trust in a pixel's colour
GLASSY = (13, 230)  # alpha of 255 of what is neither there nor away
MOST_GLASSY = (0.15, 0.25)  # of a face's landmarks and of the head's box: a soft edge has less
BESIDE = 0.4  # of a face's size that its head's box goes on to each side


def without_ghost(photo: Photo, landmarks: Array, color: tuple[int, int, int]) -> Photo:
    """A photo whose face [L, >=2] px is see-through or fades out, as it looks on a colour; others as they are.

    What is drawn in mouths and eyes is opaque, and what lies beyond a head's edge is continued as if it were sharp.
    """
    if photo.alpha is None:
        return photo
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    left, top = np.maximum(low - BESIDE * (high - low), 0).astype(int)
    right, bottom = np.maximum(high + BESIDE * (high - low), 1).astype(int)
    height, width = photo.alpha.shape
    x, y = np.clip(landmarks[:, :2].astype(int), 0, [width - 1, height - 1]).T
    face, around = _glassy(photo.alpha[y, x]), _glassy(photo.alpha[top:bottom, left:right])
    return Photo(lay_over(photo, color)) if face > MOST_GLASSY[0] or around > MOST_GLASSY[1] else photo


def _glassy(alpha: Array) -> float:
    """The share of what shows, of alpha [...] uint8, through which what lies behind shows, too."""
    return float(((alpha > GLASSY[0]) & (alpha < GLASSY[1])).sum() / max((alpha > GLASSY[0]).sum(), 1))


def opaque_colors(image: Array, alpha: Array) -> Array:
    """What a picture laid on white shows without the white: colours of opaque pixels, continued where it is not opaque.

    image [H, W, 3], alpha [H, W] float32 0..1 -> [H, W, 3] float32. Where alpha is low a colour may be anything, and
    files that were multiplied by their alpha once too often are dark there.
    """
    trust = np.clip((alpha / max(float(alpha.max()), 1e-6) - OPAQUE[0]) / (OPAQUE[1] - OPAQUE[0]), 0, 1)
    straight = (image - (1 - alpha[..., None])) / np.maximum(alpha, 0.1)[..., None]
    return np.clip(push_pull(np.clip(straight, 0, 1), trust), 0, 1)


@dataclass(frozen=True, eq=False)
class Veil:
    """Where a picture is transparent, and what comes behind it when all else is done."""

    alpha: Array  # [H, W] uint8, at the size of the output
    inside: Array  # [512, 512] float32 0..1, of the head's crop
    color: tuple[int, int, int]  # sRGB

    def of(self, frame: RenderBox) -> Array:
        """[h, w] float32 0..1 of the rendered box."""
        small = resize(frame.cut(self.alpha), (frame.render_width, frame.render_height), reducing_gap=3.0)
        return small.astype(np.float32) / 255


def unveiled(alpha: Array, head: Portrait, maps: GeometryMaps) -> tuple[Portrait, GeometryMaps]:
    """What the networks saw on white, with alpha [512, 512]: the head without white, the matte within alpha."""
    colors = opaque_colors(head.image.astype(np.float32) / 255, alpha)
    image = np.rint(colors * 255).astype(np.uint8)
    return replace(head, image=image), replace(maps, matte=maps.matte * alpha)


def cut_alpha(alpha: Array, crop: Crop) -> Array:
    """[512, 512] float32 0..1 of alpha [H, W] uint8."""
    return cut(np.broadcast_to(alpha[..., None], (*alpha.shape, 3)), crop)[..., 0].astype(np.float32) / 255
