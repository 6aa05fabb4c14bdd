"""The lower face after it was drawn: a window that stands as the head does, and what the network changes in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from PIL import Image, ImageDraw
from torch import nn

from mggdub.animation.folds import around_folds, find_folds, folds_open, open_folds, part_of_drawing
from mggdub.animation.poses import FrameMotion
from mggdub.animation.seam import darken, find_seam
from mggdub.avatar.values import HeadAvatar
from mggdub.compiled import compiled
from mggdub.face.mesh import INNER_LIPS, OUTER_LIPS, PIVOT
from mggdub.geometry.camera import OUTER_EYES, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import between, smoothstep
from mggdub.networks.lower_face import INPUTS, SIZE, LowerFaceNet
from mggdub.networks.packed import packed
from mggdub.types import Array, Camera

BELOW, HALF = 0.86, 0.66  # of the outer-eye distance: a window's middle below the eyes, half its side
EYES = SIZE / (2 * HALF)  # px of a window, the outer-eye distance
MOTION_UNIT = SIZE / 8  # px of a window, for an input of 1
LEAST_SHOWN = 1 / 255  # of a change, below which there is none
FADES = SIZE / 12  # px of a window, from its edge
FINER = 4  # times the pixels in which outlines are filled
MOVED = (0.03, 0.2)  # cm that lips have moved from the photo's own: hardly, and so far that it shows them no longer


@dataclass(frozen=True, eq=False)
class Window:
    """Where the lower face lies in a drawing."""

    to_drawing: Array  # [2, 3] from px of the window to px of the drawing
    lips: Array  # [20, 2] px of the window
    inside: Array  # [20, 2]

    @property
    def from_drawing(self) -> Array:
        """[2, 3], the inverse."""
        return inverse(self.to_drawing)


def inverse(affine: Array) -> Array:
    """[2, 3] of [2, 3]."""
    turn = np.linalg.inv(affine[:, :2])
    return np.concatenate([turn, -turn @ affine[:, 2:]], 1)


def below_eyes(right: Array, left: Array, half: float, size: int) -> Array:
    """[2, 3] from px of a square of `size` px, which stands as the eyes do around the mouth, to px where eyes are seen.

    right, left [2] are the eyes' outer corners, `half` is half the square's side in distances between them.
    """
    across = left - right
    down = np.array([-across[1], across[0]])
    corner = (left + right) / 2 + BELOW * down - half * (across + down)
    return np.stack([across * 2 * half / size, down * 2 * half / size, corner], 1)


def find_window(mesh: Array, displacement: Array, rotation: Array, translation: Array, camera: Camera) -> Window:
    """The window of a head at rest in `mesh` [478, 3] cm that was displaced and moved as a `FramePose` says.

    It stands on the eyes' corners of the mesh at rest, which no expression moves.
    """
    turn = euler_to_matrix(rotation)

    def seen(points: Array) -> Array:
        return project((points - PIVOT) @ turn.T + PIVOT + translation, camera)

    right, left = seen(mesh[list(OUTER_EYES)])
    to_drawing = below_eyes(right, left, HALF, SIZE)
    moved, back = mesh + displacement, inverse(to_drawing)
    lips, inside = (seen(moved[list(ring)]) @ back[:, :2].T + back[:, 2] for ring in (OUTER_LIPS, INNER_LIPS))
    return Window(to_drawing, lips, inside)


def fill_outline(outline: Array, mask: Array) -> None:
    """Put into a mask [SIZE, SIZE] float32 of zeros how much of each pixel lies inside a polygon [N, 2] px."""
    corners = (outline * FINER - 0.5).astype(np.int64)  # as Pillow does
    first, last = corners.min(0) // FINER, corners.max(0) // FINER + 1
    (left, top), (right, bottom) = first.clip(0, SIZE).tolist(), last.clip(0, SIZE).tolist()
    if left >= right or top >= bottom:
        return
    picture = Image.new("L", ((right - left) * FINER, (bottom - top) * FINER))
    ImageDraw.Draw(picture).polygon((corners - [left * FINER, top * FINER]).ravel().tolist(), fill=255)
    np.divide(np.asarray(picture.reduce(FINER)), 255, out=mask[top:bottom, left:right], casting="same_kind")


def change_shown(displacement: Array) -> float:
    """0..1: how much of a change is shown of a face whose points went `displacement` [478, 3] cm from the photo's.

    In the photo's own state nothing is changed: there the photo is right.
    """
    moved = float(np.linalg.norm(displacement[[*OUTER_LIPS, *INNER_LIPS]], axis=1).mean())
    return float(smoothstep((moved - MOVED[0]) / (MOVED[1] - MOVED[0])))


def photo_inputs(picture: Array, at_rest: Window) -> Array:
    """[4, SIZE, SIZE] float32: the photo's own lower face and what is between its lips.

    picture [SIZE, SIZE, 3] uint8 is cut out of the photo by `at_rest`.
    """
    found = np.zeros((4, SIZE, SIZE), np.float32)
    found[:3] = picture.astype(np.float32).transpose(2, 0, 1) / 255
    fill_outline(at_rest.inside, found[3])
    return found


def drawn_inputs(drawn: Array, window: Window, at_rest: Window) -> Array:
    """[9, SIZE, SIZE] float32: a drawing [h, w, 8] of `rasterize.render_placed` in its window.

    Colours and alpha, how far the skin has moved in the head's frame, the share of what has a place, lips, inside.
    """
    cut, maps = np.empty((SIZE, SIZE, 8), np.float32), np.empty((9, SIZE, SIZE), np.float32)
    sample_window(drawn, window.to_drawing.astype(np.float32), cut)
    _seen_maps(cut, window.to_drawing, at_rest.from_drawing, maps)
    maps[7:] = 0
    fill_outline(window.lips, maps[7])
    fill_outline(window.inside, maps[8])
    return maps


def photo_window(avatar: HeadAvatar) -> tuple[Window, Array]:
    """The window of the photo's own lower face, and its `photo_inputs`."""
    none = np.zeros(3, np.float32)
    at_rest = find_window(avatar.mesh, np.zeros_like(avatar.mesh), none, none, avatar.camera)
    return at_rest, photo_inputs(cut_window(avatar.image, avatar, at_rest), at_rest)


@dataclass(frozen=True, eq=False)
class LowerFace:
    """What is worked out once for all frames of an avatar."""

    avatar: HeadAvatar
    net: nn.Module  # a LowerFaceNet, `packed`
    at_rest: Window
    photo: Array  # [4, SIZE, SIZE] of `photo_inputs`
    folds: Array  # [h, w] of `find_folds`
    folded: Array  # [2, 2] of `around_folds`

    @classmethod
    def of(cls, avatar: HeadAvatar, net: LowerFaceNet) -> LowerFace:
        """The photo's own lower face, cut out of its picture."""
        at_rest, photo = photo_window(avatar)
        example = torch.rand(1, INPUTS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        folds = find_folds(avatar)
        return cls(avatar, packed(net, example), at_rest, photo, folds, around_folds(folds, at_rest.from_drawing))

    @torch.inference_mode()
    def improve(self, drawn: Array, now: FrameMotion) -> None:
        """Change the colours of a settled drawing [h, w, 8] of the head that moves, in place."""
        mesh, shown = self.avatar.mesh, change_shown(now.displacement)
        if shown < LEAST_SHOWN:
            return
        window = find_window(mesh, now.displacement, now.rotation, now.translation, self.avatar.camera)
        inputs = np.concatenate([drawn_inputs(drawn, window, self.at_rest), self.photo])
        change = self.net(torch.from_numpy(inputs)[None])[0] * shown
        from_drawing = window.from_drawing.astype(np.float32)
        add_window(np.ascontiguousarray(change.permute(1, 2, 0).numpy()), from_drawing, drawn)
        seam = find_seam(mesh, now.displacement, now.shown.photo_mouth, window.inside, window.to_drawing, EYES)
        if seam.share:
            dark = np.float32(seam.share * shown), np.float32(seam.width)
            darken(drawn, from_drawing, _reach(from_drawing, SIZE, drawn.shape), seam.ends, seam.levels, *dark)
        if opened := folds_open(mesh, now.displacement):
            part = part_of_drawing(self.folded, window.to_drawing, drawn.shape[1], drawn.shape[0])
            open_folds(drawn, self.folds, np.float32(opened * shown), part)


def cut_window(picture: Array, avatar: HeadAvatar, window: Window) -> Array:
    """[SIZE, SIZE, 3] uint8: a window of the avatar's drawing in a picture [H, W, 3] uint8 of its output's size."""
    box = avatar.box
    ratio = np.array([box.width / box.render_width, box.height / box.render_height])
    to_picture = window.to_drawing * ratio[:, None]
    to_picture[:, 2] += [box.left, box.top]
    return cut_affine(picture, to_picture)


def cut_affine(picture: Array, to_picture: Array) -> Array:
    """[SIZE, SIZE, 3] uint8: a window of a picture [H, W, 3] uint8; [2, 3] leads from px of the one to px of the other.

    Pixels of the window are means of what they cover.
    """
    finer = max(1, round(float(np.sqrt(abs(np.linalg.det(to_picture[:, :2]))))))
    turn = to_picture[:, :2] / finer
    shift = to_picture[:, 2]  # PIL takes centres of pixels itself
    data = (*turn[0], shift[0], *turn[1], shift[1])
    side = SIZE * finer
    found = Image.fromarray(picture).transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(found.reduce(finer))


@compiled(parallel=True, boundscheck=False, fastmath=True)
def sample_window(drawn, to_drawing, out):  # type: ignore[no-untyped-def]
    """Fill out [S, S, 8] with bilinear samples of drawn [h, w, 8], whose edge goes on; all float32."""
    rows, columns, half = drawn.shape[0], drawn.shape[1], np.float32(0.5)
    for i in prange(out.shape[0]):
        for j in range(out.shape[1]):
            v, u = np.float32(i) + half, np.float32(j) + half
            x = to_drawing[0, 0] * u + to_drawing[0, 1] * v + to_drawing[0, 2] - half
            y = to_drawing[1, 0] * u + to_drawing[1, 1] * v + to_drawing[1, 2] - half
            x = min(max(x, np.float32(0)), np.float32(columns - 1.001))
            y = min(max(y, np.float32(0)), np.float32(rows - 1.001))
            column, row = np.int32(x), np.int32(y)
            s, t = x - np.float32(column), y - np.float32(row)
            for k in range(8):
                above, below = drawn[row, :, k], drawn[row + 1, :, k]
                out[i, j, k] = between(above[column], above[column + 1], below[column], below[column + 1], s, t)


@compiled(boundscheck=False)
def _seen_maps(cut, to_drawing, to_rest, maps):  # type: ignore[no-untyped-def]
    """Fill the first seven maps of `drawn_inputs` from a window [S, S, 8] of a drawing; affine maps [2, 3] float64."""
    a, b, c, d, e, f = to_drawing.ravel()
    g, h, i, j, k, m = to_rest.ravel()
    for row in range(cut.shape[0]):
        for column in range(cut.shape[1]):
            u, v, here = column + 0.5, row + 0.5, cut[row, column]
            known = max(here[3], np.float32(1e-3))
            x, y = a * u + b * v + c + here[4] / known, d * u + e * v + f + here[5] / known
            right, down = (g * x + h * y + i - u) / MOTION_UNIT, (j * x + k * y + m - v) / MOTION_UNIT
            seen = here[3] > np.float32(0.02)
            for channel in range(3):
                maps[channel, row, column] = here[channel]
            maps[3, row, column], maps[6, row, column] = here[7], here[3]
            maps[4, row, column] = min(max(right, -3.0), 3.0) if seen else 0.0
            maps[5, row, column] = min(max(down, -3.0), 3.0) if seen else 0.0


@compiled(parallel=True, boundscheck=False, fastmath=True)
def add_window(change, from_drawing, drawn):  # type: ignore[no-untyped-def]
    """Add to the colours of drawn [h, w, 8] the bilinear samples of change [S, S, 3] times alpha; all float32.

    Towards the window's edge a change fades.
    """
    size, one, half = change.shape[0], np.float32(1), np.float32(0.5)
    edge = np.float32(FADES)
    left, top, right, bottom = _reach(from_drawing, size, drawn.shape)
    for i in prange(top, bottom):
        for j in range(left, right):
            x, y = np.float32(j) + half, np.float32(i) + half
            u = from_drawing[0, 0] * x + from_drawing[0, 1] * y + from_drawing[0, 2]
            v = from_drawing[1, 0] * x + from_drawing[1, 1] * y + from_drawing[1, 2]
            near = min(min(u, np.float32(size) - u), min(v, np.float32(size) - v)) / edge
            alpha = drawn[i, j, 7]
            if near <= 0 or alpha <= 0:
                continue
            gain = alpha * min(near, one)
            u = min(max(u - half, np.float32(0)), np.float32(size - 1.001))
            v = min(max(v - half, np.float32(0)), np.float32(size - 1.001))
            column, row = np.int32(u), np.int32(v)
            s, t = u - np.float32(column), v - np.float32(row)
            for k in range(3):
                above, below = change[row, :, k], change[row + 1, :, k]
                more = between(above[column], above[column + 1], below[column], below[column + 1], s, t)
                total = drawn[i, j, k] + gain * more
                drawn[i, j, k] = min(max(total, np.float32(0)), alpha)


@compiled()
def _reach(from_drawing, size, shape):  # type: ignore[no-untyped-def]
    """Left, top, right and bottom of what a window of `size` px covers in a drawing [h, w, .]."""
    a, b, c, d, e, f = from_drawing.astype(np.float64).ravel()
    scale = 1 / (a * e - b * d)
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for corner in range(4):
        u, v = size * (corner % 2) - c, size * (corner // 2) - f
        x, y = (e * u - b * v) * scale, (a * v - d * u) * scale
        left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
    return (
        max(int(np.floor(left)), 0),
        max(int(np.floor(top)), 0),
        min(int(np.ceil(right)) + 1, shape[1]),
        min(int(np.ceil(bottom)) + 1, shape[0]),
    )
