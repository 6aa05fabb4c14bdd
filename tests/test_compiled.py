"""Kernels and networks share a process's threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numpy as np
import torch

from mggdub.networks.geometry import load_geometry
from mggdub.animation.lower_face import sample_window

net = load_geometry()
picture = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
with torch.inference_mode():
    before = net(picture).depth
    sample_window(np.ones((9, 9, 8), np.float32), np.eye(2, 3, dtype=np.float32), np.empty((8, 8, 8), np.float32))
    assert torch.equal(net(picture).depth, before)
print(torch.get_num_threads())
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_network_gives_the_same_before_and_after_a_process_has_run_kernels(threads: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [threads]


@pytest.mark.parametrize("wrong", ["NUMBA_THREADING_LAYER=foo", "NUMBA_DISABLE_JIT=1", "NUMBA_NUM_THREADS=0"])
def test_what_the_environment_asks_of_numba_in_vain_is_one_sentence(wrong: str) -> None:
    name, value = wrong.split("=")
    env = {**os.environ, name: value}
    command = [sys.executable, "-m", "mggdub", "doctor"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr


def test_a_kernel_is_compiled_anew_when_a_file_changes_whose_kernel_it_calls(tmp_path: Path) -> None:
    """numba's own cache looks at the kernel's file alone."""
    folder = tmp_path / "apart"
    folder.mkdir()
    called = "from mggdub.compiled import compiled\n\n@compiled()\ndef inner(x):\n    return x + {}\n"
    (folder / "one.py").write_text(
        "from mggdub.compiled import compiled\nfrom apart.two import inner\n\n"
        "@compiled()\ndef outer(x):\n    return inner(x)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    for number in (1, 22, 22):
        (folder / "two.py").write_text(called.format(number))
        program = "from apart.one import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        found, kept = done.stdout.split()
        assert int(found) == number + 1
    assert kept == "1"


HEARS = """
import resource
import sys

import numpy as np

from mggdub.motion.prosody import measure_prosody

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
print(len(measure_prosody(np.zeros(16_000, np.float32))))
"""


@pytest.mark.parametrize("nowhere", [True, False], ids=["no writable folder", "a full disk"])
def test_a_library_whose_kernels_cannot_be_kept_compiles_them_anew(tmp_path: Path, nowhere: bool) -> None:
    place = {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"} if nowhere else {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", HEARS, "1000000" if nowhere else "0"]
    done = subprocess.run(command, env={**os.environ, **place}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["25"]), done.stderr


@pytest.mark.parametrize("damaged", ["*.nbi", "*.nbc"])
def test_kernels_that_were_kept_half_are_compiled_and_kept_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "one.py").write_text(
        "from mggdub.compiled import compiled\n\n@compiled()\ndef inner(x):\n    return x\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    env["NUMBA_CACHE_DIR"] = str(tmp_path / "kept")
    hits = []
    for _ in range(3):
        program = "from one import inner; inner(1); print(sum(inner.stats.cache_hits.values()))"
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        hits += done.stdout.split()
        if len(hits) == 1:
            (path,) = (tmp_path / "kept").rglob(f"one.*{damaged[1:]}")
            path.write_bytes(path.read_bytes()[:10])
    assert hits == ["0", "0", "1"]
