"""How a head in training is drawn, and what its frames lack: pixels, features, flow, evenness."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.animation.card_head import quat_products
from mggdub.avatar.values import SOLID
from mggdub.avatar.visible import half_camera
from mggdub.evaluation.perceptual import VGG16_POOLED, Vgg
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.geometry.sampling import sample_grid
from mggdub.metrics.pixels import ssim_of_moments
from mggdub.networks.head import GRID, Grids, HeadNet
from mggdub.renderer.rasterize import rasterize
from mggdub.train.head_sample import Sample, moved
from mggdub.types import Array, Camera, Gaussians

SSIM_SHARE, LOOK_SHARE, MATTE_SHARE, COARSE_SHARE = 0.2, 0.01, 0.1, 0.5
FACE_WEIGHT, MOUTH_WEIGHT, OUTSIDE_WEIGHT = 1.5, 3.0, 0.25  # added on the face and the mouth; of what is no head
LOOK_SIZE = 104  # px, side of the window around the face that VGG16 sees
LOOK_LAYERS = (2, 4, 7)  # convolutions of VGG16 after which features are compared
# Regularisers: uneven motion cracks the skin; depth and colour stay near the photo's unless it pays; motion that fewer
# than four in five agree upon is not worth its cost, or it would be that of the people trained on.
UNEVEN, DEPTH_UNEVEN, DEPTH_COST, SHADE_COST, MOTION_COST = 0.02, 0.01, 0.001, 0.02, 0.4
FLOW_SHARE = 0.03  # of a px
MOUTH_BOX = [61, 291, 0, 17, 37, 267, 84, 314]  # landmarks around the lips


def on_screen(means: Tensor, camera: Camera) -> Tensor:
    """[N, 2] px of means [N, 3]."""
    view, K = torch.from_numpy(camera.viewmat), torch.from_numpy(camera.K)
    in_camera = means @ view[:3, :3].T + view[:3, 3]
    return in_camera[:, :2] / in_camera[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


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
    shade = torch.tensordot(tints, grids.shade[0], 1) * one.shade_fade
    x, growth, motion = moved(weights, grids, one, moment)
    solid = one.hidden.stop
    scales = one.scales * growth
    opacities = one.opacities[moment]
    features = grids.features[0]
    hidden = one.hidden
    colors = one.colors[:solid]
    if "sym" in one.without:
        predicted = torch.zeros(len(one.twin), 4)
    else:
        near, twin = sample_grid(features, one.place[hidden]), sample_grid(features, one.twin)
        predicted = net.color_hidden(near, twin, one.twin_color, colors[hidden], one.means[hidden])
    first = torch.cat([colors[: hidden.start], (colors[hidden] + predicted[:, :3]).clamp(0, 1)])
    colors = (first + sample_grid(shade, one.place[:solid])).clamp(0, 1)
    opacities = torch.cat([opacities[: hidden.start], (SOLID + predicted[:, 3]).clamp(0.02, 0.98), opacities[solid:]])
    mouth, radii = one.mouth_colors[moment], one.mouth_radii[moment][:, None].expand(-1, 3)
    colors = torch.cat([colors, mouth, one.colors[one.mouth.stop :]])
    scales = torch.cat([scales[:solid], radii, scales[one.mouth.stop :]])
    head = Gaussians(x, turned(one.quats, one.neck.numpy(), one.rotation[moment]), scales, opacities, colors)
    return coarse(head, one) if "densify" in one.without else head, motion, shade


def turned(quats: Array, share: Array, rotation: Array) -> Tensor:
    """Quaternions [N, 4] wxyz of splats after their share [N] of the head's rotation [3] degrees."""
    turn = quat_products(matrix_to_quat(euler_to_matrix(rotation))[None])[0]
    return torch.from_numpy((quats + share[:, None] * quats @ turn).astype(np.float32))


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
    image = rasterize(head, camera)
    return (image.colors + (1 - image.alphas[..., None]) * plate).permute(2, 0, 1), image.alphas


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


def likeness(rendered: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """L1 + 0.2 (1 - SSIM) of [3, h, w], weighed [h, w]; SSIM in windows of 7 px, every other one."""
    local = F.avg_pool2d(
        torch.cat([rendered, true, rendered * rendered, true * true, rendered * true, weight[None]])[None], 7, 2
    )[0]
    similar = ssim_of_moments(*local[:-1].split(3))
    apart = ((rendered - true).abs().mean(0) * weight).sum() / weight.sum()
    return apart + SSIM_SHARE * ((1 - similar.mean(0)) * local[-1]).sum() / local[-1].sum()


def perceived(vgg: Vgg, rendered: Tensor, true: Tensor, landmarks: Array) -> Tensor:
    """Mean absolute difference of VGG16's features in a window around the face."""
    height, width = rendered.shape[1:]
    x, y = (landmarks.min(0) + landmarks.max(0)) / 2
    size = min(LOOK_SIZE, height, width)
    left = int(np.clip(x - size / 2, 0, width - size))
    top = int(np.clip(y - size / 2, 0, height - size))
    shift, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pair = torch.stack([p[:, top : top + size, left : left + size] for p in (rendered, true)])
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
    small = half_camera(one.camera)
    for moment in moments:
        head, motion, shade = drawn(net, grids, one, moment)
        true, weight = one.pictures[moment].permute(2, 0, 1), weight_map(one, moment)
        rendered, alpha = picture(head, one.camera, one.plates[moment])
        add("fine", likeness(rendered, true, weight))
        outer = (one.heads[moment] - alpha).abs() * (1 - one.heads[moment])
        add("matte", MATTE_SHARE * outer.mean())
        if moment == moments[0]:  # once an avatar: these are dear
            terms["look"] = LOOK_SHARE * perceived(vgg, rendered, true, one.landmarks[moment])
            halves = (true, weight[None], one.plates[moment].permute(2, 0, 1))
            size = (small.height, small.width)
            true, weight, behind = (F.interpolate(p[None], size, mode="area")[0] for p in halves)
            few = head if "densify" in one.without else coarse(head, one)
            rendered, _ = picture(few, small, behind.permute(1, 2, 0))
            terms["coarse"] = COARSE_SHARE * likeness(rendered, true, weight[0])
        add("uneven", UNEVEN * unevenness(motion * GRID / 8))
        add("motion", MOTION_COST * motion.abs().mean())
        add("shade", SHADE_COST * (shade.abs().mean() + unevenness(shade)))
    terms["depth"] = DEPTH_UNEVEN * unevenness(grids.depth) + DEPTH_COST * grids.depth.abs().mean()
    return terms
