"""Faces in a picture: detector, 478 landmarks and 52 blendshapes by the three nets of MediaPipe's Face Landmarker.

The nets run through LiteRT; the graph between them (anchors, weighted suppression, regions of interest)
follows MediaPipe's published one, so that landmarks agree with the `mediapipe` package.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageFilter

from mggdub.errors import InputError, UsageError, excerpt
from mggdub.geometry.camera import RIGID, crop_camera, crop_matrix, face_height, head_crop, solve_pose
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.types import BLENDSHAPES, LANDMARKS, Array, Crop, Face, Photo, Portrait
from mggdub.weights import locate

TASK = "face_landmarker.task"
LARGEST_PART = 64 << 20  # bytes
SMALLEST_FACE = 48.0  # px, hairline to chin
LARGEST_YAW = 50.0  # degrees
DETECTOR_SIZE, MESH_SIZE = 128, 256
DETECTION_SCORE, PRESENCE, OVERLAP = 0.5, 0.5, 0.3
SURE = 0.9  # presence that a new face needs; colourful patterns reach 0.8
SMALLEST_TILE = 240  # px: the detector needs a face of a fifth of its view, 48 px here
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


@dataclass(frozen=True)
class Region:
    """A turned rectangle of a picture that a net looks at, px."""

    x: float  # centre
    y: float
    width: float
    height: float
    angle: float = 0.0  # radians, clockwise as the viewer sees it


class FaceFinder:
    """The three nets, loaded once."""

    def __init__(self, num_threads: int = 2) -> None:
        nets = _unpacked(*(f"face_{part}.tflite" for part in ("detector", "landmarks_detector", "blendshapes")))
        try:
            self._detector, self._mesher, self._blender = (_interpreter(net, num_threads) for net in nets)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error
        self._anchors = _anchors()

    def find(self, pixels: Array) -> list[Face]:
        """The faces of a picture [H, W, 3] uint8, largest first.

        Looks at the whole picture, then at ever smaller tiles until one level below the first that shows a face:
        faces of one group picture are about as large.
        """
        faces: list[Face] = []
        for tiles in _pyramid(pixels.shape[1], pixels.shape[0]):
            last = bool(faces)
            for region in self._detections(pixels, tiles):
                face = self._look(pixels, region)
                refined = face and self.track(pixels, face)
                if refined and refined.score > SURE:
                    faces.append(refined)
            if last:
                break
        faces.sort(key=lambda face: -face_height(face.landmarks))
        return _without_duplicates(faces)

    def track(self, pixels: Array, previous: Face) -> Face | None:
        """The face near where it was in the previous frame, or None when it is lost."""
        return self._look(pixels, _region_of(previous.landmarks))

    def _detections(self, pixels: Array, tiles: list[Region]) -> list[Region]:
        """Regions around likely faces in some tiles of a picture."""
        found = []
        for tile in tiles:
            view = _sample(pixels, tile, DETECTOR_SIZE, replicate=False) * 2.0 - 1.0
            boxes, scores = _run(self._detector, view[None])
            for box in _weighted_suppression(*_decode(boxes[0], scores[0, :, 0], self._anchors)):
                found.append(_detected_region(box, tile))
        return found

    def _look(self, pixels: Array, region: Region) -> Face | None:
        view = _sample(pixels, region, MESH_SIZE, replicate=True)
        mesh, score, *_ = _run(self._mesher, view[None])
        presence = float(1 / (1 + np.exp(-score.ravel()[0])))
        if presence < PRESENCE:
            return None
        landmarks = _to_picture(mesh.reshape(LANDMARKS, 3) / MESH_SIZE, region)
        (units,) = _run(self._blender, landmarks[None, list(BLENDSHAPE_LANDMARKS), :2])
        blendshapes = np.zeros(len(BLENDSHAPES), np.float32)  # tongueOut stays 0: the net does not know it
        blendshapes[:-1] = units.ravel()[1:]
        return Face(landmarks, blendshapes, presence)


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


def check_face(face: Face) -> None:
    """Raises InputError if a head cannot be built from this face."""
    height = face_height(face.landmarks)
    if height < SMALLEST_FACE:
        raise InputError(
            f"The face is too small ({height:.0f} pixels high, at least {SMALLEST_FACE:.0f} are needed); "
            "use a larger picture or one taken from nearer."
        )
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
    """The crop's pixels [size, size, 3] uint8, resampled without aliasing.

    Beyond the photo it is mirrored, ever more blurred away from the edge, so that no second face appears.
    """
    height, width = pixels.shape[:2]
    left, top = int(np.floor(crop.left)) - 1, int(np.floor(crop.top)) - 1
    side = int(np.ceil(crop.side)) + 3
    columns, rows = left + np.arange(side), top + np.arange(side)
    picture = pixels[_mirrored(rows, height)[:, None], _mirrored(columns, width)]
    start = (crop.left - left, crop.top - top)
    box = (*start, start[0] + crop.side, start[1] + crop.side)
    image = Image.fromarray(picture).resize((crop.size, crop.size), Image.Resampling.LANCZOS, box=box)
    outside = np.hypot(_beyond(crop.left, crop, width)[None], _beyond(crop.top, crop, height)[:, None])
    if outside.max() == 0:
        return np.asarray(image)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(crop.size / 24)), np.float32)
    mix = np.clip(outside / (crop.size / 12), 0, 1)[..., None]
    return np.rint(np.asarray(image) * (1 - mix) + soft * mix).astype(np.uint8)


def _beyond(start: float, crop: Crop, limit: int) -> Array:
    """How far each crop pixel of one axis lies outside a picture of `limit` px, in crop px."""
    place = start + (np.arange(crop.size) + 0.5) / crop.scale
    return np.maximum(np.maximum(-place, place - limit), 0) * crop.scale


def _mirrored(index: Array, length: int) -> Array:
    folded = np.mod(index, 2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


@cache
def canonical_face() -> tuple[Array, Array]:
    """MediaPipe's canonical face in head space: vertices [468, 3] cm, triangles [898, 3].

    Read from the task's geometry metadata (protobuf: field 1 is the mesh, in it floats x y z u v in
    field 3 and indices in field 4), y and z turned to OpenCV axes. Raises InputError if it is damaged.
    """
    (metadata,) = _unpacked("geometry_pipeline_metadata_landmarks.binarypb")
    try:
        mesh = next(_fields(metadata))[1]
        floats = b"".join(value for number, value in _fields(mesh) if number == 3 and isinstance(value, bytes))
        indices = np.array([value for number, value in _fields(mesh) if number == 4], np.int64).reshape(-1, 3)
        vertices = np.frombuffer(floats, "<f4").reshape(-1, 5)[:, :3] * np.array([1, -1, -1], np.float32)
        if indices.min() < 0 or indices.max() >= len(vertices):
            raise ValueError("a triangle has no such corner")
    except (StopIteration, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error
    return vertices.astype(np.float32), indices


def _unpacked(*names: str) -> list[bytes]:
    """Parts of the task. Raises InputError if it is missing, damaged or would unpack to far more than it should."""
    try:
        with zipfile.ZipFile(locate(TASK)) as task:
            if any(task.getinfo(name).file_size > LARGEST_PART for name in names):
                raise ValueError("a part of it is too large")
            return [task.read(name) for name in names]
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error


def _fields(message: bytes):  # type: ignore[no-untyped-def]
    """(number, value) of every field of a protobuf message; fixed32 and nested ones as bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        length = 4 if key & 7 == 5 else varint()
        place += length
        yield key >> 3, message[place - length : place]


def _interpreter(net: bytes, num_threads: int) -> Interpreter:
    interpreter = Interpreter(model_content=net, num_threads=num_threads)
    interpreter.allocate_tensors()
    return interpreter


def _run(net: Interpreter, view: Array) -> list[Array]:
    net.set_tensor(net.get_input_details()[0]["index"], view.astype(np.float32))
    net.invoke()
    return [net.get_tensor(output["index"]) for output in net.get_output_details()]


def _anchors() -> Array:
    """Anchor centres [896, 2], 0..1: two per cell of a 16 x 16 grid, then six per cell of an 8 x 8 one."""
    grids = []
    for cells, repeat in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        grids.append(np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, repeat, 0))
    return np.concatenate(grids)


def _decode(raw: Array, logits: Array, anchors: Array) -> tuple[Array, Array]:
    """Boxes [N, 16] (x y w h, six keypoints; 0..1) and scores [N] above the threshold."""
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    keep = scores >= DETECTION_SCORE
    boxes = raw[keep] / DETECTOR_SIZE
    boxes[:, :2] += anchors[keep]
    boxes[:, 4:] += np.tile(anchors[keep], 6)
    return boxes, scores[keep]


def _weighted_suppression(boxes: Array, scores: Array) -> list[Array]:
    """Overlapping boxes become one, averaged by score."""
    merged = []
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    while len(boxes):
        near = _overlap(boxes[0], boxes) > OVERLAP
        near[0] = True
        merged.append(np.average(boxes[near], axis=0, weights=scores[near]))
        boxes, scores = boxes[~near], scores[~near]
    return merged


def _overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box (x y w h about the centre) with many."""
    low = np.maximum(box[:2] - box[2:4] / 2, boxes[:, :2] - boxes[:, 2:4] / 2)
    high = np.minimum(box[:2] + box[2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2)
    shared = np.prod(np.maximum(high - low, 0), 1)
    return shared / (np.prod(box[2:4]) + np.prod(boxes[:, 2:4], 1) - shared)


def _without_duplicates(faces: list[Face]) -> list[Face]:
    """Of faces that overlap, the one whose presence is surest; order kept."""
    corners = [(face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)) for face in faces]
    boxes = np.array([[*((a + b) / 2), *(b - a)] for a, b in corners]).reshape(-1, 4)
    kept: list[int] = []
    for i in sorted(range(len(faces)), key=lambda i: -faces[i].score):
        if not len(kept) or _overlap(boxes[i], boxes[kept]).max() <= OVERLAP:
            kept.append(i)
    return [faces[i] for i in sorted(kept)]


def _pyramid(width: int, height: int) -> Iterator[list[Region]]:
    """The whole picture, then tiles of half its side, a quarter ..., each overlapping the next by half."""
    side: float = max(width, height)
    yield [Region(width / 2, height / 2, side, side)]
    while (side := side / 2) >= SMALLEST_TILE:
        columns, rows = (_places(extent, side) for extent in (width, height))
        yield [Region(float(x), float(y), side, side) for y in rows for x in columns]


def _places(extent: float, side: float) -> Array:
    """Centres of tiles along one axis of a picture."""
    margin = min(side, extent) / 2
    return np.linspace(margin, extent - margin, max(1, int(np.ceil(2 * extent / side)) - 1))


def _detected_region(box: Array, tile: Region) -> Region:
    """A detection of a tile as the region that the mesh net looks at."""
    points = box[[0, 1, *range(4, 8)]].reshape(-1, 2) - 0.5
    middle, left_eye, right_eye = points * [tile.width, tile.height] + [tile.x, tile.y]
    angle = float(np.arctan2(right_eye[1] - left_eye[1], right_eye[0] - left_eye[0]))
    return Region(middle[0], middle[1], 1.5 * box[2] * tile.width, 1.5 * box[3] * tile.height, angle)


def _region_of(landmarks: Array) -> Region:
    """Where to look for a face whose landmarks are known: their box times 1.5, square, turned with the eyes."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    middle, side = (low + high) / 2, 1.5 * float((high - low).max())
    across = landmarks[263, :2] - landmarks[33, :2]
    return Region(float(middle[0]), float(middle[1]), side, side, float(np.arctan2(across[1], across[0])))


def _sample(pixels: Array, region: Region, size: int, replicate: bool) -> Array:
    """A region as [size, size, 3] float32 0..1, bilinear; large ones are shrunk by area first.

    Beyond the picture lie its edge pixels (`replicate`) or black.
    """
    shrink = max(1, int(max(region.width, region.height) // (4 * size)))
    turned = abs(np.cos(region.angle)) + abs(np.sin(region.angle))
    reach = turned * max(region.width, region.height) / 2 + 2 * shrink
    left, top = int(np.floor(region.x - reach)), int(np.floor(region.y - reach))
    window = _window(pixels, left, top, int(np.ceil(2 * reach)) + 1, shrink, replicate)
    a, b, c, d, e, f = _affine(replace(region, x=region.x - left, y=region.y - top), size)
    # The nets were trained on views that put sample j at region start + j steps, not at pixel centres.
    c, f = c + 0.5 * (1 - a - b), f + 0.5 * (1 - d - e)
    coefficients = tuple(value / shrink for value in (a, b, c, d, e, f))
    view = window.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(view, np.float32) / 255.0


def _window(pixels: Array, left: int, top: int, side: int, shrink: int, replicate: bool) -> Image.Image:
    """A square of a picture that may reach beyond it, shrunk by area.

    Blocks of `shrink` px far beyond the picture repeat one near it: made in full, the window around a picture of
    256 x 65,000 px would take 12 GB.
    """
    rows, above, down = _blocks(top, side, pixels.shape[0], shrink)
    columns, before, across = _blocks(left, side, pixels.shape[1], shrink)
    near = np.pad(pixels[rows, columns], (above, before, (0, 0)), mode="edge" if replicate else "constant")
    small = Image.fromarray(near).reduce(shrink)
    return Image.fromarray(np.asarray(small)[down[:, None], across])


def _blocks(start: int, side: int, extent: int, shrink: int) -> tuple[slice, tuple[int, int], Array]:
    """Of one axis: what lies in the picture, px to add before and after, and which block of them each block is."""
    first, last = (int(np.clip(x, 0, extent - 1)) for x in (start, start + side))
    before, after = max(0, first - start), max(0, start + side - last)
    skipped = [max(0, before // shrink - 1), max(0, after // shrink - 2)]
    before, after = before - skipped[0] * shrink, after - skipped[1] * shrink
    count = -(-(before + last + 1 - first + after) // shrink)
    every = np.ones(count, int)  # the last block may be a part of one
    every[0], every[-2 if skipped[1] else -1] = every[0] + skipped[0], every[-1] + skipped[1]
    return slice(first, last + 1), (before, after), np.repeat(np.arange(count), every)


def _affine(region: Region, size: int) -> tuple[float, ...]:
    """Coefficients (a b c d e f): view (u, v) to picture (a u + b v + c, d u + e v + f)."""
    cosine, sine = np.cos(region.angle), np.sin(region.angle)
    a, b = cosine * region.width / size, -sine * region.height / size
    d, e = sine * region.width / size, cosine * region.height / size
    half = size / 2
    return a, b, region.x - half * (a + b), d, e, region.y - half * (d + e)


def _to_picture(points: Array, region: Region) -> Array:
    """Landmarks [478, 3] of a view (0..1) to px of the picture; z by the region's width."""
    x, y = (points[:, 0] - 0.5) * region.width, (points[:, 1] - 0.5) * region.height
    cosine, sine = np.cos(region.angle), np.sin(region.angle)
    place = [region.x + cosine * x - sine * y, region.y + sine * x + cosine * y, points[:, 2] * region.width]
    return np.stack(place, -1).astype(np.float32)
