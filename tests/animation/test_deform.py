import numpy as np
import pytest
from scipy import sparse

from mggdub.animation import card_head, deform
from mggdub.avatar import shares
from mggdub.face.mesh import (
    CHIN,
    INNER_LIPS,
    LEFT_EYE,
    MOUTH_CORNERS,
    OVAL,
    PIVOT,
    RIGHT_EYE,
    canonical_face,
    inside,
    open_triangles,
    outline,
)
from mggdub.face.skin import WITH_CORNER, skin_weights
from mggdub.geometry.rotation import euler_to_matrix, matrix_to_quat
from mggdub.geometry.sampling import add_sampled

ZERO = np.zeros(3, np.float32)
NO_SWAY = np.zeros((3, 4), np.float32)
CHIN_FOLLOWER = np.isin(np.arange(478), CHIN).astype(np.float32)[None] / len(CHIN)
SAME = np.ones(478, np.float32)  # no growth


def move(means: np.ndarray, *motion: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, quaternions and scales of splats of size 1 that no basis pushes; motion as of `pose_splats`."""
    count = len(means)
    quats, scales = np.tile(np.array([[1.0, 0, 0, 0]], np.float32), (count, 1)), np.ones((count, 3), np.float32)
    nowhere, field = np.zeros((count, 2), np.float32), np.zeros((2, 2, 3), np.float32)
    return deform.pose_splats((means, quats, scales, scales), (field, field), nowhere, 0, *motion, count)[:3]


@pytest.fixture(scope="module")
def mesh() -> tuple[np.ndarray, np.ndarray]:
    vertices, triangles = canonical_face()
    vertices = np.concatenate([vertices, np.repeat(vertices[[468 - 1]], 10, 0)])
    return vertices * 14 + 256, triangles  # px


@pytest.fixture(scope="module")
def grid() -> np.ndarray:
    x, y = np.meshgrid(np.arange(60, 450, 3) + 0.5, np.arange(60, 450, 3) + 0.5)
    return np.stack([x.ravel(), y.ravel()], 1)


def test_the_mesh_has_one_outline_and_three_openings(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    _, triangles = mesh
    assert len(outline(triangles)) == 36
    assert len(triangles) - len(open_triangles(triangles)) == 14 + 14 + 18


def test_skin_reproduces_the_points_it_covers(mesh: tuple[np.ndarray, np.ndarray], grid: np.ndarray) -> None:
    vertices, triangles = mesh
    skin = skin_weights(grid, vertices, triangles, 1 / 14)
    total = np.asarray(skin.sum(1)).ravel()
    assert total.min() >= 0 and total.max() <= 1 + 1e-5
    face = inside(grid, vertices[outline(triangles), :2])
    holes = [inside(grid, vertices[list(ring), :2]) for ring in (LEFT_EYE, RIGHT_EYE)]
    mouth = inside(grid, vertices[list(INNER_LIPS), :2])
    away = np.linalg.norm(grid[:, None] - vertices[list(MOUTH_CORNERS), :2], axis=-1) / 14  # [N, 2] cm
    covered = face & ~holes[0] & ~holes[1] & ~mouth & (away.min(1) > max(WITH_CORNER))
    assert (skin @ vertices[:, :2])[covered] == pytest.approx(grid[covered], abs=0.1)
    assert (total[holes[0] | holes[1]] == 0).all()
    assert total[np.linalg.norm(grid - 256, axis=1) > 260].max() < 0.05  # far hair stands still


def test_the_pit_beside_a_corner_of_the_mouth_goes_with_it(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, triangles = mesh
    right, left = vertices[list(MOUTH_CORNERS), :2]
    outwards = (left - right) / np.linalg.norm(left - right)
    beyond = left + 14 * np.array([0.1, 0.25, 0.6, 1.0])[:, None] * outwards
    below = left + 14 * np.array([[0, 0.1]])
    shares = (
        skin_weights(np.concatenate([beyond, below]), vertices, triangles, 1 / 14)[:, MOUTH_CORNERS[1]]
        .toarray()
        .ravel()
    )
    assert shares[0] == pytest.approx(1, abs=1e-5) and shares[-1] > 0.9
    assert shares[1] > 0.9 > shares[2] > shares[3] and shares[3] < 0.2


def test_no_motion_moves_nothing_and_the_neck_stays_at_the_collar() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(50, 3)).astype(np.float32) * 5
    skin = sparse.csr_matrix(np.repeat(CHIN_FOLLOWER, 50, 0))
    still = np.zeros((478, 3), np.float32)
    neck = np.linspace(0, 1, 50).astype(np.float32)
    moved, quats, grown = move(means, skin, (neck, 1 - neck), still, SAME, ZERO, ZERO, NO_SWAY)
    assert moved == pytest.approx(means, abs=1e-5) and (grown == 1).all() and (quats == [1, 0, 0, 0]).all()
    turned, _, _ = move(means, skin, (neck, 1 - neck), still, SAME, np.array([3.0, 10, 2]), ZERO, NO_SWAY)
    assert turned[0] == pytest.approx(means[0], abs=1e-5)
    down = np.zeros((3, 4), np.float32)
    down[1, 3] = 2
    swayed, _, _ = move(means, skin, (neck, 1 - neck), still, SAME, ZERO, ZERO, down)
    assert swayed - means == pytest.approx((1 - neck)[:, None] * [0, 2, 0], abs=1e-5)
    pivot = np.array(PIVOT)
    assert np.linalg.norm(turned[-1] - pivot) == pytest.approx(np.linalg.norm(means[-1] - pivot), rel=1e-4)


def test_followers_go_where_the_chin_goes() -> None:
    down = np.zeros((478, 3), np.float32)
    down[list(CHIN), 1] = 2
    points = np.zeros((4, 3), np.float32)
    follow, whole = sparse.csr_matrix(np.repeat(CHIN_FOLLOWER, 4, 0)), np.ones(4, np.float32)
    moved, _, grown = move(points, follow, (whole, 0 * whole), down, SAME * 1.5, ZERO, ZERO, NO_SWAY)
    assert grown == pytest.approx(1.5)
    assert moved == pytest.approx(np.tile([0, 2.0, 0], (4, 1)), abs=1e-5)


def test_splats_are_posed_in_one_pass_as_in_steps() -> None:
    rng = np.random.default_rng(0)
    count, painted, first = 300, 200, 250
    means, scales, colors = (rng.normal(size=(count, 3)).astype(np.float32) for _ in range(3))
    quats, place = rng.normal(size=(count, 4)).astype(np.float32), rng.random((count, 2)).astype(np.float32)
    fields = rng.normal(size=(8, 8, 3)).astype(np.float32), rng.normal(size=(16, 16, 3)).astype(np.float32)
    skin = sparse.random(count, 478, 0.01, "csr", np.float32, random_state=0)
    shares = rng.random(count).astype(np.float32), rng.random(count).astype(np.float32)
    motion = rng.normal(size=(478, 3)).astype(np.float32), 1 + rng.random(478).astype(np.float32)
    motion += np.array([3.0, -8, 2]), np.array([0.2, 0.1, 1]), rng.normal(0, 0.1, (3, 4)).astype(np.float32)
    rest = means, quats, scales, colors
    found = deform.pose_splats(rest, fields, place, painted, skin, shares, *motion, first)
    pushed, shown = means.copy(), colors.copy()
    add_sampled(fields[0], place, pushed)
    add_sampled(fields[1], place[:painted], shown[:painted])
    displacement, growth, rotation, shift, sway = motion
    followed, turn = pushed + skin @ displacement, euler_to_matrix(rotation) - np.eye(3)
    by_head = (followed - PIVOT) @ turn.T + shift
    moved = followed + shares[0][:, None] * by_head + shares[1][:, None] * (followed @ sway[:, :3].T + sway[:, 3])
    grown = scales * (1 + skin @ (growth - 1))[:, None]
    by_turn = card_head.quat_products(matrix_to_quat(euler_to_matrix(rotation))[None])[0]
    steps = moved, quats + shares[0][:, None] * quats @ by_turn, grown, shown
    for one, other in zip(found, steps, strict=True):
        assert len(one) == first
        np.testing.assert_allclose(one, other[:first], atol=1e-5)


def test_patches_turn_with_the_head_and_not_with_the_collar() -> None:
    neck, still = np.array([0.0, 1.0], np.float32), np.zeros((478, 3), np.float32)
    skin = sparse.csr_matrix(np.repeat(CHIN_FOLLOWER, 2, 0))
    _, turned, _ = move(np.zeros((2, 3), np.float32), skin, (neck, 0 * neck), still, SAME, [0.0, 90, 0], ZERO, NO_SWAY)
    assert turned[0] == pytest.approx([1, 0, 0, 0])
    assert np.abs(turned[1]) == pytest.approx([np.sqrt(0.5), 0, np.sqrt(0.5), 0], abs=1e-6)


def test_stretched_skin_is_noticed_where_it_is(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, triangles = mesh
    vertices = (vertices - 256) / 14
    opened = vertices.copy()
    opened[152, 1] += 1
    edges = deform.mesh_edges(open_triangles(triangles))
    grown = deform.stretch(deform.lengths(vertices, edges), opened, edges)
    assert grown[152] > 1.2
    assert grown[10] == 1


NOTHING = np.zeros((512, 512), np.float32)  # neither clothes nor hair


def test_the_neck_fades_down_and_before_clothes() -> None:
    marks = np.zeros((478, 3), np.float32)
    marks[152, 1] = 300
    share = shares.neck_weights(marks, NOTHING, NOTHING, 512.0, 0.07)
    assert share[200].min() > 0.99 and share[450].max() < 0.01
    assert min(share[0].min(), share[:200, 0].min()) > 0.99  # a head that the picture cuts off moves as one
    assert (np.diff(share[:, 256]) <= 1e-4).all()
    clothes = np.zeros((512, 512), np.float32)
    clothes[340:] = 1
    assert shares.neck_weights(marks, clothes, NOTHING, 512.0, 0.07)[338].max() < 0.2


def test_long_hair_goes_less_far_the_lower_it_hangs_and_farther_than_the_neck() -> None:
    """Over the neck's length straight locks would be bent."""
    marks = np.zeros((478, 3), np.float32)
    marks[152, 1] = 300
    hair = NOTHING.copy()
    hair[:, :200] = 1
    share = shares.neck_weights(marks, NOTHING, hair, 600.0, 0.07)
    assert share[407, 100] > 0.3 and share[407, 400] < 0.05  # 7.5 cm below the chin
    assert share[310, 100] > 0.98 and share[492, 100] < 0.01
    assert np.abs(np.diff(share[:, 100])).max() < 0.7 * np.abs(np.diff(share[:, 400])).max()
    clothes = NOTHING.copy()
    clothes[340:] = 1
    assert shares.neck_weights(marks, clothes, hair, 600.0, 0.07)[338].max() < 0.2


def test_a_neck_stays_with_the_collar_beside_the_jaw() -> None:
    """A collar's tip stands higher than the chin; skin beside it that went with the head would tear from it."""
    angles = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    marks = np.zeros((478, 3), np.float32)
    marks[list(OVAL), :2] = 256 + np.stack([80 * np.sin(angles), -110 * np.cos(angles)], 1)  # the chin lies at 366
    clothes = np.zeros((512, 512), np.float32)
    clothes[330:, :170] = 1
    share = shares.neck_weights(marks, clothes, NOTHING, 512.0, 0.07)
    assert share[345, 172] < 0.1  # beside the collar, outside the face
    assert share[345, 256] > 0.95 and share[345, 230] > 0.9  # the chin
    assert share[250, 160] > 0.95  # an ear
    assert share[345, 340] > 0.95  # there is no collar on the other side
