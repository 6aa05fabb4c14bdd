"""The upper lids."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mggdub.avatar.creases import follow_margin, keep_creases
from mggdub.avatar.eyelids import (
    COLUMNS,
    CREASE_FOLLOWS,
    CREST,
    FRINGE,
    LAYERS,
    LID_FORWARD,
    STRIP,
    blurred,
    crease_curve,
    find_crease,
    is_fold,
    lid_detail,
    lid_parts,
    lid_rows,
    lid_shape,
    ring_weights,
    upper_lid,
    veil,
)
from mggdub.avatar.lashes import lash_height, stand_before
from mggdub.face.mesh import LIDS, UPPER_LIDS, canonical_face, inside_mask
from mggdub.face.skin import skin_weights
from mggdub.geometry.camera import cm_per_px, crop_camera, project
from mggdub.geometry.sampling import sample_crop
from mggdub.types import BLENDSHAPES, CROP_SIZE, Array, Crop, Portrait

DISTANCE = 70.0
SURFACE = np.full((CROP_SIZE, CROP_SIZE), DISTANCE, np.float32)
SKIN = np.array([0.7, 0.5, 0.4])


def head(image: Array | None = None) -> Portrait:
    """The canonical face, by default of one colour."""
    camera = crop_camera(np.eye(3), np.array([0, 0, DISTANCE]))
    mesh = np.concatenate([canonical_face()[0], np.zeros((10, 3))])
    marks = np.zeros((478, 3), np.float32)
    marks[:, :2] = project(mesh, camera)
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1)) if image is None else image
    pixels = np.rint(image * 255).astype(np.uint8)
    return Portrait(pixels, Crop(0, 0, CROP_SIZE), marks, np.zeros(len(BLENDSHAPES), np.float32), camera)


def test_a_spline_goes_through_the_lids_vertices() -> None:
    at = ring_weights(np.arange(9.0), 9)
    assert at == pytest.approx(np.eye(9), abs=1e-12)
    between = ring_weights(np.linspace(0, 8, 50), 9)
    assert between.sum(1) == pytest.approx(1)
    assert (between != 0).sum(1).max() <= 4
    assert (between @ np.arange(9))[8:-8] == pytest.approx(np.linspace(0, 8, 50)[8:-8])


@pytest.mark.parametrize("middle", [0.45, 0.7, 0.95])
def test_a_crease_is_found_where_the_skin_is_darkest(middle: float) -> None:
    heights = np.linspace(0, 1.2, 61)[:, None]
    line = np.exp(-(((heights - crease_curve(middle, COLUMNS)) / 0.06) ** 2))
    lashes = np.exp(-((heights / 0.1) ** 2))
    assert find_crease(0.6 - 0.15 * line - 0.4 * lashes)[COLUMNS // 2] == pytest.approx(middle, abs=0.04)


def test_smooth_skin_has_its_crease_where_most_have() -> None:
    assert find_crease(np.full((61, COLUMNS), 0.5)) == pytest.approx(crease_curve(0.75, COLUMNS))


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_the_photos_strip_travels_with_the_margin_and_skin_unrolls_behind(side: str) -> None:
    lid = upper_lid(head(), SURFACE, side)[0]
    lashes, _ = UPPER_LIDS[side]
    down = np.zeros((478, 3))
    down[list(lashes), 1] = 1
    carried = (lid.skin @ down)[:, 1].reshape(-1, COLUMNS)
    shown = FRINGE + STRIP
    assert carried[:shown] == pytest.approx(1, abs=1e-5)
    assert (np.diff(carried[shown:], axis=0) < 0).all()
    assert carried[-1] == pytest.approx(0, abs=1e-5)
    assert np.asarray(lid.skin.sum(1)) == pytest.approx(1, abs=1e-5)
    assert np.diff(lid.skin.indptr).max() <= 8 and abs(lid.skin).sum(1).max() < 2
    y = lid.means[:, 1].reshape(-1, COLUMNS)[:, COLUMNS // 2]
    assert (np.diff(y) < 0).all()  # from the lashes up, also in the photo's own state
    assert np.ptp(y[shown:-CREST]) < 0.2 * np.ptp(y[:shown])  # hidden skin lies in the crease


def test_a_point_of_the_strip_shows_the_place_of_the_photo_that_it_lies_on() -> None:
    rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    image = np.stack([rows, columns, rows * 0 + 128], -1) / CROP_SIZE
    rings = [head().landmarks[list(ring), :2] for ring in UPPER_LIDS["Left"]]
    image[inside_mask(np.concatenate([rings[0], rings[1][::-1]]), image.shape[:2])] *= 0.7  # no light in the eye
    photo = head(image)
    lid = upper_lid(photo, SURFACE, "Left")[0]
    strip = slice((FRINGE + 4) * COLUMNS, (FRINGE + 6) * COLUMNS)  # between the lash line and what becomes skin
    at = project(lid.means[strip] + [0, 0, LID_FORWARD], photo.camera)
    apart = (lid.colors[strip, :2] - 0.7 * at[:, ::-1] / CROP_SIZE).reshape(2, COLUMNS, 2)
    assert apart[:, 6:-6] == pytest.approx(0, abs=0.015)  # at the corners the strip is narrow


def detail_of(photo: Portrait) -> tuple[Array, Array, Array]:
    """Places and whether there is any of `lid_detail`, and the places of the lid's own points."""
    lid = lid_shape(photo, "Right")
    rows = lid_rows(lid, np.full(COLUMNS, 12.0), cm_per_px(photo.camera))
    return *lid_detail(photo, lid, "Right", rows), lid.lashes + rows.places[..., None] * lid.up


def test_lights_in_the_eye_stay_off_a_closed_lid() -> None:
    photo, middle, strip = head(), COLUMNS // 2, slice(FRINGE, FRINGE + 8)
    places, has, own = detail_of(photo)
    assert has[strip].all() and not has[:FRINGE].any() and places[strip] == pytest.approx(own[strip])
    x, y = lid_shape(photo, "Right").lashes[middle].astype(int)
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    image[y + 1 : y + 3, x - 1 : x + 1] = 1
    places, _, own = detail_of(head(image))
    assert places[strip, 2] == pytest.approx(own[strip, 2])
    assert (places[strip, middle, 1] > y + 8).all()  # skin below the eye


def test_a_lid_has_no_detail_of_glasses_below_the_eye() -> None:
    _, bare, _ = detail_of(head())
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    rim = int(head().landmarks[230, 1])
    image[rim : rim + 3] = 0.05
    places, has, _ = detail_of(head(image))
    near = np.abs(places[..., 1] - rim - 1) < 2
    assert bare[FRINGE:].all() and near[FRINGE + STRIP :].any() and not has[near].any()


def test_what_is_upright_below_the_eye_is_no_streak_on_the_lid() -> None:
    image = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    under = head().landmarks[230, :2].astype(int)  # below the middle
    image[under[1] - 15 : under[1] + 30, under[0] : under[0] + 2] *= 0.7
    rows = upper_lid(head(image), SURFACE, "Right")[0].colors.reshape(-1, COLUMNS, 3)
    skin = rows[FRINGE + STRIP + 4 : -CREST, 12:-12].mean(-1)
    assert np.abs(np.diff(skin, axis=1)).max() < 0.012


def middle_of(image: Array) -> Array:
    """[R, 3]: the colours of a lid's middle, from the lashes up."""
    return upper_lid(head(image), SURFACE, "Right")[0].colors.reshape(-1, COLUMNS, 3)[:, COLUMNS // 2]


def test_hidden_skin_has_the_light_of_the_skin_around_the_eye() -> None:
    even = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    skin = middle_of(even)[FRINGE + STRIP :]
    assert (skin > 0.85 * SKIN).all() and (skin < 1.1 * SKIN).all()
    eye = int(head().landmarks[159, 1])
    shaded = even.copy()
    shaded[:eye] *= 0.6  # all that is above the eye
    darker = middle_of(shaded)[FRINGE + STRIP :].mean(1) / skin.mean(1)
    assert darker[2] == pytest.approx(0.6**0.55, abs=0.05)
    assert darker[-1] == pytest.approx(0.6, abs=0.02)  # where it ends it is the photo's own
    assert np.abs(np.diff(darker)).max() < 0.03  # no edge


def test_the_lash_line_is_dark_even_where_the_photo_shows_white_at_the_margin() -> None:
    marks, image = head().landmarks, np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    upper = marks[list(UPPER_LIDS["Right"][0]), :2]
    (left, _), (right, _) = np.sort(upper[[0, -1]], 0)
    for x in range(int(left) - 2, int(right) + 3):
        margin = np.interp(x, upper[:, 0], upper[:, 1])
        image[int(margin) - 1 : int(margin) + 20, x] = 0.9  # the eye's white reaches into the lid
        image[int(margin) - 3 : int(margin) - 1, x] = 0.1  # lashes
    lashes = middle_of(image)[: FRINGE + 2]
    assert lashes.max() < 0.65 * SKIN.min()
    even = middle_of(np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1)))[0] / SKIN  # no lashes
    assert even[0] > even[1] > even[2] and even.mean() == pytest.approx(0.73, abs=0.03)


def test_an_eyes_white_above_its_margin_leaves_no_pale_streak() -> None:
    marks, image = head().landmarks, np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    lashes, fold = (marks[list(ring), :2] for ring in UPPER_LIDS["Right"])
    image[inside_mask(np.concatenate([lashes, (lashes + 0.3 * (fold - lashes))[::-1]]), image.shape[:2])] = 0.95
    assert middle_of(image).max() < 0.85


def test_lashes_thin_out_and_the_upper_edge_is_soft() -> None:
    solid = lid_rows(lid_shape(head(), "Left"), np.full(COLUMNS, 12.0), cm_per_px(head().camera)).solid
    assert (solid[0] == 0).all() and solid[-1] == pytest.approx(0)
    assert (solid[FRINGE:-CREST] == 1).all() and (np.diff(solid[:FRINGE], axis=0) >= 0).all()
    assert (np.diff(solid[-CREST:, 8:-8], axis=0) <= 1e-9).all()
    assert solid[-CREST, COLUMNS // 2] == pytest.approx(0.85)  # little of a crease shows


def photo_with(darkness: float) -> Array:
    """Skin with a dark band over all that lies just above the folds of both eyes."""
    marks, image = head().landmarks, np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    lashes, fold = (marks[list(ring), 1] for ring in UPPER_LIDS["Right"])
    top, high = fold.min(), (lashes - fold).max()
    image[int(top - 0.9 * high) : int(top - 0.1 * high)] *= darkness
    return image


def test_a_closed_lid_covers_the_fold_but_no_brow_and_no_glasses() -> None:
    even, fold, brow = (upper_lid(head(photo_with(dark)), SURFACE, "Right")[0] for dark in (1, 0.8, 0.2))
    middle = [lid.opacity.reshape(-1, COLUMNS)[-CREST:, COLUMNS // 2] for lid in (even, fold, brow)]
    assert middle[1] == pytest.approx(middle[0], abs=0.02)
    assert ((middle[0] > 0.02) & (middle[2] == 0)).sum() >= 3
    assert middle[2][0] == pytest.approx(middle[0][0], abs=0.02)  # below the band


def test_a_fold_is_shaded_skin() -> None:
    skin = np.full((1, 4, 3), 0.5)
    shown = skin * np.exp([[0.0], [-0.3], [-0.6], [-1.0]])
    sure = is_fold(shown, skin)[0]
    assert sure[0] == sure[1] == 1 and 0 < sure[2] < 1 and sure[3] == 0


def test_lashes_before_a_fold_are_told_from_folds_and_brows() -> None:
    shown = np.tile(SKIN, (20, COLUMNS, 1))
    shown[8:10] *= 0.7  # a fold
    shown[15:, 20:] *= 0.3  # a brow
    assert not stand_before(shown).any()
    shown[:8, 30:33] *= 0.5
    lashes = stand_before(shown)
    assert lashes[:8, 30:33].all() and not lashes[8:].any() and not lashes[:, :28].any()


def test_tips_of_lashes_stand_out_from_the_skin_below() -> None:
    lid = upper_lid(head(), SURFACE, "Left")[0]
    z, opacity = (lid_value.reshape(-1, COLUMNS)[:, COLUMNS // 2] for lid_value in (lid.means[:, 2], lid.opacity))
    assert (np.diff(z[: FRINGE + 1]) > 0).all() and z[FRINGE] - z[0] > 0.3
    assert (np.diff(opacity[:FRINGE]) >= 0).all() and 0 < opacity[FRINGE // 2] < opacity[FRINGE - 1]


def test_lashes_are_shorter_where_the_eye_ends_whatever_the_crease() -> None:
    height = lash_height(np.full(COLUMNS, 20.0))
    longest = int(height.argmax())
    assert height.max() == pytest.approx(20, abs=0.1) and longest < COLUMNS // 3  # in the outer third
    assert (np.diff(height[: longest + 1]) >= 0).all() and (np.diff(height[longest:]) <= 0).all()
    assert height[[0, -1]].max() < 3


def test_a_closed_lid_has_no_lashes_at_the_corners_themselves() -> None:
    solid = upper_lid(head(photo_with(1)), SURFACE, "Left")[0].opacity.reshape(-1, COLUMNS)[:-CREST]
    assert (
        solid[:, 0].max() == 0
        and solid[:FRINGE, -1].max() == 0
        and (solid[FRINGE:, COLUMNS // 4 :] == solid[FRINGE:].max()).all()
    )


def test_eyes_that_are_half_shut_keep_their_fold() -> None:
    def covers(opening: float) -> float:
        photo = head()
        lashes = list(UPPER_LIDS["Left"][0])
        lower = [low for _, low in LIDS[0]]
        marks = photo.landmarks.copy()
        marks[lashes[1:-1], 1] = marks[lower[::-1], 1] - opening / cm_per_px(photo.camera)
        solid = upper_lid(replace(photo, landmarks=marks), SURFACE, "Left")[0].opacity.reshape(-1, COLUMNS)
        return float(solid[-CREST:, COLUMNS // 2].max())

    assert covers(0.3) == 0 < covers(0.7) < covers(1.0)


def test_what_covers_the_fold_is_apart_from_the_lid() -> None:
    lashes, below, above = FRINGE * COLUMNS, 300, CREST * COLUMNS
    ends = [100, 100 + lashes + below + above, 100 + 2 * (lashes + below + above)]
    lids = slice(*ends[:2]), slice(*ends[1:])
    parts = [np.arange(5000 * 4)[part] for part in lid_parts(lids)]
    assert [len(part) for part in parts] == [below, below, above, above, lashes, lashes]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(lids[0].start, lids[1].stop))
    short = [np.arange(5000)[part] for part in lid_parts((slice(0, 30), slice(30, 60)))]
    assert [len(part) for part in short] == [0, 0, 30, 30, 0, 0]


def test_veils_over_each_other_cover_what_was_asked() -> None:
    wanted = np.array([0, 0.3, 0.8, 1.0])
    assert 1 - (1 - veil(wanted)) ** LAYERS == pytest.approx(wanted)


def test_corners_of_the_eye_are_not_darkened() -> None:
    colors = upper_lid(head(), SURFACE, "Left")[0].colors.reshape(-1, COLUMNS, 3)[FRINGE:]
    assert (colors[:, [0, -1]] > 0.7 * SKIN).all()
    assert (colors[0, [0, -1]] > colors[0, COLUMNS // 2] + 0.1).all()  # nor is their lash line


def test_a_closed_lid_has_the_open_ones_tint() -> None:
    photo = head()
    rings = [photo.landmarks[list(ring), :2] for ring in UPPER_LIDS["Right"]]
    painted = np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1))
    painted[inside_mask(np.concatenate([rings[0], rings[1][::-1]]), painted.shape[:2])] *= [1, 0.6, 0.8]
    tint = middle_of(painted)[FRINGE + STRIP :] / middle_of(np.tile(SKIN, (CROP_SIZE, CROP_SIZE, 1)))[FRINGE + STRIP :]
    low, high = tint[2], tint[-1]
    assert low[0] == pytest.approx(1, abs=0.02) and 0.7 < low[1] < 0.9 and 0.85 < low[2] < 0.95
    assert high == pytest.approx(1, abs=0.03)


def test_creases_stay_and_margins_go() -> None:
    photo = head()
    _, triangles = canonical_face()
    lashes, fold = (list(ring) for ring in UPPER_LIDS["Left"])
    margin, above = photo.landmarks[lashes[4], :2], photo.landmarks[fold[4], :2]
    points = margin + np.linspace(0.01, 0.99, 30)[:, None] * (above - margin)
    before = skin_weights(points, photo.landmarks, triangles, cm_per_px(photo.camera))
    after = keep_creases(before, photo)
    assert np.asarray(after.sum(1)) == pytest.approx(np.asarray(before.sum(1)), abs=1e-5)
    share = np.asarray(after[:, lashes].sum(1)).ravel()
    assert share[0] > 0.9 and (np.diff(share) < 1e-6).all()
    assert share[23:].max() < 0.2  # three quarters up, where a crease lies if none is seen
    nose = skin_weights(photo.landmarks[[1], :2], photo.landmarks, triangles, 0.07)
    assert (keep_creases(nose, photo) != nose).nnz == 0


def test_what_follows_the_margin_is_steady_at_the_crease() -> None:
    share = np.array([0.0, 0.25 - 1e-9, 0.25 + 1e-9, 0.7 + 1e-9, 0.8, 1.0])
    expected = [0, CREASE_FOLLOWS, CREASE_FOLLOWS, 1, 1, 1]
    assert follow_margin(share, np.full(6, 0.25), np.full(6, 0.4)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sigma", [2, 3, 4.0])
def test_a_blur_near_some_places_is_the_whole_images_there(sigma: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((CROP_SIZE, CROP_SIZE, 3)).astype(np.float32)
    whole = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    for low, high in ((200, 260), (-4, 30), (490, 516), (530, 560), (-3, 515)):  # amid, at edges, beyond, everywhere
        places = rng.uniform(low, high, (7, 9, 2))
        places[0, 0], places[0, 1] = low, high
        np.testing.assert_array_equal(sample_crop(blurred(image, sigma, places), places), sample_crop(whole, places))
