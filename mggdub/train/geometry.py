"""Trains the geometry network: synthetic heads teach depth and normals, real faces teach matte and classes.

    python -m mggdub.train.geometry PACKS RUN --steps 1600
    python -m mggdub.train.geometry PACKS RUN --further --rate 6e-4

PACKS holds the folders `synth` and `real` of `geometry_data`; RUN keeps the state and the log. The same
command goes on where it stopped, and a resumed run equals an unbroken one: every step has its own seed.
With `--further` it begins at the shipped weights; where PACKS has no `synth`, real faces teach matte and classes, and
depth and normals stay as those weights have them.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.networks.geometry import GeometryNet, GeometryOutput, full_matte, load_geometry
from mggdub.train.common import cosine_rate, load_state, move_mean, save_state, set_rate, weights_of
from mggdub.train.geometry_batches import (
    FINE_SHARE,
    Batch,
    Pack,
    background_bank,
    make_batch,
    move_points,
    nearest,
    open_pack,
    pictures,
    turn,
)
from mggdub.train.geometry_data import MARGIN, OUTSIDE, UNSURE
from mggdub.weights import save

LEARNING_RATE, WEIGHT_DECAY = 2.5e-3, 1e-2
WARM_UP, LEAST_RATE = 100, 0.01  # steps; share of the rate at the end
# The first part of the run sees 128² pictures: cheap, and the layout is learned there.
SMALL_SHARE, SMALL_SIZE = 0.35, 128
AVERAGE, SLOW = 0.995, 20  # of `move_mean`; the running mean of the weights is what is saved
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 30.0, 30.0, 1.0)  # eyes and mouths cover two pixels in a thousand
CARD = {
    "what": "Depth, normals, classes and matte of a head crop",
    "licence": "research use only, see weights/LICENSE",
    "trained on": "synthetic heads (exact maps) and frames of talking clips and London Set photos (CC BY 4.0), whose "
    "matte and classes come from Robust Video Matting and a skin-clothes-hair parser; neither is shipped",
    "limits": "One face, within 45 degrees of frontal; beards and glasses count as skin, lenses show the eye; hats, "
    "hands and microphones were rare; depth of hair and of the far side is a guess.",
}


def with_earlier_depth(before: GeometryNet, batch: Batch) -> Batch:
    """The batch with the depth and normals that a network `before` gives its pictures, where it knows none."""
    if batch.exact:
        return batch
    size, own = (batch.image.shape[-1],) * 2, (before.config.input_size,) * 2
    with torch.no_grad():
        predicted = before(F.interpolate(batch.image, own, mode="bilinear", antialias=True))
    depth, normals = (F.interpolate(maps.float(), size, mode="bilinear") for maps in predicted[:2])
    return replace(batch, depth=depth, normal=F.normalize(normals, dim=1), exact=len(batch.image))


def losses(net: GeometryNet, batch: Batch) -> dict[str, Tensor]:
    """Every term already weighed; their sum is minimised."""
    predicted = net(batch.image)
    count = batch.exact
    solid = ((batch.label[:count] > 0) & (batch.label[:count] < UNSURE))[:, None].float()
    area = solid.sum().clamp_min(1)
    error = predicted.depth[:count] - batch.depth[:count]
    cosine = (predicted.normals[:count] * batch.normal[:count]).sum(1, keepdim=True)
    known = (batch.label != OUTSIDE)[:, None].float()
    weights = torch.tensor(CLASS_WEIGHTS)
    terms = {
        "depth": 0.4
        * (F.smooth_l1_loss(predicted.depth[:count], batch.depth[:count], reduction="none", beta=0.5) * solid).sum()
        / area,
        "slope": 0.4 * _slope(error, solid),
        "normal": 1.5 * ((1 - cosine) * solid).sum() / area,
        "label": 0.6
        * F.cross_entropy(predicted.labels, batch.label.where(batch.label < UNSURE, -1), weights, ignore_index=-1),
        "matte": _matte_loss(predicted.matte, batch.alpha, known),
    }
    if batch.real:
        points = batch.points[-batch.real :]
        found = F.grid_sample(predicted.depth[-batch.real :], points[:, None, :, :2], align_corners=False)[:, 0, 0]
        terms["points"] = 0.15 * F.smooth_l1_loss(found, points[..., 2], beta=0.5)
    if len(batch.fine_image):
        terms["fine"] = _fine_loss(net, predicted, batch)
    return terms


def _slope(error: Tensor, solid: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring depth errors, cm: keeps steps sharp and skin smooth."""
    across = (error[..., 1:] - error[..., :-1]).abs().clamp_max(2) * solid[..., 1:] * solid[..., :-1]
    along = (error[..., 1:, :] - error[..., :-1, :]).abs().clamp_max(2) * solid[..., 1:, :] * solid[..., :-1, :]
    return (across.sum() + along.sum()) / solid.sum().clamp_min(1)


def _matte_loss(logits: Tensor, alpha: Tensor, known: Tensor) -> Tensor:
    cross = F.binary_cross_entropy_with_logits(logits, alpha, reduction="none")
    return ((0.5 * cross + (logits.sigmoid() - alpha).abs()) * known).sum() / known.sum().clamp_min(1)


def _fine_loss(net: GeometryNet, predicted: GeometryOutput, batch: Batch) -> Tensor:
    """The fine head's matte inside the window, the U-Net's features cut to it."""
    count, size = len(batch.fine_image), predicted.matte.shape[2]
    left, top = batch.window
    centre = torch.tensor([2 * left - 0.5, 2 * top - 0.5], dtype=torch.float32)
    part = torch.cat([0.5 * torch.eye(2), centre[:, None]], 1)[None].expand(count, -1, -1)
    grid = F.affine_grid(part, [count, 1, size // 2, size // 2], align_corners=False)
    matte = F.grid_sample(predicted.matte[-count:], grid, align_corners=False, padding_mode="border")
    features = F.grid_sample(predicted.features[-count:].float(), grid, align_corners=False, padding_mode="border")
    logits = net.fine_matte(batch.fine_image, matte, features)
    edge = 1 + 4 * ((batch.fine_alpha > 0.05) & (batch.fine_alpha < 0.95)).float()
    return _matte_loss(logits, batch.fine_alpha, edge)


@torch.inference_mode()
def validate(net: GeometryNet, synth: Pack | None, real: Pack | None, limit: int = 200) -> dict[str, float]:
    """Held-out numbers at the network's own size, unjittered crops."""
    net.eval()
    size = net.config.input_size
    matrix = torch.eye(2, 3)[None] / MARGIN
    sums: dict[str, list[float]] = {}

    def note(**values: float | Tensor) -> None:
        for name, value in values.items():
            sums.setdefault(name, []).append(float(value))

    for row in synth.held[:: max(1, len(synth.held) // limit)] if synth else ():
        assert synth is not None
        grid = F.affine_grid(matrix, [1, 1, size, size], align_corners=False)
        pack = synth.arrays
        predicted = net(pictures(synth, np.array([row]), "image", grid))
        label = nearest(pack["label"][[row]][:, None], grid, OUTSIDE)[0, 0]
        depth = nearest(pack["depth"][[row]][:, None], grid)[0, 0]
        normal = turn(nearest(pack["normal_xy"][[row]], grid) / 127, matrix * MARGIN)[0]
        alpha = pictures(synth, np.array([row]), "alpha", grid)[0, 0]
        head, skin = (label >= 1) & (label <= 4), label == 1
        angle = torch.rad2deg(torch.acos((predicted.normals[0] * normal).sum(0).clamp(-1, 1)))
        known = label < UNSURE
        off = (predicted.depth[0, 0] - depth).abs()
        note(depth_cm=off[head].mean(), depth_skin_cm=off[skin].mean(), normal_skin=angle[skin].mean())
        note(normal_head=angle[head].mean(), label_synth=(predicted.labels[0].argmax(0) == label)[known].float().mean())
        note(**_overlap("synth", predicted.matte[0, 0].sigmoid(), alpha, known))
    real_held = real.held[:: max(1, len(real.held) // limit)] if real is not None else ()
    for row in real_held:
        assert real is not None
        rows = np.array([row])
        grid = F.affine_grid(matrix, [1, 1, size, size], align_corners=False)
        wide = F.affine_grid(matrix, [1, 1, 512, 512], align_corners=False)
        predicted = net(pictures(real, rows, "image", grid))
        fine = full_matte(net, pictures(real, rows, "fine_image", wide), predicted)[0, 0]
        label = nearest(real.arrays["label"][rows][:, None], grid, OUTSIDE)[0, 0]
        fine_known = nearest(real.arrays["label"][rows][:, None], wide, OUTSIDE)[0, 0] != OUTSIDE
        known = label < UNSURE
        note(label_real=(predicted.labels[0].argmax(0) == label)[known].float().mean())
        note(
            **_overlap(
                "real", predicted.matte[0, 0].sigmoid(), pictures(real, rows, "alpha", grid)[0, 0], label != OUTSIDE
            )
        )
        note(**_overlap("real_fine", fine, pictures(real, rows, "fine_alpha", wide)[0, 0], fine_known))
        points = move_points(real.arrays["points"][rows], matrix)
        found = F.grid_sample(predicted.depth, points[:, None, :, :2], align_corners=False)[0, 0, 0]
        note(points_cm=(found - points[0, :, 2]).abs().mean())
    net.train()
    return {name: round(float(np.nanmean(values)), 4) for name, values in sums.items()}


def _overlap(name: str, matte: Tensor, alpha: Tensor, known: Tensor) -> dict[str, float]:
    predicted, true = (matte > 0.5) & known, (alpha > 0.5) & known
    iou = float((predicted & true).sum() / (predicted | true).sum().clamp_min(1))
    return {f"iou_{name}": iou, f"mae_{name}": float((matte - alpha).abs()[known].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packs", type=Path, help="what `geometry_data` made")
    parser.add_argument("run", type=Path, help="keeps everything")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--backgrounds", type=Path, help="folder of .jpg photos without people")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop", type=int, default=10**9, help="leave after this step; the same command goes on")
    parser.add_argument("--further", action="store_true", help="begin at the shipped weights")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="of learning, at most")
    given = vars(parser.parse_args())
    train(given.pop("packs"), given.pop("run"), given.pop("steps"), given.pop("backgrounds"), **given)


def train(
    packs: Path,
    run: Path,
    steps: int,
    backgrounds: Path | None,
    threads: int = 1,
    stop: int = 10**9,
    further: bool = False,
    rate: float = LEARNING_RATE,
) -> None:
    """Train on the packs, keep everything in the folder `run`; goes on where it was left."""
    torch.set_num_threads(threads)
    torch.manual_seed(3)
    run.mkdir(parents=True, exist_ok=True)
    synth = open_pack(packs / "synth", real=False) if (packs / "synth" / "head.npy").exists() else None
    real = open_pack(packs / "real", real=True) if (packs / "real" / "identity.json").exists() else None
    bank = background_bank(real, sorted(backgrounds.glob("*.jpg")) if backgrounds else [], 192)
    net = (load_geometry() if further else GeometryNet()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = copy.deepcopy(net).eval()
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    mean = weights_of(net)
    first = 0
    if state := load_state(run / "state.pt"):
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        mean, first = state["mean"], state["step"]
    for step in range(first, min(steps, stop)):
        size = SMALL_SIZE if step < SMALL_SHARE * steps and not further else net.config.input_size
        batch = with_earlier_depth(
            before, make_batch(synth, real, bank, step, size, further or step >= FINE_SHARE * steps)
        )
        set_rate(optimizer, rate * cosine_rate(step, steps, WARM_UP, LEAST_RATE))
        with torch.autocast("cpu", torch.bfloat16):
            terms = losses(net, batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        move_mean(mean, net, step, AVERAGE, SLOW)
        _log(run, step, {name: round(value.item(), 4) for name, value in terms.items()})
        if (step + 1) % 100 == 0 or step + 1 == min(steps, stop):
            parts = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean}
            save_state(run / "state.pt", parts | {"step": step + 1})
    net.load_state_dict(mean)
    held = validate(net, synth, real)
    _log(run, min(steps, stop), held)
    card = CARD | {"steps": min(steps, stop), "metrics": held}
    save(run, "geometry", net.state_dict(), {}, card)


def _log(run: Path, step: int, values: dict[str, float]) -> None:
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


if __name__ == "__main__":
    main()
