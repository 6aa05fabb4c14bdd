"""What a head does in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mggdub.avatar.eyeballs import between_lids
from mggdub.avatar.eyelids import lid_parts
from mggdub.avatar.values import HeadAvatar
from mggdub.types import Array


class Shown(NamedTuple):
    """How much is seen of what comes and goes, of opacity."""

    photo_mouth: float  # the photo's own
    left_lid: float
    right_lid: float
    above_left: float  # what covers the lid's fold
    above_right: float
    left_lashes: float  # below a lid's margin
    right_lashes: float
    between_left: float  # lids that the photo shows all but shut
    between_right: float


def fading_parts(avatar: HeadAvatar) -> tuple[Array | slice, ...]:
    """The points of each of `Shown`."""
    return avatar.photo_mouth, *lid_parts(avatar.lids), *between_lids(avatar.mesh_weights)


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """What moves a head in one frame."""

    displacement: Array  # [478, 3] cm, of the mesh from the photo's own
    rotation: Array  # [3] degrees
    translation: Array  # [3] cm
    sway: Array  # [3, 4] of `torso.sway`
    state: Array  # [42] what weighs the bases
    shown: Shown


@dataclass(frozen=True, eq=False)
class FramePose(FrameMotion):
    """What a head does in one frame, before the learned bases play a part."""

    growth: Array  # [478] of the splats
    opacities: Array  # [N]
    mouth: tuple[Array, Array]  # colours [M, 3] and radii [M] cm of the mouth's points
