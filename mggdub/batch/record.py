"""What is known of a video that is done. A record may come from a stranger: it is believed only as far as it fits."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mggdub.media.private import read_private, write_private

LARGEST = 2 << 20  # bytes of a record
LARGEST_PICTURE = 64 << 10  # characters of a thumbnail
MOST_PICTURES = 8
MOST_VALUES = 2000  # of a report
LONGEST_TEXT = 4000
LARGEST_NUMBER = 2**53
HEX = re.compile(r"[0-9a-f]{64}")
JPEG = b"\xff\xd8\xff"
CHECK = {"ok": (bool,), "value": (int, float, type(None)), "limit": (int, float, type(None)), "what": (str,)}


@dataclass(frozen=True)
class Record:
    """A video, what it follows from and what its render reported. Raises ValueError when made of anything else."""

    key: str  # of everything that it follows from
    run: str  # the batch that made it
    sha256: str  # of the video
    bytes: int  # of the video
    seconds: float  # of work
    report: dict[str, Any]
    strip: list[str]  # base64 JPEGs

    def __post_init__(self) -> None:
        _want(all(isinstance(text, str) and HEX.fullmatch(text) for text in (self.key, self.sha256)), "digests")
        _want(isinstance(self.run, str) and len(self.run) <= 64, "run")
        _want(type(self.bytes) is int and 0 <= self.bytes <= LARGEST_NUMBER, "bytes")
        _want(_is_number(self.seconds) and self.seconds >= 0, "seconds")
        _want(isinstance(self.strip, list) and len(self.strip) <= MOST_PICTURES, "strip")
        _want(all(is_picture(image) for image in self.strip), "strip")
        _want(isinstance(self.report, dict) and _count(self.report, 0) <= MOST_VALUES, "report")
        _want(_is_number(self.report.get("seconds", 0)), "report")
        checks = self.report.get("checks", {})
        _want(isinstance(checks, dict) and all(_is_check(check) for check in checks.values()), "checks")


def read_record(path: Path) -> Record | None:
    """The record at a path, if there is one that is to be believed."""
    try:
        return Record(**json.loads(read_private(path, LARGEST)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Write a record for our eyes only. Raises OutputError."""
    write_private(path, json.dumps(asdict(record)).encode())


def is_picture(text: Any) -> bool:
    """Whether a text is a small JPEG in base64."""
    if not isinstance(text, str) or len(text) > LARGEST_PICTURE:
        return False
    try:
        return base64.b64decode(text, validate=True).startswith(JPEG)
    except ValueError:
        return False


def _is_check(check: Any) -> bool:
    return (
        isinstance(check, dict)
        and "ok" in check
        and all(isinstance(check.get(name), kinds) for name, kinds in CHECK.items() if name in check)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER


def _count(value: Any, depth: int) -> int:
    """How many values a JSON holds. Raises ValueError if one is not what a report holds."""
    if isinstance(value, (dict, list)):
        _want(depth < 6, "report")
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return 1 + sum(_count(part, depth + 1) for part in parts)
    if isinstance(value, str):
        _want(len(value) <= LONGEST_TEXT, "report")
        return 1
    _want(value is None or isinstance(value, bool) or _is_number(value), "report")
    return 1


def _want(right: bool, name: str) -> None:
    if not right:
        raise ValueError(f"{name} of the record cannot be right")
