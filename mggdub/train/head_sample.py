"""One person of a training of the head: the avatar's tensors and frames of a clip, read, tinted and moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from mggdub.avatar.hidden import MIRRORED_RADIUS, SHELL_RADIUS
from mggdub.face.mesh import PIVOT
from mggdub.geometry.camera import project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import sample_crop, sample_grid
from mggdub.networks.head import GRID, Grids, rays
from mggdub.types import CROP_SIZE, Array, Camera

TINT = 0.15  # of the light, log standard deviation of the augmentation
SWITCHES = ("refine", "symmetry", "sym", "densify")


@dataclass(frozen=True, eq=False)
class Sample:
    """One avatar (N points, S of them visible or hidden, the others of mouth and lids) and T moments of its clip."""

    means: Tensor  # [N, 3]
    quats: Array  # [N, 4]
    scales: Tensor  # [N, 3]
    colors: Tensor  # [N, 3]
    skin: sparse.csr_matrix  # [N, 478]
    neck: Tensor  # [N]
    body: Tensor  # [N]
    place: Tensor  # [N, 2] 0..1 of the crop
    rays: Tensor  # [N, 3]
    hidden: slice
    mouth: slice
    own: Tensor  # [32]
    camera: Camera
    fade: Tensor  # [GRID, GRID] of the bases of motion
    shade_fade: Tensor  # [FINE, FINE] of those of colour
    inputs: Tensor  # [inputs, GRID, GRID]
    twin: Tensor  # [H, 2] 0..1, where the mirror image of a hidden point lies
    twin_color: Tensor  # [H, 3]
    opacities: Tensor  # [T, N]
    displacement: Array  # [T, 478, 3]
    growth: Array  # [T, 478]
    rotation: Array  # [T, 3]
    translation: Array  # [T, 3]
    sway: Tensor  # [T, 3, 4]
    plates: Tensor  # [T, h, w, 3]
    states: Tensor  # [T, 42]
    mouth_colors: Tensor  # [T, M, 3]
    mouth_radii: Tensor  # [T, M]
    pictures: Tensor  # [T, h, w, 3]
    heads: Tensor  # [T, h, w]
    landmarks: Array  # [T, 478, 2] px of the pictures
    parents: Tensor  # [V] cell of every visible point
    lead: Tensor  # [P] one visible point of every cell
    lead_skin: sparse.csr_matrix  # [P, 478]
    aim: Tensor | None  # [T, P, 3] of `flow`
    without: frozenset[str]  # parts of SWITCHES that are left out


def load_sample(data: Path, stem: str, number: int, without: frozenset[str] = frozenset()) -> Sample:
    """Avatar `number` of a clip."""
    with np.load(data / f"{stem}_{number}.npz") as file, np.load(data / f"{stem}.npz") as pool:
        a = {name: file[name] for name in file.files}
        p = {name: pool[name][a["order"]] for name in ("pictures", "heads", "landmarks")}

    def tensor(array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()

    count = len(a["means"])
    skin = sparse.csr_matrix((a["skin_data"], a["skin_indices"], a["skin_indptr"]), (count, 478))
    hidden, mouth = (slice(*pair) for pair in a["slices"][:2].tolist())
    if "symmetry" in without:
        a, skin, hidden, mouth = without_mirrored(a, skin, hidden, mouth)
    height, width = a["plates"].shape[1:3]
    crop = Camera(a["crop_K"], a["viewmat"])
    twin = project(a["means"][hidden] * np.array([-1, 1, 1], np.float32), crop)
    place = a["place"]
    cells = np.clip((place[: hidden.start] * GRID).astype(np.int64), 0, GRID - 1)
    _, lead, parents = np.unique(cells[:, 1] * GRID + cells[:, 0], return_index=True, return_inverse=True)
    aim = data / f"{stem}_{number}.aim"
    twin_color = sample_crop(np.kron(a["image"], np.ones((2, 2, 1), np.float32)), twin) / 255
    return Sample(
        means=tensor(a["means"]),
        quats=a["quats"],
        scales=tensor(a["scales"]),
        colors=tensor(a["colors"]),
        skin=skin,
        neck=tensor(a["neck"]),
        body=tensor(a["body"]),
        place=tensor(place),
        rays=tensor(rays(place * CROP_SIZE, crop)),
        hidden=hidden,
        mouth=mouth,
        own=tensor(a["own"]),
        camera=Camera(a["K"], a["viewmat"], width, height),
        fade=tensor(a["fade"]),
        shade_fade=tensor(a["shade_fade"]),
        inputs=tensor(a["inputs"]),
        twin=tensor(twin / CROP_SIZE),
        twin_color=tensor(twin_color),
        opacities=tensor(a["opacities"]),
        displacement=a["displacement"].astype(np.float32),
        growth=a["growth"].astype(np.float32),
        rotation=a["rotation"],
        translation=a["translation"],
        sway=tensor(a["sway"]),
        plates=tensor(a["plates"]) / 255,
        states=tensor(a["states"]),
        mouth_colors=tensor(a["mouth_colors"]),
        mouth_radii=tensor(a["mouth_radii"]),
        pictures=tensor(p["pictures"]) / 255,
        heads=tensor(p["heads"]) / 255,
        landmarks=p["landmarks"],
        parents=torch.from_numpy(parents),
        lead=torch.from_numpy(lead),
        lead_skin=skin[lead],
        aim=tensor(np.load(aim)) if aim.exists() else None,
        without=without,
    )


def without_mirrored(
    arrays: dict[str, Array], skin: sparse.csr_matrix, hidden: slice, mouth: slice
) -> tuple[dict[str, Array], sparse.csr_matrix, slice, slice]:
    """An avatar's arrays, skin and ranges without its mirrored points, which come first among the hidden ones."""
    mirrored = arrays["scales"][hidden, 0] < (MIRRORED_RADIUS + SHELL_RADIUS) / 2
    dropped, count = int(mirrored.sum()), len(arrays["means"])
    keep = np.delete(np.arange(count), slice(hidden.start, hidden.start + dropped))
    fewer = {name: arrays[name][keep] for name in ("means", "quats", "scales", "colors", "neck", "body", "place")}
    fewer["opacities"] = arrays["opacities"][:, keep]
    hidden, mouth = slice(hidden.start, hidden.stop - dropped), slice(mouth.start - dropped, mouth.stop - dropped)
    return arrays | fewer, skin[keep], hidden, mouth


def tinted(one: Sample, rng: np.random.Generator) -> Sample:
    """The same clip in another light."""
    light = torch.from_numpy(np.exp(rng.normal(0, TINT) + rng.normal(0, TINT / 2, 3))).float().clamp(0.4, 1.2)
    inputs = one.inputs.clone()
    image = (inputs[:12].unflatten(0, (4, 3)) + 1) * light[:, None, None] - 1
    inputs[:12] = image.clamp(-1, 1).flatten(0, 1)
    names = ("colors", "plates", "twin_color", "mouth_colors", "pictures")
    return replace(one, inputs=inputs, **{name: (getattr(one, name) * light).clamp(0, 1) for name in names})


def moved(
    weights: Tensor, grids: Grids, one: Sample, moment: int, which: slice | Tensor = slice(None)
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of `which` points at a moment, how they grow [., 1], and the motion that was learned [3, GRID, GRID].

    weights [K] of the bases of motion.
    """
    motion = torch.tensordot(weights, grids.motion[0], 1) * one.fade
    pushed = sample_grid(torch.cat([motion, grids.depth[0]]), one.place[which])  # [N, 4]
    mesh = np.concatenate([one.displacement[moment], one.growth[moment][:, None] - 1], 1)
    skin = torch.from_numpy((one.skin if isinstance(which, slice) else one.lead_skin) @ mesh)  # [N, 4]
    solid = (torch.arange(len(one.means)) < one.hidden.stop)[which, None]
    x = one.means[which] + pushed[:, 3:] * solid * one.rays[which] + pushed[:, :3] + skin[:, :3]
    turn = torch.from_numpy((euler_to_matrix(one.rotation[moment]) - np.eye(3)).astype(np.float32))
    shift = torch.from_numpy(one.translation[moment])
    sway = one.sway[moment]
    x = (
        x
        + one.neck[which, None] * ((x - torch.tensor(PIVOT)) @ turn.T + shift)
        + one.body[which, None] * (x @ sway[:, :3].T + sway[:, 3])
    )
    return x, 1 + skin[:, 3:], motion
