"""What an avatar file must hold before anything of it is used: the shape, type and range of every tensor and number.

A file of a stranger may have a right digest, and the kernels that animate a head check no index. So everything that
they rely on, and the work that a head may ask for in a frame, is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from mggdub import weights
from mggdub.avatar import shares
from mggdub.avatar.mouth import OWN_COLUMNS, OWN_ROWS, SIZES, layer_points, paint_mouth
from mggdub.avatar.shown_teeth import LEVELS, LOWER_LEVELS
from mggdub.avatar.values import HeadAvatar, MouthLayer
from mggdub.geometry.camera import OUTER_EYES, project
from mggdub.networks import head
from mggdub.options import INPAINTERS, SIZE_RANGE, AvatarOptions
from mggdub.types import DRIVERS, LANDMARKS, Array

MOST_GAUSSIANS = 1_500_000  # a head of the largest box has half of it
MOST_TOUCHED = 200_000_000  # px that all splats cover in the photo's own pose; a large head has 26 million
MOST_RENDERED = 1280  # px, longest side of what is rendered; the widest hair takes 934
MOST_FOLLOWED = 8  # vertices that a point follows; mouths and lids take 4
MOST_SHARE = 2.0  # sum of a point's sizes of weights; lids are drawn out to 1.4
FAR = 500.0  # cm, from the middle of the head
NEAREST, FARTHEST = 30.0, 2000.0  # cm, of the head from the camera; a crop's focal length makes it about 145
IN_FRONT = 10.0  # cm, that every point must be in front of the camera
LEAST_APART = 0.1  # px of the drawing, between the eyes; a head of 3 px has 1.2
LARGEST_RADIUS = 1.0  # cm, of the mouth's points
SIGMAS = 3.33  # standard deviations that an opaque splat reaches: sqrt(2 ln 255)
# Name: type, shape, lowest and highest value. N points, S and T entries of sparse matrices, M points of the mouth's
# inside, the other letters as in `letters`. Places and shares may lie a rounding beyond 0..1.
TENSORS: dict[str, tuple[str, tuple[str | int, ...], float, float]] = {
    "gaussians.means": ("float32", ("N", 3), -FAR, FAR),
    "gaussians.quats": ("float32", ("N", 4), -10, 10),
    "gaussians.scales": ("float32", ("N", 3), 0, 100),
    "gaussians.opacities": ("float32", ("N",), 0, 1),
    "gaussians.colors": ("float32", ("N", 3), -1, 2),
    "mesh_weights.data": ("float32", ("S",), -MOST_SHARE, MOST_SHARE),
    "mesh_weights.indices": ("int32", ("S",), 0, LANDMARKS - 1),
    "mesh_weights.indptr": ("int32", ("N+1",), 0, MOST_FOLLOWED * MOST_GAUSSIANS),
    "head_share": ("float32", ("N",), -0.01, 1.01),
    "torso_share": ("float32", ("N",), -0.01, 1.01),
    "crop_uv": ("float32", ("N", 2), -100, 100),
    "shows_photo": ("bool", ("N",), 0, 1),
    "lid_places": ("float32", ("L", 2), -1e4, 1e4),
    "bases.motion": ("float32", ("motions", 3, head.GRID, head.GRID), -100, 100),
    "bases.shade": ("float32", ("shades", 3, head.FINE, head.FINE), -100, 100),
    "mesh": ("float32", (LANDMARKS, 3), -FAR, FAR),
    "photo_drivers": ("float32", (DRIVERS,), -100, 100),
    "photo_mouth": ("int64", ("O",), 0, MOST_GAUSSIANS),
    "mouth_layer.means": ("float32", ("M", 3), -FAR, FAR),
    "mouth_layer.skin.data": ("float32", ("T",), -MOST_SHARE, MOST_SHARE),
    "mouth_layer.skin.indices": ("int32", ("T",), 0, LANDMARKS - 1),
    "mouth_layer.skin.indptr": ("int32", ("M+1",), 0, MOST_FOLLOWED * MOST_GAUSSIANS),
    "mouth_layer.mesh": ("float32", (LANDMARKS, 3), -FAR, FAR),
    "mouth_layer.rest": ("float32", (LANDMARKS, 3), -FAR, FAR),
    "mouth_layer.tone": ("float32", (3,), 0, 2),
    "mouth_layer.levels": ("float32", (2,), LOWER_LEVELS[0], LEVELS[1]),
    "mouth_layer.own": ("float32", (3, OWN_ROWS, OWN_COLUMNS), 0, 1),
    "mouth_layer.own_share": ("float32", (OWN_ROWS, OWN_COLUMNS), 0, 1),
    "camera.K": ("float32", (3, 3), -1e6, 1e6),
    "camera.viewmat": ("float32", (4, 4), -FARTHEST, FARTHEST),
    "plate": ("uint8", ("h", "w", 3), 0, 255),
    "image": ("uint8", ("H", "W", 3), 0, 255),
    "torso_share_map": ("float32", ("y", "x"), -0.01, 1.01),
}


def check_shapes(shapes: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of TENSORS that a file names, before anything is allocated for them.

    Raises ValueError where one is missing, too many, too large or does not fit the others.
    """
    _want(isinstance(shapes, dict) and shapes.keys() == TENSORS.keys(), "it has other tensors than an avatar")
    letters = _sizes()
    for name, (_, shape, _, _) in TENSORS.items():
        sizes = shapes[name]
        whole = isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)
        _want(whole and len(sizes) == len(shape), f"{name} has a wrong shape")
        for size, letter in zip(sizes, shape, strict=True):
            want = letter if isinstance(letter, int) else letters.setdefault(letter, size)
            _want(size == want, f"{name} has a wrong shape")
        if name == "gaussians.means":
            _want(0 < letters["N"] <= MOST_GAUSSIANS, f"{letters['N']} gaussians are none or too many")
            letters["N+1"] = letters["N"] + 1
    _check_room(letters)
    return {name: tuple(shapes[name]) for name in TENSORS}


def _check_room(letters: dict[str, int]) -> None:
    """Raises ValueError where the sizes that no other size gives are larger than any head's."""
    _want(letters["O"] <= letters["N"], "photo_mouth has a wrong shape")
    _want(letters["L"] <= letters["N"], "lid_places has a wrong shape")
    _want(letters["S"] <= MOST_FOLLOWED * letters["N"], "mesh_weights has a row of a wrong length")
    _want(letters["T"] <= MOST_FOLLOWED * letters["M"], "mouth_layer.skin has a row of a wrong length")
    _want(min(letters["W"], letters["H"]) >= 2, "picture has a wrong size")
    _want(max(letters["W"], letters["H"]) <= SIZE_RANGE[1], "picture has a wrong size")
    _want(letters["w"] <= letters["W"] and letters["h"] <= letters["H"], "frame lies outside the picture")
    _want(min(letters["x"], letters["y"]) >= 2, "torso_share_map does not fit the image")
    _want(max(letters["x"], letters["y"]) <= shares.CELLS, "torso_share_map does not fit the image")


def check_tensors(tensors: dict[str, Array]) -> None:
    """Raises ValueError where one of TENSORS, whose shapes are checked, is not finite, out of range or out of order."""
    for name, (_, _, low, high) in TENSORS.items():
        values = tensors[name]
        if values.size:
            _want(low <= values.min() and values.max() <= high, f"{name} is not finite or out of range")  # not so NaN
    for name in ("mesh_weights", "mouth_layer.skin"):
        _check_rows(name, *(tensors[f"{name}.{part}"] for part in ("indptr", "data")))


def _sizes() -> dict[str, int]:
    """What the shipped networks ask of an avatar's sizes."""
    motions, shades = head.ranks(weights.settings(head.NAME))
    points = layer_points()
    return {"motions": motions, "shades": shades, "M": points, "M+1": points + 1}


def _check_rows(name: str, starts: Array, data: Array) -> None:
    """Raises ValueError where rows of a sparse matrix are not in order, too long or too heavy."""
    counts = np.diff(starts)
    _want(starts[0] == 0 and starts[-1] == len(data), f"{name} has rows that do not fit its entries")
    _want(bool(counts.min() >= 0 and counts.max() <= MOST_FOLLOWED), f"{name} has a row of a wrong length")
    heavy = np.bincount(np.repeat(np.arange(len(counts)), counts), np.abs(data), len(counts))
    _want(bool(heavy.max() <= MOST_SHARE), f"{name} has weights that are too large")


def check_avatar(avatar: HeadAvatar) -> None:
    """Raises ValueError where fields of an avatar, whose tensors are checked, do not fit together."""
    count = len(avatar.gaussians)
    _want(isinstance(avatar.mouth_layer, MouthLayer), "mouth_layer is none")
    for name, matrix, rows in (
        ("mesh_weights", avatar.mesh_weights, count),
        ("mouth_layer.skin", avatar.mouth_layer.skin, None),
    ):
        _want(isinstance(matrix, csr_matrix) and matrix.shape[1] == LANDMARKS, f"{name} is none")
        _want(rows in (None, matrix.shape[0]), f"{name} does not fit the gaussians")
    _check_ranges(avatar, count)
    _want(-180 <= avatar.angle <= 180, "angle is none")  # nor is NaN
    _want(avatar.inpainter in INPAINTERS[1:], "inpainter is none")
    _check_box(avatar)
    _check_camera(avatar)
    _check_mesh(avatar)
    _check_splats(avatar)
    layer = avatar.mouth_layer
    _want(SIZES[0] <= layer.size <= SIZES[1], "mouth_layer.size is none")
    least, most = np.array([LEVELS, LOWER_LEVELS], np.float32).T
    _want(bool(((least <= layer.levels) & (layer.levels <= most)).all()), "mouth_layer.levels are none")
    colors, radius = paint_mouth(layer, np.zeros((LANDMARKS, 3), np.float32))
    finite = bool(np.isfinite(colors).all()) and float(radius.max()) <= LARGEST_RADIUS  # not so NaN
    _want(finite, "the mouth's points are not finite or too large")


def _check_ranges(avatar: HeadAvatar, count: int) -> None:
    """The points of a head lie one part after the other; the first are the photo's pixels."""
    parts = (avatar.hidden, avatar.mouth, *avatar.lids)
    whole = all(
        part.step is None and type(part.start) is int and type(part.stop) is int for part in (*parts, avatar.film)
    )
    _want(whole, "a range of points is none")
    ends = [avatar.hidden.start, *(part.stop for part in parts)]
    following = all(part.start == end for part, end in zip(parts, ends, strict=False))
    _want(following and ends[0] >= 0 and ends == sorted(ends) and ends[-1] == count, "ranges of points do not follow")
    film = avatar.film
    _want(0 <= film.start <= film.stop <= avatar.hidden.start, "film is no range of the photo's points")
    _want(avatar.mouth.stop - avatar.mouth.start == layer_points(), "mouth does not fit its painter")
    inner = avatar.photo_mouth
    ordered = bool((np.diff(inner) > 0).all()) and (len(inner) == 0 or int(inner[-1]) < avatar.hidden.start)
    _want(ordered, "photo_mouth is no list of the photo's points")


def _check_box(avatar: HeadAvatar) -> None:
    frame, camera = avatar.box, avatar.camera
    height, width = avatar.image.shape[:2]
    _want(frame.left >= 0 and frame.left + frame.width <= width, "frame lies outside the picture")
    _want(frame.top >= 0 and frame.top + frame.height <= height, "frame lies outside the picture")
    _want(2 <= frame.render_width <= min(frame.width, MOST_RENDERED), "frame is empty or too large")
    _want(2 <= frame.render_height <= min(frame.height, MOST_RENDERED), "frame is empty or too large")
    _want((camera.width, camera.height) == (frame.render_width, frame.render_height), "camera does not fit the frame")


def _check_camera(avatar: HeadAvatar) -> None:
    K, view = avatar.camera.K, avatar.camera.viewmat.astype(np.float64)
    turn = view[:3, :3]
    _want(not K[[0, 1, 2, 2], [1, 0, 0, 1]].any() and K[2, 2] == 1, "camera.K is no pinhole's")
    _want(bool(K[0, 0] >= 0 and K[1, 1] >= 0), "camera.K has no focal length")
    _want(bool(np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3) and np.linalg.det(turn) > 0, "camera.viewmat is no turn")
    _want(view[3].tolist() == [0, 0, 0, 1], "camera.viewmat is no turn")
    _want(NEAREST <= view[2, 3] <= FARTHEST, "camera lies too near or too far")


def _check_mesh(avatar: HeadAvatar) -> None:
    view = avatar.camera.viewmat
    _want(float((avatar.mesh @ view[2, :3] + view[2, 3]).min()) >= IN_FRONT, "mesh lies behind the camera")
    right, left = project(avatar.mesh[list(OUTER_EYES)], avatar.camera)
    _want(float(np.hypot(*(left - right))) >= LEAST_APART, "mesh has its eyes in one place")


def _check_splats(avatar: HeadAvatar) -> None:
    g, camera = avatar.gaussians, avatar.camera
    view = camera.viewmat
    depth = g.means.numpy() @ view[2, :3] + view[2, 3]
    _want(float(depth.min()) >= IN_FRONT, "gaussians lie behind the camera")
    _want(float(np.square(g.quats.numpy()).sum(1).min()) > 1e-6, "gaussians.quats has zeros")
    reach = SIGMAS * g.scales.numpy().max(1) * float(max(camera.K[0, 0], camera.K[1, 1])) / depth  # px
    touched = np.minimum(2 * reach + 1, camera.width) * np.minimum(2 * reach + 1, camera.height)
    _want(float(touched.sum(dtype=np.float64)) <= MOST_TOUCHED, "gaussians are too large")


def check_options(options: Any) -> None:
    """Raises ValueError or UsageError where what a head was built with is not what it could be built with."""
    kinds = {"preview": (bool,), "size": (int, type(None)), "face": (str,), "background": (str,), "inpainter": (str,)}
    right = isinstance(options, dict) and options.keys() == kinds.keys()
    _want(right and all(type(options[name]) in kind for name, kind in kinds.items()), "its options are incomplete")
    AvatarOptions(**options)


def _want(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)
