"""What a picture costs does not depend on how long and narrow it is: held by a memory limit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

resource = pytest.importorskip("resource")
ROOM = 1 << 30  # bytes beyond what the networks take

PROGRAM = """
import resource, sys
from pathlib import Path
from mggdub.errors import InputError
from mggdub.media.image import read_image
from mggdub.face.detector import FaceFinder

finder = FaceFinder()
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = taken + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[2:]:
    try:
        print(name, len(finder.find(read_image(Path(name)).pixels)))
    except InputError as error:
        print(error)
"""


def run(paths: list[Path]) -> list[str]:
    """What is said of each picture by a process that may take ROOM bytes for them."""
    argv = [sys.executable, "-c", PROGRAM, str(ROOM), *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
@pytest.mark.slow
def test_long_and_narrow_pictures_stay_within_memory(tmp_path: Path, head_png: Path) -> None:
    refused, taken = [], []
    for size in ((256, 65_000), (256, 20_000), (65_000, 256)):
        for mode in ("RGB", "P") if size[1] == 65_000 else ("RGB",):
            refused.append(tmp_path / f"{size[0]}x{size[1]}.{mode}.png")
            Image.new(mode, size, 9).save(refused[-1], compress_level=1)
    for suffix in ("tif", "gif", "jp2"):
        refused.append(tmp_path / f"b.{suffix}")
        Image.new("RGB", (256, 20_000), 9).save(refused[-1])
    refused.append(tmp_path / "b.webp")
    Image.new("RGB", (256, 16_000), 9).save(refused[-1])
    head = Image.open(head_png).convert("RGB")
    strip = Image.new("RGB", (600, 16_000), (90, 120, 150))
    strip.paste(head, (100, 9_000))
    taken.append(tmp_path / "strip.png")
    strip.save(taken[-1], compress_level=1)
    deep = np.zeros((600, 12_000), np.uint16)
    deep[100:484, 5_000:5_384] = np.array(head.convert("L"), np.uint16) * 257
    taken.append(tmp_path / "deep.png")
    Image.fromarray(deep).save(taken[-1])
    pages = [strip.resize((60, 1_600)), strip.crop((0, 8_000, 600, 12_000)), strip.resize((60, 1_600))]
    taken.append(tmp_path / "pages.tif")
    pages[0].save(taken[-1], save_all=True, append_images=pages[1:], compression="tiff_deflate")

    lines = run([*refused, *taken])
    for path, line in zip(refused, lines, strict=False):
        assert line.startswith(str(path)) and "cut out the person" in line
    assert lines[len(refused) :] == [f"{path} 1" for path in taken]
