"""What a render checks of itself. Frames pass by once; of each a few numbers are kept.

A check that has nothing to measure (no sound, no silence, a driven face) has no value and counts as passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from mggdub.avatar.values import HeadAvatar
from mggdub.errors import plain
from mggdub.face.expression import ExpressionBasis, lip_gap
from mggdub.media.demux import ends
from mggdub.metrics.pixels import contour_gradient, evenly
from mggdub.metrics.sound import QUIET, loudness, sound_lag
from mggdub.motion.torso import in_plane
from mggdub.motion.voice import phrases, runs
from mggdub.networks.speech import VOICE_RATE
from mggdub.renderer.rasterize import render_frame
from mggdub.reports import Check
from mggdub.types import VIDEO_LUMA, Array, ExpressionTrack, Waveform

COARSE, FINE = 96, 320  # samples along a side of the head's box: of every frame, of those whose seam is measured
SEAMS = 4  # frames whose seam is measured
EDGE = 1 / 80  # of the box: standard deviation of the band along the outline, in which the head may move
DARKEST = 0.5  # of the photo's brightness in the head's box
FROZEN = 0.2  # s of equal pictures while lips are told to move
MOVES = 0.02  # cm of lip gap from frame to frame that must show
HUSHED = 35.0  # dB below the loud parts
APART = 0.4  # s on either side of a hushed moment that are hushed, too: in shorter pauses lips may stay open
AT_REST = 0.1  # cm of lip gap that counts as closed
LIKELY = 0.4  # correlation of lips and loudness below which their lag says little
LATE = 120.0  # ms between lips and sound
ROUGH = 1.5  # of the photo's gradient along the outline
APART_FROM_BODY = 12.0  # cm that a head may go away from where its body carries it
LEAP = 6.0  # cm that a head may move or grow from one frame to the next; heads in 91 clips reach 3
SLOWEST = 25.0  # frames a second; in fewer it may move farther
HEAD_REACH = 10.0  # cm from the middle of a head to its outline: what it grows shows there
DISTANCE = 140.0  # cm, usual, between a camera and a head
SETTLED = 0.4  # s after which the photo's own expression has given way
LONGEST = 600  # s of sound that are listened to


@dataclass(eq=False)
class FrameStats:
    """What is kept of the frames of a video."""

    box: tuple[slice, slice]  # of the picture, where the head moves
    brightness: float  # of the photo there
    seam: float  # gradient along the outline in the photo
    matte: Array  # [FINE or less, ...] 0..1, the head at rest, soft
    chosen: frozenset[int]  # frames whose seam is measured
    levels: list[float] = field(default_factory=list)  # brightness over the photo's
    repeats: list[int] = field(default_factory=list)  # frames that equal the one before
    seams: list[float] = field(default_factory=list)  # gradient over the photo's
    last: Array | None = None
    view: Array = field(default_factory=lambda: np.diag([1, 1, 1, 1.0]) + np.outer([0, 0, DISTANCE, 0], [0, 0, 0, 1]))

    @classmethod
    def of(cls, avatar: HeadAvatar, frames: int) -> FrameStats:
        """For a video of so many frames."""
        at = avatar.box
        box = slice(at.top, at.top + at.height), slice(at.left, at.left + at.width)
        alpha = render_frame(avatar.gaussians, avatar.camera)[1]
        photo = avatar.image[box]
        fine = _light(_sampled(photo, FINE))
        places = tuple(
            ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(fine.shape, alpha.shape, strict=False)
        )
        matte = ndimage.gaussian_filter(alpha[np.ix_(*places)], EDGE * max(fine.shape))
        return cls(
            box,
            max(float(_light(_sampled(photo, COARSE)).mean()), 1.0),
            max(contour_gradient(fine, matte), 0.1),
            matte,
            evenly(SEAMS, frames),
            view=avatar.camera.viewmat,
        )

    def see(self, index: int, frame: Array) -> None:
        """Frames in order, [H, W, 3] or planes as of `animate`; a video that was interrupted may begin later."""
        part = frame[self.box]
        coarse = _sampled(part, COARSE).copy()
        if index in self.chosen:
            self.seams.append(contour_gradient(_light(_sampled(part, FINE)), self.matte) / self.seam)
        self.levels.append(float(_light(coarse).mean()) / self.brightness)
        if self.last is not None and np.array_equal(coarse, self.last):
            self.repeats.append(index)
        self.last = coarse


def _light(part: Array) -> Array:
    """[H, W] float64 0..255: BT.709's luma of a picture [H, W, 3], or of luma [H, W] in TV range."""
    return part @ np.array(VIDEO_LUMA) if part.ndim == 3 else (part - 16.0) * (255 / 219)


def _sampled(picture: Array, most: int) -> Array:
    """Every n-th row and column, so that a side has at most about `most`."""
    step = -(-max(picture.shape[:2]) // most)
    return picture[::step, ::step]


def run_checks(
    stats: FrameStats, output: Path, fps: float, track: ExpressionTrack, basis: ExpressionBasis, sound: Waveform | None
) -> dict[str, Check]:
    """The checks, by name, of a video that is written.

    `sound` is what the lips were made from, None if they were driven; of a long one the first ten minutes count.
    """
    gap = lip_gap(basis, track.lip_modes)
    moving = np.abs(np.diff(gap, prepend=gap[:1])) > MOVES
    voiced = np.ones(len(track), bool)
    quiet = np.zeros(len(track), bool)
    lag, likely = 0.0, 0.0
    if sound is not None:
        heard = Waveform(sound.samples[: LONGEST * sound.sample_rate], sound.sample_rate)
        inside = track.times < heard.duration
        away = _from_voice(heard, track.times)
        voiced = inside & (away <= 0)
        quiet = inside & (away >= APART) & (track.times > SETTLED)
        lag, likely = sound_lag(gap[inside], track.times[inside], heard) if inside.any() else (0.0, 0.0)
    away, moved = strayed(track, stats.view)
    leap = float(np.linalg.norm(np.diff(moved, axis=0), axis=1).max(initial=0)) * min(1.0, fps / SLOWEST)
    still = np.zeros(len(track), bool)
    still[stats.repeats] = True
    return {
        "ends": _ends(output, fps, len(track)),
        "black": _at_least(
            min(stats.levels, default=None), DARKEST, "brightness of the darkest frame over the photo's"
        ),
        "frozen": _at_most(
            _most(still & voiced, moving) / fps if (voiced & moving).any() else None,
            FROZEN,
            "longest time in s for which the lips should move and the picture stands still",
        ),
        "silence": _at_most(
            float(np.percentile(gap[quiet], 90)) if quiet.any() else None, AT_REST, "lip gap in cm where nobody speaks"
        ),
        "lip_lag": _at_most(
            lag if likely >= LIKELY else None, LATE, "how many ms the sound comes after the lips (either way)"
        ),
        "seam": _at_most(max(stats.seams, default=None), ROUGH, "gradient along the head's outline over the photo's"),
        "attached": _at_most(
            float(away.max()), APART_FROM_BODY, "how many cm the head goes, or grows, away from its body"
        ),
        "steady": _at_most(leap, LEAP, "how many cm the head leaps, or grows, from one frame to the next"),
    }


def strayed(track: ExpressionTrack, view: Array) -> tuple[Array, Array]:
    """How far the head is from where its body carries it [T] cm, and where it is and how large [T, 3] cm.

    Both in the picture's plane, of a photo whose camera sees the head by `view` [4, 4]. Turning is not going away.
    """
    distance = float(view[2, 3])
    shift = track.translation.astype(np.float64) @ view[:3, :3].T.astype(np.float64)  # [T, 3] camera
    size = distance / np.maximum(distance + shift[:, 2], 1.0)
    place = shift[:, :2] * size[:, None]
    body = [in_plane(motion, distance) for motion in track.torso]
    carried = np.array([[move.real, move.imag] for _, move in body]).reshape(-1, 2)
    grown = HEAD_REACH * np.log(size)
    away = np.linalg.norm(place - carried, axis=1) + np.abs(
        grown - HEAD_REACH * np.log([abs(turn) for turn, _ in body])
    )
    return away, np.concatenate([place, grown[:, None]], 1)


def failures(checks: dict[str, Check]) -> list[str]:
    """What is wrong, for a sentence, of each check that failed."""
    return [
        f"the check {name!r} failed ({check.what}: {plain(check.value or 0.0)}, limit {plain(check.limit or 0.0)})"
        for name, check in checks.items()
        if not check.ok
    ]


def _from_voice(sound: Waveform, times: Array) -> Array:
    """[T] s to the nearest sound that is not hushed, 0 or less within it."""
    level = loudness(sound, VOICE_RATE)
    spoken = phrases(level > max(float(np.percentile(level, 95)) - HUSHED, QUIET))
    return np.min([np.maximum(start - times, times - end) for start, end in spoken] or [np.full(len(times), np.inf)], 0)


def _ends(output: Path, fps: float, frames: int) -> Check:
    pictures, picture, sound = ends(output)
    apart = max(abs(picture - sound) if sound is not None else 0.0, abs(pictures - frames) / fps)
    return _at_most(apart, 1 / fps, "s between the ends of picture and sound in the written file")


def _at_most(value: float | None, limit: float, what: str) -> Check:
    ok = value is None or abs(value) <= limit
    return Check(ok, None if value is None else round(value, 4), round(limit, 4), what)


def _at_least(value: float | None, limit: float, what: str) -> Check:
    return Check(value is None or value >= limit, None if value is None else round(value, 4), limit, what)


def _most(mask: Array, counted: Array) -> int:
    """How many frames are `counted` [T] in the run of True in a mask [T] that has most of them."""
    return max((int(counted[start:end].sum()) for start, end in runs(mask)), default=0)
