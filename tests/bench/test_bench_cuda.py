"""The benchmark of a card runs without one, and where a kept head needs nothing else."""

import subprocess
import sys
from pathlib import Path

import bench_cuda
import numpy as np
import pytest
from bench_cuda import animated, frames_apart, moving_track

from mggdub.animation import on_card
from mggdub.animation.animate import frame_motions
from mggdub.animation.lower_face import change_shown
from mggdub.avatar.values import HeadAvatar
from mggdub.models import Models

UNUSED = ("av", "ai_edge_litert", "ffmpeg", "imageio_ffmpeg", "librosa", "soundfile", "jinja2", "click")


@pytest.mark.slow
def test_kernels_are_compared_with_themselves(
    models: Models, avatar: HeadAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_cuda, "AT_ONCE", (3,))
    monkeypatch.setattr(on_card, "FRAMES", 4)
    found = animated(avatar, models, "cpu", 9, profiled=False)
    assert found["apart"]["parity"] and found["fps"] > 0 and found["fps_cpu"] > 0
    stages = found["stages_ms"]
    assert {"motions, host", "upload, host", "deform", "rasterise", "lower face", "composite"} < stages.keys()
    assert min(stages.values()) > 0 and min(found["fps_at_once"].values()) > 0


def test_differences_of_frames_are_counted() -> None:
    same = np.zeros((2, 10, 10), np.uint8)
    other = same.copy()
    other[1, 0, :3] = (2, 3, 9)
    found = frames_apart(iter(same), iter(other))
    assert (found["largest"], found["share_beyond_parity"], found["share_beyond_parity_worst_frame"]) == (9, 0.01, 0.02)
    assert not found["parity"] and frames_apart(iter(same), iter(same))["parity"]


def test_the_track_moves_all_that_moves(models: Models, avatar: HeadAvatar) -> None:
    track = moving_track(models.expression, 320)
    shown = [change_shown(now.displacement) for now in frame_motions(avatar, models, track)]
    assert min(shown) == 0 and max(shown) > 0.3
    assert track.blendshapes.max() == 1 and np.ptp(track.rotation, 0).min() > 5 and np.ptp(track.torso, 0).min() > 0.2


def test_a_kept_head_needs_no_face_finder_and_no_ffmpeg() -> None:
    program = f"import sys; sys.modules |= dict.fromkeys({UNUSED}); import bench_cuda"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, check=True)
