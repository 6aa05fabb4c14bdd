"""The pages keep their promises: links lead somewhere, and the README's Python runs."""

import re
from pathlib import Path

import pytest
import soundfile
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])


def prose(page: Path) -> str:
    """Without code."""
    return re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_there_are_links_to_follow() -> None:
    assert len(re.findall(r"\]\(", prose(ROOT / "README.md"))) > 8
    assert "signing" in anchors(ROOT / "docs" / "command-line.md")


def test_the_map_names_every_file_and_no_others() -> None:
    named = set(re.findall(r"[\w/.]+", " ".join(re.findall(r"`([^`]*)`", (ROOT / "docs/architecture.md").read_text()))))
    files = [path.relative_to(ROOT / "mggdub") for path in (ROOT / "mggdub").rglob("[a-z]*.py")]
    missing = [str(path) for path in files if path.parts[0] != "train" and not {path.stem, path.name} & named]
    assert not missing
    gone = [name for name in named if name.endswith(".py") and name.count("/") < 2 and Path(name) not in files]
    assert {name for name in gone if name not in ("tests/test_imports.py", "train/X.py")} == set()


@pytest.mark.usefixtures("built_once")
def test_the_readmes_python_runs(
    head_png: Path,
    speech_wav: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/python.md")]
    blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
    assert len(blocks) == 5
    samples, rate = soundfile.read(speech_wav)
    for name, start in (("speech.wav", 0), ("another.wav", rate)):
        soundfile.write(tmp_path / name, samples[start : start + rate // 4], rate)
    with Image.open(head_png) as head:
        head.convert("RGB").resize((192, 192)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    shared: dict[str, object] = {}
    for block in blocks:
        exec(block, shared)
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("out.mp4", "other.mp4", "head.mgg"))
    assert capsys.readouterr().out.count("(192, 192, 3)") == 12
