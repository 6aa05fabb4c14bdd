"""Preparing clips: what is trained on, and in which order."""

from pathlib import Path

from mggdub.train.prepare import capped, clips


def test_a_folder_without_a_manifest_is_training_clips(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "notes.txt"):
        (tmp_path / name).touch()
    assert [(row["file"], row["split"], row["identity"]) for row in clips(tmp_path)] == [
        ("a.MOV", "train", "a"),
        ("b.mp4", "train", "b"),
    ]


def test_everybody_comes_before_anybody_comes_twice(tmp_path: Path) -> None:
    rows = ["file,split,identity,audio", "1.mp4,train,anna,yes", "2.mp4,train,anna,yes", "3.mp4,train,bert,yes"]
    (tmp_path / "manifest.csv").write_text("\n".join([*rows, "0.mp4,val,carl,yes", "4.mp4,train,dora,no"]))
    assert [row["file"] for row in clips(tmp_path)] == ["1.mp4", "3.mp4", "2.mp4", "0.mp4", "4.mp4"]


def test_nobody_has_more_seconds_than_allowed_but_everybody_has_a_clip() -> None:
    lengths = [("anna", 9.0), ("bert", 2.0), ("anna", 1.0), ("bert", 2.0), ("bert", 2.0), ("bert", 1.0)]
    rows = [{"file": str(i), "identity": who, "seconds": str(s)} for i, (who, s) in enumerate(lengths)]
    assert [row["file"] for row in capped(rows, 5.0)] == ["0", "1", "3", "4"]
