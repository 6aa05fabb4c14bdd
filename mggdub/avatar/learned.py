"""What the learned head says of a photo, and how points take it up."""

from __future__ import annotations

import numpy as np
import torch

from mggdub.avatar import shares
from mggdub.avatar.values import Bases
from mggdub.face.mesh import OVAL, ring_mask
from mggdub.geometry import sampling
from mggdub.geometry.camera import cm_per_px, project
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import sample_crop, sample_grid
from mggdub.geometry.symmetry import mirror
from mggdub.models import Models
from mggdub.networks.head import FINE, GRID, Grids, head_inputs
from mggdub.types import CROP_SIZE, Array, GeometryMaps, Portrait, as_tensor

INNER, BESIDE = 3.0, 1.0  # cm inside a face's outline where bases move nothing any more, beside it where they colour


@torch.inference_mode()
def predict_grids(models: Models, head: Portrait, maps: GeometryMaps, surface: Array, drivers: Array) -> Grids:
    """What the learned head says of a photo; surface [512, 512] camera z cm, drivers [32] the photo's state."""
    basis = models.expression
    inputs = head_inputs(head, maps, surface, basis.triangles, basis.canonical)
    grids: Grids = models.head(torch.from_numpy(inputs)[None], torch.from_numpy(drivers)[None])
    return grids


def hidden_inputs(
    features: torch.Tensor, head: Portrait, means: Array, colors: Array
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the Sym-Gaussian decoder is told of hidden points [N, 3] with first colours [N, 3]."""
    pixels, twin = (project(points, head.camera) for points in (means, mirror(means)))
    photo = sample_crop(head.image.astype(np.float32) / 255, twin)
    at, beside = (sample_grid(features, as_tensor(place / CROP_SIZE)) for place in (pixels, twin))
    return at, beside, as_tensor(photo), as_tensor(colors), as_tensor(means)


def motion_bases(grids: Grids, edge: Array, head: Portrait) -> Bases:
    """The bases of one photo; `edge` [512, 512] px as of `motion_fade`."""
    motion, shade = grids.motion[0].numpy() * motion_fade(edge, head), grids.shade[0].numpy() * shade_fade(head)
    return Bases(motion.astype(np.float32), shade.astype(np.float32))


def motion_fade(edge: Array, head: Portrait) -> Array:
    """[GRID, GRID] 0..1 of `edge_distance`: nothing at the edge, nor in the inner face.

    Eyes, nose and lips follow the mesh, which the driver tells; what was learned besides takes them away from it.
    """
    inside = distance_inside(_face(head)) * cm_per_px(head.camera)
    edge, inside = _cells(edge, GRID), _cells(inside, GRID)
    return sampling.smoothstep((edge - 3) / shares.EDGE_FADE) * sampling.smoothstep(1 - inside / INNER)


def shade_fade(head: Portrait) -> Array:
    """[FINE, FINE] 0..1: nothing in the face, whose colours the photo knows best."""
    return sampling.smoothstep(_cells(distance_inside(~_face(head)), FINE) * cm_per_px(head.camera) / BESIDE)


def _face(head: Portrait) -> Array:
    """[512, 512] bool."""
    return ring_mask(head.landmarks, OVAL, (CROP_SIZE, CROP_SIZE))


def _cells(image: Array, count: int) -> Array:
    """[count, count]: means of an image [512, 512]."""
    step = CROP_SIZE // count
    return np.asarray(image.reshape(count, step, count, step).mean((1, 3)))


def enlarge_grid(cells: Array) -> Array:
    """[512, 512] of [GRID, GRID]."""
    wide = torch.nn.functional.interpolate(torch.from_numpy(cells)[None, None], CROP_SIZE, mode="bilinear")
    return wide[0, 0].numpy()
