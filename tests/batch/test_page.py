"""One page, safe to open, that shows what is known and filters it."""

import base64
import io
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mggdub.batch.page import write_page

EVIL = "<script>alert('x')</script>\"&.mp4"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 96), (200, 120, 90)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


RESULTS: list[dict[str, Any]] = [
    {
        "row": 2, "output": "a b.mp4", "photo": "/p/a.png", "speech": "/s/a.wav", "state": "done", "seconds": 6.0,
        "strip": [picture()] * 4,
        "report": {"seconds": 1.5, "frames": 38, "advice": ["The <face> is dark."], "checks": {
            "lips": {"ok": False, "value": 0.123456, "limit": 0.5, "what": "Lips <follow> the sound."},
            "ends": {"ok": True, "value": None, "limit": None, "what": "Sound ends with the picture."}}},
    },
    {"row": 3, "output": EVIL, "photo": f"/p/{EVIL}", "speech": "b", "state": "skipped", "seconds": 1.0,
     "strip": [], "report": {"seconds": 0.5}},
    {"row": 4, "output": "", "state": "failed", "error": f"{EVIL} does not exist.", "exit_code": 2},
    {"row": 5, "output": "late.mp4", "state": "left"},
]  # fmt: skip


class Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [given for name, given in self.tags if name == tag]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_page(tmp_path, RESULTS, 12.0)


def test_the_page_holds_every_row_and_nothing_foreign(page: Path) -> None:
    seen = Reader(page.read_text(encoding="utf-8"))
    rows = [given for given in seen.of("tr") if "data-kind" in given]
    assert [row["data-kind"] for row in rows] == ["done checks", "done", "failed", "left"]
    assert len(seen.of("script")) == 1 and len(seen.of("button")) == 4 and len(seen.of("input")) == 1
    assert next(link["href"] for link in seen.of("a")) == "./a%20b.mp4"
    assert not any("<" in link["href"] or ":" in link["href"] for link in seen.of("a"))
    assert len(seen.of("img")) == 4 and all(i["src"].startswith("data:image/jpeg;base64,") for i in seen.of("img"))
    assert not seen.of("link") and not any("src" in given for given in seen.of("script"))
    texts = " ".join(seen.texts)
    assert EVIL in texts and "4.0 s" in texts and "1.50 s" in texts and "lips 0.1235 (limit 0.5)" in texts
    assert (
        "The <face> is dark." in texts and "Lips <follow> the sound." in texts and "4 rows, 2 done, 1 failed" in texts
    )
    assert "http" not in page.read_text().replace("http-equiv", "")


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_the_buttons_filter_in_a_browser(page: Path, tmp_path: Path) -> None:
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path}/profile --dump-dom"
    click = "<script>document.querySelector('button[value={}]').click()</script></body>"
    for value, shown in (("all", 4), ("failed", 1), ("checks", 1), ("done", 2)):
        page.write_text(page.read_text().split("<script>document")[0].replace("</body></html>", ""))
        page.write_text(page.read_text() + click.format(value) + "</html>")
        argv = [str(CHROMIUM), *flags.split(), page.as_uri()]
        dom = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
        rows = [given for given in Reader(dom).of("tr") if "data-kind" in given]
        assert len(rows) == 4 and sum("hidden" not in row for row in rows) == shown
