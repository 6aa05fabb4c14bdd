"""Sound in: the track that a player would play becomes one mono waveform."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np

from mggdub.errors import InputError
from mggdub.media.demux import Contents, NotMedia, SoundTrack, contents, lasts
from mggdub.media.files import check_input
from mggdub.media.process import arguments, source, start
from mggdub.media.unread import no_media
from mggdub.media.whole import cut_short, goes_on
from mggdub.types import Array, Waveform

SAMPLE_RATE = 16_000
LONGEST = 3 * 3600  # s; three hours of float32 at 16 kHz are 690 MB
CHUNK = 1 << 20  # bytes
BLOCK = 0.5  # s for which it is decided whether mixing cancels
FADE = 0.02  # s from the mix to a channel and back
CANCELS = 0.5  # of the power that mixing independent channels would leave; a correlation of -0.5 is below it
MIX = 2  # the column after left and right
SILENT = 1e-3  # of full scale: -60 dB
PLAYABLE = "if(isnan(val(ch)),0,clip(val(ch),-1,1))"  # as players have it
UNNAMED = 2  # channels; more of them without names are laid left and right in turn


class NoSoundError(InputError):
    """A file holds no sound, or not one sample of it."""


@dataclass(frozen=True)
class SoundInfo:
    """What the container says of the sound that a player would play."""

    sample_rate: int  # Hz
    channels: str  # mono, stereo, 5.1 ..., or how many there are


def probe_audio(path: Path) -> SoundInfo:
    """Rate and channels of the sound of a file. Raises UsageError or InputError."""
    track = _contents(path).sounds[0]
    return SoundInfo(track.sample_rate, track.layout or f"{track.channels} channels")


def read_audio(path: Path) -> Waveform:
    """Mono float32 at SAMPLE_RATE, starting where the file's own clock starts.

    Channels are mixed without getting louder, and where they would cancel the louder side is heard alone; sound that
    starts late or has gaps is filled with silence, so that it stays in step with the pictures of the same file. Raises
    UsageError (no such file) or InputError.
    """
    about = _contents(path)
    track = about.sounds[0]
    try:
        if about.duration > LONGEST and lasts(path, track.index, LONGEST):  # what comes is counted as well
            raise _too_long(path)
    except NotMedia as problem:
        raise _unreadable(path, problem.refused) from problem
    return _read(path, track)


def sound_of_video(path: Path) -> Waveform | None:
    """`read_audio` of a file that need not have sound: None if there is nothing in it."""
    try:
        return read_audio(path)
    except NoSoundError:
        return None


def sound_notes(path: Path, sound: Waveform | None = None) -> list[str]:
    """What to know of the sound of a file: cut short or gone on after its end, channels that cancel, or silence where
    another one is not silent.

    `sound` is what was read of it; without, it is read if the file holds others. Raises UsageError or InputError.
    """
    return [*cut_short(path), *goes_on(path), *_track_notes(path, sound)]


def _track_notes(path: Path, sound: Waveform | None) -> list[str]:
    if sound and sound.cancels:
        return [
            f"The channels of {path} cancel each other, so one of them was listened to; where they are mixed, as by a "
            "phone, it is all but silent. Export it as mono."
        ]
    first, *others = _contents(path).sounds
    if not others or not _is_silent(sound or _read(path, first)):
        return []
    for track in others:
        try:
            silent = _is_silent(_read(path, track))
        except InputError:
            continue
        if not silent:
            return [
                f"The sound of {path} that players choose is silent, another one (ffmpeg's stream 0:{track.index}) is "
                "not; keep only that one to hear it."
            ]
    return []


def playable(path: Path, sample_rate: int) -> Any:
    """The sound of a file that is listened to, all channels, as an ffmpeg-python stream. Raises as read_audio."""
    track = _contents(path).sounds[0]
    return _resampled(_mixable(path, track), track, sample_rate)


def _contents(path: Path) -> Contents:
    """Those of a file with sound."""
    try:
        streams = contents(check_input(path))
    except NotMedia as problem:
        raise _unreadable(path, problem.refused) from problem
    if not streams.sounds:
        raise NoSoundError(f"{path} holds no sound; give a recording of speech.")
    return streams


def _unreadable(path: Path, refused: bool) -> InputError:
    if named := no_media(path, "recording"):
        return named
    if notes := cut_short(path):
        return InputError(notes[0])
    if refused:
        return InputError(
            f"{path} holds no sound that is read (is it a picture, a playlist or samples without a header?); give the "
            "recording itself, such as WAV, MP3 or M4A."
        )
    return InputError(
        f"{path} cannot be read as sound; give a recording that plays elsewhere, such as WAV, MP3 or M4A."
    )


def _is_silent(sound: Waveform) -> bool:
    return float(np.abs(sound.samples).max(initial=0.0)) <= SILENT


def _too_long(path: Path) -> InputError:
    return InputError(f"{path} is longer than {LONGEST // 3600} hours; cut it into parts.")


def _mixable(path: Path, track: SoundTrack) -> Any:
    """The stream of a track; channels whose places are not known go left and right in turn."""
    stream = source(path, track.index, track.shift)
    if track.floats:  # one sample that is no number would silence the resampler and stop the encoder
        stream = stream.filter("aeval", PLAYABLE, c="same").filter("aformat", track.floats)
    if track.layout.startswith("ambisonic"):
        return stream.filter("pan", "mono|c0=c0")  # what comes from everywhere
    if track.layout or track.channels <= UNNAMED:
        return stream
    sides = ("+".join(f"c{k}" for k in range(side, track.channels, 2)) for side in range(2))
    return stream.filter("pan", "stereo|" + "|".join(f"c{side}<{sum_}" for side, sum_ in enumerate(sides)))


def _read(path: Path, track: SoundTrack) -> Waveform:
    data = bytearray()
    loud = cancelling = 0  # parts
    with start(arguments(_decoder(path, track)), stdout=subprocess.PIPE) as running:
        assert running.process.stdout is not None
        for samples, cancels in _heard(running.process.stdout, track.channels):
            data += samples.tobytes()
            audible = bool(np.abs(samples).max(initial=0.0) > SILENT)
            loud += audible
            cancelling += audible and cancels
            if len(data) / (4 * SAMPLE_RATE) > LONGEST:
                raise _too_long(path)
        status = running.wait()
    if not data and status != 0:
        raise InputError(
            f"The sound of {path} cannot be decoded (damaged, protected or of a rare kind); convert it to WAV first."
        )
    if not data:
        raise NoSoundError(f"{path} holds no audio samples; record or export it again.")
    return Waveform(np.frombuffer(data, dtype="<f4"), SAMPLE_RATE, 2 * cancelling > loud)  # writable, as a bytearray is


def _decoder(path: Path, track: SoundTrack) -> Any:
    """ffmpeg that writes float32: the mix of the channels, or left, right and mix."""
    sound = _mixable(path, track)
    if track.channels == 1:
        mixed = _resampled(sound, track, SAMPLE_RATE, "mono")
    else:
        twice = sound.asplit()
        sides = _resampled(twice[0], track, SAMPLE_RATE, "stereo")
        mix = _resampled(twice[1], track, SAMPLE_RATE, "mono")
        mixed = ffmpeg.filter((sides, mix), "amerge", inputs=2)
    return mixed.output("pipe:1", format="f32le", acodec="pcm_f32le")


def _resampled(stream: Any, track: SoundTrack, sample_rate: int, layout: str = "") -> Any:
    """Without getting louder, gaps filled; floats of a layout, if one is named.

    Beside pictures it is filled from the file's start on. Not if it is alone: ffmpeg begins anew where rate or channels
    change in the midst of it, as where recordings were joined, and would fill all the time until there once more.
    """
    options: dict[str, Any] = {"rematrix_maxval": 1, "async": 1}
    if layout:
        options |= {"ochl": layout, "out_sample_fmt": "flt"}
    if not track.alone:
        options["first_pts"] = 0
    return stream.filter("aresample", sample_rate, **options)


def _heard(pipe: IO[bytes], channels: int) -> Iterator[tuple[Array, bool]]:
    """Mono float32 in -1..1, part after part, of what `_decoder` writes, and whether the channels cancel in it."""
    width = 1 if channels == 1 else 3
    size = CHUNK if width == 1 else 4 * width * round(BLOCK * SAMPLE_RATE)
    before: int | None = None
    while data := pipe.read(size):
        samples = np.frombuffer(data, "<f4", count=len(data) // (4 * width) * width).copy()
        np.nan_to_num(samples, copy=False)
        columns = np.clip(samples, -1.0, 1.0, out=samples).reshape(-1, width)
        column = _audible(columns) if width == 3 and len(columns) else 0
        part = columns[:, column]
        if before is not None and before != column:
            length = round(FADE * SAMPLE_RATE)
            share = np.minimum(np.arange(1, len(part) + 1, dtype=np.float32) / np.float32(length), 1)
            part = columns[:, before] * (1 - share) + part * share
        before = column
        yield part, width == 3 and column != MIX


def _audible(columns: Array) -> int:
    """Which of left, right and mix [N, 3] is heard: the mix, unless the sides cancel in it.

    Steps between samples are compared, since rumble and hum must not decide.
    """
    left, right, mix = np.square(np.diff(columns, axis=0), dtype=np.float64).sum(0).tolist()
    return int(right > left) if mix < CANCELS * (left + right) / 4 else MIX
