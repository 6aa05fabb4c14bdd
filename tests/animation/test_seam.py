"""Lips that were apart in the photo have a line where they meet."""

import numpy as np
import pytest

from mggdub.animation.lower_face import EYES, SIZE, Window, _reach
from mggdub.animation.seam import COARSE, DARK, GONE, WIDTH, Seam, darken, find_seam
from mggdub.avatar.mouth import photo_mouth_share
from mggdub.face.mesh import INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.types import Array


def mouth(gap: float) -> Array:
    """[478, 3] cm: a mesh whose lips are so far apart."""
    mesh = np.zeros((478, 3), np.float32)
    mesh[INNER_LOWER_LIP, 1], mesh[INNER_UPPER_LIP, 1] = gap, 0
    return mesh


def window(scale: float = 3.0) -> Window:
    """A window whose px are `scale` of the drawing, with lips that meet along a parabola."""
    half = len(INNER_LIPS) // 2
    x = np.concatenate([np.linspace(20, 76, half + 1), np.linspace(76, 20, half + 1)[1:-1]])
    ring = np.stack([x, 50 + 0.002 * (x - 48) ** 2], 1)
    return Window(np.array([[scale, 0, 5], [0, scale, 7]]), ring, ring)


def closed(mesh: Array, to: float = 0.0) -> Array:
    """[478, 3] cm: what closes its lips, but for so many cm."""
    moved = np.zeros_like(mesh)
    for lip in INNER_LIPS:
        moved[lip, 1] = -0.5
    moved[INNER_LOWER_LIP, 1] = to - mesh[INNER_LOWER_LIP, 1]
    moved[INNER_UPPER_LIP, 1] = 0
    return moved


def seam_of(mesh: Array, moved: Array, place: Window) -> Seam:
    """Of a mesh that is displaced."""
    return find_seam(mesh, moved, photo_mouth_share(mesh, moved), place.inside, place.to_drawing, EYES)


@pytest.mark.parametrize(
    ("photo", "now", "share"), [(1.0, 0, 1), (1.0, GONE / 2, 0.5), (1.0, GONE, 0), (0.05, 0, 0), (1.0, 1.0, 0)]
)
def test_lips_have_a_line_where_they_met_only_later(photo: float, now: float, share: float) -> None:
    """As dark as they are near to each other; not where they met in the photo, nor in the photo's own state."""
    mesh = mouth(photo)
    moved = np.zeros_like(mesh) if now == photo else closed(mesh, now)
    found = seam_of(mesh, moved, window())
    assert found.share == pytest.approx(DARK * share, abs=0.02)
    assert found.width == pytest.approx(max(WIDTH * EYES, COARSE / 3))


def test_coarse_drawings_have_a_wider_and_fainter_one() -> None:
    fine, coarse = (seam_of(mouth(1), closed(mouth(1)), window(scale)) for scale in (3.0, 0.5))
    assert coarse.width == pytest.approx(COARSE / 0.5) and coarse.width * coarse.share == pytest.approx(
        fine.width * fine.share, rel=1e-3
    )


def test_the_line_lies_between_the_lips_and_ends_with_them() -> None:
    place = window()
    seam, drawn = seam_of(mouth(1), closed(mouth(1)), place), np.ones((300, 310, 8), np.float32)
    back = place.from_drawing.astype(np.float32)
    dark = np.float32(seam.share), np.float32(seam.width)
    darken(drawn, back, _reach(back, SIZE, drawn.shape), seam.ends, seam.levels, *dark)
    assert (drawn[..., 3:] == 1).all()
    rows, columns = np.nonzero(drawn[..., 0] < 0.9)
    u, v = (columns + 0.5 - 5) / 3, (rows + 0.5 - 7) / 3
    assert np.abs(v - 50 - 0.002 * (u - 48) ** 2).max() < 2 * seam.width + 0.3
    assert 20 < u.min() < 26 and 70 < u.max() < 76
    assert drawn[..., 0].min() == pytest.approx(1 - seam.share, abs=0.02)
