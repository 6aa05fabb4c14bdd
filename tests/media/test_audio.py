"""The same tone from any container, rate and channel count; what holds no sound says so."""

import subprocess
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mggdub.errors import InputError, UsageError
from mggdub.media import audio, process
from mggdub.media import audio as module
from mggdub.media.audio import SAMPLE_RATE, probe_audio, read_audio, sound_of_video
from mggdub.media.encode import write_video
from mggdub.media.video import probe, read_video

SECONDS = 0.7


def tone(rate: int, count: int | None = None) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 300 * np.arange(count or round(SECONDS * rate)) / rate)


def ffmpeg(*arguments: object) -> None:
    subprocess.run([process.binary(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
def test_wav_of_any_depth_and_rate(tmp_path: Path, subtype: str, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype=subtype)
    heard = read_audio(tmp_path / "a.wav")
    assert heard.samples.dtype == np.float32 and heard.sample_rate == SAMPLE_RATE
    assert len(heard.samples) == round(SECONDS * SAMPLE_RATE)
    inside = slice(200, -200)
    error = np.abs(heard.samples - tone(SAMPLE_RATE))[inside].max()
    assert error < (0.01 if subtype == "PCM_U8" else 1e-3)


@pytest.mark.parametrize("rate", [11025, 22050, 47999])
def test_odd_rates_keep_their_length_within_a_sample(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate, 12345), rate)
    assert abs(len(read_audio(tmp_path / "a.wav").samples) - 12345 * SAMPLE_RATE / rate) <= 1


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.ogg", "a.flac", "a.opus"])
def test_compressed_sound(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48000), 48000)
    ffmpeg("-i", tmp_path / "a.wav", "-b:a", "128k", tmp_path / name)
    heard = read_audio(tmp_path / name)
    assert abs(heard.duration - SECONDS) < 0.06
    middle = heard.samples[3000:8000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE / len(middle) - 300) < 5
    assert abs(middle.std() - 0.5 / np.sqrt(2)) < 0.03


def test_channels_are_mixed_without_getting_louder(tmp_path: Path) -> None:
    left, right = tone(SAMPLE_RATE), np.zeros(round(SECONDS * SAMPLE_RATE))
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, left / 2, atol=1e-4)
    soundfile.write(tmp_path / "b.wav", np.stack([left] * 6, 1), SAMPLE_RATE, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "b.wav").samples).max() <= 0.51


def test_the_sound_of_a_video_starts_with_the_picture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    picture = ("-f", "lavfi", "-i", "color=s=32x32:r=25:d=1")
    ffmpeg(*picture, "-itsoffset", "0.2", "-i", tmp_path / "a.wav", "-c:a", "pcm_s16le", tmp_path / "a.mov")
    heard = read_audio(tmp_path / "a.mov").samples
    assert not heard[:3100].any()
    np.testing.assert_allclose(heard[3200:][:8000], tone(SAMPLE_RATE)[:8000], atol=1e-3)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ac3"), ("a.ts", "ac3")])
def test_whichever_of_sound_and_picture_starts_later_comes_later(tmp_path: Path, name: str, codec: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48000), 48000)
    picture = ("-f", "lavfi", "-i", "color=s=64x32:r=25:d=1")
    coding = ("-c:v", "mpeg2video", "-c:a", codec, "-map", 0, "-map", 1, tmp_path / name)
    ffmpeg(*picture, "-itsoffset", "0.4", "-i", tmp_path / "a.wav", *coding)
    heard = read_audio(tmp_path / name).samples
    onset = int(np.argmax(np.abs(heard) > 0.1)) / SAMPLE_RATE
    assert abs(onset - 0.4) < 0.03 and next(read_video(tmp_path / name))[0] < 0.03
    ffmpeg("-itsoffset", "0.4", *picture, "-i", tmp_path / "a.wav", *coding)
    assert int(np.argmax(np.abs(read_audio(tmp_path / name).samples) > 0.1)) < 0.03 * SAMPLE_RATE
    assert abs(next(read_video(tmp_path / name))[0] - 0.4) < 0.05


def test_a_sound_whose_rate_and_channels_change_midway_goes_on_there(tmp_path: Path) -> None:
    for name, rate in (("a", 48000), ("b", 44100)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([tone(rate)] * (1 + (name == "b")), 1), rate)
        ffmpeg("-i", tmp_path / f"{name}.wav", "-c:a", "libmp3lame", tmp_path / f"{name}.mp3")
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join((tmp_path / f"{name}.mp3").read_bytes() for name in "ab"))
    heard = read_audio(joined)
    assert abs(heard.duration - 2 * SECONDS) < 0.15
    frames = repeat(np.full((64, 64, 3), 90, np.uint8))
    write_video(tmp_path / "a.mp4", frames, fps=Fraction(25), size=(64, 64), audio=joined, duration=2 * SECONDS)
    muxed = read_audio(tmp_path / "a.mp4").samples
    for samples in (heard.samples, muxed):
        assert np.abs(samples[round(0.8 * SECONDS * SAMPLE_RATE) :][:1600]).max() > 0.4
        assert np.abs(samples[round(1.3 * SECONDS * SAMPLE_RATE) :][:1600]).max() > 0.4


def test_strange_samples_become_plain_ones(tmp_path: Path) -> None:
    wild = np.array([0.1, np.nan, np.inf, -np.inf, 7.0, -7.0, 0.2] * 100, np.float32)
    soundfile.write(tmp_path / "a.wav", wild, SAMPLE_RATE, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav").samples
    assert np.isfinite(heard).all() and np.abs(heard).max() <= 1


def test_a_silent_recording_is_fine(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    assert not read_audio(tmp_path / "a.wav").samples.any()


def test_what_holds_no_sound_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not sound\n" * 50)
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=25:d=0.2", tmp_path / "mute.mp4")
    words = {
        "text.wav": "is a text and no recording",
        "empty.wav": "0 bytes",
        "none.wav": "no audio samples",
        "mute.mp4": "no sound",
    }
    for name, said in words.items():
        with pytest.raises(InputError, match=said):
            read_audio(tmp_path / name)


def test_a_video_need_not_have_sound_but_what_it_has_can_be_decoded(tmp_path: Path) -> None:
    pictures = ("-f", "lavfi", "-i", "color=s=32x32:r=25:d=0.2")
    sine = (*pictures, "-f", "lavfi", "-i", "sine=d=0.2")
    ffmpeg(*pictures, tmp_path / "mute.mp4")
    ffmpeg(*sine, "-af", "atrim=end=0", tmp_path / "nothing.mkv")
    ffmpeg(*sine, "-c:a", "aac", tmp_path / "heard.mkv")
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32)
    ffmpeg("-i", tmp_path / "heard.mkv", "-c", "copy", *key, tmp_path / "protected.mp4")
    (tmp_path / "rare.mkv").write_bytes((tmp_path / "heard.mkv").read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert probe(tmp_path / "nothing.mkv").has_audio and sound_of_video(tmp_path / "nothing.mkv") is None
    assert sound_of_video(tmp_path / "mute.mp4") is None
    heard = sound_of_video(tmp_path / "heard.mkv")
    assert heard and heard.duration == pytest.approx(0.2, abs=0.05)
    for name in ("protected.mp4", "rare.mkv"):
        with pytest.raises(InputError, match=f"{name} cannot be decoded"):
            sound_of_video(tmp_path / name)


@pytest.mark.parametrize("name", ["none.wav", "concat:a.wav|a.wav", "http://localhost/a.wav", "pipe:0", "file:a.wav"])
def test_only_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"does not exist|is an address"):
        read_audio(Path(name))


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.wav\n#EXT-X-ENDLIST\n",
    "ff.wav": "ffconcat version 1.0\nfile a.wav\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_open_nothing(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / name).write_text(PLAYLISTS[name])
    for read in (read_audio, probe_audio):
        with pytest.raises(InputError, match=r"playlist|cannot be read"):
            read(tmp_path / name)
    with pytest.raises(InputError, match=r"playlist|holds no video"):
        probe(tmp_path / name)


def test_the_container_says_rate_and_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros((800, 2)), 44100)
    assert probe_audio(tmp_path / "a.flac") == audio.SoundInfo(44100, "stereo")


def test_a_claim_of_many_hours_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000 * 60), 8000)
    monkeypatch.setattr(module, "LONGEST", 30)
    monkeypatch.setattr(module, "start", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="longer than"):
        read_audio(tmp_path / "a.wav")


def test_names_are_never_taken_for_options_or_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.wav", "concat:a|b.wav", "50%d [x];.wav", "ä'\" $(ls).wav"):
        soundfile.write(tmp_path / name, tone(SAMPLE_RATE), SAMPLE_RATE)
        assert len(read_audio(Path(name)).samples) == round(SECONDS * SAMPLE_RATE)


def test_endless_recordings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    monkeypatch.setattr(module, "LONGEST", 0.5)
    with pytest.raises(InputError, match="longer than"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("channels", [1, 2])
def test_floats_beyond_full_scale_and_no_numbers_are_heard_and_muxed_as_players_have_them(
    tmp_path: Path, channels: int
) -> None:
    plain = tone(48000)
    wild = (4 * plain).astype(np.float32)
    wild[[0, 5000, 9000]] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", np.stack([wild] * channels, 1), 48000, subtype="FLOAT")
    frames = repeat(np.full((64, 64, 3), 90, np.uint8))
    write_video(tmp_path / "a.mp4", frames, fps=Fraction(25), size=(64, 64), audio=tmp_path / "a.wav", duration=SECONDS)
    clipped = np.clip(4 * tone(SAMPLE_RATE), -1, 1)
    for name in ("a.wav", "a.mp4"):
        heard = read_audio(tmp_path / name).samples[: len(clipped)]
        assert np.corrcoef(heard, clipped)[0, 1] > 0.98 and np.abs(heard).max() <= 1
