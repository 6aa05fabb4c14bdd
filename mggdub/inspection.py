"""What a photo or a recording holds and whether it will work, before any work.

A verdict is `good`, `usable` (it works; the advice says what to expect) or `unusable` (`mggdub render` refuses it).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mggdub.avatar.appearance import measure_face, warnings
from mggdub.errors import InputError, plain
from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import EYE_SKETCHES, INNER_LIPS, OVAL
from mggdub.face.portrait import check_face, cut_off, holes, portrait, see_through
from mggdub.media.audio import probe_audio, read_audio, sound_notes
from mggdub.media.files import appearing_whole, check_output
from mggdub.media.image import is_picture, read_image, write_image
from mggdub.media.unread import check_sound
from mggdub.metrics.landmarks import wrapped
from mggdub.motion.speech import frame_energy, heard_phrases
from mggdub.motion.voice import spoken_at
from mggdub.networks import speech
from mggdub.networks.geometry import GeometryNet, estimate_geometry, load_geometry
from mggdub.networks.speech import QUIETEST, load_speech, predict
from mggdub.networks.whisper import level
from mggdub.types import Array, Face, Photo, Waveform

FAINT, CLIPPED = -40.0, 0.001  # dB RMS of what is spoken; share of samples
LONG = 1800.0  # s
HEARD = 600.0  # s in which voice is looked for
RANK = ("good", "usable", "unusable")


@dataclass(frozen=True)
class FaceFinding:
    """One face of a photo; what is measured is explained in `appearance.Appearance`."""

    index: int  # as --face counts
    box: tuple[int, int, int, int]  # left, top, right, bottom, px
    height: float  # px, hairline to chin
    pitch: float  # degrees, down
    yaw: float  # to the viewer's right
    roll: float  # clockwise as the viewer sees it, -180 to 180
    sharpness: float  # variance of the Laplacian in a crop of 512 px
    mouth: str  # open, closed
    eyes: str
    brightness: float  # median luma of the face, 0..255
    hair: float  # share of the face that hair lies over
    odd_color: float  # how far forehead, a cheek or the chin differs from the face's skin, log2
    covered: tuple[str, ...]  # parts of the face that something covers
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
        check_sound(path)
        if drawing:
            raise InputError(f"{path} is no picture; leave out --image.")
        return {"kind": "speech", "file": str(path)} | asdict(hear(path))
    photo, finder = read_image(path), FaceFinder()
    faces, net = finder.find(photo.pixels), load_geometry()
    findings = [inspect_face(photo, face, index, finder, net) for index, face in enumerate(faces)]
    if drawing:
        with appearing_whole(drawing, force) as partial:
            write_image(partial, draw(photo, faces, findings))
    advice = [] if findings else ["No human face was found in the picture; use one that shows a face from the front."]
    better = [face.index for face in findings[1:] if RANK.index(face.verdict) < RANK.index(findings[0].verdict)]
    if better:
        advice.append(f"The largest face is {findings[0].verdict}, face {better[0]} is better: --face {better[0]}.")
    return {
        "kind": "photo",
        "file": str(path),
        "size": list(photo.size),
        "faces": [asdict(face) for face in findings],
        "verdict": findings[0].verdict if findings else "unusable",
        "advice": advice,
    }


def inspect_face(photo: Photo, face: Face, index: int, finder: FaceFinder, net: GeometryNet) -> FaceFinding:
    """What is measured of one face."""
    head = portrait(photo, face, finder)
    measures = measure_face(head, estimate_geometry(net, head))
    advice = [*cut_off(face, photo.size), *holes(face, photo), *warnings(measures)]
    verdict = "usable" if advice else "good"
    try:
        check_face(face, photo.size)
    except InputError as error:
        verdict, advice = "unusable", [str(error)]
    if head.crop.angle and verdict != "unusable":
        way = "" if head.crop.angle == 180 else " to the right" if head.crop.angle > 0 else " to the left"
        degrees = f"{abs(head.crop.angle):.0f} degrees{way}"
        advice.append(f"The head is turned by {degrees} in the picture, and will be in the video.")
    if measures.mouth == "open" and "mouth" not in measures.covered and verdict != "unusable":
        advice.append("The mouth is open: its teeth are kept, and it closes in silence.")
    advice += see_through(photo) if verdict != "unusable" else ()
    left, top, right, bottom = (round(float(v)) for v in (*face.landmarks.min(0)[:2], *face.landmarks.max(0)[:2]))
    return FaceFinding(
        index=index,
        box=(left, top, right, bottom),
        height=round(measures.height, 1),
        pitch=round(measures.pitch, 1),
        yaw=round(measures.yaw, 1),
        # The others are the head's, however it stands.
        roll=round(float(wrapped(np.array(measures.roll + head.crop.angle))), 1),
        sharpness=round(measures.sharpness, 1),
        mouth=measures.mouth,
        eyes=measures.eyes,
        brightness=round(measures.brightness, 1),
        hair=round(measures.hair, 3),
        odd_color=round(measures.odd_color, 3),
        covered=measures.covered,
        verdict=verdict,
        advice=tuple(advice),
    )


def draw(photo: Photo, faces: list[Face], findings: list[FaceFinding]) -> Array:
    """The picture [H, W, 3] uint8 with boxes, numbers and the outlines of face, eyes and lips."""
    picture = Image.fromarray(photo.pixels)
    pen = ImageDraw.Draw(picture)
    for face, finding in zip(faces, findings, strict=True):
        color = {"good": "#20c020", "usable": "#ffa000", "unusable": "#ff3030"}[finding.verdict]
        width = max(1, round(finding.height / 120))
        pen.rectangle(finding.box, outline=color, width=width)
        for ring in (OVAL, INNER_LIPS, *EYE_SKETCHES):
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
    times = (np.arange(len(energy)) + 0.5) / speech.VOICE_RATE
    voiced = spoken_at(spoken, times)
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
        seconds=round(sound.duration, 3),
        sample_rate=about.sample_rate,
        channels=about.channels,
        peak_db=_decibel(peak**2),
        rms_db=_decibel(float(energy.mean())),
        voice=round(voice, 3),
        clipped=round(clipped, 5),
        leading=round(spoken[0][0] if spoken else sound.duration, 2),
        trailing=round(max(0.0, after), 2) if sound.duration <= HEARD else None,
        verdict="usable" if advice else "good",
        advice=advice,
    )


def _phrases(sound: Waveform) -> list[tuple[float, float]]:
    """(start, end) s of what the speech model takes for voice, as `mggdub render` does."""
    samples = level(sound.samples)
    energy = frame_energy(samples)
    if not np.any(energy > QUIETEST):
        return []
    return heard_phrases(predict(load_speech(), samples)[1], energy)


def _decibel(power: float) -> float | None:
    return round(10 * float(np.log10(power)), 1) + 0.0 if power > 1e-12 else None  # never -0.0


def as_text(report: dict[str, Any]) -> str:
    """The report for people: one line for each thing that was found, advice below it."""
    if report["kind"] == "speech":
        measured = (
            f"{_span(report['seconds'])} s, {report['sample_rate']} Hz, {report['channels']}, "
            f"peak {_decibels(report['peak_db'])}, RMS {_decibels(report['rms_db'])}, voice {report['voice']:.0%}, "
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


def _decibels(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} dB"
