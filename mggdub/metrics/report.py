"""Everything that can be measured of a video: alone, against the true clip, against the photo it was made from.

Frames are read one after the other; what is kept of each is about a kilobyte. Landmarks are looked for in every
frame, pictures are compared in `pictures` frames spread evenly over the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mggdub.errors import InputError, UsageError
from mggdub.geometry.camera import RIGID, crop_camera, crop_matrix, head_crop, solve_pose, upright_crop
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.audio import read_audio
from mggdub.media.image import read_image, resize
from mggdub.media.video import VideoInfo, probe, read_video
from mggdub.metrics import face as lm
from mggdub.metrics import image, judge, perceptual, sync
from mggdub.perception.face import FaceFinder, canonical_face, cut, head_pose
from mggdub.perception.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.types import BACKGROUND, CLOTHES, Array, Crop, Face, Photo, Portrait

PICTURES = 48  # frames in which pictures are compared
MOTIONLESS = 1e-3  # standard deviation of a lip aperture that is the tracker's noise: it correlates with nothing
SAME_SIZE = 0.95  # of the photo's face: from here on the photo is not shrunk to the video's size
MOUTH_MARGIN = 0.15  # of the lips' width, around the box in which sharpness is measured
# name: (unit, what it says). Larger is better for (+), smaller for (-); for the others the true clip is the measure.
METRICS = {
    "seconds": ("s", "picture"),
    "fps": ("", ""),
    "frames": ("", ""),
    "frames_without_face": ("", "(-)"),
    "end_difference": ("ms", "end of the picture minus end of the sound"),
    "lip_mean": ("%", "lip aperture over outer-eye distance, mean"),
    "lip_std": ("%", "its standard deviation"),
    "silence_seconds": ("s", "without voice"),
    "silence_lip_std": ("%", "standard deviation of the lip aperture without voice"),
    "blinks_per_minute": ("1/min", ""),
    "head_motion": ("degrees", "RMS about the mean pose"),
    "jitter": ("1/s²", "(-) acceleration of rigid landmarks in outer-eye distances"),
    "sound_lag": ("ms", "how much later the loudness comes than the lip aperture"),
    "sound_lag_r": ("", "their correlation there"),
    "sync_d_mgg": ("", "(-) distance of lips and sound where they match best, by mggdub's judge"),
    "sync_c_mgg": ("", "(+) how much farther they are at other shifts of the sound, median"),
    "sync_offset": ("ms", "how much later the sound comes than the lips, by the judge"),
    "frames_compared": ("", "pictures that were compared"),
    "psnr": ("dB", "(+) head crop"),
    "ssim": ("", "(+) head crop"),
    "lpips_alex": ("", "(-) head crop"),
    "psnr_head": ("dB", "(+) inside the outline of the true head"),
    "psnr_black": ("dB", "(+) both heads on black, whole head crop"),
    "fd_vgg": ("", "(-) Frechet distance of VGG16 relu5_3 means"),
    "f_lmd": ("%", "(-) distance of all landmarks over outer-eye distance"),
    "m_lmd": ("%", "(-) the same of the lips"),
    "aed_mp": ("", "(-) mean difference of 52 blendshapes"),
    "apd_mp": ("degrees", "(-) mean difference of pitch, yaw, roll"),
    "lip_r": ("", "(+) correlation of the lip apertures, no lag"),
    "lip_lag": ("ms", "how much later the lips are than the true ones"),
    "lip_lag_r": ("", "(+) correlation there"),
    "csim_dlib": ("", "(+) cosine of dlib's descriptors to the photo; two people reach 0.9"),
    "csim_dlib_true": ("", "(+) the same to the true frame"),
    "mouth_sharpness": ("", "variance of the Laplacian around the mouth over that of the photo"),
    "seam": ("", "gradient along the outline over that of the photo"),
}
FEATURES = ("features", "true_features")
Progress = Callable[[int, int], None]


def _nothing(done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True, eq=False)
class Judges:
    """The networks, loaded once; those of the [eval] extra may be missing."""

    faces: FaceFinder
    geometry: GeometryNet
    sync: judge.SyncJudge
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
        judge.load_judge(),
        optional("LPIPS", perceptual.load_lpips),
        optional("FD-VGG", perceptual.load_vgg),
        optional("CSIM-dlib", perceptual.load_recogniser),
        missing,
    )


@dataclass(frozen=True, eq=False)
class Measurement:
    """Numbers by the names of METRICS; the curves they come from, per frame; VGG features [n, 512]."""

    numbers: dict[str, float]
    curves: dict[str, Array]
    features: Array | None = None
    true_features: Array | None = None
    skipped: tuple[str, ...] = ()


@dataclass
class _Gathered:
    """What is kept of the frames."""

    times: list[float] = field(default_factory=list)  # mid-times
    curves: dict[str, list[Any]] = field(default_factory=dict)
    pictures: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, kind: str, **values: Any) -> None:
        kept: dict[str, list[Any]] = getattr(self, kind)
        for name, value in values.items():
            kept.setdefault(name, []).append(value)

    def curve(self, name: str) -> Array:
        return np.array(self.curves[name], np.float64)


def measure(
    video: Path,
    judges: Judges,
    reference: Path | None = None,
    photo: Photo | None = None,
    pictures: int = PICTURES,
    progress: Progress = _nothing,
    truth: Truth | None = None,
) -> Measurement:
    """All metrics that the inputs allow; `truth` is for videos with the same reference.

    Raises UsageError or InputError (no face anywhere).
    """
    info = probe(video)
    total = max(1, round(info.duration * float(info.fps)))
    count = min(pictures, total) if reference or photo else 0
    chosen = image.evenly(count, total)
    truth = Truth() if truth is None else truth
    kept, shown, sitter = _Gathered(), None, None
    for index, (stamp, frame, beside) in enumerate(_paired(video, info, reference)):
        progress(index, total)
        kept.times.append(stamp + 0.5 / float(info.fps))
        shown, seen = _follow(judges.faces, frame, shown)
        now = _read_face(shown if seen else None)
        kept.add("curves", **now)
        true = truth.face(*beside, judges) if beside else None
        if beside:
            kept.add("curves", **_compare_faces(now, shown, true))
        if index not in chosen or shown is None or not seen or (beside and true is None):
            continue
        view = _view(frame, shown, truth.crop or head_crop(shown.landmarks), judges)
        who = judges.recogniser.descriptor(frame, shown.landmarks) if judges.recogniser else None
        if beside and true:
            kept.add("pictures", **_compare_pictures(view, who, truth.view(*beside, true, judges), judges))
        if photo is not None:
            sitter = sitter or _Sitter.of(photo, shown, judges)
            kept.add("pictures", **sitter.compare(view, who))
    if shown is None:
        raise InputError(f"No face was found in any frame of {video}; give a video that shows one from the front.")
    if reference is not None and truth.crop is None:
        raise InputError(f"No face was found in any frame of {reference}; give the clip that the video imitates.")
    return _summary(video, info, kept, judges, reference is not None, photo is not None)


def _paired(
    video: Path, info: VideoInfo, reference: Path | None
) -> Iterator[tuple[float, Array, tuple[float, Array] | None]]:
    """(stamp, frame, the reference's stamp and frame nearest in time and of the same size), as far as both go."""
    if reference is None:
        yield from ((stamp, frame, None) for stamp, frame in read_video(video))
        return
    other = probe(reference)
    if abs(info.width / info.height - other.width / other.height) > 0.03:
        raise UsageError(f"{video} is {info.width}x{info.height}, {reference} {other.width}x{other.height}; give clips "
                         "of the same shape.")  # fmt: skip
    size = (other.width, other.height)
    truths = read_video(reference)
    now, after = next(truths), next(truths, None)
    for stamp, frame in read_video(video):
        while after is not None and abs(after[0] - stamp) <= abs(now[0] - stamp):
            now, after = after, next(truths, None)
        if after is None and stamp - now[0] > 1 / float(other.fps):
            return
        yield stamp, _as_large(frame, size), now


def _as_large(frame: Array, size: tuple[int, int]) -> Array:
    """The frame at (width, height): cut where encoding made it even, scaled where it is of another size."""
    width, height = size
    if 0 <= frame.shape[1] - width <= 1 and 0 <= frame.shape[0] - height <= 1:
        return frame[:height, :width]
    return resize(frame, size)


def _follow(faces: FaceFinder, frame: Array, last: Face | None) -> tuple[Face | None, bool]:
    """The face of this frame, or the last one and False."""
    found = faces.track(frame, last) if last else None
    found = found or next(iter(faces.find(frame, last)), None)
    return (found, True) if found else (last, False)


@cache
def _rigid() -> Array:
    return canonical_face()[0][list(RIGID)]


def _angles(face: Face) -> Array:
    points = upright_crop(face.landmarks).to_crop(face.landmarks)[None, list(RIGID), :2]
    return matrix_to_euler(solve_pose(_rigid(), points, crop_matrix())[0][0])


def _read_face(face: Face | None) -> dict[str, Any]:
    """The curves of one frame; NaN without a face."""
    if face is None:
        nothing = float("nan")
        rigid = np.full((len(RIGID), 2), nothing)
        mouth = np.full(2 * len(judge.POINTS), nothing)
        return {"lips": nothing, "eyes": nothing, "angles": np.full(3, nothing), "rigid": rigid, "width": nothing,
                "mouth": mouth}  # fmt: skip
    marks = face.landmarks
    return {
        "lips": float(lm.lip_aperture(marks[None])[0]),
        "eyes": lm.eye_openness(marks),
        "angles": _angles(face),
        "rigid": marks[list(RIGID), :2],
        "width": lm.eye_distance(marks),
        "mouth": judge.head_lips(marks[None])[0],
    }


def _compare_faces(now: dict[str, Any], shown: Face | None, true: Face | None) -> dict[str, float]:
    """`now` is what `_read_face` says of `shown`."""
    if shown is None or true is None or not np.isfinite(now["lips"]):
        return dict.fromkeys(("true_lips", "f_lmd", "m_lmd", "aed_mp", "apd_mp"), float("nan"))
    return {
        "true_lips": float(lm.lip_aperture(true.landmarks[None])[0]),
        "f_lmd": lm.landmark_distance(shown.landmarks, true.landmarks),
        "m_lmd": lm.landmark_distance(shown.landmarks, true.landmarks, lm.LIPS),
        "aed_mp": float(np.abs(shown.blendshapes - true.blendshapes).mean()),
        "apd_mp": float(np.abs(lm.wrapped(now["angles"] - _angles(true))).mean()),
    }


@dataclass(frozen=True, eq=False)
class _View:
    """A head crop."""

    picture: Array  # [512, 512, 3] uint8
    landmarks: Array  # [478, 3] px of it
    matte: Array  # [512, 512] of the person
    head: Array  # [512, 512] the same without clothes
    features: Array | None  # [512] of VGG16
    descriptor: Array | None  # [128] of dlib


def _view(frame: Array, face: Face, crop: Crop, judges: Judges, features: bool = False) -> _View:
    marks = crop.to_crop(face.landmarks)
    picture = cut(frame, crop)
    maps = estimate_geometry(
        judges.geometry, Portrait(picture, crop, marks, face.blendshapes, crop_camera(*head_pose(marks)))
    )
    person = np.maximum(1 - maps.labels[..., BACKGROUND], 1e-3)
    clothes = np.kron(np.clip(maps.labels[..., CLOTHES] / person, 0, 1), np.ones((2, 2), np.float32))
    seen = judges.vgg.features(picture) if features and judges.vgg else None
    who = judges.recogniser.descriptor(frame, face.landmarks) if features and judges.recogniser else None
    return _View(picture, marks, maps.matte, maps.matte * (1 - clothes), seen, who)


@dataclass
class Truth:
    """What was found in the frames of a reference, by time stamp; `crop` is the one of its first face."""

    crop: Crop | None = None
    faces: dict[float, Face | None] = field(default_factory=dict)
    views: dict[float, _View] = field(default_factory=dict)
    _last: Face | None = None

    def face(self, stamp: float, frame: Array, judges: Judges) -> Face | None:
        """Frames have to come in order."""
        if stamp not in self.faces:
            self._last, seen = _follow(judges.faces, frame, self._last)
            self.faces[stamp] = self._last if seen else None
            if self.crop is None and self._last is not None:
                self.crop = head_crop(self._last.landmarks)
        return self.faces[stamp]

    def view(self, stamp: float, frame: Array, face: Face, judges: Judges) -> _View:
        assert self.crop is not None
        if stamp not in self.views:
            self.views[stamp] = _view(frame, face, self.crop, judges, features=True)
        return self.views[stamp]


def _compare_pictures(ours: _View, who: Array | None, true: _View, judges: Judges) -> dict[str, Any]:
    """`who` is dlib's descriptor of ours."""
    black = [(v.picture * v.head[..., None]).round().astype(np.uint8) for v in (ours, true)]
    values: dict[str, Any] = {
        "psnr": image.psnr(ours.picture, true.picture),
        "ssim": image.ssim(ours.picture, true.picture),
        "psnr_head": image.psnr(ours.picture, true.picture, true.head),
        "psnr_black": image.psnr(*black),
    }
    if judges.lpips:
        values["lpips_alex"] = judges.lpips.distance(ours.picture, true.picture)
    if who is not None and true.descriptor is not None:
        values["csim_dlib_true"] = perceptual.cosine(who, true.descriptor)
    if judges.vgg:
        values |= {"features": judges.vgg.features(ours.picture), "true_features": true.features}
    return values


@dataclass(frozen=True, eq=False)
class _Sitter:
    """What is known of the photo."""

    texture: dict[str, float]
    descriptor: Array | None

    @classmethod
    def of(cls, photo: Photo, beside: Face, judges: Judges) -> _Sitter:
        """The photo is shrunk to the size that the face has in the video (`beside`)."""
        faces = judges.faces.find(photo.pixels)
        if not faces:
            raise InputError("No human face was found in the photo; give the one that the video was made from.")
        net = judges.recogniser
        known = net.descriptor(photo.pixels, faces[0].landmarks) if net else None
        ratio = lm.eye_distance(beside.landmarks) / lm.eye_distance(faces[0].landmarks)
        ratio = ratio if ratio < SAME_SIZE else 1.0  # resampling would soften it
        width, height = (max(1, round(side * ratio)) for side in photo.size)
        small = replace(faces[0], landmarks=(faces[0].landmarks * ratio).astype(np.float32))
        small_view = _view(resize(photo.pixels, (width, height)), small, head_crop(small.landmarks), judges)
        return cls(_texture(small_view), known)

    def compare(self, view: _View, who: Array | None) -> dict[str, float]:
        shown = _texture(view)
        values = {name: shown[name] / max(own, 1e-6) for name, own in self.texture.items()}
        if who is not None and self.descriptor is not None:
            values["csim_dlib"] = perceptual.cosine(who, self.descriptor)
        return values


def _texture(view: _View) -> dict[str, float]:
    lips = view.landmarks[list(lm.LIPS), :2]
    margin = MOUTH_MARGIN * np.ptp(lips[:, 0])
    left, top = np.maximum(lips.min(0) - margin, 0).astype(int)
    right, bottom = (lips.max(0) + margin).astype(int)
    return {
        "mouth_sharpness": image.sharpness(view.picture[top:bottom, left:right]),
        "seam": image.contour_gradient(view.picture, view.matte),
    }


def _summary(
    video: Path, info: VideoInfo, kept: _Gathered, judges: Judges, has_reference: bool, has_photo: bool
) -> Measurement:
    fps, times = float(info.fps), np.array(kept.times)
    lips, eyes, angles = kept.curve("lips"), kept.curve("eyes"), kept.curve("angles")
    found = np.isfinite(lips)
    moves = np.nanstd(lips) > MOTIONLESS
    numbers = {
        "seconds": float(times[-1] + 0.5 / fps),
        "fps": fps,
        "frames": float(len(times)),
        "frames_without_face": float((~found).sum()),
        "lip_mean": 100 * float(np.nanmean(lips)),
        "lip_std": 100 * float(np.nanstd(lips)),
        "blinks_per_minute": 60 * lm.blinks(eyes, fps) * fps / len(times),
        "head_motion": lm.head_motion(angles),
        "jitter": lm.jitter(kept.curve("rigid"), kept.curve("width"), fps),
    }
    skipped = []
    if info.has_audio:
        sound = read_audio(video)
        quiet = sync.silent(sound, times) & found
        numbers["end_difference"] = 1000 * (numbers["seconds"] - sound.duration)
        numbers["silence_seconds"] = float(quiet.sum() / fps)
        if quiet.sum() >= 5:
            numbers["silence_lip_std"] = 100 * float(lips[quiet].std())
        in_step = sync.sound_lag(lips[found], times[found], sound) if moves else (0.0, 0.0)
        numbers["sound_lag"], numbers["sound_lag_r"] = in_step
        judged = judge.sync_judge(judges.sync, kept.curve("mouth")[found], times[found], sound)
        if judged:
            numbers["sync_d_mgg"], numbers["sync_c_mgg"], numbers["sync_offset"] = judged
        else:
            skipped.append(f"Sync was not judged: it takes {judge.SHORTEST / judge.RATE} s of sound and a face.")
    else:
        skipped.append("What needs sound was not measured: the video has none.")
    if has_reference:
        both = np.isfinite(kept.curve("true_lips"))
        pair = lips[both], kept.curve("true_lips")[both]
        late = lm.best_lag(*pair) if moves else 0
        numbers |= {name: float(np.nanmean(kept.curve(name))) for name in ("f_lmd", "m_lmd", "aed_mp", "apd_mp")}
        numbers |= {"lip_r": lm.correlation(*pair) if moves else 0.0, "lip_lag": 1000 * late / fps}
        numbers["lip_lag_r"] = lm.correlation(*pair, late) if moves else 0.0
        skipped += [judges.missing[name] for name in ("LPIPS", "FD-VGG") if name in judges.missing]
    if has_photo and "CSIM-dlib" in judges.missing:
        skipped.append(judges.missing["CSIM-dlib"])
    features = [np.array(kept.pictures.pop(name)) if name in kept.pictures else None for name in FEATURES]
    if kept.pictures:
        numbers |= {name: float(np.nanmean(values)) for name, values in kept.pictures.items()}
        numbers["frames_compared"] = float(max(len(values) for values in kept.pictures.values()))
    if features[0] is not None and features[1] is not None and len(features[0]) > 1:
        numbers["fd_vgg"] = image.frechet_distance(features[0], features[1])
    shown = [name for name in ("lips", "true_lips", "eyes") if name in kept.curves]
    ordered = {name: numbers[name] for name in METRICS if name in numbers}
    return Measurement(
        ordered, {"times": times} | {name: kept.curve(name) for name in shown}, features[0], features[1], tuple(skipped)
    )


def evaluate_file(
    video: Path, reference: Path | None, photo: Path | None, progress: Progress = _nothing
) -> Measurement:
    """What `mggdub evaluate` does. Raises UsageError or InputError."""
    picture = read_image(photo) if photo else None
    probe(video)  # says what is wrong before the networks are loaded
    if reference:
        probe(reference)
    return measure(video, load_judges(), reference, picture, progress=progress)


def as_text(found: Measurement) -> str:
    """One line per metric: name, value, unit, meaning."""
    lines = []
    for name, value in found.numbers.items():
        unit, meaning = METRICS[name]
        lines.append(f"{name:<20} {value:>10.4g} {unit:<8} {meaning}".rstrip())
    return "\n".join(lines)
