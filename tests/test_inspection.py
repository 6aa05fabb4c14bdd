"""What inspect says of good and of doubtful photos and recordings."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from mggdub import errors
from mggdub.avatar import appearance, build
from mggdub.avatar.values import HeadAvatar
from mggdub.cli import main
from mggdub.face.portrait import company
from mggdub.inspection import FaceFinding, as_text, hear, inspect_face, inspect_file
from mggdub.media import process
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.types import Face, Photo


@pytest.fixture(scope="module")
def head(head_png: Path) -> Image.Image:
    return Image.fromarray(read_image(head_png).pixels)


def seen(models: Models, picture: Image.Image) -> FaceFinding:
    photo = Photo(np.array(picture))
    return inspect_face(photo, models.faces.find(photo.pixels)[0], 0, models.faces, models.geometry)


def test_a_good_photo(models: Models, head: Image.Image) -> None:
    found = seen(models, head)
    assert found.verdict == "good" and found.advice == ()
    assert found.mouth == "closed" and found.eyes == "open"
    assert max(abs(found.pitch), abs(found.yaw), abs(found.roll)) < 8 and 150 < found.height < 220
    left, top, right, bottom = found.box
    assert 0 < left < right < 384 and 0 < top < bottom < 384


def test_doubtful_photos_get_advice(models: Models, head: Image.Image) -> None:
    small = seen(models, head.resize((160, 160)))
    assert small.verdict == "usable" and "small" in small.advice[0]
    blurred = seen(models, head.filter(ImageFilter.GaussianBlur(4)))
    assert blurred.verdict == "usable" and any("blurred" in sentence for sentence in blurred.advice)
    masked = head.copy()
    marks = models.faces.find(np.array(head))[0].landmarks
    low, high = marks[:, :2].min(0), marks[:, :2].max(0)
    ImageDraw.Draw(masked).rectangle((low[0], marks[2, 1], high[0], high[1] + 4), fill=(60, 110, 200))
    found = seen(models, masked)
    assert found.covered == ("mouth", "left cheek", "right cheek", "chin")
    assert "cover the mouth, cheeks and chin" in found.advice[0]


@pytest.mark.parametrize(("across", "down"), [(2.0, 1.0), (1.0, 2.0), (1.5, 1.0), (1.0, 1.5)])
def test_a_stretched_photo_is_told(models: Models, head: Image.Image, across: float, down: float) -> None:
    found = seen(models, head.resize((round(384 * across), round(384 * down))))
    assert found.verdict == "usable" and "stretched" in found.advice[0]
    assert "stretched" not in " ".join(seen(models, head.resize((400, 384))).advice)


def light(picture: Image.Image) -> np.ndarray:
    """Linear light of sRGB, 0..1."""
    values = np.asarray(picture, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(linear: np.ndarray) -> Image.Image:
    linear = np.clip(linear, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(255 * values).astype(np.uint8))


def shadowed(picture: Image.Image, towards: int) -> Image.Image:
    """Light from one side only."""
    across = towards * (np.arange(picture.width) / picture.width - 0.5) * 40
    return shown(light(picture) * (0.02 + 0.98 / (1 + np.exp(-across)))[None, :, None])


def noisy(picture: Image.Image) -> Image.Image:
    grains = np.random.default_rng(0).normal(0, 25, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + grains, 0, 255).astype(np.uint8))


LIGHT = {
    "dark": (lambda p: shown(0.03 * light(p)), "dark"),
    "darker": (lambda p: shown(0.008 * light(p)), "dark"),
    "lit from the left": (lambda p: shadowed(p, -1), "in shadow"),
    "lit from the right": (lambda p: shadowed(p, 1), "in shadow"),
    "overexposed": (lambda p: shown(8 * light(p)), "overexposed"),
    "hazy": (lambda p: Image.blend(p, Image.new("RGB", p.size, (150, 150, 150)), 0.8), "little contrast"),
    "noisy": (noisy, "noisy"),
    "grey": (lambda p: p.convert("L").convert("RGB"), None),
    "sepia": (lambda p: Image.fromarray(np.uint8(np.asarray(p.convert("L"))[..., None] * [1, 0.9, 0.7])), None),
    "bluish": (lambda p: shown(light(p) * [0.6, 0.85, 1.4]), None),
}  # fmt: skip


@pytest.mark.parametrize("name", LIGHT)
def test_bad_light_is_called_that(models: Models, head: Image.Image, name: str) -> None:
    change, word = LIGHT[name]
    found = seen(models, change(head))
    assert len(found.advice) == (0 if word is None else 1), found.advice
    assert word is None or word in found.advice[0]
    assert found.covered == ()


def covering(picture: Image.Image, marks: np.ndarray, ring: list[int], color: tuple[int, int, int]) -> Image.Image:
    """Something with a soft edge over a polygon of landmarks, shaded a little from above."""
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in marks[ring, :2]], fill=255)
    shade = np.linspace(1.1, 0.8, picture.height)[:, None, None]
    cloth = np.broadcast_to(np.clip(shade * color, 0, 255), (picture.height, picture.width, 3)).astype(np.uint8)
    return Image.composite(Image.fromarray(cloth), picture, mask.filter(ImageFilter.GaussianBlur(1)))


JAW = [93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323]
ALL_BELOW = ("nose", "mouth", "left cheek", "right cheek", "chin")
COVERS = {
    "blue": ([*JAW, 347, 197, 118], (150, 190, 222), ALL_BELOW),
    "white": ([*JAW, 347, 197, 118], (228, 230, 232), ALL_BELOW),
    "black": ([*JAW, 347, 197, 118], (24, 24, 26), ALL_BELOW),
    "under the nose": ([*JAW, 425, 2, 205], (40, 90, 60), ("mouth", "left cheek", "right cheek", "chin")),
}


@pytest.mark.parametrize("name", COVERS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_mask_is_named_where_it_is(models: Models, head: Image.Image, name: str, grey: bool) -> None:
    ring, color, parts = COVERS[name]
    marks = models.faces.find(np.array(head))[0].landmarks
    masked = covering(head, marks, ring, color)
    found = seen(models, masked.convert("L").convert("RGB") if grey else masked)
    assert "mouth" in found.covered and "forehead" not in found.covered and "eyes" not in found.covered
    assert grey or (found.covered == parts and "mask" in found.advice[0])
    assert len(found.advice) == 1 and found.verdict == "usable"


def test_dark_glasses_cover_the_eyes(models: Models, head: Image.Image) -> None:
    marks = models.faces.find(np.array(head))[0].landmarks
    worn = head.copy()
    for corner, other in ((33, 133), (362, 263)):
        x, y = (marks[corner, :2] + marks[other, :2]) / 2
        width = abs(float(marks[corner, 0] - marks[other, 0]))
        ImageDraw.Draw(worn).ellipse((x - width, y - 0.7 * width, x + width, y + 0.8 * width), fill=(20, 18, 22))
    assert seen(models, worn).covered == ("eyes",)


def test_a_beard_is_no_mask(models: Models, head: Image.Image) -> None:
    marks = models.faces.find(np.array(head))[0].landmarks
    grown = covering(head, marks, [*JAW, 425, 391, 164, 165, 205], (52, 40, 34))
    lips = Image.new("L", head.size)
    ring = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91]
    ImageDraw.Draw(lips).polygon([(float(x), float(y)) for x, y in marks[ring, :2]], fill=255)
    bearded = Image.composite(head, grown, lips.filter(ImageFilter.GaussianBlur(1)))
    assert seen(models, bearded).covered == ()


def test_a_negative_is_called_that(models: Models, head: Image.Image) -> None:
    """Lighter or darker, in grey or in a blue tone; the photo itself is none, under a blue lamp neither."""
    photo = head.convert("L").convert("RGB")
    negative = np.array(ImageOps.invert(photo))
    for light in ((0.6, 0.6, 0.6), (1.0, 1.0, 1.0), (0.95, 0.97, 1.0)):
        found = seen(models, Image.fromarray((negative * light).astype(np.uint8)))
        assert found.verdict == "usable" and len(found.advice) == 1 and "seems to be a negative" in found.advice[0]
    blue = (np.array(head) * (0.5, 0.7, 1.0)).astype(np.uint8)
    for picture in (photo, Image.fromarray(blue)):
        assert not any("negative" in sentence for sentence in seen(models, picture).advice)


def test_advice_says_what_is_covered_in_plain_words() -> None:
    assert appearance.listed(("mouth",)) == "mouth"
    assert appearance.listed(("left cheek", "chin")) == "left cheek and chin"
    assert appearance.listed(ALL_BELOW) == "nose, mouth, cheeks and chin"


def test_a_turned_photo_is_measured_as_an_upright_one(models: Models, head: Image.Image) -> None:
    upright, upset = seen(models, head), seen(models, head.transpose(Image.Transpose.ROTATE_180))
    assert abs(abs(upset.roll - upright.roll) - 180) < 2 and "turned by 180 degrees" in " ".join(upset.advice)
    assert (upset.pitch, upset.yaw) == pytest.approx((upright.pitch, upright.yaw), abs=2)
    assert (upset.verdict, upset.mouth, upset.eyes) == (upright.verdict, upright.mouth, upright.eyes)
    size = (head.width, head.height) * 2
    flipped = [side - at for side, at in zip(size, upset.box, strict=True)]  # boxes are the picture's own
    assert (*flipped[2:], *flipped[:2]) == pytest.approx(upright.box, abs=6)


def test_two_faces_are_numbered_and_the_better_one_is_named(head: Image.Image, tmp_path: Path) -> None:
    group = Image.new("RGB", (840, 440), (120, 130, 140))
    group.paste(head.resize((430, 430)).filter(ImageFilter.GaussianBlur(4)), (0, 5))
    group.paste(head, (445, 30))
    group.save(tmp_path / "group.png")
    report = inspect_file(tmp_path / "group.png", tmp_path / "drawn.png")
    assert [face["index"] for face in report["faces"]] == [0, 1]
    assert report["verdict"] == "usable" and "--face 1" in report["advice"][0]
    drawn, plain = (np.asarray(Image.open(tmp_path / name)) for name in ("drawn.png", "group.png"))
    changed = (drawn != plain).any(-1)
    assert 200 < changed.sum() < 0.2 * changed.size
    assert "face 1: " in as_text(report)


def test_a_photo_of_several_says_whose_face_speaks(head: Image.Image, models: Models) -> None:
    small = head.resize((220, 220))
    group = Image.new("RGB", (900, 440), (120, 130, 140))
    group.paste(head.resize((380, 380)), (10, 30))
    group.paste(head, (470, 20))
    photo = Photo(np.array(group))
    options = RenderOptions(size=128, preview=True)
    assert "2 faces" in (told := build.build_avatar(photo, models, options).advice[0]) and "on the right" in told
    chosen = build.build_avatar(photo, models, replace(options, face="1"))
    assert not any("faces" in line for line in chosen.advice)
    group.paste((120, 130, 140), (0, 0, 460, 440))
    group.paste(small, (10, 30))
    assert not any("faces" in line for line in build.build_avatar(Photo(np.array(group)), models, options).advice)


@pytest.mark.parametrize(
    ("speaks", "others", "said"),
    [
        ((100, 100), [(300, 110)], "on the left"),
        ((300, 90), [(100, 100), (500, 100)], "in the middle"),
        ((104, 300), [(100, 100)], "at the bottom"),
        ((96, 100), [(100, 300), (103, 500)], "at the top"),
        ((98, 103), [(100, 300), (300, 100), (305, 301)], "at the top left"),
        ((300, 300), [(100, 100), (500, 500)], "in the middle"),
    ],
)
def test_where_a_face_is_among_others_as_large(speaks: tuple[int, int], others: list[Any], said: str) -> None:
    face = np.random.default_rng(0).uniform(-50, 50, (478, 3)).astype(np.float32)
    face[[10, 152]] = (0, -50, 0), (0, 50, 0)  # hairline and chin
    faces = [Face(face + np.float32([*place, 0]), np.zeros(52, np.float32), 1.0) for place in (speaks, *others)]
    assert f"{len(faces)} faces are about as large; the one {said} speaks" in company(faces, "largest")[0]
    assert company(faces, "0") == ()


@pytest.mark.parametrize(
    ("edge", "verdict", "said"),
    [
        ((0, 0, 1, 1), "good", ""),
        ((0.5, 0, 1, 1), "usable", "cuts the face off"),
        ((0, 0, 1, 0.55), "unusable", "mouth"),
    ],
)
def test_a_face_that_the_picture_cuts_off_is_told(
    head: Image.Image, models: Models, edge: tuple[float, ...], verdict: str, said: str
) -> None:
    left, top, right, bottom = (round(share * side) for share, side in zip(edge, head.size * 2, strict=True))
    picture = head.crop((left, top, right, bottom))
    found = seen(models, picture)
    assert found.verdict == verdict and said in " ".join(found.advice[:1])
    if verdict == "usable":
        built = build.build_avatar(Photo(np.array(picture)), models, RenderOptions(size=128, preview=True))
        assert built.advice[0] == found.advice[0]
    if verdict == "unusable":
        with pytest.raises(errors.InputError, match=said):
            build.build_avatar(Photo(np.array(picture)), models, RenderOptions())


@pytest.mark.parametrize(("place", "told"), [("eyes", True), ("mouth", True), ("beside", False), ("nowhere", False)])
def test_a_face_with_holes_is_told(head: Image.Image, models: Models, place: str, told: bool) -> None:
    marks = models.faces.find(np.array(head))[0].landmarks[:, :2]
    middles = {"eyes": marks[[159, 386]], "mouth": marks[[13]], "beside": np.array([[20.0, 200.0]])}
    alpha = Image.new("L", head.size, 255)
    for x, y in middles.get(place, np.zeros((0, 2))):
        ImageDraw.Draw(alpha).ellipse((x - 13, y - 13, x + 13, y + 13), fill=0)
    photo = Photo(np.array(head), np.array(alpha))
    found = inspect_face(photo, models.faces.find(photo.pixels)[0], 0, models.faces, models.geometry)
    assert any("transparent" in sentence for sentence in found.advice) == told


@pytest.mark.parametrize(("alpha", "said"), [(128, "50 %"), (200, "22 %"), (250, "")])
def test_a_face_that_others_shine_through_is_told(head: Image.Image, models: Models, alpha: int, said: str) -> None:
    photo = Photo(np.array(head), np.full(head.size[::-1], alpha, np.uint8))
    found = inspect_face(photo, models.faces.find(photo.pixels)[0], 0, models.faces, models.geometry)
    assert found.verdict == ("usable" if said else "good")
    assert not said or (f"The face is transparent ({said})" in found.advice[0] and len(found.advice) == 1)


@pytest.mark.parametrize(("background", "told"), [("keep", True), ("white", False), ("#00ff00", False)])
def test_what_becomes_of_transparent_parts_is_told(
    head: Image.Image, models: Models, background: str, told: bool
) -> None:
    """Who gives a cut-out person learns that white comes behind it, unless a colour was chosen."""
    alpha = np.full(head.size[::-1], 255, np.uint8)
    alpha[:, : head.width // 12] = 0
    photo = Photo(np.array(head), alpha)
    options = RenderOptions(size=128, preview=True, background=background)
    advice = build.build_avatar(photo, models, options).advice
    assert any("--background" in sentence for sentence in advice) == told
    found = inspect_face(photo, models.faces.find(photo.pixels)[0], 0, models.faces, models.geometry)
    assert found.verdict == "good" and "white in the video" in found.advice[-1]


def test_a_face_too_small_for_render_is_unusable(
    head: Image.Image, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mggdub.face.portrait.SMALLEST_FACE", 1000.0)
    found = seen(models, head)
    assert found.verdict == "unusable" and "too small" in found.advice[0]
    with pytest.raises(errors.InputError, match="too small"):
        build.build_avatar(Photo(np.array(head)), models, RenderOptions())


def test_recordings(speech_wav: Path, tmp_path: Path) -> None:
    found = hear(speech_wav)
    assert found.verdict == "good" and (found.sample_rate, found.channels) == (22050, "mono")
    assert 0.6 < found.voice < 1 and found.leading < 0.3 and -30 < found.rms_db < -10
    samples, rate = soundfile.read(speech_wav)
    part = samples[: 2 * rate]
    made = {
        "quiet": part / 300,
        "clipped": np.clip(part * 8, -1, 1),
        "late": np.concatenate([np.zeros(rate), part]),
        "silent": np.zeros(rate),
    }
    heard = {}
    for name, data in made.items():
        soundfile.write(tmp_path / f"{name}.wav", data, rate)
        heard[name] = hear(tmp_path / f"{name}.wav")
    assert "quiet" in heard["quiet"].advice[0] and heard["quiet"].voice > 0.5
    assert "clipped" in heard["clipped"].advice[0] and heard["clipped"].clipped > 0.01
    assert heard["late"].leading == pytest.approx(1, abs=0.15)
    assert heard["silent"].voice == 0 and "closed" in heard["silent"].advice[0] and heard["silent"].rms_db is None
    assert "silent" in as_text(inspect_file(tmp_path / "silent.wav"))


def test_a_render_warns_of_its_photo_in_one_line(
    head: Image.Image,
    speech_wav: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "s.wav", samples[rate : rate + rate // 8], rate)
    shown(0.03 * light(head)).resize((120, 120)).save(tmp_path / "dark.png")
    head.save(tmp_path / "good.png")

    def run(*words: str) -> tuple[dict[str, Any], list[str]]:
        monkeypatch.setattr(sys, "argv", ["mggdub", *words])
        capfd.readouterr()
        assert main.run() == 0
        out, err = capfd.readouterr()
        return json.loads(out), [line for line in err.splitlines() if "dark.png" in line or "head.mgg" in line]

    monkeypatch.chdir(tmp_path)
    preview = ("--preview", "--size", "128", "--json")
    report, lines = run("avatar", "dark.png", "-o", "head.mgg", *preview)
    assert len(report["advice"]) == 2 and "dark" in report["advice"][0] and "small" in report["advice"][1]
    assert lines == [f"Warning: dark.png: {' '.join(report['advice'])}"]
    again, lines = run("render", "head.mgg", "s.wav", "-o", "a.mp4", "--json")
    assert again["advice"] == report["advice"] and len(lines) == 1
    again, lines = run("render", "head.mgg", "s.wav", "-o", "b.mp4", "--json", "--quiet")
    assert again["advice"] == report["advice"] and not lines
    assert run("avatar", "good.png", "-o", "good.mgg", *preview)[0]["advice"] == []


def test_advice_of_a_stranger_is_no_escape_sequence(avatar: HeadAvatar) -> None:
    for wrong in (("\x1b[2J",), ("a\nb",), ("long" * 100,), ("one",) * 17, (3,)):
        with pytest.raises(ValueError, match="sentences"):
            replace(avatar, advice=wrong)


def test_numbers_of_a_short_recording_are_possible(speech_wav: Path, tmp_path: Path) -> None:
    sound, rate = soundfile.read(speech_wav)
    for seconds in (0.012, 0.043, 0.111, 0.507):
        soundfile.write(tmp_path / "short.wav", sound[rate : rate + round(seconds * rate)] / np.abs(sound).max(), rate)
        report = inspect_file(tmp_path / "short.wav")
        assert 0 <= report["voice"] <= 1 and report["leading"] <= report["seconds"] + 0.05
        assert not as_text(report).split(": ")[1].startswith("0.0 s") and "-0.0" not in as_text(report)


def test_a_silent_track_beside_a_loud_one_is_told(speech_wav: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mute.wav", np.zeros(16000), 16000)
    inputs = ("-i", tmp_path / "mute.wav", "-t", "1", "-i", speech_wav, "-map", "0", "-map", "1")
    for first, words in (("default", "another one"), ("0", "")):
        marks = ("-disposition:a:0", first, "-disposition:a:1", "0" if words else "default")
        argv = [process.binary(), "-v", "error", "-y", *inputs, *marks, tmp_path / "two.mka"]
        subprocess.run([str(part) for part in argv], check=True)
        found = hear(tmp_path / "two.mka")
        assert any("another one" in sentence for sentence in found.advice) == bool(words)
        assert (found.voice > 0.5) == (not words)
