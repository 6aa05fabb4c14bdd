"""Which part of the picture the head may move in, and at which size it is rendered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from mggdub.avatar.transparency import cut_alpha
from mggdub.avatar.values import RenderBox
from mggdub.errors import InputError, UsageError
from mggdub.face.mesh import CHIN_TIP
from mggdub.face.portrait import SMALLEST_FACE, cut
from mggdub.geometry.camera import cm_per_px
from mggdub.networks.geometry import GeometryNet, estimate_geometry
from mggdub.options import SIZE_RANGE, AvatarOptions
from mggdub.types import CROP_SIZE, FOCAL, Array, Camera, Crop, GeometryMaps, Photo, Portrait

RENDER_SIZE = 320  # px, longest side of what is rendered; the photo's detail makes it larger
PREVIEW_SIZE = 256
PREVIEW_FACE = 96  # px, height of a face in a preview, as far as these allow:
SMALLEST_SHOWN = 12.0  # px, height of a face in a video; smaller ones come apart
PREVIEW_PIXELS = 1 << 20  # beyond twice the preview's size
FLAT = 0.38  # sine of how far an edge of the picture slopes before it lies above or below a turned head, not beside it
SMALLEST_HEAD = 2  # px; a line has no slope
ROOM = 2.0  # cm from the crop's edge within which a head may go on beyond it; and how far it goes up
ASIDE = 4.5  # cm that a leaning head goes aside
WIDER = 1.35  # times the crop, for a second look at a head that goes on beyond it
SEAM = 12.0  # crop px over which both looks mix


def output_size(size: tuple[int, int], face: float, options: AvatarOptions) -> tuple[int, int]:
    """(width, height) px of the video of a photo of this size, whose face is `face` px high.

    A preview is larger where its face would be small. Raises UsageError for a size in which no face can be made out,
    InputError if even the largest video shows too little.
    """
    longest = options.size or min(max(size), SIZE_RANGE[1])
    if options.preview and not options.size:
        usual = min(longest, PREVIEW_SIZE * 2)
        affordable = (PREVIEW_PIXELS * max(size) / min(size)) ** 0.5
        longest = max(usual, min(longest, max(size) * PREVIEW_FACE / face, affordable))
    elif not options.size and face * longest / max(size) < SMALLEST_FACE:
        raise InputError(
            f"The face would be only {face * longest / max(size):.0f} pixels high in the longest video there is "
            f"({SIZE_RANGE[1]} pixels); cut out the part with the person first."
        )
    ratio = longest / max(size)
    if face * ratio < SMALLEST_SHOWN:
        least = int(np.ceil(SMALLEST_SHOWN / face * max(size)))
        mend = f"choose a --size of {least} or more" if least <= SIZE_RANGE[1] else "cut out the person first"
        raise UsageError(f"The face would be only {face * ratio:.0f} pixels high in a video of {longest:.0f}; {mend}.")
    return max(2, round(size[0] * ratio)), max(2, round(size[1] * ratio))


@dataclass(frozen=True, eq=False)
class WiderView:
    """What is seen of a head around its crop, where hair or a hat goes on beyond it."""

    crop: Crop
    matte: Array  # [512, 512] of the wider crop
    depth: Array  # [512, 512] cm, of the solid part and what is nearest to it
    ends: Array  # [3] crop px: how far the head goes on beyond the crop to the left, above and to the right


def look_wider(photo: Photo, head: Portrait, maps: GeometryMaps, net: GeometryNet) -> WiderView | None:
    """A second look if the head comes near the crop's top or sides and the photo goes on there."""
    crop = head.crop
    near = _ends(head, maps) > -int(ROOM / cm_per_px(head.camera))
    if not (near & (_free(crop, photo.size) > 2)).any():
        return None
    margin = crop.side * (WIDER - 1) / 2  # the face stays in the middle, or the network sees hair above it
    wider = replace(crop, left=crop.left - margin, top=crop.top - margin, side=crop.side + 2 * margin)
    marks = head.landmarks.copy()
    marks[:, :2] = wider.to_crop(crop.to_picture(marks[:, :2]))
    marks[:, 2] /= WIDER
    wide_maps = estimate_geometry(net, replace(head, image=cut(photo.pixels, wider), crop=wider, landmarks=marks))
    if photo.alpha is not None:
        wide_maps = replace(wide_maps, matte=wide_maps.matte * cut_alpha(photo.alpha, wider))
    solid = wide_maps.matte > 0.5
    solid[int(marks[CHIN_TIP, 1]) :] = False
    if not solid.any():
        return None
    nearest = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    at = np.nonzero(solid)
    corners = crop.to_crop(wider.to_picture(np.array([[at[1].min(), at[0].min()], [at[1].max(), at[0].max()]]) + 0.5))
    ends = np.where(near, [-corners[0, 0], -corners[0, 1], corners[1, 0] - CROP_SIZE], -np.inf)
    depth = ndimage.zoom(wide_maps.depth, 2, order=1)[tuple(nearest)]
    return WiderView(wider, wide_maps.matte, depth, ends)


def reach_beyond(
    head: Portrait, maps: GeometryMaps, size: tuple[int, int], wide: WiderView | None
) -> tuple[float, float, float]:
    """Crop px that a head and its motion need beyond its crop to the left, above and to the right.

    `size` of the photo, which ends the box; beyond the crop a head goes on as a `wide` look shows it.
    """
    ends = _ends(head, maps) if wide is None else np.maximum(_ends(head, maps), wide.ends)
    room = np.array([ASIDE, ROOM, ASIDE]) / cm_per_px(head.camera)
    left, top, right = np.clip(ends + room, 0, np.maximum(_free(head.crop, size), 0)).tolist()
    return left, top, right


def _ends(head: Portrait, maps: GeometryMaps) -> Array:
    """[3] crop px: how far beyond the crop a head ends to the left, above and to the right; negative inside."""
    rows, columns = np.nonzero(maps.matte[: max(1, int(head.landmarks[CHIN_TIP, 1]))] > 0.5)
    if len(rows) == 0:
        return np.full(3, -np.inf)
    return np.array([-columns.min(), -rows.min(), columns.max() + 1 - CROP_SIZE], np.float64)


def _free(crop: Crop, size: tuple[int, int]) -> Array:
    """[3] crop px that a photo (width, height) goes on beyond the crop to the left, above and to the right."""
    return np.array([room_beyond(crop, edge, size) for edge in ("left", "top", "right")]) * crop.scale


def room_beyond(crop: Crop, edge: str, size: tuple[int, int]) -> float:
    """How far a photo (width, height) goes on beyond an edge of the crop, px; negative where it ends before."""
    along = np.linspace(0, 1, 1 if crop.angle % 90 == 0 else 9)
    corners = {"left": ((0, 0), (0, 1), (-1, 0)), "top": ((0, 0), (1, 0), (0, -1)), "right": ((1, 0), (1, 1), (1, 0))}
    first, last, out = (np.array(place, np.float64) for place in corners[edge])
    square = (first + along[:, None] * (last - first)) * crop.side + [crop.left, crop.top]
    start = crop.turned(square, crop.angle)  # [P, 2] px of the photo
    way = crop.turned(square + out, crop.angle) - start
    ahead = np.where(way > 0, np.array(size) - start, start) / np.maximum(np.abs(way), 1e-9)
    return float(np.where(np.abs(way) > 1e-6, ahead, np.inf).min(1).max())


def render_box(
    head: Portrait, scale: float, picture: Array, nominal: int, reach: tuple[float, float, float] = (0, 0, 0)
) -> RenderBox:
    """The part of the output picture that the crop and `reach_beyond` it cover, and the size it is rendered at.

    `picture` [H, W, 3] is of the output's size, `scale` px of it per px of the photo; a crop becomes `nominal` px.
    """
    crop = head.crop
    before, above, after = (px / crop.scale for px in reach)
    x, y = (crop.left - before, crop.left + crop.side + after), (crop.top - above, crop.top + crop.side)
    corners = crop.turned(np.stack(np.meshgrid(x, y), -1).reshape(4, 2), crop.angle) * scale
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    left, top = max(0, round(left)), max(0, round(top))
    right, bottom = min(picture.shape[1], round(right)), min(picture.shape[0], round(bottom))
    width, height = right - left, bottom - top
    ratio = min(1.0, nominal / min(max(width, height), max(1, round(head.crop.side * scale))))
    return RenderBox(left, top, width, height, max(1, round(width * ratio)), max(1, round(height * ratio)))


def crop_pixels(head: Portrait, scale: float, box: RenderBox) -> Array:
    """[h, w, 2] crop px of every rendered pixel's centre; `scale` output px per photo px."""
    x = (np.arange(box.render_width) + 0.5) * box.width / box.render_width + box.left
    y = (np.arange(box.render_height) + 0.5) * box.height / box.render_height + box.top
    return head.crop.to_crop(np.stack(np.meshgrid(x, y), -1) / scale)


@dataclass(frozen=True, eq=False)
class RenderView:
    """A photo's head as it is rendered: where the pixels of the box lie in the crop, and the camera that sees them."""

    head: Portrait
    box: RenderBox
    crop_px: Array  # [h, w, 2] of every rendered pixel's centre
    crop_px_per_px: float  # crop px per rendered px
    camera: Camera  # of the box, which stands as the picture does

    @property
    def cm_per_px(self) -> float:
        """Of a rendered px, at the head's distance."""
        return self.crop_px_per_px * cm_per_px(self.head.camera)


def render_view(head: Portrait, scale: float, box: RenderBox) -> RenderView:
    """The view of a box; `scale` output px per photo px."""
    crop_px = crop_pixels(head, scale, box)
    ratio = CROP_SIZE / head.crop.side / scale * box.width / box.render_width
    return RenderView(head, box, crop_px, ratio, _box_camera(head, crop_px))


def _box_camera(head: Portrait, crop_px: Array) -> Camera:
    """The photo's camera for the rendered box, which stands as the picture does."""
    step = np.hypot(*np.stack([crop_px[0, -1] - crop_px[0, 0], crop_px[-1, 0] - crop_px[0, 0]], 1))
    per_px = np.array([crop_px.shape[1] - 1, crop_px.shape[0] - 1]) / np.maximum(step, 1e-6)  # per crop px
    turn = np.exp(1j * np.radians(head.crop.angle))
    to_box = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    centre = to_box @ (CROP_SIZE / 2 - crop_px[0, 0]) * per_px + 0.5
    K = np.array([[FOCAL * per_px[0], 0, centre[0]], [0, FOCAL * per_px[1], centre[1]], [0, 0, 1]], np.float32)
    viewmat = head.camera.viewmat.copy()
    viewmat[:2] = to_box @ viewmat[:2]
    return Camera(K, viewmat, crop_px.shape[1], crop_px.shape[0])


def over_crop(view: RenderView, picture: Array) -> Array:
    """[512, 512] float32: a picture [h, w] of the rendered box at the crop's pixels; its edge goes on beyond it."""
    first = view.crop_px[0, 0].astype(np.float64)
    steps = np.stack([view.crop_px[0, -1] - first, view.crop_px[-1, 0] - first], 1)
    steps /= [view.crop_px.shape[1] - 1, view.crop_px.shape[0] - 1]
    at = np.arange(CROP_SIZE) + 0.5
    columns, rows = np.einsum("ij,jhw->ihw", np.linalg.inv(steps), np.stack(np.meshgrid(at, at)) - first[:, None, None])
    return ndimage.map_coordinates(picture.astype(np.float32), [rows, columns], order=1, mode="nearest")


def box_sides(view: RenderView) -> list[tuple[tuple[float, float], float]]:
    """The rendered box in the crop: for each side its outward normal n and the limit of n p of its pixels p."""
    turn = complex(np.exp(-1j * np.radians(view.head.crop.angle)))
    first, last = view.crop_px[0, 0].astype(np.float64), view.crop_px[-1, -1].astype(np.float64)
    sides = [(-turn, first), (-1j * turn, first), (turn, last), (1j * turn, last)]  # left, top, right, bottom
    return [((n.real, n.imag), float(p @ [n.real, n.imag])) for n, p in sides]


def edge_distance(view: RenderView) -> Array:
    """[512, 512] px from every crop pixel to the nearest edge of the rendered box or of the crop."""
    at = np.arange(CROP_SIZE) + 0.5
    within = np.minimum(at - 0.5, CROP_SIZE - 0.5 - at)
    nearest = np.minimum(within[None], within[:, None])
    for (x, y), limit in box_sides(view):
        nearest = np.minimum(nearest, limit - (at[None] * x + at[:, None] * y))
    return nearest


def lowest_rows(view: RenderView) -> Array:
    """[512] crop px: the lowest row that is drawn of every column of the crop."""
    columns, lowest = np.arange(CROP_SIZE) + 0.5, np.full(CROP_SIZE, CROP_SIZE, np.float32)
    for (x, y), limit in box_sides(view):
        if y > FLAT:
            lowest = np.minimum(lowest, ((limit - columns * x) / y).astype(np.float32))
    return lowest


def check_box(box: RenderBox) -> None:
    """Raises InputError where nothing of a head would be left in the picture that is put out."""
    if min(box.width, box.height, box.render_width, box.render_height) < SMALLEST_HEAD:
        raise InputError(
            f"The head would be {box.width}x{box.height} px in the video; give a larger --size, or cut the photo "
            "closer to the face."
        )
