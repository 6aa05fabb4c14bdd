"""Body and background without the head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.avatar.box import RenderView
from mggdub.avatar.visible import OVERLAP, variation
from mggdub.face.mesh import CHIN_TIP, JAW_CORNERS, NOSE_TIP
from mggdub.geometry.camera import cm_per_px
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.sampling import push_pull, smoothstep
from mggdub.types import Array, Portrait

BAND = 0.15  # cm round the head that is filled, too
NECK_TURNS = 3.5  # cm that the neck's sides below the chin go along with a turned head
BELOW_CHIN, THROAT_REACH = 1.0, 5.0  # cm below and beside the chin where the neck is the neck
COLLAR_END = 0.5  # cm that a collar goes on upwards
LIKE_SKIN, LEAST_BARE = 2.5, 0.5  # spreads of the face's colours; cm, width of the least that counts as a throat
COLLAR = 1.2  # cm from clothes within which what a head covers of a body is clothes, too
THROAT_BLUR = 0.015  # of the height, so that nothing on the neck is seen twice
FAINT, RIM = 0.2, 0.025  # alpha, and of the height, below and within which what lies around a head is its soft edge
BESIDE_FACE = 1.0  # cm beside the face, within which no background is seen below a collar; farther out hair hangs
DOUBTED, UNLIKE_BACKGROUND, DOUBT_REACH = 0.1, 0.15, 4.5  # of the matte; of colours; cm from what is sure
EDGE_WIDTH, EDGE_SIGMAS = 1.2, 4.0  # cm of an edge that a matte may lack; times what the background varies by
SHOULDER_END = 1.0  # cm beside a head that tell how high a shoulder is there
SHOULDER_COVER = 0.5  # cm of a body above what is inside it, too
SHOULDER_EDGE = 4  # px from a body to the background above it
SHAPE = (0.01, 0.03)  # of opaque pixels without a person: cut out (0.0004 at most), cut round (0.05 and more)


def plate_alpha(alpha: Array, hole: Array, person: Array, neck: Array) -> Array:
    """[H, W] float32 0..1: how opaque `make_plate`'s picture is, whose arguments these are.

    A photo that was cut round, or has round corners, shows opaque pixels without a person: there the plate ends where
    the photo does. Where the person was cut out, behind the head goes on what lies beside it. A rim around the person
    is neither: soft edges and strands that the matte lacks, which would stay behind as the head's outline.
    """
    opaque = alpha > 0.5
    within = ndimage.binary_dilation(person >= 0.05, iterations=max(2, round(RIM * len(alpha))))
    free = ~within
    faint = np.where(alpha < FAINT, 0, alpha)
    shape = np.clip(((opaque & free).sum() / max(1, opaque.sum()) - SHAPE[0]) / (SHAPE[1] - SHAPE[0]), 0, 1)
    background = push_pull(faint[..., None], free.astype(np.float32))[..., 0]
    body = push_pull(alpha[..., None], (~hole & (person > 0.95)).astype(np.float32))[..., 0]
    fill = background + (body - background) * neck
    behind = np.clip(fill + (alpha - fill) * shape, 0, 1)
    return np.where(hole & within, behind, np.where(hole, faint, alpha)).astype(np.float32)


def veiled_opacity(opacity: Array, alpha: Array) -> Array:
    """[N] float32: opacities of splats, so that they and their neighbours cover no more than alpha [N] 0..1."""
    return np.minimum(opacity, 1 - (1 - np.clip(alpha, 0, 1)) ** OVERLAP).astype(np.float32)


def make_plate(
    image: Array,
    hole: Array,
    person: Array,
    neck: Array,
    throat: Array,
    background: Array | None = None,
    column: Array | None = None,
) -> Array:
    """The picture with `hole` filled.

    image [H, W, 3] float32 0..1; hole [H, W] bool, what the head covers and may uncover; person [H, W] float32,
    the matte of the whole person; neck [H, W] float32 0..1, where the fill should show body, not background; throat
    [H, W] bool of `bare_throat`, whose colours that body has; background [H, W, 3], if it is known, what lies behind
    the person, else what lies beside is spread; column [H, W] 0..1, if it is known, the neck, beside which there is
    no skin of the throat. Returns [H, W, 3] float32, equal to the image outside the hole.
    """
    outside = ~hole
    if background is None:
        background = push_pull(image, (outside & (person < 0.05)).astype(np.float32))
    body = _body(image, outside & (person > 0.95), throat, 1.0 if column is None else column)
    fill = background + (body - background) * neck[..., None]
    return image + (fill - image) * soft_hole(hole)[..., None]


def soft_hole(hole: Array) -> Array:
    """[H, W] float32 0..1: how much of the fill a hole [H, W] bool shows, from its edge inwards."""
    return np.clip(distance_inside(hole) / 3.0, 0.0, 1.0).astype(np.float32)


def _body(image: Array, known: Array, throat: Array, column: Array | float) -> Array:
    """[H, W, 3]: what lies behind a head in front of its body, of what is `known` of it or skin of the throat."""
    body = push_pull(image, known.astype(np.float32))
    if not throat.any():
        return body
    blur = THROAT_BLUR * len(image)
    skin = ndimage.gaussian_filter(push_pull(image, throat.astype(np.float32)), (blur, blur, 0))
    if not known.any():
        return skin
    far, near = (distance_inside(~mask) for mask in (known, throat))
    nearer = smoothstep((far - near) / (4 * blur) + 0.5) * column
    return body + (skin - body) * nearer[..., None].astype(np.float32)


def neck_fill(width: Array, share: Array, cm: float, column: Array | None = None) -> Array:
    """[H, W] 0..1: where the plate shows the neck rather than background, above the shoulders.

    width [C] 0..1 is the neck's in the photo, share [H, W] what it has of the head's motion; cm of a pixel. Where it
    goes along with the head, its sides leave background behind. column [H, W] is where in `width` a pixel lies, if the
    neck does not stand upright.
    """
    deep = ndimage.distance_transform_edt(np.pad(width > 0.5, 1))[1:-1] * cm  # inside the neck
    flank = min(NECK_TURNS, 0.6 * deep.max(initial=0.0)) * share
    if column is not None:
        width, deep = width[column], deep[column]
    return np.asarray(width * np.clip((deep - flank) / 0.8 + 1 - np.minimum(flank, 1), 0, 1), np.float32)


def head_hole(view: RenderView, matte: Array) -> Array:
    """[h, w] bool: what the head covers, and a band for its soft edge."""
    cm = cm_per_px(view.head.camera) * view.crop_px_per_px
    return np.asarray(ndimage.binary_dilation(matte > 0.02, iterations=max(2, round(BAND / cm))))


def bare_throat(view: RenderView, person: Array, clothes: Array, spreads: Array | None) -> Array:
    """[h, w] bool: skin of the neck, well below the chin.

    person, clothes [h, w] 0..1; spreads [h, w] how far colours lie from the face's, if that is known: a polo neck that
    is taken for skin is none.
    """
    marks, per_px = view.head.landmarks, cm_per_px(view.head.camera)
    below = view.crop_px[..., 1] > marks[CHIN_TIP, 1] + BELOW_CHIN / per_px
    near = np.abs(view.crop_px[..., 0] - marks[CHIN_TIP, 0]) < THROAT_REACH / per_px
    like_skin = True if spreads is None else spreads < LIKE_SKIN
    bare = below & near & (person > 0.95) & (clothes < 0.2) & like_skin
    return np.asarray(ndimage.binary_opening(bare, iterations=max(1, round(LEAST_BARE / 2 / view.cm_per_px))))


def neck_column(view: RenderView, person: Array, head_share: Array, clothes: Array) -> Array:
    """[h, w] 0..1: where the plate shows the neck, whose sides turn with the head and leave background."""
    marks, crop_px, cm = view.head.landmarks, view.crop_px, view.crop_px_per_px * cm_per_px(view.head.camera)
    rows, per_px = crop_px[..., 1], cm_per_px(view.head.camera)
    band = (rows > marks[CHIN_TIP, 1] + 0.6 / per_px) & (rows < marks[CHIN_TIP, 1] + 2.2 / per_px)
    column = np.rint((crop_px[..., 0] - crop_px[..., 0].min()) * per_px / cm).astype(int)  # of an upright head
    width = np.full(column.max() + 1, 2, np.float32)  # the neck's
    np.minimum.at(width, column[band], person[band])
    width[width > 1.5] = 0
    bare_width = np.zeros_like(width)
    np.maximum.at(bare_width, column[band], (person * (clothes < 0.3))[band])
    if bare_width.max(initial=0) > 0.5:  # what stands beside a bare neck is a collar
        width = np.minimum(width, bare_width)
    bare = smoothstep(distance_inside(clothes < 0.3) * cm / 3.0)
    return neck_fill(width, head_share * bare, cm, column)


def behind_jaw(view: RenderView, person: Array, clothes: Array, column: Array) -> Array:
    """[h, w] 0..1: where the plate shows body: the neck of `neck_column`, and what goes on of a collar beside it."""
    rows, cm = view.crop_px[..., 1], view.cm_per_px
    below = np.clip((rows - view.head.landmarks[list(JAW_CORNERS), 1].mean()) / 30, 0, 1)  # from the jaw's corners down
    bare = clothes < 0.5 * np.maximum(person, 0.1)
    away, nearest = ndimage.distance_transform_edt(bare, return_indices=True)
    higher = (rows[tuple(nearest)] - rows) / view.crop_px_per_px * cm  # than the collar's end, above which is none
    beside = smoothstep(1 - away * cm / COLLAR) * smoothstep(1 - higher / COLLAR_END)
    under = below * np.maximum(column, beside) * person  # outside the matte it can only be background
    return np.asarray(under, np.float32)


def visible_body(image: Array, person: Array, hole: Array, cm: float) -> Array:
    """[h, w] 0..1: the matte `person` outside a `hole` [h, w] bool with what of an image [h, w, 3] it half doubts.

    What hangs together with the person, and has not the colours of the background, is the person, and so is what it
    encloses with the head; cm of a pixel. So is a narrow edge that the matte lacks, if it stands out from what the
    background beyond it varies by.
    """
    free = ~hole & (person < DOUBTED)
    if not free.any():
        return person
    beyond = free & (distance_inside(person < DOUBTED) * cm > EDGE_WIDTH)
    background, farther = (push_pull(image, known.astype(np.float32)) for known in (free, beyond))
    unlike = np.linalg.norm(image - background, axis=-1) > UNLIKE_BACKGROUND
    least = np.maximum(UNLIKE_BACKGROUND, EDGE_SIGMAS * variation(image, beyond, EDGE_WIDTH / cm))
    edge = ~hole & ~beyond & (np.linalg.norm(image - farther, axis=-1) > least)
    sure = ~hole & (person > 0.95)
    body = ndimage.binary_propagation(sure, mask=sure | (~hole & ~free & unlike) | (edge & beyond.any()))
    body &= distance_inside(~sure) * cm < DOUBT_REACH
    enclosed = ndimage.binary_fill_holes(body | hole) & ~hole
    return np.where(enclosed, 1, person).astype(np.float32)


def below_shoulders(view: RenderView, person: Array, hole: Array) -> Array:
    """[h, w] 0..1: what lies below the line of shoulders and collar, as it goes on behind face and neck.

    person [h, w] 0..1, hole [h, w] bool of `head_hole`. That line is the upper edge of the body that is seen, lower
    than the nose; where the head covers it, it goes from side to side and begins level. A head that lies in the picture
    is turned upright for that, by quarters.
    """
    quarters = round(view.head.crop.angle / 90)
    person, hole, crop_px = (np.rot90(values, quarters) for values in (person, hole, view.crop_px))
    height, width = hole.shape
    rows, cm = np.arange(height)[:, None], view.cm_per_px
    body = ~hole & (person > 0.5) & (crop_px[..., 1] > view.head.landmarks[NOSE_TIP, 1])
    top = np.where(body.any(0), body.argmax(0), height)  # [w]
    above = np.maximum(top - SHOULDER_EDGE, 0)
    columns = np.arange(width)
    seen = np.flatnonzero((top < height) & (person[above, columns] < 0.5) & ~hole[above, columns])
    if len(seen) < 2:
        return np.zeros(view.crop_px.shape[:2], np.float32)
    left = np.clip(np.searchsorted(seen, columns, "right") - 1, 0, len(seen) - 2)
    across = (columns - seen[left]) / np.diff(seen)[left]
    begins, ends = _ends(seen, top[seen], SHOULDER_END / cm)
    line = begins[left] + (ends[left + 1] - begins[left]) * smoothstep(across)
    under = hole * smoothstep(np.cumsum(body, 0) * cm / SHOULDER_COVER - 1)  # body is seen above: a lock lies on it
    beside = np.maximum(under, smoothstep(1.5 - _beside_face(view.head, crop_px) / BESIDE_FACE))
    within = ((columns >= seen[0]) & (columns <= seen[-1])) * beside
    below = np.clip((rows - line) / SHOULDER_EDGE + 0.5, 0, 1) * within
    return np.ascontiguousarray(np.rot90(below, -quarters), np.float32)


def _ends(seen: Array, top: Array, reach: float) -> tuple[Array, Array]:
    """[S] twice: the line at columns `seen` [S] with rows `top` [S], as it goes on behind what comes next and before.

    Where more than a column is hidden it is as high as within `reach` px, since its last columns are half the head's.
    """
    gap = np.diff(seen) > 1
    begins, ends = top.astype(float), top.astype(float)
    for k in np.flatnonzero(gap):
        begins[k] = top[(seen <= seen[k]) & (seen > seen[k] - reach)].min()
        ends[k + 1] = top[(seen >= seen[k + 1]) & (seen < seen[k + 1] + reach)].min()
    return begins, ends


def _beside_face(head: Portrait, crop_px: Array) -> Array:
    """[h, w] cm: how far places [h, w, 2] of the crop lie to the left or right of the face, negative within."""
    x, face = crop_px[..., 0], head.landmarks[:, 0]
    return np.maximum(face.min() - x, x - face.max()) * cm_per_px(head.camera)
