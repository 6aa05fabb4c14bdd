"""What is drawn between lips at the picture's size lies where the small drawing has it, in its light."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mggdub.animation import mouth_detail
from mggdub.animation.animate import animate
from mggdub.animation.mouth_detail import NO_DETAIL, MouthDetail, MouthDetailer
from mggdub.animation.poses import FrameMotion, Shown
from mggdub.avatar.lips import closed_middle
from mggdub.avatar.mouth import photo_mouth_share
from mggdub.avatar.teeth import find_places
from mggdub.avatar.values import HeadAvatar
from mggdub.face.mesh import LOWER_LIP, OUTER_LIPS, PIVOT
from mggdub.geometry.camera import project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.metrics.pixels import grey
from mggdub.models import Models
from mggdub.types import Array, ExpressionTrack

NONE = np.zeros(3)
LYING = np.array([0.0, 6.0, 88.0]), NONE
TURNED = np.array([5.0, 14.0, -6.0]), np.array([0.3, -0.2, 1.0])  # degrees, cm


def opened(by: float) -> Array:
    """[478, 3] cm: the lower lip goes down by so much in its middle."""
    displacement = np.zeros((478, 3))
    displacement[list(LOWER_LIP), 1] = by * np.sin(np.linspace(0, np.pi, len(LOWER_LIP)))
    return displacement


def posed(by: float, rotation: Array = NONE, translation: Array = NONE) -> FrameMotion:
    """A head whose mouth is `opened`."""
    shown = Shown(photo_mouth_share(opened(1.0), opened(by)), 0, 0, 0, 0, 0, 0, 1, 1)
    return FrameMotion(opened(by), rotation, translation, np.zeros((3, 4)), np.zeros(42), shown)


@pytest.fixture(scope="module")
def mouth(avatar: HeadAvatar) -> MouthDetailer:
    """Of the head, in a picture four times as large."""
    box = avatar.box
    wide = {name: 4 * getattr(box, name) for name in ("left", "top", "width", "height")}
    image, plate = (np.repeat(np.repeat(x, 4, 0), 4, 1) for x in (avatar.image, avatar.plate))
    return MouthDetailer.of(replace(avatar, box=replace(box, **wide), image=image, plate=plate))


def shown(detail: MouthDetail, avatar: HeadAvatar) -> Array:
    """[h, w, 8]: a drawing that shows just what lies between the lips, in its colours."""
    drawn = np.zeros((avatar.camera.height, avatar.camera.width, 8), np.float32)
    (x, y), (rows, columns) = detail.corner, detail.small.shape[:2]
    drawn[..., 7] = 1
    drawn[y : y + rows, x : x + columns, :3] = detail.small[..., :3]
    return drawn


def test_a_shut_mouth_has_none(avatar: HeadAvatar, mouth: MouthDetailer) -> None:
    closed = mouth.detail(posed(-0.3))
    assert closed.colors is NO_DETAIL.colors
    *given, colors = closed.lit(np.ones((avatar.camera.height, avatar.camera.width, 8), np.float32))
    assert given == [0, 0, 1, 1, closed.gone] and colors.shape == (0, 0, 7)


@pytest.mark.parametrize("motion", [(NONE, NONE), TURNED, LYING], ids=["front", "turned", "lying"])
@pytest.mark.parametrize("by", [0.6, 2.0])
def test_it_lies_where_the_points_of_the_layer_are(
    mouth: MouthDetailer, by: float, motion: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that say where they are, in cm, lie where the layer's points are projected."""

    def places(*given: Any) -> None:
        out, finer = given[-1], given[-2]
        found = np.empty((*out.shape[:2], 3), np.float32)
        find_places(*given[:4], given[4] * finer, given[5], found)
        out[..., :2], out[..., 3] = found[..., :2], (found[..., 2] > 0) & (found[..., 2] < 1)

    avatar, layer, box = mouth.avatar, mouth.avatar.mouth_layer, mouth.avatar.box
    monkeypatch.setattr(mouth_detail, "draw_cells", places)
    monkeypatch.setattr(mouth_detail, "soft", np.copy)
    detail = mouth.detail(posed(by, *motion))
    rest = layer.means + layer.skin @ opened(by)
    turned = (rest - PIVOT) @ euler_to_matrix(motion[0]).T + PIVOT + motion[1]
    ratio = [box.width / box.render_width, box.height / box.render_height]
    at = (project(turned, avatar.camera) * ratio + [box.left, box.top] - [detail.left, detail.top]) / detail.step
    cells = [at[:, 1] - 0.5, at[:, 0] - 0.5]
    found = [ndimage.map_coordinates(detail.colors[..., k], cells, order=1) for k in range(2)]
    within = ndimage.map_coordinates(detail.colors[..., 3], cells, order=0, cval=0) > 0.99
    assert within.sum() > 1000
    assert np.abs(np.stack(found, -1) - (rest[:, :2] - closed_middle(layer.rest)[:2]))[within].max() < 0.03  # cm


def test_it_has_the_light_of_the_drawing(mouth: MouthDetailer) -> None:
    detail = mouth.detail(posed(1.5, *TURNED))
    drawn = shown(detail, mouth.avatar)
    within = detail.colors[..., 3] > 0
    steep, _, colors = detail.lit(drawn)[3:]
    assert steep > 1 and colors[within][:, :4] == pytest.approx(detail.colors[within], rel=0.02)
    assert np.corrcoef(colors[within][:, 4], colors[within][:, 0])[0, 1] > 0.9  # the drawing's own, enlarged
    drawn[..., 0] *= 1.3
    drawn[..., 1] *= np.linspace(0.8, 1.2, drawn.shape[1])
    light = detail.lit(drawn)[5][within][:, :4] / detail.colors[within]
    assert light[:, 0] == pytest.approx(1.3, rel=0.03) and light[:, 2:] == pytest.approx(1, rel=0.02)
    columns = np.broadcast_to(np.arange(within.shape[1]), within.shape)[within]
    assert np.corrcoef(columns, light[:, 1])[0, 1] > 0.99
    drawn[..., 3] = 1  # covered by lips: nothing is known of its light
    assert detail.lit(drawn)[5][..., :4] == pytest.approx(detail.colors)


def test_nothing_is_seen_at_its_edges(mouth: MouthDetailer) -> None:
    colors = mouth.detail(posed(1.5, *TURNED)).colors
    assert not colors[[0, -1]][..., 3].any() and not colors[:, [0, -1], 3].any()
    assert colors[..., 3].max() == pytest.approx(1) and np.isfinite(colors).all()


def test_upper_teeth_stand_still_while_the_jaw_goes(mouth: MouthDetailer) -> None:
    """Where a middle one ends, in px of a picture of 512: within 0.3 of them."""
    ends, layer = [], mouth.avatar.mouth_layer
    middle = closed_middle(layer.rest)
    x = project(np.array([middle[0] + 0.4, middle[1], layer.means[:, 2].mean()]), mouth.avatar.camera)[0]
    for by in (1.2, 1.6, 2.0):
        detail = mouth.detail(posed(by))
        column = int((x * detail.ratio[0, 0] + detail.ratio[1, 0] - detail.left) / detail.step)
        rows = np.flatnonzero(detail.colors[:, column, 3] > 0.99)
        red = detail.colors[rows, column, 0] / detail.colors[rows, column, 1]  # a tooth is pale, the dark below is not
        below = int(np.argmax(red > 1.6))
        share = (1.6 - red[below - 1]) / (red[below] - red[below - 1])
        assert below > 2
        ends.append((rows[below - 1] + share) * detail.step + detail.top)
    assert np.ptp(ends) * 512 / max(mouth.avatar.image.shape) < 0.3


def test_a_large_picture_has_more_than_its_small_drawing(avatar: HeadAvatar, mouth: MouthDetailer) -> None:
    """Four times as large, teeth end within as many px."""
    fine, coarse = (m.detail(posed(1.5)) for m in (mouth, MouthDetailer.of(avatar)))
    assert np.median(np.abs(fine.small - coarse.small)) < 0.01
    rise = [np.abs(np.diff(grey(detail.colors[..., :3]), axis=0)).max() / detail.step for detail in (fine, coarse)]
    assert rise[0] > 0.5 * rise[1]  # enlarged, it would be a quarter


def test_only_what_lies_between_lips_changes(
    avatar: HeadAvatar, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = np.zeros((3, 8), np.float32)
    modes[1:, 0] = 5, 8
    spoken = ExpressionTrack(np.arange(3) / 25, np.zeros((3, 52), np.float32), modes)
    frames = list(animate(avatar, models, spoken, relative=True))
    monkeypatch.setattr(MouthDetailer, "detail", lambda *_: NO_DETAIL)
    plain = list(animate(avatar, models, spoken, relative=True))
    assert np.array_equal(frames[0], plain[0])  # the photo's own state
    changed = (frames[2] != plain[2]).any(-1)
    rows, columns = np.nonzero(changed)
    lips = project(avatar.mesh[list(OUTER_LIPS)], avatar.camera) * avatar.box.width / avatar.box.render_width
    lips = lips + np.array([avatar.box.left, avatar.box.top])
    low, high = lips.min(0), lips.max(0)
    assert len(rows) > 20
    assert low[0] - 1 < columns.min() and columns.max() < high[0] + 1 and low[1] - 1 < rows.min()
