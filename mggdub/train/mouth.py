"""The mouth's inside, from prepared tracks: `python -m mggdub.train.mouth collect CLIPS TRACKS DATA.npz`, then
`python -m mggdub.train.mouth train DATA.npz STATE.pt WEIGHTS`.

Frames with an open mouth are sampled between the inner lips, at the depth of the teeth, from the clips' own pixels.
Every person has a code (an auto-decoder); frames get small shifts of their own, since landmarks tremble.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from mggdub.geometry.camera import crop_matrix, project_with
from mggdub.media.video import read_video
from mggdub.models.deform import INNER_LIPS, inside
from mggdub.models.mouth import BEHIND, MouthConfig, MouthNet, cheek_colour, chords, mouth_inputs
from mggdub.train.prepare import crop_of, load_track
from mggdub.types import Array

ALONG = (np.arange(64) + 0.5) / 64
DOWN = (np.arange(24) + 0.5) / 24
OPEN = 0.2  # cm, smallest gap that is looked into
SMALLEST = 40.0  # px, width of a mouth in the clip
MOST_FRAMES = 48  # of a clip
HELD_OUT = 9  # every so many-th person is kept out of training
STEPS, BATCH, RATE = 6500, 12, 4e-3
FULL_DETAIL = 0.05  # of the skin's lightness, per sample
EDGES = 1.5  # weight of differences between neighbours
CODE_COST, SHIFT_COST, SMOOTH_COST = 1e-3, 0.2, 0.2


def collect(clips: Path, tracks: Path) -> dict[str, Array]:
    """Mouths [S, 24, 64, 3] uint8 with masks, meshes, rests, identities and skin colours, of the training split."""
    with (clips / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    found: dict[str, list[Any]] = {
        name: [] for name in ("colours", "masks", "mesh", "rest", "skin", "identity", "clip")
    }
    for row in rows:
        path = tracks / "train" / (Path(row["file"]).stem + ".npz")
        if not path.exists():
            continue
        for sample in clip_mouths(clips / row["file"], load_track(path)):
            for name, value in sample.items():
                found[name].append(value)
            found["identity"].append(row["identity"])
            found["clip"].append(path.stem)
    return {name: np.array(values) for name, values in found.items()}


def clip_mouths(path: Path, track: dict[str, Array]) -> list[dict[str, Array]]:
    """Open mouths of one clip, spread over its openings; none if the face is too small."""
    crop = crop_of(track)
    corners = track["landmarks"][:, [78, 308], :2]
    wide = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1) / crop.scale  # [T] px of the frame
    turned = np.abs(track["rotation"][:, 0, 2])
    good = np.flatnonzero((track["gap"] > OPEN) & (track["presence"] > 0.5) & (wide > SMALLEST) & (turned < 0.4))
    if len(good) == 0:
        return []
    good = good[np.argsort(track["gap"][good], kind="stable")]
    keep = set(good[np.linspace(0, len(good) - 1, min(MOST_FRAMES, len(good))).round().astype(int)].tolist())
    samples = []
    for index, (_, frame) in enumerate(read_video(path)):
        if index not in keep:
            continue
        points = chords(ALONG, DOWN, track["mesh"][index]) + np.array([0, 0, BEHIND], np.float32)
        seen = points @ track["rotation_raw"][index].T + track["translation_raw"][index]
        at = project_with(seen, crop_matrix())  # [24, 64, 2] crop px
        ring = track["landmarks"][index, list(INNER_LIPS), :2]
        mask = inside(at.reshape(-1, 2), ring).reshape(at.shape[:2])
        pixels = crop.to_picture(at) - 0.5
        colours = [
            ndimage.map_coordinates(frame[..., c], [pixels[..., 1], pixels[..., 0]], order=1, mode="nearest")
            for c in range(3)
        ]
        skin = cheek_colour(frame, crop.to_picture(track["landmarks"][index]))
        samples.append(
            {
                "colours": np.stack(colours, -1),
                "masks": mask,
                "mesh": track["mesh"][index],
                "rest": track["rest"],
                "skin": skin,
            }
        )
    return samples


def split(data: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Everybody's number by sample (held-out people come last), which samples train, and people's skin [P, 3]."""
    names, number = np.unique(data["identity"], return_inverse=True)
    held = np.arange(len(names)) % HELD_OUT == HELD_OUT - 1
    order = np.empty(len(names), int)
    order[np.argsort(held, kind="stable")] = np.arange(len(names))
    skins = np.stack([np.median(data["skin"][number == i], 0) for i in range(len(names))])[
        np.argsort(held, kind="stable")
    ]
    return order[number], ~held[number], (skins / 255).astype(np.float32)


def detail(data: dict[str, Array], members: Array) -> float:
    """0..1: how much teeth one person's clips show, by the contrast between neighbours along the lips."""
    colours, mask = data["colours"][members].astype(np.float32).mean(-1), data["masks"][members]
    steps = np.abs(np.diff(colours, axis=2))[mask[:, :, 1:] & mask[:, :, :-1]].mean()
    return float(np.clip(steps / data["skin"][members].mean() / FULL_DETAIL, 0, 1))


def mouth_loss(seen: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """L1 of colours and of their differences along the lips; [B, R, C, 3], mask [B, R, C, 1]."""
    plain = ((seen - truth).abs() * mask).sum() / mask.sum() / 3
    steps, both = (seen - truth).diff(dim=2), mask[:, :, 1:] * mask[:, :, :-1]
    down, pair = (seen - truth).diff(dim=1), mask[:, 1:] * mask[:, :-1]
    return plain + EDGES * ((steps.abs() * both).sum() / both.sum() + (down.abs() * pair).sum() / pair.sum()) / 3


class Samples:
    """All mouths as tensors; items are batches for `MouthNet`."""

    def __init__(self, data: dict[str, Array]) -> None:
        place, shape = mouth_inputs(ALONG, DOWN, data["mesh"], data["rest"])
        self.place, self.shape = torch.from_numpy(place).half(), torch.from_numpy(shape).half()
        self.truth, self.mask = torch.from_numpy(data["colours"]), torch.from_numpy(data["masks"])
        self.skin = torch.from_numpy(data["skin"]).float() / 255

    def __getitem__(self, index: Array) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return (
            self.place[index].float().flatten(1, 2),
            self.shape[index].float().flatten(1, 2),
            self.skin[index],
            self.truth[index].float() / 255,
            self.mask[index].float()[..., None],
        )


def decode(net: MouthNet, code: Tensor, shift: Tensor, place: Tensor, shape: Tensor, skin: Tensor) -> Tensor:
    """Mouths [B, R, C, 3] in sRGB."""
    ratio = net(code, net.pictures(code), place + shift[:, None], shape)
    return (ratio * skin[:, None]).unflatten(1, (len(DOWN), len(ALONG)))


def train(data: dict[str, Array], state: Path, steps: int = STEPS, seed: int = 0) -> MouthNet:
    """The network; goes on from `state` if that exists and writes it as it goes."""
    person, use, skins = split(data)
    torch.manual_seed(seed)
    people = int(person[use].max()) + 1
    samples, net = Samples(data), MouthNet(MouthConfig(identities=people))
    nn.init.normal_(net.codes[:, : net.config.code], std=0.3)
    net.skins.data[:] = torch.from_numpy(skins[:people])
    shifts = nn.Parameter(torch.zeros(len(person), 4))
    fast, slow = [net.codes, shifts], [p for n, p in net.named_parameters() if n not in ("codes", "skins")]
    adam = torch.optim.Adam([{"params": slow, "lr": RATE}, {"params": fast, "lr": 2 * RATE}], betas=(0.9, 0.99))
    members = [np.flatnonzero((person == i) & use) for i in range(people)]
    first = 0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        net.load_state_dict(kept["net"])
        adam.load_state_dict(kept["adam"])
        shifts.data[:] = kept["shifts"]
        first = kept["step"]
    open_wide = np.clip(np.linalg.norm(data["mesh"][:, 13] - data["mesh"][:, 14], axis=-1), 0, 0.6)  # [S] cm
    often = np.array([open_wide[m].sum() for m in members])
    often = np.minimum(often, np.median(often)) * (0.3 + np.array([detail(data, m) for m in members]))
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        for group, rate in zip(adam.param_groups, (RATE, 2 * RATE), strict=True):
            group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))) * min(1, (step + 1) / 50)
        who = rng.choice(people, BATCH, p=often / often.sum())
        index = np.array([rng.choice(members[i], p=open_wide[members[i]] / open_wide[members[i]].sum()) for i in who])
        place, shape, skin, truth, mask = samples[index]
        code = net.codes[who]
        seen = decode(net, code, shifts[index], place, shape, skin)
        loss = mouth_loss(seen, truth, mask)
        smooth = net.basis.diff(dim=2).square().mean() + net.basis.diff(dim=3).square().mean()
        total = (
            loss
            + CODE_COST * code[:, : net.config.code].square().mean()
            + SHIFT_COST * (shifts[index].square().mean() + code[:, net.config.code :].square().mean() / 4)
            + SMOOTH_COST * smooth
        )
        adam.zero_grad()
        total.backward()
        adam.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
        if step % 500 == 499 or step == steps - 1:
            torch.save(
                {"net": net.state_dict(), "adam": adam.state_dict(), "shifts": shifts.data, "step": step + 1}, state
            )
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["collect", "train"])
    parser.add_argument(
        "paths", type=Path, nargs="+", help="collect: CLIPS TRACKS OUT.npz; train: OUT.npz STATE FOLDER"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    if given.task == "collect":
        clips, tracks, out = given.paths
        np.savez(out, **collect(clips, tracks))  # type: ignore[arg-type]
        return
    torch.set_num_threads(1)
    data = load_track(given.paths[0])
    train(data, given.paths[1], given.steps)


if __name__ == "__main__":
    main()
