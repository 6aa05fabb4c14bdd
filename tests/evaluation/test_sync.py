"""The judge hears whether lips belong to the sound: it sees the speech model's own track, without a picture."""

import numpy as np
import pytest
import torch

from mggdub import weights
from mggdub.evaluation import sync
from mggdub.evaluation.sync import distances, head_lips, sync_judge
from mggdub.face.expression import vertex_motion
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.media.audio import read_audio
from mggdub.models import Models
from mggdub.motion.speech import listen
from mggdub.networks.sync import RATE, REACH, SyncJudge, load_judge
from mggdub.types import Array, Waveform

LATE = 1920  # samples, 120 ms


@pytest.fixture(scope="module")
def net() -> SyncJudge:
    return load_judge()


@pytest.fixture(scope="module")
def sound(speech_wav) -> Waveform:  # type: ignore[no-untyped-def]
    return read_audio(speech_wav)


@pytest.fixture(scope="module")
def talking(models: Models, sound: Waveform) -> tuple[Array, Array]:
    """Landmarks [T, 478, 3] px of a head that says `sound`, and their times; the head nods and turns."""
    track = listen(models.speech, models.motion, sound, 30.0, int(30 * sound.duration))[0]
    meshes = models.expression.mean_rest + vertex_motion(models.expression, track.drivers)
    turn = euler_to_matrix(track.rotation + np.array([4.0, -6.0, 3.0]))
    return 18 * (meshes @ turn.transpose(0, 2, 1)) + [250, 240, 0], track.times


def later(sound: Waveform, by: int) -> Waveform:
    moved = np.concatenate([np.zeros(by, np.float32), sound.samples])
    return Waveform(moved[: len(sound.samples)], sound.sample_rate)


def test_lips_of_a_head_that_moves_are_those_of_one_that_stands(talking: tuple[Array, Array]) -> None:
    marks = talking[0][:20]
    elsewhere = 0.4 * (marks @ euler_to_matrix([8.0, 14.0, -9.0]).T) + [70, -30, 5]
    lips = head_lips(marks)
    assert np.abs(head_lips(elsewhere) - lips).max() < 1e-4
    assert lips.std(0).max() > 0.05  # they talk


def test_sound_that_comes_later_is_nearest_at_a_positive_shift() -> None:
    seen = torch.nn.functional.normalize(torch.randn(1, 60, 16, generator=torch.manual_seed(0)), dim=-1)
    far = distances(seen, seen.roll(4, 1))[0]
    assert (far[:50].nan_to_num(9).argmin(1) == REACH + 4).all()
    assert far[0, :REACH].isnan().all() and far[-1, REACH + 1 :].isnan().all()


def test_a_dubbed_head_is_in_step(net: SyncJudge, talking: tuple[Array, Array], sound: Waveform) -> None:
    found = sync_judge(net, head_lips(talking[0]), talking[1], sound)
    assert found is not None
    least, margin, offset = found
    assert least < 1.0 and margin > 0.4 and abs(offset) < 60
    gaps = np.ones(len(talking[1]), bool)
    gaps[60:75] = False  # half a second without a face
    fewer = sync_judge(net, head_lips(talking[0][gaps]), talking[1][gaps], sound)
    assert fewer is not None and fewer[2] == pytest.approx(offset, abs=10)


@pytest.mark.parametrize("by", [LATE, 3 * LATE])
def test_sound_that_is_moved_is_found_there(
    net: SyncJudge, talking: tuple[Array, Array], sound: Waveform, by: int
) -> None:
    lips = head_lips(talking[0])
    before, after = (sync_judge(net, lips, talking[1], heard) for heard in (sound, later(sound, by)))
    assert before is not None and after is not None
    assert after[2] - before[2] == pytest.approx(1000 * by / sound.sample_rate, abs=20)


def test_other_sound_and_lips_that_stand_still_do_not_match(
    net: SyncJudge, talking: tuple[Array, Array], sound: Waveform
) -> None:
    lips, times = head_lips(talking[0]), talking[1]
    own = sync_judge(net, lips, times, sound)
    backwards = sync_judge(net, lips, times, Waveform(sound.samples[::-1].copy(), sound.sample_rate))
    still = sync_judge(net, np.repeat(lips[:1], len(lips), 0), times, sound)
    assert own is not None and backwards is not None and still is not None
    assert backwards[1] < 0.5 * own[1] and backwards[0] > own[0] + 0.1
    assert still[1] < 0.2 * own[1]


def test_silence_is_judged_and_a_short_clip_is_not(
    net: SyncJudge, talking: tuple[Array, Array], sound: Waveform
) -> None:
    lips, times = head_lips(talking[0]), talking[1]
    quiet = sync_judge(net, lips, times, Waveform(np.zeros(4 * 16_000, np.float32), 16_000))
    assert quiet is not None and np.isfinite(quiet).all() and quiet[1] < 0.2
    short = Waveform(sound.samples[: 16_000 * (sync.SHORTEST - 3) // RATE], 16_000)
    assert sync_judge(net, lips, times, short) is None
    assert sync_judge(net, lips[:1], times[:1], sound) is None


def test_the_network_is_small() -> None:
    assert weights.locate("sync.safetensors").stat().st_size < 1 << 20
