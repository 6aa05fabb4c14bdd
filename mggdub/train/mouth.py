"""The mouth's inside, from prepared tracks: `python -m mggdub.train.mouth collect CLIPS TRACKS DATA.npz`, then
`python -m mggdub.train.mouth train DATA.npz STATE.pt WEIGHTS`.

Frames with an open mouth are sampled between the inner lips, at the depth of the teeth, from the clips' own pixels.
Every person has a code (an auto-decoder); frames get small shifts of their own, since landmarks tremble.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from mggdub import weights
from mggdub.avatar.mouth import BEHIND, UNSEEN_LIGHT, cheek_colour, chords, fit_code, mouth_inputs, nearest_people
from mggdub.face.mesh import INNER_LIPS, inside
from mggdub.geometry.camera import crop_matrix, project_with
from mggdub.media.video import read_video
from mggdub.networks.mouth import NAME, MouthConfig, MouthNet
from mggdub.train.common import cosine_rate, held_out, load_state, save_arrays, save_state, set_rate
from mggdub.train.prepare import clips as prepared_clips
from mggdub.train.prepare import crop_of, load_track
from mggdub.types import Array

ALONG = (np.arange(64) + 0.5) / 64
DOWN = (np.arange(24) + 0.5) / 24
OPEN = 0.15  # cm, smallest gap that is looked into
SMALLEST = 40.0  # px, width of a mouth in the clip
WIDE = 0.4  # cm, from which on frames are judged
MOST_FRAMES = 48  # of a clip
KEEP_EVERY = 500  # steps
EXEMPLARS = 14  # people whose codes are shipped
STEPS, BATCH, RATE = 6500, 12, 4e-3
WARM_UP, LEAST_RATE = 50, 0.02  # steps; share of the rate at the end
FULL_DETAIL = 0.05  # of the skin's lightness, per sample
EDGES = 1.5  # weight of differences between neighbours
CARD = {
    "what": "Teeth, tongue and dark behind the lips, from an identity code and the shape of the lips",
    "method": "auto-decoder: feature pictures in the skull's and the jaw's frame, decoded per point",
    "trained on": "talking clips of people not in the validation split, one in nine people held out; these gave the "
    "metrics, and the fit's few settings and the choice of exemplars were judged on them too",
    "trained for": "20 minutes on one CPU core",
    "licence": "research use only, see weights/LICENSE",
    "limits": "Blurry where landmarks tremble; a closed mouth gets the teeth of somebody in similar light",
}
CODE_COST, SHIFT_COST, SMOOTH_COST = 1e-3, 0.2, 0.2


def collect(clips: Path, tracks: Path) -> dict[str, Array]:
    """Mouths [S, 24, 64, 3] uint8 with masks, meshes, rests, identities and skin colours, of the training split."""
    rows = [row for row in prepared_clips(clips) if row["split"] == "train"]
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
        seen = points @ track["rotation"][index].T + track["translation"][index]
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
    held = np.array([held_out(str(name)) for name in names])
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
    if earlier := load_state(state):
        net.load_state_dict(earlier["net"])
        adam.load_state_dict(earlier["adam"])
        shifts.data[:] = earlier["shifts"]
        first = earlier["step"]
    open_wide = np.clip(gap(data), 0, 0.6)  # [S] cm
    often = np.array([open_wide[m].sum() for m in members])
    often = np.minimum(often, np.median(often)) * (0.3 + np.array([detail(data, m) for m in members]))
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        rate = RATE * cosine_rate(step, steps, WARM_UP, LEAST_RATE)
        set_rate(adam, rate, 2 * rate)
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
        if step % KEEP_EVERY == KEEP_EVERY - 1 or step == steps - 1:
            parts = {"net": net.state_dict(), "adam": adam.state_dict(), "shifts": shifts.data}
            save_state(state, parts | {"step": step + 1})
    return net.eval()


def showing(data: dict[str, Array], members: Array) -> float:
    """How well one person's samples show what a mouth should look like: teeth, sharp, lit and coloured plausibly."""
    members = members[gap(data)[members] > WIDE]
    if len(members) < 10:
        return 0.0
    skin = data["skin"][members].astype(np.float32).clip(20)
    ratio = (data["colours"][members] / skin[:, None, None])[data["masks"][members]]  # [K, 3]
    light = ratio.mean(1)
    bright = ratio[light >= np.percentile(light, 90)].mean(0)
    tint, level = bright[2] / bright[0], bright.mean()
    white = np.clip((tint - 0.95) / 0.25, 0, 1) * np.clip((1.55 - tint) / 0.2, 0, 1)
    lit = np.clip((1.4 - level) / 0.25, 0, 1) * np.clip((level - 0.5) / 0.3, 0, 1)
    dark = np.clip((0.35 - np.percentile(light, 10)) / 0.15, 0, 1)
    third = data["masks"].shape[1] // 3
    rows = (data["colours"][members] / skin[:, None, None]).mean(-1)
    upper = np.percentile(rows[:, :third][data["masks"][members][:, :third]], 80)
    lower = np.percentile(rows[:, -third:][data["masks"][members][:, -third:]], 80)
    lit *= np.clip((1.25 - lower / upper) / 0.3, 0, 1)  # the upper teeth are those that show in speech
    return float(detail(data, members) * white * lit * dark * min(1.0, len(members) / 30))


def gap(data: dict[str, Array]) -> Array:
    """[S] cm."""
    return np.linalg.norm(data["mesh"][:, 13] - data["mesh"][:, 14], axis=-1)


def measure(net: MouthNet, data: dict[str, Array]) -> dict[str, float]:
    """L1 (0..1) and sharpness (decoded / true Laplacian) for held-out people: fitted to one of their frames, decoded
    with the code of the person lit most alike, with the mean code, and the best single colour.
    """
    person, use, skins = split(data)
    samples, wide = Samples(data), gap(data) > WIDE
    found: dict[str, list[float]] = {}
    for who in range(int(person[use].max()) + 1, int(person.max()) + 1):
        members = np.flatnonzero((person == who) & wide)
        if len(members) < 6:
            continue
        members = members[gap(data)[members].argsort(kind="stable")]
        given, others = members[len(members) * 3 // 4], np.delete(members, len(members) * 3 // 4)
        place, shape, skin, truth, mask = samples[np.array([given])]
        codes, seen = net.codes.detach()[nearest_people(net, skins[who])], mask.flatten() > 0.5
        fitted, light = fit_code(net, codes, place[0, seen], shape[0, seen], truth.flatten(0, 2)[seen], skin[0])
        place, shape, skin, truth, mask = samples[others]
        tries = {
            "fitted": (fitted, light / samples.skin[given]),
            "nearest": (codes[:1], torch.full((3,), UNSEEN_LIGHT)),
            "mean": (net.codes.detach().mean(0, keepdim=True), torch.ones(3)),
        }
        for name, (code, gain) in tries.items():
            with torch.no_grad():
                out = decode(net, code.expand(len(others), -1), torch.zeros(1, 4), place, shape, skin * gain).clamp(
                    0, 1
                )
            found.setdefault(name + "_l1", []).append(float(((out - truth).abs() * mask).sum() / mask.sum() / 3))
            found.setdefault(name + "_sharpness", []).append(laplacian(out, mask) / laplacian(truth, mask))
        plain = (truth * mask).sum((0, 1, 2)) / mask.sum()
        found.setdefault("one_colour_l1", []).append(float(((plain - truth).abs() * mask).sum() / mask.sum() / 3))
    metrics = {name: round(float(np.mean(values)), 4) for name, values in found.items()}
    return metrics | {"people": len(found["mean_l1"])}


def laplacian(image: Tensor, mask: Tensor) -> float:
    """Root mean square of the Laplacian of [B, R, C, 3] where it lies inside the mask [B, R, C, 1]."""
    across, down = image.diff(n=2, dim=2)[:, 1:-1], image.diff(n=2, dim=1)[:, :, 1:-1]
    inner = 1 - nn.functional.max_pool2d(1 - mask[..., 0], 3, 1)[..., None]
    return float(((across + down).square() * inner).sum().div(inner.sum()).sqrt())


def publish(net: MouthNet, data: dict[str, Array], folder: Path, steps: int) -> None:
    """Write the network with the codes of those who show a mouth best."""
    person, use, _ = split(data)
    score = np.array([showing(data, np.flatnonzero((person == i) & use)) for i in range(len(net.codes))])
    best = np.sort(score.argsort(kind="stable")[::-1][:EXEMPLARS].copy())
    config = replace(net.config, identities=len(best))
    shipped = MouthNet(config)
    shipped.load_state_dict(net.state_dict() | {"codes": net.codes.data[best], "skins": net.skins.data[best]})
    shipped.requires_grad_(False)
    people = len(np.unique(person[use]))
    card = CARD | {"metrics": measure(shipped, data), "steps": steps, "people": people, "frames": int(use.sum())}
    weights.save(folder, NAME, shipped.state_dict(), asdict(config), card)
    print(card["metrics"])


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
        save_arrays(out, collect(clips, tracks))
        return
    torch.set_num_threads(1)
    data = load_track(given.paths[0])
    publish(train(data, given.paths[1], given.steps), data, given.paths[2], given.steps)


if __name__ == "__main__":
    main()
