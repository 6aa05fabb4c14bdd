"""The background behind a head: when smooth colours would show, patches of it, and what LaMa sees and paints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from mggdub import inpainting
from mggdub.avatar.patches import patch_fill
from mggdub.avatar.values import RenderBox
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import push_pull
from mggdub.types import Array

FINE, NEARBY = 0.25, 0.3  # cm: what is finer is detail; over which its strength is measured
SHARP = 1.2  # times push-pull's error of that strength that patches may have, since an edge to what is smooth is seen
REACH = 4.0  # cm behind the head's outline in which something is seen when it moves
LARGEST = 1024  # px, longest side of what LaMa sees
PERSON = 0.05  # of the matte: what must not be continued behind the head
AROUND = 0.3  # cm round hole and person that are no background, either: soft edges, shadows
BESIDE = 1.5  # cm beside the head in which the push-pull fill is tried
PLAIN = 0.05  # of colours: how far off it may be there; studios have 0.04 at most, rooms 0.06 and more
SMALLEST_HOLE = 96  # px of the output, as the side of a square; in smaller ones nothing would be seen
LEAST_KNOWN = 0.02  # of the picture: without background there is nothing to continue


@dataclass(frozen=True, eq=False)
class Painted:
    """A background that was painted, float32 0..1."""

    small: Array  # [h, w, 3] at the size that is rendered
    large: Array  # [H, W, 3] at the box's size


def is_worthwhile(image: Array, hole: Array, person: Array, cm: float, scale: float) -> bool:
    """Whether a hole [h, w] is large, and its background so varied that push-pull would show.

    As for `make_plate`; cm of a rendered pixel, and the output's pixels along it. Push-pull is tried where the truth is
    known: on a band of background beside the head, filled from what lies beyond it.
    """
    known, band = _beside(hole, person, cm)
    if known.mean() < LEAST_KNOWN or not band.any() or np.sqrt(hole.sum()) * scale < SMALLEST_HOLE:
        return False
    return fill_error(image, known, band) > PLAIN


def patched_background(image: Array, hole: Array, person: Array, cm: float) -> Array | None:
    """[h, w, 3] float32: an image [h, w, 3] with patches of the background where the person begins to cover it.

    Arguments as those of `is_worthwhile`. None where patches come less near to how much detail there is than push-pull,
    which has none, where the truth is known: a pattern that does not repeat is continued by none of its parts.
    """
    known, band = _beside(hole, person, cm)
    if not band.any():
        return None
    beyond = known & ~band
    patches, smooth = patch_fill(image, beyond, band, cm), push_pull(image, beyond.astype(np.float32))
    truth, ours, plain = (_detail(np.where(band[..., None], fill, image), cm) for fill in (image, patches, smooth))
    if np.abs(ours - truth)[band].mean() > SHARP * np.abs(plain - truth)[band].mean():
        return None
    return patch_fill(image, known, hole & (distance_inside(~known) * cm < REACH), cm)


def _detail(image: Array, cm: float) -> Array:
    """[h, w]: how strong the detail of an image [h, w, 3] is near a pixel."""
    fine = image - ndimage.gaussian_filter(image, (FINE / cm, FINE / cm, 0))
    return np.asarray(np.sqrt(np.maximum(ndimage.gaussian_filter((fine**2).sum(-1), NEARBY / cm), 0)))


def _beside(hole: Array, person: Array, cm: float) -> tuple[Array, Array]:
    """[h, w] bool: the background that is seen, and a band of it beside the head."""
    known = ~hole & (person < PERSON)
    return known, known & (distance_inside(~hole) * cm < BESIDE)


def fill_error(image: Array, known: Array, band: Array) -> float:
    """Root mean square difference of an image [H, W, 3] from its push-pull fill in a band [H, W] of what is known."""
    fill = push_pull(image, (known & ~band).astype(np.float32))
    return float(np.sqrt(np.mean((fill[band] - image[band]) ** 2)))


def seen_size(box: RenderBox) -> RenderBox:
    """The box at the size that LaMa sees: its own, or LARGEST."""
    ratio = min(1.0, LARGEST / max(box.width, box.height))
    width, height = (max(1, round(side * ratio)) for side in (box.width, box.height))
    return replace(box, render_width=width, render_height=height)


def paint_background(picture: Array, box: RenderBox, hole: Array, person: Array, cm: float) -> Painted | None:
    """LaMa's picture of what lies behind a person; None where no background is seen that could go on there.

    picture [H, W, 3] float32 0..1 is the box at the size of `seen_size`; hole [h, w] bool and person [h, w] 0..1 at
    the size that is rendered, cm of a pixel there. Raises UsageError or InputError.
    """
    hidden = ndimage.binary_dilation(hole | (person > PERSON), iterations=max(1, round(AROUND / cm)))
    if (~hidden).mean() < LEAST_KNOWN:
        return None
    size = picture.shape[1::-1]
    mask = np.asarray(Image.fromarray(hidden).resize(size, Image.Resampling.NEAREST))
    painted = inpainting.paint(np.rint(255 * picture.clip(0, 1)).astype(np.uint8), mask)
    small = _resized(painted, (box.render_width, box.render_height))
    return Painted(small, _resized(painted, (box.width, box.height)))


def add_detail(plate: Array, painted: Painted, weight: Array) -> Array:
    """A plate [H, W, 3] uint8 that was enlarged, with what the painted background shows beyond its rendered size.

    weight [h, w] float32 0..1: how much of the plate is painted background.
    """
    size = plate.shape[1::-1]
    share = np.asarray(Image.fromarray(weight).resize(size, Image.Resampling.BILINEAR))[..., None]
    rough = _resized(np.rint(255 * painted.small).astype(np.uint8), size)
    detailed = plate / np.float32(255) + share * (painted.large - rough)
    return np.rint(255 * detailed.clip(0, 1)).astype(np.uint8)


def _resized(picture: Array, size: tuple[int, int]) -> Array:
    """[H, W, 3] float32 0..1 of a picture [h, w, 3] uint8."""
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), np.float32) / 255
