"""Trains the learned head through the renderer: `python -m mggdub.train.head DATA RUN --steps 6000`.

DATA is what `head_data` made of talking clips, RUN keeps the state and the log. One avatar of a clip is driven to other
frames of it; what is rendered has to look like them, before densification (one Gaussian per cell of the grid) and after
(its children). The same command goes on where it stopped; a resumed run equals an unbroken one, since every step has
its own seed. `--turned HEADS` mixes in what `head_synth` made of renders, one step in four, to teach the hidden side.
`--publish FOLDER` writes the running mean of the weights with its card.

What is measured goes to RUN/judged.json, too. `--without` leaves out, for `ablation`: refine, the offsets of depth;
symmetry, the mirrored points (the shell stays); sym, the decoder of the hidden side, which keeps its first colours;
densify, the children: one Gaussian per cell is drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from mggdub.animation.deform import turn_patches
from mggdub.avatar.hidden import MIRRORED_RADIUS, SHELL_RADIUS
from mggdub.avatar.values import SOLID
from mggdub.avatar.visible import halved
from mggdub.evaluation.perceptual import VGG16_POOLED, Vgg, load_lpips, load_vgg
from mggdub.face import expression
from mggdub.face.mesh import PIVOT
from mggdub.geometry.camera import project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import sample_crop, sample_grid
from mggdub.metrics.pixels import ssim_of_moments
from mggdub.networks.head import GRID, NAME, POSE_UNIT, Grids, HeadConfig, HeadNet, rays
from mggdub.renderer.rasterize import rasterize
from mggdub.train.common import HELD_OUT, cosine_rate, held_out, load_state, move_mean, save_state, set_rate
from mggdub.types import CROP_SIZE, LIP_MODES, Array, Camera, Gaussians
from mggdub.weights import save

AVATARS, TARGETS = 1, 1  # in a step: avatars, and the moments each is driven to
LEARNING_RATE, WARM_UP, LEAST_RATE, DECAY = 1e-3, 50, 0.02, 0.02
AVERAGE, SLOW = 0.997, 10  # of `move_mean`; the running mean of the weights is what is published
TURNED_EVERY = 4  # steps, of which the last is with turned heads if there are any
SSIM_SHARE, LOOK_SHARE, MATTE_SHARE, COARSE_SHARE = 0.2, 0.01, 0.1, 0.5
FACE_WEIGHT, MOUTH_WEIGHT, OUTSIDE_WEIGHT = 1.5, 3.0, 0.25  # added on the face and the mouth; of what is no head
LOOK_SIZE = 104  # px, side of the window around the face that VGG16 sees
LOOK_LAYERS = (2, 4, 7)  # convolutions of VGG16 after which features are compared
# Regularisers: uneven motion cracks the skin; depth and colour stay near the photo's unless it pays; motion that fewer
# than four in five agree upon is not worth its cost, or it would be that of the people trained on.
UNEVEN, DEPTH_UNEVEN, DEPTH_COST, SHADE_COST, MOTION_COST = 0.02, 0.01, 0.001, 0.02, 0.4
TINT = 0.15  # of the light, log standard deviation of the augmentation
FLOW_SHARE = 0.03  # of a px
MOUTH_BOX = [61, 291, 0, 17, 37, 267, 84, 314]  # landmarks around the lips
KEEP_EVERY = 100
SWITCHES = ("refine", "symmetry", "sym", "densify")
CARD = {
    "what": "The learned head: refinement of the surface, bases of motion and colour, colours of the hidden side",
    "licence": "research use only, see weights/LICENSE",
    "trained on": "pairs of frames of talking clips of people not in the validation split, one in nine held out; "
    "these gave the metrics: px that points are from where optical flow finds them, PSNR inside the true head and "
    "LPIPS at 256 px, of the photo itself, without what was learned (plain) and with it; turned: renders of synthetic "
    "heads",
    "method": "optical flow for where points go, L1 + 0.2 (1 - SSIM) + 0.01 VGG16 through the renderer for the rest",
    "limits": "A small correction: most of what is left is hair and clothes that hang, and noise of the tracker. Heads "
    "within some 30 degrees of frontal; what is behind hands, hats and microphones is a guess.",
}


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
    fade: Tensor  # [GRID, GRID]
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


def on_screen(means: Tensor, camera: Camera) -> Tensor:
    """[N, 2] px of means [N, 3]."""
    view, K = torch.from_numpy(camera.viewmat), torch.from_numpy(camera.K)
    seen = means @ view[:3, :3].T + view[:3, 3]
    return seen[:, :2] / seen[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


def astray(net: HeadNet, grids: Grids, one: Sample, moments: range) -> Tensor:
    """[moments]: mean px by which points miss where the flow says that they should be."""
    assert one.aim is not None
    weights, _ = net.weights(one.states, one.own.expand(len(one.states), -1))
    found = []
    for moment in moments:
        at = on_screen(moved(weights[moment], grids, one, moment, one.lead)[0], one.camera)
        size = F.smooth_l1_loss(at, one.aim[moment, :, :2], reduction="none").sum(1)
        trust = one.aim[moment, :, 2]
        found.append((size * trust).sum() / trust.sum().clamp(1))
    return torch.stack(found)


def drawn(net: HeadNet, grids: Grids, one: Sample, moment: int) -> tuple[Gaussians, Tensor, Tensor]:
    """The head at a moment, what its motion was [3, GRID, GRID] and its change of colour [3, 2 GRID, 2 GRID]."""
    weights, tints = net.weights(one.states[moment], one.own)
    shade = torch.tensordot(tints, grids.shade[0], 1)
    x, growth, motion = moved(weights, grids, one, moment)
    solid = one.hidden.stop
    scales = one.scales * growth
    opacities = one.opacities[moment]
    features = grids.features[0]
    hidden = one.hidden
    colors = one.colors[:solid]
    if "sym" in one.without:
        told = torch.zeros(len(one.twin), 4)
    else:
        near, twin = sample_grid(features, one.place[hidden]), sample_grid(features, one.twin)
        told = net.color_hidden(near, twin, one.twin_color, colors[hidden], one.means[hidden])
    first = torch.cat([colors[: hidden.start], (colors[hidden] + told[:, :3]).clamp(0, 1)])
    colors = (first + sample_grid(shade, one.place[:solid])).clamp(0, 1)
    opacities = torch.cat([opacities[: hidden.start], (SOLID + told[:, 3]).clamp(0.02, 0.98), opacities[solid:]])
    mouth, radii = one.mouth_colors[moment], one.mouth_radii[moment][:, None].expand(-1, 3)
    colors = torch.cat([colors, mouth, one.colors[one.mouth.stop :]])
    scales = torch.cat([scales[:solid], radii, scales[one.mouth.stop :]])
    quats = torch.from_numpy(turn_patches(one.quats, one.neck.numpy(), one.rotation[moment]))
    head = Gaussians(x, quats, scales, opacities, colors)
    return coarse(head, one) if "densify" in one.without else head, motion, shade


def coarse(head: Gaussians, one: Sample) -> Gaussians:
    """The head before densification: the visible points of a cell are one."""
    first, cells = one.hidden.start, int(one.parents.max()) + 1
    number = torch.zeros(cells).index_add(0, one.parents, torch.ones(first))

    def merged(values: Tensor) -> Tensor:
        values = values[:, None] if values.ndim == 1 else values
        mean = torch.zeros(cells, values.shape[1]).index_add(0, one.parents, values[:first]) / number[:, None]
        return torch.cat([mean, values[first:]])

    scales = merged(head.scales[:, :2].mean(1, keepdim=True).expand(-1, 3))
    wide = torch.cat([scales[:cells] * number.sqrt()[:, None], scales[cells:]])
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(len(scales), -1)
    return Gaussians(merged(head.means), quats, wide, merged(head.opacities)[:, 0], merged(head.colors))


def picture(head: Gaussians, camera: Camera, plate: Tensor) -> tuple[Tensor, Tensor]:
    """[3, h, w] over the plate [h, w, 3], and alpha [h, w]."""
    seen = rasterize(head, camera)
    return (seen.colors + (1 - seen.alphas[..., None]) * plate).permute(2, 0, 1), seen.alphas


def weight_map(one: Sample, moment: int) -> Tensor:
    """[h, w]: what counts in a picture: the head, more so the face, most of all the mouth."""
    head = one.heads[moment]
    weight = OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * head
    marks = one.landmarks[moment]
    for points, gain in ((marks, FACE_WEIGHT), (marks[MOUTH_BOX], MOUTH_WEIGHT)):
        low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
        left, top = np.maximum(low, 0)
        weight[top : max(high[1], 0), left : max(high[0], 0)] += (
            gain * head[top : max(high[1], 0), left : max(high[0], 0)]
        )
    return weight


def likeness(seen: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """L1 + 0.2 (1 - SSIM) of [3, h, w], weighed [h, w]; SSIM in windows of 7 px, every other one."""
    local = F.avg_pool2d(torch.cat([seen, true, seen * seen, true * true, seen * true, weight[None]])[None], 7, 2)[0]
    similar = ssim_of_moments(*local[:-1].split(3))
    apart = ((seen - true).abs().mean(0) * weight).sum() / weight.sum()
    return apart + SSIM_SHARE * ((1 - similar.mean(0)) * local[-1]).sum() / local[-1].sum()


def perceived(vgg: Vgg, seen: Tensor, true: Tensor, landmarks: Array) -> Tensor:
    """Mean absolute difference of VGG16's features in a window around the face."""
    height, width = seen.shape[1:]
    x, y = (landmarks.min(0) + landmarks.max(0)) / 2
    size = min(LOOK_SIZE, height, width)
    left = int(np.clip(x - size / 2, 0, width - size))
    top = int(np.clip(y - size / 2, 0, height - size))
    shift, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pair = torch.stack([p[:, top : top + size, left : left + size] for p in (seen, true)])
    x = (pair - shift[:, None, None]) / scale[:, None, None]
    total = torch.zeros(())
    for index, (kernel, bias) in enumerate(vgg.convolutions[: LOOK_LAYERS[-1]]):
        x = F.max_pool2d(x, 2) if index in VGG16_POOLED else x
        x = F.relu(F.conv2d(x, kernel, bias, padding=1), inplace=False)
        if index + 1 in LOOK_LAYERS:
            total = total + (x[0] - x[1].detach()).abs().mean()
    return total


def unevenness(field: Tensor) -> Tensor:
    """Mean absolute step between neighbouring cells of [..., h, w]."""
    return field.diff(dim=-1).abs().mean() + field.diff(dim=-2).abs().mean()


def grids_of(net: HeadNet, one: Sample) -> Grids:
    """What the network says of an avatar."""
    grids: Grids = net(one.inputs[None], one.own[None])
    return grids._replace(depth=torch.zeros_like(grids.depth)) if "refine" in one.without else grids


def losses(net: HeadNet, vgg: Vgg, one: Sample, moments: list[int]) -> dict[str, Tensor]:
    """Every term already weighed; their sum is minimised."""
    grids = grids_of(net, one)
    terms: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        terms[name] = terms.get(name, torch.zeros(())) + value / len(moments)

    if one.aim is not None:
        terms["flow"] = FLOW_SHARE * astray(net, grids, one, range(1, len(one.states))).mean()
    small = halved(one.camera)
    for moment in moments:
        head, motion, shade = drawn(net, grids, one, moment)
        true, weight = one.pictures[moment].permute(2, 0, 1), weight_map(one, moment)
        seen, alpha = picture(head, one.camera, one.plates[moment])
        add("fine", likeness(seen, true, weight))
        outer = (one.heads[moment] - alpha).abs() * (1 - one.heads[moment])
        add("matte", MATTE_SHARE * outer.mean())
        if moment == moments[0]:  # once an avatar: these are dear
            terms["look"] = LOOK_SHARE * perceived(vgg, seen, true, one.landmarks[moment])
            halves = (true, weight[None], one.plates[moment].permute(2, 0, 1))
            size = (small.height, small.width)
            true, weight, behind = (F.interpolate(p[None], size, mode="area")[0] for p in halves)
            few = head if "densify" in one.without else coarse(head, one)
            seen, _ = picture(few, small, behind.permute(1, 2, 0))
            terms["coarse"] = COARSE_SHARE * likeness(seen, true, weight[0])
        add("uneven", UNEVEN * unevenness(motion * GRID / 8))
        add("motion", MOTION_COST * motion.abs().mean())
        add("shade", SHADE_COST * (shade.abs().mean() + unevenness(shade)))
    terms["depth"] = DEPTH_UNEVEN * unevenness(grids.depth) + DEPTH_COST * grids.depth.abs().mean()
    return terms


def people(data: Path) -> tuple[list[tuple[str, int, str]], list[tuple[str, int, str]]]:
    """(clip, avatar, person) to train on, and those of people held out."""
    found = []
    for path in sorted(data.glob("*.npz")):
        stem, _, number = path.stem.rpartition("_")
        if (data / f"{stem}.npz").exists() and number.isdecimal() and len(number) == 1:
            with np.load(data / f"{stem}.npz") as pool:
                found.append((stem, int(number), str(pool["identity"])))
    names = sorted({person for *_, person in found})
    held = {name for name in names if held_out(name, HELD_OUT)}
    return [row for row in found if row[2] not in held], [row for row in found if row[2] in held]


def chosen(rows: list[tuple[str, int, str]], step: int) -> list[tuple[str, int, str]]:
    """The avatars of a step: a person first, then one of his."""
    rng = np.random.default_rng([5, step])
    names = sorted({person for *_, person in rows})
    who = rng.choice(len(names), AVATARS, replace=False)
    return [_pick(rng, [row for row in rows if row[2] == names[i]]) for i in who]


def _pick(rng: np.random.Generator, rows: list[tuple[str, int, str]]) -> tuple[str, int, str]:
    return rows[int(rng.integers(len(rows)))]


def batches(
    sets: list[tuple[Path, list[tuple[str, int, str]]]], steps: range, without: frozenset[str]
) -> Iterator[tuple[int, list[Sample]]]:
    """The samples of every step, read while the one before is worked on; of clips and, if given, of turned heads."""
    with ThreadPoolExecutor(1) as pool:

        def read(step: int) -> list[Sample]:
            rng = np.random.default_rng([6, step])
            data, rows = sets[-1 if step % TURNED_EVERY == TURNED_EVERY - 1 else 0]
            return [tinted(load_sample(data, stem, number, without), rng) for stem, number, _ in chosen(rows, step)]

        after = pool.submit(read, steps.start)
        for step in steps:
            now = after.result()
            after = pool.submit(read, step + 1)
            yield step, now


def new_net(basis: expression.ExpressionBasis, config: HeadConfig | None = None) -> HeadNet:
    """An untrained network that leaves heads as they are."""
    torch.manual_seed(0)
    net = HeadNet(config)
    units = np.concatenate([POSE_UNIT, np.full(len(net.unit) - len(POSE_UNIT) - LIP_MODES, 0.3), basis.mode_std])
    net.unit.copy_(torch.from_numpy(units))
    return net


def train(
    data: Path,
    run: Path,
    steps: int,
    without: frozenset[str] = frozenset(),
    config: HeadConfig | None = None,
    seconds: float = math.inf,
    turned: Path | None = None,
    start: Path | None = None,
) -> HeadNet:
    """The running mean of the weights after `steps` or so many seconds; goes on from the state in RUN.

    Without one it begins with the mean weights of the run `start`, if given.
    """
    basis, vgg = expression.load_expression(), load_vgg()
    net = new_net(basis, config)
    mean = new_net(basis, config)
    adam = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=DECAY)
    state, first = run / "state.pt", 0
    run.mkdir(parents=True, exist_ok=True)
    if earlier := load_state(state):
        net.load_state_dict(earlier["net"])
        mean.load_state_dict(earlier["mean"])
        adam.load_state_dict(earlier["adam"])
        first = earlier["step"]
    elif start:
        for which in (net, mean):
            which.load_state_dict(torch.load(start / "state.pt", weights_only=True)["mean"])
    sets = [(folder, people(folder)[0]) for folder in (data, turned) if folder]
    print(f"avatars to train on: {', '.join(f'{len(rows)} of {folder}' for folder, rows in sets)}", flush=True)
    began, log = time.perf_counter(), dict[str, float]()
    for step, samples in batches(sets, range(first, steps), without):
        rng = np.random.default_rng([7, step])
        set_rate(adam, LEARNING_RATE * cosine_rate(step, steps, WARM_UP, LEAST_RATE))
        adam.zero_grad()
        for one in samples:
            count = len(one.states)
            moments = (1 + rng.choice(count - 1, min(TARGETS, count - 1), replace=False)).tolist()
            terms = losses(net, vgg, one, moments)
            (torch.stack(list(terms.values())).sum() / len(samples)).backward()
            for name, value in terms.items():
                log[name] = log.get(name, 0.0) * 0.98 + 0.02 * float(value.detach())
        if turned and step % TURNED_EVERY == TURNED_EVERY - 1:  # renders are no photos: they teach the hidden side only
            for name, parameter in net.named_parameters():
                parameter.grad = parameter.grad if name.startswith("sym.") else None
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        move_mean(mean.state_dict(), net, step, AVERAGE, SLOW)
        last = step == steps - 1 or time.perf_counter() - began > seconds
        if step % 20 == 19 or last:
            told = " ".join(f"{name} {value:.4f}" for name, value in log.items())
            print(f"step {step + 1} {(time.perf_counter() - began) / (step + 1 - first):.2f} s/step {told}", flush=True)
        if step % KEEP_EVERY == KEEP_EVERY - 1 or last:
            parts = {"net": net.state_dict(), "mean": mean.state_dict(), "adam": adam.state_dict()}
            save_state(state, parts | {"step": step + 1})
        if last:
            break
    return mean.eval()


@torch.no_grad()
def judge(
    net: HeadNet, data: Path, rows: list[tuple[str, int, str]], without: frozenset[str]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """How the photo, the head without what was learned and the head with it are like every third true frame.

    PSNR inside the true head, LPIPS of the picture, and px off where `flow` was: their means, and what every avatar's
    moments gave.
    """
    plain, lpips = new_net(expression.load_expression(), net.config), load_lpips()
    each = []
    for stem, number, _ in rows:
        one = load_sample(data, stem, number, without)
        moments = range(1, len(one.states), 3)
        found: dict[str, list[float]] = {}
        seen = {"photo": [one.pictures[0].permute(2, 0, 1)] * len(moments)}
        for name, which in (("plain", plain), ("learned", net)):
            grids = grids_of(which, one)
            if one.aim is not None:
                found[f"{name}_px"] = astray(which, grids, one, moments).tolist()
            seen[name] = [picture(drawn(which, grids, one, m)[0], one.camera, one.plates[m])[0] for m in moments]
        for name, pictures in seen.items():
            found[name] = [head_psnr(p, one, m) for p, m in zip(pictures, moments, strict=True)]
            found[f"{name}_lpips"] = [
                lpips.distance(as_bytes(p.permute(1, 2, 0)), as_bytes(one.pictures[m]))
                for p, m in zip(pictures, moments, strict=True)
            ]
        each.append({"clip": stem, "avatar": number, **found})
    names = [name for name in each[0] if name not in ("clip", "avatar")]
    every = {name: np.concatenate([avatar[name] for avatar in each]) for name in names}
    gain = every["learned"] - every["plain"]
    means = {name: round(float(values.mean()), 4) for name, values in (every | {"gain": gain}).items()}
    return means | {"better": round(float((gain > 0).mean()), 3)}, each


def as_bytes(picture: Tensor) -> Array:
    """uint8 of 0..1."""
    return np.asarray((picture.clamp(0, 1) * 255).round().byte().numpy())


def head_psnr(seen: Tensor, one: Sample, moment: int) -> float:
    """dB inside the true head."""
    weight = one.heads[moment]
    error = ((seen - one.pictures[moment].permute(2, 0, 1)) ** 2).mean(0)
    return float(-10 * torch.log10((error * weight).sum() / weight.sum() + 1e-10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end this leg after so long")
    parser.add_argument("--without", nargs="*", default=[], choices=SWITCHES, help="ablations")
    parser.add_argument("--rank", type=int, default=HeadConfig.motion_rank, help="of the bases of motion")
    parser.add_argument("--turned", type=Path, metavar="HEADS", help="what `head_synth` made, for one step in four")
    parser.add_argument("--start", type=Path, metavar="RUN", help="another run, whose weights to begin with")
    parser.add_argument("--judge", action="store_true", help="only measure what was trained so far")
    parser.add_argument("--on", type=Path, help="measure on all avatars of this folder, not on the people held out")
    parser.add_argument("--publish", type=Path, help="a folder for the weights and their card")
    given = parser.parse_args()
    without, config = frozenset(given.without), replace(HeadConfig(), motion_rank=given.rank)
    steps = 0 if given.judge else given.steps
    net = train(given.data, given.run, steps, without, config, given.seconds, given.turned, given.start)
    state = torch.load(given.run / "state.pt", weights_only=True)
    others, held = people(given.on or given.data)
    found, each = judge(net, given.on or given.data, others + held if given.on else held, without)
    if given.turned:
        beside, _ = judge(net, given.turned, people(given.turned)[1], without)
        found |= {f"turned_{name}": value for name, value in beside.items()}
    print(json.dumps(found), flush=True)
    partial = given.run / "judged.partial"
    partial.write_text(json.dumps({"steps": state["step"], "means": found, "each": each}))
    partial.replace(given.run / "judged.json")
    if given.publish:
        rows = people(given.data)[0]
        count = {"avatars": len(rows), "people": len({person for *_, person in rows}), "steps": given.steps}
        if given.turned:
            count["turned heads"] = len(people(given.turned)[0])
        save(given.publish, NAME, net.state_dict(), asdict(config), CARD | count | {"metrics": found})


if __name__ == "__main__":
    main()
