"""Every good row becomes the video that a render of its own would be, exactly once, whatever happens meanwhile."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mggdub import jobs
from mggdub.animation import animate as animation_animate
from mggdub.batch import row
from mggdub.batch.run import BatchOptions, run_batch
from mggdub.errors import OutputError, UsageError
from mggdub.media.video import read_video
from mggdub.models import Models
from mggdub.options import RenderOptions

BASE = {"preview": True, "size": 128}
Log = list[tuple[str, str]]


@pytest.fixture
def folder(tmp_path: Path, head_png: Path, speech_wav: Path) -> Path:
    """A photo and six short recordings."""
    samples, rate = soundfile.read(speech_wav)
    for k in range(6):
        soundfile.write(tmp_path / f"s{k}.wav", samples[rate * (k + 1) : int(rate * (k + 1.2))], rate)
    (tmp_path / "p.png").write_bytes(head_png.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of heads that all batches here share, so that the one photo is built once."""
    return tmp_path_factory.mktemp("heads")


def manifest(folder: Path, *lines: str) -> Path:
    path = folder / "rows.csv"
    path.write_text("\n".join(["photo,speech,output,seed", *lines]))
    return path


def log(folder: Path) -> Log:
    path = folder / "out" / ".mggdub" / "log.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(entry["event"], entry["output"]) for entry in told]


@pytest.fixture
def batch(folder: Path, heads: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a batch in this process: its summary, and under "said" what was told."""
    monkeypatch.setattr(row, "_models", lambda: models)

    def run(source: Path, **options: Any) -> dict[str, Any]:
        said: list[str] = []
        plan = BatchOptions(**{"cache_dir": heads, **options})
        told = run_batch(source, None, folder / "out", plan, BASE, frozenset(), lambda *_: None, said.append)
        return told | {"said": said, "states": [result["state"] for result in told["results"]]}

    return run


def test_good_rows_are_rendered_once_and_bad_ones_told_before(
    folder: Path, heads: Path, batch: Callable[..., dict[str, Any]]
) -> None:
    (folder / "text.wav").write_text("this is text\n" * 50)
    (folder / "wall.png").write_bytes(b"")
    soundfile.write(folder / "none.wav", np.zeros(0), 16000)
    lines = ["p.png,s0.wav,a.mp4,", "gone.png,text.wav,b.mp4,", "wall.png,s0.wav,c.mp4,", "p.png,s0.wav,sub/d.mp4,3",
             "p.png,none.wav,e.mp4,", "p.png,s0.wav,A.mp4,"]  # fmt: skip
    checked = batch(manifest(folder, *lines), check=True)
    assert checked["states"] == ["left", "failed", "failed", "left", "failed", "failed"]
    assert not (folder / "out").exists()
    stopped = batch(folder / "rows.csv", fail_fast=True)
    assert stopped["states"] == checked["states"] and log(folder) == []
    told = batch(folder / "rows.csv", report=True)
    assert told["states"] == ["done", "failed", "failed", "done", "failed", "failed"]
    assert [line.split(":")[0] for line in told["said"]] == ["Row 3", "Row 4", "Row 6", "Row 7"]
    assert all(str(folder) in line and line.endswith(".") for line in told["said"])
    assert (told["done"], told["failed"], told["rows"]) == (2, 4, 6) and (folder / "out/report.html").is_file()
    (head,) = heads.glob("*.mgg")  # one for both
    plain = RenderOptions(**BASE, seed=3)
    jobs.render_file(head, folder / "s0.wav", folder / "plain.mp4", plain, lambda *_: None)
    assert (folder / "out/sub/d.mp4").read_bytes() == (folder / "plain.mp4").read_bytes()

    again = batch(manifest(folder, lines[0], lines[3]))
    assert again["states"] == ["skipped", "skipped"] and not list((folder / "out/.mggdub/work").glob("*"))
    assert Counter(log(folder))["done", "a.mp4"] == 1
    other = batch(manifest(folder, "p.png,s0.wav,a.mp4,9"))
    assert other["states"] == ["failed"] and "of other inputs or options" in other["said"][0]
    assert "--force" in other["said"][0]
    assert batch(folder / "rows.csv", force=True)["states"] == ["done"]
    (folder / "out/a.mp4").unlink()
    assert batch(folder / "rows.csv")["states"] == ["done"]
    assert batch(folder / "rows.csv", resume=False)["states"] == ["failed"]


def test_files_in_each_others_place_are_named_once(folder: Path, batch: Callable[..., dict[str, Any]]) -> None:
    """As render names them, without another file of the row before the sentence."""
    rows = manifest(folder, "s0.wav,p.png,a.mp4,", "p.png,p.png,b.mp4,", "p.png,rows.csv,c.mp4,")
    said = [line.replace(f"{folder}/", "") for line in batch(rows, check=True)["said"]]
    assert [line.split(";")[0] for line in said] == [
        "Row 2: s0.wav is a recording",
        "Row 3: p.png is a picture and holds no sound",
        "Row 4: rows.csv is a manifest and no recording",
    ]


def test_what_cannot_sign_is_told_before_the_first_frame(folder: Path, batch: Callable[..., dict[str, Any]]) -> None:
    """A key that is missing, and a certificate that is none, are wrong rows for --check, too."""
    (folder / "chain.pem").write_text("no certificate")
    lines = ["a.mp4,gone.pem,chain.pem", "b.mp4,chain.pem,gone.pem", "c.mp4,chain.pem,chain.pem"]
    source = folder / "rows.csv"
    source.write_text(
        "\n".join(["photo,speech,output,c2pa_cert,c2pa_key", *(f"p.png,s0.wav,{line}" for line in lines)])
    )
    told = batch(source, check=True)
    assert told["states"] == ["failed"] * 3 and [result["exit_code"] for result in told["results"][:2]] == [2, 2]
    assert all("gone.pem does not exist; check the path." in line for line in told["said"][:2])
    assert "chain.pem" in told["said"][2] and not (folder / "out").exists()


def test_an_output_is_no_input_and_no_way_out(folder: Path, batch: Callable[..., dict[str, Any]]) -> None:
    out = folder / "out"
    out.mkdir()
    (out / "way").symlink_to(folder)
    (out / "file").touch()
    (out / "in.mp4").write_bytes((folder / "s0.wav").read_bytes())
    lines = ["p.png,out/in.mp4,x.mp4,", "p.png,s0.wav,in.mp4,", "p.png,s0.wav,way/y.mp4,", "p.png,s0.wav,file/y.mp4,"]
    told = batch(manifest(folder, *lines), check=True, force=True)
    assert told["states"] == ["left", "failed", "failed", "failed"]
    assert all(w in line for w, line in zip(("also an input", "through a link", "folder"), told["said"], strict=True))


def test_a_row_that_fails_late_stops_no_other(
    folder: Path, batch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*given: Any) -> Any:
        if given[1].name == "s0.wav":
            raise RuntimeError("odd")
        return real(*given)

    real = jobs.render_file
    monkeypatch.setattr(jobs, "render_file", odd)
    source = manifest(folder, "p.png,s0.wav,a.mp4,", "p.png,s1.wav,b.mp4,")
    told = batch(source, fail_fast=True)
    assert told["states"] == ["failed", "left"] and "RuntimeError: odd" in told["said"][0]
    told = batch(source)
    assert told["states"] == ["failed", "done"] and told["results"][0]["exit_code"] == 1
    monkeypatch.setattr(jobs, "render_file", real)
    assert batch(source)["states"] == ["done", "skipped"]


def test_a_video_never_stands_there_without_its_record(
    folder: Path, batch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*given: Any) -> None:  # noqa: ARG001
        assert not (folder / "out/a.mp4").exists()
        raise KeyboardInterrupt

    source = manifest(folder, "p.png,s0.wav,a.mp4,")
    for last in ("_strip", "write_record"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(row, last, die)
            batch(source)
    assert batch(source)["states"] == ["done"] and batch(source)["states"] == ["skipped"]


def test_a_long_row_goes_on_from_its_last_segment(
    folder: Path, batch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mggdub.media.encode.SEGMENT", Seconds(0.2))
    samples, rate = soundfile.read(folder / "s0.wav")
    soundfile.write(folder / "long.wav", np.tile(samples, 4)[: int(rate * 0.7)], rate)
    drawn: list[int] = []

    def animate(*given: Any, **named: Any) -> Iterator[Any]:
        for index, frame in enumerate(real(*given, **named), given[5]):
            if breaks and index == 12:
                raise KeyboardInterrupt
            drawn.append(index)
            yield frame

    real, breaks = animation_animate.animate, True
    monkeypatch.setattr(jobs, "animate", animate)
    source = manifest(folder, "p.png,long.wav,a.mp4,")
    with pytest.raises(KeyboardInterrupt):
        batch(source)
    assert drawn == list(range(12)) and not (folder / "out/a.mp4").exists()
    breaks = False
    drawn.clear()
    assert batch(source)["states"] == ["done"] and drawn == list(range(10, 18))
    parts = [frame for _, frame in read_video(folder / "out/a.mp4")]
    (folder / "out/a.mp4").unlink()
    drawn.clear()
    assert batch(source)["states"] == ["done"] and drawn == list(range(18))
    assert np.array_equal(parts, [frame for _, frame in read_video(folder / "out/a.mp4")]) and len(parts) == 18


class Seconds(float):
    """So short that a whole number of them is no whole number of frames: 5 frames."""

    def __mul__(self, rate: float) -> int:  # type: ignore[override]
        return round(float(self) * rate)


def test_a_file_is_no_folder_to_fill(folder: Path) -> None:
    rows, taken = manifest(folder, "p.png,s0.wav,a.mp4,"), folder / "s0.wav"
    with pytest.raises(OutputError, match="is a file; name a folder"):
        run_batch(rows, None, taken, BatchOptions(), {}, frozenset(), lambda *_: None, print)
    kept = BatchOptions(cache_dir=taken, check=True)
    with pytest.raises(OutputError, match="is a file; name a folder"):
        run_batch(rows, None, folder / "out", kept, {}, frozenset(), lambda *_: None, print)


def test_options_that_exclude_each_other() -> None:
    for wrong in ({"jobs": 0}, {"jobs": 2, "cluster": "tcp://x:1"}):
        with pytest.raises(UsageError):
            BatchOptions(**wrong)  # type: ignore[arg-type]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "mggdub", "batch", "rows.csv", "-o", "out", "--preview", "--size", "128", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*argv, *more], cwd=folder, env=ENVIRONMENT, **pipes)


def until(happens: Callable[[], Any], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happens() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.slow
def test_a_killed_batch_goes_on(folder: Path, heads: Path) -> None:
    """Two processes, the parent killed, then one process, interrupted, then another one; pairs differ in name only."""
    manifest(folder, *(f"p.png,s{k // 2}.wav,{k}.mp4," for k in range(6)))
    shared = ("--cache-dir", str(heads))
    first = start(folder, "--jobs", "2", *shared)
    until(lambda: len([e for e, _ in log(folder) if e == "done"]) >= 2, first)
    first.kill()
    first.communicate()
    second = start(folder, *shared)
    until(lambda: len([e for e, _ in log(folder) if e == "done"]) >= 4, second)
    second.send_signal(signal.SIGINT)
    out, err = second.communicate()
    if second.returncode:  # it may have been too quick
        assert second.returncode == 130 and out == "" and "goes on from here" in err and "Traceback" not in err
    third = start(folder, *shared)
    out, err = third.communicate()
    told = json.loads(out)
    assert third.returncode == 0 and told["rows"] == told["done"] + told["skipped"] == 6, err
    done = Counter(output for event, output in log(folder) if event == "done")
    assert done == dict.fromkeys((f"{k}.mp4" for k in range(6)), 1)
    assert all(len(list(read_video(folder / f"out/{k}.mp4"))) == 5 for k in range(6))


def dask(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    return subprocess.Popen(
        argv, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd=folder
    )


def scheduler(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A Dask scheduler and its address."""
    at = folder / "scheduler.json"
    running = dask(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(at))
    until(lambda: at.exists() and at.read_text().endswith("}"), running)
    return running, json.loads(at.read_text())["address"]


@pytest.mark.skipif(os.name != "posix" or not find_spec("distributed"), reason="needs Dask and signals")
@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_one_sentence(folder: Path, heads: Path) -> None:
    manifest(folder, *(f"p.png,s{k}.wav,{k}.mp4," for k in range(6)))
    running, address = scheduler(folder)
    worker = dask(folder, "worker", address, "--nthreads", "1", "--no-nanny")
    try:
        asked = start(folder, "--cluster", address, "--quiet", "--cache-dir", str(heads))
        until(lambda: log(folder), asked)
        running.kill()
        out, err = asked.communicate(timeout=240)
    finally:
        for process in (running, worker):
            process.kill()
            process.wait()
    assert asked.returncode == 5 and out == "" and len(err.splitlines()) == 1, err
    assert err.startswith(f"Error: The Dask scheduler at {address} is gone; ")


@pytest.mark.skipif(os.name != "posix" or not find_spec("distributed"), reason="needs Dask and signals")
@pytest.mark.slow
def test_a_cluster_renders_every_row_once_though_a_worker_is_killed(folder: Path, heads: Path) -> None:
    manifest(folder, *(f"p.png,s{k}.wav,{k}.mp4," for k in range(6)))
    first, address = scheduler(folder)
    running = [first]
    try:
        running += [dask(folder, "worker", address, "--nthreads", "1", "--no-nanny") for _ in range(2)]
        time.sleep(0.1)
        asked = start(folder, "--cluster", address, "--quiet", "--cache-dir", str(heads))
        name = f"{socket.gethostname()}:{running[1].pid}"
        path = folder / "out" / ".mggdub" / "log.jsonl"

        def is_busy() -> bool:
            told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            own = [entry["event"] for entry in told if entry["worker"] == name]
            return own[-1:] == ["begins"]

        until(is_busy, asked)
        running[1].kill()
        out, err = asked.communicate(timeout=240)
    finally:
        for process in running:
            process.kill()
            process.wait()
    told = json.loads(out)
    assert asked.returncode == 0 and told["rows"] == told["done"] == 6, err
    assert Counter(log(folder))["done", "0.mp4"] == 1
    assert Counter(event for event, _ in log(folder))["done"] == 6
    assert Counter(event for event, _ in log(folder))["begins"] == 7  # the row that was torn apart
    assert all(len(list(read_video(folder / f"out/{k}.mp4"))) == 5 for k in range(6))
