"""The batch on one page of HTML that needs nothing else: `report.html.j2`, in which everything is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from mggdub.batch.record import is_picture
from mggdub.batch.text import shown
from mggdub.errors import plain
from mggdub.media.files import appearing_whole

FILTERS = {"all": "All", "done": "Done", "failed": "Failed", "checks": "Failed checks"}


def write_page(folder: Path, results: list[dict[str, Any]], seconds: float) -> Path:
    """Write `report.html` into the folder of a batch. Raises OutputError."""
    path = folder / "report.html"
    pages = Environment(loader=PackageLoader("mggdub", "batch"), autoescape=True, trim_blocks=True)
    page = pages.get_template("report.html.j2").render(
        title=_text(folder.name),
        rows=[_row(result) for result in results],
        done=sum(result["state"] in ("done", "skipped") for result in results),
        failed=sum(result["state"] == "failed" for result in results),
        seconds=f"{seconds:.0f}",
        filters=FILTERS,
    )
    with appearing_whole(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")
    return path


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a result, whatever a forged record holds."""
    report = _dict(result.get("report"))
    state = str(result.get("state")) if result.get("state") in ("failed", "left") else "done"  # skipped: done before
    checks = {name: check for name, check in _dict(report.get("checks")).items() if isinstance(check, dict)}
    output = str(result.get("output") or "?")
    strip, advice = result.get("strip"), report.get("advice")
    length = _number(report.get("seconds"))
    return {
        "number": f"{_number(result.get('row')):.0f}",
        "kind": state + (" checks" if any(not check.get("ok") for check in checks.values()) else ""),
        "name": _text(output),
        "link": f"./{quote(output.encode('utf-8', 'surrogateescape'))}" if state == "done" else None,
        "files": [_text(Path(str(result[key])).name) for key in ("photo", "speech") if key in result],
        "pictures": [image for image in strip if is_picture(image)] if isinstance(strip, list) else [],
        "length": _seconds(length, 2),
        "work": _seconds(_number(result.get("seconds")) / length if length else 0, 1),
        "state": state,
        "error": _text(result.get("error", "")),
        "advice": _text(" ".join(map(str, advice))) if isinstance(advice, list) else "",
        "checks": [_check(name, check) for name, check in checks.items()],
    }


def _check(name: str, check: dict[str, Any]) -> dict[str, str]:
    """A self-check of a render: what was measured, against what, and what it means."""
    value, limit = check.get("value"), check.get("limit")
    numbers = "" if value is None else f" {plain(_number(value))}"
    numbers += "" if value is None or limit is None else f" (limit {plain(_number(limit))})"
    return {
        "mark": "ok" if check.get("ok") else "bad",
        "text": f"{_text(name)}{numbers}: {_text(check.get('what', ''))}",
    }


def _text(value: Any) -> str:
    """Whatever it is, it is shown and does nothing."""
    return shown(str(value))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e12 else 0.0


def _seconds(value: float, digits: int) -> str:
    return f"{value:.{digits}f} s" if value else ""
