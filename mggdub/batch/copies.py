"""What is hashed is what is read: a row is rendered from copies that nobody can change, of the bytes it was made for.

Whoever replaces a photo while its batch runs gets a sentence, not another face under the old one's digest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mggdub.avatar.file import SUFFIX
from mggdub.batch.locks import lock
from mggdub.batch.manifest import Row
from mggdub.errors import InputError, MggdubError
from mggdub.media.files import check_input
from mggdub.media.private import copy_hashed, private_place, read_private, write_private

LARGEST_NOTE = 4096  # bytes of what is noted of a cached head


@dataclass(frozen=True)
class Copies:
    """Copies of a row's inputs, and whose they are."""

    photo: Path
    speech: Path | None
    drive: Path | None
    originals: dict[str, str]  # paths by those of the copies

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of the block name the originals."""
        try:
            yield
        except MggdubError as error:
            raise type(error)(self.renamed(str(error))) from error

    def renamed(self, value: Any) -> Any:
        """A value of JSON with the originals' paths in it."""
        if isinstance(value, dict):
            return {key: self.renamed(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.renamed(part) for part in value]
        if isinstance(value, str):
            for copy, original in self.originals.items():
                value = value.replace(copy, original)
        return value


def copy_inputs(row: Row, digests: tuple[str | None, ...], place: Path) -> Copies:
    """Copies of a row's inputs in a private folder. Raises InputError if one has other bytes than `digests` say."""
    sources = {"photo": row.photo, "speech": row.speech, "drive": row.options.drive}
    copies: dict[str, Path | None] = {}
    originals: dict[str, str] = {}
    for (name, source), digest in zip(sources.items(), digests, strict=True):
        if source is None:
            copies[name] = None
            continue
        copies[name] = copy = place / name / source.name
        copy.parent.mkdir(mode=0o700)
        originals[str(copy)] = str(source)
        if copy_hashed(check_input(source), copy) != digest:
            raise InputError(f"{source} was changed while its batch ran; run the batch again.")
    photo = copies["photo"]
    assert photo is not None
    return Copies(photo, copies["speech"], copies["drive"], originals)


def cached_head(folder: Path, head: str, place: Path, build: Callable[[Path], None]) -> Path:
    """A copy in `place` of the avatar file that is known as `head`; `build` writes it if nobody has yet.

    The folder may be shared: only what is ours, and is what was noted when it was built, is taken.
    """
    cached, copy = folder / f"{head}{SUFFIX}", place / f"head{SUFFIX}"
    with lock(cached.with_suffix(".lock")):
        if _copied(cached, head, copy):
            return copy
        for left in folder.glob(f".{head[:20]}.*"):  # of a killed process: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        with private_place(folder, f".{head[:20]}.") as scratch:
            built = scratch / f"head{SUFFIX}"
            build(built)
            built.chmod(0o600)
            note = {"head": head, "sha256": copy_hashed(built, copy)}
            write_private(cached.with_suffix(".json"), json.dumps(note).encode())
            built.replace(cached)
    return copy


def _copied(cached: Path, head: str, copy: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError, InputError):
        note = json.loads(read_private(cached.with_suffix(".json"), LARGEST_NOTE))
        if note == {"head": head, "sha256": copy_hashed(cached, copy, ours=True)}:
            return True
    copy.unlink(missing_ok=True)
    return False
