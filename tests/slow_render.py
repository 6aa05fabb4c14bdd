"""The command line without networks: file layer, ffmpeg, signals and streams are real, the pictures are noise.

Run as `python slow_render.py FRAMES COMMAND ...`; a frame takes 20 ms, or FRAME_SECONDS of the environment.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

SIZE = 64
SECONDS = float(os.environ.get("FRAME_SECONDS", "0.02"))


def frames(count: int) -> Iterator[Any]:
    """Noise, which no codec makes small."""
    import numpy as np

    noise = np.random.default_rng(0)
    for _ in range(count):
        time.sleep(SECONDS)
        yield noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def report(output: Path) -> Any:
    said = {"output": str(output)}
    return SimpleNamespace(silent=False, advice=(), remarks=(), checks={}, as_dict=lambda: said)


def render_file(photo: Path, speech: Path, output: Path, options: Any, progress: Any, **_: Any) -> Any:  # noqa: ARG001
    """Writes a video of as many frames as the first argument says; in two parts for --preview."""
    from mggdub.media.encode import write_in_segments, write_video

    choices: dict[str, Any] = {"fps": options.fps, "size": (SIZE, SIZE), "force": options.force}
    if options.preview:
        parts = output.parent / "parts"
        parts.mkdir()
        length = {"duration": float(COUNT / options.fps), "audio": None}
        write_in_segments(output, lambda start: frames(COUNT - start), folder=parts, **choices, **length)
    else:
        write_video(output, frames(COUNT), **choices)
    return report(output)


def track_file(source: Path, output: Path, options: Any, progress: Any, *_: Any) -> Any:  # noqa: ARG001
    """Writes some 100 kB of text."""
    from mggdub.media.files import appearing_whole

    with appearing_whole(output, options.force) as partial:
        partial.write_text("0.123456,\n" * 10_000)
    return report(output)


def inspect_file(source: Path, drawing: Path, force: bool) -> dict[str, Any]:
    """Draws noise."""
    import numpy as np

    from mggdub.media.files import appearing_whole
    from mggdub.media.image import write_image

    with appearing_whole(drawing, force) as partial:
        write_image(partial, np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    return {"verdict": "good", "file": str(source)}


def stand_in(name: str, **parts: Any) -> None:
    """A module that needs no network, nor torch."""
    import mggdub

    module = ModuleType(f"mggdub.{name}")
    vars(module).update(parts)
    sys.modules[module.__name__] = module
    setattr(mggdub, name, module)


if __name__ == "__main__":
    COUNT = int(sys.argv.pop(1))
    stand_in("types", Array=object, Photo=object, Waveform=object)
    stand_in("jobs", render_file=render_file, track_file=track_file)
    stand_in("checks", failures=lambda _: [])
    stand_in("inspection", inspect_file=inspect_file, as_text=str)
    from mggdub.cli.main import main

    main()
