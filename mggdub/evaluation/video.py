"""Everything that can be measured of a video: alone, against the true clip, against the photo it was made from.

Frames are read one after the other; what is kept of each is about a kilobyte. Landmarks are looked for in every
frame, pictures are compared in `pictures` frames spread evenly over the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mggdub.errors import InputError, UsageError
from mggdub.evaluation import sync
from mggdub.evaluation.pictures import Judges, Sitter, Truth, compare_pictures, load_judges, view_of
from mggdub.evaluation.summary import Gathered, Measurement, summarize
from mggdub.face import mesh
from mggdub.face.clip import Trail, look_on
from mggdub.face.mesh import canonical_face
from mggdub.geometry.camera import RIGID, crop_matrix, head_crop, solve_pose, upright_crop
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.audio import sound_of_video
from mggdub.media.image import read_image, resize
from mggdub.media.video import VideoInfo, probe, read_video
from mggdub.metrics import landmarks, pixels
from mggdub.networks.sync import POINTS
from mggdub.progress import Progress, Stage, silent
from mggdub.types import Array, Face, Photo

APART = 0.5  # s between the ends of a video and of its reference that are told
PICTURES = 48  # frames in which pictures are compared


def measure(
    video: Path,
    judges: Judges,
    reference: Path | None = None,
    photo: Photo | None = None,
    pictures: int = PICTURES,
    progress: Progress = silent,
    truth: Truth | None = None,
) -> Measurement:
    """All metrics that the inputs allow; `truth` is for videos with the same reference.

    Raises UsageError or InputError (no face anywhere).
    """
    info, sound = probe(video), sound_of_video(video)
    total = max(1, round(info.duration * float(info.fps)))
    count = min(pictures, total) if reference or photo else 0
    chosen = pixels.evenly(count, total)
    truth = Truth() if truth is None else truth
    gathered, sitter = Gathered(), None
    shown: Face | None = None
    trail: Trail | None = None
    over: float | None = None  # s, where the reference ends and the video goes on
    for index, (stamp, frame, beside) in enumerate(_paired(video, info, reference)):
        if reference and beside is None:
            over = stamp
            break
        progress(Stage.MEASURE, index, total)
        gathered.times.append(stamp + 0.5 / float(info.fps))
        sighting, trail = look_on(judges.faces, stamp, frame, trail)
        has_face = sighting.face is not None
        shown = sighting.face or shown
        now = _read_face(sighting.face)
        gathered.add("curves", shot=sighting.shot, **now)
        true = truth.face(*beside, judges) if beside else None
        if beside:
            gathered.add("curves", **_compare_faces(now, shown, true))
        if index not in chosen or shown is None or not has_face or (beside and true is None):
            continue
        view = view_of(frame, shown, truth.crops[beside[0]] if beside else head_crop(shown.landmarks), judges)
        who = judges.recogniser.descriptor(frame, shown.landmarks) if judges.recogniser else None
        if beside and true:
            gathered.add("pictures", **compare_pictures(view, who, truth.view(*beside, true, judges), judges))
        if photo is not None:
            sitter = sitter or Sitter.of(photo, shown, judges)
            gathered.add("pictures", **sitter.compare(view, who))
    if over is not None and not gathered.times:
        raise InputError(f"{reference} has ended before {video} begins; give the clip that the video imitates.")
    if shown is None:
        raise InputError(f"No face was found in any frame of {video}; give a video that shows one from the front.")
    if reference is not None and not any(truth.faces.values()):
        raise InputError(f"No face was found in any frame of {reference}; give the clip that the video imitates.")
    found = summarize(video, info, sound, gathered, judges, reference is not None, photo is not None)
    if over is not None:
        return _of_the_beginning(found, over, video, reference)
    return _with_a_rest(found, info.duration, video, reference) if reference else found


def _with_a_rest(found: Measurement, seconds: float, video: Path, reference: Path) -> Measurement:
    """What was found of a video, with a sentence if it ends long before its reference."""
    if probe(reference).duration - seconds < APART:
        return found
    told = f"{video} is shorter than {reference}, with the first {seconds:.1f} s of which it was compared."
    return replace(found, skipped=(*found.skipped, told))


def _of_the_beginning(found: Measurement, seconds: float, video: Path, reference: Path | None) -> Measurement:
    """What was found of a video up to where its reference ends; where its own picture ends is not known then."""
    numbers = {name: value for name, value in found.numbers.items() if name != "end_difference"}
    told = f"{reference} is shorter than {video}, of which the first {seconds:.1f} s were measured."
    return replace(found, numbers=numbers, skipped=(*found.skipped, told))


def _paired(
    video: Path, info: VideoInfo, reference: Path | None
) -> Iterator[tuple[float, Array, tuple[float, Array] | None]]:
    """(stamp, frame, the reference's stamp and frame nearest in time and of the same size, None where it has ended)."""
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
        ended = after is None and stamp - now[0] > 1 / float(other.fps)
        yield stamp, _as_large(frame, size), None if ended else now


def _as_large(frame: Array, size: tuple[int, int]) -> Array:
    """The frame at (width, height): cut where encoding made it even, scaled where it is of another size."""
    width, height = size
    if 0 <= frame.shape[1] - width <= 1 and 0 <= frame.shape[0] - height <= 1:
        return frame[:height, :width]
    return resize(frame, size)


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
        mouth = np.full(2 * len(POINTS), nothing)
        return {"lips": nothing, "eyes": nothing, "angles": np.full(3, nothing), "rigid": rigid, "width": nothing,
                "mouth": mouth}  # fmt: skip
    marks = face.landmarks
    return {
        "lips": float(landmarks.lip_aperture(marks[None])[0]),
        "eyes": landmarks.eye_openness(marks),
        "angles": _angles(face),
        "rigid": marks[list(RIGID), :2],
        "width": landmarks.eye_distance(marks),
        "mouth": sync.head_lips(marks[None])[0],
    }


def _compare_faces(now: dict[str, Any], shown: Face | None, true: Face | None) -> dict[str, float]:
    """`now` is what `_read_face` says of `shown`."""
    if shown is None or true is None or not np.isfinite(now["lips"]):
        return dict.fromkeys(("true_lips", "f_lmd", "m_lmd", "aed_mp", "apd_mp"), float("nan"))
    return {
        "true_lips": float(landmarks.lip_aperture(true.landmarks[None])[0]),
        "f_lmd": landmarks.landmark_distance(shown.landmarks, true.landmarks),
        "m_lmd": landmarks.landmark_distance(shown.landmarks, true.landmarks, mesh.LIP_LANDMARKS),
        "aed_mp": float(np.abs(shown.blendshapes - true.blendshapes).mean()),
        "apd_mp": float(np.abs(landmarks.wrapped(now["angles"] - _angles(true))).mean()),
    }


def evaluate_file(video: Path, reference: Path | None, photo: Path | None, progress: Progress = silent) -> Measurement:
    """What `mggdub evaluate` does. Raises UsageError or InputError."""
    picture = read_image(photo) if photo else None
    probe(video)  # says what is wrong before the networks are loaded
    if reference:
        probe(reference)
    return measure(video, load_judges(), reference, picture, progress=progress)
