"""The figures of a video, from what was kept of its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mggdub.errors import plain
from mggdub.evaluation import sync
from mggdub.evaluation.pictures import Judges
from mggdub.media.audio import sound_notes
from mggdub.media.video import VideoInfo
from mggdub.metrics import landmarks, pixels
from mggdub.metrics.sound import silent, sound_lag
from mggdub.networks.sync import RATE
from mggdub.types import Array, Waveform

MOTIONLESS = 1e-3  # standard deviation of a lip aperture that is the tracker's noise: it correlates with nothing
# name: (unit, what it says). Larger is better for (+), smaller for (-); for the others the true clip is the measure.
METRICS = {
    "seconds": ("s", "picture"),
    "fps": ("", ""),
    "frames": ("", ""),
    "frames_without_face": ("", "(-)"),
    "cuts": ("", "after which head and jitter are measured anew"),
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


@dataclass(frozen=True, eq=False)
class Measurement:
    """Numbers by the names of METRICS; the curves they come from, per frame; VGG features [n, 512]."""

    numbers: dict[str, float]
    curves: dict[str, Array]
    features: Array | None = None
    true_features: Array | None = None
    skipped: tuple[str, ...] = ()


@dataclass
class Gathered:
    """What is kept of the frames."""

    times: list[float] = field(default_factory=list)  # mid-times
    curves: dict[str, list[Any]] = field(default_factory=dict)
    pictures: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, kind: str, **values: Any) -> None:
        """Keep the values of one frame under `curves` or `pictures`."""
        series: dict[str, list[Any]] = getattr(self, kind)
        for name, value in values.items():
            series.setdefault(name, []).append(value)

    def curve(self, name: str) -> Array:
        """One curve as float64, a value a frame."""
        return np.array(self.curves[name], np.float64)


def summarize(
    video: Path,
    info: VideoInfo,
    sound: Waveform | None,
    gathered: Gathered,
    judges: Judges,
    has_reference: bool,
    has_photo: bool,
) -> Measurement:
    """Every figure that what was gathered of a video allows, in the order of METRICS."""
    fps, times = float(info.fps), np.array(gathered.times)
    lips, eyes, angles = gathered.curve("lips"), gathered.curve("eyes"), gathered.curve("angles")
    has_face = np.isfinite(lips)
    moves = np.nanstd(lips) > MOTIONLESS
    numbers = {
        "seconds": float(times[-1] + 0.5 / fps),
        "fps": fps,
        "frames": float(len(times)),
        "frames_without_face": float((~has_face).sum()),
        "lip_mean": 100 * float(np.nanmean(lips)),
        "lip_std": 100 * float(np.nanstd(lips)),
        "blinks_per_minute": 60 * landmarks.blinks(eyes, fps) * fps / len(times),
        "head_motion": landmarks.head_motion(angles),
        "jitter": landmarks.jitter(gathered.curve("rigid"), gathered.curve("width"), fps),
    }
    if gathered.curves["shot"][-1]:
        numbers |= of_shots(gathered, fps)
    skipped: list[str] = []
    if sound:
        heard, unheard = of_sound(video, sound, fps, gathered, judges)
        numbers |= heard
        skipped += unheard
    else:
        skipped.append("What needs sound was not measured: the video has none.")
    if has_reference:
        both = np.isfinite(gathered.curve("true_lips"))
        pair = lips[both], gathered.curve("true_lips")[both]
        late = landmarks.best_lag(*pair) if moves else 0
        numbers |= {name: float(np.nanmean(gathered.curve(name))) for name in ("f_lmd", "m_lmd", "aed_mp", "apd_mp")}
        numbers |= {"lip_r": landmarks.correlation(*pair) if moves else 0.0, "lip_lag": 1000 * late / fps}
        numbers["lip_lag_r"] = landmarks.correlation(*pair, late) if moves else 0.0
        skipped += [judges.missing[name] for name in ("LPIPS", "FD-VGG") if name in judges.missing]
    if has_photo and "CSIM-dlib" in judges.missing:
        skipped.append(judges.missing["CSIM-dlib"])
    features = [np.array(gathered.pictures.pop(name)) if name in gathered.pictures else None for name in FEATURES]
    if gathered.pictures:
        numbers |= {name: float(np.nanmean(values)) for name, values in gathered.pictures.items()}
        numbers["frames_compared"] = float(max(len(values) for values in gathered.pictures.values()))
    if features[0] is not None and features[1] is not None and len(features[0]) > 1:
        numbers["fd_vgg"] = pixels.frechet_distance(features[0], features[1])
    shown = [name for name in ("lips", "true_lips", "eyes") if name in gathered.curves]
    ordered = {name: numbers[name] for name in METRICS if name in numbers}
    return Measurement(
        ordered,
        {"times": times} | {name: gathered.curve(name) for name in shown},
        features[0],
        features[1],
        tuple(skipped),
    )


def of_sound(
    video: Path, sound: Waveform, fps: float, gathered: Gathered, judges: Judges
) -> tuple[dict[str, float], list[str]]:
    """What the video's sound says of its picture, and what it does not."""
    times, lips = np.array(gathered.times), gathered.curve("lips")
    has_face = np.isfinite(lips)
    notes, quiet = list(sound_notes(video, sound)), silent(sound, times) & has_face
    numbers = {
        "end_difference": 1000 * (float(times[-1] + 0.5 / fps) - sound.duration),
        "silence_seconds": float(quiet.sum() / fps),
    }
    if quiet.sum() >= 5:
        numbers["silence_lip_std"] = 100 * float(lips[quiet].std())
    moves = np.nanstd(lips) > MOTIONLESS
    in_step = sound_lag(lips[has_face], times[has_face], sound) if moves else (0.0, 0.0)
    numbers["sound_lag"], numbers["sound_lag_r"] = in_step
    judged = sync.sync_judge(judges.sync, gathered.curve("mouth")[has_face], times[has_face], sound)
    if judged:
        numbers["sync_d_mgg"], numbers["sync_c_mgg"], numbers["sync_offset"] = judged
        return numbers, notes
    return numbers, [*notes, f"Sync was not judged: it takes {sync.SHORTEST / RATE} s of sound and a face."]


def of_shots(gathered: Gathered, fps: float) -> dict[str, float]:
    """Motion within the shots of a video that cuts; between them nothing moves."""
    shots, has_face = np.array(gathered.curves["shot"]), np.isfinite(gathered.curve("lips"))
    angles, points = [], []
    for shot in np.unique(shots[has_face]):
        inside = shots == shot
        turned, rigid = gathered.curve("angles")[inside], gathered.curve("rigid")[inside]
        angles.append(turned - np.nanmean(turned, axis=0))
        points += [rigid / np.nanmedian(gathered.curve("width")[inside]), np.full((1, *rigid.shape[1:]), np.nan)]
    jitter = landmarks.jitter(np.concatenate(points), np.ones(1), fps)
    return {
        "cuts": float(len(angles) - 1),
        "head_motion": landmarks.head_motion(np.concatenate(angles)),
        "jitter": jitter,
    }


def as_text(measurement: Measurement) -> str:
    """One line per metric: name, value, unit, meaning."""
    lines = []
    for name, value in measurement.numbers.items():
        unit, meaning = METRICS[name]
        lines.append(f"{name:<20} {plain(value):>10} {unit:<8} {meaning}".rstrip())
    return "\n".join(lines)
