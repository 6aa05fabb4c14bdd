"""Is it how people move? `python -m mggdub.train.motion_judge CLIPS TRACKS [--bank weights]`.

Of people who are in no bank: the six figures of our motion over those of the true track while they say the same, how
head speed goes with loudness, and how well a small network that has seen true and made tracks of other people tells
them apart (area under the curve; 0.5 is not at all).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from mggdub.face.expression import load_expression
from mggdub.motion.gestures import gestures, with_blinks
from mggdub.motion.limits import bounded
from mggdub.motion.torso import near_head
from mggdub.networks.motion import MotionBank, from_tensors, load_motion, to_tensors
from mggdub.train.common import held_out, interval
from mggdub.train.motion import make_bank
from mggdub.train.motion_data import Take, read_takes
from mggdub.train.motion_figures import FIGURES, eyelids, gaze, head_speed, motion_figures
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack

WINDOW, HOP = 100, 25  # values: 4 s
STEPS, BATCH, RATE_OF_LEARNING = 300, 48, 2e-3
BROWS = [k for k, name in enumerate(BLENDSHAPES) if name.startswith("brow")]
FAR = 10000  # from which seed on is made what a network learns from
SHUT = 0.6  # of closed lids: beyond it they count as closed, since ours all close fully and a camera's miss the moment
CLOSED = 0.4  # of a blink; the least that a person's own closed lids are taken to measure


def made(bank: MotionBank, take: Take, seed: int) -> ExpressionTrack:
    """Our motion while this is said."""
    assert take.prosody is not None, take.clip
    found = gestures(bank, take.prosody, take.track.times, seed)
    lips = np.zeros((len(take.track), LIP_MODES), np.float32)
    units = with_blinks(found.units, found.lids)
    track = ExpressionTrack(take.track.times, units, lips, found.rotation, found.translation, found.torso)
    return bounded(near_head(track))


def person(take: int, seed: int, seeds: int) -> int:
    """The seed of what is made of one take: a seed is a person, and no two takes are of one."""
    return take * seeds + seed


def ratios(takes: list[Take], tracks: list[list[ExpressionTrack]]) -> dict[str, tuple[float, float, float]]:
    """Ours over true, median and interval, of each figure; a person without a blink has no ratio of blinks."""
    found: dict[str, list[float]] = {name: [] for name in (*FIGURES, "jitter")}
    for take, ours in zip(takes, tracks, strict=True):
        truth = motion_figures(take.track)
        mean = {name: float(np.mean([motion_figures(one)[name] for one in ours])) for name in found}
        for name, values in found.items():
            if truth[name] > 0:
                values.append(mean[name] / truth[name])
    return {name: interval(np.array(values)) for name, values in found.items() if values}


def beat(take: Take, track: ExpressionTrack) -> float:
    """Correlation of head speed with loudness."""
    assert take.prosody is not None, take.clip
    return float(np.corrcoef(head_speed(track), take.prosody.level)[0, 1])


def windows(track: ExpressionTrack) -> Array:
    """[K, C, 100] float32: pose, brows, lids and gaze of 4 s, against what is usual in the track."""
    lids = eyelids(track)
    lids = (lids - np.median(lids)) / max(float(np.percentile(lids, 98) - np.median(lids)), CLOSED)
    lids = np.minimum(lids, SHUT)
    parts = [
        track.rotation / 4,
        track.translation,
        track.blendshapes[:, BROWS] / 0.15,
        lids[:, None],
        gaze(track) / 0.2,
    ]
    values = np.concatenate(parts, 1)
    values = values - np.median(values, 0)
    starts = range(0, len(values) - WINDOW + 1, HOP)
    return np.array([values[start : start + WINDOW].T for start in starts], np.float32).reshape(
        -1, values.shape[1], WINDOW
    )


class Detective(nn.Module):
    """Tells made windows [B, C, 100] from true ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(2 * channels, 32, 7, 2), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Conv1d(32, 32, 5, 2), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)),
        )
        self.last = nn.Linear(64, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Logits [B]."""
        speed = torch.diff(values, dim=-1, prepend=values[..., :1]) * 5
        found = self.layers(torch.cat([values, speed], 1))
        return self.last(torch.cat([found.mean(-1), found.amax(-1)], 1))[:, 0]


def train_detective(true: Array, ours: Array, seed: int) -> Detective:
    """A network that has seen these windows."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Detective(true.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), RATE_OF_LEARNING, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        picked = [part[rng.integers(0, len(part), BATCH // 2)] for part in (true, ours)]
        labels = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
        loss = nn.functional.binary_cross_entropy_with_logits(net(torch.from_numpy(np.concatenate(picked))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def area(true: Array, ours: Array) -> float:
    """Area under the curve of scores: how often a made window is taken for more made than a true one."""
    ranks = rankdata(np.concatenate([true, ours]))
    return float((ranks[len(true) :].sum() - len(ours) * (len(ours) + 1) / 2) / (len(true) * len(ours)))


def told_apart(seen: list[Take], unseen: list[Take], bank: MotionBank, seeds: int) -> dict[str, float]:
    """How well true and made windows of `unseen` are told apart, after training on `seen`.

    What was made of `seen` comes from banks that have no window of theirs: of the other half of the people.
    """
    people = sorted({take.person for take in seen})
    side = {person: k % 2 for k, person in enumerate(people)}
    true: list[Array] = []
    ours: list[Array] = []
    for half in (0, 1):
        other = from_tensors(to_tensors(make_bank([take for take in seen if side[take.person] != half])))
        for take in (take for take in seen if side[take.person] == half and take.prosody):
            ours += [windows(made(other, take, FAR + 2 * len(true) + k)) for k in range(2)]
            true.append(windows(take.track))
    scores: list[list[Array]] = [[], []]
    for seed in range(seeds):
        net = train_detective(np.concatenate(true), np.concatenate(ours), seed)
        with torch.inference_mode():
            real = np.concatenate([windows(take.track) for take in unseen])
            fake = np.concatenate([windows(made(bank, take, person(k, seed, seeds))) for k, take in enumerate(unseen)])
            scores[0].append(net(torch.from_numpy(real)).numpy())
            scores[1].append(net(torch.from_numpy(fake)).numpy())
    areas = [area(a, b) for a, b in zip(*scores, strict=True)]
    return {"auc": float(np.mean(areas)), "lowest": min(areas), "highest": max(areas), "windows": len(real)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--val", action="store_true", help="measure on val, too; else on held-out people alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    takes = read_takes(given.clips, given.tracks, load_expression(), ("train", "val") if given.val else ("train",))
    seen = [take for take in takes if take.split == "train" and not held_out(take.person)]
    unseen = [take for take in takes if take.prosody and (take.split == "val" or held_out(take.person))]
    print(json.dumps(judge(seen, unseen, load_motion(), given.seeds), indent=1))


def judge(seen: list[Take], unseen: list[Take], bank: MotionBank, seeds: int) -> dict[str, object]:
    """All figures of `bank` on people whom it has never seen."""
    tracks = [[made(bank, take, person(k, seed, seeds)) for seed in range(seeds)] for k, take in enumerate(unseen)]
    beats = np.array([[beat(take, take.track), beat(take, ours[0])] for take, ours in zip(unseen, tracks, strict=True)])
    return {
        "people": len({take.person for take in unseen}),
        "takes": len(unseen),
        "ours over true": {k: [round(v, 3) for v in row] for k, row in ratios(unseen, tracks).items()},
        "beat, true": [round(v, 3) for v in interval(beats[:, 0])],
        "beat, ours": [round(v, 3) for v in interval(beats[:, 1])],
        "told apart": told_apart(seen, unseen, bank, seeds),
    }


if __name__ == "__main__":
    main()
