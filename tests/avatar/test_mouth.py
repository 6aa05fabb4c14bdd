"""The mouth's inside."""

from dataclasses import replace

import numpy as np
import pytest

from mggdub.avatar import teeth
from mggdub.avatar.lips import USUAL_WIDTH, chord_rows, chords, closed_middle, lips_of
from mggdub.avatar.mouth import build_mouth, drawn_share, layer_grid, opening, paint_mouth, photo_mouth_share
from mggdub.avatar.values import MouthLayer
from mggdub.face.mesh import INNER_LIPS, LOWER_LIP, UPPER_LIP, canonical_face, inside
from mggdub.geometry.camera import crop_camera, project
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

OPENING = 0.9  # cm
LONG = np.array([0.8, teeth.LOWER.level], np.float32)  # levels of upper teeth that fill a mouth, and of lower ones


def lips(opening: float) -> Array:
    """The canonical face with its mouth open."""
    mesh = np.concatenate([canonical_face()[0], np.zeros((10, 3))]).astype(np.float32)
    upper, lower = list(UPPER_LIP[1:-1]), list(LOWER_LIP[1:-1])
    middle = (mesh[upper] + mesh[lower]) / 2
    arch = np.sin(np.arange(1, 10) / 10 * np.pi)[:, None] * np.array([0, opening, 0])
    mesh[upper], mesh[lower] = middle - 0.2 * arch, middle + 0.8 * arch
    mesh[[152, 175, 199, 200], 1] += 0.8 * opening
    return mesh


def head(mesh: Array, skin: Array) -> Portrait:
    """A face of one colour whose mouth shows a pattern."""
    camera = crop_camera(np.eye(3), np.array([0, 0, 70.0]))
    marks = np.zeros((478, 3), np.float32)
    marks[:, :2] = project(mesh, camera)
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    pattern = 0.5 + 0.2 * np.sin(columns / 6) * np.cos(rows / 9)
    image = np.repeat(pattern[..., None], 3, 2)
    image[np.abs(columns - 256) > 70] = skin
    return Portrait(
        np.rint(image * 255).astype(np.uint8),
        Crop(0, 0, CROP_SIZE),
        marks,
        np.zeros(len(BLENDSHAPES), np.float32),
        camera,
    )


def shut(skin: float = 0.7) -> MouthLayer:
    """The mouth of a photo with closed lips."""
    closed = lips(0)
    return build_mouth(head(closed, np.full(3, skin)), closed, closed, closed[:, 2])


def levels(seen: Portrait, mesh: Array) -> Array:
    """What a photo of an open mouth says of where teeth end."""
    return build_mouth(seen, mesh, lips(0), mesh[:, 2]).levels


def painted(layer: MouthLayer, displacement: Array) -> tuple[Array, Array]:
    """Colours [N, 3] and radii [N] cm of a layer's points."""
    return paint_mouth(layer, displacement)


def drawn(layer: MouthLayer, mesh: Array) -> tuple[Array, Array]:
    """Places [N, 2] cm from the closed lips' middle and luma [N] of a layer's points on a mesh."""
    along, down, beyond = layer_grid()
    at = (chords(along, down, mesh) + beyond - closed_middle(layer.rest))[..., :2].reshape(-1, 2)
    return at, painted(layer, mesh - layer.mesh)[0].mean(1)


def test_chords_run_from_lip_to_lip() -> None:
    mesh, along = lips(OPENING), np.linspace(0, 1, 11)
    ends = chords(along, np.array([0, 1]), mesh)
    np.testing.assert_allclose(ends[0], mesh[list(UPPER_LIP)], atol=1e-5)
    np.testing.assert_allclose(ends[1], mesh[list(LOWER_LIP)], atol=1e-5)
    half = chord_rows(along, np.full(11, 0.3)) @ mesh
    np.testing.assert_allclose(half, chords(along, np.array([0.3]), mesh)[0], atol=1e-5)


def test_a_mouth_that_hardly_opens_is_in_the_upper_lips_shadow() -> None:
    """Down its middle it gets lighter; a wide one is as light a millimetre below the lip as farther down."""
    tone = np.full(3, 0.8, np.float32)

    def luma(opening: float, down: float) -> float:
        at, between = np.array([[0.3, down]], np.float32), np.array([[0, opening]], np.float32)
        return float(teeth.draw_inside(at, between, opening, opening, LONG, tone).mean())  # long teeth: they fill it

    narrow, wide = ([luma(opening, down) for down in (0.1, 0.25)] for opening in (0.35, 1.2))
    assert narrow[0] < 0.8 * narrow[1]
    assert wide[0] > 0.85 * wide[1]
    assert narrow[0] < 0.5 * wide[0]


def test_the_line_between_closed_lips_is_seen_until_they_part() -> None:
    """However far they go together; an open mouth's inside is forgotten wherever its lips go."""
    aside, apart = np.full((478, 3), 0.5), lips(0.4) - lips(0)
    assert photo_mouth_share(lips(0), aside) == 1
    assert photo_mouth_share(lips(0), apart) < 0.01
    assert photo_mouth_share(lips(0), -apart) == 1
    assert photo_mouth_share(lips(OPENING), 2 * aside) < 0.01


def test_an_open_mouths_own_pixels_are_seen_for_half_a_centimetre_unless_it_closes() -> None:
    """So that no teeth are left on lips that meet; what is drawn behind them forgets them sooner."""
    mesh = lips(OPENING)
    layer = build_mouth(head(mesh, np.full(3, 0.6)), mesh, lips(0), mesh[:, 2])
    shares = [photo_mouth_share(mesh, lips(opened) - mesh) for opened in (0.9, 1.1, 2.6, 0.7, 0.45, 0.3, 0.13, 0)]
    assert shares[0] == 1
    assert shares[1] > 0.95 and shares[3] > 0.95
    assert shares[2] < 0.2
    assert np.all(np.diff(shares[3:]) <= 0)
    assert shares[-2:] == [0, 0]
    assert drawn_share(layer, lips(1.6) - mesh) < 0.5 < photo_mouth_share(mesh, lips(1.6) - mesh)
    assert drawn_share(shut(), np.zeros_like(mesh)) == 0


def test_upper_teeth_stay_on_the_skull_while_lips_move() -> None:
    layer, ends, gaps = shut(), [], []
    for opened in np.linspace(0.9, 1.6, 8):
        at, luma = drawn(layer, lips(float(opened)))
        tooth = (np.abs(at[:, 0] - 0.42) < 0.1) & (at[:, 1] > 0) & (at[:, 1] < 0.6)  # a first one, and dark below
        order = np.argsort(at[tooth, 1])
        falls = -np.diff(luma[tooth][order])
        ends.append(float(at[tooth, 1][order][falls.argmax()]))
        row = (np.abs(at[:, 0]) < 0.3) & (np.abs(at[:, 1] - 0.1) < 0.05)
        gaps.append(float(at[row, 0][luma[row].argmin()]))
    assert np.ptp(ends) < 0.09  # cm; points of an open mouth lie 0.05 apart
    assert np.mean(ends) == pytest.approx(teeth.UPPER.level * layer.size, abs=0.06)
    assert np.abs(gaps).max() < 0.06  # between the first two


def test_lower_teeth_move_with_the_lower_lip() -> None:
    layer, above = shut(), []
    for opened in (1.3, 1.6, 1.9):
        mesh = lips(opened)
        at, luma = drawn(layer, mesh)
        low = lips_of(mesh, layer.rest)[1, 4:7, 1].mean()
        tooth = (np.abs(at[:, 0] - 0.26) < 0.1) & (at[:, 1] > low - 0.4) & (at[:, 1] < low - 0.05)
        order = np.argsort(at[tooth, 1])
        rises = np.diff(luma[tooth][order])
        above.append(float(low - at[tooth, 1][order][rises.argmax()]))
    assert np.ptp(above) < 0.12
    assert np.mean(above) == pytest.approx(-teeth.LOWER.level * layer.size, abs=0.1)


def test_a_mouth_changes_without_a_leap() -> None:
    layer = shut()
    looks = np.array([painted(layer, lips(x) - layer.mesh)[0] for x in np.linspace(0, 1.5, 151)])
    assert np.abs(np.diff(looks, axis=0)).mean((1, 2)).max() < 0.02
    assert np.ptp(looks.mean((1, 2))) > 0.05


def test_open_and_wide_mouths_let_more_light_in() -> None:
    own = lips_of(lips(0.8), lips(0))
    wide = own * [1.2, 1]
    assert opening(lips_of(lips(0.4), lips(0))) < opening(own) < opening(wide)
    assert opening(own * [USUAL_WIDTH / np.ptp(own[..., 0]), 1]) == pytest.approx(0.8, abs=0.1)
    layer = shut()
    fronts = []
    for opened in (0.3, 0.7, 1.2):
        at, luma = drawn(layer, lips(opened))
        fronts.append(luma[(np.abs(at[:, 0] - 0.42) < 0.2) & (np.abs(at[:, 1] - 0.1) < 0.08)].mean())
    assert fronts[0] < 0.8 * fronts[1] < 0.8 * fronts[2]


def test_teeth_are_lighter_and_less_coloured_than_skin_and_darker_beside_dark_skin() -> None:
    pale, dark = np.array([0.85, 0.68, 0.58]), np.array([0.35, 0.22, 0.17])
    for skin in (pale, dark):
        tone = teeth.tooth_tone(skin)
        assert tone.mean() > skin.mean()
        assert tone[0] / tone[2] < skin[0] / skin[2]
    assert teeth.tooth_tone(dark).mean() < 0.7 * teeth.tooth_tone(pale).mean()


def test_teeth_in_bright_light_keep_their_shading() -> None:
    colors = np.array([teeth.on_film(np.float32(color)) for color in (0.2, 0.6, 0.9, 1.2, 1.6)])
    np.testing.assert_allclose(colors[:2], [0.2, 0.6])
    assert (np.diff(colors) > 0.005).all() and colors.max() < 0.94


def test_an_open_photo_keeps_its_own_mouth() -> None:
    mesh = lips(OPENING)
    portrait = head(mesh, np.full(3, 0.7))
    layer = build_mouth(portrait, mesh, lips(0), mesh[:, 2])
    colors, _ = painted(layer, np.zeros_like(mesh))
    at = project(layer.means, portrait.camera)
    seen = inside(at, portrait.landmarks[list(INNER_LIPS), :2])
    at = at.astype(int)
    truth = portrait.image[at[:, 1], at[:, 0]] / 255
    assert seen.mean() > 0.4
    error = np.abs(colors - truth)[seen]
    assert np.median(error) < 0.02 and error.mean() < 0.05
    elsewhere, _ = painted(layer, lips(0.3) - mesh)
    assert np.abs(elsewhere[seen] - truth[seen]).mean() > 0.03  # the photo's own is not smeared over other openings


def test_a_closed_photo_gets_teeth_of_plausible_light() -> None:
    closed = lips(0)
    for level in (0.3, 0.8):
        skin = np.array([1.0, 0.75, 0.62]) * level
        layer = build_mouth(head(closed, skin), closed, closed, closed[:, 2])
        assert not layer.own_share.any()
        colors, _ = painted(layer, lips(OPENING) - closed)
        light = colors.mean(1)
        assert np.percentile(light, 95) > 0.4 * skin.mean()  # something lit
        assert np.percentile(light, 5) < 0.6 * np.percentile(light, 95)  # something dark
        assert colors.min() >= 0 and colors.max() <= 1


def test_points_lie_behind_the_lips_and_cover_the_opening() -> None:
    closed = lips(0)
    deep = closed[:, 2].copy()
    deep[318] += 0.8  # the lower lip on one side
    layer = build_mouth(head(closed, np.full(3, 0.6)), closed, closed, deep)
    beside = np.abs(layer.means[:, 0] - closed[318, 0]) < 0.5
    assert layer.means[beside, 2].min() > closed[318, 2] + 0.8
    flat = build_mouth(head(closed, np.full(3, 0.6)), closed, closed, closed[:, 2])
    assert layer.means[:, 2] - flat.means[:, 2] == pytest.approx(0.8, abs=0.15)
    small = painted(layer, lips(0.2) - closed)[1]
    large = painted(layer, lips(2.5) - closed)[1]
    assert large.max() > small.max()
    moved = layer.means + layer.skin @ (lips(2.5) - closed)
    near = np.abs(moved[:, 0]) < 0.1
    heights = np.sort(moved[near, 1])
    assert np.diff(heights).max() < 2.5 * large.max()  # no cracks between rows
    assert np.ptp(heights) > 2.5


def test_teeth_that_the_photo_shows_say_what_tone_they_have() -> None:
    """And not a tongue, which is as red as lips, nor what is dark."""
    mesh, skin = lips(OPENING), np.array([0.8, 0.6, 0.5])
    closed = lips(0)
    usual = build_mouth(head(closed, skin), closed, closed, closed[:, 2]).tone
    seen = head(mesh, skin)
    yellow = np.rint(np.array([0.95, 0.9, 0.6]) * 255).astype(np.uint8)
    seen.image[:, 186:326] = yellow
    tone = build_mouth(seen, mesh, lips(0), mesh[:, 2]).tone
    assert tone[2] / tone[0] < 0.7 < usual[2] / usual[0]
    for other in (20, np.array([200, 120, 110], np.uint8)):
        seen.image[:, 186:326] = other
        assert build_mouth(seen, mesh, lips(0), mesh[:, 2]).tone == pytest.approx(usual, abs=1e-3)
    seen.image[:, 186:246], seen.image[:, 246:326] = yellow, 60  # a row of teeth before the dark
    assert build_mouth(seen, mesh, lips(0), mesh[:, 2]).tone == pytest.approx(tone, abs=0.02)


def test_upper_teeth_end_where_the_photo_shows_it() -> None:
    """A bright row above the dark; where it goes down to the lip, it ends there or below, and usually elsewhere."""
    mesh, skin = lips(1.6), np.array([0.8, 0.6, 0.5])
    seen, (upper, lower) = head(mesh, skin), (mesh[k] for k in (13, 14))
    middle = closed_middle(lips(0))
    size = build_mouth(seen, mesh, lips(0), mesh[:, 2]).size
    for end in (0.1, 0.45):
        low = project(np.array([0, middle[1] + end, upper[2]]), seen.camera)[1]
        seen.image[: int(low), 186:326], seen.image[int(low) :, 186:326] = 235, 40
        assert levels(seen, mesh)[0] == pytest.approx(end / size, abs=0.06)
    seen.image[:, 186:326] = 235
    assert levels(seen, mesh)[0] == pytest.approx(0.8)
    assert lower[1] - middle[1] > 0.8
    seen.image[:, 186:326] = (140, 90, 80)  # which may be teeth in red light
    assert levels(seen, mesh)[0] == shut().levels[0] == pytest.approx(teeth.UPPER.level)


def test_upper_teeth_do_not_reach_where_the_photo_is_dark() -> None:
    """Not if its colour hides them either; a shadow that is narrower than a tooth is no darkness."""
    mesh = lips(1.6)
    seen, middle = head(mesh, np.array([0.8, 0.6, 0.5])), closed_middle(lips(0))
    size = build_mouth(seen, mesh, lips(0), mesh[:, 2]).size

    def row(down: float) -> int:
        return int(project(np.array([0, middle[1] + down, mesh[13, 2]]), seen.camera)[1])

    seen.image[:, 186:326] = 40
    assert levels(seen, mesh)[0] == pytest.approx(-0.2 * 1.6 / size, abs=0.1)  # lips are arched
    seen.image[: row(-0.05), 186:326] = (140, 90, 80)  # teeth as red as lips
    assert levels(seen, mesh)[0] == pytest.approx(-0.05 / size, abs=0.06)
    seen.image[:, 186:326] = (140, 90, 80)
    seen.image[row(-0.3) : row(-0.15), 186:326] = 40
    assert levels(seen, mesh)[0] == pytest.approx(teeth.UPPER.level)


def test_lower_teeth_end_where_the_photo_shows_it() -> None:
    """Beyond the dark below upper ones; where no darkness parts them from those, they are as high as usual."""
    mesh = lips(1.6)
    seen, middle = head(mesh, np.array([0.8, 0.6, 0.5])), closed_middle(lips(0))
    size = build_mouth(seen, mesh, lips(0), mesh[:, 2]).size
    for high in (0.35, 0.55):
        end = project(np.array([0, mesh[14, 1] - high, mesh[14, 2]]), seen.camera)[1]
        seen.image[: int(end), 186:326], seen.image[int(end) :, 186:326] = 40, 235
        assert levels(seen, mesh)[1] == pytest.approx(-high / size, abs=0.1)
    low = project(np.array([0, middle[1] + 0.1, mesh[13, 2]]), seen.camera)[1]
    seen.image[: int(low), 186:326] = 235
    assert levels(seen, mesh) == pytest.approx([0.1 / size, -0.55 / size], abs=0.1)
    seen.image[:, 186:326] = 235
    assert levels(seen, mesh)[1] == pytest.approx(teeth.LOWER.level)


def test_rows_that_meet_end_at_the_line_between_them() -> None:
    mesh = lips(1.6)
    seen, middle = head(mesh, np.array([0.8, 0.6, 0.5])), closed_middle(lips(0))
    size = build_mouth(seen, mesh, lips(0), mesh[:, 2]).size
    seen.image[:, 186:326] = 235
    first, last = (int(project(np.array([0, middle[1] + y, mesh[13, 2]]), seen.camera)[1]) for y in (0.6, 0.7))
    seen.image[first:last, 186:326], seen.image[:, 186:212] = 185, 40  # a line as pale as teeth, a dark corner
    upper, lower = levels(seen, mesh)
    assert upper == pytest.approx(0.65 / size, abs=0.08)
    low = lips_of(mesh, lips(0))[1, 4:7, 1].mean() / size
    assert lower == pytest.approx(upper - low, abs=0.02)


def test_teeth_are_drawn_as_far_as_their_levels() -> None:
    mesh = lips(1.6)
    layer = build_mouth(head(mesh, np.full(3, 0.6)), mesh, lips(0), mesh[:, 2])
    low = lips_of(mesh, layer.rest)[1, 4:7, 1].mean() / layer.size
    for upper, lower in ((0.1, -0.2), (0.5, -0.5)):
        given = replace(layer, levels=np.array([upper, lower], np.float32), own_share=0 * layer.own_share)
        at, luma = drawn(given, mesh)
        for aside, end, down in ((0.4, upper, 1), (0.25, low + lower, -1)):
            tooth = np.abs(at[:, 0] / layer.size - aside) < 0.15
            beyond = (at[:, 1] / layer.size - end) * down
            within, outside = (tooth & (beyond > a) & (beyond < b) for a, b in ((-0.16, -0.06), (0.06, 0.16)))
            assert luma[within].mean() > 1.15 * luma[outside].mean()
