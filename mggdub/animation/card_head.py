"""A head's points and splats on a card: `deform` and the learned bases for B frames at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from mggdub.animation import deform
from mggdub.animation.compositor import photo_places
from mggdub.animation.film import FADES, film_sides
from mggdub.animation.poses import fading_parts
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import PIVOT
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.geometry.sampling import add_sampled, tensor_smoothstep
from mggdub.types import LANDMARKS, Array, Camera


@dataclass(frozen=True, eq=False)
class Skin:
    """How N points follow the mesh, and how the mesh stretches; at most D edges meet in a vertex."""

    vertices: Tensor  # [N, most] int32
    weights: Tensor  # [N, most]
    mesh: Tensor  # [478, 3] cm
    edges: Tensor  # [2, E] int64
    resting: Tensor  # [E] cm
    around: Tensor  # [478, D] int64 of edges, E where there are no more

    @classmethod
    def of(cls, avatar: HeadAvatar, triangles: Array, device: str) -> Skin:
        """Of triangles [F, 3] of the open mesh."""
        edges = np.unique(np.sort(deform.mesh_edges(triangles), 1), axis=0)
        resting = np.maximum(deform.lengths(avatar.mesh, edges), 0.05).astype(np.float32)
        arrays = (*_padded(avatar.mesh_weights), avatar.mesh, edges.T, resting, _around(edges))
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))

    def follow(self, displacement: Tensor) -> Tensor:
        """[B, N, 4]: how points move (cm) and splats grow, of displacements [B, 478, 3] cm."""
        table = torch.cat([displacement, self._stretch(displacement)[..., None] - 1], -1)  # [B, 478, 4]
        table = table.transpose(0, 1).flatten(1)  # [478, B * 4]
        summed = F.embedding_bag(self.vertices, table, per_sample_weights=self.weights, mode="sum")
        return summed.unflatten(1, (-1, 4)).transpose(0, 1).contiguous()

    def _stretch(self, displacement: Tensor) -> Tensor:
        """[B, 478] as `deform.stretch`."""
        flat = (self.mesh + displacement)[..., :2]
        length = (flat[:, self.edges[0]] - flat[:, self.edges[1]]).norm(dim=-1)
        ratio = F.pad((length / self.resting).clamp(1, deform.MAX_STRETCH), (0, 1), value=1.0)  # [B, E + 1]
        return ratio[:, self.around].amax(-1)


def _padded(skin: sparse.csr_matrix) -> tuple[Array, Array]:
    """Columns and weights [N, most] of a matrix, with zeros where a row has fewer."""
    counts = np.diff(skin.indptr)
    places = np.arange(max(1, counts.max()))
    has = places < counts[:, None]
    at = np.where(has, skin.indptr[:-1, None] + places, 0)
    return np.where(has, skin.indices[at], 0).astype(np.int32), np.where(has, skin.data[at], 0).astype(np.float32)


def _around(edges: Array) -> Array:
    """[478, D]: the edges that meet in each vertex."""
    ends, numbers = edges.T.ravel(), np.tile(np.arange(len(edges)), 2)
    order = np.argsort(ends, kind="stable")
    counts = np.bincount(ends, minlength=LANDMARKS)
    starts, places = np.cumsum(counts) - counts, np.arange(counts.max())
    at = np.minimum(starts[:, None] + places, len(order) - 1)
    return np.where(places < counts[:, None], numbers[order[at]], len(edges))


@dataclass(frozen=True, eq=False)
class CardHead:
    """What is uploaded once of a head of N splats. Bases are sampled where the splats lie."""

    skin: Skin
    means: Tensor  # [3 * N] cm
    motion: Tensor  # [K, 3 * N] cm
    colors: Tensor  # [3 * N]
    shade: Tensor  # [K', 3 * N]
    scales: Tensor  # [N, 3] cm
    quats: Tensor  # [N, 4]
    turning: Tensor  # [N, 4] quats times the share of the head's motion
    shares: Tensor  # [2, N, 1] of the head's and the torso's motion
    opacities: Tensor  # [N]
    part: Tensor  # [N] int64: from 1 on `fading_parts`, 0 all others
    places: Tensor  # [N, 2] px of the photo, 0 where there is none
    placed: Tensor  # [N, 1] 1 where there is one
    matrix: Tensor  # [3, 3] of the camera: head space to px times z, px times z, z
    shift: Tensor  # [1, 3]
    sides: Tensor  # [F, 3] of `film_sides`
    film: slice
    mouth: slice

    @classmethod
    def of(cls, avatar: HeadAvatar, triangles: Array, device: str) -> CardHead:
        """Of triangles [F, 3] of the open mesh."""
        means, quats, scales, opacities, colors = avatar.gaussians.arrays
        neck, body = avatar.head_share[:, None], avatar.torso_share[:, None]
        places, part = photo_places(avatar), np.zeros(len(means), np.int64)
        for number, points in enumerate(fading_parts(avatar), 1):
            part[points] = number
        has = ~np.isnan(places).any(1, keepdims=True)
        bases = (avatar.bases.motion, avatar.bases.shade)
        motion, shade = (
            _sampled(basis, avatar, stop) for basis, stop in zip(bases, (None, avatar.hidden.stop), strict=True)
        )
        matrix, shift = _projection(avatar.camera)
        arrays = {
            "means": means.ravel(),
            "motion": motion,
            "colors": colors.ravel(),
            "shade": shade,
            "scales": scales,
            "quats": quats,
            "turning": neck * quats,
            "shares": np.stack([neck, body]),
            "opacities": opacities,
            "part": part,
            "places": np.where(has, places, 0),
            "placed": has.astype(np.float32),
            "matrix": matrix,
            "shift": shift,
            "sides": film_sides(avatar),
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
        return cls(Skin.of(avatar, triangles, device), film=avatar.film, mouth=avatar.mouth, **tensors)

    def pose(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Means, quats, scales, opacities and what splats carry, for `gsplat.placed_splatter`, of B frames.

        `given` are `inputs`, weights [B, K] and [B, K'] of the bases, the views [B, 3] of `head_view`, the mouth's
        colours [B, M, 3] and radii [B, M].
        """
        follows = self.skin.follow(given["displacement"])
        means = self._moved(given, follows)
        scales = self.scales * (1 + follows[..., 3:])
        scales[:, self.mouth] = given["splat_radii"][..., None]
        colors = torch.addmm(self.colors, given["shade"], self.shade).unflatten(1, (-1, 3))
        colors[:, self.mouth] = given["splat_colors"]
        opacities = self.opacities * given["shown"][:, self.part]
        opacities[:, self.film] *= self._film_shown(given["view"])
        count = len(means)
        quats = torch.baddbmm(self.quats.expand(count, -1, -1), self.turning.expand(count, -1, -1), given["turn"])
        return means, quats, scales, opacities, self._carried(means, colors)

    def _film_shown(self, view: Tensor) -> Tensor:
        """[B, F] as `film_shown`, in views [B, 3] of `head_view`."""
        low, high = FADES
        return tensor_smoothstep((high + view @ self.sides.T) / (high - low))

    def _moved(self, given: dict[str, Tensor], follows: Tensor) -> Tensor:
        """[B, N, 3] cm."""
        pushed = torch.addmm(self.means, given["motion"], self.motion).unflatten(1, (-1, 3)) + follows[..., :3]
        rigid = torch.baddbmm(given["shift"][:, None], pushed, given["rigid"])  # [B, N, 6]
        neck, body = self.shares
        return pushed.addcmul_(neck, rigid[..., :3]).addcmul_(body, rigid[..., 3:])

    def _carried(self, means: Tensor, colors: Tensor) -> Tensor:
        """[B, N, 8]: colours, then what `rasterize.render_placed` says of places, then 1."""
        projected = means @ self.matrix + self.shift
        away = (self.places - projected[..., :2] / projected[..., 2:]) * self.placed
        placed, ones = self.placed.expand(len(means), -1, -1), torch.ones_like(projected[..., :1])
        return torch.cat([colors, placed, away, away.square().sum(-1, keepdim=True), ones], -1)


def inputs(displacement: Array, rotation: Array, translation: Array, sway: Array, shown: Array) -> dict[str, Array]:
    """What `CardHead.pose` needs of B frames beside the weights of the bases, of their `FrameMotion`s.

    [B, 478, 3], [B, 3], [B, 3], [B, 3, 4], [B, 5].
    """
    turn = euler_to_matrix(rotation)
    lean = turn - np.eye(3)
    shift = translation - lean @ np.array(PIVOT, np.float64)
    whole = np.concatenate([np.ones((len(shown), 1)), shown], 1)  # of splats that always show
    return {
        "displacement": displacement,
        "rigid": np.concatenate([lean, sway[:, :, :3]], 1).transpose(0, 2, 1),  # [B, 3, 6]
        "shift": np.concatenate([shift, sway[:, :, 3]], 1),
        "turn": quat_products(matrix_to_quat(turn)),
        "shown": whole,
    }


def quat_products(turns: Array) -> Array:
    """[B, 4, 4]: what takes a quaternion, as a row, to what turns [B, 4] add to it if all of them applies."""
    turns = np.where(turns[:, :1] >= 0, turns, -turns)
    a, b, c, d = (turns - [1, 0, 0, 0]).T
    rows = [[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]]
    return np.stack([np.stack(row, -1) for row in rows], 1).transpose(0, 2, 1)


def _projection(camera: Camera) -> tuple[Array, Array]:
    """`matrix` and `shift` of a `CardHead`."""
    to_px = camera.K.astype(np.float64) @ camera.viewmat[:3].astype(np.float64)  # [3, 4]
    return to_px[:, :3].T.astype(np.float32), to_px[None, :, 3].astype(np.float32)


def _sampled(basis: Array, avatar: HeadAvatar, stop: int | None) -> Array:
    """[K, 3 * N]: a basis [K, 3, S, S] where the splats lie, nothing for those from `stop` on."""
    sampled = np.zeros((len(basis), len(avatar.crop_uv), 3), np.float32)
    for plane, out in zip(basis, sampled, strict=True):
        add_sampled(np.ascontiguousarray(plane.transpose(1, 2, 0)), avatar.crop_uv[:stop], out[:stop])
    return sampled.reshape(len(basis), -1)
