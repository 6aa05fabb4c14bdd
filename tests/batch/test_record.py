"""A record is believed only as far as it fits, and shows nothing but texts, numbers and pictures."""

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mggdub.batch.page import write_page
from mggdub.batch.record import Record, read_record, write_record


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 12), (200, 120, 90)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


CHECKS = {"ends": {"ok": True, "value": 0.01, "limit": 0.04, "what": "They end together."}}
GOOD: dict[str, Any] = {
    "key": "a" * 64, "run": "b" * 32, "sha256": "c" * 64, "bytes": 1234, "seconds": 1.5, "strip": [picture()],
    "report": {"seconds": 2.0, "frames": 50, "size": [96, 128], "silent": False, "missing": [], "checks": CHECKS},
}  # fmt: skip
EVIL = '"><img src=x onerror=alert(1)>'
WRONG: list[dict[str, Any]] = [
    {"key": None}, {"key": "A" * 64}, {"sha256": "c" * 63}, {"run": 3}, {"bytes": -1}, {"bytes": True}, {"bytes": 1.5},
    {"seconds": float("nan")}, {"seconds": "1"}, {"strip": EVIL}, {"strip": [EVIL]}, {"strip": [picture() + '"']},
    {"strip": [picture()] * 99}, {"strip": [base64.b64encode(b"<svg onload=alert(1)>").decode()]}, {"strip": [7]},
    {"report": []}, {"report": {"seconds": EVIL}}, {"report": {"seconds": float("inf")}}, {"report": {"checks": EVIL}},
    {"report": {"checks": {"a": EVIL}}}, {"report": {"checks": {"a": {"ok": True, "value": EVIL}}}},
    {"report": {"checks": {"a": {"ok": 1}}}}, {"report": {"x": "y" * 5000}}, {"report": {"x": list(range(5000))}},
    {"report": {"x": 10**300}}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: json.dumps(wrong)[:40])
def test_what_does_not_fit_is_not_believed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD | wrong))
    assert read_record(path) is None
    path.write_text(json.dumps(GOOD))
    assert read_record(path) == Record(**GOOD)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"[" * 100_000, b'{"bytes": ' + b"9" * 5000 + b"}", b"\xff\xfe", b" " * (3 << 20)]
)
def test_what_is_no_record_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    assert read_record(tmp_path / "a.json") is None
    write_record(tmp_path / "a.json", Record(**GOOD))
    assert read_record(tmp_path / "a.json") == Record(**GOOD)
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert read_record(tmp_path / "b.json") is None


def test_a_page_of_anything_holds_no_foreign_tag(tmp_path: Path) -> None:
    """Every value of a result in turn becomes something that breaks out of its place."""
    good = GOOD | {"row": 2, "output": "a.mp4", "photo": "/a.png", "speech": "/a.wav", "state": "done", "error": ""}
    places = [*good, *(("report", name) for name in GOOD["report"]), *(("check", name) for name in CHECKS["ends"])]
    plain = write_page(tmp_path, [good], 1.0).read_text()
    draw = random.Random(0)
    for place in places:
        for value in (EVIL, [EVIL], {EVIL: EVIL}, f"javascript:{EVIL}", None, float("nan"), draw.random(), 10**400):
            result = json.loads(json.dumps(good))
            if isinstance(place, tuple) and place[0] == "report":
                result["report"][place[1]] = value
            elif isinstance(place, tuple):
                result["report"]["checks"]["ends"][place[1]] = value
            else:
                result[place] = value
            page = write_page(tmp_path, [result], 1.0).read_text()
            assert "<img src=x" not in page and page.count("<script>") == 1
            assert page.count("<img") <= plain.count("<img") and page.count("<a ") <= plain.count("<a ")
            assert 'href="javascript' not in page and page.count("<td") == plain.count("<td")
