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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mggdub.evaluation.perceptual import load_lpips, load_vgg
from mggdub.face import expression
from mggdub.networks.head import NAME, POSE_UNIT, HeadConfig, HeadNet
from mggdub.train.common import HELD_OUT, cosine_rate, held_out, load_state, move_mean, save_state, set_rate
from mggdub.train.head_losses import astray, drawn, grids_of, losses, picture
from mggdub.train.head_sample import SWITCHES, Sample, load_sample, tinted
from mggdub.types import LIP_MODES, Array
from mggdub.weights import save

AVATARS, TARGETS = 1, 1  # in a step: avatars, and the moments each is driven to
LEARNING_RATE, WARM_UP, LEAST_RATE, DECAY = 1e-3, 50, 0.02, 0.02
AVERAGE, SLOW = 0.997, 10  # of `move_mean`; the running mean of the weights is what is published
TURNED_EVERY = 4  # steps, of which the last is with turned heads if there are any
KEEP_EVERY = 100
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
            means = " ".join(f"{name} {value:.4f}" for name, value in log.items())
            print(
                f"step {step + 1} {(time.perf_counter() - began) / (step + 1 - first):.2f} s/step {means}", flush=True
            )
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
        columns = {"photo": [one.pictures[0].permute(2, 0, 1)] * len(moments)}
        for name, which in (("plain", plain), ("learned", net)):
            grids = grids_of(which, one)
            if one.aim is not None:
                found[f"{name}_px"] = astray(which, grids, one, moments).tolist()
            columns[name] = [picture(drawn(which, grids, one, m)[0], one.camera, one.plates[m])[0] for m in moments]
        for name, pictures in columns.items():
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


def head_psnr(rendered: Tensor, one: Sample, moment: int) -> float:
    """dB inside the true head."""
    weight = one.heads[moment]
    error = ((rendered - one.pictures[moment].permute(2, 0, 1)) ** 2).mean(0)
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
