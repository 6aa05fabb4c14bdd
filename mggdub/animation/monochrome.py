"""A black-and-white or sepia photo stays one: what is drawn in it, as the inside of a mouth, takes its colour by light.

Where a picture has one hue for each lightness, its frames have, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from mggdub.avatar.values import HeadAvatar, RenderBox
from mggdub.face.mesh import OVAL, ring_mask
from mggdub.geometry.camera import project
from mggdub.types import VIDEO_LUMA, Array

BINS = 32  # of lightness
FACE = 28  # px, height of a face that is looked at: the grain of old prints is gone
# Of 255: how far 99 % of a monochrome face's chroma lie from its hues, and of what is around it: old prints have spots
# and borders. Faces in colours have 4.2 and more.
FACE_APART, MOST_APART = 3.7, 20.0
REACH = 0.05  # of the box's height, that borders and spots move at most
CHROMA = np.array([1.8556, 1.5748], np.float32)  # of BT.709: what blue and red less luma are divided by
TV = 219 / 255, 224 / 255  # luma and chroma of video over those of full range


@dataclass(frozen=True, eq=False)
class Monochrome:
    """The hues of a photo that has one for each lightness."""

    hues: Array  # [256, 2] blue and red chroma by luma, of full range
    apart: Array  # [h, w], coarse, over the box: how far the photo's own chroma lies from them thereabouts
    box: RenderBox  # px of the picture

    @classmethod
    def of(cls, avatar: HeadAvatar) -> Monochrome | None:
        """None of a photo in colours."""
        marks = project(avatar.mesh, avatar.camera) * (avatar.box.width / avatar.box.render_width)
        step = max(1, int(np.ptp(marks[:, 1]) / FACE))
        luma, chroma = _split(np.asarray(Image.fromarray(avatar.box.cut(avatar.image)).reduce(step)))
        face = ring_mask(marks / step, OVAL, luma.shape)
        if not face.any():
            return None
        hues = _hues(luma[face], chroma[face])
        away = np.abs(chroma - hues[np.rint(luma).astype(int)]).max(-1)
        of_face, of_all = (float(np.percentile(part, 99)) for part in (away[face], away))
        if of_face >= FACE_APART or of_all >= MOST_APART:
            return None
        reach = round(REACH * len(away))
        return cls(hues, np.maximum(ndimage.maximum_filter(away, 2 * reach + 1), of_face), avatar.box)

    def rgb(self, frame: Array) -> Array:
        """A frame [H, W, 3] uint8 whose box is given the hues; written in place."""
        part = self.box.cut(frame)
        luma, chroma = _split(part)
        shown = self._toned(luma, chroma) * CHROMA
        blue, red = luma + shown[..., 0], luma + shown[..., 1]
        green = (luma - VIDEO_LUMA[0] * red - VIDEO_LUMA[2] * blue) / VIDEO_LUMA[1]
        part[:] = np.rint(np.clip(np.stack([red, green, blue], -1), 0, 255))
        return frame

    def yuv(self, frame: Array) -> Array:
        """The same of planes [H' * 3 / 2, W'] of `Compositor.yuv`."""
        height, width = frame.shape[0] * 2 // 3, frame.shape[1]
        box = self.box
        rows = slice(box.top // 2, (box.top + box.height + 1) // 2)
        columns = slice(box.left // 2, (box.left + box.width + 1) // 2)
        light = frame[:height].reshape(height // 2, 2, width // 2, 2)[rows, :, columns].mean((1, 3), np.float32)
        part = frame[height:].reshape(2, height // 2, width // 2)[:, rows, columns]
        chroma = np.moveaxis((part.astype(np.float32) - 128) / TV[1], 0, -1)
        shown = self._toned(np.clip((light - 16) / TV[0], 0, 255), chroma)
        part[:] = np.rint(np.moveaxis(shown * TV[1] + 128, -1, 0))
        return frame

    def _toned(self, luma: Array, chroma: Array) -> Array:
        """Chroma [h, w, 2], no farther from the hues of luma [h, w] than the photo's own is."""
        hue = self.hues[np.rint(luma).astype(np.uint8)]
        apart = np.asarray(Image.fromarray(self.apart).resize(luma.shape[::-1], Image.Resampling.BILINEAR))[..., None]
        return hue + np.clip(chroma - hue, -apart, apart)


def toned(avatar: HeadAvatar, frames: Iterable[Array], planes: bool) -> Iterator[Array]:
    """Frames as of `animate`, as monochrome as the photo."""
    tone = Monochrome.of(avatar)
    if tone is None:
        yield from frames
        return
    for frame in frames:
        yield tone.yuv(frame) if planes else tone.rgb(frame)


def _hues(luma: Array, chroma: Array) -> Array:
    """[256, 2]: mean chroma [P, 2] by luma [P]; what was not seen has that of the nearest that was."""
    bins = np.minimum(luma * BINS / 256, BINS - 1).astype(int)
    count = np.bincount(bins, minlength=BINS)
    known = np.flatnonzero(count)
    means = (np.bincount(bins, chroma[:, c], BINS)[known] / count[known] for c in range(2))
    middles = (known + 0.5) * 256 / BINS
    return np.stack([np.interp(np.arange(256), middles, mean) for mean in means], 1).astype(np.float32)


def _split(picture: Array) -> tuple[Array, Array]:
    """Luma [...] 0..255 and chroma [..., 2] of sRGB [..., 3]."""
    luma = picture.astype(np.float32) @ np.array(VIDEO_LUMA, np.float32)
    return luma, (picture[..., [2, 0]] - luma[..., None]) / CHROMA
