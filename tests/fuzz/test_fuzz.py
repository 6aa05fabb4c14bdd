"""Damaged files end in a sentence, never in a traceback or a hang. For thousands: python tests/fuzz/test_fuzz.py.

To cover another reader, add a Target: its name, good files to damage (suffix, bytes) and what reads one.
"""

import argparse
import faulthandler
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save

from mggdub import models, weights
from mggdub.avatar import build
from mggdub.avatar.file import load_avatar, save_avatar
from mggdub.batch.manifest import read_rows
from mggdub.errors import MggdubError
from mggdub.media import process
from mggdub.media.audio import read_audio
from mggdub.media.encode import write_video
from mggdub.media.image import read_image
from mggdub.media.video import read_video
from mggdub.motion.track_file import COLUMNS, read_track
from mggdub.options import RenderOptions

ROOT = Path(__file__).resolve().parents[2]
HANG = 60  # s, after which a single file counts as a hang and ends the process
EDGES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00", b"\n", b",", b'"', b"\xef\xbb\xbf")
WORDS = (b"nan", b"inf", b"-1", b"1e999", b"", b"99999999999999999999", b"0x10", b"\xc3", b"{}", b"[]", b"null")


class Target(NamedTuple):
    """A reader, and files that it reads without complaint."""

    name: str
    seeds: Callable[[], list[tuple[str, bytes]]]  # (suffix, content)
    read: Callable[[Path], object]
    quick: int  # mutants in the short run


def pictures() -> list[tuple[str, bytes]]:
    colours = np.random.default_rng(0).integers(0, 255, (80, 96, 4), dtype=np.uint8)
    seeds = []
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI", "AVIF"):
        mode = "RGBA" if kind in ("PNG", "WEBP", "TIFF", "ICO") else "RGB"
        data = io.BytesIO()
        Image.fromarray(colours).convert(mode).save(data, kind)
        seeds.append((f".{kind.lower()}", data.getvalue()))
    return seeds


def sounds() -> list[tuple[str, bytes]]:
    wave = 0.3 * np.sin(np.arange(1600) / 5)
    seeds = []
    for kind, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("AIFF", "PCM_16"),
    ):
        data = io.BytesIO()
        soundfile.write(data, wave, 16000, format=kind, subtype=subtype)
        seeds.append((f".{kind.lower()}", data.getvalue()))
    return seeds


def videos() -> list[tuple[str, bytes]]:
    pictures = (np.full((32, 48, 3), 40 * i, np.uint8) for i in range(4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        write_video(path, pictures, fps=Fraction(25), size=(48, 32))
        seeds = [(".mp4", path.read_bytes())]
        codecs = {".mkv": "copy", ".avi": "mpeg4", ".flv": "flv", ".swf": "flv", ".nut": "mpeg4"}
        for suffix, codec in codecs.items():
            other = path.with_suffix(suffix)
            argv = [process.binary(), "-v", "error", "-i", str(path), "-c:v", codec, str(other)]
            subprocess.run(argv, check=True)
            seeds.append((suffix, other.read_bytes()))
        return seeds


def read_all(path: Path) -> None:
    """Every frame of a video."""
    for _ in read_video(path):
        pass


def tracks() -> list[tuple[str, bytes]]:
    lines = [",".join(COLUMNS), *(",".join([f"{i / 25 + 0.02:.3f}", *["0.1"] * (len(COLUMNS) - 1)]) for i in range(4))]
    return [(".csv", "\n".join(lines).encode())]


def live_link() -> list[tuple[str, bytes]]:
    head = "Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen,HeadYaw,HeadPitch,HeadRoll\r\n"
    rows = "".join(f"23:59:59:{i:02d}.500,61,0.1,0.2,0.0,0.1,0.0\r\n" for i in range(6))
    return [(".csv", (head + rows).encode())]


def networks() -> list[tuple[str, bytes]]:
    linear = torch.nn.Linear(3, 2).half().state_dict()
    return [(".safetensors", save(linear, {"config": '{"width": 3}'}))]


def read_network(path: Path) -> None:
    """As the shipped ones are read."""
    before = os.environ.get("MGGDUB_WEIGHTS")
    os.environ["MGGDUB_WEIGHTS"] = str(path.parent)
    try:
        weights.network(lambda: torch.nn.Linear(3, 2), weights.load(path.stem)[0], path.stem)
    finally:
        os.environ.pop("MGGDUB_WEIGHTS")
        os.environ |= {"MGGDUB_WEIGHTS": before} if before else {}


def manifests() -> list[tuple[str, bytes]]:
    csv = "photo,speech,output,fps,pose\r\na.png,b.wav,one.mp4,25,still\r\na.png,b.wav,two.mp4,29.97,natural\r\n"
    lines = '{"photo": "a.png", "speech": "b.wav", "output": "one.mp4", "seed": 3}\n' * 2
    return [(".csv", csv.encode()), (".jsonl", lines.encode())]


def read_manifest(path: Path) -> None:
    """As `mggdub batch` does."""
    read_rows(path, None, False, {}, frozenset())


@cache
def avatars() -> list[tuple[str, bytes]]:
    head = build.build_avatar(
        read_image(ROOT / "tests" / "data" / "head.png"), models.load_models(), RenderOptions(size=96, preview=True)
    )
    about = {"options": {"preview": True, "size": 96, "face": "largest", "background": "keep", "inpainter": "auto"}}
    with tempfile.TemporaryDirectory() as folder:
        save_avatar(Path(folder) / "head.mgg", head, about)
        return [(".mgg", (Path(folder) / "head.mgg").read_bytes())]


TARGETS = [
    Target("picture", pictures, read_image, 260),
    Target("sound", sounds, read_audio, 40),
    Target("video", videos, read_all, 20),
    Target("track", tracks, read_track, 150),
    Target("live link", live_link, read_track, 150),
    Target("weights", networks, read_network, 150),
    Target("manifest", manifests, read_manifest, 200),
    Target("avatar", avatars, load_avatar, 12),
]


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """One to four small damages."""
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            return data
        start = int(rng.integers(len(data))) if rng.random() < 0.6 else int(rng.integers(min(len(data), 64)))
        end = start + int(rng.integers(1, 1 + min(64, len(data) - start)))
        kind = int(rng.integers(8))
        if kind == 0:
            flipped = data[start] ^ (1 << int(rng.integers(8)))
            data = data[:start] + bytes([flipped]) + data[start + 1 :]
        elif kind == 1:
            data = data[:start] + rng.bytes(end - start) + data[end:]
        elif kind == 2:
            data = data[:start] + data[end:]
        elif kind == 3:
            data = data[:end] + data[start:end] * int(rng.integers(1, 9)) + data[end:]
        elif kind == 4:
            edge = EDGES[int(rng.integers(len(EDGES)))]
            data = data[:start] + edge + data[start + len(edge) :]
        elif kind == 5:
            data = data[:start]
        elif kind == 6:
            numbers = list(re.finditer(rb"[-\w.+]+", data))
            if numbers:
                spot = numbers[int(rng.integers(len(numbers)))]
                word = WORDS[int(rng.integers(len(WORDS)))]
                data = data[: spot.start()] + word + data[spot.end() :]
        else:
            data = data[:start] + EDGES[int(rng.integers(len(EDGES)))] + data[start:]
    return _summed(data) if data.startswith(b"\x89PNG") and rng.random() < 0.7 else data


def _summed(png: bytes) -> bytes:
    """A PNG with its checksums made right again, so that damage gets past them."""
    out, place = png[:8], 8
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        body = png[place + 4 : place + 8 + length]
        if place + 12 + length > len(png):
            break
        out += png[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return out + png[place:]


def run(target: Target, count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """How often each outcome came, and the problems, each with what makes it again."""
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    seeds = target.seeds()
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        suffix, content = seeds[index % len(seeds)]
        path = folder / f"mutant{suffix}"
        path.write_bytes(mutate(rng, content))
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            target.read(path)
            outcomes["read"] += 1
        except MggdubError as error:
            outcomes["refused"] += 1
            if "\n" in str(error) or not str(error).endswith("."):
                problems.append(f"{target.name} {seed}/{index}: not one sentence: {str(error)!r}")
        except Exception as error:
            outcomes["traceback"] += 1
            problems.append(f"{target.name} {seed}/{index} ({suffix}): {type(error).__name__}: {error}")
        finally:
            faulthandler.cancel_dump_traceback_later()
        if [p.name for p in folder.iterdir()] != [path.name]:
            problems.append(f"{target.name} {seed}/{index}: left files behind")
        path.unlink()
    return outcomes, problems


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_damaged_files_end_in_a_sentence(target: Target, tmp_path: Path) -> None:
    for suffix, content in target.seeds():
        (tmp_path / f"seed{suffix}").write_bytes(content)
        target.read(tmp_path / f"seed{suffix}")
        (tmp_path / f"seed{suffix}").unlink()
    outcomes, problems = run(target, target.quick, 0, tmp_path)
    assert not problems
    assert outcomes["refused"] > target.quick // 20, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="mutants for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="name of one reader")
    chosen = parser.parse_args()
    bad = 0
    for target in TARGETS:
        if chosen.only in (None, target.name):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                outcomes, problems = run(target, chosen.count, chosen.seed, Path(folder))
            took = time.perf_counter() - start
            print(f"{target.name:<10} {chosen.count} mutants, {dict(outcomes)}, {len(problems)} problems, {took:.0f} s")
            for problem in problems[:20]:
                print(f"  {problem}")
            bad += len(problems)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
