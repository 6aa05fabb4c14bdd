"""Where the rooms meet: a photo becomes an avatar, speech becomes a track, both become a video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from mggdub.config import RenderOptions
from mggdub.geometry.camera import head_mesh
from mggdub.geometry.surface import integrate_normals
from mggdub.media.audio import read_audio
from mggdub.media.image import read_image
from mggdub.media.video import check_output, write_video
from mggdub.models import deform, expression, mouth
from mggdub.models.speech import SpeechModel, load_speech, speech_track
from mggdub.perception.face import FaceFinder, choose_face, portrait
from mggdub.perception.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.perception.inpaint import make_plate, push_pull
from mggdub.render.composite import composite, foreground
from mggdub.render.fit import fit_photo
from mggdub.render.rasterize import render_frame
from mggdub.types import (
    CLOTHES,
    CROP_SIZE,
    DRIVERS,
    EYES,
    FOCAL,
    LIP_MODES,
    MOUTH,
    SKIN,
    Array,
    Camera,
    ExpressionTrack,
    Frame,
    Gaussians,
    GeometryMaps,
    HeadAvatar,
    Photo,
    Portrait,
    Waveform,
    as_tensor,
)

RENDER_SIZE = 640  # px, longest side of what is rendered one to one; beyond it the head is scaled up
PREVIEW_SIZE = 256
EASE = 0.3  # s in which the photo's own expression gives way to the track
SPLAT = 0.62  # px, standard deviation of a splat in the photo's own pose
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Models:
    """Everything that is loaded once, whatever the number of photos."""

    faces: FaceFinder
    geometry: GeometryNet
    expression: expression.ExpressionBasis
    speech: SpeechModel


def load_models() -> Models:
    """All shipped networks. Raises InputError if a weight file is missing or damaged."""
    return Models(FaceFinder(), load_geometry(), expression.load_expression(), load_speech())


# --- the avatar ------------------------------------------------------------------------------------------------------


def build_avatar(photo: Photo, models: Models, options: RenderOptions) -> HeadAvatar:
    """The moving head of a photo. Raises InputError if no usable face is found."""
    face = choose_face(models.faces.find(photo.pixels), options.face)
    head = portrait(photo, face, models.faces)
    maps = estimate_geometry(models.geometry, head)
    picture = _resize(photo.pixels, _output_size(photo.size, options))
    scale = picture.shape[1] / photo.size[0]  # output px per photo px
    frame = _frame(head, scale, picture, PREVIEW_SIZE if options.preview else RENDER_SIZE)
    return _Builder(head, maps, picture, scale, frame, models.expression).build()


def _output_size(size: tuple[int, int], options: RenderOptions) -> tuple[int, int]:
    longest = options.size or (min(max(size), PREVIEW_SIZE * 2) if options.preview else max(size))
    ratio = longest / max(size)
    return max(2, round(size[0] * ratio)), max(2, round(size[1] * ratio))


def _resize(pixels: Array, size: tuple[int, int]) -> Array:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _frame(head: Portrait, scale: float, picture: Array, nominal: int) -> Frame:
    """The part of the output picture that the crop covers, and the size it is rendered at."""
    left, top = max(0, round(head.crop.left * scale)), max(0, round(head.crop.top * scale))
    right = min(picture.shape[1], round((head.crop.left + head.crop.side) * scale))
    bottom = min(picture.shape[0], round((head.crop.top + head.crop.side) * scale))
    width, height = right - left, bottom - top
    ratio = min(1.0, nominal / max(width, height))
    return Frame(left, top, width, height, max(1, round(width * ratio)), max(1, round(height * ratio)))


@dataclass(frozen=True, eq=False)
class _Builder:
    """The values that the steps of building an avatar share."""

    head: Portrait
    maps: GeometryMaps
    picture: Array
    scale: float  # output px per photo px
    frame: Frame
    basis: expression.ExpressionBasis

    def build(self) -> HeadAvatar:
        head, frame, basis = self.head, self.frame, self.basis
        box = self.picture[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        target = _resize(box, (frame.render_width, frame.render_height)).astype(np.float32) / 255
        crop_px = self._crop_pixels()  # [h, w, 2]
        camera = self._camera(crop_px)
        cm_per_px = float(head.camera.viewmat[2, 3]) / FOCAL
        surface = _surface(head, self.maps)
        labels = ndimage.zoom(self.maps.labels, (2, 2, 1), order=1)
        person = _sample(self.maps.matte, crop_px)
        share = deform.neck_weights(head.landmarks, labels[..., CLOTHES], self._edge(crop_px), cm_per_px)
        neck = _sample(share, crop_px)
        matte = person * (1 - _sample(labels[..., CLOTHES], crop_px)) * np.clip(neck / 0.05, 0, 1)

        plate = self._plate(target, crop_px, matte, person, neck, cm_per_px)
        rows, columns = np.nonzero(matte > 0.03)
        pixels = crop_px[rows, columns]  # [N, 2] crop px
        means = _to_head(pixels, _sample(surface, crop_px)[rows, columns], head.camera)
        own = foreground(target, matte, plate)[rows, columns]
        depth = _sample(surface, crop_px)[rows, columns]
        render_focal = camera.K[0, 0]
        gaussians = Gaussians(
            as_tensor(means),
            as_tensor(np.tile([1.0, 0, 0, 0], (len(means), 1))),
            as_tensor(np.repeat((SPLAT * depth / render_focal)[:, None], 3, 1)),
            as_tensor(np.clip(matte[rows, columns], 0.02, 0.98)),
            as_tensor(own),
        )
        gaussians = fit_photo(gaussians, camera, target, matte > 0.03, background=plate)
        skin = deform.skin_weights(pixels, head.landmarks, basis.triangles, cm_per_px)

        mesh = head_mesh(head.landmarks, head.camera)
        drivers = _photo_drivers(basis, mesh, head.blendshapes)
        layers, lids, inside = self._layers(mesh, drivers, surface, len(means))
        behind = _behind(head.landmarks, pixels, means)
        gaussians = replace(gaussians, means=gaussians.means + as_tensor(behind))
        hidden = mouth.join(layers)
        everything = Gaussians(
            torch.cat([gaussians.means, as_tensor(hidden.means)]),
            torch.cat([gaussians.quats, as_tensor(np.tile([1.0, 0, 0, 0], (len(hidden.means), 1)))]),
            torch.cat([gaussians.scales, as_tensor(np.repeat(hidden.radius[:, None], 3, 1))]),
            torch.cat([gaussians.opacities, torch.full((len(hidden.means),), 0.95)]),
            torch.cat([gaussians.colors, as_tensor(hidden.colors)]),
        )
        full = _resize_float(plate, (frame.width, frame.height))
        original = box.astype(np.float32) / 255
        touched = _resize_float(
            (self._hole(matte, cm_per_px)).astype(np.float32)[..., None], (frame.width, frame.height)
        )
        return HeadAvatar(
            everything,
            deform.sparse.vstack([skin, hidden.skin], format="csr").astype(np.float32),
            np.concatenate([neck[rows, columns], np.ones(len(hidden.means))]).astype(np.float32),
            mesh,
            drivers,
            lids,
            inside,
            camera,
            frame,
            original + (full - original) * np.clip(touched, 0, 1),
            self.picture,
        )

    def _crop_pixels(self) -> Array:
        """[h, w, 2] crop px of every rendered pixel's centre."""
        frame, crop = self.frame, self.head.crop
        x = (np.arange(frame.render_width) + 0.5) * frame.width / frame.render_width + frame.left
        y = (np.arange(frame.render_height) + 0.5) * frame.height / frame.render_height + frame.top
        grid = np.stack(np.meshgrid(x, y), -1) / self.scale  # photo px
        return crop.to_crop(grid)

    def _edge(self, crop_px: Array) -> Array:
        """[512, 512] px from every crop pixel to the nearest edge of the rendered box."""
        (left, top), (right, bottom) = crop_px[0, 0], crop_px[-1, -1]
        at = np.arange(CROP_SIZE) + 0.5
        across, down = np.minimum(at - left, right - at), np.minimum(at - top, bottom - at)
        return np.minimum(across[None], down[:, None])

    def _camera(self, crop_px: Array) -> Camera:
        """The photo's camera for the rendered box."""
        step = crop_px[-1, -1] - crop_px[0, 0]
        per_px = np.array([crop_px.shape[1] - 1, crop_px.shape[0] - 1]) / np.maximum(
            step, 1e-6
        )  # rendered px per crop px
        centre = (CROP_SIZE / 2 - crop_px[0, 0]) * per_px + 0.5
        K = np.array([[FOCAL * per_px[0], 0, centre[0]], [0, FOCAL * per_px[1], centre[1]], [0, 0, 1]], np.float32)
        return Camera(K, self.head.camera.viewmat, crop_px.shape[1], crop_px.shape[0])

    def _hole(self, matte: Array, cm_per_px: float) -> Array:
        """Where the plate must be filled: the head and the band around it that its soft edge colours."""
        px = CROP_SIZE / self.head.crop.side / self.scale * self.frame.width / self.frame.render_width  # crop px per px
        return ndimage.binary_dilation(matte > 0.02, iterations=max(2, round(0.3 / (cm_per_px * px))))

    def _plate(
        self, target: Array, crop_px: Array, matte: Array, person: Array, neck: Array, cm_per_px: float
    ) -> Array:
        hole = self._hole(matte, cm_per_px) & (neck > 0.02)
        marks = self.head.landmarks
        rows = crop_px[:, 0, 1]
        band = (rows > marks[152, 1] + 0.6 / cm_per_px) & (rows < marks[152, 1] + 2.2 / cm_per_px)
        column = person[band].min(0) if band.any() else np.zeros(person.shape[1], np.float32)  # the neck's width
        below = np.clip((rows - marks[[172, 397], 1].mean()) / 30, 0, 1)  # from the corners of the jaw down
        under = below[:, None] * column[None] * person  # outside the matte it can only be background
        return make_plate(target, hole, person, under.astype(np.float32))

    def _layers(
        self, mesh: Array, drivers: Array, surface: Array, start: int
    ) -> tuple[list[mouth.Layer], tuple[slice, slice], slice]:
        """Mouth and lids; where they lie among the Gaussians."""
        head, marks = self.head, self.head.landmarks[:, :2]
        image = head.image.astype(np.float32) / 255
        smooth = ndimage.gaussian_filter(image, (2, 2, 0))
        at_mesh = _sample(smooth, marks)  # [478, 3]
        on_surface = _to_head(marks, _sample(surface, marks), head.camera)
        to_rest = expression.vertex_motion(self.basis, np.zeros(DRIVERS, np.float32)) - expression.vertex_motion(
            self.basis, drivers
        )
        labels = ndimage.zoom(self.maps.labels, (2, 2, 1), order=1)
        skin = np.median(image[labels[..., SKIN] > 0.9], 0) if (labels[..., SKIN] > 0.9).any() else np.full(3, 0.6)
        inside = mouth.mouth_interior(
            mesh,
            to_rest,
            float(on_surface[list(deform.INNER_LIPS), 2].max()),
            _white(image, labels, skin),
            skin.astype(np.float32),
        )
        lift = on_surface[:, 2] - mesh[:, 2]
        left, right = (mouth.eyelid(side, mesh, lift, at_mesh)[0] for side in ("Left", "Right"))
        layers = [inside, left, right]
        ends = np.cumsum([start, *(len(layer.means) for layer in layers)])
        inside_at, left_at, right_at = (slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True))
        return layers, (left_at, right_at), inside_at


def _surface(head: Portrait, maps: GeometryMaps) -> Array:
    """[512, 512] float32 cm: camera z of the head's surface at every crop pixel (extended past its edge)."""
    person = 1 - maps.labels[..., 0]
    mask = (person * (1 - maps.labels[..., CLOTHES])) > 0.5
    K = head.camera.K.copy()
    K[:2] /= 2
    prior = maps.depth + head.camera.viewmat[2, 3]
    depth = integrate_normals(maps.normals, mask, K, prior)
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return ndimage.zoom(depth[tuple(nearest)], 2, order=1).astype(np.float32)


def _photo_drivers(basis: expression.ExpressionBasis, mesh: Array, blendshapes: Array) -> Array:
    """[32]: the photo's own expression, its lip modes agreeing with the gap that is seen."""
    drivers = expression.rest_drivers(basis, mesh, blendshapes)
    modes = drivers[-LIP_MODES:]
    seen = float(mesh[14, 1] - mesh[13, 1])
    drivers[-LIP_MODES:] = expression.set_gap(basis, modes, max(seen, 0.0))
    return drivers


def _white(image: Array, labels: Array, skin: Array) -> Array:
    """[3] colour of lit teeth, judged by the whites of the eyes and what teeth are seen."""
    skin_light = float(skin.mean())
    light = [1.15 * skin_light + 0.05]
    for part, share in ((EYES, 80), (MOUTH, 85)):
        seen = image[labels[..., part] > 0.6]
        if len(seen) >= 40:
            light.append(float(np.percentile(seen.mean(1), share)))
    level = np.clip(max(light), 0.25, 0.88)
    tint = skin / max(skin_light, 1e-3)
    return (level * (0.75 * np.array([1.02, 1.0, 0.94]) + 0.25 * tint)).astype(np.float32)


def _behind(landmarks: Array, pixels: Array, means: Array) -> Array:
    """[N, 3] cm: eyeballs lie behind the lids, the inside of an open mouth behind the lips."""
    offset = np.zeros_like(means)
    for ring, back in ((deform.LEFT_EYE, 0.3), (deform.RIGHT_EYE, 0.3), (deform.INNER_LIPS, 0.25)):
        offset[deform.inside(pixels, landmarks[list(ring), :2]), 2] = back
    return offset.astype(np.float32)


def _to_head(pixels: Array, depth: Array, camera: Camera) -> Array:
    """Crop px [N, 2] at camera z [N] cm to head space [N, 3]."""
    rays = np.concatenate([(pixels - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]], np.ones((len(pixels), 1))], 1)
    seen = rays * depth[:, None] - camera.viewmat[:3, 3]
    return (seen @ camera.viewmat[:3, :3]).astype(np.float32)


def _sample(image: Array, points: Array) -> Array:
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


# --- animation -------------------------------------------------------------------------------------------------------


def animate(avatar: HeadAvatar, basis: expression.ExpressionBasis, track: ExpressionTrack) -> Iterator[Array]:
    """Frames [H, W, 3] uint8 of the picture with the head following a track, one after the other."""
    photo_motion = expression.vertex_motion(basis, avatar.drivers)
    triangles = deform.open_triangles(basis.triangles)
    arrays = [
        np.ascontiguousarray(getattr(avatar.gaussians, name).numpy())
        for name in ("means", "quats", "scales", "opacities", "colors")
    ]
    means, quats, scales, opacities, colors = arrays
    for drivers, rotation, translation in zip(_eased(avatar, track), track.rotation, track.translation, strict=True):
        displacement = expression.vertex_motion(basis, drivers) - photo_motion
        moved = deform.move_points(means, avatar.skin, avatar.neck, displacement, rotation, translation)
        growth = deform.stretch(avatar.mesh, avatar.mesh + displacement, triangles) - 1
        grown = scales * (1 + avatar.skin @ growth)[:, None]
        shown = opacities.copy()
        for where, lid, unit in zip(avatar.lids, LID_UNITS, LID_UNITS, strict=True):
            shown[where] *= np.clip((drivers[unit] - avatar.drivers[lid]) / 0.2, 0, 1)
        rgb, alpha = render_frame(moved, quats, grown, shown, colors, avatar.camera)
        yield composite(rgb, alpha, avatar.plate, avatar.picture, avatar.frame.left, avatar.frame.top)


LID_UNITS = (8, 9)  # eyeBlinkLeft, eyeBlinkRight among the drivers


def _eased(avatar: HeadAvatar, track: ExpressionTrack) -> Array:
    """[T, 32] drivers for this head.

    Lips are absolute and ease from the photo's own state. Eyes and brows are played on top of the photo's own, since a
    single photo tells little of how a person's eyes rest.
    """
    drivers = track.drivers.copy()
    units = DRIVERS - LIP_MODES
    own = avatar.drivers
    drivers[:, :units] = own[:units] + drivers[:, :units] * (1 - own[:units])
    start = np.clip((track.times - track.times[0]) / EASE, 0, 1)[:, None] if len(track) else np.zeros((0, 1))
    start = start * start * (3 - 2 * start)
    drivers[:, units:] = own[units:] + (drivers[:, units:] - own[units:]) * start
    return drivers.astype(np.float32)


# --- the whole job ---------------------------------------------------------------------------------------------------


def make_track(speech: Waveform, models: Models, options: RenderOptions) -> ExpressionTrack:
    """What the head does while this is said."""
    frames = max(1, round(speech.duration * float(options.fps)))
    return speech_track(
        models.speech,
        speech,
        float(options.fps),
        frames,
        mouth_scale=options.mouth_scale,
        blink=options.blink,
        pose=options.pose,
        seed=options.seed,
    )


def render_file(photo: Path, speech: Path, output: Path, options: RenderOptions, progress: Progress) -> dict[str, Any]:
    """Dub `photo` with `speech` into the video `output`; returns the report. Raises MggdubError."""
    clock = time.perf_counter()
    check_output(output, options.force)
    picture = read_image(photo)
    sound = read_audio(speech)
    progress("load", 0, 1)
    models = load_models()
    loaded = time.perf_counter()
    progress("photo", 0, 1)
    avatar = build_avatar(picture, models, options)
    built = time.perf_counter()
    progress("speech", 0, 1)
    track = make_track(sound, models, options)
    heard = time.perf_counter()

    def watched() -> Iterator[Array]:
        for index, frame in enumerate(animate(avatar, models.expression, track)):
            progress("render", index, len(track))
            yield frame
        progress("render", len(track), len(track))

    height, width = avatar.picture.shape[:2]
    write_video(
        output,
        watched(),
        fps=options.fps,
        size=(width, height),
        audio=speech,
        duration=sound.duration,
        crf=options.crf,
        force=options.force,
    )
    done = time.perf_counter()
    return {
        "output": str(output),
        "frames": len(track),
        "fps": float(options.fps),
        "seconds": round(sound.duration, 3),
        "size": [width, height],
        "gaussians": len(avatar.gaussians),
        "silent": not bool(track.lip_modes.any()),
        "times": {
            "load": round(loaded - clock, 3),
            "photo": round(built - loaded, 3),
            "speech": round(heard - built, 3),
            "render": round(done - heard, 3),
        },
    }
