"""How eyes close and where they look."""

from __future__ import annotations

import numpy as np

from mggdub.face.expression import BLINKS, ExpressionBasis
from mggdub.face.mesh import IRISES, LEFT_EYE, LIDS, RIGHT_EYE, UPPER_LIDS
from mggdub.types import BLENDSHAPES, DRIVING_UNITS, Array

# cm that an iris moves per unit: what 138 eyes of training clips fit, lids open (0.51, 0.29, 0.26; R² 0.86 across, 0.75
# up and down), times what a fit to noisy units and a drawing under lids fall short of people's own motion.
OUTWARDS, DOWN, UP = 0.66, 0.44, 0.39
LOWER_RISE = 0.06  # cm that the lower lid goes to meet the upper one
# cm by which closed lids overlap, from the inner corner of an eye to the outer one
OVERLAP = np.array([0, 0, 0.02, 0.04, 0.05, 0.06, 0.05])
# cm that an open upper lid's middle goes down per unit, beyond what the basis says: it follows the gaze, and wide eyes
# open farther (what is left of 428 training eyes' middles, root mean square: 0.067 cm before, 0.053 with it).
LID_FOLLOWS = {"eyeBlink": -0.38, "eyeWide": -0.37, "eyeLookDown": 0.11, "eyeLookUp": -0.33}
OPEN = 0.9  # cm, of those eyes; lids of narrower ones follow less
SHUT = 0.94  # of a blink's way, where eyes are shut: what landmarks measure goes on a little
NEARLY_SHUT = 0.05  # of a blink, what must be left to close
# Skin that an eye draws towards the nose when it shuts, at its outer corner and all round it: cm; from where, and how
# far it reaches, across from the outer corner inwards and down, of the eye's width.
DRAWN_IN = (0.3, (-0.08, 0.03), (0.22, 0.28)), (0.07, (0.3, 0.0), (0.6, 0.8))
DRAWN_EARLY = 1.5  # power of what is left of the way to shut
STEEPEST = 0.6  # cm per cm, that an eye's opening lies aslant; a shut one tells little


def _unit(name: str) -> int:
    return DRIVING_UNITS.index(BLENDSHAPES.index(name))


LOOKS = tuple(tuple(_unit(f"eyeLook{way}{side}") for way in ("Out", "In", "Down", "Up")) for side in ("Left", "Right"))
FOLLOWED = tuple([_unit(f"{name}{side}") for name in LID_FOLLOWS] for side in ("Left", "Right"))
CORNERS = tuple((lashes[0], lashes[-1]) for lashes, _ in UPPER_LIDS.values())  # outer and inner
EYES = (LEFT_EYE, RIGHT_EYE)
ARCH = np.sin(np.linspace(0, np.pi, len(LIDS[0]) + 2)[1:-1])  # along a lid, 1 in its middle


def shut(drivers: Array, photo: Array) -> Array:
    """[2], left and right: how far the eyes are closed, 0 as in the photo or wider, 1 shut; drivers and photo [32]."""
    now, before = drivers[list(BLINKS)], photo[list(BLINKS)]
    return np.clip((now - before) / np.maximum(SHUT * (1 - before), NEARLY_SHUT), 0, 1)


def move_eyes(displacement: Array, basis: ExpressionBasis, mesh: Array, drivers: Array, photo: Array) -> None:
    """Let the lids of `displacement` [478, 3] cm from the photo's mesh [478, 3] meet when shut, and turn the irises.

    In place. drivers and photo [32] are the state now and the photo's.
    """
    turn = drivers - photo
    closing = shut(drivers, photo)
    for blink, closed, corners, pairs, units in zip(BLINKS, closing, CORNERS, LIDS, FOLLOWED, strict=True):
        upper, lower = np.array(pairs).T
        opening = np.clip((mesh[lower, 1] - mesh[upper, 1]).max() / OPEN, 0, 1)
        displacement[upper, 1] += opening * (turn[units] @ list(LID_FOLLOWS.values())) * ARCH
        if closed == 0:
            continue
        displacement[:, :2] += (1 - (1 - closed) ** DRAWN_EARLY) * drawn_in(mesh, *corners)
        displacement[lower, 1] -= closed * LOWER_RISE * ARCH
        place = mesh[:, 1] + displacement[:, 1]
        raised = place[upper] - (drivers[blink] - photo[blink]) * basis.motion[blink, upper, 1]  # but for the blink
        displacement[upper, 1] = raised + closed * (place[lower] + OVERLAP - raised) - mesh[upper, 1]
    for iris, ring, (outwards, inwards, down, up), sign in zip(IRISES, EYES, LOOKS, (1, -1), strict=True):
        way = np.array([sign * OUTWARDS * (turn[outwards] - turn[inwards]), DOWN * turn[down] - UP * turn[up]])
        # Along the opening: going straight aside, an iris comes out over the lids' outer skin, or behind its white.
        displacement[list(iris)] = [*way, way @ slope(mesh[list(ring)])]


def drawn_in(mesh: Array, outer: int, inner: int) -> Array:
    """[478, 2] cm, across and down, that skin goes when the eye with these corners shuts; mesh [478, 3] cm."""
    along = mesh[inner, :2] - mesh[outer, :2]
    down = np.array([-along[1], along[0]]) * np.sign(along[0])
    places = (mesh[:, :2] - mesh[outer, :2]) @ np.stack([along, down], 1) / (along @ along)  # of the eye's width
    ways = [cm * np.exp(-(((places - at) / reach) ** 2).sum(1)) for cm, at, reach in DRAWN_IN]
    return np.outer(np.sum(ways, 0), along / np.linalg.norm(along))


def slope(ring: Array) -> Array:
    """[2]: how much farther away, in cm per cm across and down, an opening with vertices [V, 3] goes on."""
    around = ring - ring.mean(0)
    return np.clip(np.linalg.lstsq(around[:, :2], around[:, 2], rcond=None)[0], -STEEPEST, STEEPEST)
