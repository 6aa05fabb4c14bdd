"""Are the outputs of this tree those of another commit, byte for byte?

python tests/golden.py [COMMIT] renders a small set with COMMIT (default HEAD) and with this tree, on this machine, in
one run. Bytes differ between processors, so no hashes are kept. Exits with 1 where something differs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
HEAD = ROOT / "tests" / "data" / "head.png"
PHOTO = ROOT / "examples" / "photo.png"
# Name, arguments; outputs land in the folder that the command runs in.
SET = (
    ("preview", f"render {PHOTO} short.wav -o preview.mp4 --preview --seed 3"),
    ("photo", f"render {HEAD} short.wav -o photo.mp4"),
    ("orbit", f"render {HEAD} short.wav -o orbit.mp4 --size 256 --orbit 20 --pose still"),
    ("avatar", f"avatar {HEAD} -o head.mgg --ply head.ply --preview"),
    ("avatar file", "render head.mgg short.wav -o head.mp4 --fps 29.97 --mouth-scale 1.3"),
    ("track", "track short.wav -o speech.csv"),
    ("track of a video", "track photo.mp4 -o video.csv"),
    ("drive by a video", f"render {PHOTO} --drive photo.mp4 -o drive.mp4 --preview"),
    ("drive by a track", "render head.mgg --drive speech.csv -o played.mp4"),
    ("batch", "batch rows.csv -o batch"),
)
OUTPUTS = ("preview.mp4", "photo.mp4", "orbit.mp4", "head.ply", "head.mp4", "speech.csv", "video.csv", "drive.mp4",
           "played.mp4", "batch/one.mp4", "batch/two.mp4")  # fmt: skip


def render_all(tree: Path, folder: Path) -> dict[str, str]:
    """SHA-256 of every output of the set, made with the code of a tree."""
    samples, rate = soundfile.read(ROOT / "examples" / "speech.wav")
    soundfile.write(folder / "short.wav", samples[rate // 2 : rate * 3 // 2].astype(np.float32), rate)
    rows = [
        "photo,speech,output,size,pose",
        f"{HEAD},short.wav,one.mp4,192,still",
        f"{PHOTO},short.wav,two.mp4,192,",
    ]
    (folder / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    for name, words in SET:
        command = [sys.executable, "-m", "mggdub", *words.split(), "--quiet"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tree}: {name} ends with {done.returncode}: {done.stderr.strip()}")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in OUTPUTS}


def trees(commit: str, scratch: Path) -> Iterator[Path]:
    """A checkout of the commit, then this tree."""
    before = scratch / "before"
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", before, commit], cwd=ROOT, check=True)
    yield before
    yield ROOT
    subprocess.run(["git", "worktree", "remove", "--force", before], cwd=ROOT, check=True)


def main() -> None:
    """Compare and print a line for every output."""
    commit = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    with tempfile.TemporaryDirectory() as scratch:
        sums = []
        for number, tree in enumerate(trees(commit, Path(scratch))):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            sums.append(render_all(tree, folder))
    before, after = sums
    for name in OUTPUTS:
        print(f"{'same' if before[name] == after[name] else 'DIFFERENT':<10} {name}")
    sys.exit(before != after)


if __name__ == "__main__":
    main()
