"""What the photo shows: its surface, its matte, and its pixels as Gaussians."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from mggdub.avatar.box import SEAM, RenderView, WiderView
from mggdub.avatar.eyeballs import DARKENS
from mggdub.avatar.mouth import SEEN_GAP
from mggdub.avatar.spots import Spots
from mggdub.face import mesh
from mggdub.face.mesh import INNER_LIPS, INNER_LOWER_LIP, INNER_UPPER_LIP, NOSE_TIP, inside
from mggdub.geometry.camera import cm_per_px, unproject
from mggdub.geometry.distance import distance_inside
from mggdub.geometry.rim import beyond_outline, even_rim, no_steeper
from mggdub.geometry.sampling import push_pull, sample_crop, smoothstep
from mggdub.geometry.surface import integrate_normals, surfels
from mggdub.renderer.fit import fit_photo
from mggdub.renderer.projection import BLUR
from mggdub.types import CLOTHES, CROP_SIZE, HAIR, Array, Camera, Gaussians, GeometryMaps, Portrait, as_tensor

CONTRAST = (0.1, 0.3)  # of colours: no and enough difference to tell head from background
ON_THE_LINE = 0.12  # off the line between both colours a pixel is neither's mixture
OVERLAP = 0.6  # as powers of what shines through: one splat, which others overlap, and its pixel
LEEWAY = 0.08  # of colours that a fit may change; the photo's detail does the rest, and moved skin shows no specks
STEEP, STEEP_LEEWAY = (2.0, 3.5), 0.1  # cm deeper per cm: where leeway shrinks and where it is least; share of it left
SMALLEST = 0.85  # of a splat's first size; finer ones would crack where the skin moves
RIM = 0.35  # cm: hair nearer than that to the outline may have the old background's colour in it
LOOSE = 0.8  # cm that loose hair may lie away from the head
WIDENS = 1.5  # cm that a person may be wider beyond the crop's edge than at it
WISP_REACH, WISP_AROUND = 1.4, 0.8  # cm beside a head in which wisps are, and in which its background varies
TUFT_REACH, STRAND_GAP = 9.0, 0.4  # cm that hair reaches before a plain background; half of a gap between its strands
BODY_EDGE, SOLID_PERSON = 0.3, 0.95  # cm of the soft edge of clothes; of the matte, where it has ended
BODY_SHARE = 0.2  # of the head's motion; clothes that have more are hoods
WISP_LEAST, WISP_SIGMAS = 0.01, 2.5  # of colours, the least that a background varies by; how often a wisp differs by it
HANGS, HANGS_REACH = 1.5, 3.0  # cm deeper per cm that hair below the ears lies at most; cm from what it lies beside
HANGS_BELOW, HANGS_SOFT = 2.0, 0.3  # cm round the height of ear lobes, and of hair's edge, over which that begins
HANGS_CLOTHES = 0.2  # probability of clothes, beside which it does not
EYE_INSET, IRIS_INSET = 0.34, 0.17  # cm behind the lids
SPLAT = 0.62  # px, standard deviation of a splat in the photo's own pose


def rim(
    image: Array, explained: Array, matte: Array, background: Array, free: Array, bare: Array, width: int
) -> tuple[Array, Array]:
    """The head's colours [H, W, 3] and opacities [H, W] near its outline.

    explained [H, W, 3] are the colours that `matte` explains; free [H, W] bool is background, bare [H, W] 1 where no
    clothes are. Up to `width` px inside the outline a photo may show more background than the matte says. Where its
    colour is a mixture of the background's and of the head's further in, the head has the latter, whatever the matte
    says, and the splat's opacity that explains the photo: what it had of the background would be a pale line on the
    hidden side when the head turns.
    """
    deep = ndimage.binary_erosion(ndimage.binary_fill_holes(matte > 0.95), iterations=width, border_value=1)
    inside = distance_inside(matte > 0.5)
    if not deep.any() or not free.any():
        return explained, matte
    near = deep & (inside < 4 * width)
    inner = push_pull(image, near.astype(np.float32))
    away = inner - background
    length = np.linalg.norm(away, axis=-1)
    share = np.clip(((image - background) * away).sum(-1) / np.maximum(length**2, 1e-6), 0, 1)
    off = np.linalg.norm(image - background - share[..., None] * away, axis=-1)
    mixed = np.clip((length - CONTRAST[0]) / (CONTRAST[1] - CONTRAST[0]), 0, 1) * np.exp(-((off / ON_THE_LINE) ** 2))
    beside = np.clip(2 - inside / width, 0, 1) * np.clip(bare, 0, 1)
    mixed *= np.clip(3 - inside / width, 0, 1) * np.clip(bare, 0, 1) * ~deep
    lower = mixed * np.clip((matte - share) / 0.1, 0, 1)
    opacity = 1 - (1 - matte - (share - matte) * lower) ** (1 - (1 - OVERLAP) * beside)
    colors = explained + (inner - explained) * mixed[..., None]
    return colors.astype(np.float32), opacity.astype(np.float32)


def coarse_surface(head: Portrait, maps: GeometryMaps) -> Array:
    """[512, 512] float32 cm: camera z of the head's surface at every crop pixel (extended past its edge)."""
    person, cm = 1 - maps.labels[..., 0], 2 * cm_per_px(head.camera)
    mask = (person * (1 - maps.labels[..., CLOTHES])) > 0.5
    prior = maps.depth + head.camera.viewmat[2, 3]
    depth = integrate_normals(maps.normals, mask, half_camera(head.camera).K, prior)
    hanging = _hanging(maps.labels, head.landmarks, cm)
    depth = no_steeper(depth, mask, hanging, HANGS * cm, HANGS_REACH / cm)
    whole = beyond_outline(even_rim(depth, mask, cm), mask, cm)
    return ndimage.zoom(whole, 2, order=1).astype(np.float32)


def _hanging(labels: Array, landmarks: Array, cm: float) -> Array:
    """[256, 256] 0..1: hair that hangs beside a face, lower than its ears; labels [256, 256, C], cm of a pixel.

    Its normals bend away as a jaw's do. It would lie far behind that, all the way drawn out, wall between its strands
    too, when the head turns. What lies near clothes may be a collar.
    """
    below = np.arange(len(labels))[:, None] * 2 - landmarks[list(mesh.EAR_LOBES), 1].mean()
    lower = smoothstep(0.5 + below * cm / 2 / HANGS_BELOW)
    bare = smoothstep(distance_inside(labels[..., CLOTHES] < HANGS_CLOTHES) * cm / HANGS_BELOW)
    return ndimage.gaussian_filter(np.clip(2 * labels[..., HAIR], 0, 1) * lower * bare, HANGS_SOFT / cm)


def inset_depth(landmarks: Array, pixels: Array, mouth: Array) -> Array:
    """[N, 3] cm: eyeballs lie behind the lids, irises before their white, the photo's open mouth behind the lips."""
    offset = np.zeros((len(pixels), 3), np.float32)
    offset[mouth, 2] = 0.25
    for ring, iris in zip((mesh.LEFT_EYE, mesh.RIGHT_EYE), mesh.IRISES, strict=True):
        middle, *edge = landmarks[list(iris), :2]
        radius = np.linalg.norm(np.stack(edge) - middle, axis=1).mean()
        in_iris = np.linalg.norm(pixels - middle, axis=1) < DARKENS * radius
        opening = mesh.inside(pixels, landmarks[list(ring), :2])
        offset[opening, 2] = np.where(in_iris[opening], IRIS_INSET, EYE_INSET)
    return offset


def connected_matte(matte: Array, start: tuple[int, int], reach: int) -> Array:
    """The matte [h, w] of what hangs together with `start` (row, column), and of loose hair within `reach` px."""
    parts, _ = ndimage.label(matte > 0.5)
    if not parts[start]:
        return matte
    near = distance_inside(parts != parts[start])
    return matte * np.clip(2 - near / max(reach, 1), 0, 1).astype(np.float32)


def half_camera(camera: Camera) -> Camera:
    """The same view with half the pixels."""
    K = camera.K.copy()
    K[:2] /= 2
    return Camera(K, camera.viewmat, camera.width // 2, camera.height // 2)


def foreground(image: Array, matte: Array, background: Array) -> Array:
    """The head's own colour where hair is half transparent: solves image = matte * F + (1 - matte) * background.

    image, background [H, W, 3] float32 0..1, matte [H, W] -> [H, W, 3] float32.
    """
    alpha = np.clip(matte, 0.1, 1.0)[..., None]
    return np.clip((image - (1 - alpha) * background) / alpha, 0.0, 1.0).astype(np.float32)


def person_and_depth(
    view: RenderView, maps: GeometryMaps, surface: Array, wider: WiderView | None
) -> tuple[Array, Array]:
    """Matte of the person and camera z (cm) of the surface, [h, w] each of the box, which may reach beyond the crop.

    Beyond it a person goes on only from where the crop shows one at its edge, or hardly beside that.
    """
    crop_px = view.crop_px
    person, deep = sample_crop(maps.matte, crop_px), sample_crop(surface, crop_px)
    if wider is None:
        return person, deep
    within = np.clip(crop_px, 0.5, CROP_SIZE - 0.5)
    at, beside = (wider.crop.to_crop(view.head.crop.to_picture(px)) for px in (crop_px, within))
    edge = np.minimum(crop_px, CROP_SIZE - crop_px)[..., 0]
    mix = np.clip(1 - np.minimum(edge, crop_px[..., 1]) / SEAM, 0, 1)
    goes_on = ndimage.maximum_filter(person, 2 * round(WIDENS / view.cm_per_px) + 1)
    person = person + (np.minimum(sample_crop(wider.matte, at), goes_on) - person) * mix
    return person, deep + sample_crop(wider.depth, at) - sample_crop(wider.depth, beside)


def undressed(person: Array, clothes: Array, head_share: Array, cm: float) -> Array:
    """[h, w]: what of a person's matte moves with the head, clothes left out; all [h, w] 0..1, cm of a pixel.

    At the rim both fade, clothes sooner: it is dressed as what it is the rim of.
    """
    dressed = clothes / np.maximum(person, 0.05)
    solid, size = person > SOLID_PERSON, 2 * max(1, round(BODY_EDGE / cm)) + 1
    dressed = np.maximum(dressed, ndimage.maximum_filter(dressed * solid, size) * ~solid)
    return np.asarray(person * (1 - np.clip((dressed - 0.15) / 0.35, 0, 1)) * np.clip(head_share / 0.05, 0, 1))


def head_matte(view: RenderView, person: Array, clothes: Array, head_share: Array) -> Array:
    """[h, w]: the matte of what moves with the head, as far as it hangs together with the face; all [h, w] 0..1."""
    matte = undressed(person, clothes, head_share, view.cm_per_px)
    reach = round(LOOSE / cm_per_px(view.head.camera) * view.box.render_width / view.box.width)
    return connected_matte(matte, _at_nose(view), reach)


def with_wisps(image: Array, matte: Array, person: Array, standing: Array, head_share: Array, cm: float) -> Array:
    """[h, w]: a head's matte with the thin hair beside it that the matte lacks; it would be left behind.

    image [h, w, 3], matte and person [h, w] 0..1; standing [h, w] of `outline.stands_out`, 0 below the chin;
    head_share [h, w] of its motion; cm of a pixel. Beside the head, where nothing else of a person is, a pixel between
    the background's colour and the head's is a wisp as far as it has the latter, if it stands out from what the
    background itself varies by. Before a plain background hair may reach farther, as long as it hangs together with the
    head; a hood goes with it, too, a shoulder does not.
    """
    solid = matte > 0.5
    away, nearest = ndimage.distance_transform_edt(~solid, return_indices=True)
    loose = ndimage.binary_dilation(standing > 0.5, iterations=max(1, round(STRAND_GAP / cm)))
    tuft = ndimage.binary_propagation(solid, mask=solid | loose)
    body = body_edge(matte, person, cm)
    free = ((person - matte < 0.05) & ~body) | (tuft & (standing > 0.5) & ~(body & (head_share < BODY_SHARE)))
    far = (person < 0.02) & (away * cm > WISP_REACH) & (standing < 0.5)
    if not solid.any() or not far.any():
        return matte
    background = push_pull(image, far.astype(np.float32))
    width = max(1, round(RIM / cm))
    inner = push_pull(image, ndimage.binary_erosion(solid, iterations=width).astype(np.float32))
    inner = inner[tuple(nearest)]
    toward = inner - background
    length = np.linalg.norm(toward, axis=-1)
    share = ((image - background) * toward).sum(-1) / np.maximum(length**2, 1e-6)
    apart = np.linalg.norm(image - background, axis=-1)
    off = np.linalg.norm(image - background - share[..., None] * toward, axis=-1)
    unlike = apart / np.maximum(variation(image, far, WISP_AROUND / cm), WISP_LEAST) - WISP_SIGMAS
    sure = np.clip(unlike, 0, 1) * (off < 0.5 * apart) * (length > CONTRAST[1]) * free
    wisps = np.clip(share, 0, 1) * sure * smoothstep(2 - 2 * away * cm / np.where(tuft, TUFT_REACH, WISP_REACH))
    return np.maximum(matte, wisps).astype(np.float32)


def body_edge(matte: Array, person: Array, cm: float) -> Array:
    """[h, w] bool: what lies on or just beside clothes and shoulders, whose soft edge is no hair; [h, w] 0..1 both."""
    return np.asarray(ndimage.binary_dilation(person - matte > 0.5, iterations=max(1, round(BODY_EDGE / cm))))


def variation(image: Array, free: Array, around: float) -> Array:
    """[h, w]: standard deviation of the `free` colours [h, w] bool of an image within `around` px."""
    weight = ndimage.gaussian_filter(free.astype(np.float32), around) + 1e-4
    both = np.dstack([image, image**2])
    means = [ndimage.gaussian_filter(both[..., k] * free, around) / weight for k in range(6)]
    return np.sqrt(np.maximum(sum(means[k + 3] - means[k] ** 2 for k in range(3)), 0))


def _at_nose(view: RenderView) -> tuple[int, int]:
    """Row and column of the rendered pixel nearest to the tip of the nose."""
    distance = np.abs(view.crop_px - view.head.landmarks[NOSE_TIP, :2]).sum(-1)
    row, column = np.unravel_index(distance.argmin(), distance.shape)
    return int(row), int(column)


def photo_mouth(head: Portrait, mesh: Array, pixels: Array) -> Array:
    """[M] int64: which pixels [N, 2] crop px lie in the photo's own open mouth; none if it is closed. mesh [478, 3]."""
    inner = inside(pixels, head.landmarks[list(INNER_LIPS), :2])
    return np.nonzero(inner & (np.linalg.norm(mesh[INNER_UPPER_LIP] - mesh[INNER_LOWER_LIP]) > SEEN_GAP))[0]


def first_looks(
    view: RenderView, target: Array, plate: Array, matte: Array, film: Array, person: Array, clothes: Array
) -> Array:
    """Colours and opacities [h, w, 4] of a head's pixels, which a fit changes.

    target and plate [h, w, 3], the photo with and without the head; matte, person, clothes [h, w] 0..1; film [h, w] of
    `strand_film`.
    """
    inwards = max(1, round(RIM / view.cm_per_px))
    raw = foreground(target, matte, plate)
    colors, opacity = rim(target, raw, matte, plate, person < 0.05, 1 - 2 * clothes, inwards)
    more = np.maximum(film - opacity, 0)[..., None]
    colors = (colors * opacity[..., None] + plate * more) / np.maximum(opacity[..., None] + more, 1e-6)
    return np.dstack([colors, opacity + more[..., 0]]).astype(np.float32)


def visible_gaussians(
    view: RenderView,
    spots: Spots,
    looks: Array,
    target: Array,
    plate: Array,
    drawn: Array,
    deep: Array,
    hair: Array,
    mouth: Array,
) -> Gaussians:
    """A Gaussian for every spot of the head, fitted to the photo.

    looks [h, w, 4] of `first_looks`; target and plate [h, w, 3], the photo with and without the head; drawn [h, w]
    bool, where spots are; deep [h, w] cm; hair [h, w] probability; mouth [M] of `photo_mouth`.
    """
    gaussians = surface_gaussians(view, spots, looks, deep)
    inset = inset_depth(view.head.landmarks, spots.of(view.crop_px), mouth)
    gaussians = replace(gaussians, means=gaussians.means + as_tensor(inset))
    leeway = color_leeway(spots, deep, hair, view.cm_per_px)
    return fit_photo(gaussians, view.camera, target, drawn, background=plate, min_scale=SMALLEST, leeway=leeway)


def color_leeway(spots: Spots, deep: Array, hair: Array, cm: float) -> Array:
    """[N] float32: how far a fit may change the colours of spots; cm of a pixel.

    deep [h, w] cm of their surface, hair [h, w] probability. Splats of a steep surface overlap in the photo, and the
    nearer ones would take the colours of what they overlap, at last the background's. When the head turns they are
    drawn out, and skin would be grey and pale between ear and jaw. Hair is full of edges, which need the fit.
    """
    steep = np.hypot(*_growth(spots, deep)) / cm
    kept = np.clip((STEEP[1] - steep) / (STEEP[1] - STEEP[0]), STEEP_LEEWAY, 1)
    return (LEEWAY * np.maximum(kept, np.clip(spots.of(hair), 0, 1))).astype(np.float32)


def _growth(spots: Spots, deep: Array) -> tuple[Array, Array]:
    """[N] cm each: how a surface's depth [h, w] grows per pixel to the right and down of spots."""
    down, right = np.gradient(ndimage.gaussian_filter(deep, 1.0))
    return spots.of(right), spots.of(down)


def surface_gaussians(view: RenderView, spots: Spots, looks: Array, deep: Array) -> Gaussians:
    """A Gaussian for every spot, in the surface; looks [h, w, 4] are colours and opacity."""
    depth, look = spots.of(deep), spots.of(looks)
    quats, patches = surfels(spots.centres, depth, _growth(spots, deep), view.camera)
    return Gaussians(
        as_tensor(unproject(spots.of(view.crop_px), depth, view.head.camera)),
        as_tensor(quats),
        as_tensor(np.sqrt(spots.size[:, None] ** 2 * (SPLAT**2 + BLUR) - BLUR) * patches),
        as_tensor(np.clip(look[:, 3], 0.02, 0.98)),
        as_tensor(look[:, :3]),
    )
