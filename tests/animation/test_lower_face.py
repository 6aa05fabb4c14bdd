"""The lower face is changed where a drawing moved it, and nowhere else."""

import numba
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from mggdub.animation.animate import animate, posed_heads
from mggdub.animation.compositor import Compositor, in_photo_state
from mggdub.animation.lower_face import (
    FINER,
    LowerFace,
    Window,
    add_window,
    change_shown,
    cut_affine,
    cut_window,
    drawn_inputs,
    fill_outline,
    find_window,
    sample_window,
)
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import CHIN_TIP, INNER_LIPS, OUTER_LIPS, PIVOT
from mggdub.geometry.camera import project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.models import Models
from mggdub.networks.lower_face import INPUTS, SIZE, LowerFaceNet
from mggdub.types import Array, ExpressionTrack

STILL = np.zeros(3, np.float32)


@pytest.fixture(scope="module")
def strong() -> LowerFaceNet:
    """A network that changes much: its last layer is not zero."""
    torch.manual_seed(3)
    net = LowerFaceNet().eval().requires_grad_(False)
    net.leave.weight.normal_(0, 0.3)
    net.leave.bias.fill_(0.2)
    return net


@pytest.fixture(scope="module")
def spoken() -> ExpressionTrack:
    """The photo's own state, then an open mouth of a head that turned, then a pursed one."""
    units, modes = np.zeros((3, 52), np.float32), np.zeros((3, 8), np.float32)
    modes[1, 0], modes[2, 1] = 3, -4
    turns = np.array([[0, 0, 0], [3, -6, 5], [3, -6, 5]], np.float32)
    return ExpressionTrack(np.arange(3.0), units, modes, rotation=turns)


def to_window(points: Array, window: Window) -> Array:
    return points @ window.from_drawing[:, :2].T + window.from_drawing[:, 2]


def test_a_window_goes_along_with_the_head(avatar: HeadAvatar) -> None:
    none = np.zeros_like(avatar.mesh)
    rest = find_window(avatar.mesh, none, STILL, STILL, avatar.camera)
    chin = to_window(project(avatar.mesh[[CHIN_TIP]], avatar.camera), rest)[0]
    assert 0.7 * SIZE < chin[1] < SIZE and abs(chin[0] - SIZE / 2) < SIZE / 8
    turn, shift = np.array([0, 0, 12.0]), np.array([0.8, -0.5, 0])
    moved = find_window(avatar.mesh, none, turn, shift, avatar.camera)
    mesh = (avatar.mesh - PIVOT) @ euler_to_matrix(turn).T + PIVOT + shift
    assert to_window(project(mesh[[CHIN_TIP]], avatar.camera), moved)[0] == pytest.approx(chin, abs=0.5)
    assert moved.lips == pytest.approx(rest.lips, abs=0.5)


def test_windows_are_cut_where_they_are_laid_back() -> None:
    rng = np.random.default_rng(0)
    drawn = ndimage.gaussian_filter(rng.random((120, 140, 8)), (4, 4, 0)).astype(np.float32)
    turn = np.array([[0.7, -0.2, 40], [0.2, 0.7, 15]])
    cut = np.empty((SIZE, SIZE, 8), np.float32)
    sample_window(drawn, turn.astype(np.float32), cut)
    cells = np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), -1) @ turn[:, :2].T + turn[:, 2] - 0.5
    for k in (0, 7):
        true = ndimage.map_coordinates(drawn[..., k], [cells[..., 1], cells[..., 0]], order=1, mode="nearest")
        assert cut[..., k] == pytest.approx(true, abs=1e-5)
    drawn[..., :3], drawn[..., 7] = 0.25, 0.5
    drawn[:, :70, 7] = 0
    after, change = drawn.copy(), np.full((SIZE, SIZE, 3), 0.1, np.float32)
    add_window(change, Window(turn, cells, cells).from_drawing.astype(np.float32), after)
    added = after[..., :3] - drawn[..., :3]
    at = np.rint(turn[:, :2] @ [SIZE / 2, SIZE / 2] + turn[:, 2]).astype(int)
    assert added[at[1], max(at[0], 75)] == pytest.approx(0.05, abs=1e-6)
    assert not added[:, :70].any() and not added[:4].any()
    assert np.array_equal(after[..., 3:], drawn[..., 3:])


def test_a_window_of_a_picture_is_the_mean_of_what_it_covers() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[:, ::2] = 200
    found = cut_affine(picture, np.array([[2.0, 0, 50], [0, 2.0, 60]]))
    assert found.shape == (SIZE, SIZE, 3)
    assert np.abs(found.astype(int) - 100).max() <= 2


def test_outlines_are_filled_by_their_area() -> None:
    square = np.array([[10, 10], [30.5, 10], [30.5, 20], [10, 20]], float)
    found = np.zeros((SIZE, SIZE), np.float32)
    fill_outline(square, found)
    assert found.sum() == pytest.approx(20.5 * 10, rel=0.05)
    assert found[15, 20] == 1 and found[15, 40] == 0


@pytest.mark.parametrize("shift", [(0, 0), (-43.3, 2.7), (48.2, 50.1), (-200, 0), (0, 200)], ids=str)
def test_outlines_are_filled_as_if_all_of_the_window_was_drawn(shift: tuple[float, float]) -> None:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    outline = np.stack([48.3 + 22.6 * np.cos(angles), 50.9 + 9.4 * np.sin(angles)], 1) + shift
    picture, mask = Image.new("L", (SIZE * FINER, SIZE * FINER)), np.zeros((SIZE, SIZE), np.float32)
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in outline * FINER - 0.5], fill=255)
    fill_outline(outline, mask)
    assert np.array_equal(mask, np.asarray(picture.reduce(FINER), np.float32) / 255)
    assert mask.any() == (max(np.abs(shift)) < 100)


def test_the_photos_own_state_stays_as_it_is(
    models: Models, avatar: HeadAvatar, strong: LowerFaceNet, spoken: ExpressionTrack
) -> None:
    assert change_shown(np.zeros((478, 3))) == 0
    plain = list(animate(avatar, models.having(lower_face=LowerFaceNet().eval()), spoken, relative=True))
    changed = list(animate(avatar, models.having(lower_face=strong), spoken, relative=True))
    assert np.array_equal(plain[0], changed[0])
    assert np.abs(plain[1].astype(int) - changed[1]).max() > 20
    apart = np.abs(plain[2].astype(int) - changed[2]).max(-1)
    assert apart.max() > 20
    camera, box = avatar.camera, avatar.box
    now, _ = list(posed_heads(avatar, models, spoken, relative=True))[2]
    window = find_window(avatar.mesh, now.displacement, now.rotation, now.translation, camera)
    ratio = box.width / box.render_width
    rows, columns = np.nonzero(apart > 2)
    at = np.stack([columns - box.left, rows - box.top], 1) / ratio
    assert (np.abs(to_window(at, window) - SIZE / 2) < SIZE / 2 + 3).all()


def test_beyond_lips_changes_are_smooth(strong: LowerFaceNet) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, INPUTS, SIZE, SIZE)
    lips, inside = np.zeros((2, SIZE, SIZE), np.float32)
    lips[40:56, 30:66], inside[45:50, 35:60] = 1, 1
    x[0, 7], x[0, 8] = torch.from_numpy(lips), torch.from_numpy(inside)
    change = strong(x)[0].numpy()
    assert change[:, inside > 0].std() > 0.05
    edges = np.abs(ndimage.laplace(change, axes=(1, 2))).mean(0)
    far = ndimage.binary_dilation(lips > 0, iterations=8)
    assert edges[~far].mean() < 0.3 * edges[lips > 0].mean()


def test_a_change_comes_with_the_lips_motion() -> None:
    lips = list({*OUTER_LIPS, *INNER_LIPS})
    found = []
    for far in (0, 0.03, 0.1, 0.2, 1):
        displacement = np.zeros((478, 3), np.float32)
        displacement[lips, 1] = far
        found.append(change_shown(displacement))
    assert found[:2] == [0, pytest.approx(0, abs=1e-9)] and found[3:] == [pytest.approx(1), pytest.approx(1)]
    assert 0.2 < found[2] < 0.8


def test_motion_is_that_of_the_face_and_not_of_the_head(
    models: Models, avatar: HeadAvatar, spoken: ExpressionTrack
) -> None:
    compositor = Compositor.of(avatar)
    lower = LowerFace.of(avatar, LowerFaceNet())
    still = drawn_inputs(compositor.draw(in_photo_state(avatar)), lower.at_rest, lower.at_rest)
    assert np.abs(still[4:6]).max() < 0.05
    now, head = list(posed_heads(avatar, models, spoken, relative=True))[1]
    window = find_window(avatar.mesh, now.displacement, now.rotation, now.translation, avatar.camera)
    drawn = drawn_inputs(compositor.draw(head), window, lower.at_rest)
    assert drawn[8].sum() > 1.5 * still[8].sum()  # the mouth opened
    chin = slice(int(0.66 * SIZE), int(0.74 * SIZE)), slice(SIZE // 2 - 4, SIZE // 2 + 4)
    nose = slice(2, 10), slice(SIZE // 2 - 4, SIZE // 2 + 4)
    assert drawn[5][chin].mean() < -0.1  # it came from further up
    assert np.abs(drawn[4:6, *nose]).mean() < 0.35


def test_the_photo_is_cut_as_it_is_drawn(avatar: HeadAvatar) -> None:
    lower = LowerFace.of(avatar, LowerFaceNet())
    drawn = drawn_inputs(Compositor.of(avatar).draw(in_photo_state(avatar)), lower.at_rest, lower.at_rest)
    apart = np.abs(drawn[:3] - lower.photo[:3]).max(0)[drawn[3] > 0.99]
    assert np.median(apart) < 0.02
    assert np.array_equal(
        np.rint(lower.photo[:3] * 255).astype(np.uint8),
        cut_window(avatar.image, avatar, lower.at_rest).transpose(2, 0, 1),
    )


def test_frames_do_not_depend_on_threads(
    models: Models,
    avatar: HeadAvatar,
    strong: LowerFaceNet,
    spoken: ExpressionTrack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, forward = set(), LowerFaceNet.forward

    def counted(net: LowerFaceNet, x: torch.Tensor) -> torch.Tensor:
        threads.add(torch.get_num_threads())
        return forward(net, x)

    monkeypatch.setattr(LowerFaceNet, "forward", counted)
    heads, most = models.having(lower_face=strong), (torch.get_num_threads(), numba.get_num_threads())
    frames, shown = [], [change_shown(now.displacement) for now, _ in posed_heads(avatar, heads, spoken)]
    assert max(shown) > 0.5
    try:
        for mine, kernels in ((1, 1), (2, most[1]), (4, 1)):
            torch.set_num_threads(mine)
            numba.set_num_threads(kernels)
            frames.append(np.stack(list(animate(avatar, heads, spoken, planes=True))))
            assert torch.get_num_threads() == mine
    finally:
        torch.set_num_threads(most[0])
        numba.set_num_threads(most[1])
    assert all(np.array_equal(frames[0], other) for other in frames[1:])
    assert threads == {1}
