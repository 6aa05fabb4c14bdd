"""The table of what each part is worth."""

import json
from pathlib import Path

import pytest

from mggdub.train import ablation


def some(psnr: float, apart: float = 0.0) -> list[dict[str, object]]:
    """Three clips, an avatar and two moments each; in turn better and worse by `apart`."""
    found = []
    for index, sign in enumerate((1, -1, 1)):
        values = [psnr + sign * apart + index, psnr + sign * apart + index + 2]
        figures = {"photo": [10.0, 10.0], "plain": [20.0, 20.0], "learned": values}
        found.append({"clip": f"c{index}", "avatar": 0, **figures, **{f"{n}_lpips": [0.1, 0.1] for n in figures}})
    return found


def test_differences_are_those_of_clips_and_say_what_is_a_tie() -> None:
    found = {"full": some(20), "refine": some(19), "sym": some(20, 0.5)}
    lines = {line.split("|")[1].strip(): line for line in ablation.table(found).splitlines()[2:]}
    assert list(lines)[:3] == ["the photo", "nothing learned", "all of it"] and len(lines) == 5
    assert "| 22.000 | 0.1000 |  |  |" in lines["all of it"]
    assert "| 21.000 | 0.1000 | -1.000 (-1.000 to -1.000) |" in lines[ablation.ROWS["refine"].title]
    assert lines[ablation.ROWS["sym"].title].count("tie") == 2


def test_what_was_measured_after_other_steps_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    assert ablation.measured(path, 10) is None
    path.write_text(json.dumps({"steps": 10, "each": some(20)}))
    assert ablation.measured(path, 10) == some(20) and ablation.measured(path, 20) is None


def test_rows_differ_in_what_they_leave_out_and_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}

    def run(commands: dict[str, list[str]], out: Path, _: int) -> None:
        seen.update(commands)
        for name in commands.keys() & ablation.ROWS.keys():
            (out / name).mkdir()
            (out / name / "judged.json").write_text(json.dumps({"steps": 10, "each": some(20)}))

    monkeypatch.setattr(ablation, "run", run)
    monkeypatch.setattr("sys.argv", ["ablation", "clips", "tracks", str(tmp_path), "--steps", "10", "--people", "6"])
    ablation.main()
    rows = {name: seen.pop(name) for name in ablation.ROWS}
    assert "voxel" in seen["train_voxel"] and "voxel" in seen["val_voxel"] and "voxel" not in seen["train_full"]
    assert rows["voxel"][1].endswith("train_voxel") and rows["voxel"][-1].endswith("val_voxel")
    assert rows["sym"] == [*rows["full"][:2], str(tmp_path / "sym"), *rows["full"][3:], "--without", "sym"]
    assert all(row.title in (tmp_path / "report.md").read_text() for row in ablation.ROWS.values())
    seen.clear()
    ablation.main()
    assert not seen.keys() & ablation.ROWS.keys()


def test_what_fails_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"sums failed; .*sums\.log says why"):
        ablation.run({"sums": ["no_such_module"]}, tmp_path, 1)
    assert "no_such_module" in (tmp_path / "sums.log").read_text()
