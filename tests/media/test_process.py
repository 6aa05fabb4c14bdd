"""ffmpeg is never left to itself."""

import sys
import threading
import time
from pathlib import Path

import pytest

from mggdub.media import process


class Late(threading.Thread):
    """Runs long after a signal came while it was started."""

    def start(self) -> None:
        """Does not wait for it."""
        self.late = threading.Timer(0.2, super().start)
        self.late.start()
        raise KeyboardInterrupt


def test_a_signal_before_ffmpeg_runs_keeps_it_from_starting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "written"
    argv = [sys.executable, "-S", "-c", f"open({str(written)!r}, 'w')"]
    with process.start(argv) as running:
        assert running.wait() == 0 and written.exists()
    written.unlink()
    monkeypatch.setattr(process, "Thread", Late)
    with pytest.raises(KeyboardInterrupt), process.start(argv):
        pass
    time.sleep(0.6)
    assert not written.exists()
