"""How eyes close and look."""

import numpy as np
import pytest

from mggdub.animation.animate import lids_shown, posed_heads, splats_shown
from mggdub.animation.compositor import Compositor
from mggdub.animation.eyes import CORNERS, move_eyes, shut, slope
from mggdub.animation.retarget import retarget, with_eyes_open
from mggdub.avatar.values import HeadAvatar
from mggdub.face.expression import BLINKS, ExpressionBasis, load_expression, vertex_motion
from mggdub.face.mesh import IRISES, LIDS
from mggdub.models import Models
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, LIP_MODES, Array, ExpressionTrack, Gaussians

WIDE = 1.15  # of the mean face's eye, whose blink would not close it


@pytest.fixture(scope="module")
def basis() -> ExpressionBasis:
    return load_expression()


def state(blink: float, **units: float) -> Array:
    """[32] drivers."""
    drivers = np.zeros(DRIVERS, np.float32)
    drivers[list(BLINKS)] = blink
    for name, value in units.items():
        drivers[DRIVING_UNITS.index(BLENDSHAPES.index(name))] = value
    return drivers


def moved(basis: ExpressionBasis, mesh: Array, now: Array, own: Array) -> Array:
    """[478, 3] cm: the mesh of a photo whose state is `own`."""
    displacement = vertex_motion(basis, now - own)
    move_eyes(displacement, basis, mesh, now, own)
    return mesh + displacement


def gaps(mesh: Array) -> Array:
    """[14] cm between the lids."""
    return np.array([mesh[lower, 1] - mesh[upper, 1] for eye in LIDS for upper, lower in eye])


def wide_eyes(basis: ExpressionBasis) -> Array:
    """A mesh whose upper lids lie higher than the mean's."""
    mesh = basis.mean_rest.copy()
    for upper, lower in (pair for eye in LIDS for pair in eye):
        mesh[upper, 1] = mesh[lower, 1] + WIDE * (mesh[upper, 1] - mesh[lower, 1])
    return mesh


@pytest.mark.parametrize("blink", [-0.2, 0.0, 0.4, 0.9])
def test_a_photo_in_its_own_state_is_not_moved(basis: ExpressionBasis, blink: float) -> None:
    own = state(blink, eyeLookInLeft=0.3, eyeSquintLeft=0.2)
    mesh = wide_eyes(basis)
    assert moved(basis, mesh, own, own) == pytest.approx(mesh, abs=1e-6)
    assert shut(own, own).tolist() == [0, 0]


@pytest.mark.parametrize("own", [-0.3, 0.0, 0.5])
def test_lids_meet_whatever_their_shape(basis: ExpressionBasis, own: float) -> None:
    mesh, before = wide_eyes(basis), state(own, eyeSquintLeft=0.3)
    closed = gaps(moved(basis, mesh, state(1.0, eyeLookDownLeft=0.5), before))
    assert closed.min() > -0.07 and closed.max() < 0.001


def test_an_eye_closes_steadily_and_opens_beyond_the_photo(basis: ExpressionBasis) -> None:
    mesh, own = wide_eyes(basis), state(0.0)
    middle = [gaps(moved(basis, mesh, state(blink), own))[3] for blink in (-0.2, 0, 0.235, 0.47, 0.705, 0.94)]
    assert middle[0] > middle[1] + 0.05
    steps = -np.diff(middle[1:])
    assert steps == pytest.approx(steps.mean(), rel=0.4)


@pytest.mark.parametrize("narrow", [0.3, 0.6, 1.0])
def test_no_eye_opens_while_it_closes(basis: ExpressionBasis, narrow: float) -> None:
    mesh = wide_eyes(basis)
    for upper, lower in (pair for eye in LIDS for pair in eye):
        mesh[upper, 1] = mesh[lower, 1] + narrow * (mesh[upper, 1] - mesh[lower, 1])
    closing = np.array([gaps(moved(basis, mesh, state(blink), state(0.0))) for blink in np.linspace(0, 0.94, 20)])
    assert np.diff(closing, axis=0)[:, [3, 10]].max() < 1e-3


def test_upper_lids_go_with_the_gaze_and_wide_eyes_open(basis: ExpressionBasis) -> None:
    mesh, own = basis.mean_rest, state(0.0)

    def opens(**units: float) -> float:
        left = {f"{name}Left": value for name, value in units.items()}
        return float((gaps(moved(basis, mesh, state(0.0, **left), own)) - gaps(mesh))[3])

    assert opens(eyeLookUp=0.3) == pytest.approx(0.3 * 0.39, abs=0.03)
    assert opens(eyeLookDown=0.5) < -0.04
    assert opens(eyeWide=0.2) == pytest.approx(0.2 * 0.78, abs=0.03)


def test_the_lower_lid_rises_to_a_closing_one(basis: ExpressionBasis) -> None:
    mesh, own = basis.mean_rest, state(0.0)
    now = state(1.0)
    lower = LIDS[0][3][1]
    rise = (mesh + vertex_motion(basis, now))[lower, 1] - moved(basis, mesh, now, own)[lower, 1]
    assert rise == pytest.approx(0.06, abs=0.005)


def test_a_shutting_eye_draws_its_outer_corner_to_the_nose(basis: ExpressionBasis) -> None:
    mesh, own = basis.mean_rest, state(0.0)
    now = own.copy()
    now[BLINKS[0]] = 1
    drawn = moved(basis, mesh, now, own) - mesh - vertex_motion(basis, now)
    left, right = CORNERS
    assert drawn[left[0], 0] * np.sign(mesh[left[1], 0] - mesh[left[0], 0]) == pytest.approx(0.3, abs=0.05)
    assert np.abs(drawn[left[1]]).max() < 0.05
    assert np.abs(drawn[right[0]]).max() < 1e-3


def test_irises_turn_with_the_gaze_alone(basis: ExpressionBasis) -> None:
    mesh, own = basis.mean_rest, state(0.0)
    left, right = (list(iris) for iris in IRISES)
    aside = moved(basis, mesh, state(0.5, eyeLookOutLeft=0.5, eyeLookInRight=0.5), own) - mesh
    assert aside[left, :2] == pytest.approx(np.tile([0.33, 0], (5, 1)), abs=1e-5)
    assert aside[right, :2] == pytest.approx(aside[left, :2], abs=1e-5)
    assert aside[left, 2].min() > 0.03 and aside[right, 2].max() < -0.03  # outwards farther away, as the lids are
    down = moved(basis, mesh, state(0.0, eyeLookDownLeft=1.0, eyeLookUpRight=1.0), own) - mesh
    assert down[left[0], 1] > 0.2 and down[right[0], 1] < -0.2


def test_an_opening_lies_aslant_as_its_vertices_do() -> None:
    ring = np.array([[-1.5, 0, 0.0], [0, -0.5, 0], [1.5, 0, 0], [0, 0.5, 0]])
    ring[:, 2] = 0.3 * ring[:, 0] - 0.2 * ring[:, 1] + 5
    assert slope(ring) == pytest.approx([0.3, -0.2])


def track(blink: Array) -> ExpressionTrack:
    units = np.zeros((len(blink), 52), np.float32)
    units[:, [DRIVING_UNITS[b] for b in BLINKS]] = blink[:, None]
    return ExpressionTrack(np.arange(len(blink)) / 25, units, np.zeros((len(blink), LIP_MODES), np.float32))


@pytest.mark.parametrize(("first", "usual", "own"), [(0.25, 0.0, 0.22), (0.8, 0.1, 0.84), (-0.1, -0.2, -0.12)])
def test_a_driver_that_begins_as_the_photo_begins_with_it(
    basis: ExpressionBasis, first: float, usual: float, own: float
) -> None:
    blink = np.full(25, usual, np.float32)
    blink[0], blink[10] = first, 1
    lids = retarget(basis, state(own), track(blink))[:, list(BLINKS)]
    assert lids[0] == pytest.approx(own, abs=1e-6)
    assert lids[10] == pytest.approx(1, abs=1e-6)
    assert lids[5] == pytest.approx(own + usual - first, abs=1e-5)


def test_eyes_that_a_photo_caught_closing_open_and_look_ahead() -> None:
    narrow = state(0.3, eyeLookDownLeft=0.2)
    assert (with_eyes_open(narrow) == narrow).all()
    closed = with_eyes_open(state(0.8, eyeLookDownLeft=0.4, eyeLookDownRight=-0.1, eyeSquintLeft=0.2))
    assert closed == pytest.approx(state(0.1, eyeLookDownRight=-0.1, eyeSquintLeft=0.2), abs=1e-6)


def test_a_painted_lid_appears_late_and_steadily() -> None:
    closed = np.stack([np.linspace(0, 1, 101), np.zeros(101)], 1)
    shown, other, _, other_fold, _, other_lashes, between, _ = np.array([lids_shown(both) for both in closed]).T
    assert shown[:40].max() == 0 and shown[90:].min() == 1
    assert (other == 0).all() and (other_fold == 0).all() and (other_lashes == 0).all()
    assert (np.diff(shown) >= 0).all() and np.diff(shown).max() < 0.04
    assert between == pytest.approx(1 - shown)  # what is between lids is gone when the lid is there


def test_lashes_shade_an_eye_before_its_painted_lid_shows() -> None:
    closed = np.array([lids_shown(np.array([way, 0.0])) for way in np.linspace(0, 1, 101)])
    lid, lashes = closed[:, 0], closed[:, 4]
    assert lashes[:5].max() == 0 < lashes[20] < lashes[40] < 0.2 and lashes[90:].min() == 1
    assert (np.diff(lashes) >= 0).all() and (lashes >= lid).all()


def test_a_fold_is_covered_when_an_eye_is_almost_shut() -> None:
    fold = np.array([lids_shown(np.array([0.0, closed]))[3] for closed in np.linspace(0, 1, 101)])
    assert fold[:73].max() == 0 and fold[93:].min() == 1 and (np.diff(fold) >= 0).all()


def test_folded_lids_are_left_out_and_frames_stay(models: Models, avatar: HeadAvatar) -> None:
    closed = np.zeros((4, 52), np.float32)
    left, right = (BLENDSHAPES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))
    closed[1, [left, right]] = closed[2, left] = closed[3, right] = 0.8
    track = ExpressionTrack(np.arange(4) / 25, closed, np.zeros((4, 8), np.float32))
    moments = list(posed_heads(avatar, models, track, relative=True))
    counts = [splats_shown(avatar, now) for now, _ in moments]
    whole, (first, second) = len(avatar.gaussians), avatar.lids
    assert counts[0] == first.start < whole and counts[1] == whole and counts[2:] == [second.start, whole]
    compositor = Compositor.of(avatar)
    for (_, head), count in zip(moments, counts, strict=True):
        assert (head.opacities[count:] == 0).all()
        part = Gaussians.of(*(field[:count] for field in head.arrays))
        np.testing.assert_array_equal(compositor.draw(part), compositor.draw(head))
