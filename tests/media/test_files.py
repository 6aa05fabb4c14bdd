"""What may be read and written, and files that appear whole or not at all."""

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mggdub.errors import InputError, OutputError, UsageError
from mggdub.media import files
from mggdub.media.files import appearing_whole, check_input, check_output
from mggdub.media.partial import PARTIAL, hidden_sibling, remove_stale


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_partial_is_new_private_and_unguessable(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with appearing_whole(target) as one, appearing_whole(target) as two:
        assert one != two and stat.S_IMODE(one.stat().st_mode) == 0o600
        assert all(re.search(r"-[0-9a-f]{16}\.partial\.mp4$", path.name) for path in (one, two))
        one.write_bytes(b"1")
        two.write_bytes(b"2")
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_usual_mode_and_faces_are_private(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        for name, private in (("a.mp4", False), ("a.mgg", True)):
            with appearing_whole(tmp_path / name, private=private) as partial:
                partial.write_bytes(b"x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a.mp4", "a.mgg")] == [mode, 0o600]


def test_nothing_can_stand_in_for_a_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("old")
    (tmp_path / "guessed").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(files, "hidden_sibling", lambda path: path.with_name("guessed"))
    with pytest.raises(OutputError), appearing_whole(tmp_path / "a.csv") as partial:
        partial.write_text("new")
    assert (tmp_path / "precious").read_text() == "old"


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_without_force_what_came_in_the_meantime_stays(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.mp4"
    with appearing_whole(target, force=False) as partial:
        partial.write_text("first")
    assert target.read_text() == "first" and names(tmp_path) == ["a.mp4"]
    with pytest.raises(OutputError, match="exists"), appearing_whole(target, force=False) as partial:
        partial.write_text("second")
    assert target.read_text() == "first" and names(tmp_path) == ["a.mp4"]
    with appearing_whole(target, force=True) as partial:
        partial.write_text("third")
    assert target.read_text() == "third" and names(tmp_path) == ["a.mp4"]


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link, real = tmp_path / "out.mp4", tmp_path / "store" / "real.bin"
    link.symlink_to("store/real.bin")
    for text in ("new", "newer"):  # the first time it points to nothing
        check_output(link, force=real.exists())
        with appearing_whole(link) as partial:
            assert partial.parent == real.parent and partial.suffix == ".mp4"
            partial.write_text(text)
        assert link.is_symlink() and real.read_text() == text
    with pytest.raises(OutputError, match="exists"):
        check_output(link, force=False)
    with pytest.raises(OutputError, match="also an input"):
        check_output(link, force=True, inputs=(real,))
    assert names(tmp_path / "store") == ["real.bin"]


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    (tmp_path / "lost.mp4").symlink_to("nowhere/out.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("no folder")
    long = "b" * 252 + ".mp4"
    for name, told in {
        "circle.mp4": "circle", "lost.mp4": "does not exist", "pipe.mp4": "plain file", "folder.mp4": "is a folder",
        "file/a.mp4": "does not exist", long: "256 bytes", "n\0l.mp4": "cannot be the name",
        "x" * 5000 + "/a.mp4": "5000",
    }.items():  # fmt: skip
        with pytest.raises(OutputError, match=told) as refused:
            check_output(tmp_path / name, force=True)
        assert len(str(refused.value)) < 600
        with pytest.raises(OutputError), appearing_whole(tmp_path / name, force=False) as partial:
            partial.write_text("x")


@pytest.mark.parametrize("letter", ["b", "ü", "語", "\udce9"])
def test_names_up_to_what_the_disk_allows_are_written(tmp_path: Path, letter: str) -> None:
    size = len(os.fsencode(letter))
    name = letter * ((255 - 4) // size) + ".mp4"
    check_output(tmp_path / name, force=False)
    with appearing_whole(tmp_path / name, force=False) as partial:
        assert len(os.fsencode(partial.name)) <= 200
        partial.write_text("x")
    assert names(tmp_path) == [name]


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    cases: dict[str, tuple[type[Exception], str]] = {
        "circle": (UsageError, "circle"), "lost": (UsageError, "does not exist"), "b" * 256: (UsageError, "too long"),
        "n\0l": (UsageError, "cannot be the name"), "pipe": (InputError, "plain file"),
        "empty": (InputError, "0 bytes"),
    }  # fmt: skip
    for name, (kind, told) in cases.items():
        with pytest.raises(kind, match=told):
            check_input(tmp_path / name)
    with pytest.raises((InputError, UsageError)):
        check_input(Path("/dev/stdin"))


@pytest.mark.skipif(not shutil.which("setpriv") and os.geteuid() == 0, reason="root may enter every folder")
def test_folders_one_may_not_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.wav").write_text("x")
    closed.chmod(0)
    program = (
        "import sys; from pathlib import Path; from mggdub.errors import MggdubError\n"
        "from mggdub.media.files import check_input, check_output\n"
        "closed = Path(sys.argv[1])\n"
        "for ask in (lambda: check_input(closed / 'a.wav'), lambda: check_output(closed / 'a.mp4', False)):\n"
        "    try: ask()\n"
        "    except MggdubError as error: print(error.exit_code, error)\n"
    )
    argv = [sys.executable, "-c", program, str(closed)]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    first, second = done.stdout.splitlines()
    assert first.startswith("3 ") and second.startswith("4 ") and "entered" in first and "entered" in second


INTERRUPTED = """
import contextlib, opcode, sys
from pathlib import Path
from mggdub.media import files, partial

NAMED = ("CALL", "RESUME", "JUMP_BACKWARD")
HEARD = {number for name, number in opcode.opmap.items() if name.startswith(NAMED)}
OURS = {files.__file__, partial.__file__, contextlib.__file__}

def write(path, at):
    count, before = 0, {}
    def trace(frame, event, arg):
        nonlocal count
        if frame.f_code.co_filename not in OURS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last, before[id(frame)] = before.get(id(frame)), frame.f_code.co_code[frame.f_lasti]
            count += last in HEARD
            if last in HEARD and count == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    try:
        with files.appearing_whole(path) as half:
            half.write_bytes(b"whole")
    finally:
        sys.settrace(None)
    return True

kept = []
folder, at, done = Path(sys.argv[1]), 0, False
while not done:
    at += 1
    try:
        done = write(folder / f"{at}.mp4", at)
    except KeyboardInterrupt as error:
        kept.append(error)  # whoever holds it holds the frames that it passed
print(at)
"""


def test_a_signal_between_any_two_steps_leaves_no_half_file(tmp_path: Path) -> None:
    """An interruption wherever Python hears signals, on the way into the block, in it and out of it."""
    run = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20
    assert all(path.read_bytes() == b"whole" and path.suffix == ".mp4" for path in tmp_path.iterdir())
    assert not [name for name in names(tmp_path) if "partial" in name]
    assert (tmp_path / f"{int(done.stdout)}.mp4").exists()


# --- what others left ------------------------------------------------------------------------------------------------


def left_by_a_killed_process(target: Path) -> Path:
    """What a process that is killed in the middle of writing `target` leaves."""
    program = (
        "import os, sys; from pathlib import Path; from mggdub.media.files import appearing_whole\n"
        "with appearing_whole(Path(sys.argv[1])) as partial:\n    print(partial, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip())


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_only_what_a_dead_process_of_ours_left_is_removed(tmp_path: Path) -> None:
    dead = left_by_a_killed_process(tmp_path / "a.mp4")
    assert dead.is_file()
    token = dead.name.removeprefix(".a.").removesuffix(".partial.mp4")
    pid, birth, host, chance = token.split("-")
    kept = [
        f".a.{pid}-{birth}-{'0' * 8 if host != '0' * 8 else '1' * 8}-{chance}.partial.mp4",  # of another machine
        f"a.{token}.partial.mp4", f".a.{token}.mp4", f".a.{pid}.partial.mp4", f".a.{token}x.partial.mp4",
    ]  # fmt: skip
    for name in kept:
        (tmp_path / name).write_text("precious")
    precious = tmp_path / "precious"
    precious.write_text("old")
    link, folder = (dead.with_name(f".{k}.{token}.partial.mp4") for k in "lf")
    link.symlink_to(precious)
    folder.mkdir()
    reused = dead.with_name(f".r.{os.getpid()}-1-{host}-{chance}.partial.mp4")  # we have that number, but began later
    reused.write_text("half")
    with appearing_whole(tmp_path / "b.mp4") as living:
        check_output(tmp_path / "c.mp4", force=False)
        assert living.exists() and not dead.exists() and not reused.exists()
        living.write_text("whole")
    assert names(tmp_path) == sorted([*kept, "b.mp4", "precious", link.name, folder.name])
    assert precious.read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_partial_that_somebody_holds_is_kept_whatever_its_name_says(tmp_path: Path) -> None:
    dead = left_by_a_killed_process(tmp_path / "a.mp4")
    program = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program, str(dead)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        remove_stale(tmp_path)
        assert dead.exists()
        holder.communicate("")
    remove_stale(tmp_path)
    assert names(tmp_path) == []


def test_names_of_partials_are_recognised() -> None:
    for name in (
        "a.mp4",
        "ü" * 120 + ".mp4",
        "noending",
        "two\nlines.csv",
        "\udce9.mgg",
        "x" * 300 + ".averylongsuffixes",
    ):
        assert PARTIAL.fullmatch(hidden_sibling(Path("/somewhere") / name).name), name


@pytest.mark.parametrize(("name", "told"), [(".mp4", "without a name"), ("s3://bucket/a.mp4", "is an address")])
def test_what_is_no_name_of_a_video_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_output(Path(name) if ":" in name else tmp_path / name, force=True)
