"""Sharp states of one person's mouth from many frames: frames are aligned by their teeth, states are medians of a few.

All pictures lie in the skull's frame, PITCH cm a pixel, about the middle of the closed lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mggdub.avatar.lips import LIP_TIP, MIDDLE, lip_edges, lip_shape, lips_of, lower_level, lower_share, picture_places
from mggdub.face.mesh import INNER_LIPS, UPPER_LIP, inside
from mggdub.metrics.pixels import grey
from mggdub.networks.mouth import MouthConfig
from mggdub.types import Array

PITCH = 0.05  # cm
X = np.arange(-3.2, 3.2, PITCH) + PITCH / 2  # [128] cm
Y = np.arange(-1.4, 3.4, PITCH) + PITCH / 2  # [96]
TEETH = slice(28, 100)  # columns in which teeth are looked for, 1.8 cm to either side
REACH = 4  # px that a frame may be off
STIFF = 0.006  # correlation that a pixel off must be worth
ROUNDS = 3
ALIKE = 25.0  # grey levels: pixels farther from the mean count less in the next one
FEWEST = 60  # px that two pictures must have in common
SHOWS = 0.3  # cm, from which gap on a frame says where teeth are
NEAREST = 24  # frames, of which a state is made
EFFECTIVE = 4.0  # frames that share in a state
APPEARANCE = 6.0  # grey levels that count as much as a usual difference of shape
LEAST_SHARE = 2e-5  # of the weight of what shows a pixel
RAISED = -0.27  # cm that the upper lip goes down for every cm of the mouth's opening
TRUSTED = 0.6  # of what an upper lip is elsewhere than that: the rest of it is no error of the pose
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Frames:
    """Open mouths of one person. F frames."""

    pictures: Array  # [F, 96, 128, 3] uint8
    mesh: Array  # [F, 478, 3] cm
    rest: Array  # [F, 478, 3] cm, of each one's clip
    skin: Array  # [F, 3] 0..255

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, eq=False)
class Placed:
    """Frames with what is known of each, once poses are corrected so that the upper teeth lie still."""

    frames: Frames
    masks: Array  # [F, 96, 128] float32, inside the lips
    lips: Array  # [F, 2, 11, 2] cm
    shapes: Array  # [F, SHAPE]
    upper: Array  # [F, 2] cm from where upper teeth are to where they are in the picture
    lower: Array  # [F, 2] the same of lower teeth, which are level with the middle of the lower lip


def place(frames: Frames) -> Placed:
    """Look at every frame and align them all by their teeth."""
    pairs = list(zip(frames.mesh, frames.rest, strict=True))
    lips = np.array([lips_of(mesh, rest) for mesh, rest in pairs])
    out = frames.mesh[:, LIP_TIP, 2] - frames.rest[:, LIP_TIP, 2]
    masks = np.array([lip_mask(one) for one in lips])
    luma, open_by = grey(frames.pictures), lips[:, 1, MIDDLE, 1] - lips[:, 0, MIDDLE, 1]
    upper = aligned(luma, masks, lips, pose_errors(lips, open_by), open_by, "upper")
    level = np.stack([np.zeros(len(lips)), lower_level(lips) - upper[:, 1]], 1)
    lower = aligned(luma, masks, lips, upper + level, open_by, "lower")
    still = lips - upper[:, None, None]
    return Placed(frames, masks, still, lip_shape(still, out), upper, lower)


def pose_errors(lips: Array, open_by: Array) -> Array:
    """[F, 2] cm: a first guess of how far off lips [F, 2, 11, 2] lie, from where lips of that opening usually do."""
    raised = lips[:, 0, MIDDLE - 1 : MIDDLE + 2, 1].mean(1) - RAISED * np.maximum(open_by, 0)
    usual = np.median(raised)
    across = np.median(lips[:, :, [0, -1], 0].mean((1, 2)))
    return np.stack([np.full(len(lips), across), usual + TRUSTED * (raised - usual)], 1)


def lip_mask(lips: Array) -> Array:
    """[96, 128] float32: well inside lips [2, 11, 2]."""
    ring = np.concatenate([lips[0], lips[1, -2:0:-1]])
    assert len(ring) == len(INNER_LIPS)
    grid = np.stack(np.meshgrid(X, Y), -1).reshape(-1, 2)
    return ndimage.binary_erosion(inside(grid, ring).reshape(len(Y), len(X))).astype(np.float32)


def aligned(luma: Array, masks: Array, lips: Array, guess: Array, open_by: Array, teeth: str) -> Array:
    """[F, 2] cm: where each frame's upper or lower teeth lie against those of the mean of all, near a guess [F, 2]."""
    start = np.rint(guess[:, ::-1] / PITCH).astype(int)
    zones = np.array([mask * teeth_zone(one, teeth) for mask, one in zip(masks, lips, strict=True)])
    pictures, zones = (np.array([_moved(p, s) for p, s in zip(x, start, strict=True)]) for x in (luma, zones))
    rows = np.flatnonzero(zones.sum((0, 2)))
    shifts = np.zeros((len(luma), 2), int)
    if len(rows) == 0:
        return start[:, ::-1] * PITCH
    band = slice(max(rows[0] - REACH, 0), rows[-1] + REACH + 1)
    pictures, zones = pictures[:, band, TEETH].astype(np.float32), zones[:, band, TEETH]
    trusted = (np.minimum(open_by, 1) * (open_by > SHOWS))[:, None, None]
    for number in range(ROUNDS):
        now, visible = (np.array([_moved(p, s) for p, s in zip(x, shifts, strict=True)]) for x in (pictures, zones))
        mean, weight = _mean(now, visible * trusted)
        if number:
            mean, weight = _mean(now, visible * trusted * np.exp(-((now - mean) ** 2) / (2 * ALIKE**2)))
        share = np.minimum(weight / 2, 1)
        shifts = best_shifts(pictures, zones, mean, share)
    return np.asarray((start + shifts)[:, ::-1] * PITCH)


def teeth_zone(lips: Array, teeth: str) -> Array:
    """[96, 128] bool: where teeth may be seen below the upper lip or above the lower one."""
    upper, lower = (np.interp(X, lip[order, 0], lip[order, 1]) for lip in lips for order in [np.argsort(lip[:, 0])])
    down = (Y[:, None] - upper) / np.maximum(lower - upper, 0.05)
    if teeth == "upper":
        return np.asarray((down < 0.6) & (Y[:, None] - upper < 0.7))
    return np.asarray((down > 0.4) & (lower - Y[:, None] < 0.6))


def _moved(picture: Array, shift: Array) -> Array:
    """What lay `shift` (rows, columns) farther."""
    return np.roll(picture, (-int(shift[0]), -int(shift[1])), (0, 1))


def _mean(pictures: Array, weights: Array) -> tuple[Array, Array]:
    total = weights.sum(0)
    return (pictures * weights).sum(0) / np.maximum(total, 1e-6), total


def best_shifts(pictures: Array, zones: Array, mean: Array, share: Array) -> Array:
    """[F, 2] rows and columns by which pictures [F, h, w], seen in their zones, correlate best with a mean [h, w].

    Large shifts have to be worth it. All correlations at once, by Fourier transforms.
    """
    shape = [side + REACH for side in mean.shape]
    level = mean[share > 0].mean() if (share > 0).any() else 0.0
    pictures, mean = (pictures - level) / 64, (mean - level) / 64  # small numbers, or sums of squares lose digits
    moving = [np.fft.rfft2(x, shape) for x in (zones, zones * pictures, zones * pictures**2)]
    still = [np.conj(np.fft.rfft2(x, shape)) for x in (share, share * mean, share * mean**2)]
    window = np.arange(-REACH, REACH + 1)

    def summed(a: int, b: int) -> Array:
        return np.asarray(np.fft.irfft2(moving[a] * still[b], shape)[:, window[:, None], window])

    count = summed(0, 0)
    few = np.asarray(count < FEWEST)
    count = np.maximum(count, 1)
    picture, own = summed(1, 0) / count, summed(0, 1) / count
    spread = (summed(2, 0) / count - picture**2) * (summed(0, 2) / count - own**2)
    likeness = (summed(1, 1) / count - picture * own) / np.sqrt(np.maximum(spread, 0) + 1e-6)
    cost = STIFF * (window[:, None] ** 2 + window**2) - np.where(few, -1, likeness)
    best = cost.reshape(len(cost), -1).argmin(1)
    found = np.stack([window[best // len(window)], window[best % len(window)]], 1)
    return np.where(np.all(few, axis=(1, 2), keepdims=True)[..., 0], 0, found)


def centres(shapes: Array, count: int) -> Array:
    """[count, SHAPE]: lip shapes that are far apart, then each the mean of those nearest to it."""
    chosen = [int(np.abs(shapes[:, 0] - np.median(shapes[:, 0])).argmin())]
    for _ in range(count - 1):
        chosen.append(int(np.square(shapes[:, None] - shapes[chosen]).sum(-1).min(1).argmax()))
    middle = shapes[chosen].copy()
    for _ in range(12):
        nearest = np.square(shapes[:, None] - middle).sum(-1).argmin(1)
        for k in np.unique(nearest):
            middle[k] = shapes[nearest == k].mean(0)
    return middle


def fit_states(placed: Placed, config: MouthConfig) -> dict[str, Array]:
    """One person's row of a `MouthAtlas`: pictures, spans, edges, lows, shapes, skins, widths."""
    skin = np.median(placed.frames.skin, 0)
    states = [fit_state(placed, centre, skin, config) for centre in centres(placed.shapes, config.states)]
    whole = {name: np.array([state[name] for state in states]) for name in states[0]}
    raised = placed.lips[:, 0, MIDDLE - 1 : MIDDLE + 2, 1].mean(1)
    off = np.median(raised - RAISED * (placed.lips[:, 1, MIDDLE, 1] - placed.lips[:, 0, MIDDLE, 1]))
    whole["edges"] -= off  # so that everybody's lips move over their teeth as an avatar's do
    whole["lows"] -= off
    corners = placed.frames.rest[:, UPPER_LIP[-1]] - placed.frames.rest[:, UPPER_LIP[0]]
    return whole | {"skins": skin / 255, "widths": np.median(np.linalg.norm(corners, axis=-1))}


def fit_state(placed: Placed, centre: Array, skin: Array, config: MouthConfig) -> dict[str, Array]:
    """The state at a lip shape [SHAPE]: the median of a few frames that look alike, around one that is typical."""
    apart = np.sqrt(np.square(placed.shapes - centre).sum(1))
    near = np.argsort(apart, kind="stable")[:NEAREST]
    apart = apart[near]
    share = np.exp(-((apart / max(float(apart[min(5, len(apart) - 1)]), 0.05)) ** 2))
    share /= share.sum()
    lips = np.tensordot(share, placed.lips[near], 1)
    low = float(share @ lower_level(placed.lips[near]))
    span, edges = lip_edges(lips, config.columns, config.margin)
    places = picture_places(span, edges, config.rows, config.margin)
    down = np.clip((places[..., 1] - edges[0]) / (edges[1] - edges[0]), 0, 1)
    samples = [sampled(placed, int(f), places, lower_share(down)[..., None], low, skin) for f in near]
    colours, shown = (np.array(x) for x in zip(*samples, strict=True))  # [M, R, C, 3], [M, R, C]
    usual = max(float(np.median(apart)), 0.05)
    members, fallback = alike(colours @ LUMA, shown, apart / usual), np.exp(-apart / usual)
    weights = shown * (members + 1e-3 * fallback / fallback.sum())[:, None, None]
    picture, total = middle_mean(colours, weights)
    hidden = total < LEAST_SHARE
    beside = ndimage.distance_transform_edt(hidden, sampling=(1, 0.6), return_distances=False, return_indices=True)
    picture = picture[tuple(np.asarray(beside))].clip(0, 255).round().astype(np.uint8)
    shape = share @ placed.shapes[near]
    parts = {"spans": span, "edges": edges, "lows": np.array(low), "shapes": shape}
    return {"pictures": picture.transpose(2, 0, 1), **parts}


def sampled(placed: Placed, frame: int, places: Array, share: Array, low: float, skin: Array) -> tuple[Array, Array]:
    """Colours [R, C, 3] of a frame, lit like skin [3], and how well it shows them [R, C], where teeth would be at
    places [R, C, 2] cm if its lower lip were at `low` cm.
    """
    off = (1 - share) * placed.upper[frame] + share * (placed.lower[frame] - [0, low])
    x, y = np.moveaxis(places + off, -1, 0)
    at = [(y - Y[0]) / PITCH, (x - X[0]) / PITCH]
    gain = (skin / np.maximum(placed.frames.skin[frame], 8)).clip(0.6, 1.6)
    picture = placed.frames.pictures[frame].astype(np.float32)
    colours = [ndimage.map_coordinates(picture[..., c], at, order=1, mode="nearest") * gain[c] for c in range(3)]
    return np.stack(colours, -1), ndimage.map_coordinates(placed.masks[frame], at, order=1)


def alike(luma: Array, shown: Array, apart: Array) -> Array:
    """[M] shares of frames in a state: of those that look like the most typical sharp one; apart [M] is of shapes."""
    count = shown.sum((1, 2))
    differ = np.zeros((len(luma), len(luma)))
    for k in range(len(luma)):
        both = shown * shown[k]
        common = both.sum((1, 2))
        differ[k] = (np.abs(luma - luma[k]) * both).sum((1, 2)) / np.maximum(common, 1)
        differ[k][common < 0.5 * np.minimum(count, count[k])] = 60
    edges = [np.abs(ndimage.laplace(p))[s > 0.9] for p, s in zip(luma, shown, strict=True)]
    sharp = np.array([float(e.mean()) if len(e) else 0.0 for e in edges])
    odd = 3 * apart + np.sort(differ, 1)[:, 1:4].mean(1) / 4
    typical = int((odd - 3 * np.clip(sharp / max(float(np.median(sharp)), 1e-3), 0.3, 1.5)).argmin())
    cost = np.square(differ[typical] / APPEARANCE) + 0.3 * np.square(apart)
    return effective(cost, EFFECTIVE)


def effective(cost: Array, count: float) -> Array:
    """Shares exp(-cost / h), h such that about `count` of them matter."""
    low, high = 1e-3, 1e3
    for _ in range(40):
        width = np.sqrt(low * high)
        share = np.exp((cost.min() - cost) / width)
        low, high = (width, high) if share.sum() ** 2 / np.square(share).sum() < count else (low, width)
    return np.asarray(share / share.sum())


def middle_mean(colours: Array, weights: Array) -> tuple[Array, Array]:
    """Mean [R, C, 3] of the middle 40 % by luma of colours [M, R, C, 3] with weights [M, R, C], and their sum."""
    order = np.argsort(colours @ LUMA, 0, kind="stable")
    weight = np.take_along_axis(weights, order, 0)
    upto, total = weight.cumsum(0), weight.sum(0)
    share = np.clip(upto, 0.3 * total, 0.7 * total) - np.clip(upto - weight, 0.3 * total, 0.7 * total)
    picked = np.take_along_axis(colours, order[..., None], 0)
    return (picked * share[..., None]).sum(0) / np.maximum(0.4 * total, 1e-9)[..., None], total
