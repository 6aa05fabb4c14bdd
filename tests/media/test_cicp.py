"""Wide and bright colours that a picture notes by code points look like the plain picture of the same scene."""

import os
import struct
import sys
import tempfile
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from mggdub.media import process
from mggdub.media.cicp import HLG, PEAK, PQ, WHITE, to_srgb
from mggdub.media.image import read_image
from mggdub.media.video import probe, read_video

sys.path.insert(0, str(Path(__file__).parent))
from heic import box, write_heic

SRGB, BT709, BT2020, P3 = 13, 1, 9, 12
WAYS = [(BT2020, PQ), (BT2020, HLG), (P3, SRGB), (BT709, PQ), (BT709, SRGB)]
TO_XYZ = {  # ITU-R BT.709, BT.2020 and SMPTE EG 432-1
    BT709: [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    BT2020: [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]],
    P3: [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]],
}


def scene() -> np.ndarray:
    """Skin, hair, cloth and grey, none of it brighter than KNEE, in sRGB [H, W, 3] uint8."""
    colours = [(205, 160, 140), (120, 80, 66), (40, 30, 25), (90, 110, 190), (200, 200, 200), (60, 140, 70)]
    return np.repeat(np.repeat(np.uint8([colours[:3], colours[3:]]), 32, 0), 32, 1)


def stored(plain: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """The same light in other code points."""
    value = plain / 255.0
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.maximum(light @ (np.linalg.inv(TO_XYZ[primaries]) @ TO_XYZ[BT709]).T, 0)
    if transfer == PQ:
        power = (light * WHITE / 10_000) ** 0.1593017578125
        value = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    elif transfer == HLG:
        shown = light * WHITE / PEAK
        luma = shown @ [0.2627, 0.6780, 0.0593]
        light = shown * luma[..., None] ** (1 / 1.2 - 1)
        curved = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
        value = np.where(light <= 1 / 12, np.sqrt(3 * light), curved)
    else:
        value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * value).astype(np.uint8)


def write(path: Path, pixels: np.ndarray, points: tuple[int, int]) -> None:
    if path.suffix == ".png":
        chunks = PngInfo()
        chunks.add(b"cICP", bytes([*points, 0, 1]))
        Image.fromarray(pixels).save(path, pnginfo=chunks)
    elif path.suffix == ".avif":
        Image.fromarray(pixels).save(path, quality=100, subsampling="4:4:4")
        data = path.read_bytes()
        assert data.count(b"nclx\0\1\0\x0d") == 1
        path.write_bytes(data.replace(b"nclx\0\1\0\x0d", b"nclx" + struct.pack(">HH", *points)))
    else:
        write_heic(path, pixels, turns=[box(b"colr", b"nclx" + struct.pack(">HHHB", *points, 6, 0x80))])


@pytest.mark.parametrize("points", WAYS)
@pytest.mark.parametrize("form", ["png", "avif", "heic"])
def test_the_same_scene_looks_the_same(tmp_path: Path, form: str, points: tuple[int, int]) -> None:
    path = tmp_path / f"a.{form}"
    write(path, stored(scene(), *points), points)
    inner = np.s_[8:-8:32, 8::32]  # away from the edges that coding blurs
    found, plain = read_image(path).pixels[inner].astype(int), scene()[inner]
    assert np.abs(found - plain).max() <= {"png": 4, "avif": 12, "heic": 12}[form]


def test_brighter_light_is_drawn_together_without_a_step() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    for transfer in (PQ, HLG):
        grey = np.asarray(to_srgb(Image.fromarray(ramp), (BT2020, transfer)))[0].astype(int)
        assert (np.diff(grey, axis=0) >= 0).all() and np.diff(grey, axis=0).max() <= 8
        assert (grey[0] == 0).all() and (grey[-1] >= 254).all() and np.ptp(grey, 1).max() <= 1


def test_a_profile_counts_more(tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add(b"cICP", bytes([BT2020, PQ, 0, 1]))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(scene()).save(tmp_path / "a.png", pnginfo=chunks, icc_profile=profile)
    assert np.abs(read_image(tmp_path / "a.png").pixels.astype(int) - scene()).max() <= 1


@pytest.mark.parametrize("points", WAYS)
@pytest.mark.parametrize("codec", ["libx265", "libx264"])
def test_a_video_looks_like_the_plain_one(
    tmp_path: Path, codec: str, points: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "it's a: folder,[;]"))  # where a table lies while it is read
    Path(os.environ["TMPDIR"]).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    matrix = "bt2020nc" if points[0] == BT2020 else "bt709"
    kinds = {"color_primaries": points[0], "color_trc": points[1], "colorspace": matrix, "range": "tv"}
    pixels = stored(scene(), *points)
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s=size, framerate=25)
    deep = raw.filter("scale", out_color_matrix=matrix.removesuffix("nc"), out_range="tv")
    out = (
        deep.filter("format", "yuv444p10")
        .filter("setparams", **kinds)
        .output(str(tmp_path / "a.mp4"), vcodec=codec, crf=1)
    )
    out = out.global_args("-loglevel", "error")
    ffmpeg.run(out, cmd=process.binary(), input=pixels.tobytes() * 3)
    frames = [frame for _, frame in read_video(tmp_path / "a.mp4")]
    inner = np.s_[8:-8:32, 8::32]
    assert len(frames) == 3 and probe(tmp_path / "a.mp4").colours == points
    assert np.abs(frames[1][inner].astype(int) - scene()[inner]).max() <= 6
    assert not list(Path(os.environ["TMPDIR"]).iterdir())
