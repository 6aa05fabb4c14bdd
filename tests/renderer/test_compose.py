"""Enlarging, detail and conversion equal their formulas, worked out the plain way."""

import numba
import numpy as np
import pytest
import torch

from mggdub.geometry.sampling import to_splines
from mggdub.renderer.blocks import ALL_MOUTH, FINEST, PAD
from mggdub.renderer.compose import compose_rgb, compose_yuv, settle
from mggdub.renderer.planes import convert_yuv

HEIGHT, WIDTH, BOX = 46, 61, (8, 5, 40, 33)  # left, top, width, height
REST = np.zeros(6, np.float32)
SHUT = (0, 0, 1, 1.0, 0.0, np.zeros((0, 0, 7), np.float32))  # a mouth that changes nothing


def texture(picture: np.ndarray) -> np.ndarray:
    edged = np.pad(picture, ((PAD, PAD), (PAD, PAD), (0, 0)), "edge")
    return np.pad(edged, ((0, 0), (0, 0), (0, 4 - picture.shape[2]))).ravel()


def keys(x: np.ndarray) -> np.ndarray:
    """Cubic convolution's kernel with a = -1/2."""
    x = np.abs(x)
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def steep(x: np.ndarray) -> np.ndarray:
    """The same with a = -3/4."""
    x = np.abs(x)
    return np.where(x < 1, 1.25 * x**3 - 2.25 * x**2 + 1, np.where(x < 2, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4), 0))


def b_spline(x: np.ndarray) -> np.ndarray:
    """The cubic one."""
    x = np.abs(x)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))


def at(picture: np.ndarray, y: np.ndarray, x: np.ndarray, kernel=keys) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A picture [H, W, C] between its pixels at y and x [...], px from the middle of the first; its edge repeats."""
    found = 0.0
    for j in range(-1, 3):
        for i in range(-1, 3):
            row, column = np.floor(y).astype(int) + j, np.floor(x).astype(int) + i
            weight = kernel(y - row) * kernel(x - column)
            inside = (np.clip(row, 0, picture.shape[0] - 1), np.clip(column, 0, picture.shape[1] - 1))
            found = found + weight[..., None] * picture[inside]
    return np.asarray(found)


@pytest.fixture
def parts() -> dict[str, np.ndarray]:
    """A drawing of 11 x 13 for a box of 33 x 40, smooth, of one surface that was elsewhere in the photo."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:11, :13] / 12
    drawn = np.stack(
        [0.5 + 0.3 * x, 0.4 + 0.3 * y, 0.6 - 0.3 * x, 1 + 0 * x, 0.4 * y, -0.3 * x, 1 + 0 * x, 1 + 0 * x], 2
    )
    drawn[:, 9:] *= np.array([0.4, 0.4, 0.4, 0.3, 0.3, 0.3, 0.25, 0.5])
    drawn[3:6] *= 0.9
    return {
        "picture": rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8),
        "drawn": drawn.astype(np.float32),
        "detail": (rng.normal(size=(BOX[3], BOX[2], 3)) * 20 * FINEST).astype(np.int16),
        "share": np.linspace(0, 1, 12).reshape(4, 3).astype(np.float32),
    }


def composed(
    parts: dict[str, np.ndarray], sway: np.ndarray = REST, mouth: tuple[int, int, int, float, float, np.ndarray] = SHUT
) -> np.ndarray:
    frame = parts["picture"].copy()
    part = (0, 0, WIDTH, HEIGHT)
    layers = (
        texture(parts["picture"]),
        parts["share"],
        sway,
        parts["drawn"],
        texture(parts["detail"]),
        BOX,
        mouth,
        part,
    )
    compose_rgb(*layers, frame, numba.get_num_threads())
    return frame


def twin(parts: dict[str, np.ndarray], sway: np.ndarray = REST) -> np.ndarray:
    left, top, width, height = BOX
    a, b, dx, dy, right, down = sway.astype(np.float64)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    cells = torch.from_numpy(parts["share"])[None, None]
    share = torch.nn.functional.interpolate(cells, (HEIGHT, WIDTH), mode="bilinear")[0, 0].numpy()
    u = np.clip(x - share * (a * (x + dx) - b * (y + dy) + right), 0, WIDTH - 1)
    v = np.clip(y - share * (b * (x + dx) + a * (y + dy) + down), 0, HEIGHT - 1)
    frame = at(parts["picture"].astype(np.float64), v, u, steep)
    rows, columns = parts["drawn"].shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    large = at(parts["drawn"].astype(np.float64), (y + 0.5) * rows / height - 0.5, (x + 0.5) * columns / width - 0.5)
    right, down = (large[..., k] / large[..., 3] * step for k, step in ((4, width / columns), (5, height / rows)))
    place = np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)
    detail = at(parts["detail"].astype(np.float64), *place, b_spline) / FINEST
    takes = np.minimum(large[..., 6] / large[..., 3], 1)[..., None]
    own = large[..., :3] * 255 + takes * detail
    box = frame[top : top + height, left : left + width]
    box[:] = box * (1 - np.clip(large[..., 7:], 0, 1)) + own
    return np.clip(frame, 0, 255)


@pytest.mark.parametrize("sway", [REST, np.array([0.02, 0.03, -20, -15, 2.5, -1.25], np.float32)])
def test_a_frame_is_what_the_formulas_say(parts: dict[str, np.ndarray], sway: np.ndarray) -> None:
    assert np.abs(composed(parts, sway) - twin(parts, sway)).max() < 1


def test_splines_pass_through_a_picture_whose_edge_repeats() -> None:
    picture = np.random.default_rng(0).integers(-3000, 3000, (7, 9, 2)).astype(np.int16)
    splines = np.dstack([picture, picture])
    to_splines(splines[..., :2], at_once=4)
    y, x = np.mgrid[:7, :9].astype(float)
    assert at(splines[..., :2], y, x, b_spline) == pytest.approx(picture, abs=1.5)
    assert np.array_equal(splines[..., 2:], picture)


def test_the_bytes_do_not_depend_on_threads(parts: dict[str, np.ndarray]) -> None:
    sway, most = np.array([0.02, 0.03, -20, -15, 2.5, -1.25], np.float32), numba.get_num_threads()
    both = composed(parts, sway)
    numba.set_num_threads(1)
    try:
        assert np.array_equal(composed(parts, sway), both)
    finally:
        numba.set_num_threads(most)


@pytest.mark.parametrize("columns", [slice(0, 1), slice(2, 3), slice(1, 2)])
def test_only_what_has_a_share_of_the_motion_sways(parts: dict[str, np.ndarray], columns: slice) -> None:
    share = np.zeros((4, 12), np.float32)
    share[2:, 4 * columns.start : 4 * columns.stop] = 1
    some, sway = parts | {"share": share}, np.array([0.02, 0.03, -20, -15, 2.5, -1.25], np.float32)
    moved, rest = composed(some, sway), composed(some)
    assert np.abs(moved - twin(some, sway)).max() < 0.75
    still = np.ones((HEIGHT, WIDTH), bool)
    still[HEIGHT // 4 :, max(0, columns.start * 20 - 6) : columns.stop * 21 + 6] = False
    assert np.array_equal(moved[still], rest[still]) and not np.array_equal(moved, rest)


@pytest.mark.parametrize("step", [1, 3])
def test_a_mouth_is_seen_where_nothing_covers_it(parts: dict[str, np.ndarray], step: int) -> None:
    """All of it where no splat has a place, nothing of it where all have one, and nothing beyond the cells."""
    drawn = np.zeros((11, 13, 8), np.float32)
    drawn[..., :3], drawn[..., 7] = 0.4, 1
    drawn[:, 7:, 3] = 1
    colors = np.full((4, 8, 7), 1, np.float32) * np.array([0.8, 0.6, 0.2, 1, 0.4, 0.4, 0.4], np.float32)
    frame = composed(parts | {"drawn": drawn}, mouth=(15, 12, step, 1.0, 0.0, colors)).astype(int)
    rest = composed(parts | {"drawn": drawn}).astype(int)
    here = np.zeros(rest.shape[:2], bool)
    here[12 : 12 + 4 * step, 15 : 15 + 8 * step] = True
    here[: BOX[1]], here[BOX[1] + BOX[3] :], here[:, BOX[0] + BOX[2] :] = False, False, False
    assert np.array_equal(frame[~here], rest[~here])
    free, covered = here.copy(), here.copy()
    free[:, BOX[0] + 15 :], covered[:, : BOX[0] + 26] = False, False
    assert free.any() and covered.any() == (step == 3)
    assert np.abs(frame[free] - 255 * colors[0, 0, :3]).max() <= 1
    assert np.array_equal(frame[covered], rest[covered])


def test_detail_of_the_photos_own_mouth_goes_with_it(parts: dict[str, np.ndarray]) -> None:
    """Where the fourth channel says so: all of it here, or none."""
    own = np.full((*parts["detail"].shape[:2], 1), ALL_MOUTH, np.int16)
    mouth, skin = (parts | {"detail": np.dstack([parts["detail"], share])} for share in (own, 0 * own))
    gone = [(*SHUT[:4], share, SHUT[5]) for share in (0.0, 0.5, 1.0)]
    whole, half, none = (composed(mouth, mouth=given).astype(float) for given in gone)
    assert np.array_equal(whole, composed(parts)) and np.array_equal(composed(skin, mouth=gone[2]), whole)
    plain = composed(parts | {"detail": 0 * parts["detail"]})
    assert np.abs(none - plain).max() <= 1 and np.abs(whole - none).max() > 20
    clear = (np.minimum(whole, none) > 0) & (np.maximum(whole, none) < 255)
    assert np.abs(half - (whole + none) / 2)[clear].max() <= 1


@pytest.mark.parametrize("steep", [1.0, 2.0])
def test_lips_end_as_steeply_as_they_should_and_in_their_own_colour(parts: dict[str, np.ndarray], steep: float) -> None:
    """A pixel of lips (0.6) of which a quarter is the mouth (drawn as 0.2, seen as 0.4)."""
    drawn = np.zeros((11, 13, 8), np.float32)
    drawn[..., :3], drawn[..., 3], drawn[..., 7] = 0.75 * 0.6 + 0.25 * 0.2, 0.75, 1
    colors = np.full((5, 5, 7), 1, np.float32) * np.array([0.4, 0.4, 0.4, 1, 0.2, 0.2, 0.2], np.float32)
    frame = composed(parts | {"drawn": drawn, "detail": 0 * parts["detail"]}, mouth=(14, 10, 4, steep, 0.0, colors))
    covers = 0.5 - 0.25 * steep
    assert np.abs(frame[12:28, 16:32] - 255 * (0.6 * (1 - covers) + 0.4 * covers)).max() <= 1


def test_a_mouths_cells_are_sampled_between_their_middles(parts: dict[str, np.ndarray]) -> None:
    """Colours, and how much is seen of them, a quarter here."""
    drawn = np.zeros((11, 13, 8), np.float32)
    drawn[..., :3], drawn[..., 7] = 0.4, 1
    down, across = np.linspace(0, 0.5, 6)[:, None], np.linspace(0, 0.4, 5)[None]
    channels = [np.broadcast_to(down + across, (6, 5))] * 3 + [np.full((6, 5), 0.25)] + [np.full((6, 5), 0.4)] * 3
    frame = composed(parts | {"drawn": drawn}, mouth=(14, 10, 4, 1.0, 0.0, np.stack(channels, -1).astype(np.float32)))
    y, x = np.mgrid[12:32, 16:32]  # from the middle of the first cell to that of the last
    true = 255 * (0.5 * (y + 0.5 - 12) / 20 + 0.4 * (x + 0.5 - 16) / 16)
    # No lips are left where the mouth is all, so theirs is what is darkest: 64 of 255 less, as far as it is seen.
    lips = 102 - 0.25 * 64
    assert np.abs(frame[12:32, 16:32] - (0.75 * lips + 0.25 * true[..., None])).max() <= 1


@pytest.mark.parametrize("width", [WIDTH, WIDTH - 1])
def test_planes_and_frames_move_up_to_the_same_column(parts: dict[str, np.ndarray], width: int) -> None:
    picture, none = parts["picture"][:, :width].copy(), np.zeros_like(parts["drawn"])
    sway, part, threads = np.array([0, 0, 0, 0, 2.5, 1.5], np.float32), (0, 0, width, HEIGHT), numba.get_num_threads()
    even = (width + 1) // 2
    for columns in range(width - 6, width + 1):
        share = np.zeros((4, width), np.float32)
        share[:, :columns] = 1
        frame, planes = picture.copy(), [np.zeros((HEIGHT * 3 // 2, 2 * even), np.uint8) for _ in range(2)]
        (luma, chroma), (again, chromas) = ((p[:HEIGHT], p[HEIGHT:].reshape(2, HEIGHT // 2, even)) for p in planes)
        layers = (texture(picture), share, sway, none, texture(parts["detail"]), BOX, SHUT, part)
        compose_rgb(*layers, frame, threads)
        convert_yuv(picture, luma, chroma, threads)
        compose_yuv(*layers, (HEIGHT, width), luma, chroma, threads)
        convert_yuv(frame, again, chromas, threads)
        assert np.abs(luma.astype(int) - again).max() <= 1 and np.abs(chroma.astype(int) - chromas).max() <= 1


@pytest.mark.parametrize("width", [3, 8, 17])
def test_narrow_pictures_are_filled_to_their_edge(parts: dict[str, np.ndarray], width: int) -> None:
    """Pixels are worked on in blocks: what is left of one, or is less than one, is drawn, too."""
    narrow = parts | {"picture": parts["picture"][:, :width].copy(), "detail": parts["detail"][:, :width]}
    layers = (texture(narrow["picture"]), parts["share"], REST, parts["drawn"], texture(narrow["detail"]))
    frame, box, threads = narrow["picture"].copy(), (0, 5, width, 33), numba.get_num_threads()
    compose_rgb(*layers, box, SHUT, (0, 0, width, HEIGHT), frame, threads)
    assert not np.array_equal(frame[:, -1], narrow["picture"][:, -1])
    luma, chroma = np.zeros((HEIGHT, width + 1 & ~1), np.uint8), np.zeros((2, HEIGHT // 2, (width + 1) // 2), np.uint8)
    again, chromas = luma.copy(), chroma.copy()
    convert_yuv(narrow["picture"], luma, chroma, threads)
    compose_yuv(*layers, box, SHUT, (0, 0, width, HEIGHT), (HEIGHT, width), luma, chroma, threads)
    convert_yuv(frame, again, chromas, threads)
    assert np.abs(luma.astype(int) - again).max() <= 1 and np.abs(chroma.astype(int) - chromas).max() <= 1


def test_without_a_head_the_picture_is_untouched_and_sways_as_a_whole(parts: dict[str, np.ndarray]) -> None:
    none = parts | {"drawn": np.zeros_like(parts["drawn"]), "share": np.ones((4, 3), np.float32)}
    assert np.array_equal(composed(none), parts["picture"])
    moved = composed(none, np.array([0, 0, 0, 0, 3, 2], np.float32))
    assert np.array_equal(moved[2:, 3:], parts["picture"][:-2, :-3])
    assert (moved[2:, 0] == moved[2:, 2]).all()  # the edge repeats


def test_turning_goes_clockwise_about_the_centre(parts: dict[str, np.ndarray]) -> None:
    dot = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    dot[20, 40] = 255
    turn = np.exp(0.1j) - 1
    sway = np.array([turn.real, turn.imag, 0.5 - 30.5, 0.5 - 20.5, 0, 0], np.float32)
    none = {"picture": dot, "drawn": np.zeros_like(parts["drawn"]), "share": np.ones((4, 3), np.float32)}
    moved = composed(parts | none, sway)
    assert np.unravel_index(moved[..., 0].argmax(), moved.shape[:2]) == (21, 40)  # y down


@pytest.mark.parametrize("sway", [REST, np.array([0.02, 0.03, -20, -15, 2.5, -1.25], np.float32)])
def test_planes_are_the_frame_in_bt709(parts: dict[str, np.ndarray], sway: np.ndarray) -> None:
    height, width = HEIGHT - 1, WIDTH  # both odd
    cut = parts | {"picture": parts["picture"][:height]}
    luma, chroma = (
        np.empty((height + 1, width + 1), np.uint8),
        np.empty((2, (height + 1) // 2, (width + 1) // 2), np.uint8),
    )
    convert_yuv(cut["picture"], luma, chroma, numba.get_num_threads())
    part, size = (0, 0, width, height), (height, width)
    layers = (texture(cut["picture"]), cut["share"], sway, cut["drawn"], texture(cut["detail"]), BOX, SHUT, part, size)
    compose_yuv(*layers, luma, chroma, numba.get_num_threads())
    frame = parts["picture"][:height].copy()
    compose_rgb(*layers[:-1], frame, numba.get_num_threads())
    even = np.pad(frame, ((0, 1), (0, 1), (0, 0)), "edge").astype(np.float64) / 255
    y = even @ [0.2126, 0.7152, 0.0722]
    assert np.abs(luma - (16 + 219 * y)).max() < 1.01
    across = np.pad(even, ((0, 0), (1, 1), (0, 0)), "edge")
    quarters = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:])[:, ::2]
    smooth = (quarters[::2] + quarters[1::2]) / 8
    light = smooth @ [0.2126, 0.7152, 0.0722]
    for k, (channel, range_) in enumerate(((2, 1.8556), (0, 1.5748))):
        away = np.abs(chroma[k] - (128 + 224 * (smooth[..., channel] - light) / range_))
        assert away.max() < 1.01


def test_detail_is_for_one_surface_that_mostly_covers() -> None:
    whole = np.zeros((1, 4, 8), np.float32)
    whole[0, 0, 3:] = [1, 1, -2, 5, 1]  # one surface
    whole[0, 1, 3:] = [1, 2, 0, 8, 1]  # two, 4 px apart
    whole[0, 2, 3:] = [0.5, 0.5, 0, 0.5, 1]  # half covered by what has no place
    settle(whole)
    assert whole[0, :, 6].tolist() == [1, 0, 0, 0]
