"""How alike two faces look, and two pictures: enough to notice that another person or another picture has come.

Both serve one video, whose light and camera are mostly the same; they are no recognition of people.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from mggdub.geometry.rotation import plane_similarity
from mggdub.types import LUMA, Array

PATCH = 64  # px, side of a face turned upright
# Where the eyes and the mouth lie in the patch, px, and the landmarks whose means they are.
PLACES = ((20 + 24j, (33, 133)), (44 + 24j, (263, 362)), (32 + 50j, (61, 291)))
BLUR = 2.0  # px of the patch, sigma
INNER = np.s_[8:60:4, 8:56:4]  # of the patch: brows to chin
SPOTS = (np.s_[32:46, 16:26], np.s_[32:46, 38:48], np.s_[4:12, 20:44], np.s_[12:16, 24:40])  # cheeks, hair, brow
DARK = 8.0  # grey levels that count as none where colours are compared
# Logistic regressions on frames of 91 people, one clip each: any two of these, and frames that follow each other
# against portraits of 24 people that one studio took in one way. 0 is where both answers are as likely.
BY_PATTERN, BY_COLOUR, EVEN = 8.6, 4.1, 7.0
COARSE = (32, 18)  # width and height, px, of a picture that is compared as a whole
LONGEST_SIDE = 480  # px that a picture is thinned to before it is shrunk


def face_look(pixels: Array, landmarks: Array) -> Array:
    """[168] float32: pattern and colours of a face in a picture [H, W, 3] uint8, turned upright; landmarks [478, 3]."""
    patch = _upright(pixels, landmarks)
    grey = ndimage.gaussian_filter(patch @ np.array(LUMA, np.float32), BLUR)[INNER].ravel()
    grey = grey - grey.mean()
    colours = np.concatenate([np.log(patch[spot].mean((0, 1)) + DARK) for spot in SPOTS])
    return np.concatenate([grey / max(float(np.linalg.norm(grey)), 1e-6), colours]).astype(np.float32)


def unlikeness(one: Array, other: Array) -> float:
    """Of two `face_look`s [168]: -6 from frame to frame, above 0 rather two people than one (logit of a regression)."""
    pattern, colour = _apart(one, other)
    return BY_PATTERN * pattern**0.5 + BY_COLOUR * colour - EVEN


def strangeness(one: Array, other: Array, changed: float) -> float:
    """Of two `face_look`s [168] of frames that follow each other, whose pictures are `changed` grey levels apart.

    -5 as long as nothing happens; 0 is as far from one person who moves as from two who were put in the same place.
    """
    pattern, colour = _apart(one, other)
    return 6.2 * pattern**0.5 + 3.7 * colour + 0.526 * min(changed, 30.0) - 6.9


def _apart(one: Array, other: Array) -> tuple[float, float]:
    """Distance of the patterns, squared, and of the colours."""
    count = 3 * len(SPOTS)
    pattern = max(0.0, 1.0 - float(one[:-count] @ other[:-count]))
    return pattern, float(np.linalg.norm(one[-count:] - other[-count:]))


def coarse(pixels: Array) -> Array:
    """[18, 32, 3] uint8: a picture [H, W, 3] uint8 as a whole."""
    step = max(1, max(pixels.shape[:2]) // LONGEST_SIDE)
    return np.asarray(Image.fromarray(pixels[::step, ::step]).resize(COARSE, Image.Resampling.BOX))


def change(one: Array, other: Array) -> float:
    """Mean difference of two pictures [H, W, 3] uint8 of one size, grey levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def _upright(pixels: Array, landmarks: Array) -> Array:
    """[64, 64, 3] float32: the face turned, shifted and scaled so that eyes and mouth lie at PLACES."""
    wanted = np.array([place for place, _ in PLACES])
    points = np.stack([landmarks[list(marks), :2].mean(0) for _, marks in PLACES]).astype(np.float64)
    places = points[:, 0] + 1j * points[:, 1]
    turn, start = plane_similarity(wanted, places)  # a point z of the patch lies at turn * z + start
    shrink = max(1, int(abs(turn)))
    reach = abs(turn) * PATCH
    centre = turn * complex(PATCH / 2, PATCH / 2) + start
    height, width = pixels.shape[:2]
    left, top = (int(max(0, value - reach)) for value in (centre.real, centre.imag))
    part = pixels[top : max(top + 1, min(height, int(centre.imag + reach) + 1))]
    part = part[:, left : max(left + 1, min(width, int(centre.real + reach) + 1))]
    if part.size == 0 or part.shape[0] < shrink or part.shape[1] < shrink:
        return np.zeros((PATCH, PATCH, 3), np.float32)
    start -= complex(left, top)
    numbers = (turn.real, -turn.imag, start.real, turn.imag, turn.real, start.imag)
    view = Image.fromarray(part).reduce(shrink).transform(
        (PATCH, PATCH), Image.Transform.AFFINE, tuple(n / shrink for n in numbers), Image.Resampling.BILINEAR
    )  # fmt: skip
    return np.asarray(view, np.float32)
