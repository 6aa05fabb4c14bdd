"""The folds beside a smile, which open out as skin where its mouth gets narrower.

A fold is a dark line of the photo that is longer than it is wide, and much darker than the skin's own texture. Cheeks
that come to rest stretch; the line would go with them and stay. What of it is broad the lower face's network changes;
what is fine is taken from a drawing here, before the photo's detail is laid on it.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from PIL import Image
from scipy import ndimage

from mggdub.avatar.values import HeadAvatar
from mggdub.compiled import compiled
from mggdub.face.mesh import BESIDE_MOUTH, MOUTH_CORNERS, ring_mask
from mggdub.geometry.camera import cm_per_px, project
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import between, smoothstep
from mggdub.metrics.pixels import grey
from mggdub.networks.lower_face import SIZE
from mggdub.types import Array

LENGTH = 0.8  # cm: lines that are shorter are none
FINE, BROAD = 0.03, 0.2  # cm: standard deviations of blurs that take away grain, and leave what the network changes
NOISE = 3.0  # times the median depth beside a mouth, that is the skin's own texture
EDGE = (0.05, 0.35)  # cm inside the zone's outline: nothing is a fold yet, and all may be
TURNS = 8  # directions of lines
NARROWED = 0.5  # cm that a mouth is narrower than the photo's where its folds are gone
ROOM = SIZE / 4  # px of the lower face's window, that folds may leave their place in it as heads turn and cheeks move


def find_folds(avatar: HeadAvatar) -> Array:
    """[h, w] float32 of 1: how much lighter than the photo its skin is without folds, over a drawing's pixels."""
    camera, box = avatar.camera, avatar.box
    small = Image.fromarray(box.cut(avatar.image)).resize((camera.width, camera.height), Image.Resampling.BOX)
    px, marks = 1 / cm_per_px(camera), project(avatar.mesh, camera)
    zone = np.zeros((camera.height, camera.width), np.float32)
    for ring in BESIDE_MOUTH.values():
        within = distance_inside(ring_mask(marks, ring, zone.shape)) / px
        zone = np.maximum(zone, smoothstep((within - EDGE[0]) / (EDGE[1] - EDGE[0]))).astype(np.float32)
    rows, columns = np.nonzero(zone)
    if not len(rows):
        return zone
    reach = int(2 * LENGTH * px) + 1
    part = tuple(slice(max(0, int(at.min()) - reach), int(at.max()) + reach + 1) for at in (rows, columns))
    light = ndimage.gaussian_filter(grey(np.asarray(small, np.float32)[part]) / 255, FINE * px).astype(np.float32)
    depth, beside = line_depth(light, LENGTH * px), zone[part] > 0.3
    texture = NOISE * np.median(depth[beside]) if beside.any() else 0.0
    depth = ndimage.gaussian_filter(np.maximum(depth - texture, 0), FINE * px)
    found = np.zeros_like(zone)
    found[part] = (depth - ndimage.gaussian_filter(depth, BROAD * px)) * zone[part]
    return found


def line_depth(light: Array, length: float) -> Array:
    """[H, W] float32: how much darker lines of at least `length` px are in light [H, W] than what is beside them.

    By closings with straight lines of so many px: all of them fill a spot, only those across fill a line.
    """
    reach = max(length / 2, 1.0)
    along = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) + 1)
    angles = np.arange(TURNS) * np.pi / TURNS
    steps = np.rint(np.stack([np.outer(np.sin(angles), along), np.outer(np.cos(angles), along)], -1)).astype(np.int64)
    high, low = np.full(light.shape, -np.inf, np.float32), np.full(light.shape, np.inf, np.float32)
    _closings(np.ascontiguousarray(light, np.float32), steps, high, low)
    return high - low


@compiled(boundscheck=False)
def _closings(light, steps, high, low):  # type: ignore[no-untyped-def]
    """The greatest and the least of closings of light [H, W] by lines: steps [T, L, 2] down and right."""
    height, width = light.shape
    wide, closed = np.empty_like(light), np.empty_like(light)
    for line in steps:
        for sign, source, target in ((1, light, wide), (-1, wide, closed)):
            for y in range(height):
                for x in range(width):
                    best = np.float32(-np.inf)
                    for k in range(len(line)):
                        i = min(max(y + line[k, 0], 0), height - 1)
                        j = min(max(x + line[k, 1], 0), width - 1)
                        best = max(best, sign * source[i, j])
                    target[y, x] = sign * best
        for y in range(height):
            for x in range(width):
                high[y, x], low[y, x] = max(high[y, x], closed[y, x]), min(low[y, x], closed[y, x])


def folds_open(mesh: Array, displacement: Array) -> float:
    """0..1: how far folds of a face have opened whose mesh [478, 3] at rest moved by `displacement` [478, 3] cm."""
    right, left = MOUTH_CORNERS
    width = np.linalg.norm(mesh[left] - mesh[right])
    now = np.linalg.norm(mesh[left] + displacement[left] - mesh[right] - displacement[right])
    return float(smoothstep((width - now) / NARROWED))


def around_folds(folds: Array, from_drawing: Array) -> Array:
    """[2, 2] px of the lower face's window: left and top, right and bottom of where folds [h, w] come to lie.

    from_drawing [2, 3] leads into the window of the face at rest. Zeros if there are no folds.
    """
    rows, columns = np.nonzero(folds)
    if not len(rows):
        return np.zeros((2, 2))
    lies = np.stack([columns + 0.5, rows + 0.5], 1) @ from_drawing[:, :2].T + from_drawing[:, 2]
    return np.stack([lies.min(0) - ROOM, lies.max(0) + ROOM])


def part_of_drawing(around: Array, to_drawing: Array, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom px of a drawing that hold a window's rectangle `around` [2, 2]; to_drawing [2, 3]."""
    corners = np.array([[x, y] for x in around[:, 0] for y in around[:, 1]]) @ to_drawing[:, :2].T + to_drawing[:, 2]
    (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
    return max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)


@compiled(parallel=True, boundscheck=False, fastmath=True)
def open_folds(drawn, folds, share, part):  # type: ignore[no-untyped-def]
    """Add `share` of folds [h, w] to the colours of a settled drawing [h, w, 8] where it shows them; all float32.

    Nothing shows them beyond the `part` (left, top, right, bottom) of it.
    """
    rows, columns = folds.shape
    left, top, right, bottom = part
    for i in prange(top, bottom):
        for j in range(left, right):
            placed, takes = drawn[i, j, 3], drawn[i, j, 6]
            if placed <= np.float32(0.02) or takes <= np.float32(0):
                continue
            x = np.float32(j) + drawn[i, j, 4] / placed
            y = np.float32(i) + drawn[i, j, 5] / placed
            if x < 0 or y < 0 or x >= columns - 1 or y >= rows - 1:
                continue
            column, row = np.int32(x), np.int32(y)
            s, t = x - np.float32(column), y - np.float32(row)
            here, under = folds[row], folds[row + 1]
            fold = between(here[column], here[column + 1], under[column], under[column + 1], s, t)
            added = share * min(takes / placed, np.float32(1)) * fold
            if added != 0:
                for k in range(3):
                    drawn[i, j, k] = min(max(drawn[i, j, k] + added, np.float32(0)), drawn[i, j, 7])
