"""Reconstruction: a photo becomes an avatar. The paper's DSGR and SGP, and what is drawn around the head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage, sparse

from mggdub.appearance import measure_face, warnings
from mggdub.config import SIZE_RANGE, RenderOptions
from mggdub.drive import Eyes
from mggdub.errors import InputError
from mggdub.geometry.camera import cm_per_px, face_height, head_mesh, project, unproject
from mggdub.geometry.surface import integrate_normals, surfels
from mggdub.geometry.symmetry import head_shell, mirror, surface_points, visible_filter, voxel_filter
from mggdub.media.image import WHITE, lay_over, resize
from mggdub.models import deform, expression, torso
from mggdub.models.head import GRID, Grids, HeadNet, head_inputs, load_head, look
from mggdub.models.layers import SOLID, Layer, join, upper_lid
from mggdub.models.mouth import SEEN_GAP, MouthLayer, MouthNet, build_mouth, load_mouth, paint_mouth
from mggdub.models.speech import SpeechModel, load_speech
from mggdub.perception.face import SMALLEST_FACE, FaceFinder, check_face, choose_face, cut, portrait
from mggdub.perception.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.perception.inpaint import make_plate, neck_fill, opaque_colors, plate_alpha, rim, veiled_opacity
from mggdub.render.composite import foreground
from mggdub.render.fit import fit_photo
from mggdub.types import (
    CLOTHES,
    CROP_SIZE,
    FOCAL,
    LIP_MODES,
    Array,
    Bases,
    Camera,
    Crop,
    Frame,
    Gaussians,
    GeometryMaps,
    HeadAvatar,
    Photo,
    Portrait,
    as_tensor,
)

RENDER_SIZE = 640  # px, longest side of what is rendered one to one; beyond it the head is scaled up
PREVIEW_SIZE = 256
PREVIEW_FACE = 96  # px, height of a face in a preview, as far as these allow:
PREVIEW_PIXELS = 1 << 20  # beyond twice the preview's size
SMALLEST_HEAD = 2  # px; a line has no slope
CLOSED_PHOTO = (0.05, 0.3)  # cm of inner-lip gap: lips are closed; their shape tells of talking or smiling
SMALLEST = 0.85  # of a splat's first size; finer ones would crack where the skin moves
HIDDEN_INSET = 2  # of 256 px: how far inside the outline the hidden side begins, so that it stays hidden
MIRRORED_RADIUS, SHELL_RADIUS = 0.11, 0.2  # cm, of the hidden points: mirrored ones come first, then the shell
DRAWN = 0.03  # of the matte, above which a pixel is one of the head's
FLAT = 0.38  # sine of how far an edge of the picture slopes before it lies above or below a turned head, not beside it
ROOM = 2.0  # cm around the head within which it moves
WIDER = 1.35  # times the crop, for a second look at a head that goes on beyond it
SEAM = 12.0  # crop px over which both looks mix
CUT_OFF = 4.0  # cm that a head goes on beyond the picture's edge
CROWN = 0.36  # of the face's height, from the hairline up
COARSE = 2  # rendered px between points beyond the picture
RIM = 0.35  # cm: hair nearer than that to the outline may have the old background's colour in it
SPLAT = 0.62  # px, standard deviation of a splat in the photo's own pose


@dataclass(frozen=True, eq=False)
class Models:
    """Everything that is loaded once, whatever the number of photos."""

    faces: FaceFinder
    geometry: GeometryNet
    expression: expression.ExpressionBasis
    mouth: MouthNet
    head: HeadNet
    speech: SpeechModel

    @property
    def eyes(self) -> Eyes:
        """Those that look at a driving video."""
        return Eyes(self.faces, self.geometry, self.expression)


def load_models(head: HeadNet | None = None) -> Models:
    """All shipped networks, with another `head` if given. Raises InputError if a weight file is missing or damaged."""
    basis = expression.load_expression()
    return Models(FaceFinder(), load_geometry(), basis, load_mouth(), head or load_head(), load_speech())


def build_avatar(photo: Photo, models: Models, options: RenderOptions) -> HeadAvatar:
    """The moving head of a photo. Raises InputError if no usable face is found."""
    face = choose_face(models.faces.find(photo.pixels), options.face)
    check_face(face)
    size = output_size(photo.size, face_height(face.landmarks), options)
    head = portrait(photo, face, models.faces)
    maps = estimate_geometry(models.geometry, head)
    picture, veil = resize(photo.pixels, size, reducing_gap=3.0), None
    if photo.alpha is not None:
        inside = _cut_alpha(photo.alpha, head.crop)
        head, maps = _unveiled(inside, head, maps)
        veil = Veil(resize(photo.alpha, size, reducing_gap=3.0), inside, options.background_color or WHITE)
    scale = picture.shape[1] / photo.size[0]  # output px per photo px
    wide = look_wider(photo, head, maps, models.geometry)
    frame = frame_of(head, scale, picture, PREVIEW_SIZE if options.preview else RENDER_SIZE, wide)
    check_frame(frame)
    surface, drivers = coarse_surface(head, maps), own_state(models.expression, head)
    grids = learned(models, head, maps, surface, drivers)
    surface = surface + _enlarged(grids.depth[0, 0].numpy())
    made = Builder(head, maps, surface, grids, drivers, picture, scale, frame, models, wide, veil=veil).build()
    return replace(made, advice=warnings(measure_face(head, maps)))


@dataclass(frozen=True, eq=False)
class Veil:
    """Where a picture is transparent, and what comes behind it when all else is done."""

    alpha: Array  # [H, W] uint8, at the size of the output
    inside: Array  # [512, 512] float32 0..1, of the head's crop
    color: tuple[int, int, int]  # sRGB

    def of(self, frame: Frame) -> Array:
        """[h, w] float32 0..1 of the rendered box."""
        box = self.alpha[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        small = resize(box, (frame.render_width, frame.render_height), reducing_gap=3.0)
        return small.astype(np.float32) / 255


def _unveiled(alpha: Array, head: Portrait, maps: GeometryMaps) -> tuple[Portrait, GeometryMaps]:
    """What the networks saw on white, with alpha [512, 512]: the head without white, the matte within alpha."""
    colors = opaque_colors(head.image.astype(np.float32) / 255, alpha)
    image = np.rint(colors * 255).astype(np.uint8)
    return replace(head, image=image), replace(maps, matte=maps.matte * alpha)


def _cut_alpha(alpha: Array, crop: Crop) -> Array:
    """[512, 512] float32 0..1 of alpha [H, W] uint8."""
    return cut(np.broadcast_to(alpha[..., None], (*alpha.shape, 3)), crop)[..., 0].astype(np.float32) / 255


def output_size(size: tuple[int, int], face: float, options: RenderOptions) -> tuple[int, int]:
    """(width, height) px of the video of a photo of this size, whose face is `face` px high.

    A preview is larger where its face would be small. Raises InputError if even the largest video shows too little.
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
    return max(2, round(size[0] * ratio)), max(2, round(size[1] * ratio))


@dataclass(frozen=True, eq=False)
class Wide:
    """What is seen of a head around its crop, where hair or a hat goes on beyond it."""

    crop: Crop
    matte: Array  # [512, 512] of the wider crop
    depth: Array  # [512, 512] cm, of the solid part and what is nearest to it
    reach: tuple[float, float, float]  # crop px that the head and its motion need beyond the crop: left, top, right


def look_wider(photo: Photo, head: Portrait, maps: GeometryMaps, net: GeometryNet) -> Wide | None:
    """A second look if the head comes near the crop's top or sides and the photo goes on there."""
    crop, room = head.crop, ROOM / cm_per_px(head.camera)
    rows = head.landmarks[152, 1]
    above = maps.matte[: max(1, int(rows))] > 0.5
    near = [above[:, : int(room)].any(), above[: int(room)].any(), above[:, CROP_SIZE - int(room) :].any()]
    free = np.array([_room_beyond(crop, edge, photo.size) for edge in ("left", "top", "right")]) * crop.scale
    if not (np.array(near) & (free > 2)).any():
        return None
    margin = crop.side * (WIDER - 1) / 2  # the face stays in the middle, or the network sees hair above it
    wider = replace(crop, left=crop.left - margin, top=crop.top - margin, side=crop.side + 2 * margin)
    marks = head.landmarks.copy()
    marks[:, :2] = wider.to_crop(crop.to_picture(marks[:, :2]))
    marks[:, 2] /= WIDER
    seen = estimate_geometry(net, replace(head, image=cut(photo.pixels, wider), crop=wider, landmarks=marks))
    if photo.alpha is not None:
        seen = replace(seen, matte=seen.matte * _cut_alpha(photo.alpha, wider))
    solid = seen.matte > 0.5
    solid[int(marks[152, 1]) :] = False
    if not solid.any():
        return None
    nearest = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    at = np.nonzero(solid)
    corners = crop.to_crop(wider.to_picture(np.array([[at[1].min(), at[0].min()], [at[1].max(), at[0].max()]]) + 0.5))
    needed = np.array([-corners[0, 0], -corners[0, 1], corners[1, 0] - CROP_SIZE]) + room
    reach = np.where(near, np.clip(needed, 0, np.maximum(free, 0)), 0)
    depth = ndimage.zoom(seen.depth, 2, order=1)[tuple(nearest)]
    return Wide(wider, seen.matte, depth, (float(reach[0]), float(reach[1]), float(reach[2])))


def _room_beyond(crop: Crop, edge: str, size: tuple[int, int]) -> float:
    """How far a photo (width, height) goes on beyond an edge of the crop, px; negative where it ends before."""
    along = np.linspace(0, 1, 1 if crop.angle % 90 == 0 else 9)
    corners = {"left": ((0, 0), (0, 1), (-1, 0)), "top": ((0, 0), (1, 0), (0, -1)), "right": ((1, 0), (1, 1), (1, 0))}
    first, last, out = (np.array(place, np.float64) for place in corners[edge])
    square = (first + along[:, None] * (last - first)) * crop.side + [crop.left, crop.top]
    start = crop.turned(square, crop.angle)  # [P, 2] px of the photo
    way = crop.turned(square + out, crop.angle) - start
    ahead = np.where(way > 0, np.array(size) - start, start) / np.maximum(np.abs(way), 1e-9)
    return float(np.where(np.abs(way) > 1e-6, ahead, np.inf).min(1).max())


def frame_of(head: Portrait, scale: float, picture: Array, nominal: int, wide: Wide | None = None) -> Frame:
    """The part of the output picture that the crop and what is `wide` of it cover, and the size it is rendered at."""
    crop = head.crop
    before, above, after = (px / crop.scale for px in (wide.reach if wide else (0, 0, 0)))
    x, y = (crop.left - before, crop.left + crop.side + after), (crop.top - above, crop.top + crop.side)
    corners = crop.turned(np.stack(np.meshgrid(x, y), -1).reshape(4, 2), crop.angle) * scale
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    left, top = max(0, round(left)), max(0, round(top))
    right, bottom = min(picture.shape[1], round(right)), min(picture.shape[0], round(bottom))
    width, height = right - left, bottom - top
    ratio = min(1.0, nominal / min(max(width, height), max(1, round(head.crop.side * scale))))
    return Frame(left, top, width, height, max(1, round(width * ratio)), max(1, round(height * ratio)))


def check_frame(frame: Frame) -> None:
    """Raises InputError where nothing of a head would be left in the picture that is put out."""
    if min(frame.width, frame.height, frame.render_width, frame.render_height) < SMALLEST_HEAD:
        raise InputError(
            f"The head would be {frame.width}x{frame.height} px in the video; give a larger --size, or cut the photo "
            "closer to the face."
        )


def crop_pixels(head: Portrait, scale: float, frame: Frame) -> Array:
    """[h, w, 2] crop px of every rendered pixel's centre; `scale` output px per photo px."""
    x = (np.arange(frame.render_width) + 0.5) * frame.width / frame.render_width + frame.left
    y = (np.arange(frame.render_height) + 0.5) * frame.height / frame.render_height + frame.top
    return head.crop.to_crop(np.stack(np.meshgrid(x, y), -1) / scale)


@dataclass(frozen=True, eq=False)
class Builder:
    """The values that the steps of building an avatar share."""

    head: Portrait
    maps: GeometryMaps
    surface: Array  # [512, 512] camera z, cm
    grids: Grids
    drivers: Array  # [32] of `own_state`
    picture: Array
    scale: float  # output px per photo px
    frame: Frame
    models: Models
    wide: Wide | None = None
    veil: Veil | None = None
    overlap: bool = False  # mirrored points stay where they overlap visible ones, as no filter would have it

    def build(self) -> HeadAvatar:
        head, frame, basis = self.head, self.frame, self.models.expression
        box = self.picture[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        target = resize(box, (frame.render_width, frame.render_height), reducing_gap=3.0).astype(np.float32) / 255
        if self.veil:
            target = opaque_colors(target, self.veil.of(frame))
        crop_px = crop_pixels(head, self.scale, frame)  # [h, w, 2]
        camera = self._camera(crop_px)
        px_cm = cm_per_px(head.camera)
        dressed = ndimage.zoom(self.maps.labels[..., CLOTHES], 2, order=1)
        person, deep = self._seen(crop_px)
        share = deform.neck_weights(head.landmarks, dressed, self._lowest(crop_px), px_cm)
        neck = sample(share, crop_px)
        body = torso.shares(self._torso(px_cm), px_cm)
        clothes = sample(dressed, crop_px)
        matte = person * (1 - clothes) * np.clip(neck / 0.05, 0, 1)
        matte = _connected(matte, self._at_face(crop_px), round(0.8 / px_cm * frame.render_width / frame.width))

        px = CROP_SIZE / head.crop.side / self.scale * frame.width / frame.render_width  # crop px per rendered px
        hole = ndimage.binary_dilation(matte > 0.02, iterations=max(2, round(0.3 / (px_cm * px))))
        hidden_neck = self._behind_jaw(crop_px, person, neck, clothes, px * px_cm)
        plate = make_plate(target, hole & (neck > 0.02), person, hidden_neck)
        mesh = head_mesh(head.landmarks, head.camera)
        drawn = matte > DRAWN
        pixels = crop_px[drawn]  # [N, 2] crop px
        inner = deform.inside(pixels, head.landmarks[list(deform.INNER_LIPS), :2])
        own_mouth = np.nonzero(inner & (np.linalg.norm(mesh[13] - mesh[14]) > SEEN_GAP))[0]
        inwards = max(1, round(RIM / px_cm / px))
        raw = foreground(target, matte, plate)
        own, opacity, leeway = rim(target, raw, matte, plate, person < 0.05, 1 - 2 * clothes, inwards)
        seen = self._visible(np.dstack([own, opacity]), drawn, deep, camera, crop_px)
        seen = replace(seen, means=seen.means + as_tensor(_behind(head.landmarks, pixels, own_mouth)))
        near = as_tensor(leeway[drawn][:, None])
        seen = fit_photo(seen, camera, target, drawn, background=plate, min_scale=SMALLEST, leeway=near)

        further = self._further(own, matte, neck, deep, camera, crop_px)
        hidden = self._color(self._hidden(self.surface, share), self.grids.features[0])
        if self.veil:
            through = veiled_opacity(seen.opacities.numpy(), sample(self.veil.inside, pixels))
            seen = replace(seen, opacities=as_tensor(through))
            beside = sample(self.veil.inside, project(hidden.means, head.camera))
            hidden = replace(hidden, opacity=veiled_opacity(hidden.opacity, beside))
        at_rest = mesh - expression.vertex_motion(basis, self.drivers)
        inside, left, right, painter = self._layers(mesh, at_rest, self.surface)
        layers = [further, hidden, inside, left, right]
        rest = join(layers)
        ends = np.cumsum([len(seen), *(len(layer) for layer in layers)]).tolist()
        hidden_at, mouth_at, left_at, right_at = (slice(a, b) for a, b in pairwise(ends[1:]))
        skin = self._skin(pixels)
        gaussians = Gaussians(
            torch.cat([seen.means, as_tensor(rest.means)]),
            torch.cat([seen.quats, as_tensor(np.tile([1.0, 0, 0, 0], (len(rest), 1)))]),
            torch.cat([seen.scales, as_tensor(np.repeat(rest.radius[:, None], 3, 1))]),
            torch.cat([seen.opacities, as_tensor(rest.opacity)]),
            torch.cat([seen.colors, as_tensor(rest.colors)]),
        )
        necks = np.concatenate([neck[drawn], rest.neck]).astype(np.float32)
        places = np.concatenate([pixels, project(rest.means, head.camera)])
        touched = _resize_float(hole.astype(np.float32)[..., None], (frame.width, frame.height))  # 0..1
        picture = self.picture
        if self.veil:
            solid = plate_alpha(self.veil.of(frame), hole & (neck > 0.02), person, hidden_neck)[..., None]
            plate = plate * solid + (1 - solid) * np.array(self.veil.color, np.float32) / 255
            picture = lay_over(Photo(picture, self.veil.alpha), self.veil.color)
            box = picture[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        original = box.astype(np.float32) / 255
        crop = head.crop
        whole = replace(crop, left=crop.left * self.scale, top=crop.top * self.scale, side=crop.side * self.scale)
        return HeadAvatar(
            gaussians,
            sparse.vstack([skin, rest.skin], format="csr").astype(np.float32),
            necks,
            (1 - necks) * sample(body, places),
            (places / CROP_SIZE).astype(np.float32),
            hidden_at,
            _bases(self.grids, self.edge(crop_px)),
            mesh,
            self.drivers,
            own_mouth,
            (left_at, right_at),
            mouth_at,
            painter,
            camera,
            frame,
            original + (_resize_float(plate, (frame.width, frame.height)) - original) * touched,
            picture,
            torso.over_picture(body, whole, self.picture.shape[1::-1], px_cm),
            crop.angle,
        )

    def _visible(self, looks: Array, drawn: Array, deep: Array, camera: Camera, crop_px: Array) -> Gaussians:
        """A Gaussian for every pixel of `drawn` [h, w], in the surface; looks [h, w, 4] are colours and opacity."""
        rows, columns = np.nonzero(drawn)
        slope = [grown[rows, columns] for grown in np.gradient(ndimage.gaussian_filter(deep, 1.0))[::-1]]
        depth = deep[rows, columns]
        quats, patches = surfels(np.stack([columns, rows], 1) + 0.5, depth, (slope[0], slope[1]), camera)
        return Gaussians(
            as_tensor(unproject(crop_px[rows, columns], depth, self.head.camera)),
            as_tensor(quats),
            as_tensor(SPLAT * patches),
            as_tensor(np.clip(looks[rows, columns, 3], 0.02, 0.98)),
            as_tensor(looks[rows, columns, :3]),
        )

    def _torso(self, px_cm: float) -> Array:
        clothes = torso.clothes_share(self.maps.labels)
        return torso.torso_matte(self.head.landmarks, clothes, self.maps.matte, px_cm)

    @torch.inference_mode()
    def _color(self, layer: Layer, features: torch.Tensor) -> Layer:
        """The hidden side as the Sym-Gaussian decoder sees it."""
        if len(layer) == 0:
            return layer
        told = self.models.head.color_hidden(*hidden_inputs(features, self.head, layer.means, layer.colors)).numpy()
        colors = np.clip(layer.colors + told[:, :3], 0, 1)
        return replace(layer, colors=colors, opacity=np.clip(layer.opacity + told[:, 3], 0.02, 0.98))

    def _hidden(self, surface: Array, share: Array) -> Layer:
        """The side the photo does not show: mirrored points where they do not overlap, and a shell behind the rim."""
        head, camera = self.head, halved(self.head.camera)
        depth = surface[::2, ::2]
        solid = ndimage.binary_erosion(self.maps.matte[::2, ::2] > 0.9, iterations=HIDDEN_INSET)
        above = (np.arange(CROP_SIZE // 2) * 2 < head.landmarks[152, 1])[:, None]
        mask = solid & (self.maps.labels[..., CLOTHES] < 0.5) & above
        visible = surface_points(mask, depth, camera)
        mirrored = mirror(visible)
        behind = ndimage.maximum_filter(depth, 9)  # behind what lies beside it, too
        keep = voxel_filter(mirrored, visible) & visible_filter(mirrored, camera, solid, behind) | self.overlap
        shell = head_shell(mask, solid, depth, camera, np.concatenate([visible, mirrored[keep]]))
        closes = visible_filter(shell.points, camera, solid, behind)
        image = head.image[::2, ::2].reshape(-1, 3).astype(np.float32) / 255
        colors = np.concatenate([image[mask.ravel()][keep], _inner(image, mask, shell.rim[closes])])
        means = np.concatenate([mirrored[keep], shell.points[closes]]).astype(np.float32)
        radius = np.repeat([MIRRORED_RADIUS, SHELL_RADIUS], [keep.sum(), closes.sum()]).astype(np.float32)
        at = project(means, head.camera)
        opaque = np.full(len(means), SOLID, np.float32)
        return Layer(means, colors.astype(np.float32), radius, self._skin(at), sample(share, at), opaque)

    def _at_face(self, crop_px: Array) -> tuple[int, int]:
        """Row and column of the rendered pixel nearest to the tip of the nose."""
        distance = np.abs(crop_px - self.head.landmarks[1, :2]).sum(-1)
        row, column = np.unravel_index(distance.argmin(), distance.shape)
        return int(row), int(column)

    def edge(self, crop_px: Array) -> Array:
        """[512, 512] px from every crop pixel to the nearest edge of the rendered box or of the crop."""
        at = np.arange(CROP_SIZE) + 0.5
        within = np.minimum(at - 0.5, CROP_SIZE - 0.5 - at)
        nearest = np.minimum(within[None], within[:, None])
        for (x, y), limit in self._sides(crop_px):
            nearest = np.minimum(nearest, limit - (at[None] * x + at[:, None] * y))
        return nearest

    def _sides(self, crop_px: Array) -> list[tuple[tuple[float, float], float]]:
        """The rendered box in the crop: for each side its outward normal n and the limit of n p of its pixels p."""
        turn = complex(np.exp(-1j * np.radians(self.head.crop.angle)))
        first, last = crop_px[0, 0].astype(np.float64), crop_px[-1, -1].astype(np.float64)
        sides = [(-turn, first), (-1j * turn, first), (turn, last), (1j * turn, last)]  # left, top, right, bottom
        return [((n.real, n.imag), float(p @ [n.real, n.imag])) for n, p in sides]

    def _lowest(self, crop_px: Array) -> Array:
        """[512] crop px: the lowest row that is drawn of every column of the crop."""
        columns, lowest = np.arange(CROP_SIZE) + 0.5, np.full(CROP_SIZE, CROP_SIZE, np.float32)
        for (x, y), limit in self._sides(crop_px):
            if y > FLAT:
                lowest = np.minimum(lowest, ((limit - columns * x) / y).astype(np.float32))
        return lowest

    def _seen(self, crop_px: Array) -> tuple[Array, Array]:
        """Matte of the person and camera z (cm) of the surface at crop_px [h, w, 2], which may lie beyond the crop."""
        person, deep = sample(self.maps.matte, crop_px), sample(self.surface, crop_px)
        if self.wide is None:
            return person, deep
        within = np.clip(crop_px, 0.5, CROP_SIZE - 0.5)
        at, beside = (self.wide.crop.to_crop(self.head.crop.to_picture(px)) for px in (crop_px, within))
        edge = np.minimum(crop_px, CROP_SIZE - crop_px)[..., 0]
        mix = np.clip(1 - np.minimum(edge, crop_px[..., 1]) / SEAM, 0, 1)
        person = person + (sample(self.wide.matte, at) - person) * mix
        return person, deep + sample(self.wide.depth, at) - sample(self.wide.depth, beside)

    def _further(self, colors: Array, matte: Array, neck: Array, deep: Array, camera: Camera, crop_px: Array) -> Layer:
        """The head where the picture cuts it off, for as far as motion brings it into view.

        colors [h, w, 3], matte, neck and deep [h, w] of the rendered box, whose upper and outer edges are the picture's
        if the head touches them. Above the picture the head closes like a dome, beside it it goes on; colours are those
        near the edge.
        """
        cm = float(np.median(deep)) / float(camera.K[0, 0])  # of a rendered px
        place = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1)
        parts = []
        for maps, out, above in self._edges((matte, neck, deep, colors, place, crop_px)):
            own, share, depth, shown, at, crop_at = maps
            radius, reach = CUT_OFF / cm, CUT_OFF / 2 / cm
            if above:
                radius, reach = max(self._crown(camera, out), 1.5 / cm), CUT_OFF / cm
            solid = own[0] > 0.5 if above else own[: max(1, round(0.5 / cm))].min(0) > 0.9
            touching = np.nonzero(solid & (share[0] > 0.05))[0][::COARSE]  # [P] along the edge
            if len(touching) == 0:
                continue
            aside = (touching - touching.mean()) / max(1.0, 0.5 * np.ptp(touching)) * (1 if above else 0)
            high = 1 - np.clip(aside, -1, 1) ** 2  # [P] of the dome's height
            furthest = min(1.4, reach / radius)
            turn = np.arange(0.5 * COARSE / radius, furthest, COARSE / radius)[:, None]  # [D, 1] radians
            away, back = radius * np.sin(turn) * high, radius * cm * (1 - np.cos(turn)) * high  # px and cm, [D, P]
            inward = np.minimum(np.minimum(0.35 * away, 0.4 / cm).astype(int), len(own) - 1)
            source = np.where(own[inward, touching] > 0.9, inward, 0)  # [D, P] row its colour comes from
            px = at[0, touching] + 0.5 + away[..., None] * np.array(out)
            z = depth[0, touching] + back + 0.2
            outside = away.ravel() > COARSE  # or it would be seen in the photo's own pose
            follow = np.broadcast_to(crop_at[0, touching], px.shape)
            parts.append(
                Layer(
                    unproject(px, z, camera).reshape(-1, 3)[outside],
                    shown[source, touching].reshape(-1, 3)[outside],
                    np.full(outside.sum(), 1.3 * SPLAT * COARSE * cm, np.float32),
                    self._skin(follow.reshape(-1, 2)[outside]),
                    np.broadcast_to(share[0, touching], z.shape).ravel()[outside],
                    np.full(outside.sum(), SOLID, np.float32),
                )
            )
        none = np.zeros((0, 3), np.float32)
        return join([Layer(none, none, none[:, 0], self._skin(none[:, :2]), none[:, 0], none[:, 0]), *parts])

    def _edges(self, maps: tuple[Array, ...]) -> list[tuple[list[Array], tuple[int, int], bool]]:
        """Maps [h, w] as seen from every edge of the box that is above or beside the head: their first row lies along
        it. With them the way out in the picture, and whether that is above.
        """
        turn = complex(np.exp(-1j * np.radians(self.head.crop.angle)))
        seen = {
            (0, -1): list(maps),
            (-1, 0): [x.swapaxes(0, 1) for x in maps],
            (1, 0): [x[:, ::-1].swapaxes(0, 1) for x in maps],
            (0, 1): [x[::-1] for x in maps],
        }
        down = {out: (turn * complex(*out)).imag for out in seen}  # in the crop
        return [(parts, out, down[out] < -FLAT) for out, parts in seen.items() if down[out] <= FLAT]

    def _crown(self, camera: Camera, out: tuple[int, int]) -> float:
        """How far the crown lies beyond the edge of the box in the way `out`, px."""
        ahead = project(head_mesh(self.head.landmarks, self.head.camera), camera) @ np.array(out)
        edge = max(out[0] * camera.width, out[1] * camera.height, 0)
        return float(ahead[10] + CROWN * (ahead[10] - ahead[152]) - edge)

    def _skin(self, pixels: Array) -> sparse.csr_matrix:
        """How points at crop px [N, 2] follow the mesh."""
        head = self.head
        return deform.skin_weights(pixels, head.landmarks, self.models.expression.triangles, cm_per_px(head.camera))

    def _camera(self, crop_px: Array) -> Camera:
        """The photo's camera for the rendered box, which stands as the picture does."""
        step = np.hypot(*np.stack([crop_px[0, -1] - crop_px[0, 0], crop_px[-1, 0] - crop_px[0, 0]], 1))
        per_px = np.array([crop_px.shape[1] - 1, crop_px.shape[0] - 1]) / np.maximum(step, 1e-6)  # per crop px
        turn = np.exp(1j * np.radians(self.head.crop.angle))
        to_box = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        centre = to_box @ (CROP_SIZE / 2 - crop_px[0, 0]) * per_px + 0.5
        K = np.array([[FOCAL * per_px[0], 0, centre[0]], [0, FOCAL * per_px[1], centre[1]], [0, 0, 1]], np.float32)
        viewmat = self.head.camera.viewmat.copy()
        viewmat[:2] = to_box @ viewmat[:2]
        return Camera(K, viewmat, crop_px.shape[1], crop_px.shape[0])

    def _behind_jaw(self, crop_px: Array, person: Array, neck: Array, clothes: Array, cm: float) -> Array:
        """[h, w] 0..1: where the plate shows body; the neck's sides turn with the head and leave background.

        cm of a rendered px.
        """
        marks = self.head.landmarks
        rows, per_px = crop_px[..., 1], cm_per_px(self.head.camera)
        band = (rows > marks[152, 1] + 0.6 / per_px) & (rows < marks[152, 1] + 2.2 / per_px)
        column = np.rint((crop_px[..., 0] - crop_px[..., 0].min()) * per_px / cm).astype(int)  # of an upright head
        width = np.full(column.max() + 1, 2, np.float32)  # the neck's
        np.minimum.at(width, column[band], person[band])
        width[width > 1.5] = 0
        bare = deform.smoothstep(ndimage.distance_transform_edt(clothes < 0.3) * cm / 3.0)
        throat = neck_fill(width, neck * bare, cm, column)
        below = np.clip((rows - marks[[172, 397], 1].mean()) / 30, 0, 1)  # from the corners of the jaw down
        under = below * throat * person  # outside the matte it can only be background
        return np.asarray(under, np.float32)

    def _layers(self, mesh: Array, rest: Array, surface: Array) -> tuple[Layer, Layer, Layer, MouthLayer]:
        """The mouth's inside, the left and the right lid; and what paints the mouth in every frame."""
        head, marks = self.head, self.head.landmarks[:, :2]
        on_surface = unproject(marks, sample(surface, marks), head.camera)
        deepest = float(on_surface[list(deform.INNER_LIPS), 2].max())
        inside = build_mouth(self.models.mouth, head, mesh, rest, deepest)
        colors, radius = paint_mouth(self.models.mouth, inside, np.zeros_like(mesh))
        ones = np.ones(len(colors), np.float32)
        layer = Layer(inside.means, colors, radius, inside.skin, ones, SOLID * ones)
        smooth = ndimage.gaussian_filter(head.image.astype(np.float32) / 255, (2, 2, 0))
        lift = on_surface[:, 2] - mesh[:, 2]
        around = sample(smooth, marks)
        left, right = (upper_lid(side, mesh, lift, around) for side in ("Left", "Right"))
        return layer, left, right, inside


@torch.inference_mode()
def learned(models: Models, head: Portrait, maps: GeometryMaps, surface: Array, drivers: Array) -> Grids:
    """What the learned head says of a photo."""
    basis = models.expression
    seen = head_inputs(head, maps, surface, basis.triangles, basis.canonical)
    grids: Grids = models.head(torch.from_numpy(seen)[None], torch.from_numpy(drivers)[None])
    return grids


def hidden_inputs(
    features: torch.Tensor, head: Portrait, means: Array, colors: Array
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the Sym-Gaussian decoder is told of hidden points [N, 3] with first colours [N, 3]."""
    own, twin = (project(points, head.camera) for points in (means, mirror(means)))
    photo = sample(head.image.astype(np.float32) / 255, twin)
    at, beside = (look(features, as_tensor(place / CROP_SIZE)) for place in (own, twin))
    return at, beside, as_tensor(photo), as_tensor(colors), as_tensor(means)


def _bases(grids: Grids, edge: Array) -> Bases:
    """The bases of one photo; their motion fades before the edge of the rendered box, `edge` [512, 512] px away."""
    motion = (grids.motion[0].numpy() * motion_fade(edge)).astype(np.float32)
    return Bases(motion, np.ascontiguousarray(grids.shade[0].numpy()))


def motion_fade(edge: Array) -> Array:
    """[GRID, GRID] 0..1 of `Builder.edge`."""
    step = CROP_SIZE // GRID
    return deform.smoothstep((edge.reshape(GRID, step, GRID, step).mean((1, 3)) - 3) / deform.EDGE_FADE)


def _enlarged(cells: Array) -> Array:
    """[512, 512] of [GRID, GRID]."""
    wide = torch.nn.functional.interpolate(torch.from_numpy(cells)[None, None], CROP_SIZE, mode="bilinear")
    return wide[0, 0].numpy()


def coarse_surface(head: Portrait, maps: GeometryMaps) -> Array:
    """[512, 512] float32 cm: camera z of the head's surface at every crop pixel (extended past its edge)."""
    person = 1 - maps.labels[..., 0]
    mask = (person * (1 - maps.labels[..., CLOTHES])) > 0.5
    prior = maps.depth + head.camera.viewmat[2, 3]
    depth = integrate_normals(maps.normals, mask, halved(head.camera).K, prior)
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return ndimage.zoom(depth[tuple(nearest)], 2, order=1).astype(np.float32)


def own_state(basis: expression.ExpressionBasis, head: Portrait) -> Array:
    """[32] drivers of the photo. Closed lips are that person's lips at rest, whatever their shape."""
    drivers = expression.rest_drivers(basis, head_mesh(head.landmarks, head.camera), head.blendshapes)
    modes = drivers[-LIP_MODES:]
    gap = float(expression.lip_gap(basis, modes))
    closed, shaped = CLOSED_PHOTO
    opened = float(np.clip((gap - closed) / (shaped - closed), 0, 1))
    drivers[-LIP_MODES:] = opened * (modes + (1 - opened) * gap * basis.opening)
    return drivers


def _behind(landmarks: Array, pixels: Array, mouth: Array) -> Array:
    """[N, 3] cm: eyeballs lie behind the lids, the photo's own open mouth behind the lips."""
    offset = np.zeros((len(pixels), 3), np.float32)
    offset[mouth, 2] = 0.25
    for ring in (deform.LEFT_EYE, deform.RIGHT_EYE):
        offset[deform.inside(pixels, landmarks[list(ring), :2]), 2] = 0.3
    return offset


def _connected(matte: Array, start: tuple[int, int], reach: int) -> Array:
    """The matte without what does not hang together with `start`; loose hair within `reach` px stays."""
    parts, _ = ndimage.label(matte > 0.5)
    if not parts[start]:
        return matte
    near = ndimage.distance_transform_edt(parts != parts[start])
    return matte * np.clip(2 - near / max(reach, 1), 0, 1).astype(np.float32)


def halved(camera: Camera) -> Camera:
    """The same view with half the pixels."""
    K = camera.K.copy()
    K[:2] /= 2
    return Camera(K, camera.viewmat, camera.width // 2, camera.height // 2)


def _inner(image: Array, mask: Array, rim: Array) -> Array:
    """Colours [N, 3] a little inside the outline, where no background is mixed in; image [H * W, 3]."""
    deep = ndimage.binary_erosion(mask, iterations=3)
    if not deep.any():
        return image[np.ravel_multi_index(tuple(rim.T), mask.shape)]
    nearest = ndimage.distance_transform_edt(~deep, return_distances=False, return_indices=True)
    rows, columns = nearest[:, rim[:, 0], rim[:, 1]]
    return image[rows * mask.shape[1] + columns]


def sample(image: Array, points: Array) -> Array:
    """Bilinear samples of a 512² crop image [512, 512(, C)] at crop px [..., 2]."""
    at = [points[..., 1] - 0.5, points[..., 0] - 0.5]
    if image.ndim == 2:
        return ndimage.map_coordinates(image, at, order=1, mode="nearest").astype(np.float32)
    channels = [ndimage.map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(image.shape[2])]
    return np.stack(channels, -1).astype(np.float32)


def _resize_float(image: Array, size: tuple[int, int]) -> Array:
    if image.shape[1::-1] == size:
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    wide = torch.nn.functional.interpolate(tensor, size=size[::-1], mode="bicubic", align_corners=False)
    return wide[0].permute(1, 2, 0).clamp(0, 1).numpy()
