import numpy as np
import pytest

from mggdub.face.expression import (
    BLINKS,
    SMILES,
    close_lips,
    driving_units,
    followed_units,
    gap_of_modes,
    lip_gap,
    lip_modes,
    load_expression,
    modes_from_units,
    photo_state,
    rest_drivers,
    units_from_modes,
    vertex_motion,
)
from mggdub.face.mesh import BROWS, INNER_LIPS, LIDS, OUTER_LIPS
from mggdub.geometry.camera import crop_camera, project
from mggdub.types import BLENDSHAPES, CROP_SIZE, DRIVERS, DRIVING_UNITS, LIP_MODES, Crop, Portrait

FIRST_MODE = len(DRIVING_UNITS)


@pytest.fixture(scope="module")
def basis():
    return load_expression()


@pytest.fixture(scope="module")
def modes(basis):
    """Twenty mouths as talking faces make them."""
    return np.random.default_rng(0).normal(size=(20, LIP_MODES)).astype(np.float32) * basis.mode_std


def drivers_of(modes):
    drivers = np.zeros((*modes.shape[:-1], DRIVERS), np.float32)
    drivers[..., FIRST_MODE:] = modes
    return drivers


def test_modes_return_from_the_mesh_they_move(basis, modes):
    """All but exactly: skin beside the lips goes farther than its landmarks, which the last, smallest mode notices."""
    error = np.abs(lip_modes(basis, vertex_motion(basis, drivers_of(modes))) - modes)
    assert error[:, :6].max() < 0.05 and error.max() < 0.25


def test_units_leave_the_lips_alone(basis):
    units = np.random.default_rng(1).uniform(0, 1, (20, FIRST_MODE))
    motion = vertex_motion(basis, np.concatenate([units, np.zeros((20, LIP_MODES))], 1))
    assert not motion[:, [*OUTER_LIPS, *INNER_LIPS]].any()


def test_no_drivers_no_motion(basis):
    assert not vertex_motion(basis, np.zeros(DRIVERS)).any()


def test_gap_is_the_distance_of_the_inner_lips(basis, modes):
    motion = vertex_motion(basis, drivers_of(modes))
    assert lip_gap(basis, modes) == pytest.approx(motion[:, 14, 1] - motion[:, 13, 1], abs=1e-4)


def test_closing_lips_leaves_open_ones_alone(basis, modes):
    closed = close_lips(basis, modes)
    was_open = lip_gap(basis, modes) >= 0
    assert was_open.any() and not was_open.all()
    assert (closed[was_open] == modes[was_open]).all()
    assert lip_gap(basis, closed).min() > -1e-3
    assert lip_gap(basis, close_lips(basis, modes, 0.3)).min() == pytest.approx(0.3, abs=1e-3)


def test_a_full_blink_closes_both_eyes(basis):
    drivers = np.zeros(DRIVERS)
    drivers[list(BLINKS)] = 1
    mesh = basis.mean_rest + vertex_motion(basis, drivers)
    for upper, lower in (pair for eye in LIDS for pair in eye):
        assert mesh[upper] == pytest.approx(mesh[lower], abs=0.02)


def test_left_blink_leaves_the_right_eye_open(basis):
    drivers = np.zeros(DRIVERS)
    drivers[BLINKS[0]] = 1
    assert BLENDSHAPES[DRIVING_UNITS[BLINKS[0]]] == "eyeBlinkLeft"
    motion = vertex_motion(basis, drivers)
    assert motion[386, 1] > 0.3 and np.abs(motion[159]).max() < 0.05


@pytest.mark.parametrize("name", ["browInnerUp", "eyeLookUpLeft", "eyeWideLeft"])
def test_units_move_what_their_name_says(basis, name):
    drivers = np.zeros(DRIVERS)
    drivers[DRIVING_UNITS.index(BLENDSHAPES.index(name))] = 1
    vertex = {"browInnerUp": 336, "eyeLookUpLeft": 473, "eyeWideLeft": 386}[name]
    assert vertex_motion(basis, drivers)[vertex, 1] < -0.02  # upwards


def test_jaw_open_opens_the_mouth(basis):
    units = np.zeros(len(BLENDSHAPES), np.float32)
    units[BLENDSHAPES.index("jawOpen")] = 0.5
    modes = modes_from_units(basis, units)
    assert lip_gap(basis, modes) > 0.3
    back = np.zeros_like(units)
    back[[i for i in range(len(BLENDSHAPES)) if i not in DRIVING_UNITS]] = units_from_modes(basis, modes)
    assert 0.15 < back[BLENDSHAPES.index("jawOpen")] < 0.6


def test_own_state_of_an_open_smile_closes_it(basis, modes):
    for mouth in close_lips(basis, modes, 0.4):
        mesh = basis.mean_rest + vertex_motion(basis, drivers_of(mouth))
        state = rest_drivers(basis, mesh, basis.unit_rest)
        closed = mesh - vertex_motion(basis, state)
        assert closed[14, 1] - closed[13, 1] == pytest.approx(float(basis.closed_gap), abs=1e-3)


def test_a_resting_face_is_near_zero(basis):
    mesh = basis.mean_rest.copy()
    state = rest_drivers(basis, mesh, basis.unit_rest)
    assert np.abs(state[:FIRST_MODE]).max() < 1e-6
    assert (np.abs(state[FIRST_MODE:]) < 1.5 * basis.mode_std).all()
    assert not driving_units(basis, basis.unit_rest).any()


def test_the_mesh_is_symmetric(basis):
    assert (basis.mirror[basis.mirror] == np.arange(478)).all()
    mirrored = basis.mean_rest[basis.mirror] * [-1, 1, 1]
    assert mirrored == pytest.approx(basis.mean_rest, abs=0.02)
    assert basis.triangles.max() == 477
    assert gap_of_modes(basis)[0] > 0  # the first mode opens the mouth


def test_no_single_unit_tears_the_face(basis):
    for unit in np.eye(len(BLENDSHAPES), dtype=np.float32):
        motion = vertex_motion(basis, drivers_of(modes_from_units(basis, unit)))
        assert np.abs(motion).max() < 5, BLENDSHAPES[int(unit.argmax())]  # cm


def portrait_of(basis, modes, smile):
    """A portrait whose face is people's mean, with these lips and that much of the runtime's smile."""
    camera = crop_camera(np.eye(3), np.array([0, 0, 60.0]))
    mesh = basis.mean_rest + vertex_motion(basis, drivers_of(modes))
    depth = mesh[:, 2:] * camera.K[0, 0] / camera.viewmat[2, 3]
    units = basis.unit_rest.copy()
    units[list(SMILES)] = smile
    picture = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    crop = Crop(0, 0, CROP_SIZE, CROP_SIZE)
    marks = np.concatenate([project(mesh, camera), depth], 1).astype(np.float32)
    return Portrait(picture, crop, marks, units, camera)


def test_closed_lips_are_at_rest_unless_they_smile(basis):
    broad = np.zeros(LIP_MODES, np.float32)
    broad[1] = 2 * basis.mode_std[1]  # corners out, as in smiles
    broad -= lip_gap(basis, broad) * basis.opening
    serious, smiling = (photo_state(basis, portrait_of(basis, broad, smile))[FIRST_MODE:] for smile in (0.0, 0.8))
    assert np.abs(serious).max() < 1e-4
    assert smiling[1] > 0.5 * basis.mode_std[1]
    assert abs(lip_gap(basis, smiling)) < 0.01


def test_brows_of_a_clip_go_as_far_as_its_meshes_whatever_the_runtime_says(basis):
    going = np.sin(np.linspace(0, 6, 60))[:, None] ** 2
    names = [BLENDSHAPES[unit] for unit in DRIVING_UNITS]
    up = np.array([0.6 * (name == "browInnerUp") + 0.4 * name.startswith("browOuterUp") for name in names])
    meshes = basis.mean_rest + np.tensordot(going * up, basis.motion[:FIRST_MODE], 1)
    heard = np.tile(basis.unit_rest, (60, 1)).astype(np.float32)
    heard[:, list(DRIVING_UNITS)] += (0.4 * going * up).astype(np.float32)
    heard[:, BLENDSHAPES.index("eyeBlinkLeft")] += 0.2
    units = followed_units(basis, heard, meshes.astype(np.float32), np.flatnonzero(going[:, 0] < 0.05))
    brows = [place for brow in BROWS for place in brow]

    def raised(units):
        return np.tensordot(units - units[0], basis.motion[:FIRST_MODE], 1)[:, brows, 1].mean(1)

    wanted = (meshes - meshes[0])[:, brows, 1].mean(1)
    assert wanted.min() < -0.2  # cm
    assert raised(driving_units(basis, heard)).min() > 0.5 * wanted.min()
    assert np.abs(raised(units) - wanted).max() < 0.02
    others = [k for k, name in enumerate(names) if not name.startswith("brow")]
    assert np.array_equal(units[:, others], driving_units(basis, heard)[:, others])
