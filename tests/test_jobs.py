"""The whole way on a synthetic head: what a user sees, at a size that takes seconds."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mggdub import jobs
from mggdub.animation import animate, retarget
from mggdub.avatar import build, hidden, transparency
from mggdub.avatar.box import output_size
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import InputError, UsageError
from mggdub.face import expression, portrait
from mggdub.face.mesh import PIVOT, inside, outline
from mggdub.geometry.camera import project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.media.image import read_image
from mggdub.media.video import probe, read_video
from mggdub.metrics.landmarks import lip_aperture
from mggdub.models import Models, choose_device
from mggdub.motion import speech
from mggdub.motion.track import add_orbit
from mggdub.options import RenderOptions
from mggdub.renderer import rasterize
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack, Photo, Waveform

SMALL = RenderOptions(size=256, preview=True)


def a_track(avatar: HeadAvatar, frames: int = 1) -> ExpressionTrack:
    """The photo's own state: the track that changes nothing."""
    still = np.zeros((frames, 52), np.float32)
    return ExpressionTrack(np.arange(frames) * 1.0, still, np.tile(avatar.photo_drivers[24:], (frames, 1)))


def frames_of(avatar: HeadAvatar, models: Models, track: ExpressionTrack) -> list[Array]:
    return list(animate.animate(avatar, models, track))


def landmarks_of(models: Models, frame: Array) -> Array:
    large = np.kron(frame, np.ones((2, 2, 1), np.uint8))
    return models.faces.find(large)[0].landmarks


def test_the_photos_own_state_is_the_photo(models: Models, avatar: HeadAvatar) -> None:
    (frame,) = frames_of(avatar, models, a_track(avatar))
    error = (frame.astype(float) - avatar.image) / 255
    assert -10 * np.log10((error**2).mean()) > 33
    assert frame.shape == avatar.image.shape == (256, 256, 3)


def test_the_mouth_opens_closes_and_the_eyes_blink(models: Models, avatar: HeadAvatar) -> None:
    track = a_track(avatar, 4)
    blink = track.blendshapes.copy()
    blink[3, [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]] = 1
    modes = track.lip_modes.copy()
    modes[1] = models.expression.opening * 1.2
    modes[2] = 0
    marks = np.stack(
        [landmarks_of(models, f) for f in frames_of(avatar, models, replace(track, lip_modes=modes, blendshapes=blink))]
    )
    gap = lip_aperture(marks)
    assert gap[1] > 0.07
    assert gap[2] < 0.03
    eyes = np.abs(marks[:, 159, 1] - marks[:, 145, 1])
    assert eyes[3] < 0.45 * eyes[0]


def test_a_turn_moves_the_nose_and_leaves_collar_and_wall(models: Models, avatar: HeadAvatar) -> None:
    turned = replace(a_track(avatar), rotation=np.array([[0, 6, 0]], np.float32))
    (frame,) = frames_of(avatar, models, turned)
    before, after = landmarks_of(models, avatar.image), landmarks_of(models, frame)
    assert after[1, 0] - before[1, 0] > 2  # px of a picture twice the size: the nose goes to the viewer's right
    assert (
        np.array_equal(frame[-8:], avatar.image[-8:]) or np.abs(frame[-8:].astype(int) - avatar.image[-8:]).max() < 12
    )
    assert np.array_equal(frame[:, :6], avatar.image[:, :6])


@pytest.mark.parametrize("relative", [False, True])
def test_a_frame_needs_none_before_it(models: Models, avatar: HeadAvatar, relative: bool) -> None:
    track = a_track(avatar, 5)
    moving = np.random.default_rng(0).uniform(0, 0.5, (5, 60)).astype(np.float32)
    track = replace(track, blendshapes=moving[:, :52], lip_modes=moving[:, 52:], rotation=moving[:, :3] * 10)
    every = list(animate.animate(avatar, models, track, relative=relative))
    late = list(animate.animate(avatar, models, track, relative=relative, start=3))
    assert len(late) == 2 and np.array_equal(late, every[3:])


def test_two_people_stay_two_people(models: Models, avatar: HeadAvatar, head_png: Path) -> None:
    photo = read_image(head_png)
    other = build.build_avatar(Photo(np.ascontiguousarray(photo.pixels[:, ::-1])), models, SMALL)
    first = frames_of(avatar, models, a_track(avatar))[0]
    frames_of(other, models, a_track(other))
    assert np.array_equal(first, frames_of(avatar, models, a_track(avatar))[0])


def test_silence_keeps_the_mouth_shut(models: Models, avatar: HeadAvatar) -> None:
    silence = Waveform(np.zeros(16000, np.float32), 16000)
    track = speech.speech_track(silence, models, replace(SMALL, pose="still", blink="none"))[0]
    assert not track.lip_modes.any() and not track.rotation.any()
    late = frames_of(avatar, models, track)[10:]
    assert all(np.array_equal(frame, late[0]) for frame in late)


def test_a_photo_becomes_a_video_that_ends_with_its_sound(models: Models, head_png: Path, tmp_path: Path) -> None:
    sound, rate = tmp_path / "hum.wav", 22050
    time = np.arange(int(rate * 0.5)) / rate
    soundfile.write(sound, 0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time) ** 2, rate)
    seen: list[str] = []
    options = replace(SMALL, fps=Fraction(25))
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]  # with networks of its own, and with those that are there
    reports = [
        jobs.render_file(head_png, sound, path, options, lambda stage, *_: seen.append(stage), given)
        for path, given in zip(paths, (None, models), strict=True)
    ]
    info = probe(paths[0])
    assert (info.width, info.height, info.fps, info.has_audio) == (256, 256, 25, True)
    assert len(list(read_video(paths[0]))) == reports[0].frames == round(0.5 * 25)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {"photo", "speech", "render"} <= set(seen)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hum.wav", "one.mp4", "two.mp4"]


def test_what_cannot_be_used_is_said(models: Models, head_png: Path, tmp_path: Path) -> None:
    wall = Photo(np.full((200, 300, 3), 128, np.uint8))
    with pytest.raises(InputError, match="face"):
        build.build_avatar(wall, models, SMALL)
    with pytest.raises(UsageError, match="transparent"):
        jobs.render_file(head_png, head_png, tmp_path / "x.mp4", replace(SMALL, background="#00ff00"), lambda *_: None)
    if choose_device("auto") == "cpu":
        with pytest.raises(UsageError, match="CUDA"):
            choose_device("cuda")


def test_a_background_colour_stays_behind_the_head(models: Models, head_png: Path, tmp_path: Path) -> None:
    """A photo that was cut round, on two colours: the same head, and every pixel beyond the cut has the colour."""
    layered = Image.open(head_png).convert("RGBA")
    away = np.hypot(*(np.mgrid[:384, :384] - 191.5))
    layered.putalpha(Image.fromarray((np.clip(185 - away, 0, 1) * 255).astype(np.uint8)))
    layered.save(tmp_path / "round.png")
    photo = read_image(tmp_path / "round.png")
    green, red = (
        build.build_avatar(photo, models, replace(SMALL, size=192, background=name)) for name in ("lime", "red")
    )
    assert torch.equal(green.gaussians.colors, red.gaussians.colors)
    assert torch.equal(green.gaussians.opacities, red.gaussians.opacities)
    turned = replace(a_track(green, 2), rotation=np.array([[0, 8, 0], [4, -8, 3]], np.float32))
    plain = layered.convert("RGB").resize((192, 192), Image.Resampling.LANCZOS)
    usual = float(greenness(np.asarray(plain)).max())
    small = np.hypot(*(np.mgrid[:192, :192] - 95.5))
    for frame in frames_of(green, models, turned):
        assert (frame[small > 102] == (0, 255, 0)).all()
        assert greenness(frame)[small < 88].max() < usual + 12


def test_a_see_through_face_is_a_photo_of_what_shows(models: Models, head_png: Path, tmp_path: Path) -> None:
    """What is drawn in mouth and eyes is opaque, so a half-transparent face would wear white rings round them."""
    layered = Image.open(head_png).convert("RGBA")
    layered.putalpha(140)
    layered.save(tmp_path / "half.png")
    photo = read_image(tmp_path / "half.png")
    ghost, plain = (build.build_avatar(one, models, SMALL) for one in (photo, Photo(photo.pixels)))
    assert torch.equal(ghost.gaussians.colors, plain.gaussians.colors)
    assert (ghost.image == plain.image).all()
    blue = build.build_avatar(photo, models, replace(SMALL, size=128, background="navy")).image.astype(int)
    assert (blue.mean((0, 1))[2] > blue.mean((0, 1))[0] + 20).all()


@pytest.mark.parametrize(("soft", "laid"), [(1, False), (12, False), (120, True)])
def test_a_head_that_fades_out_is_laid_on_its_background(models: Models, head_png: Path, soft: int, laid: bool) -> None:
    pixels = read_image(head_png).pixels
    marks = models.faces.find(pixels)[0].landmarks
    middle, high = marks[:, :2].mean(0), np.ptp(marks[:, 1])
    away = np.hypot(*(np.mgrid[:384, :384] - middle[::-1, None, None]))
    alpha = (255 * np.clip((0.6 * high + soft - away) / soft, 0, 1)).astype(np.uint8)
    photo = transparency.without_ghost(Photo(pixels, alpha), marks, (0, 128, 128))
    assert (photo.alpha is None) == laid and (laid or photo.pixels is pixels)


def greenness(pixels: Array) -> Array:
    """[H, W] how far green is above the mean of red and blue."""
    wide = pixels.astype(np.float32)
    return wide[..., 1] - (wide[..., 0] + wide[..., 2]) / 2


@pytest.mark.parametrize(
    ("size", "face", "options", "expected"),
    [
        ((600, 600), 300, RenderOptions(preview=True), (512, 512)),  # as ever
        ((1350, 1350), 600, RenderOptions(preview=True), (512, 512)),
        ((600, 6000), 260, RenderOptions(preview=True), (222, 2215)),
        ((4000, 6000), 400, RenderOptions(preview=True), (836, 1254)),  # as large as it gets
        ((300, 400), 20, RenderOptions(preview=True), (300, 400)),  # never larger than the photo
        ((600, 6000), 260, RenderOptions(preview=True, size=300), (30, 300)),  # as asked
        ((600, 6000), 260, RenderOptions(), (410, 4096)),
        ((3000, 2000), 900, RenderOptions(), (3000, 2000)),
    ],
)
def test_the_size_of_a_video(
    size: tuple[int, int], face: float, options: RenderOptions, expected: tuple[int, int]
) -> None:
    assert output_size(size, face, options) == expected


def test_a_face_that_no_video_can_show_is_refused() -> None:
    with pytest.raises(InputError, match="cut out"):
        output_size((700, 20_000), 200, RenderOptions())
    with pytest.raises(UsageError, match="only 4 pixels high in a video of 128; choose a --size of 370 or more"):
        output_size((300, 4000), 130, RenderOptions(size=128))
    with pytest.raises(UsageError, match="cut out"):
        output_size((30_000, 4000), 70, RenderOptions(preview=True))


def test_lips_ease_from_the_photo_to_the_track(models: Models, avatar: HeadAvatar) -> None:
    count = 12
    modes = np.tile(models.expression.opening, (count, 1)).astype(np.float32)
    track = ExpressionTrack(0.02 + np.arange(count) / 25, np.zeros((count, 52), np.float32), modes)
    drivers = retarget.ease_from_photo(avatar, track)
    gaps = expression.lip_gap(models.expression, drivers[:, 24:])
    own = float(expression.lip_gap(models.expression, avatar.photo_drivers[24:]))
    assert gaps[0] == pytest.approx(own, abs=1e-4) and gaps[-1] == pytest.approx(1, abs=1e-3)
    assert (np.diff(gaps) >= -1e-5).all()


def test_turned_and_moving_skin_shows_no_cracks(models: Models, avatar: HeadAvatar) -> None:
    """Of the inner face hardly a pixel lets the background through, at +-10 degrees and strong expressions."""
    basis, count = models.expression, 5
    mouth = np.zeros((2, 52), np.float32)
    mouth[0, [BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right")]] = 1
    mouth[1, BLENDSHAPES.index("mouthPucker")] = 1
    modes = [basis.opening * 1.8, np.zeros(8), np.zeros(8), *expression.modes_from_units(basis, mouth)]
    units = np.zeros((count, 52), np.float32)
    units[2, [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]] = 1
    ring = outline(basis.triangles)
    for rotation in ((0, 10, 0), (0, -10, 0), (10, 0, 0), (-10, 0, 0)):
        turns = np.tile(np.array(rotation, np.float32), (count, 1))
        track = ExpressionTrack(np.arange(count) + 10.0, units, np.array(modes, np.float32), turns)
        states = animate.frame_poses(avatar, models, track)
        for head, now in zip(animate.posed_gaussians(avatar, models, track), states, strict=True):
            _, alpha = rasterize.render_frame(head, avatar.camera)
            turned = (avatar.mesh + now.displacement - PIVOT) @ euler_to_matrix(turns[0]).T + PIVOT
            edge = project(turned, avatar.camera)[ring]
            edge = edge.mean(0) + 0.9 * (edge - edge.mean(0))
            rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
            face = inside(np.stack([columns.ravel(), rows.ravel()], 1), edge).reshape(alpha.shape)
            assert (1 - alpha[face] > 0.02).mean() < 2e-3


def test_the_view_goes_round_the_head_and_comes_back(avatar: HeadAvatar) -> None:
    track = add_orbit(a_track(avatar, 13), 30, 13.0)
    assert track.rotation[:, 1].max() == pytest.approx(30, abs=2)
    assert track.rotation[:, 1].min() == pytest.approx(-30, abs=2)
    assert track.rotation[0, 1] == pytest.approx(0) and np.abs(track.rotation[:, [0, 2]]).max() == 0
    assert add_orbit(track, 0, 13.0) is track


def test_unfiltered_the_whole_mirror_image_is_hidden(models: Models, avatar: HeadAvatar, head_png: Path) -> None:
    study = build.study_photo(read_image(head_png), models, SMALL)
    whole = build.assemble(study, models, overlap=True)
    counts = []
    for one in (avatar, whole):
        small = one.gaussians.scales[one.hidden, 0].numpy() < hidden.SHELL_RADIUS
        mirrored = small & ~one.shows_photo[one.hidden]  # the lips behind the line between closed ones are the photo's
        counts.append(int(mirrored.sum()))
        assert mirrored[: counts[-1]].all()  # they come first
    assert counts[1] > counts[0] + 1000


def test_a_head_that_the_picture_cuts_off_goes_on_above_it(models: Models, head_png: Path) -> None:
    whole = read_image(head_png)
    chosen = portrait.choose_face(models.faces.find(whole.pixels))
    forehead = int(chosen.landmarks[10, 1])
    cut = Photo(np.ascontiguousarray(whole.pixels[forehead - 20 :]))
    avatar = build.build_avatar(cut, models, SMALL)
    track = ExpressionTrack(
        np.arange(2) + 10.0,
        np.zeros((2, 52), np.float32),
        np.zeros((2, 8), np.float32),
        np.array([[0, 0, 0], [8, 0, 0]], np.float32),
        np.array([[0, 0, 0], [0, 0.5, 0]], np.float32),
    )
    still, nodding = (
        rasterize.render_frame(head, avatar.camera)[1] for head in animate.posed_gaussians(avatar, models, track, True)
    )
    touching = np.nonzero(still[0] > 0.9)[0]
    middle = touching[len(touching) // 4 : -len(touching) // 4]
    assert len(middle) > 10 and nodding[0, middle].min() > 0.9


def test_no_pixel_above_the_chin_lags_behind_the_head(avatar: HeadAvatar) -> None:
    above = avatar.crop_uv[: avatar.hidden.start, 1] < 0.6
    assert above.sum() > 1000 and avatar.head_share[: avatar.hidden.start][above].min() > 0.99
