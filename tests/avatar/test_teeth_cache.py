"""Kernels from numba's cache give the same numbers as just compiled ones."""

import os
import subprocess
import sys
from pathlib import Path

DRAW = """
import hashlib
import numpy as np
from mggdub.avatar.teeth import draw_inside
f4, rng = np.float32, np.random.default_rng(0)
at = rng.uniform((-2.5, -0.2), (2.5, 1.2), (2000, 2)).astype(f4)
lips = np.stack([np.zeros(2000), rng.uniform(0.5, 1.3, 2000)], 1).astype(f4)
tone = np.array([0.8, 0.75, 0.7], f4)
inside = draw_inside(at, lips, 1.0, 1.1, np.array([0.2, -0.2], f4), tone)
print(hashlib.sha256(inside.tobytes()).hexdigest())
"""


def test_a_mouth_is_drawn_alike_by_kernels_that_were_compiled_before(tmp_path: Path) -> None:
    run = [sys.executable, "-c", DRAW]
    told = [
        subprocess.run(run, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1]
