"""Trains the lower face's network: `python -m mggdub.train.lower_face DATA... RUN --steps 1800 --batch 64`.

DATA is what `lower_face_data` made, RUN keeps the state and the log. A drawn window with the network's change has to
look like the true one: L1, features of VGG16 and a discriminator with feature matching. Between the lips L1 counts
little: teeth that lie a pixel off would be paid for being soft. The same command goes on where it stopped; a resumed
run equals an unbroken one, since every step has its own seed. `--without` leaves out, for comparison: gan, vgg, photo
(the photo's own lower face as an input), inside (what is between the lips stays as drawn and counts nowhere).
`--publish FOLDER` writes the running mean of the weights with its card. After some 110,000 windows people held out
gain no more.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mggdub.evaluation.perceptual import VGG16_POOLED, Vgg, load_lpips, load_vgg
from mggdub.networks.lower_face import NAME, SIZE, LowerFaceConfig, LowerFaceNet
from mggdub.train.common import cosine_rate, load_state, move_mean, save_state, set_rate, weights_of
from mggdub.train.lower_face_batches import Bank, Data, Windows, windows_of
from mggdub.types import Array
from mggdub.weights import save

BATCH = 16
LEARNING_RATE, CRITIC_RATE, WARM_UP, LEAST_RATE = 4e-4, 4e-4, 50, 0.02
AVERAGE, SLOW = 0.998, 10  # of `move_mean`
LIPS_WEIGHT, INSIDE_WEIGHT, VGG_SHARE, GAN_SHARE, MATCHING_SHARE = 4.0, 0.25, 0.3, 0.06, 0.3
CRITIC_FROM = 300  # steps, after which the discriminator has a say
LOOK_LAYERS = (2, 4, 7)  # of VGG16, convolutions
EDGE = 8  # px of the window that nothing looks at, where changes fade
KEEP_EVERY = 100
SWITCHES = ("gan", "vgg", "photo", "inside")
CARD = {
    "what": "What lips, corners, folds and cheeks look like beyond what a photo's pixels show where they are moved to",
    "method": "L1, VGG16 and a discriminator with feature matching; between the lips L1 counts a quarter",
    "trained on": "frames of talking clips of people not in the validation split and pairs of portraits at rest and "
    "smiling (London Set, CC BY 4.0), one person in nine held out; these gave the metrics",
    "licence": "research use only, see weights/LICENSE",
    "limits": "Frontal faces; folds are those of most people",
}


def blinded(batch: Windows, without: frozenset[str]) -> Windows:
    """The batch, without the photo's own lower face if that is left out."""
    if "photo" not in without:
        return batch
    inputs = batch.inputs.clone()
    inputs[:, 9:] = 0
    return batch._replace(inputs=inputs)


class Critic(nn.Module):
    """A discriminator of patches; returns the features of all its layers, the last of which is its verdict."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm
        sizes = ((5, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 1), (4 * width, 1, 1))
        self.layers = nn.ModuleList([normed(nn.Conv2d(a, b, 4, stride, 1)) for a, b, stride in sizes])

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            x = x if number == len(self.layers) - 1 else F.leaky_relu(x, 0.2)
            found.append(x)
        return found


def looks(vgg: Vgg, picture: Tensor) -> list[Tensor]:
    """Features of VGG16, of length 1 in every pixel."""
    shift, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (picture - shift[:, None, None].to(picture)) / scale[:, None, None].to(picture)
    found = []
    for index, (kernel, bias) in enumerate(vgg.convolutions[: LOOK_LAYERS[-1]]):
        x = F.max_pool2d(x, 2) if index in VGG16_POOLED else x
        x = F.relu(F.conv2d(x, kernel.to(x), bias.to(x), padding=1))
        if index + 1 in LOOK_LAYERS:
            full = x.float()
            found.append(full / (full.square().sum(1, keepdim=True).sqrt() + 1e-6))
    return found


def inner(x: Tensor) -> Tensor:
    """What is looked at of windows."""
    return x[..., EDGE:-EDGE, EDGE:-EDGE]


def changes(net: LowerFaceNet, batch: Windows, without: frozenset[str]) -> Tensor:
    """What a network changes, [B, 3, S, S]."""
    change: Tensor = net(batch.inputs)
    return change * (1 - batch.inside) if "inside" in without else change


def generator_losses(
    batch: Windows, change: Tensor, vgg: Vgg, critic: Critic, step: int, without: frozenset[str]
) -> dict[str, Tensor]:
    """Every term already weighed; their sum is minimised."""
    between = "inside" not in without
    output, true = inner(batch.judged(batch.changed(change), between)), inner(batch.judged(batch.true, between))
    lips = inner(batch.lips)
    weight = (1 + LIPS_WEIGHT * lips) * (1 - (1 - INSIDE_WEIGHT) * inner(batch.inside))
    terms = {"l1": ((output - true).abs() * weight).mean()}
    if "vgg" not in without:
        with torch.no_grad():
            goal = looks(vgg, true)
        pairs = zip(looks(vgg, output), goal, strict=True)
        terms["vgg"] = VGG_SHARE * torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()
    if "gan" not in without and step >= CRITIC_FROM:
        critic.requires_grad_(False)
        where = torch.cat([lips, inner(batch.inside)], 1)
        fake, real = critic(torch.cat([output, where], 1)), critic(torch.cat([true, where], 1))
        critic.requires_grad_(True)
        terms["gan"] = -GAN_SHARE * fake[-1].float().mean()
        apart = [(a - b.detach()).float().abs().mean() for a, b in zip(fake[:-1], real[:-1], strict=True)]
        terms["match"] = MATCHING_SHARE * torch.stack(apart).sum()
    return terms


def critic_loss(batch: Windows, change: Tensor, critic: Critic, between: bool) -> Tensor:
    """Hinge loss of true and changed windows."""
    where = torch.cat([inner(batch.lips), inner(batch.inside)], 1)
    pictures = (batch.changed(change.detach()), batch.true)
    output, true = (inner(batch.judged(picture, between)) for picture in pictures)
    real, fake = (critic(torch.cat([x, where], 1))[-1].float() for x in (true, output))
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _restore(earlier: dict[str, Any], net: LowerFaceNet, critic: Critic, adams: Sequence[torch.optim.Adam]) -> None:
    """Networks and optimisers as they were when a run stopped."""
    net.load_state_dict(earlier["net"])
    critic.load_state_dict(earlier["critic"])
    for adam, saved in zip(adams, earlier["adams"], strict=True):
        adam.load_state_dict(saved)


def train(
    data: Data,
    run: Path,
    steps: int,
    without: frozenset[str] = frozenset(),
    seconds: float = math.inf,
    device: str = "cpu",
    config: LowerFaceConfig | None = None,
    size: int = BATCH,
) -> LowerFaceNet:
    """The running mean of the weights after `steps` of `size` windows or so many seconds; goes on from RUN's state."""
    torch.manual_seed(0)
    bank, between = Bank.of(data, device), "inside" not in without
    net, critic = LowerFaceNet(config).to(device), Critic().to(device)
    layers = () if "vgg" in without else load_vgg().convolutions
    vgg = Vgg(tuple((kernel.to(device), bias.to(device)) for kernel, bias in layers))
    mean, first = weights_of(net), 0
    adams = [
        torch.optim.Adam(part.parameters(), rate, betas=(0.5, 0.99))
        for part, rate in ((net, LEARNING_RATE), (critic, CRITIC_RATE))
    ]
    run.mkdir(parents=True, exist_ok=True)
    state = run / "state.pt"
    if earlier := load_state(state):
        _restore(earlier, net, critic, adams)
        mean, first = {name: value.to(device) for name, value in earlier["mean"].items()}, earlier["step"]
    began, log = time.perf_counter(), dict[str, Tensor]()
    for step in range(first, steps):
        batch = blinded(bank.batch(step, size), without)
        rate = cosine_rate(step, steps, WARM_UP, LEAST_RATE)
        set_rate(adams[0], LEARNING_RATE * rate)
        set_rate(adams[1], CRITIC_RATE * rate)
        with torch.autocast(device, torch.bfloat16):
            change = changes(net, batch, without)
            if "gan" not in without and step >= CRITIC_FROM:
                adams[1].zero_grad()
                verdict = critic_loss(batch, change, critic, between)
                verdict.backward()
                adams[1].step()
            terms = generator_losses(batch, change, vgg, critic, step, without)
        adams[0].zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adams[0].step()
        move_mean(mean, net, step, AVERAGE, SLOW)
        for name, value in terms.items():
            log[name] = log.get(name, value.detach()).lerp(value.detach(), 0.02)
        last = step == steps - 1 or time.perf_counter() - began > seconds
        if step % 50 == 49 or last:
            terms_now = " ".join(f"{name} {value:.4f}" for name, value in log.items())
            pace = (step + 1 - first) / (time.perf_counter() - began)
            print(f"step {step + 1} {pace:.2f} steps/s {terms_now}", flush=True)
        if step % KEEP_EVERY == KEEP_EVERY - 1 or last:
            parts = {"net": net.state_dict(), "critic": critic.state_dict(), "mean": mean}
            save_state(state, parts | {"adams": [adam.state_dict() for adam in adams], "step": step + 1})
        if last:
            break
    found = LowerFaceNet(net.config)
    found.load_state_dict({name: value.cpu() for name, value in mean.items()})
    return found.eval()


@torch.no_grad()
def judge(net: LowerFaceNet, data: Data, without: frozenset[str] = frozenset()) -> dict[str, float]:
    """Of people held out: how far drawn and changed windows are from the true ones, and how sharp both are to it."""
    lpips, vgg = load_lpips(), load_vgg()
    rows = []
    for avatars in data.avatars.values():
        for avatar in avatars:
            batch = blinded(windows_of([(avatar, k) for k in range(0, len(avatar["true"]), 3)]), without)
            changed = batch.changed(changes(net, batch, without))
            true = batch.judged(batch.true, "inside" not in without)
            for before, after, aim in zip(inner(batch.whole), inner(changed), inner(true), strict=True):
                row = []
                for output in (before, after):
                    pair = zip(looks(vgg, output[None]), looks(vgg, aim[None]), strict=True)
                    row += [
                        float((output - aim).abs().mean()),
                        float(sum((a - b).square().sum(1).mean() for a, b in pair)),
                        lpips.distance(*(_bytes(p) for p in (output, aim))),
                    ]
                rows.append(row)
    means = np.mean(rows, 0)
    names = [f"{name}_{when}" for when in ("drawn", "changed") for name in ("l1", "vgg", "lpips")]
    return {"windows": float(len(rows))} | {n: round(float(m), 5) for n, m in zip(names, means, strict=True)}


def _bytes(picture: Tensor) -> Array:
    """[H, W, 3] uint8 of [3, H, W] 0..1."""
    return np.asarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders, then RUN")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=BATCH, help="windows of a step")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end this leg after so long")
    parser.add_argument("--without", nargs="*", default=[], choices=SWITCHES, help="for comparison")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--publish", type=Path, help="a folder for the weights and their card")
    given = parser.parse_args()
    *folders, run = given.data
    data = Data.read(folders)
    known, held = data.part(False), data.part(True)
    print(f"people: {len(known.avatars)} to train on, {len(held.avatars)} held out; windows of {SIZE} px", flush=True)
    without = frozenset(given.without)
    net = train(known, run, given.steps, without, given.seconds, given.device, size=given.batch)
    found = judge(net, held, without)
    print(json.dumps(found), flush=True)
    if given.publish:
        count = {
            "people": len(known.avatars),
            "avatars": sum(map(len, known.avatars.values())),
            "steps": given.steps,
            "windows a step": given.batch,
        }
        save(given.publish, NAME, net.state_dict(), asdict(net.config), CARD | count | {"metrics": found})


if __name__ == "__main__":
    main()
