"""Options of a render, as data. No heavy imports: the command line reads this before anything else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from mggdub.errors import UsageError

POSES = ("natural", "still")
BLINKS = ("natural", "none")
EMOTIONS = ("neutral", "happy", "surprised", "afraid")
INPAINTERS = ("auto", "fast", "lama")
GAZES = ("natural", "camera")
MOTIONS = {"still": 0.0, "calm": 0.5, "natural": 1.0, "lively": 1.5}  # times as much as people move
DEVICES = ("auto", "cpu", "cuda")
FPS_RANGE = (10, 120)
SIZE_RANGE = (64, 4096)  # px, longest side; above it x264 on two cores is slower than the renderer
SCALE_RANGE = (0.0, 2.0)
ORBIT_RANGE = (0.0, 45.0)  # degrees
CRF_RANGE = (0, 40)
# What ffmpeg and people write when they mean n * 1000 / 1001.
NTSC = {f"{n / 1.001:.2f}": Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)} | {
    f"{n / 1.001:.3f}": Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)
}
NTSC_NEAR = Fraction(1, 2000)  # of them what a program works out, such as 29.970029970029973, lies nearer
FINEST_RATE = 10**6  # the largest denominator of a rate that is written as a decimal number
# Bounded, since Fraction works out 1e9999999 digit by digit; floats are written with up to 17 digits.
RATE = re.compile(r"[+-]?\d{1,12}(/\d{1,12}|(\.\d{0,30})?([eE][+-]?\d{1,2})?)", re.ASCII)
AMOUNT = re.compile(r"([+-]?\d{1,6}([.,]\d{0,30})?|[.,]\d{1,30})([eE][+-]?\d{1,2})?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class AvatarOptions:
    """What a head is built with. Raises UsageError when made with a value that has no meaning, as all of these."""

    preview: bool = False  # head at 256 px, small output
    size: int | None = None  # px, longest side of the output; None is the photo's own
    face: str = "largest"  # or the number of a face, the largest is 0
    background: str = "keep"  # or #rrggbb; a name, 00FF00 or #0f0 become that
    inpainter: str = "auto"  # of the background behind the head; auto is lama where that is there and worthwhile

    def __post_init__(self) -> None:
        _yes_or_no("--preview", self.preview)
        if self.size is not None:
            _within("--size", self.size, *SIZE_RANGE, whole=True)
        if str(self.face).lower() == "largest":
            object.__setattr__(self, "face", "largest")
        elif not re.fullmatch(r"\d{1,4}", str(self.face), re.ASCII):
            given = shortened(str(self.face))
            raise UsageError(f"--face is {given!r}; give 'largest' or the number of a face (the largest is 0).")
        object.__setattr__(self, "background", _color(self.background))
        _one_of(self, "inpainter", INPAINTERS)

    @property
    def background_color(self) -> tuple[int, int, int] | None:
        """sRGB 0..255, or None to keep the photo's own."""
        if self.background == "keep":
            return None
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue


@dataclass(frozen=True)
class MotionOptions:
    """How a head moves."""

    fps: Fraction = Fraction(25)
    pose: str = "natural"  # still is `motion` 0
    motion: str = "natural"  # a word of MOTIONS or a number; a number becomes a text
    gaze: str = "natural"
    orbit: float = 0.0  # degrees: how far the view goes round the head, to either side
    blink: str = "natural"
    mouth_scale: float = 1.0
    expression_scale: float = 1.0
    seed: int = 0
    emotion: str = "neutral"  # that the speech is said with
    emotion_strength: float = 1.0
    drive: Path | None = None  # a driving video or a track (.csv)

    def __post_init__(self) -> None:
        _one_of(self, "pose", POSES)
        _one_of(self, "blink", BLINKS)
        _one_of(self, "gaze", GAZES)
        object.__setattr__(self, "motion", parse_motion(str(self.motion)))
        _within("--fps", self.fps, *FPS_RANGE)
        _within("--orbit", self.orbit, *ORBIT_RANGE)
        _within("--mouth-scale", self.mouth_scale, *SCALE_RANGE)
        _within("--expression-scale", self.expression_scale, *SCALE_RANGE)
        _within("--seed", self.seed, 0, 2**31 - 1, whole=True)
        _one_of(self, "emotion", EMOTIONS)
        _within("--emotion-strength", self.emotion_strength, 0, 1)
        if self.drive and self.emotion != "neutral":
            raise UsageError("--emotion is for speech; a driver brings its own, so leave out --emotion or --drive.")
        if self.drive and self.gaze != "natural":
            raise UsageError("--gaze is for speech; a driver's eyes are followed, so leave out --gaze or --drive.")

    @property
    def liveliness(self) -> float:
        """How much head, brows and eyes move, 0 to 2; 1 is as people do."""
        return 0.0 if self.pose == "still" else motion_amount(self.motion)


@dataclass(frozen=True)
class VideoOptions:
    """Where frames are drawn and how they are written."""

    device: str = "auto"
    crf: int = 18  # x264: lower is better and bigger
    force: bool = False
    c2pa_cert: Path | None = None  # PEM chain that signs the video's C2PA manifest, and its key
    c2pa_key: Path | None = None

    def __post_init__(self) -> None:
        _one_of(self, "device", DEVICES)
        _yes_or_no("--force", self.force)
        _within("--crf", self.crf, *CRF_RANGE, whole=True)
        if bool(self.c2pa_cert) != bool(self.c2pa_key):
            raise UsageError("--c2pa-cert and --c2pa-key belong together; give both or neither.")


@dataclass(frozen=True)
class RenderOptions(VideoOptions, MotionOptions, AvatarOptions):
    """What `mggdub render` may be asked for: all three. What builds, moves or writes takes its own share of it."""

    def __post_init__(self) -> None:
        for part in (AvatarOptions, MotionOptions, VideoOptions):
            part.__post_init__(self)


AVATAR_OPTIONS = tuple(field.name for field in fields(AvatarOptions))


def check_used(options: MotionOptions, named: Iterable[str]) -> None:
    """Raises UsageError if one of the options that somebody `named` changes nothing, beside what the others are."""
    still = not options.drive and not options.liveliness
    sentences = {
        "emotion_strength": (
            "--emotion-strength says how strong an --emotion is; name one, such as --emotion happy.",
            options.emotion == "neutral",
        ),
        "expression_scale": (
            "--expression-scale is of brows and eyes that move, and --motion still has none; leave out one of them.",
            still,
        ),
        "seed": (
            "--seed is for speech; a driver brings its own motion, so leave out --seed or --drive."
            if options.drive
            else "--seed is of motion and blinks, which --motion still and --blink none leave out; leave out one.",
            options.drive or (still and options.blink == "none"),
        ),
    }
    for name in named:
        sentence, idle = sentences.get(name, ("", False))
        if idle:
            raise UsageError(sentence)


def changed(options: RenderOptions, names: Iterable[str]) -> list[str]:
    """Those of the options that are not what they are by default."""
    return [name for name in names if getattr(options, name) != getattr(RenderOptions, name)]


def parse_fps(text: str) -> Fraction:
    """`25`, `29.97` or `30000/1001`; a decimal number near it means the true NTSC rate. Raises UsageError."""
    text = with_point(text.strip())
    if text in NTSC:
        return NTSC[text]
    if not RATE.fullmatch(text):
        raise UsageError(f"--fps is {shortened(text)!r}; give a number such as 25, 29.97 or 30000/1001.")
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--fps is {text!r}; give a number such as 25, 29.97 or 30000/1001.") from error
    if "/" in text:
        return rate
    near = (true for true in NTSC.values() if abs(rate - true) < NTSC_NEAR)
    return next(near, rate.limit_denominator(FINEST_RATE))


def with_point(text: str) -> str:
    """A number with its decimal comma, of which there is one at most, as a point."""
    return text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text


def parse_motion(text: str) -> str:
    """A word of MOTIONS, or a number from 0 to 2 as it is written shortest. Raises UsageError."""
    word = text.strip().lower()
    if word in MOTIONS:
        return word
    if not AMOUNT.fullmatch(word):
        given = shortened(text.strip())
        raise UsageError(f"--motion is {given!r}; choose {', '.join(MOTIONS)} or a number from 0 to 2.")
    amount = float(word.replace(",", "."))
    _within("--motion", amount, *SCALE_RANGE)
    return f"{amount:g}"


def motion_amount(motion: str) -> float:
    """How much `parse_motion`'s word or number is."""
    return MOTIONS[motion] if motion in MOTIONS else float(motion)


def _color(text: str) -> str:
    """'keep' or #rrggbb of a colour's name (CSS) or of its digits. Raises UsageError."""
    word = re.sub(r"[\s_-]", "", str(text)).lower()
    if word == "keep":
        return word
    digits = word.removeprefix("#")
    if not re.fullmatch(r"[0-9a-f]{3}|[0-9a-f]{6}", digits):
        from PIL.ImageColor import colormap, getrgb

        if word not in colormap:  # the names of CSS
            raise UsageError(
                f"--background is {shortened(str(text))!r}; give keep, a colour's name such as white, or '#00ff00'."
            )
        digits = bytes(getrgb(word)[:3]).hex()
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    return f"#{digits}"


def shortened(text: str, most: int = SHOWN) -> str:
    """A value for a sentence, without what would fill the screen."""
    return text if len(text) <= most else f"{text[:most]}..."


def _one_of(options: object, name: str, allowed: tuple[str, ...]) -> None:
    """Let an option be one of the words, however it is capitalised. Raises UsageError."""
    value = getattr(options, name)
    word = value.lower() if isinstance(value, str) else value
    if word not in allowed:
        raise UsageError(f"--{name} is {shortened(str(value))!r}; choose {' or '.join(allowed)}.")
    object.__setattr__(options, name, word)


def _yes_or_no(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {shortened(str(value))!r}; give True or False.")


def _within(name: str, value: float | Fraction, low: float, high: float, whole: bool = False) -> None:
    if not isinstance(value, Integral if whole else Real) or isinstance(value, bool):
        raise UsageError(f"{name} is {shortened(repr(value))}; give a {'whole ' if whole else ''}number.")
    if not low <= value <= high:
        raise UsageError(f"{name} is {_plain(value)}; choose from {_plain(low)} to {_plain(high)}.")


def _plain(value: Any) -> str:
    """A number as people write it: no powers of ten, not all of thousands of digits."""
    if 1e60 < abs(value) < float("inf"):
        return "a number of more than 60 digits"
    text = str(value) if isinstance(value, int) else f"{float(value):.6f}".rstrip("0").rstrip(".")
    return shortened(text)
