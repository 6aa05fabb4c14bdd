"""The hidden side of a head: its mirror image where that fits the photo, and a shell that closes the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from mggdub.geometry.camera import project, unproject
from mggdub.types import Array, Camera

VOXEL = 1.0  # cm: not below the error of the depth
SLACK = 0.3  # cm behind the visible surface, from which on a point is hidden by it
SPACING = 0.25  # cm between points of a shell
CALM = 3.0  # px of an outline, over which its depth is averaged
BACK_OF_HEAD = 1.25  # a cranium reaches this many half-widths behind its outline
SHELL_REACH = 60.0  # degrees of the way round to the back; a turn of 20 degrees shows about 35


@dataclass(frozen=True, eq=False)
class Shell:
    """Points behind a head's outline."""

    points: Array  # [N, 3] float32, head space, cm
    normals: Array  # [N, 3] float32, unit, outward, head space
    rim: Array  # [N, 2] int64, row and column of the outline pixel each comes from: its first colour


def mirror(points: Array) -> Array:
    """Head-space points (or normals) [N, 3] on the other side of the plane x = 0."""
    return points * np.array([-1, 1, 1], points.dtype)


def voxel_filter(mirrored: Array, visible: Array) -> Array:
    """[M] bool: the mirrored points [M, 3] without a visible one [N, 3] in their voxel or one beside it."""
    if len(visible) == 0:
        return np.ones(len(mirrored), bool)
    low = visible.min(0) - 2 * VOXEL
    cells, taken = (np.floor((points - low) / VOXEL).astype(np.int64) for points in (mirrored, visible))
    full = np.zeros(taken.max(0) + 3, bool)
    full[tuple(taken.T)] = True
    full = ndimage.binary_dilation(full, np.ones((3, 3, 3), bool))
    inside = ((cells >= 0) & (cells < full.shape)).all(1)
    keep = np.ones(len(mirrored), bool)
    keep[inside] = ~full[tuple(cells[inside].T)]
    return keep


def visible_filter(points: Array, camera: Camera, matte: Array, depth: Array) -> Array:
    """[M] bool: the head-space points [M, 3] that the photo does not contradict.

    Seen from its camera they must fall inside the matte [H, W] and lie behind the visible surface, whose
    camera z is depth [H, W], by SLACK cm; H and W are the camera's.
    """
    pixels = np.floor(project(points, camera)).astype(np.int64)  # [M, 2]
    z = points @ camera.viewmat[2, :3] + camera.viewmat[2, 3]
    size = np.array([camera.width, camera.height])
    in_view = ((pixels >= 0) & (pixels < size)).all(1) & (z > 0)
    columns, rows = np.where(in_view[:, None], pixels, 0).T
    return in_view & (matte[rows, columns] > 0.5) & (z > depth[rows, columns] + SLACK)


def head_shell(head: Array, person: Array, depth: Array, camera: Camera, known: Array) -> Shell:
    """Closes a head behind its outline, so that a turn shows no hole at the sides.

    head [H, W] bool is hair and skin above the chin, person [H, W] bool everything in front of the background,
    depth [H, W] the visible surface's camera z in cm (H and W are the camera's). From every pixel where the
    head meets the background an ellipse runs backwards and inwards, as wide as the head and BACK_OF_HEAD
    times as deep, SHELL_REACH degrees of the way, a point every SPACING cm. Points nearer than that to a known
    one [K, 3] (visible or mirrored, head space) are left out.
    """
    rows, columns = _outline(head, person)
    if len(rows) == 0:
        return Shell(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 2), np.int64))
    calm = _along_outline(depth, rows, columns)  # [R]
    pixels = np.stack([columns, rows], 1) + 0.5
    scale = np.array([camera.K[0, 0], camera.K[1, 1]])
    rim = (pixels - camera.K[:2, 2]) / scale * calm[:, None]  # [R, 2] cm, camera x and y
    middle = (rim.min(0) + rim.max(0)) / 2
    arm = rim - middle  # [R, 2]
    radius = np.maximum(np.linalg.norm(arm, axis=1), 1e-3)
    back = BACK_OF_HEAD * np.ptp(rim[:, 0]) / 2
    steps = max(2, int(np.radians(SHELL_REACH) * max(back, radius.max()) / SPACING))
    angle = np.radians(SHELL_REACH) * np.arange(1, steps + 1) / steps  # [S]
    inwards, backwards = np.cos(angle), np.sin(angle)
    xy = middle + arm[:, None] * inwards[:, None]  # [R, S, 2]
    z = calm[:, None] + back * backwards  # [R, S]
    facing = np.concatenate(
        [arm[:, None] / radius[:, None, None] * (back * inwards)[:, None], (radius[:, None] * backwards)[..., None]], -1
    )
    rotation, shift = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    points = (np.concatenate([xy, z[..., None]], -1).reshape(-1, 3) - shift) @ rotation
    normals = facing.reshape(-1, 3) @ rotation
    source = np.repeat(np.stack([rows, columns], 1), steps, axis=0)
    keep = _thinned(points)
    if len(known):
        keep &= cKDTree(known).query(points, distance_upper_bound=SPACING)[0] >= SPACING
    normals = normals[keep] / np.linalg.norm(normals[keep], axis=1, keepdims=True)
    return Shell(points[keep].astype(np.float32), normals.astype(np.float32), source[keep])


def surface_points(mask: Array, depth: Array, camera: Camera) -> Array:
    """Head-space points [N, 3] of the pixels in mask [H, W] at camera z depth [H, W], row by row."""
    rows, columns = np.nonzero(mask)
    return unproject(np.stack([columns, rows], 1) + 0.5, depth[rows, columns], camera).astype(np.float32)


def _outline(head: Array, person: Array) -> tuple[Array, Array]:
    """Rows and columns of head pixels beside the background; the picture's own edge is none."""
    free = ndimage.binary_dilation(~person, np.ones((3, 3), bool))
    largest, count = ndimage.label(head)
    if count > 1:
        head = largest == 1 + np.argmax(np.bincount(largest.ravel())[1:])
    rows, columns = np.nonzero(head & free)
    return rows, columns


def _along_outline(depth: Array, rows: Array, columns: Array) -> Array:
    """Depth of the outline's pixels, averaged with their neighbours on it: it is least certain there."""
    weight, value = np.zeros(depth.shape), np.zeros(depth.shape)
    weight[rows, columns], value[rows, columns] = 1, depth[rows, columns]
    smooth = ndimage.gaussian_filter(value, CALM) / np.maximum(ndimage.gaussian_filter(weight, CALM), 1e-9)
    return smooth[rows, columns]


def _thinned(points: Array) -> Array:
    """[N] bool: the first point of every cell of SPACING cm."""
    cells = np.floor(points / SPACING).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    keep = np.zeros(len(points), bool)
    keep[first] = True
    return keep
