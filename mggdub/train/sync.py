"""The lip-sync judge, from talking clips: `python -m mggdub.train.sync CLIPS_DIR TRACKS_DIR CACHE_DIR RUN_DIR`.

CACHE_DIR holds features as `mggdub.train.speech` keeps them (the same folder may serve both). That module's map finds
the lag of every clip's sound and drops clips out of step; zero is where the studio recordings of GRID lie. What is left
teaches the judge: of 31 shifts of the sound, the true one has to be nearest, frame by frame and second by second. Every
ninth person is left out to choose by. RUN_DIR gets the state, a log and the weights; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mggdub import weights
from mggdub.evaluation.sync import distances, head_lips
from mggdub.face.expression import load_expression
from mggdub.face.mesh import canonical_face
from mggdub.networks.sync import POINTS, RATE, REACH, Judge, JudgeConfig
from mggdub.networks.whisper import CONTEXT, load_whisper
from mggdub.train.common import cosine_rate, held_out, load_state, move_mean, save_state, set_rate, weights_of
from mggdub.train.prepare import clips, load_track
from mggdub.train.speech import find_lags
from mggdub.train.speech_data import PERSON_CAP, VARIANTS, cache_features, sections
from mggdub.types import Array

STEPS, BATCH, LENGTH = 900, 32, 96  # frames of a sample
WINDOW = 25  # frames that are judged together
LEARNING_RATE, WARM_UP, WEIGHT_DECAY = 2e-3, 100, 0.05
AVERAGE, SLOW = 0.998, 20  # of `move_mean`
EVERY = 250  # steps, from one saved state to the next
STUDIO = "GRID"  # these clips are in step
IN_STEP = 0.6  # frames, standard deviation of what counts as the true shift: lags are known no better
CARD: dict[str, Any] = {
    "what": "lips and sound in one space: are they in step?",
    "trained on": "talking clips with own sound (English, Arabic and others), altered by speed, noise, reverberation "
    "and band limits; lags found by the speech model's first map, zero is that of the GRID corpus",
    "method": "cross entropy of the true shift among 31; three minutes on one CPU core, features ten more",
    "licence": "research use only, see weights/LICENSE",
    "limits": "Judges the motion of landmarks, not how lips look; no absolute scale: compare with true clips; 2.2 s or "
    "more",
}


@dataclass(frozen=True, eq=False)
class Talk:
    """Lips and the sound that belongs to them."""

    clip: str
    person: str
    lips: Array  # [n, 2 * points] cm
    tokens: Array  # [2 * n, F] float16
    known: Array  # [n] bool, where the face was found


def read_talks(
    rows: list[dict[str, str]], tracks: Path, cache: Path, lags: dict[str, float], variant: int
) -> list[Talk]:
    """Clips that have a track, features and a lag (frames)."""
    found = []
    for row in rows:
        stem = Path(row["file"]).stem
        path, heard = tracks / row["split"] / f"{stem}.npz", cache / f"{stem}.{variant}.npz"
        if stem not in lags or not path.exists() or not heard.exists():
            continue
        track = load_track(path)
        with np.load(heard) as file:
            names = sorted((name for name in file.files if name.startswith("x")), key=lambda name: int(name[1:]))
            tokens = np.concatenate([file[name][CONTEXT:-CONTEXT] for name in names])
            faster = float(file["faster"])
        middle = track["times"] + np.median(np.diff(track["times"])) / 2
        at = (np.arange(len(tokens) // 2) + 0.5) / RATE * faster + lags[stem] / RATE
        lips = head_lips(track["landmarks"])
        lips = lips - np.median(lips, 0)
        lips = np.stack([np.interp(at, middle, point) for point in lips.T], 1).astype(np.float32)
        known = (at >= middle[0] - 0.02) & (at <= middle[-1] + 0.02)
        known &= np.interp(at, middle, (track["presence"] > 0).astype(float)) > 0.99
        if known.sum() > WINDOW:
            found.append(Talk(stem, row["identity"], lips, tokens, known))
    return found


def known_lags(rows: list[dict[str, str]], tracks: Path, cache: Path, file: Path) -> dict[str, float]:
    """Frames that each clip's lips are late, 0 for GRID; clips out of step are missing. Found once, kept in a file."""
    if not file.exists():
        basis = load_expression()
        lags = find_lags(sections(rows, tracks, cache, basis, None)[0], basis)
        studio = defaultdict(list)
        for row in rows:
            if (stem := Path(row["file"]).stem) in lags and stem.startswith(STUDIO):
                studio[row["identity"]].append(lags[stem])
        zero = float(np.mean([np.mean(late) for late in studio.values()]))
        print(f"the lips of {STUDIO}* are {zero:+.2f} frames later than most people's", flush=True)
        lags = {clip: 0.0 if clip.startswith(STUDIO) else lag - zero for clip, lag in lags.items()}
        file.write_text(json.dumps(lags), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def mirrored() -> Array:
    """Where each of POINTS lies on the other side of the face."""
    face = canonical_face()[0][list(POINTS)]
    return np.linalg.norm(face[:, None] * [-1, 1, 1] - face, axis=-1).argmin(1)


def make_batch(talks: list[Talk], chances: Array, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lips [B, LENGTH, 2 * points], tokens [B, 2 * LENGTH, F], known [B, LENGTH]; the same for the same step."""
    rng, other = np.random.default_rng([7, step]), mirrored()
    lips = np.zeros((BATCH, LENGTH, 2 * len(POINTS)), np.float32)
    tokens, known = np.zeros((BATCH, 2 * LENGTH, talks[0].tokens.shape[1]), np.float32), np.zeros((BATCH, LENGTH), bool)
    for row, index in enumerate(rng.choice(len(talks), BATCH, p=chances)):
        talk = talks[index]
        start = int(rng.integers(0, max(1, len(talk.lips) - LENGTH + 1)))
        part = talk.lips[start : start + LENGTH] * rng.uniform(0.5, 1.6)
        count = len(part)
        part = part.reshape(count, -1, 2)
        if rng.random() < 0.5:
            part = part[:, other] * [-1, 1]
        part = part + rng.normal(0, 0.03, (1, *part.shape[1:]))  # another rest
        part = part + rng.normal(0, rng.uniform(0, 0.02), part.shape)
        lips[row, :count] = part.reshape(count, -1)
        tokens[row, : 2 * count] = talk.tokens[2 * start : 2 * (start + count)]
        known[row, :count] = talk.known[start : start + LENGTH]
        for part in (lips[row], tokens[row]):  # a moment is missing
            if rng.random() < 0.3:
                at, long = int(rng.integers(0, len(part))), int(rng.integers(1, len(part) // 12))
                part[at : at + long] = part[max(at - 1, 0)]
    return torch.from_numpy(lips), torch.from_numpy(tokens), torch.from_numpy(known)


def shift_losses(judge: Judge, sharpness: Tensor, lips: Tensor, tokens: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Cross entropies of the true shift, for single frames and for WINDOW frames together."""
    lip_vectors, sound_vectors = judge.see(lips), judge.hear(judge.keep(tokens))
    shifts = torch.arange(-REACH, REACH + 1)
    target = torch.softmax(-0.5 * (shifts / IN_STEP) ** 2, 0)
    losses = {}
    for name, far in (
        ("sound moves", distances(lip_vectors, sound_vectors)),
        ("lips move", distances(sound_vectors, lip_vectors)),
    ):
        other = functional.pad(known, (REACH, REACH)).unfold(1, 2 * REACH + 1, 1)
        both = known[..., None] & other
        far = torch.where(both, far, 0.0)
        for kind, (size, sharp) in enumerate(((1, sharpness[0]), (WINDOW, sharpness[1]))):
            total = functional.avg_pool1d(far.transpose(1, 2), size, 1).transpose(1, 2)
            share = functional.avg_pool1d(both.float().transpose(1, 2), size, 1).transpose(1, 2)
            logits = torch.where(share > 0.5, -sharp.exp() * total / share.clamp_min(1e-3), -1e4)
            good = share[..., REACH] > 0.99
            wanted = torch.where(share > 0.5, target, 0.0)
            wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
            loss = -(wanted * logits.log_softmax(-1)).sum(-1)[good].mean()
            losses[f"{name}, {('frame', 'second')[kind]}"] = loss
    return losses


@torch.inference_mode()
def examine(judge: Judge, talks: list[Talk]) -> dict[str, float]:
    """Of unaltered clips: how often the true shift is nearest (within a frame), and nearer than a random other one.

    Windows of WINDOW and 4 * WINDOW frames, and whole clips; people count alike.
    """
    rng = np.random.default_rng(0)
    scores: dict[str, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for talk in talks:
        lips, tokens = torch.from_numpy(talk.lips)[None], torch.from_numpy(talk.tokens)[None].float()
        far = distances(judge.see(lips), judge.hear(judge.keep(tokens)))[0].numpy()[talk.known]
        if len(far) < 2 * REACH + WINDOW:
            continue
        for name, size in (("1 s", WINDOW), ("4 s", 4 * WINDOW), ("clip", len(far))):
            for start in range(0, len(far) - size + 1, size):
                with np.errstate(all="ignore"):
                    curve = np.nanmean(far[start : start + size], 0)
                wrong = [
                    shift for shift in range(2 * REACH + 1) if abs(shift - REACH) > 2 and np.isfinite(curve[shift])
                ]
                near = abs(int(np.nanargmin(curve)) - REACH) <= 1
                two = curve[REACH] < curve[rng.choice(wrong)]
                scores[talk.person][name].append(
                    np.array([near, two, np.nanmin(curve), np.nanmedian(curve) - np.nanmin(curve)])
                )
    found: dict[str, float] = {"people": len(scores)}
    for name in ("1 s", "4 s", "clip"):
        table = np.array([np.mean(rows[name], 0) for rows in scores.values() if rows[name]])
        near, two, least, margin = table.mean(0)
        found |= {
            f"{name}: 1 of 31 within a frame": near,
            f"{name}: 1 of 2": two,
            f"{name}: d": least,
            f"{name}: c": margin,
        }
    return {name: round(float(value), 4) for name, value in found.items()}


def train(talks: list[Talk], judge: Judge, run: Path, steps: int, held: list[Talk]) -> None:
    """Leaves the averaged network in `judge`."""
    frames: dict[str, int] = defaultdict(int)
    for talk in talks:
        frames[talk.person] += len(talk.lips)
    counts = np.array([len(talk.lips) * min(1.0, PERSON_CAP / frames[talk.person]) for talk in talks])
    chances = counts / counts.sum()
    sharpness = nn.Parameter(torch.tensor([1.5, 2.5]))
    everything = [*judge.parameters(), sharpness]
    optimizer = torch.optim.AdamW(everything, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    mean = weights_of(judge)
    first = 0
    if state := load_state(run / "state.pt"):
        judge.load_state_dict(state["judge"])
        sharpness.data.copy_(state["sharpness"])
        optimizer.load_state_dict(state["optimizer"])
        mean, first = state["mean"], state["step"]
    for step in range(first, steps):
        torch.manual_seed(step)  # of the dropout
        set_rate(optimizer, LEARNING_RATE * cosine_rate(step, steps, WARM_UP))
        terms = shift_losses(judge.train(), sharpness, *make_batch(talks, chances, step))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(everything, 1.0)
        optimizer.step()
        move_mean(mean, judge, step, AVERAGE, SLOW)
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            state = {"judge": judge.state_dict(), "sharpness": sharpness.detach(), "optimizer": optimizer.state_dict()}
            save_state(run / "state.pt", state | {"mean": mean, "step": step + 1})
            averaged = deepcopy(judge)
            averaged.load_state_dict(mean)
            note(run, step, {k: round(v.item(), 4) for k, v in terms.items()} | examine(averaged.eval(), held))
    judge.load_state_dict(mean)
    judge.eval()


def note(run: Path, step: int, values: dict[str, float]) -> None:
    line = json.dumps({"step": step, **values})
    print(line, flush=True)
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clips", "tracks", "cache", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.run.mkdir(parents=True, exist_ok=True)
    given.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for row in clips(given.clips) if row["audio"] == "yes" and row["split"] != "val"]
    cache_features(rows, given.clips, given.cache, load_whisper())
    lags = known_lags(rows, given.tracks, given.cache, given.run / "lags.json")
    talks = [read_talks(rows, given.tracks, given.cache, lags, variant) for variant in range(VARIANTS)]
    held = [talk for talk in talks[0] if held_out(talk.person) and len(talk.lips) > 3 * WINDOW]
    used = [talk for variant in talks for talk in variant if not held_out(talk.person)]
    torch.manual_seed(1)
    config = JudgeConfig()
    judge = Judge(config)
    train(used, judge, given.run, given.steps, held)
    plain = [talk for talk in talks[0] if not held_out(talk.person)]
    about = {
        "steps": given.steps,
        "clips": len(plain),
        "people": len({talk.person for talk in plain}),
        "minutes": round(sum(len(talk.lips) for talk in plain) / RATE / 60, 1),
        "held-out people": examine(judge, held),
    }
    weights.save(given.run, "sync", judge.state_dict(), asdict(config), CARD | about)


if __name__ == "__main__":
    main()
