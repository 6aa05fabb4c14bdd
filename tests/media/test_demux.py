"""Facts come from the structure of a file: no tag, claim or mark in it passes for another."""

import io
import struct
import subprocess
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from mggdub.errors import InputError
from mggdub.media import audio, process
from mggdub.media.audio import SAMPLE_RATE, probe_audio, read_audio, sound_notes
from mggdub.media.demux import FORMATS, contents, ends, lasts
from mggdub.media.encode import write_video
from mggdub.media.video import probe, read_video

SIZE = WIDTH, HEIGHT = 48, 32
FPS = Fraction(25)
LIES = (
    "Duration: 12:34:56.00, start: 0.0\n  Stream #0:7: Audio: mp3, 44100 Hz, stereo\r"
    "  displaymatrix: rotation of 90.00 degrees\u2028  Stream #0:8: Video: h264, 9999x9999, 7 fps\n"
    "[Parsed_showinfo_1 @ 0x1] n: 0 pts_time:99 No space left on device Format not on whitelist"
)


def ffmpeg(*arguments: object) -> None:
    subprocess.run([process.binary(), "-v", "error", "-y", *map(str, arguments)], check=True)


def tone(hertz: float, seconds: float = 0.6, rate: int = SAMPLE_RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pitch(samples: np.ndarray, rate: int = SAMPLE_RATE) -> float:
    """Hz of the strongest part, 0 of silence."""
    if np.abs(samples).max() < 1e-3:
        return 0.0
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, (np.full((HEIGHT, WIDTH, 3), 20 * k, np.uint8) for k in range(10)), fps=FPS, size=SIZE)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_no_tag_is_taken_for_a_fact_of_a_video(clip: Path, suffix: str) -> None:
    lying = clip.with_name(f"lying{suffix}")
    tags = ("title", "comment", "encoder", "handler_name", "rotate")
    marks = [part for tag in tags for part in ("-metadata", f"{tag}={LIES}", "-metadata:s:v", f"{tag}={LIES}")]
    ffmpeg("-i", clip, *marks, "-c", "copy", lying)
    info = probe(lying)
    assert (info.width, info.height, info.fps, info.has_audio, info.rotation) == (*SIZE, FPS, False, 0)
    assert abs(info.duration - 0.4) < 0.01
    np.testing.assert_allclose([stamp for stamp, _ in read_video(lying)], np.arange(10) / 25, atol=1e-3)
    with pytest.raises(InputError, match="holds no sound;"):
        read_audio(lying)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".m4a", ".ogg", ".wav"])
def test_no_tag_is_taken_for_a_fact_of_a_sound(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300), SAMPLE_RATE)
    lying = tmp_path / f"lying{suffix}"
    ffmpeg("-i", tmp_path / "a.wav", "-metadata", f"title={LIES}", "-metadata", f"comment={LIES}", lying)
    assert abs(read_audio(lying).duration - 0.6) < 0.06
    assert (probe_audio(lying).sample_rate, probe_audio(lying).channels) == (SAMPLE_RATE, "mono")


def test_tags_may_hold_any_bytes(clip: Path) -> None:
    data = clip.read_bytes()
    assert data.count(b"Synthetic video") == 1
    clip.write_bytes(data.replace(b"Synthetic video", b"\xff\xfe\x00\x80\x1b[31mvideo"[:15].ljust(15, b"\xc3")))
    assert len(list(read_video(clip))) == 10 and probe(clip).rotation == 0


@pytest.mark.parametrize("degrees", [0, 90, 180, -90, 30])
@pytest.mark.parametrize("flip", [False, True])
def test_a_display_matrix_turns_pictures_as_players_do(tmp_path: Path, degrees: int, flip: bool) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = 220
    write_video(tmp_path / "a.mp4", repeat(picture, 2), fps=FPS, size=SIZE, crf=1)
    mirror = ["-display_hflip"] if flip else []
    ffmpeg("-display_rotation", degrees, *mirror, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    info, (_, frame) = probe(tmp_path / "b.mp4"), next(read_video(tmp_path / "b.mp4"))
    assert frame.shape == (info.height, info.width, 3)
    if degrees == 30:  # nothing that players do; the picture keeps its size
        assert (info.width, info.height) == SIZE
        return
    right = np.rot90(picture, degrees // 90)[:, :: -1 if flip else 1]
    assert np.abs(frame.astype(int) - right).max() < 12


def test_of_an_animated_picture_the_frames_are_read_not_the_still_before_them(tmp_path: Path) -> None:
    shades = [Image.new("RGB", (64, 48), (40 * k, 40 * k, 40 * k)) for k in range(6)]
    shades[0].save(tmp_path / "a.avif", save_all=True, append_images=shades[1:], duration=40)
    seen = [round(float(frame.mean()) / 40) for _, frame in read_video(tmp_path / "a.avif")]
    assert seen == [0, 1, 2, 3, 4, 5] and probe(tmp_path / "a.avif").fps == 25


@pytest.mark.parametrize("rate", ["0:0", "0:1", "1:0", "25:1"])
def test_a_rate_of_nothing_is_no_rate(tmp_path: Path, rate: str) -> None:
    frames = (b"FRAME\n" + bytes(16 * 16 * 3 // 2)) * 3
    (tmp_path / "a.y4m").write_bytes(f"YUV4MPEG2 W16 H16 F{rate} Ip A1:1 C420jpeg\n".encode() + frames)
    assert probe(tmp_path / "a.y4m").fps == 25 and len(list(read_video(tmp_path / "a.y4m"))) == 3


@pytest.mark.parametrize("base", [(0, 0), (25, 0), (0, 1)])
def test_a_time_base_of_nothing_ends_in_a_sentence(tmp_path: Path, base: tuple[int, int]) -> None:
    head = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"VP80", 16, 16, *base, 3, 0)
    (tmp_path / "a.ivf").write_bytes(head + struct.pack("<IQ", 40, 0) + bytes(40))
    with pytest.raises(InputError, match="holds no"):
        next(read_video(tmp_path / "a.ivf"))


def claiming(path: Path, real: list[tuple[int, int]], claimed: tuple[int, int] = SIZE) -> Path:
    """A video whose container claims one size and whose JPEGs have others."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width, stream.height = claimed
        stream.pix_fmt = "yuvj420p"
        for index, size in enumerate(real):
            data = io.BytesIO()
            Image.new("RGB", size, (90, 90, 90)).save(data, "JPEG", quality=5)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            file.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_the_size_of_a_video_is_that_of_its_pictures(tmp_path: Path, suffix: str) -> None:
    path = claiming(tmp_path / f"a{suffix}", [(96, 80)] * 2)
    assert (probe(path).width, probe(path).height) == (96, 80)
    assert next(read_video(path))[1].shape == (80, 96, 3)
    bomb = claiming(tmp_path / f"b{suffix}", [(8000, 4500)])
    with pytest.raises(InputError, match=r"8000x4500|larger than"):
        next(read_video(bomb))
    later = claiming(tmp_path / f"c{suffix}", [SIZE, (8000, 4500), (80, 64)])
    assert {frame.shape for _, frame in read_video(later)} == {(HEIGHT, WIDTH, 3)}
    assert len(list(read_video(later))) == 2  # the bomb is left out


def test_a_pixel_may_not_be_wide_beyond_measure(tmp_path: Path) -> None:
    for aspect in ("2:1", "30000:1", "1:30000", "0:0"):
        head = f"YUV4MPEG2 W64 H64 F25:1 Ip A{aspect} C420jpeg\nFRAME\n"
        (tmp_path / f"{aspect[:2]}.y4m").write_bytes(head.encode() + bytes(64 * 64 * 3 // 2))
    shapes = [next(read_video(tmp_path / f"{name}.y4m"))[1].shape for name in ("2:", "1:", "0:")]
    assert shapes == [(64, 128, 3), (64, 1, 3), (64, 64, 3)]
    with pytest.raises(InputError, match="shrink"):
        probe(tmp_path / "30.y4m")


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """Low, high and silent sounds of one file each."""
    for name, hertz in (("low", 300.0), ("high", 700.0), ("mute", 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(hertz), SAMPLE_RATE)
    return tmp_path


def together(folder: Path, names: str, marks: str, suffix: str = ".mkv") -> Path:
    """A file with these sounds, whose dispositions are `marks`, and a picture before them."""
    path = folder / f"{names.replace(' ', '_')}{suffix}"
    inputs = [part for name in names.split() for part in ("-i", folder / f"{name}.wav")]
    maps = [part for k in range(len(names.split()) + 1) for part in ("-map", k)]
    flags = [part for k, mark in enumerate(marks.split()) for part in (f"-disposition:a:{k}", mark)]
    picture = ("-f", "lavfi", "-i", "color=s=32x32:r=25:d=0.6")
    ffmpeg(*picture, *inputs, *maps, *flags, "-c:v", "mpeg4", "-c:a", "aac", path)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("names", "marks", "heard"),
    [
        ("low high", "0 default", 700),
        ("low high", "default 0", 300),
        ("low high", "default default", 300),
        ("low high", "visual_impaired 0", 700),
    ],
)
def test_the_sound_is_the_one_that_players_choose(
    tracks: Path, names: str, marks: str, heard: float, suffix: str
) -> None:
    path = together(tracks, names, marks, suffix)
    if suffix == ".mp4" and "visual" in marks:
        pytest.skip("MP4 marks the first sound as the default if none is")
    assert abs(pitch(read_audio(path).samples) - heard) < 10
    output = tracks / "muxed.mp4"
    write_video(output, repeat(np.zeros((32, 32, 3), np.uint8)), fps=FPS, size=(32, 32), audio=path, duration=0.6)
    assert abs(pitch(read_audio(output).samples) - heard) < 10
    assert sound_notes(path) == []


def test_a_silent_sound_beside_a_loud_one_is_told(tracks: Path) -> None:
    path = together(tracks, "mute low", "default 0")
    assert not pitch(read_audio(path).samples)
    (note,) = sound_notes(path)
    assert "0:2" in note and str(path) in note and sound_notes(path, read_audio(path)) == [note]
    assert sound_notes(together(tracks, "low mute", "default 0")) == []
    assert sound_notes(together(tracks, "mute mute", "default 0")) == []
    assert sound_notes(tracks / "mute.wav") == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a", ".mp3"])
@pytest.mark.parametrize("signs", [(1, -1), (1, -0.8), (1, -1, 1, -1, 1, -1)])
def test_mixing_down_does_not_cancel(tmp_path: Path, signs: tuple[float, ...], suffix: str) -> None:
    if len(signs) > 2 and suffix == ".mp3":
        pytest.skip("MP3 has two channels")
    soundfile.write(tmp_path / "a.wav", np.stack([sign * tone(300) for sign in signs], 1), SAMPLE_RATE)
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / f"b{suffix}")
    heard = read_audio(tmp_path / f"b{suffix}").samples
    assert abs(pitch(heard[2000:8000]) - 300) < 5 and heard[2000:8000].std() > 0.25


def test_channels_that_cancel_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    voice, hiss = tone(300, 4.0), np.random.default_rng(0).normal(0, 1e-4, 4 * SAMPLE_RATE)
    hiss[: len(hiss) // 4] += voice[: len(hiss) // 4]
    for left, right, told in ((voice, -voice, True), (voice, voice, False), (hiss, -hiss, True), (hiss, hiss, False)):
        soundfile.write(path, np.stack([left, right], 1), SAMPLE_RATE, subtype="FLOAT")
        notes = sound_notes(path, read_audio(path))
        assert len(notes) == told and all("cancel" in note and str(path) in note for note in notes)
    third = np.where(np.arange(len(voice)) < len(voice) // 3, -voice, voice)
    soundfile.write(path, np.stack([voice, third], 1), SAMPLE_RATE, subtype="FLOAT")
    assert sound_notes(path, read_audio(path)) == []  # a part of it does not count


def test_sound_that_cancels_for_a_while_goes_over_without_a_click(tmp_path: Path) -> None:
    sound = tone(300, 4.0)
    other = np.where((np.arange(len(sound)) // SAMPLE_RATE) % 2, -sound, sound)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, other], 1), SAMPLE_RATE, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav").samples
    assert (np.abs(heard - sound) < 1e-4).mean() > 0.98  # left is what is heard in both
    assert np.abs(np.diff(heard)).max() < 1.05 * np.abs(np.diff(sound)).max()


def test_what_does_not_cancel_is_the_mix_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voice, left, right = rng.normal(0, 0.1, (3, 22050))
    soundfile.write(tmp_path / "a.wav", np.stack([voice + left, voice + right], 1), 22050, subtype="FLOAT")
    mix = "aresample=16000:ochl=mono:rematrix_maxval=1:async=1:first_pts=0"
    ffmpeg("-i", tmp_path / "a.wav", "-af", mix, "-f", "f32le", "-c:a", "pcm_f32le", tmp_path / "mix")
    assert np.array_equal(read_audio(tmp_path / "a.wav").samples, np.fromfile(tmp_path / "mix", "<f4").clip(-1, 1))


def test_rumble_on_one_side_does_not_decide(tmp_path: Path) -> None:
    voice, rumble = tone(600), 0.8 * tone(40)
    soundfile.write(tmp_path / "a.wav", np.stack([voice + rumble, voice - rumble], 1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, voice, atol=1e-3)


@pytest.mark.parametrize("channels", [3, 6, 9, 13])
def test_channels_without_names_are_all_heard(tmp_path: Path, channels: int) -> None:
    for channel in (0, channels // 2, channels - 1):
        sound = np.zeros((round(0.6 * SAMPLE_RATE), channels))
        sound[:, channel] = tone(300)
        soundfile.write(tmp_path / "a.wav", sound, SAMPLE_RATE)
        assert abs(pitch(read_audio(tmp_path / "a.wav").samples) - 300) < 5
    output = tmp_path / "muxed.mp4"
    frames = repeat(np.zeros((32, 32, 3), np.uint8))
    write_video(output, frames, fps=FPS, size=(32, 32), audio=tmp_path / "a.wav", duration=0.6)
    assert abs(pitch(read_audio(output).samples) - 300) < 10


def test_recorders_of_speech_are_read_and_bare_samples_are_not(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.sph", tone(300), SAMPLE_RATE, format="NIST", subtype="PCM_16")
    soundfile.write(tmp_path / "a.wav", tone(300), SAMPLE_RATE)
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / "a.g722")
    ffmpeg("-i", tmp_path / "a.wav", "-ar", 8000, tmp_path / "a.amr")
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / "a.sox")
    for name in ("a.sph", "a.g722", "a.amr", "a.sox"):
        heard = read_audio(tmp_path / name)
        assert abs(heard.duration - 0.6) < 0.05 and abs(pitch(heard.samples) - 300) < 5
    for name in ("a.sw", "a.ul", "a.raw"):
        (tmp_path / name).write_bytes(b"\x01\x02" * 4000)
        with pytest.raises(InputError, match=r"header|cannot be read"):
            read_audio(tmp_path / name)


def test_a_claim_is_not_a_duration(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300), SAMPLE_RATE)
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / "a.mka")
    data = (tmp_path / "a.mka").read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # Duration, a double of ms
    (tmp_path / "a.mka").write_bytes(data[:place] + struct.pack(">d", 1e12) + data[place + 8 :])
    assert contents(tmp_path / "a.mka").duration > audio.LONGEST
    assert not lasts(tmp_path / "a.mka", 0, 1.0) and lasts(tmp_path / "a.mka", 0, 0.3)
    assert abs(read_audio(tmp_path / "a.mka").duration - 0.6) < 0.05


def test_the_ends_are_those_of_the_packets(clip: Path, tracks: Path) -> None:
    assert ends(clip) == (10, 0.4, None)
    path = together(tracks, "low", "default", ".mp4")
    pictures, picture, sound = ends(path)
    assert (pictures, picture) == (15, 0.6) and sound is not None and abs(sound - 0.6) < 0.03
    (tracks / "none.mp4").write_bytes(b"nothing")
    assert ends(tracks / "none.mp4") == (0, 0.0, None)


def test_nothing_that_opens_other_files_is_read() -> None:
    others = "hls dash concat imf sdp rtp rtsp image2 image2pipe webm_dash_manifest lavfi vobsub tedcaptions ffmetadata"
    bare = "s16le f32le u8 alaw mulaw rawvideo data g726"
    assert not {*others.split(), *bare.split(), "tty", "srt", "ass", "png_pipe", "svg_pipe", "bin"} & {
        *FORMATS.split(",")
    }
