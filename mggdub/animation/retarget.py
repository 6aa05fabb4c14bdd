"""A track on this photo's face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggdub.avatar.values import HeadAvatar
from mggdub.face import expression
from mggdub.face.expression import ExpressionBasis
from mggdub.geometry import sampling
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.geometry.sampling import smoothstep
from mggdub.motion.driving import FAR_MODE, FAR_UNIT
from mggdub.motion.gestures import LOOKS, conjugate, held_looks
from mggdub.networks.motion import POSE
from mggdub.types import DRIVERS, DRIVING_UNITS, LIP_MODES, Array, ExpressionTrack

LOWEST_UNIT = -0.3  # of a unit; the opposite of a raised brow is not a brow lowered as far
OPEN_EYE = 0.5  # of a blink: more in the first frame is a blink, not how the eye rests
SURELY_PAST = 0.06  # of each unit, that eyes must look past the camera before they are brought to it
EASE = 0.3  # s in which the photo's own expression gives way to the track


def retarget(basis: ExpressionBasis, own: Array, track: ExpressionTrack) -> Array:
    """[T, 32] drivers that play a track on a photo whose own state is `own` [32].

    Expressions are relative: the track's first frame is the photo's own, unless it is an extreme one. Contact is not:
    eyes that close and lips that meet in the track do so on the photo; the mouth's opening eases from the photo's to
    the track's.
    """
    count = len(DRIVING_UNITS)
    drivers = track.drivers
    far = np.concatenate([np.full(count, FAR_UNIT), FAR_MODE * basis.mode_std])
    usual = np.median(drivers, 0)
    rest = np.clip(drivers[0], np.minimum(usual - far, own), np.maximum(usual + far, own)).astype(np.float32)
    moved = own + (drivers - rest)
    for blink in expression.BLINKS:
        lid = float(np.clip(min(drivers[0, blink], np.median(drivers[:, blink])), LOWEST_UNIT, OPEN_EYE))
        moved[:, blink] = own[blink] + (drivers[:, blink] - lid) / (1 - lid) * (1 - own[blink])
    moved[:, :count] = np.clip(moved[:, :count], np.minimum(own[:count], LOWEST_UNIT), np.maximum(own[:count], 1))
    start = smoothstep((track.times - track.times[0]) / EASE)
    before = expression.lip_gap(basis, own[count:])
    gap = before + (expression.lip_gap(basis, drivers[:, count:]) - before) * start
    modes = moved[:, count:]
    moved[:, count:] = modes + (gap - expression.lip_gap(basis, modes))[:, None] * basis.opening
    return moved.astype(np.float32)


def ease_from_photo(avatar: HeadAvatar, track: ExpressionTrack) -> Array:
    """[T, 32] drivers for this head.

    Lips are absolute and ease from the photo's own state. Eyes and brows are played on top of the photo's own, since a
    single photo tells little of how a person's eyes rest.
    """
    drivers = track.drivers.copy()
    units = DRIVERS - LIP_MODES
    own = avatar.photo_drivers
    drivers[:, :units] = on_top(own[:units], drivers[:, :units])
    start = sampling.smoothstep((track.times - track.times[:1]) / EASE)[:, None]
    drivers[:, units:] = own[units:] + (drivers[:, units:] - own[units:]) * start
    return drivers.astype(np.float32)


def on_top(own: Array, units: Array) -> Array:
    """Units [T, k] on top of a photo's own [k]: all of one is all of it, and less than none is little less."""
    raised = own + units * (1 - own)
    lowered = np.maximum(own + units, np.minimum(own, LOWEST_UNIT))
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
