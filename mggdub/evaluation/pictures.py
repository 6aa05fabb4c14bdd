"""What is seen in a frame, compared with the true frame and with the photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mggdub.errors import InputError
from mggdub.evaluation import perceptual
from mggdub.face import mesh
from mggdub.face.clip import Trail, look_on
from mggdub.face.detector import FaceFinder
from mggdub.face.portrait import cut, head_pose
from mggdub.geometry.camera import crop_camera, head_crop
from mggdub.media.image import resize
from mggdub.metrics import pixels
from mggdub.metrics.landmarks import eye_distance
from mggdub.networks.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.networks.sync import SyncJudge, load_judge
from mggdub.types import BACKGROUND, CLOTHES, Array, Crop, Face, Photo, Portrait

SAME_SIZE = 0.95  # of the photo's face: from here on the photo is not shrunk to the video's size
MOUTH_MARGIN = 0.15  # of the lips' width, around the box in which sharpness is measured


@dataclass(frozen=True, eq=False)
class Judges:
    """The networks, loaded once; those of the [eval] extra may be missing."""

    faces: FaceFinder
    geometry: GeometryNet
    sync: SyncJudge
    lpips: perceptual.Lpips | None
    vgg: perceptual.Vgg | None
    recogniser: perceptual.Recogniser | None
    missing: dict[str, str] = field(default_factory=dict)  # what is not measured, and why


def load_judges() -> Judges:
    """Raises InputError if a shipped weight file is missing; a missing extra is noted in `missing`."""
    missing: dict[str, str] = {}

    def optional(name: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except InputError as error:
            missing[name] = f"{name} was not measured: {error}"
            return None

    return Judges(
        FaceFinder(),
        load_geometry(),
        load_judge(),
        optional("LPIPS", perceptual.load_lpips),
        optional("FD-VGG", perceptual.load_vgg),
        optional("CSIM-dlib", perceptual.load_recogniser),
        missing,
    )


@dataclass(frozen=True, eq=False)
class View:
    """A head crop."""

    picture: Array  # [512, 512, 3] uint8
    landmarks: Array  # [478, 3] px of it
    matte: Array  # [512, 512] of the person
    head: Array  # [512, 512] the same without clothes
    features: Array | None  # [512] of VGG16
    descriptor: Array | None  # [128] of dlib


def view_of(frame: Array, face: Face, crop: Crop, judges: Judges, features: bool = False) -> View:
    """The head crop of a frame [H, W, 3] uint8 and what is known of it; `features`: with those of VGG16 and dlib."""
    marks = crop.to_crop(face.landmarks)
    picture = cut(frame, crop)
    maps = estimate_geometry(
        judges.geometry, Portrait(picture, crop, marks, face.blendshapes, crop_camera(*head_pose(marks)))
    )
    person = np.maximum(1 - maps.labels[..., BACKGROUND], 1e-3)
    clothes = np.kron(np.clip(maps.labels[..., CLOTHES] / person, 0, 1), np.ones((2, 2), np.float32))
    vgg_features = judges.vgg.features(picture) if features and judges.vgg else None
    who = judges.recogniser.descriptor(frame, face.landmarks) if features and judges.recogniser else None
    return View(picture, marks, maps.matte, maps.matte * (1 - clothes), vgg_features, who)


@dataclass
class Truth:
    """What was found in the frames of a reference, by time stamp; a shot's crop is the one of its first face."""

    crops: dict[float, Crop] = field(default_factory=dict)
    faces: dict[float, Face | None] = field(default_factory=dict)
    views: dict[float, View] = field(default_factory=dict)
    _trail: Trail | None = None
    _crop: Crop | None = None

    def face(self, stamp: float, frame: Array, judges: Judges) -> Face | None:
        """Frames have to come in order."""
        if stamp not in self.faces:
            before = self._trail
            sighting, self._trail = look_on(judges.faces, stamp, frame, before)
            self.faces[stamp] = sighting.face
            if sighting.face is not None:
                if self._crop is None or before is None or sighting.shot != before.shot:
                    self._crop = head_crop(sighting.face.landmarks)
                self.crops[stamp] = self._crop
        return self.faces[stamp]

    def view(self, stamp: float, frame: Array, face: Face, judges: Judges) -> View:
        """The true head of the frame at this time, looked at once."""
        if stamp not in self.views:
            self.views[stamp] = view_of(frame, face, self.crops[stamp], judges, features=True)
        return self.views[stamp]


def compare_pictures(ours: View, who: Array | None, true: View, judges: Judges) -> dict[str, Any]:
    """Figures by name of our head beside the true one; `who` [128] is dlib's descriptor of ours."""
    black = [(v.picture * v.head[..., None]).round().astype(np.uint8) for v in (ours, true)]
    values: dict[str, Any] = {
        "psnr": pixels.psnr(ours.picture, true.picture),
        "ssim": pixels.ssim(ours.picture, true.picture),
        "psnr_head": pixels.psnr(ours.picture, true.picture, true.head),
        "psnr_black": pixels.psnr(*black),
    }
    if judges.lpips:
        values["lpips_alex"] = judges.lpips.distance(ours.picture, true.picture)
    if who is not None and true.descriptor is not None:
        values["csim_dlib_true"] = perceptual.cosine(who, true.descriptor)
    if judges.vgg:
        values |= {"features": judges.vgg.features(ours.picture), "true_features": true.features}
    return values


@dataclass(frozen=True, eq=False)
class Sitter:
    """What is known of the photo."""

    texture: dict[str, float]
    descriptor: Array | None

    @classmethod
    def of(cls, photo: Photo, beside: Face, judges: Judges) -> Sitter:
        """The photo is shrunk to the size that the face has in the video (`beside`)."""
        faces = judges.faces.find(photo.pixels)
        if not faces:
            raise InputError("No human face was found in the photo; give the one that the video was made from.")
        net = judges.recogniser
        known = net.descriptor(photo.pixels, faces[0].landmarks) if net else None
        ratio = eye_distance(beside.landmarks) / eye_distance(faces[0].landmarks)
        ratio = ratio if ratio < SAME_SIZE else 1.0  # resampling would soften it
        width, height = (max(1, round(side * ratio)) for side in photo.size)
        small = replace(faces[0], landmarks=(faces[0].landmarks * ratio).astype(np.float32))
        small_view = view_of(resize(photo.pixels, (width, height)), small, head_crop(small.landmarks), judges)
        return cls(texture(small_view), known)

    def compare(self, view: View, who: Array | None) -> dict[str, float]:
        """Sharpness, seam and likeness over the photo's own; `who` is dlib's descriptor of the view."""
        shown = texture(view)
        values = {name: shown[name] / max(reference, 1e-6) for name, reference in self.texture.items()}
        if who is not None and self.descriptor is not None:
            values["csim_dlib"] = perceptual.cosine(who, self.descriptor)
        return values


def texture(view: View) -> dict[str, float]:
    """Sharpness of the mouth and gradient along the outline."""
    left, top, right, bottom = mouth_box(view.landmarks)
    return {
        "mouth_sharpness": pixels.sharpness(view.picture[top:bottom, left:right]),
        "seam": pixels.contour_gradient(view.picture, view.matte),
    }


def mouth_box(landmarks: Array) -> tuple[int, int, int, int]:
    """Left, top, right and bottom px of the lips of landmarks [478, >=2] and a margin around them."""
    lips = landmarks[list(mesh.LIP_LANDMARKS), :2]
    margin = MOUTH_MARGIN * np.ptp(lips[:, 0])
    left, top = np.maximum(lips.min(0) - margin, 0).astype(int)
    right, bottom = (lips.max(0) + margin).astype(int)
    return left, top, right, bottom
