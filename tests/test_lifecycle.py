"""Whatever ends a command, and whatever it was started with, it leaves nothing half-written and says one sentence."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mggdub.cli import signals
from mggdub.errors import OutputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, limits and streams of POSIX")
SLOW = Path(__file__).parent / "slow_render.py"
INPUTS = ("face.png", "voice.wav")
SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGXCPU", "SIGUSR1", "SIGALRM", "SIGRTMIN")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two inputs, good enough for what looks at their first bytes."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "face.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (place / "voice.wav").write_bytes(b"RIFF\0\0\0\0WAVE and no more")
    return place


def command(count: int, *arguments: object) -> list[str]:
    """The slow command line with so many frames."""
    return [sys.executable, str(SLOW), str(count), *map(str, arguments)]


def start(folder: Path, count: int, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """A slow command in a folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen(command(count, *arguments), cwd=folder, text=True, **pipes)


def render(folder: Path, count: int, output: str = "out.mp4", *more: str) -> subprocess.Popen[str]:
    """A slow render of the two inputs."""
    return start(folder, count, "render", *INPUTS, "-o", output, *more)


def partials(folder: Path) -> list[Path]:
    """What is half-written."""
    return sorted(folder.glob(".*partial*"))


def begun(folder: Path) -> list[Path]:
    """What is half-written and no trial whether a folder can be written to, which comes before and goes at once."""
    return [path for path in partials(folder) if not path.name.startswith(".probe.")]


def wait_for(happens: Callable[[], Any], child: subprocess.Popen[str]) -> None:
    """Until it happens, or the child has ended."""
    deadline = time.monotonic() + 240
    while child.poll() is None and not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)
    assert child.poll() is None, child.communicate()


def outcome(child: "subprocess.Popen[str]") -> tuple[str, str]:
    """What a child that was told to end has said; it is killed if it does not."""
    try:
        return child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()


def others(folder: Path) -> list[str]:
    """What is in a folder beside the inputs."""
    return sorted(path.name for path in folder.iterdir() if path.name not in INPUTS)


# --- the crash script: 20 kills, the signals, 8 full disks -----------------------------------------------------------


def test_what_killed_renders_leave_is_removed_by_the_next_one_and_by_no_other(folder: Path) -> None:
    moments = random.Random(7)
    bystander = render(folder, 100_000, "bystander.mp4")  # its partial must outlive all the starts
    wait_for(lambda: begun(folder), bystander)
    (living,) = partials(folder)
    for _ in range(5):
        children = [render(folder, 100_000, f"out{k}.mp4") for k in range(4)]
        wait_for(lambda: len(begun(folder)) > 1, children[0])
        for child in children:
            time.sleep(moments.random() * 0.2)
            child.kill()
        for child in children:
            child.communicate()
            assert child.returncode == -signal.SIGKILL
    last = render(folder, 100_000, "out4.mp4")  # each of the others may have been ended before it began to write
    wait_for(lambda: list(folder.glob(".out4.*partial*")), last)
    last.kill()
    last.communicate()
    assert len(partials(folder)) > 1
    assert all(oct(path.stat().st_mode)[-3:] == "600" for path in partials(folder))
    last = render(folder, 2)
    _, err = last.communicate()
    assert last.returncode == 0, err
    assert partials(folder) == [living]
    assert others(folder) == [living.name, "out.mp4"]
    bystander.terminate()
    outcome(bystander)
    assert bystander.returncode == 128 + signal.SIGTERM and others(folder) == ["out.mp4"]


def test_every_signal_unwinds_and_is_told_once(folder: Path) -> None:
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    children = [render(folder, 100_000, f"out{int(number)}.mp4") for number in numbers]
    for number, child in zip(numbers, children, strict=True):
        wait_for(lambda number=number: list(folder.glob(f".out{int(number)}.*partial*")), child)
        child.send_signal(number)
        child.send_signal(signal.SIGINT)  # an impatient user
        child.send_signal(number)
    for number, child in zip(numbers, children, strict=True):
        out, err = outcome(child)
        said = [line for line in err.splitlines() if " frames" not in line]
        assert child.returncode in (128 + number, 130), err
        assert out == "" and len(said) == 1 and said[0].startswith("Interrupted") and said[0].endswith("."), err
    assert others(folder) == []


@pytest.mark.parametrize("lost", ["in a finaliser", "in native code"])
def test_a_signal_that_is_dropped_on_its_way_is_sent_again(lost: str) -> None:
    program = f"""if True:
        import os, signal, time
        from mggdub.cli import main, signals
        class Slow:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)
        def native():  # as modules in C clear whatever an attribute's look-up has raised
            try:
                Slow().__del__()
            except BaseException:
                pass
        def run():
            native() if {lost == "in native code"} else Slow()
            try:
                time.sleep(20)
            except signals.Interrupted as error:
                error.answered()
                print(error.sentence)
                return error.exit_code
        main.run = run
        main.main()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "Interrupted by SIGTERM; nothing was left behind.\n" and done.stderr == ""
    assert done.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("end", ["raise InputError('a.mp4 cannot be read.')", "return 3"])
def test_a_signal_that_a_library_takes_for_its_own_fault_ends_the_command(end: str) -> None:
    program = f"""if True:
        import os, signal, time
        from mggdub.cli import main
        from mggdub.errors import InputError
        def command(**_):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(20)
            except BaseException:
                pass
            {end}
        main.cli.main = command
        main.main()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == "Interrupted by SIGTERM; nothing was left behind.\n" and done.stdout == ""
    assert done.returncode == 128 + signal.SIGTERM


@pytest.fixture(params=["small disk", "limit of a file"])
def full(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder for outputs where 40 kB have room, and what to do in the child for that."""
    place = folder / "full"
    place.mkdir()
    if request.param == "limit of a file":
        yield place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        return
    made = shutil.which("mount") and os.geteuid() == 0
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "none", str(place)]
    if not made or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a small disk")
    yield place, None
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("count", "arguments"),
    [(60, ["render", *INPUTS, "-o", "full/out.mp4"]), (550, ["render", *INPUTS, "-o", "full/out.mp4", "--preview"]),
     (0, ["track", "voice.wav", "-o", "full/out.csv"]), (0, ["inspect", "face.png", "--image", "full/out.png"])],
    ids=["video", "parts", "table", "picture"],
)  # fmt: skip
def test_a_full_disk_is_one_sentence(folder: Path, full: Any, count: int, arguments: list[str]) -> None:
    place, prepare = full
    child = start(folder, count, *arguments, preexec_fn=prepare, env={**os.environ, "FRAME_SECONDS": "0"})
    out, err = outcome(child)
    said = [line for line in err.splitlines() if " frames" not in line]
    assert child.returncode == 4 and out == "", err
    assert len(said) == 1 and said[0].startswith("Error: full/") and "could not be written" in said[0], err
    assert [path for path in place.rglob("*") if path.is_file()] == []


# --- others at work --------------------------------------------------------------------------------------------------


def test_of_two_renders_into_one_file_the_later_is_refused(folder: Path) -> None:
    first, second = render(folder, 60), render(folder, 90)
    wait_for(lambda: len(begun(folder)) == 2, second)
    first.communicate()
    written = (folder / "out.mp4").read_bytes()
    _, err = second.communicate()
    assert (first.returncode, second.returncode) == (0, 4), err
    assert "out.mp4 exists" in err and (folder / "out.mp4").read_bytes() == written
    assert others(folder) == ["out.mp4"]


def test_a_folder_that_is_removed_stops_the_render(folder: Path) -> None:
    for place in ("gone", "moved"):
        (folder / place).mkdir()
        child = render(folder, 100_000, f"{place}/out.mp4")
        wait_for(lambda place=place: begun(folder / place), child)
        shutil.rmtree(folder / place) if place == "gone" else (folder / place).rename(folder / "elsewhere")
        _, err = outcome(child)  # it would take half an hour
        assert child.returncode == 4 and "removed" in err.splitlines()[-1], err


def test_that_a_folder_was_removed_is_no_fault_of_a_library(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(OutputError, match="removed"), signals.folder_watched(place / "out.mp4"):
        place.rmdir()
        try:
            time.sleep(20)
        except Exception as error:  # as torch does while it fills a network
            raise RuntimeError("these weights do not fit") from error


def test_that_a_folder_was_removed_is_told_again_where_native_code_drops_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    dropped = 0
    with pytest.raises(OutputError, match="removed"), signals.folder_watched(place / "out.mp4"):
        place.rmdir()
        with suppress(BaseException):  # as modules in C clear whatever an attribute's look-up has raised
            time.sleep(20)
        dropped += 1
        time.sleep(20)
    assert dropped == 1


# --- streams and folders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [("2>&-", 0, ""), (">&-", 0, ""), ("<&- >&- 2>&-", 0, ""), (">/dev/full", 4, "standard output"),
     ("2>/dev/full", 0, ""), (">/dev/full 2>&-", 4, ""), ("| true; exit ${PIPESTATUS[0]}", 0, ""),
     ("2>&1 | true; exit ${PIPESTATUS[0]}", 0, "")],
)  # fmt: skip
def test_streams_in_any_state(folder: Path, redirected: str, code: int, told: str) -> None:
    line = " ".join(command(1, "render", *INPUTS, "-o", "out.mp4", "--quiet"))
    done = subprocess.run(["bash", "-c", f"{line} {redirected}"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done
    assert told in done.stderr and done.stderr.count("\n") == bool(told)
    assert others(folder) == ["out.mp4"]  # the video itself is there


def test_started_in_a_folder_that_is_gone(folder: Path) -> None:
    gone = folder / "gone"
    run = "cd {gone} && rmdir {gone} && exec {command}"
    whole = " ".join(command(1, "render", folder / "face.png", folder / "voice.wav", "-o", folder / "out.mp4"))
    for line, code, told in (
        (whole, 0, ""),
        (" ".join(command(1, "render", *INPUTS, "-o", "out.mp4")), 2, "a folder that is gone"),
    ):
        gone.mkdir()
        argv = ["bash", "-c", run.format(gone=gone, command=line)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == code and told in done.stderr and "Traceback" not in done.stderr, done
    assert others(folder) == ["out.mp4"]


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("name", [b"gr\xc3\xbcn", b"caf\xe9", b"b" * 240, b"\xc3\xbc" * 120])
def test_any_name_under_any_locale(folder: Path, name: bytes, locale: dict[str, str]) -> None:
    photo, output = (os.fsencode(folder) + b"/" + name + suffix for suffix in (b".png", b".mp4"))
    Path(os.fsdecode(photo)).write_bytes((folder / "face.png").read_bytes())
    argv = [os.fsencode(part) for part in command(1, "render")] + [photo, b"voice.wav", b"-o", output]
    in_locale: dict[str, Any] = {"cwd": folder, "capture_output": True, "env": {**os.environ, **locale}}
    done = subprocess.run(argv, **in_locale, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output + b"\n"
    missing = subprocess.run([*argv[:4], b"no" + name, *argv[5:]], **in_locale, check=False)
    assert missing.returncode == 2 and missing.stderr.startswith(b"Error: no")


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_CPU"), reason="no limits")
def test_the_limit_on_processor_time_is_heard_before_it_kills() -> None:
    program = (
        "import resource\nfrom mggdub.cli import signals\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (2, 2))\nsignals.install()\n"
        "try:\n    while True: sum(range(999))\nexcept signals.Interrupted as stop:\n    print(stop.sentence)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ulimit -t" in done.stdout, done


def test_what_is_ignored_stays_ignored(folder: Path) -> None:
    child = start(folder, 30, "render", *INPUTS, "-o", "out.mp4", preexec_fn=_as_nohup)
    wait_for(lambda: begun(folder), child)
    child.send_signal(signal.SIGHUP)
    outcome(child)
    assert child.returncode == 0 and others(folder) == ["out.mp4"]


def _as_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


# --- the whole program -----------------------------------------------------------------------------------------------


def test_a_true_render_whose_folder_is_removed_does_not_begin_to_draw(tmp_path: Path, head_png: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    speech = Path(__file__).resolve().parents[1] / "examples" / "speech.wav"
    argv = [sys.executable, "-m", "mggdub", "render", head_png, speech, "-o", place / "out.mp4", "--preview"]
    with subprocess.Popen(list(map(str, argv)), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        first = child.stderr.readline()  # it has begun: the networks are loaded
        place.rmdir()
        rest = child.stderr.read()
    assert child.returncode == 4, rest
    assert first.startswith("Loading") and "removed" in rest.splitlines()[-1] and "frames" not in rest


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_program_that_waits_for_itself_is_ended(name: str) -> None:
    """An import beside it may wait for a lock that was left closed where the signal came."""
    program = f"""
import atexit, os, signal, threading
from mggdub.cli import signals
signal.signal(signal.SIGINT, signal.default_int_handler)
signals.AT_LAST = 0.1
signals.install()
atexit.register(print, "removed", flush=True)
try:
    os.kill(os.getpid(), signal.{name})
    threading.Event().wait(60)
finally:
    threading.Event().wait(60)
"""
    started = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (128 + getattr(signal, name), "removed\n")
    assert run.stderr.startswith("Interrupted") and time.monotonic() - started < 30
