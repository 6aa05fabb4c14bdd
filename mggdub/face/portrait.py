"""From the faces of a picture to the one that is dubbed: choice, limits, crop, pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mggdub.errors import InputError, UsageError
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import INNER_LIPS, OVAL, canonical_face, ring_mask
from mggdub.face.views import Region, affine
from mggdub.geometry.camera import RIGID, crop_camera, crop_matrix, face_height, head_crop, solve_pose
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.types import Array, Crop, Face, Photo, Portrait

SMALLEST_FACE = 48.0  # px, hairline to chin
LARGEST_YAW = 50.0  # degrees
SEE_THROUGH = 0.02  # share of a picture that is transparent, from which on it is told
FAINT = 230  # median alpha of a face that other pictures shine through; programs that cut people out leave 250
HOLES = 0.01  # of the area of a face; an eye has as much
CUT_OFF = 0.03  # of a face's landmarks beyond the picture; photos and clips of people have none
AS_LARGE = 0.7  # of the largest face's height: who is that large may be the one who was meant


def choose_face(faces: list[Face], which: str = "largest") -> Face:
    """'largest' or an index as text. Raises InputError without a face, UsageError for a wrong index."""
    if not faces:
        raise InputError("No human face was found in the picture; use one that shows a face from the front.")
    if which == "largest":
        return faces[0]
    if not which.isdigit() or int(which) >= len(faces):
        known = "1 face (index 0)" if len(faces) == 1 else f"{len(faces)} faces (0 to {len(faces) - 1}, largest first)"
        raise UsageError(f"There is no face {which!r}: the picture has {known}.")
    return faces[int(which)]


def company(faces: list[Face], which: str) -> tuple[str, ...]:
    """What to say where others are about as large as the face that is dubbed, and nobody chose; largest first."""
    count, where = _as_large(faces)
    if which != "largest" or count < 2:
        return ()
    return (f"{count} faces are about as large; the one {where} speaks, --face takes another.",)


def driving_company(path: Path, faces: Sequence[Face]) -> tuple[str, ...]:
    """The same of the picture in which a driving video begins; largest first."""
    count, where = _as_large(faces)
    if count < 2:
        return ()
    return (f"{count} faces in {path} are about as large; the one {where} drives, crop the video to let another.",)


def _as_large(faces: Sequence[Face]) -> tuple[int, str]:
    """How many faces are about as large as the first, that one included, and where among them it is."""
    heights = [face_height(face.landmarks) for face in faces]
    count = sum(height >= AS_LARGE * heights[0] for height in heights)
    if count < 2:
        return count, ""
    return count, _place(np.stack([face.landmarks[:, :2].mean(0) for face in faces[:count]]), heights[0] / 2)


def _place(middles: Array, apart: float) -> str:
    """Where the first of faces whose middles are at [N, 2] px is among them; what is nearer than `apart` is beside."""
    low, high = middles.min(0), middles.max(0)
    spread = high - low > apart
    first, last = spread & (middles[0] - low < apart), spread & (high - middles[0] < apart)
    across = "left" if first[0] else "right" if last[0] else ""
    down = "top" if first[1] else "bottom" if last[1] else ""
    if not across and not down:
        return "in the middle"
    return f"at the {down} {across}".rstrip() if down else f"on the {across}"


def cut_off(face: Face, size: tuple[int, int]) -> tuple[str, ...]:
    """What to say where the edge of a picture of `size` (width, height) px cuts the face off."""
    if _outside(face.landmarks, size).mean() < CUT_OFF:
        return ()
    return ("The picture's edge cuts the face off, and the rest is guessed; use a picture that shows all of it.",)


def holes(face: Face, photo: Photo) -> tuple[str, ...]:
    """What to say where a photo is transparent inside the face."""
    if photo.alpha is None:
        return ()
    marks = face.landmarks[:, :2]
    low, high = np.clip([marks.min(0), marks.max(0)], 0, photo.size).astype(int)
    alpha = photo.alpha[low[1] : high[1], low[0] : high[0]]
    inside = alpha[ring_mask(marks - low, OVAL, alpha.shape)]
    if len(inside) and np.median(inside) < FAINT:
        share = f"{100 * (1 - np.median(inside) / 255):.0f} %"
        return (f"The face is transparent ({share}), and what lies behind shines through; save the picture opaque.",)
    if not len(inside) or (inside < 128).mean() < HOLES:
        return ()
    return ("Parts of the face are transparent, and what lies behind shows there; use a picture whose face is whole.",)


def see_through(photo: Photo, background: str = "keep") -> tuple[str, ...]:
    """What to say of a photo that is transparent in parts, where no `background` was chosen for them."""
    if photo.alpha is None or background != "keep" or (photo.alpha < 128).mean() < SEE_THROUGH:
        return ()
    return ("What is transparent in the picture is white in the video; --background takes another colour.",)


def _outside(landmarks: Array, size: tuple[int, int]) -> Array:
    """[L] whether landmarks lie beyond a picture."""
    place = landmarks[:, :2]
    return np.any((place < 0) | (place > size), axis=1)


def check_face(face: Face, size: tuple[int, int]) -> None:
    """Raises InputError if no head can be built from this face of a picture of `size` (width, height) px."""
    height = face_height(face.landmarks)
    if height < SMALLEST_FACE:
        raise InputError(
            f"The face is too small ({height:.0f} pixels high, at least {SMALLEST_FACE:.0f} are needed); "
            "use a larger picture or one taken from nearer."
        )
    if _outside(face.landmarks[list(INNER_LIPS)], size).mean() > 0.5:
        raise InputError("The mouth lies beyond the picture's edge; use a picture that shows the whole face.")
    rotation, _ = head_pose(head_crop(face.landmarks).to_crop(face.landmarks))
    yaw = float(matrix_to_euler(rotation)[1])
    if abs(yaw) > LARGEST_YAW:
        raise InputError(
            f"The face is turned away too far ({abs(yaw):.0f} degrees, at most {LARGEST_YAW:.0f} work); "
            "use a picture taken more from the front."
        )


def portrait(photo: Photo, face: Face, finder: FaceFinder) -> Portrait:
    """The head crop of a photo, its landmarks found again inside the crop, and the head's pose."""
    crop = head_crop(face.landmarks)
    image = cut(photo.pixels, crop)
    again = finder.track(image, replace(face, landmarks=crop.to_crop(face.landmarks))) or replace(
        face, landmarks=crop.to_crop(face.landmarks)
    )
    camera = crop_camera(*head_pose(again.landmarks))
    return Portrait(image, crop, again.landmarks, again.blendshapes, camera)


def head_pose(landmarks: Array) -> tuple[Array, Array]:
    """Rotation [3, 3] and translation [3] cm of a head in crop px, against the canonical face."""
    vertices, _ = canonical_face()
    rotation, translation = solve_pose(vertices[list(RIGID)], landmarks[None, list(RIGID), :2], crop_matrix())
    return rotation[0], translation[0]


def cut(pixels: Array, crop: Crop) -> Array:
    """The crop's pixels [size, size, 3] uint8, resampled without aliasing; quarter turns are exact.

    Beyond the photo it is mirrored, ever more blurred away from the edge, so that no second face appears.
    """
    if crop.angle:
        return cut_turned(pixels, crop)
    height, width = pixels.shape[:2]
    left, top = int(np.floor(crop.left)) - 1, int(np.floor(crop.top)) - 1
    side = int(np.ceil(crop.side)) + 3
    columns, rows = left + np.arange(side), top + np.arange(side)
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        picture = pixels[top : top + side, left : left + side]
    else:
        picture = pixels.take(_mirrored(rows, height), 0).take(_mirrored(columns, width), 1)  # faster than at once
    start = (crop.left - left, crop.top - top)
    box = (*start, start[0] + crop.side, start[1] + crop.side)
    image = Image.fromarray(picture).resize((crop.size, crop.size), Image.Resampling.LANCZOS, box, 3.0)
    outside = np.hypot(_beyond(crop.left, crop, width)[None], _beyond(crop.top, crop, height)[:, None])
    if outside.max() == 0:
        return np.asarray(image)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(crop.size / 24)), np.float32)
    mix = np.clip(outside / (crop.size / 12), 0, 1)[..., None]
    return np.rint(np.asarray(image) * (1 - mix) + soft * mix).astype(np.uint8)


def cut_turned(pixels: Array, crop: Crop) -> Array:
    """`cut` of pixels [H, W, 3] uint8 for a crop that does not stand upright: first the quarters, then what is left."""
    quarters = round(crop.angle / 90)
    height, width = pixels.shape[:2]
    half = crop.side / 2
    x, y = crop.left + half, crop.top + half
    x, y = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[quarters % 4]
    upright = np.rot90(pixels, quarters)
    lean = crop.angle - 90.0 * quarters
    if lean == 0:
        return cut(upright, Crop(x - half, y - half, crop.side, crop.size))
    size = int(np.ceil(crop.size * (abs(np.cos(np.radians(lean))) + abs(np.sin(np.radians(lean)))))) + 4
    half *= size / crop.size
    around = Image.fromarray(cut(upright, Crop(x - half, y - half, 2 * half, size)))
    a, b, c, d, e, f = affine(Region(size / 2, size / 2, crop.size, crop.size, float(np.radians(lean))), crop.size)
    turned = around.transform((crop.size,) * 2, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)
    return np.asarray(turned)


def _beyond(start: float, crop: Crop, limit: int) -> Array:
    """How far each crop pixel of one axis lies outside a picture of `limit` px, in crop px."""
    place = start + (np.arange(crop.size) + 0.5) / crop.scale
    return np.maximum(np.maximum(-place, place - limit), 0) * crop.scale


def _mirrored(index: Array, length: int) -> Array:
    folded = np.mod(index, 2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)
