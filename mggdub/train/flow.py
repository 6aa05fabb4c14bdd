"""Where the points of a head should have gone: `python -m mggdub.train.flow DATA`, after `head_data`.

Every avatar is drawn as it is without anything learned, and optical flow (DIS) says how what is seen lies in the true
frame. Kept is, for one point of every cell of the grid, where it should be, with 0 trust where the flow there and back
does not return or leads out of the true head. DATA/<clip>_<n>.aim gets an array [T, P, 3]: px right, px down, trust.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mggdub.face import expression
from mggdub.networks import head
from mggdub.train import head_losses
from mggdub.train.head import as_bytes, new_net, people
from mggdub.train.head_losses import on_screen
from mggdub.train.head_sample import Sample, load_sample
from mggdub.types import Array

RETURNS = 1.5  # px, how near the way there and back must end
FARTHEST = 24.0  # px
SMOOTH = 2.0  # px, sigma: motion is smoother than flow


def flows(net: head.HeadNet, one: Sample) -> Array:
    """[T, P, 3] float32 of one avatar."""
    found = []
    with torch.no_grad():
        grids = net(one.inputs[None], one.own[None])
        for moment in range(len(one.states)):
            drawn, _, _ = head_losses.drawn(net, grids, one, moment)
            rendered, _ = head_losses.picture(drawn, one.camera, one.plates[moment])
            at = on_screen(drawn.means[one.lead], one.camera).numpy()
            pair = as_bytes(rendered.permute(1, 2, 0)), as_bytes(one.pictures[moment])
            found.append(_flow(*pair, at, one.heads[moment].numpy()))
    return np.stack(found).astype(np.float32)


def _flow(rendered: Array, true: Array, at: Array, inside: Array) -> Array:
    """[P, 3] of points at [P, 2] px."""
    import cv2  # of the [train] extra; what only stores aims does without

    there, back = both_ways(*(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (rendered, true)))
    there = np.dstack([cv2.GaussianBlur(there[..., k], (0, 0), SMOOTH) for k in range(2)])
    move = _sample(there, at)
    home = np.linalg.norm(move + _sample(back, at + move), axis=1)
    ends = _sample(inside[..., None], at + move)[:, 0]
    size = np.linalg.norm(move, axis=1)
    shown = ((at >= 0) & (at <= np.array(inside.shape[::-1]))).all(1)
    trust = shown & (home < RETURNS) & (ends > 0.5) & (size < FARTHEST)
    return np.concatenate([at + move, trust[:, None]], 1)


def both_ways(first: Array, second: Array) -> tuple[Array, Array]:
    """Optical flow [H, W, 2] px from one grey picture [H, W] uint8 to another, and back."""
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = (search.calc(a, b, None) for a, b in ((first, second), (second, first)))  # type: ignore[call-overload]
    return there, back


def _sample(image: Array, at: Array) -> Array:
    place = [at[:, 1] - 0.5, at[:, 0] - 0.5]
    channels = (image[..., c] for c in range(image.shape[2]))
    return np.stack([ndimage.map_coordinates(channel, place, order=1, mode="nearest") for channel in channels], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="this part of so many, to work side by side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    net = new_net(expression.load_expression())
    train, held = people(given.data)
    for stem, number, _ in sorted(train + held)[given.part[0] :: given.part[1]]:
        target = given.data / f"{stem}_{number}.aim"
        if target.exists():
            continue
        save_aim(target, flows(net, load_sample(given.data, stem, number)))


def save_aim(path: Path, aim: Array) -> None:
    with path.with_suffix(".partial").open("wb") as file:
        np.save(file, aim)
    path.with_suffix(".partial").replace(path)


if __name__ == "__main__":
    main()
