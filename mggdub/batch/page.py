"""The batch on one page of HTML that needs nothing else."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mggdub.batch.record import is_picture
from mggdub.batch.text import shown
from mggdub.errors import plain
from mggdub.media.files import appearing_whole

FILTERS = {"all": "All", "done": "Done", "failed": "Failed", "checks": "Failed checks"}
# Nothing may be loaded or sent, whatever a name contains.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff }
h1 { font-size: 1.3rem; margin: 0 0 .3rem } p { margin: 0 0 1rem; color: #555 }
nav { display: flex; gap: .5rem; flex-wrap: wrap; margin-bottom: 1rem }
button, input { font: inherit; padding: .3rem .8rem; border: 1px solid #bbb; border-radius: .4rem; background: #f6f6f6 }
button[aria-pressed=true] { background: #234; color: #fff } input { flex: 1; min-width: 12rem; background: #fff }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .5rem .6rem; border-top: 1px solid #ddd }
td.number { text-align: right; white-space: nowrap } td img { height: 72px; margin-right: 2px; vertical-align: top }
td { overflow-wrap: anywhere } td.strip { white-space: nowrap }
small { color: #666; display: block } ul { margin: .2rem 0 0; padding-left: 1.1rem }
.done { color: #176b34 } .failed, .bad { color: #a31515 } .left { color: #777 }
"""
SCRIPT = """
const rows = [...document.querySelectorAll('tbody tr')], buttons = [...document.querySelectorAll('button')];
const text = document.querySelector('input'), count = document.querySelector('output');
let wanted = 'all';
function show() {
  const words = text.value.toLowerCase();
  for (const row of rows) row.hidden = !((wanted === 'all' || row.dataset.kind.split(' ').includes(wanted))
    && row.textContent.toLowerCase().includes(words));
  for (const button of buttons) button.setAttribute('aria-pressed', String(button.value === wanted));
  count.textContent = rows.filter(row => !row.hidden).length + ' of ' + rows.length + ' rows';
}
for (const button of buttons) button.onclick = () => { wanted = button.value; show(); };
text.oninput = show;
show();
"""


def write_page(folder: Path, results: list[dict[str, Any]], seconds: float) -> Path:
    """Write `report.html` into the folder of a batch. Raises OutputError."""
    path = folder / "report.html"
    done = sum(result["state"] in ("done", "skipped") for result in results)
    failed = sum(result["state"] == "failed" for result in results)
    buttons = "".join(f'<button value="{key}">{label}</button>' for key, label in FILTERS.items())
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Batch {_text(folder.name)}</title>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>{_text(folder.name)}</h1>
<p>{len(results)} rows, {done} done, {failed} failed; the last run took {seconds:.0f} s. The videos are synthetic;
say so where you show them.</p>
<nav>{buttons}<input type="search" placeholder="Filter by text" aria-label="Filter by text"><output></output></nav>
<table><thead><tr><th>Row</th><th>Video</th><th>Frames</th><th>Duration</th><th>Work per second</th><th>Result</th></tr>
</thead><tbody>
{"".join(map(_row, results))}</tbody></table><script>{SCRIPT}</script></body></html>
"""
    with appearing_whole(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")
    return path


def _row(result: dict[str, Any]) -> str:
    report = _dict(result.get("report"))
    state = str(result.get("state")) if result.get("state") in ("failed", "left") else "done"  # skipped: done before
    checks = {name: check for name, check in _dict(report.get("checks")).items() if isinstance(check, dict)}
    kind = state + (" checks" if any(not check.get("ok") for check in checks.values()) else "")
    output = str(result.get("output") or "?")
    name = _text(output)
    link = f'<a href="./{quote(output.encode("utf-8", "surrogateescape"))}">{name}</a>' if state == "done" else name
    files = "".join(f"<small>{_text(Path(str(result[k])).name)}</small>" for k in ("photo", "speech") if k in result)
    strip = result.get("strip")
    pictures = [image for image in strip if is_picture(image)] if isinstance(strip, list) else []
    shots = "".join(f'<img alt="" src="data:image/jpeg;base64,{image}">' for image in pictures)
    length = _number(report.get("seconds"))
    cells = [
        f'<td class="number">{_number(result.get("row")):.0f}</td><td>{link}{files}</td><td class="strip">{shots}</td>',
        f'<td class="number">{_seconds(length, 2)}</td>',
        f'<td class="number">{_seconds(_number(result.get("seconds")) / length if length else 0, 1)}</td>',
        f'<td><span class="{state}">{state}</span> {_text(result.get("error", ""))}{_advice(report)}'
        f"{_checks(checks)}</td>",
    ]
    return f'<tr data-kind="{kind}">{"".join(cells)}</tr>\n'


def _text(value: Any) -> str:
    """Whatever it is, it is shown and does nothing."""
    return escape(shown(str(value)))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e12 else 0.0


def _seconds(value: float, digits: int) -> str:
    return f"{value:.{digits}f} s" if value else ""


def _advice(report: dict[str, Any]) -> str:
    """What to expect of the photo, in one line."""
    advice = report.get("advice")
    return f"<small>{_text(' '.join(map(str, advice)))}</small>" if isinstance(advice, list) and advice else ""


def _checks(checks: dict[str, Any]) -> str:
    """The self-checks of a render: what was measured, against what, and what it means."""
    if not checks:
        return ""
    items = []
    for name, check in checks.items():
        value, limit = check.get("value"), check.get("limit")
        numbers = "" if value is None else f" {plain(_number(value))}"
        numbers += "" if value is None or limit is None else f" (limit {plain(_number(limit))})"
        mark = "ok" if check.get("ok") else "bad"
        items.append(f'<li class="{mark}">{_text(name)}{numbers}: {_text(check.get("what", ""))}</li>')
    return f"<ul>{''.join(items)}</ul>"
