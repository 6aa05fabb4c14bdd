"""A track on this photo's face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggdub.avatar.values import HeadAvatar
from mggdub.face import expression
from mggdub.face.expression import BROW_UNITS, ExpressionBasis
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.geometry.sampling import smoothstep
from mggdub.motion.gestures import LOOKS, conjugate, held_looks
from mggdub.networks.motion import POSE
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array, ExpressionTrack

UNITS = len(DRIVING_UNITS)  # the first drivers; the others are lip modes
# How far a first frame's units and lip modes (in standard deviations of speech) may be from those of the whole track,
# and from the photo's, before it is an expression that the photo cannot be taken to have.
FAR_UNIT, FAR_MODE = 0.7, 3.0
LOWEST_UNIT = -0.3  # of a unit; the opposite of a raised brow is not a brow lowered as far
NEAR_LID = 0.15  # of a blink: a first frame farther from the usual and from the photo's is no rest, but a blink
DROWSY = (0.35, 0.6)  # of a blink, both eyes' mean: eyes that may rest so, and eyes that do not
AWAKE = 0.1  # of a blink, how far those are closed when they open
SURELY_PAST = 0.06  # of each unit, that eyes must look past the camera before they are brought to it
EDGES, COARSEST = 0.7, 0.07  # px of a drawing, by which both lips' splats reach into an open mouth; cm, of coarse ones
BROWS_FARTHER = 1.15  # skin round a brow goes less far than its landmarks and takes the hair along: 0.87 of the way
OPEN, OWN_GAP = 0.3, 0.25  # cm: a mouth that is open; and how near to the photo's own opening it is that
EASE = 0.3  # s in which the photo's own expression gives way to the track


def retarget(basis: ExpressionBasis, photo: Array, track: ExpressionTrack) -> Array:
    """[T, 32] drivers that play a track on a photo whose own state is `photo` [32].

    Expressions are relative: the track's first frame is the photo's own, unless it is an extreme one. Contact is not:
    eyes that close and lips that meet in the track do so on the photo; the mouth's opening eases from the photo's to
    the track's.
    """
    drivers = track.drivers
    far = np.concatenate([np.full(UNITS, FAR_UNIT), FAR_MODE * basis.mode_std])
    usual = np.median(drivers, 0)
    rest = np.clip(drivers[0], np.minimum(usual - far, photo), np.maximum(usual + far, photo)).astype(np.float32)
    moved = photo + (drivers - rest)
    for blink in expression.BLINKS:
        first, lid = drivers[0, blink], usual[blink]
        if min(lid, photo[blink]) - NEAR_LID < first < max(lid, photo[blink]) + NEAR_LID:
            lid = first
        left = (1 - photo[blink]) / max(1 - lid, NEAR_LID)  # of the way to shut, against the driver's
        away = drivers[:, blink] - lid
        moved[:, blink] = photo[blink] + away * np.where(away > 0, left, 1)
    moved[:, :UNITS] = np.clip(moved[:, :UNITS], np.minimum(photo[:UNITS], LOWEST_UNIT), np.maximum(photo[:UNITS], 1))
    start = smoothstep((track.times - track.times[0]) / EASE)
    before = expression.lip_gap(basis, photo[UNITS:])
    gap = before + (expression.lip_gap(basis, drivers[:, UNITS:]) - before) * start
    moved[:, UNITS:] = expression.with_gap(basis, moved[:, UNITS:], gap)
    return moved.astype(np.float32)


def ease_from_photo(avatar: HeadAvatar, track: ExpressionTrack) -> Array:
    """[T, 32] drivers for this head.

    Lips are absolute and ease from the photo's own state. Eyes and brows are played on top of the photo's own, since a
    single photo tells little of how a person's eyes rest; but eyes that it caught half closed open.
    """
    drivers = track.drivers.copy()
    start = smoothstep((track.times - track.times[:1]) / EASE)[:, None]
    photo = avatar.photo_drivers + start * (with_eyes_open(avatar.photo_drivers) - avatar.photo_drivers)  # [T, 32]
    drivers[:, :UNITS] = on_top(photo[:, :UNITS], drivers[:, :UNITS])
    drivers[:, UNITS:] = photo[:, UNITS:] + (drivers[:, UNITS:] - photo[:, UNITS:]) * start
    return drivers.astype(np.float32)


def open_past_edges(basis: ExpressionBasis, photo: Array, drivers: Array, px: float) -> Array:
    """Drivers [T, 32] whose open mouths look as wide open as they are.

    A lip's splats reach beyond its edge, by about one of a drawing's pixels, which are `px` cm: a mouth opens so much
    farther, but not where it is as open as the photo's own, of state [32], whose edges are the photo's.
    """
    gap, own = expression.lip_gap(basis, drivers[:, UNITS:]), float(expression.lip_gap(basis, photo[UNITS:]))
    elsewhere = 1 - np.exp(-(((gap - own) / OWN_GAP) ** 2))
    wider = gap + EDGES * min(px, COARSEST) * smoothstep(gap / OPEN) * elsewhere
    modes = expression.with_gap(basis, drivers[:, UNITS:], wider)
    return np.concatenate([drivers[:, :UNITS], modes], 1).astype(np.float32)


def brows_past_skin(photo: Array, drivers: Array) -> Array:
    """Drivers [T, 32] whose brows are seen to go as far as they do, away from a photo's state [32]."""
    farther = drivers.copy()
    farther[:, BROW_UNITS] += (BROWS_FARTHER - 1) * (drivers[:, BROW_UNITS] - photo[BROW_UNITS])
    return farther


def with_eyes_open(photo: Array) -> Array:
    """[32]: a photo's state [32] with eyes open that were about to close; their gaze, which is low, goes level."""
    state = photo.copy()
    closed = photo[list(expression.BLINKS)].mean()
    asleep = smoothstep((closed - DROWSY[0]) / (DROWSY[1] - DROWSY[0]))
    for blink, side in zip(expression.BLINKS, ("Left", "Right"), strict=True):
        down = DRIVING_UNITS.index(BLENDSHAPES.index(f"eyeLookDown{side}"))
        state[blink] += asleep * (AWAKE - photo[blink])
        state[down] -= asleep * max(photo[down], 0)
    return state


def on_top(photo: Array, units: Array) -> Array:
    """Units [T, k] on top of a photo's own [T, k] or [k]: all of one is all of it, less than none little less."""
    raised = photo + units * (1 - photo)
    lowered = np.maximum(photo + units, np.minimum(photo, LOWEST_UNIT))
    return np.where(units > 0, raised, lowered)


def look_at_camera(avatar: HeadAvatar, track: ExpressionTrack) -> ExpressionTrack:
    """The track with the eyes brought to the camera, for a photo whose eyes look past it."""
    columns = [DRIVING_UNITS[k] for k in LOOKS]
    angles = matrix_to_euler(avatar.camera.viewmat[:3, :3].astype(np.float64))
    pose = np.zeros((1, POSE))
    pose[0, :3] = angles
    past = conjugate(avatar.photo_drivers[LOOKS] - held_looks(pose)[0])
    size = float(np.abs(past).max())
    if size < SURELY_PAST:
        return track
    start = smoothstep((track.times - track.times[:1]) / EASE)[:, None]
    units = track.blendshapes.copy()
    units[:, columns] -= (start * past * (1 - SURELY_PAST / size)).astype(np.float32)
    return replace(track, blendshapes=units)
