"""What a photo or a recording holds and whether it will work, before any work.

A verdict is `good`, `usable` (it works; the advice says what to expect) or `unusable` (`mggdub render` refuses it).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mggdub.errors import InputError, plain
from mggdub.geometry.camera import face_height
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.media.audio import probe_audio, read_audio, sound_notes
from mggdub.media.files import appearing_whole, check_output
from mggdub.media.image import is_picture, read_image, write_image
from mggdub.metrics.face import eye_openness, lip_aperture
from mggdub.metrics.image import sharpness
from mggdub.models import gestures
from mggdub.models.speech import QUIETEST, frame_energy, load_speech, predict
from mggdub.models.whisper import level
from mggdub.perception.face import SMALLEST_FACE, FaceFinder, check_face, portrait
from mggdub.perception.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.types import HAIR, Array, Face, Photo, Portrait, Waveform

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
SKIN_PATCHES = {
    "forehead": (151, 9, 108, 337),
    "left cheek": (280, 425, 352, 411),
    "right cheek": (50, 205, 123, 187),
    "chin": (199, 200, 18, 175),
}
SMALL = 2 * SMALLEST_FACE  # px
SOFT, BLURRED = 5.0, 1.0  # sharpness; 164 sharp portraits have 13 and more, one blurred by 1 px has 2
OPEN_MOUTH = 0.03  # of the outer-eye distance: about 3 mm
CLOSED_EYE = 0.15  # height over width; open eyes have 0.26 and more
TURNED = 20.0  # degrees of yaw or pitch from which the far side suffers
HAIRY = 0.1  # of the face's outline; of 164 portraits the only one above has a fringe down to the brows
ODD = 0.12  # chroma; the patches of 164 uncovered faces differ by up to 0.107
FAINT, CLIPPED = -40.0, 0.001  # dB RMS of what is spoken; share of samples
LONG = 1800.0  # s
HEARD = 600.0  # s in which voice is looked for
RANK = ("good", "usable", "unusable")


@dataclass(frozen=True)
class FaceFinding:
    """One face of a photo. Where something may cover it is told by two measures, both blind to hands and glasses:

    `hair` is the share of hair that the geometry network sees inside the outline of the landmarks (the network calls
    nearly everything else there skin); `odd_color` is how far the chroma of forehead, cheeks or chin lies from the
    median of the four, which masks and scarves change and light hardly does.
    """

    index: int  # as --face counts
    box: tuple[int, int, int, int]  # left, top, right, bottom, px
    height: float  # px, hairline to chin
    pitch: float  # degrees, down
    yaw: float  # to the viewer's right
    roll: float  # clockwise as the viewer sees it
    sharpness: float  # variance of the Laplacian in a crop of 512 px
    mouth: str  # open, closed
    eyes: str
    hair: float
    odd_color: float
    verdict: str
    advice: tuple[str, ...]


@dataclass(frozen=True)
class SoundFinding:
    """A recording."""

    seconds: float
    sample_rate: int  # of the file, Hz
    channels: str
    peak_db: float | None  # of full scale; None for digital silence
    rms_db: float | None
    voice: float  # share of the time (of the first ten minutes, if it is longer)
    clipped: float  # share of samples at full scale
    leading: float  # s before the first and after the last voice
    trailing: float | None  # None if it is longer
    verdict: str
    advice: tuple[str, ...]


def inspect_file(path: Path, drawing: Path | None = None, force: bool = False) -> dict[str, Any]:
    """The report on a photo or a recording; a photo's faces are drawn into `drawing` (.png). Raises MggdubError."""
    if drawing:
        check_output(drawing, force, (path,), (".png",))
    if not is_picture(path):
        if drawing:
            raise InputError(f"{path} is no picture; leave out --image.")
        return {"kind": "speech", "file": str(path)} | asdict(hear(path))
    photo, finder = read_image(path), FaceFinder()
    faces, net = finder.find(photo.pixels), load_geometry()
    found = [look(photo, face, index, finder, net) for index, face in enumerate(faces)]
    if drawing:
        with appearing_whole(drawing) as partial:
            write_image(partial, draw(photo, faces, found))
    advice = [] if found else ["No human face was found in the picture; use one that shows a face from the front."]
    better = [face.index for face in found[1:] if RANK.index(face.verdict) < RANK.index(found[0].verdict)]
    if better:
        advice.append(f"The largest face is {found[0].verdict}, face {better[0]} is better: --face {better[0]}.")
    return {
        "kind": "photo",
        "file": str(path),
        "size": list(photo.size),
        "faces": [asdict(face) for face in found],
        "verdict": found[0].verdict if found else "unusable",
        "advice": advice,
    }


def look(photo: Photo, face: Face, index: int, finder: FaceFinder, net: GeometryNet) -> FaceFinding:
    """What is measured of one face."""
    head = portrait(photo, face, finder)
    marks = head.landmarks[:, :2]
    low, high = np.clip([marks.min(0), marks.max(0)], 0, head.crop.size).astype(int)
    sharp = sharpness(head.image[low[1] : high[1], low[0] : high[0]])
    pitch, yaw, roll = (float(angle) for angle in matrix_to_euler(head.camera.viewmat[:3, :3]))
    mouth = "open" if float(lip_aperture(marks[None])[0]) > OPEN_MOUTH else "closed"
    eyes = "open" if eye_openness(marks) > CLOSED_EYE else "closed"
    hair, (odd, where) = _hair(head, net), _odd_color(head)
    height = face_height(face.landmarks)
    expect = {
        f"The face is small ({height:.0f} px high); a larger picture gives a sharper video.": height < SMALL,
        "The face is blurred; use a sharper picture.": sharp < BLURRED,
        "The face is a little soft, and the video will be.": BLURRED <= sharp < SOFT,
        f"The head is turned ({yaw:.0f} degrees); its far side is guessed.": abs(yaw) > TURNED,
        f"The head is tilted ({pitch:.0f} degrees); one more from the front works better.": abs(pitch) > TURNED,
        "The eyes are closed and will stay so; use a picture with open eyes.": eyes == "closed",
        "Hair seems to lie over the face; it will move with the skin.": hair > HAIRY,
        f"Something seems to cover the {where}; it will move with the skin.": odd > ODD,
    }
    advice = [sentence for sentence, applies in expect.items() if applies]
    verdict = "usable" if advice else "good"
    try:
        check_face(face)
    except InputError as error:
        verdict, advice = "unusable", [str(error)]
    if mouth == "open" and verdict != "unusable":
        advice.append("The mouth is open: its teeth are kept, and it closes in silence.")
    left, top, right, bottom = (round(float(v)) for v in (*face.landmarks.min(0)[:2], *face.landmarks.max(0)[:2]))
    return FaceFinding(
        index,
        (left, top, right, bottom),
        round(height, 1),
        round(pitch, 1),
        round(yaw, 1),
        round(roll, 1),
        round(sharp, 1),
        mouth,
        eyes,
        round(hair, 3),
        round(odd, 3),
        verdict,
        tuple(advice),
    )


def _hair(head: Portrait, net: GeometryNet) -> float:
    labels = estimate_geometry(net, head).labels
    mask = Image.new("L", labels.shape[1::-1])
    outline = head.landmarks[list(OVAL), :2] * (labels.shape[0] / head.crop.size)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    inside = np.asarray(mask) > 0
    return float((labels[inside].argmax(-1) == HAIR).mean()) if inside.any() else 0.0


def _odd_color(head: Portrait) -> tuple[float, str]:
    """How far the chroma over luma of a patch lies from the median of the patches, and which patch."""
    smooth = Image.fromarray(head.image).filter(ImageFilter.GaussianBlur(head.crop.size / 128))
    values = np.asarray(smooth.convert("YCbCr"), np.float32)
    chroma = []
    for patch in SKIN_PATCHES.values():
        at = np.clip(head.landmarks[list(patch), :2], 0, head.crop.size - 1).astype(int)
        luma, blue, red = values[at[:, 1], at[:, 0]].mean(0)
        chroma.append(np.array([blue - 128, red - 128]) / max(luma, 20))
    apart = np.linalg.norm(np.array(chroma) - np.median(chroma, 0), axis=1)
    return float(apart.max()), list(SKIN_PATCHES)[int(apart.argmax())]


def draw(photo: Photo, faces: list[Face], found: list[FaceFinding]) -> Array:
    """The picture [H, W, 3] uint8 with boxes, numbers and the outlines of face, eyes and lips."""
    picture = Image.fromarray(photo.pixels)
    pen = ImageDraw.Draw(picture)
    for face, finding in zip(faces, found, strict=True):
        color = {"good": "#20c020", "usable": "#ffa000", "unusable": "#ff3030"}[finding.verdict]
        width = max(1, round(finding.height / 120))
        pen.rectangle(finding.box, outline=color, width=width)
        for ring in (OVAL, INNER_LIPS, *EYES):
            points = [(float(x), float(y)) for x, y in face.landmarks[[*ring, ring[0]], :2]]
            pen.line(points, fill=color, width=width)
        size = max(12.0, finding.height / 6)
        at = finding.box[0] + 2.0 * width, finding.box[1] + 1.0 * width
        pen.text(
            at, str(finding.index), fill=color, font_size=size, stroke_width=max(1, width // 2), stroke_fill="#000"
        )
    return np.asarray(picture)


def hear(path: Path) -> SoundFinding:
    """What is measured of a recording. Voice is what the speech model hears. Raises UsageError or InputError."""
    sound = read_audio(path)
    about = probe_audio(path)
    loudest = np.abs(sound.samples)
    peak, clipped = float(loudest.max()), float((loudest >= 0.999).mean())
    energy = frame_energy(sound.samples)
    heard = Waveform(sound.samples[: int(HEARD * sound.sample_rate)], sound.sample_rate)
    spoken = _phrases(heard)
    voice = min(1.0, sum(end - start for start, end in spoken) / heard.duration)  # the last step may reach beyond
    times = (np.arange(len(energy)) + 0.5) / gestures.VOICE_RATE
    voiced = np.any([(start <= times) & (times < end) for start, end in spoken] or [np.zeros(len(times), bool)], 0)
    speech_db = _decibel(float(energy[voiced].mean())) if voiced.any() else None
    minutes, after = sound.duration / 60, heard.duration - spoken[-1][1] if spoken else sound.duration
    expect = {
        "There is no voice; the mouth will stay closed.": not spoken,
        f"The voice is quiet ({speech_db} dB); lips are not affected, but the video will be as quiet.": (
            speech_db is not None and speech_db < FAINT
        ),
        f"The sound is clipped ({100 * clipped:.1f} % of it); record it at a lower level.": clipped > CLIPPED,
        f"It lasts {minutes:.0f} minutes; the video will take about as long to make.": sound.duration > LONG,
    }
    advice = (*sound_notes(path, sound), *(sentence for sentence, applies in expect.items() if applies))
    return SoundFinding(
        round(sound.duration, 3),
        about.sample_rate,
        about.channels,
        _decibel(peak**2),
        _decibel(float(energy.mean())),
        round(voice, 3),
        round(clipped, 5),
        round(spoken[0][0] if spoken else sound.duration, 2),
        round(max(0.0, after), 2) if sound.duration <= HEARD else None,
        "usable" if advice else "good",
        advice,
    )


def _phrases(sound: Waveform) -> list[tuple[float, float]]:
    """(start, end) s of what the speech model takes for voice, as `mggdub render` does."""
    samples = level(sound.samples)
    energy = frame_energy(samples)
    if not np.any(energy > QUIETEST):
        return []
    return gestures.phrases(np.where(energy > QUIETEST, predict(load_speech(), samples)[1], 0.0))


def _decibel(power: float) -> float | None:
    return round(10 * float(np.log10(power)), 1) + 0.0 if power > 1e-12 else None  # never -0.0


def as_text(report: dict[str, Any]) -> str:
    """The report for people: one line for each thing that was found, advice below it."""
    if report["kind"] == "speech":
        measured = (
            f"{_span(report['seconds'])} s, {report['sample_rate']} Hz, {report['channels']}, "
            f"peak {_told(report['peak_db'])}, RMS {_told(report['rms_db'])}, voice {report['voice']:.0%}, "
            f"silent before {_span(report['leading'])} s"
        )
        measured += f", after {_span(report['trailing'])} s" if report["trailing"] is not None else ""
        return "\n".join([f"{report['verdict']}: {measured}", *(f"  {line}" for line in report["advice"])])
    width, height = report["size"]
    lines = [f"{report['verdict']}: {width}x{height} px, faces: {len(report['faces'])}"]
    for face in report["faces"]:
        lines.append(
            f"face {face['index']}: {face['verdict']}, {face['height']:.0f} px high at {face['box']}, pitch "
            f"{round(face['pitch'])}, yaw {round(face['yaw'])}, roll {round(face['roll'])} degrees, sharpness "
            f"{face['sharpness']}, mouth {face['mouth']}, eyes {face['eyes']}"
        )
        lines += [f"  {line}" for line in face["advice"]]
    return "\n".join([*lines, *report["advice"]])


def _span(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 0.1 or seconds == 0 else plain(seconds)


def _told(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} dB"
