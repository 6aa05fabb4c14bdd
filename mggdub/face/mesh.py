"""The face mesh: its rings and landmarks by name, MediaPipe's canonical face, plane geometry of its outline."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from mggdub.errors import InputError, excerpt
from mggdub.face.task import TASK, protobuf_fields, unpack_task
from mggdub.types import Array

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
EYE_SKETCHES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
LIP_LANDMARKS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
EYE_CORNERS_AND_LIDS = ((159, 145, 33, 133), (386, 374, 362, 263))  # upper, lower, the two corners of each eye
# Rings of MediaPipe's mesh, in order around each opening.
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))  # right, left
CHIN = (152, 175, 199, 200)
CHIN_TIP, HAIRLINE = 152, 10
NOSE_TIP = 1
JAW_CORNERS = (172, 397)
EAR_LOBES = (132, 361)  # of the outline, as low as they are
PIVOT = (np.float32(0), np.float32(10), np.float32(9))  # cm, head space: where the skull sits on the spine
INNER_UPPER_LIP, INNER_LOWER_LIP = 13, 14
# (upper, lower) lid, inner corner to outer. The subject's left eye is at x > 0, in the same order as BLINKS.
LIDS = (
    ((398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249)),
    ((173, 155), (157, 154), (158, 153), (159, 145), (160, 144), (161, 163), (246, 7)),
)
# (lashes, fold) of each upper lid, inner and outer corner included; from the outer corner inwards.
UPPER_LIDS = {
    "Left": ((263, 466, 388, 387, 386, 385, 384, 398, 362), (359, 467, 260, 259, 257, 258, 286, 414, 463)),
    "Right": ((33, 246, 161, 160, 159, 158, 157, 173, 133), (130, 247, 30, 29, 27, 28, 56, 190, 243)),
}
UNDER_EYES = {"Left": (261, 448, 449, 450, 451), "Right": (31, 228, 229, 230, 231)}
IRISES = ((473, 474, 475, 476, 477), (468, 469, 470, 471, 472))  # left and right: middle, then four of the edge
MOUTH_CORNERS = (61, 291)  # right and left
# Skin beside the mouth, where a smile's folds are: from the nose's wing over the cheek, past the corner of the mouth.
BESIDE_MOUTH = {
    "Left": (423, 266, 425, 411, 416, 364, 430, 424, 273, 287, 410, 391),
    "Right": (203, 36, 205, 187, 192, 135, 210, 204, 43, 57, 186, 165),
}
UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
CHEEKS = (50, 280, 101, 330, 205, 425, 36, 266)
# What the blendshape net looks at.
BLENDSHAPE_LANDMARKS = (
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70),
    *(78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149),
    *(150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195),
    *(197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300),
    *(308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375),
    *(377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454),
    *(466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
)


def open_triangles(triangles: Array) -> Array:
    """The mesh's triangles [F, 3] without those that close the eyes and the mouth."""
    closed = [np.isin(triangles, ring).all(axis=1) for ring in (INNER_LIPS, RIGHT_EYE, LEFT_EYE)]
    return triangles[~np.any(closed, axis=0)]


def outline(triangles: Array) -> Array:
    """Indices [B] of the outer boundary of triangles [F, 3] that close eyes and mouth, in order."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = {tuple(e) for e in edges.tolist()}
    following = {a: b for a, b in keys if (b, a) not in keys}
    ring = [min(following)]
    while (after := following[ring[-1]]) != ring[0]:
        ring.append(after)
    return np.array(ring)


def ring_mask(marks: Array, ring: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """[H, W] bool: the pixels inside a ring of landmarks [L, >=2], px."""
    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).polygon([tuple(point) for point in marks[list(ring), :2].tolist()], fill=1)
    return np.asarray(image, bool)


def inside_mask(polygon: Array, shape: tuple[int, ...]) -> Array:
    """[H, W] bool: the pixels whose centres lie in a polygon [P, 2] px."""
    at = np.moveaxis(np.mgrid[: shape[0], : shape[1]], 0, -1)[..., ::-1].reshape(-1, 2) + 0.5
    return inside(at, polygon).reshape(shape[:2])


def inside(points: Array, polygon: Array) -> Array:
    """Which points [N, 2] lie in a polygon [P, 2] (even-odd rule)."""
    result = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        slope = (b[0] - a[0]) / (b[1] - a[1] if b[1] != a[1] else 1e-9)
        result ^= crosses & (points[:, 0] < a[0] + slope * (points[:, 1] - a[1]))
    return result


@cache
def canonical_face() -> tuple[Array, Array]:
    """MediaPipe's canonical face in head space: vertices [468, 3] cm, triangles [898, 3].

    Read from the task's geometry metadata (protobuf: field 1 is the mesh, in it floats x y z u v in
    field 3 and indices in field 4), y and z turned to OpenCV axes. Raises InputError if it is damaged.
    """
    (metadata,) = unpack_task("geometry_pipeline_metadata_landmarks.binarypb")
    try:
        mesh = next(protobuf_fields(metadata))[1]
        floats = b"".join(value for number, value in protobuf_fields(mesh) if number == 3 and isinstance(value, bytes))
        indices = np.array([value for number, value in protobuf_fields(mesh) if number == 4], np.int64).reshape(-1, 3)
        vertices = np.frombuffer(floats, "<f4").reshape(-1, 5)[:, :3] * np.array([1, -1, -1], np.float32)
        if indices.min() < 0 or indices.max() >= len(vertices):
            raise ValueError("a triangle has no such corner")
    except (StopIteration, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error
    return vertices.astype(np.float32), indices
