"""Faces in a picture: detector, 478 landmarks and 52 blendshapes by the three nets of MediaPipe's Face Landmarker.

The nets run through LiteRT; the graph between them (anchors, weighted suppression, regions of interest)
follows MediaPipe's published one, so that landmarks agree with the `mediapipe` package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Lock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mggdub.errors import InputError, excerpt
from mggdub.face.mesh import BLENDSHAPE_LANDMARKS
from mggdub.face.task import TASK, unpack_task
from mggdub.face.views import Mipmap, Region, pyramid, sample, to_picture
from mggdub.geometry.camera import face_height, face_turn
from mggdub.types import BLENDSHAPES, LANDMARKS, Array, Crop, Face

DETECTOR_SIZE, MESH_SIZE = 128, 256
DETECTION_SCORE, PRESENCE, OVERLAP = 0.5, 0.5, 0.3
SURE = 0.9  # presence that a new face needs; colourful patterns reach 0.8
TURNS = ((0,), (2, 1, 3))  # quarters that a picture is turned by, as it is and where that leaves doubt
KEYPOINTS = ((33, 133), (263, 362), (1,), (13, 14))  # landmarks of the detector's own: eyes, nose, mouth
AGREEMENT = 0.2  # of the face's height, between the detector's points and the mesh
PROOF_VIEWS = (1.0, 1.6)  # times what the mesh net looks at
LEAST_PROOF, FULL_PROOF = 0.03, 0.08  # people have 0.1 and more
ELSEWHERE = ((0.08, 0.0, 1.2, 0.0), (-0.08, 0.0, 0.85, 0.0), (0.0, 0.08, 1.0, 0.25), (0.0, -0.08, 1.0, -0.25))
MOST_DRIFT = 0.05  # between looks from ELSEWHERE (shares of a region right and down, size, radians)
SAME = 0.05  # of a face's height, between landmarks of one face
MOST_LOOKS = 5
FAR = 0.1  # of a face's height, between two frames; those of talking people reach 0.07


class FaceFinder:
    """The three nets, loaded once."""

    def __init__(self, num_threads: int = 2) -> None:
        nets = unpack_task(*(f"face_{part}.tflite" for part in ("detector", "landmarks_detector", "blendshapes")))
        try:
            self._detector, self._mesher, self._blender = (_Net(net, num_threads) for net in nets)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error
        self._anchors = _anchors()

    def find(self, pixels: Array, like: Face | None = None) -> list[Face]:
        """The faces of a picture [H, W, 3] uint8, whichever way up they are, largest first.

        Looks at the whole picture, then at ever smaller tiles until one level below the first that shows a face:
        faces of one group picture are about as large. Upright comes first, the other turns where that leaves doubt;
        in a video of a face `like` this one, which stands in the picture as that does, only its own turn.
        """
        picture = Mipmap(pixels)
        looks = TURNS if like is None else ((_quarters(like),),)
        sure: list[tuple[Face, float]] = []  # faces and what speaks for them
        for tiles in pyramid(pixels.shape[1], pixels.shape[0]):
            last = bool(sure)
            for turns in ({_quarters(face) for face, _ in sure},) if last else looks:
                for face in self._shown(picture, tiles, turns):
                    twins = [proof for other, proof in sure if _apart(face, other) < SAME]
                    proof = twins[0] if twins else self._proof(picture, face)
                    if proof > LEAST_PROOF:
                        sure.append((face, proof))
                if sure and min(proof for _, proof in sure) > FULL_PROOF:
                    break
            if last:
                break
        faces = _surest(sure)
        faces.sort(key=lambda face: -face_height(face.landmarks))
        return [self._with_expression(face) for face in _without_duplicates(faces)]

    def track(self, pixels: Array, previous: Face) -> Face | None:
        """The face of a picture [H, W, 3] uint8 near where it was in the previous frame, or None when it is lost.

        Of one that has moved far, it looks at the new place again: beside the middle of a view, a head seems turned.
        """
        picture = Mipmap(pixels)
        face = self._again(picture, previous)
        if face and _apart(face, previous) > FAR:
            face = self._again(picture, face)
        return face and self._with_expression(face)

    def _again(self, picture: Mipmap, previous: Face) -> Face | None:
        return self._look(picture, _region_of(previous.landmarks))

    def _shown(self, picture: Mipmap, tiles: list[Region], turns: Iterable[int]) -> Iterator[Face]:
        """What the mesh net takes for a face in some tiles of a picture, seen with some quarter turns."""
        for tile in tiles:
            view = sample(picture, tile, DETECTOR_SIZE, replicate=False)
            for turn in turns:
                turned = replace(tile, angle=turn * np.pi / 2)
                for box, _ in self._detect(np.rot90(view, turn)):
                    face = self._look(picture, _detected_region(box, turned))
                    refined = face and self._settled(picture, face)
                    if refined and refined.score > SURE:
                        yield refined

    def _settled(self, picture: Mipmap, face: Face) -> Face | None:
        """The face where a further look no longer moves it, None if it does not come to rest."""
        for _ in range(MOST_LOOKS):
            refined = self._again(picture, face)
            if refined is None or _apart(refined, face) < SAME:
                return refined
            face = refined
        return None

    def _detect(self, view: Array) -> list[tuple[Array, float]]:
        """Boxes and scores of likely faces in a view [128, 128, 3] 0..1."""
        boxes, scores = self._detector(view[None] * 2.0 - 1.0)
        return _weighted_suppression(*_decode(boxes[0], scores[0, :, 0], self._anchors))

    def _proof(self, picture: Mipmap, face: Face) -> float:
        """How much surer the detector is of a face, set upright, than of anything in the same view upside down.

        The detector bears some 90 degrees: a forehead passes for a face, but the true one beats it. What the mesh net
        makes of a muzzle or a pattern depends on where it looks, while a face stays: then there is no proof.
        """
        if self._drift(picture, face) > MOST_DRIFT:
            return 0.0
        around, height = _region_of(face.landmarks), face_height(face.landmarks)
        marks = np.stack([face.landmarks[list(points), :2].mean(0) for points in KEYPOINTS])
        upright = upset = 0.0
        for wide in PROOF_VIEWS:
            tile = replace(around, width=wide * around.width, height=wide * around.height)
            view = sample(picture, tile, DETECTOR_SIZE, replicate=False)
            for box, score in self._detect(view):
                apart = np.linalg.norm(_box_points(box, tile)[1:5] - marks, axis=1).mean()
                upright = max(upright, score if apart < AGREEMENT * height else 0.0)
            upset = max([upset, *(score for _, score in self._detect(view[::-1, ::-1]))])
        return upright - upset

    def _drift(self, picture: Mipmap, face: Face) -> float:
        """How far landmarks move when the mesh net looks from elsewhere, of the face's height; median of some looks."""
        around, moved = _region_of(face.landmarks), []
        for right, down, size, turn in ELSEWHERE:
            width, height = size * around.width, size * around.height
            x, y = around.x + right * around.width, around.y + down * around.height
            again = self._look(picture, Region(x, y, width, height, around.angle + turn))
            moved.append(_apart(again, face) if again else 1.0)
        return float(np.median(moved))

    def _look(self, picture: Mipmap, region: Region) -> Face | None:
        """The face in a region, its expression not yet read: most looks only compare landmarks."""
        view = sample(picture, region, MESH_SIZE, replicate=True)
        mesh, score, *_ = self._mesher(view[None])
        presence = float(1 / (1 + np.exp(-score.ravel()[0])))
        if presence < PRESENCE:
            return None
        landmarks = to_picture(mesh.reshape(LANDMARKS, 3) / MESH_SIZE, region)
        return Face(landmarks, np.zeros(len(BLENDSHAPES), np.float32), presence)

    def _with_expression(self, face: Face) -> Face:
        marks = face.landmarks[list(BLENDSHAPE_LANDMARKS), :2]
        marks = Crop(0, 0, 0).turned(marks, -90 * _quarters(face))  # the net knows faces that stand or lean a little
        (units,) = self._blender(marks[None])
        blendshapes = np.zeros(len(BLENDSHAPES), np.float32)  # tongueOut stays 0: the net does not know it
        blendshapes[:-1] = units.ravel()[1:]
        return replace(face, blendshapes=blendshapes)


class _Net:
    """One of the nets. It keeps what it is shown, so several threads that ask are answered one after the other."""

    def __init__(self, content: bytes, num_threads: int) -> None:
        self._net, self._lock = Interpreter(model_content=content, num_threads=num_threads), Lock()
        self._net.allocate_tensors()

    def __call__(self, view: Array) -> list[Array]:
        with self._lock:
            self._net.set_tensor(self._net.get_input_details()[0]["index"], view.astype(np.float32))
            self._net.invoke()
            return [self._net.get_tensor(output["index"]) for output in self._net.get_output_details()]


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


def _weighted_suppression(boxes: Array, scores: Array) -> list[tuple[Array, float]]:
    """Overlapping boxes become one, averaged by score; with the best score of each."""
    merged = []
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    while len(boxes):
        near = _overlap(boxes[0], boxes) > OVERLAP
        near[0] = True
        merged.append((np.average(boxes[near], axis=0, weights=scores[near]), float(scores[0])))
        boxes, scores = boxes[~near], scores[~near]
    return merged


def _overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box (x y w h about the centre) with many."""
    low = np.maximum(box[:2] - box[2:4] / 2, boxes[:, :2] - boxes[:, 2:4] / 2)
    high = np.minimum(box[:2] + box[2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2)
    shared = np.prod(np.maximum(high - low, 0), 1)
    return shared / (np.prod(box[2:4]) + np.prod(boxes[:, 2:4], 1) - shared)


def _quarters(face: Face) -> int:
    """Quarters, clockwise, that come nearest to how a face is turned."""
    return round(face_turn(face.landmarks) / 90) % 4


def _apart(face: Face, other: Face) -> float:
    """Mean distance of landmarks, of the other face's height."""
    distance = np.linalg.norm(face.landmarks[:, :2] - other.landmarks[:, :2], axis=1).mean()
    return float(distance / max(face_height(other.landmarks), 1e-6))


def _surest(sure: list[tuple[Face, float]]) -> list[Face]:
    """Of faces and their proofs, those that do not lie half within a surer one that is another."""
    return [
        face
        for face, proof in sure
        if not any(more > proof and _apart(face, other) > SAME and _within(face, other) > 0.5 for other, more in sure)
    ]


def _within(face: Face, other: Face) -> float:
    """Share of the smaller of two faces' boxes that lies in the other one."""
    low = np.maximum(face.landmarks[:, :2].min(0), other.landmarks[:, :2].min(0))
    high = np.minimum(face.landmarks[:, :2].max(0), other.landmarks[:, :2].max(0))
    smaller = min(float(np.prod(np.ptp(one.landmarks[:, :2], axis=0))) for one in (face, other))
    return float(np.prod(np.maximum(high - low, 0))) / max(smaller, 1e-6)


def _without_duplicates(faces: list[Face]) -> list[Face]:
    """Of faces that overlap, the one whose presence is surest; order kept."""
    corners = [(face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)) for face in faces]
    boxes = np.array([[*((a + b) / 2), *(b - a)] for a, b in corners]).reshape(-1, 4)
    chosen: list[int] = []
    for i in sorted(range(len(faces)), key=lambda i: -faces[i].score):
        if not len(chosen) or _overlap(boxes[i], boxes[chosen]).max() <= OVERLAP:
            chosen.append(i)
    return [faces[i] for i in sorted(chosen)]


def _box_points(box: Array, tile: Region) -> Array:
    """[7, 2] px of the picture: the middle and the six keypoints of a detection in a tile."""
    x, y = (box[[0, 1, *range(4, 16)]].reshape(-1, 2) - 0.5).T * [[tile.width], [tile.height]]
    cosine, sine = np.cos(tile.angle), np.sin(tile.angle)
    return np.stack([tile.x + cosine * x - sine * y, tile.y + sine * x + cosine * y], 1)


def _detected_region(box: Array, tile: Region) -> Region:
    """A detection of a tile as the region that the mesh net looks at."""
    middle, left_eye, right_eye = _box_points(box, tile)[:3]
    angle = float(np.arctan2(right_eye[1] - left_eye[1], right_eye[0] - left_eye[0]))
    return Region(middle[0], middle[1], 1.5 * box[2] * tile.width, 1.5 * box[3] * tile.height, angle)


def _region_of(landmarks: Array) -> Region:
    """Where to look for a face whose landmarks are known: their box times 1.5, square, turned with the eyes."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    middle, side = (low + high) / 2, 1.5 * float((high - low).max())
    across = landmarks[263, :2] - landmarks[33, :2]
    return Region(float(middle[0]), float(middle[1]), side, side, float(np.arctan2(across[1], across[0])))
