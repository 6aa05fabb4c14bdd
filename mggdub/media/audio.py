"""Sound in: any audio or video that ffmpeg reads becomes one mono waveform."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mggdub.errors import InputError
from mggdub.media.files import check_input
from mggdub.media.process import REFUSED, arguments, describe, duration, source, start
from mggdub.types import Waveform

SAMPLE_RATE = 16_000
LONGEST = 3 * 3600  # s; three hours of float32 at 16 kHz are 690 MB
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class SoundInfo:
    """What the container says of its first sound."""

    sample_rate: int  # Hz
    channels: str  # mono, stereo, 5.1 ...


def probe_audio(path: Path) -> SoundInfo:
    """Rate and channels of the first sound of a file. Raises UsageError or InputError."""
    said = describe(check_input(path))
    found = re.search(r"Stream #0:\d+.*: Audio:.*?, (\d+) Hz, ([^,\n]+)", said)
    if not found:
        raise InputError(_silence_reason(path, 1, said))
    return SoundInfo(int(found[1]), found[2].strip())


def read_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Mono float32 at `sample_rate`, starting where the file's own clock starts.

    Channels are mixed without getting louder; sound that starts late or has gaps is filled with silence, so
    that it stays in step with the pictures of the same file. Raises UsageError (no such file) or InputError.
    """
    check_input(path)
    resampled = source(path).audio.filter(
        "aresample",
        sample_rate,
        ochl="mono",
        out_sample_fmt="flt",
        rematrix_maxval=1,
        **{"async": 1, "first_pts": 0},
    )
    argv = arguments(resampled.output("pipe:1", format="f32le", acodec="pcm_f32le"), loud=True)
    data = bytearray()
    claimed = [0.0]  # s; containers may claim anything, so that what comes is counted as well
    with start(argv, lambda line: claimed.append(duration(line)), stdout=subprocess.PIPE) as running:
        assert running.process.stdout is not None
        while chunk := running.process.stdout.read(CHUNK):
            data += chunk
            if max(len(data) / (4 * sample_rate), *claimed) > LONGEST:
                raise InputError(f"{path} is longer than {LONGEST // 3600} hours; cut it into parts.")
        status = running.wait()
    if not data:
        raise InputError(_silence_reason(path, status, "".join(running.said)))
    samples = np.frombuffer(data, dtype="<f4", count=len(data) // 4)  # writable, since a bytearray is
    np.nan_to_num(samples, copy=False)
    return Waveform(np.clip(samples, -1.0, 1.0, out=samples), sample_rate)


def _silence_reason(path: Path, status: int, said: str) -> str:
    if REFUSED in said:
        return f"{path} holds no sound that is read (is it a picture or a playlist?); give the recording itself."
    if "matches no streams" in said or "does not contain any stream" in said:
        return f"{path} holds no sound; give a recording of speech."
    if status == 0:
        return f"{path} holds no audio samples; record or export it again."
    return f"{path} cannot be read as sound; give a recording that plays elsewhere, such as WAV, MP3 or M4A."
