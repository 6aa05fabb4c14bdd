"""The side of the head that the photo does not show: mirrored points and a shell behind the rim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mggdub.avatar.learned import hidden_inputs
from mggdub.avatar.values import SOLID, PointLayer
from mggdub.avatar.visible import half_camera
from mggdub.face.mesh import CHIN_TIP, EAR_LOBES
from mggdub.face.skin import skin_weights
from mggdub.geometry.camera import cm_per_px, project
from mggdub.geometry.sampling import sample_crop
from mggdub.geometry.symmetry import head_shell, mirror, surface_points, visible_filter, voxel_filter
from mggdub.networks.head import HeadNet
from mggdub.renderer.rasterize import render_frame
from mggdub.types import CLOTHES, CROP_SIZE, HAIR, Array, Camera, Gaussians, GeometryMaps, Portrait, as_tensor

HIDDEN_INSET = 2  # of 256 px: how far inside the outline the hidden side begins, so that it stays hidden
OPAQUE = 0.75  # of what is before the hidden side; less shows the background
SHOWS, SHOWS_ROUNDS = 0.03, 3  # of a pixel that a hidden point may take; rounds, since others show when it is gone
MIRRORED_RADIUS, SHELL_RADIUS = 0.11, 0.2  # cm, of the hidden points: mirrored ones come first, then the shell


def inner_colors(image: Array, mask: Array, rim: Array) -> Array:
    """Colours [N, 3] a little inside the outline, where no background is mixed in; image [H * W, 3]."""
    deep = ndimage.binary_erosion(mask, iterations=3)
    if not deep.any():
        return image[np.ravel_multi_index(tuple(rim.T), mask.shape)]
    nearest = ndimage.distance_transform_edt(~deep, return_distances=False, return_indices=True)
    rows, columns = nearest[:, rim[:, 0], rim[:, 1]]
    return image[rows * mask.shape[1] + columns]


def hidden_layer(
    head: Portrait,
    maps: GeometryMaps,
    surface: Array,
    head_share: Array,
    triangles: Array,
    overlap: bool = False,
    covered: Array | None = None,
) -> PointLayer:
    """The side the photo does not show: mirrored points where they do not overlap, and a shell behind the rim.

    surface [512, 512] cm; head_share [512, 512] of the crop. `overlap`: mirrored points stay where they overlap visible
    ones, as if there were no voxel filter (for comparisons). covered [512, 512] 0..1, if it is known, is how opaque the
    visible side is: nothing hides behind what shows the background.
    """
    camera, depth = half_camera(head.camera), surface[::2, ::2]
    opaque = maps.matte if covered is None else np.where(covered < OPAQUE, 0, maps.matte)
    solid = ndimage.binary_erosion(opaque[::2, ::2] > 0.9, iterations=HIDDEN_INSET)
    above = (np.arange(CROP_SIZE // 2) * 2 < head.landmarks[CHIN_TIP, 1])[:, None]
    mask = solid & (maps.labels[..., CLOTHES] < 0.5) & above
    visible = surface_points(mask, depth, camera)
    mirrored = mirror(visible)
    behind = ndimage.maximum_filter(depth, 9)  # behind what lies beside it, too
    keep = voxel_filter(mirrored, visible) & visible_filter(mirrored, camera, solid, behind) | overlap
    ends = (np.arange(CROP_SIZE // 2) * 2 < head.landmarks[list(EAR_LOBES), 1].mean())[:, None]
    round_off = mask & (ends | (maps.labels[..., HAIR] > 0.5))  # below the ears a head without hair is its neck
    shell = head_shell(round_off, solid, depth, camera, np.concatenate([visible, mirrored[keep]]))
    closes = visible_filter(shell.points, camera, solid, behind)
    image = head.image[::2, ::2].reshape(-1, 3).astype(np.float32) / 255
    colors = np.concatenate([image[mask.ravel()][keep], inner_colors(image, round_off, shell.rim[closes])])
    means = np.concatenate([mirrored[keep], shell.points[closes]]).astype(np.float32)
    at = project(means, head.camera)
    return PointLayer(
        means=means,
        colors=colors.astype(np.float32),
        radius=np.repeat([MIRRORED_RADIUS, SHELL_RADIUS], [keep.sum(), closes.sum()]).astype(np.float32),
        skin=skin_weights(at, head.landmarks, triangles, cm_per_px(head.camera)),
        neck=sample_crop(head_share, at),
        opacity=np.full(len(means), SOLID, np.float32),
    )


@torch.inference_mode()
def color_hidden(net: HeadNet, layer: PointLayer, features: Tensor, head: Portrait) -> PointLayer:
    """The hidden side as the Sym-Gaussian decoder sees it; features [C, GRID, GRID]."""
    if len(layer) == 0:
        return layer
    change = net.color_hidden(*hidden_inputs(features, head, layer.means, layer.colors)).numpy()
    colors = np.clip(layer.colors + change[:, :3], 0, 1)
    return replace(layer, colors=colors, opacity=np.clip(layer.opacity + change[:, 3], 0.02, 0.98))


def still_hidden(layer: PointLayer, visible: Gaussians, camera: Camera) -> PointLayer:
    """The points of a hidden layer that do not show through the visible splats of the photo's own state.

    Where hair is thin they would. The photo's detail makes up for that, and when the head turns it shines beside them.
    """
    for _ in range(SHOWS_ROUNDS):
        if len(layer) == 0:
            return layer
        both = with_layer(visible, layer)
        hides = (torch.arange(len(both)) >= len(visible)).float()[:, None].expand(-1, 3)
        shown = render_frame(replace(both, colors=hides), camera)[0][..., 0]  # [h, w]
        reach = float(np.median(layer.radius) * camera.K[0, 0] / camera.viewmat[2, 3])  # px
        most = ndimage.maximum_filter(shown, 2 * max(1, round(1.5 * reach)) + 1)
        columns, rows = np.floor(project(layer.means, camera)).astype(int).T
        keep = most[rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1)] < SHOWS
        if keep.all():
            return layer
        layer = layer.where(keep)
    return layer


def with_layer(visible: Gaussians, layer: PointLayer) -> Gaussians:
    """Gaussians and a layer's points, which are round."""
    return Gaussians(
        torch.cat([visible.means, as_tensor(layer.means)]),
        torch.cat([visible.quats, as_tensor(np.tile([1.0, 0, 0, 0], (len(layer), 1)))]),
        torch.cat([visible.scales, as_tensor(np.repeat(layer.radius[:, None], 3, 1))]),
        torch.cat([visible.opacities, as_tensor(layer.opacity)]),
        torch.cat([visible.colors, as_tensor(layer.colors)]),
    )
