"""Composing in plain torch is what the kernels compose."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from mggdub.renderer import compose, on_card
from mggdub.renderer.blocks import ALL_MOUTH, FINEST, PAD
from mggdub.renderer.card_mouth import Mouths
from mggdub.renderer.compose import compose_rgb, compose_yuv
from mggdub.renderer.mouth_light import compare_light, relight
from mggdub.renderer.on_card import CardPicture
from mggdub.renderer.planes import convert_yuv
from mggdub.types import Array

SHAPE, BOX = (21, 17), (8, 6, 40, 33)  # of a drawing; left, top, width, height
SWAYS = [[0.02, 0.03, -20, -15, 2.5, -1.25], [0, 0, -20, -15, 0, 0], [-0.04, 0.01, -20, -15, -3, 2]]
SWAY = np.array(SWAYS, np.float32)
UNITS = np.array([FINEST, FINEST, FINEST, ALL_MOUTH], np.float32)  # of detail and of the share of a mouth
SHUT = (0, 0, 1, 1.0, 0.0, np.zeros((0, 0, 7), np.float32))  # a mouth that changes nothing
MOUTHS = ((12, 9, 1), (3, 20, 2), (30, 11, 3))  # left, top and side of cells, px; the first within the box


def texture(picture: Array) -> Array:
    edged = np.pad(picture, ((PAD, PAD), (PAD, PAD), (0, 0)), "edge")
    return np.pad(edged, ((0, 0), (0, 0), (0, 4 - picture.shape[2]))).ravel()


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of noise, three drawings of noise with holes, and what lies between."""

    picture: Array  # [H, W, 3] uint8
    detail: Array  # [height, width, 3 or 4] int16
    share: Array
    drawn: Array  # [3, h, w, 8]
    part: tuple[int, int, int, int]

    @property
    def planes(self) -> Array:
        height, width = (size + size % 2 for size in self.picture.shape[:2])
        planes = np.empty((height * 3 // 2, width), np.uint8)
        convert_yuv(self.picture, *split(planes), numba.get_num_threads())
        return planes

    def on_card(self) -> CardPicture:
        return CardPicture.of(
            self.picture,
            self.planes,
            self.detail / UNITS[: self.detail.shape[2]],
            self.share,
            SWAY[0, 2:4],
            SHAPE,
            BOX,
            self.part,
            "cpu",
        )

    def kernels(
        self, drawn: Array, sway: Array, mouth: tuple[int, int, int, float, float, Array] = SHUT
    ) -> tuple[Array, Array]:
        """The frame and its planes."""
        layers = (texture(self.picture), self.share, sway, drawn, texture(self.detail), BOX, mouth, self.part)
        frame, planes, threads = self.picture.copy(), self.planes, numba.get_num_threads()
        compose_rgb(*layers, frame, threads)
        compose_yuv(*layers, self.picture.shape[:2], *split(planes), threads)
        return frame, planes


def split(planes: Array) -> tuple[Array, Array]:
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return planes[:height], planes[height:].reshape(2, height // 2, width // 2)


@pytest.fixture(params=[(46, 61), (45, 62), (45, 61), (64, 80)], ids=str)
def scene(request: pytest.FixtureRequest) -> Scene:
    """The last one changes in a part of it only."""
    rng = np.random.default_rng(0)
    height, width = request.param
    drawn = rng.uniform(0.2, 1, (3, *SHAPE, 8)).astype(np.float32)
    drawn[..., 4:6] = rng.normal(0, 3, (3, *SHAPE, 2)) * drawn[..., 3:4]
    drawn[..., 6] = np.square(drawn[..., 4:6]).sum(-1) / drawn[..., 3] + drawn[..., 3] * rng.uniform(0, 0.8, SHAPE)
    drawn[..., 7] = np.maximum(drawn[..., 3], drawn[..., 7])
    drawn[:, 5:9], drawn[:, :, 10:12] = 0, 0
    for one in drawn:
        compose.settle(one)
    share = np.linspace(0, 1, 30).reshape(6, 5).astype(np.float32)
    if height == 64:
        share[:] = 0
        share[2:5, 1:4] = 1
    return Scene(
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        (rng.normal(size=(BOX[3], BOX[2], 3)) * 20 * FINEST).astype(np.int16),
        share,
        drawn,
        (4, 6, 76, 60) if height == 64 else (0, 0, width, height),
    )


def same(ours: Array, theirs: Array) -> None:
    """But for what rounding decides: an edge of what a pixel shows, or half a step of a colour."""
    off = np.abs(ours.astype(int) - theirs)
    assert (off > 1).mean() < 2e-3 and (off > 0).mean() < 0.02


@pytest.mark.parametrize("sways", [False, True], ids=["still", "swaying"])
def test_pictures_are_what_the_kernels_compose(scene: Scene, sways: bool) -> None:
    card = scene.on_card()
    part = on_card.compose(card, torch.from_numpy(scene.drawn), torch.from_numpy(SWAY) if sways else None)
    frames, planes = on_card.rgb(card, part).numpy(), on_card.yuv(card, part).numpy()
    for k, (drawn, sway) in enumerate(zip(scene.drawn, SWAY if sways else 0 * SWAY, strict=True)):
        frame, yuv = scene.kernels(drawn, sway)
        same(frames[k], frame)
        same(planes[k], yuv)


def test_mouths_are_what_the_kernels_put_there(scene: Scene) -> None:
    """In the light of each drawing; beyond a frame's own cells and pixels there is nothing."""
    card, drawn = scene.on_card(), torch.from_numpy(scene.drawn)
    rng = np.random.default_rng(1)
    colors, small = (rng.uniform(0.1, 1, (3, *size, 4)).astype(np.float32) for size in ((9, 13), (7, 8)))
    colors[:, [0, -1], :, 3], colors[:, :, [0, -1], 3] = 0, 0  # as the cells of a mouth end
    pixels = np.array([[2, 3, 8, 7], [9, 14, 8, 7], [4, 6, 5, 4]])
    arrays = map(torch.from_numpy, (np.float32(MOUTHS), colors, np.float32(pixels), small))
    mouths = Mouths(*arrays, 1.6, (3, 9, 69, 38))
    small[2, 4:], small[2, :, 5:] = 0, 0
    frames, plain = (on_card.rgb(card, on_card.compose(card, drawn, None, given)).numpy() for given in (mouths, None))
    ratio = np.array([[BOX[2] / SHAPE[1], BOX[3] / SHAPE[0]], BOX[:2]])
    for k, (left, top, step) in enumerate(MOUTHS):
        x, y, across, down = pixels[k].tolist()
        lit, light = np.empty((9, 13, 7), np.float32), np.empty((down, across, 3), np.float32)
        own = np.ascontiguousarray(small[k, :down, :across])
        compare_light(scene.drawn[k], own, x, y, light)
        relight(colors[k], own, light, (left, top, step), (x, y), ratio, lit)
        assert light.std() > 0.05
        same(frames[k], scene.kernels(scene.drawn[k], 0 * SWAY[k], (left, top, step, 1.6, 0.0, lit))[0])
        assert (frames[k] != plain[k]).any()


def test_detail_of_the_photos_own_mouth_goes_with_it(scene: Scene) -> None:
    """As far as the fourth channel says that it is its own."""
    share = np.linspace(0, ALL_MOUTH, BOX[3] * BOX[2]).reshape(BOX[3], BOX[2], 1).astype(np.int16)
    mouthed, gone = replace(scene, detail=np.dstack([scene.detail, share])), [0.0, 0.4, 1.0]
    card, drawn = mouthed.on_card(), torch.from_numpy(scene.drawn)
    frames = on_card.rgb(card, on_card.compose(card, drawn, None, None, torch.tensor(gone))).numpy()
    plain = on_card.rgb(card, on_card.compose(card, drawn, None)).numpy()
    for k, share_gone in enumerate(gone):
        same(frames[k], mouthed.kernels(scene.drawn[k], 0 * SWAY[k], (*SHUT[:4], share_gone, SHUT[5]))[0])
        assert (frames[k] != plain[k]).any() == (share_gone > 0)


def test_what_lies_beyond_the_part_stays(scene: Scene) -> None:
    card = scene.on_card()
    part = on_card.compose(card, torch.from_numpy(scene.drawn), torch.from_numpy(SWAY))
    left, top, right, bottom = scene.part
    frames = on_card.rgb(card, part).numpy()
    assert not np.array_equal(frames[0], scene.picture)
    frames[:, top:bottom, left:right] = scene.picture[top:bottom, left:right]
    assert all(np.array_equal(frame, scene.picture) for frame in frames)


def test_nothing_drawn_is_the_still_picture(scene: Scene) -> None:
    card = scene.on_card()
    part = on_card.compose(card, torch.zeros(2, *SHAPE, 8), None)
    assert np.array_equal(on_card.rgb(card, part)[1].numpy(), scene.picture)
    off = np.abs(on_card.yuv(card, part)[1].numpy().astype(int) - scene.planes)
    assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_drawings_are_settled_as_by_the_kernels() -> None:
    rng = np.random.default_rng(1)
    raw = rng.uniform(0, 1, (3, *SHAPE, 8)).astype(np.float32)
    raw[..., 6] += np.square(raw[..., 4:6]).sum(-1) / raw[..., 3]
    raw[:, :4, :, 3:7] = 0
    ours = torch.from_numpy(raw.copy())
    on_card.settle(ours)
    for one in raw:
        compose.settle(one)
    assert ours.numpy() == pytest.approx(raw, abs=1e-5)
    assert (raw[..., 6] > 0.01).any() and not raw[:, :4, :, 6].any()


def convolution(x: Array) -> Array:
    """Keys's kernel with a = -3/4."""
    x = np.abs(x)
    return np.where(x < 1, 1.25 * x**3 - 2.25 * x**2 + 1, np.where(x < 2, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4), 0))


def b_spline(x: Array) -> Array:
    """The cubic one."""
    x = np.abs(x)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))


@pytest.mark.parametrize(
    ("kernel", "sample"), [(convolution, on_card.sample_cubic), (b_spline, on_card.sample_spline)], ids=["9", "4"]
)
def test_some_samples_are_sixteen_texels(kernel: Callable[[Array], Array], sample: Callable[..., Tensor]) -> None:
    """At places in and on the edge of a texture."""
    rng = np.random.default_rng(0)
    picture, x, y = rng.random((5, 7, 3)), rng.uniform(0, 6, (2, 4, 6)), rng.uniform(0, 4, (2, 4, 6))
    x[0, 0], y[1, 0], x[1, 1], y[0, 2] = 0, 0, 6, 4
    true = np.zeros((2, 4, 6, 3))
    for j in range(-1, 3):
        for i in range(-1, 3):
            row, column = np.floor(y).astype(int) + j, np.floor(x).astype(int) + i
            weight = kernel(y - row) * kernel(x - column)
            true += weight[..., None] * picture[row.clip(0, 4), column.clip(0, 6)]
    texels = torch.from_numpy(picture.transpose(2, 0, 1))[None]
    found = sample(texels, torch.from_numpy(x), torch.from_numpy(y))
    assert found.permute(1, 2, 3, 0).numpy() == pytest.approx(true, abs=1e-9)
