"""What a head does in one frame."""

from __future__ import annotations

from dataclasses import dataclass

from mggdub.types import Array


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """What moves a head in one frame."""

    displacement: Array  # [478, 3] cm, of the mesh from the photo's own
    rotation: Array  # [3] degrees
    translation: Array  # [3] cm
    sway: Array  # [3, 4] of `torso.sway`
    state: Array  # [42] what weighs the bases
    shown: tuple[float, ...]  # of opacity: the photo's own mouth, the left and the right lid, and above their creases


@dataclass(frozen=True, eq=False)
class FramePose(FrameMotion):
    """What a head does in one frame, before the learned bases play a part."""

    growth: Array  # [478] of the splats
    opacities: Array  # [N]
    mouth: tuple[Array, Array]  # colours [M, 3] and radii [M] cm of the mouth's points
