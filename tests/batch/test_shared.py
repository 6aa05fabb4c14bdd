"""What changes while a batch runs, and who else is at work in its folder.

What is drawn is no matter here: a video is the bytes of its head and its sound one after the other, and the rest is
real. `test_run.py` renders.
"""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from mggdub import errors, jobs, weights
from mggdub.batch import check, row
from mggdub.batch.run import BatchOptions, run_batch
from mggdub.errors import OutputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links are those of Unix")
Run = Callable[..., dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]


def draw(head: Path, speech: Path, whole: Path, *more: Any) -> Any:  # noqa: ARG001
    whole.write_bytes(head.read_bytes() + b"|" + speech.read_bytes())
    said = {"output": str(whole), "frames": 1, "seconds": 1.0, "checks": {}}
    return SimpleNamespace(as_dict=lambda: said)


def build(photo: Path, output: Path, *more: Any) -> None:  # noqa: ARG001
    output.write_bytes(b"head of " + photo.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "x.wav", "y.wav"):
        (tmp_path / name).write_bytes(name.encode() * 9)
    return tmp_path


@pytest.fixture
def batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(row, "_models", lambda: None)
    monkeypatch.setattr(row, "_strip", lambda *_: [])
    monkeypatch.setattr(check, "check_head", lambda *_: None)
    monkeypatch.setattr(check, "playing_time", lambda *_: 1.0)
    monkeypatch.setattr(jobs, "render_file", draw)
    monkeypatch.setattr(jobs, "avatar_file", build)

    def run(*lines: str, out: str = "out", **options: Any) -> dict[str, Any]:
        (folder / "rows.csv").write_text("\n".join(["photo,speech,output", *lines]))
        said: list[str] = []
        plan = BatchOptions(**options)
        told = run_batch(folder / "rows.csv", None, folder / out, plan, {}, frozenset(), lambda *_: None, said.append)
        return told | {"said": said, "states": [result["state"] for result in told["results"]]}

    return run


def test_a_batch_tells_what_a_render_of_its_own_would(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed checks and recordings without speech are not left to the page alone; once a video is there, they are."""
    failed = {"ok": False, "value": 10.9, "limit": 6.0, "what": "cm that the head leaps"}
    told = {"silent": True, "remarks": ("a.mp4 cuts in one place.",), "checks": {"steady": failed}}

    def odd(*given: Any) -> Any:
        said = draw(*given).as_dict() | told
        return SimpleNamespace(as_dict=lambda: said)

    monkeypatch.setattr(jobs, "render_file", odd)
    sentences = ["The recording holds no speech, so the mouth stays closed.", "a.mp4 cuts in one place.",
                 "Warning: the check 'steady' failed (cm that the head leaps: 10.9, limit 6)."]  # fmt: skip
    assert batch("a.png,x.wav,a.mp4")["said"] == [f"Row 2: {sentence}" for sentence in sentences]
    again = batch("a.png,x.wav,a.mp4")
    assert again["states"] == ["skipped"] and again["said"] == []
    said: list[str] = []
    notes: list[str] = []
    plan, source = BatchOptions(resume=False, force=True), folder / "rows.csv"
    run_batch(source, None, folder / "out", plan, {}, frozenset(), lambda *_: None, said.append, notes.append)
    assert said == [] and len(notes) == 3  # --quiet drops the notes, never what is wrong with a row


def during(monkeypatch: pytest.MonkeyPatch, what: Callable[[], None], name: str = "render_file") -> None:
    """Something happens once, in the middle of the first render."""
    real, happened = getattr(jobs, name), list[bool]()

    def drawing(*given: Any) -> Any:
        if not happened:
            happened.append(True)
            what()
        return real(*given)

    monkeypatch.setattr(jobs, name, drawing)


def video(photo: bytes, speech: bytes) -> bytes:
    return b"head of " + photo + b"|" + speech


def test_a_photo_that_changes_meanwhile_is_refused_and_poisons_nothing(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (folder / "b.png").read_bytes()
    new = old[::-1]  # of the same size
    during(monkeypatch, lambda: (folder / "b.png").write_bytes(new) and None)
    rows, heads = ("a.png,x.wav,1.mp4", "b.png,x.wav,2.mp4"), folder / "heads"
    told = batch(*rows, cache_dir=heads)
    assert told["states"] == ["done", "failed"] and told["results"][1]["exit_code"] == 3
    assert str(folder / "b.png") in told["said"][0] and "changed while" in told["said"][0]
    assert len(list(heads.glob("*.mgg"))) == 1 and not (folder / "out/2.mp4").exists()
    told = batch(*rows, cache_dir=heads)
    assert told["states"] == ["skipped", "done"]
    assert (folder / "out/2.mp4").read_bytes() == video(new, (folder / "x.wav").read_bytes())
    (folder / "b.png").write_bytes(old)  # and back: another head again, not the one in the cache
    assert batch(*rows, cache_dir=heads, force=True)["states"] == ["skipped", "done"]
    assert (folder / "out/2.mp4").read_bytes() == video(old, (folder / "x.wav").read_bytes())


@pytest.mark.parametrize("name", ["avatar_file", "render_file"])
def test_what_changes_in_the_very_moment_of_reading_does_not_count(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Even if it is as it was afterwards."""
    before = {path: path.read_bytes() for path in (folder / "a.png", folder / "x.wav")}
    real = getattr(jobs, name)

    def reading(*given: Any) -> Any:
        for path, data in before.items():
            path.write_bytes(data[::-1])
        try:
            return real(*given)
        finally:
            for path, data in before.items():
                path.write_bytes(data)

    monkeypatch.setattr(jobs, name, reading)
    assert batch("a.png,x.wav,1.mp4")["states"] == ["done"]
    assert (folder / "out/1.mp4").read_bytes() == video(*before.values())


def test_done_is_what_has_the_same_bytes(folder: Path, batch: Run) -> None:
    line, path = "a.png,x.wav,1.mp4", folder / "out/1.mp4"
    assert batch(line)["states"] == ["done"] and batch(line)["states"] == ["skipped"]
    right = path.read_bytes()
    path.write_bytes(right[::-1])
    told = batch(line)
    assert told["states"] == ["failed"] and "--force" in told["said"][0]
    assert batch(line, force=True)["states"] == ["done"] and path.read_bytes() == right


def test_anew_means_anew(batch: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(jobs, "render_file", lambda *given: drawn.append(given[2].name) or draw(*given))
    line = "a.png,x.wav,1.mp4"
    assert batch(line)["states"] == ["done"] and len(drawn) == 1
    assert batch(line, resume=False, force=True)["states"] == ["done"] and len(drawn) == 2
    assert batch(line, resume=False)["states"] == ["failed"] and batch(line, force=True)["states"] == ["skipped"]


def test_a_name_that_is_taken_meanwhile_stays(folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, lambda: (folder / "out/1.mp4").write_bytes(b"somebody else's") and None)
    told = batch("a.png,x.wav,1.mp4")
    assert told["states"] == ["failed"] and told["results"][0]["exit_code"] == 4 and "--force" in told["said"][0]
    assert (folder / "out/1.mp4").read_bytes() == b"somebody else's"


def test_a_folder_that_becomes_a_link_is_not_followed(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = folder / "away"
    away.mkdir()

    def swap() -> None:
        (folder / "out/sub").rename(folder / "out/moved")
        (folder / "out/sub").symlink_to(away)

    during(monkeypatch, swap)
    told = batch("a.png,x.wav,sub/1.mp4", "b.png,x.wav,sub/2.mp4", force=True)
    assert told["states"] == ["failed", "failed"] and all("through a link" in line for line in told["said"])
    assert not list(away.iterdir())


def test_state_is_for_its_owner_and_follows_no_link(folder: Path, batch: Run) -> None:
    out, heads, victim = folder / "out", folder / "heads", folder / "victim"
    victim.write_bytes(b"mine")
    heads.mkdir()
    lines = ("a.png,x.wav,1.mp4", "b.png,x.wav,gone.mp4")
    (folder / "b.png").unlink()  # so that the state stays
    assert batch(*lines, cache_dir=heads)["states"] == ["done", "failed"]
    files = [path for path in (*(out / ".mggdub").rglob("*"), *heads.iterdir()) if path.is_file()]
    assert {path.suffix for path in files} >= {".json", ".jsonl", ".lock", ".mgg"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((out / ".mggdub").stat().st_mode) == 0o700
    for path in files:  # whatever of them is a link the next time
        path.unlink()
        path.symlink_to(victim)
        try:
            states = batch(*lines, cache_dir=heads, force=True, resume=False)["states"]
        except OutputError as error:
            states = ["failed"]
            assert "remove it" in str(error) and path.suffix == ".lock"
        assert victim.read_bytes() == b"mine", path
        (out / "1.mp4").unlink(missing_ok=True)
        assert states[0] != "failed" or path.suffix == ".lock"  # whose holder cannot be known
        path.unlink(missing_ok=True)
        batch(*lines, cache_dir=heads, force=True)
    rmtree(out / ".mggdub")
    (out / ".mggdub").symlink_to(folder)
    with pytest.raises(OutputError, match="remove it"):
        batch(*lines, cache_dir=heads, force=True)
    with pytest.raises(OutputError, match="remove it"):
        batch(*lines, check=True)


def test_a_cached_head_is_what_was_built_of_that_photo(folder: Path, batch: Run) -> None:
    heads, lines = folder / "heads", ("a.png,x.wav,1.mp4", "b.png,x.wav,2.mp4")
    assert batch(*lines, cache_dir=heads)["states"] == ["done", "done"]
    right = [(folder / f"out/{k}.mp4").read_bytes() for k in (1, 2)]
    one, two = heads.glob("*.mgg")

    def again() -> list[bytes]:
        rmtree(folder / "out")
        assert batch(*lines, cache_dir=heads)["states"] == ["done", "done"]
        return [(folder / f"out/{k}.mp4").read_bytes() for k in (1, 2)]

    one.write_bytes(two.read_bytes())
    assert again() == right
    one.write_bytes(two.read_bytes())
    one.with_suffix(".json").write_bytes(two.with_suffix(".json").read_bytes())
    assert again() == right
    two.unlink()
    two.symlink_to(one)
    assert again() == right and not two.is_symlink()


def test_a_forged_record_makes_nothing_done(folder: Path, batch: Run) -> None:
    lines = ("a.png,x.wav,1.mp4", "b.png,y.wav,2.mp4")
    results = batch(*lines)["results"]
    by_key = {json.loads(path.read_text())["key"]: path for path in (folder / "out/.mggdub/rows").glob("*.json")}
    first, second = (by_key[result["key"]] for result in results)
    one, two = (json.loads(path.read_text()) for path in (first, second))
    evil = "<script>alert(1)</script>"
    for path, told in ((first, one), (second, two)):
        path.write_text(json.dumps(told | {"report": told["report"] | {"output": evil, "photo": evil}}))
    told = batch(*lines, report=True)
    assert told["states"] == ["skipped", "skipped"] and evil not in (folder / "out/report.html").read_text()
    assert told["results"][0]["report"]["output"] == str(folder / "out/1.mp4")
    right = (folder / "out/1.mp4").read_bytes()
    (folder / "out/1.mp4").write_bytes((folder / "out/2.mp4").read_bytes())  # somebody else's face
    for forged in (one, two, one | {"bytes": two["bytes"]}, {}, [], two | {"key": 1}, one | {"sha256": None}):
        first.write_text(json.dumps(forged))
        assert batch(lines[0])["states"] == ["failed"]
    (folder / "out/1.mp4").write_bytes(right)
    first.write_text(json.dumps(one))
    assert batch(lines[0])["states"] == ["skipped"]


def test_two_batches_do_not_take_each_other_s_work_away(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One begins, ends and tidies up while the other is in the middle of a row, of the same head."""
    state = folder / "out" / ".mggdub"
    program = (
        "import sys, pathlib; sys.path[:0] = [sys.argv[1]]\n"
        "from tests.batch import test_shared as t\n"
        "t.other(pathlib.Path(sys.argv[2]))\n"
    )
    seen: list[Any] = []

    def meanwhile() -> None:
        mine = set((state / "work").iterdir()) | set((state / "avatars").glob("*.mgg"))
        argv = [sys.executable, "-c", program, str(ROOT), str(folder)]
        told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        seen.append((told, mine, all(path.exists() for path in mine)))

    during(monkeypatch, meanwhile)
    told = batch("a.png,x.wav,1.mp4", "a.png,y.wav,2.mp4")
    ((other, mine, there),) = seen
    assert told["states"] == ["done", "done"] and other == ["done"] and len(mine) == 2 and there
    assert {path.name for path in (folder / "out").glob("*.mp4")} == {"1.mp4", "2.mp4", "3.mp4"}
    assert not list((state / "work").iterdir()) and not list((state / "avatars").iterdir())
    assert [path.name for path in (state / "batches").iterdir()] == ["gate.lock"]


def other(folder: Path) -> None:
    """The other batch of the test above, in a process of its own."""
    row._models = lambda: None  # type: ignore[assignment]
    row._strip = lambda *_: []  # type: ignore[assignment]
    check.check_head = lambda *_: None  # type: ignore[assignment]
    check.playing_time = lambda *_: 1.0  # type: ignore[assignment]
    jobs.render_file, jobs.avatar_file = draw, build  # type: ignore[assignment]
    source = folder / "other.csv"
    source.write_text("photo,speech,output\na.png,x.wav,3.mp4")
    told = run_batch(source, None, folder / "out", BatchOptions(), {}, frozenset(), lambda *_: None, lambda _: None)
    print(json.dumps([result["state"] for result in told["results"]]))


@pytest.mark.parametrize("what", ["out", "out/.mggdub"])
def test_a_folder_that_goes_ends_the_batch(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """In the middle of whatever is being done, and it is not made again."""
    drawn: list[str] = []

    def slow() -> None:
        Thread(target=rmtree, args=(folder / what,)).start()
        for _ in range(6000):
            time.sleep(0.01)
        drawn.append("all of it")

    during(monkeypatch, slow)
    with pytest.raises(OutputError, match="was removed"):
        batch("a.png,x.wav,1.mp4", "b.png,x.wav,2.mp4")
    assert not drawn and not (folder / what).exists()
    during(monkeypatch, lambda: rmtree(folder / what, ignore_errors=True))
    with pytest.raises(OutputError, match="was removed"):
        batch("a.png,x.wav,1.mp4", out="out")
    assert not (folder / what).exists()


def test_a_thousand_rows_of_the_same_are_looked_at_once(
    folder: Path, batch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def note(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: looked.append(name) or real(*given)

    def faceless(path: Path, *more: Any) -> None:  # noqa: ARG001
        raise errors.InputError(f"{path}: no face")

    weights.fingerprint()
    monkeypatch.setattr(check.weights, "digest", note("digest", weights.digest))
    monkeypatch.setattr(check, "playing_time", note("sound", lambda *_: 1.0))
    monkeypatch.setattr(check, "check_head", note("head", lambda *_: None))
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())  # the same under another name
    lines = [f"{'ac'[k % 2]}.png,x.wav,{k}.mp4" for k in range(1000)]
    assert set(batch(*lines, check=True)["states"]) == {"left"}
    assert sorted(looked) == ["digest"] * 3 + ["head", "sound"]
    looked.clear()
    monkeypatch.setattr(check, "check_head", note("head", faceless))
    told = batch(*lines, check=True)
    assert told["failed"] == 1000 and looked.count("head") == 1
    assert all(f"{'ac'[k % 2]}.png: no face" in line for k, line in enumerate(told["said"]))
