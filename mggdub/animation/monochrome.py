"""A black-and-white or sepia photo stays one: what is drawn in it, as the inside of a mouth, takes its colour by light.

Where a picture has one hue for each lightness, its frames have, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mggdub.avatar.values import HeadAvatar, RenderBox
from mggdub.types import VIDEO_LUMA, Array

BINS = 32  # of lightness
SAMPLES = 128  # along a side of the head's box, from which the hues are taken
MOST_APART = 3.0  # of 255, that 99 % of a monochrome picture's chroma lie from its hue; others have 7 and more
CHROMA = np.array([1.8556, 1.5748], np.float32)  # of BT.709: what blue and red less luma are divided by
TV = 219 / 255, 224 / 255  # luma and chroma of video over those of full range


@dataclass(frozen=True, eq=False)
class Monochrome:
    """The hues of a photo that has one for each lightness."""

    hues: Array  # [256, 2] blue and red chroma by luma, of full range
    apart: float  # how far the photo's own chroma lies from it
    box: RenderBox  # px of the picture

    @classmethod
    def of(cls, avatar: HeadAvatar) -> Monochrome | None:
        """None of a photo in colours."""
        photo = Image.fromarray(avatar.box.cut(avatar.image))
        luma, chroma = _split(np.asarray(photo.reduce(max(1, min(photo.size) // SAMPLES))).reshape(-1, 3))
        bins = np.minimum(luma * BINS / 256, BINS - 1).astype(int)
        count = np.bincount(bins, minlength=BINS)
        known = np.flatnonzero(count)
        means = np.stack([np.bincount(bins, chroma[:, c], BINS)[known] / count[known] for c in range(2)], 1)
        middles = (known + 0.5) * 256 / BINS
        hues = np.stack([np.interp(np.arange(256), middles, means[:, c]) for c in range(2)], 1)
        apart = float(np.percentile(np.abs(chroma - hues[np.rint(luma).astype(int)]).max(1), 99))
        return cls(hues.astype(np.float32), apart, avatar.box) if apart < MOST_APART else None

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
        """Chroma [..., 2], no farther from the hues of luma [...] than the photo's own is."""
        hue = self.hues[np.rint(luma).astype(np.uint8)]
        return hue + np.clip(chroma - hue, -self.apart, self.apart)


def toned(avatar: HeadAvatar, frames: Iterable[Array], planes: bool) -> Iterator[Array]:
    """Frames as of `animate`, as monochrome as the photo."""
    tone = Monochrome.of(avatar)
    if tone is None:
        yield from frames
        return
    for frame in frames:
        yield tone.yuv(frame) if planes else tone.rgb(frame)


def _split(picture: Array) -> tuple[Array, Array]:
    """Luma [...] 0..255 and chroma [..., 2] of sRGB [..., 3]."""
    luma = picture.astype(np.float32) @ np.array(VIDEO_LUMA, np.float32)
    return luma, (picture[..., [2, 0]] - luma[..., None]) / CHROMA
