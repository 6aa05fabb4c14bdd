"""Cases from the field: `python tests/field.py FOLDER` runs commands on a folder's inputs and prints what came of them.

FOLDER holds a README.md with a table, whose first column has commands that begin with `M` (mggdub) and whose last
says what is right. They run one after the other in a copy of FOLDER/inputs; every row is printed with its exit code,
its seconds and its last sentence. Nothing is judged: read the table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = re.compile(r"(?<!\\)\|")


def commands(readme: Path) -> list[tuple[str, str]]:
    """(command, what is right) of every row of the table that begins with M."""
    rows = [COLUMNS.split(line) for line in readme.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [
        (command.replace("\\|", "|"), row[-2].strip()) for row in rows for command in re.findall(r"`(M [^`]+)`", row[1])
    ]


def run(command: str, folder: Path) -> tuple[int, float, str]:
    """Exit code, seconds and the last line of stderr, or of stdout where there is none."""
    shell = f"M() {{ '{sys.executable}' -m mggdub \"$@\"; }}; rm -f o.mp4; {command}"
    start = time.perf_counter()
    done = subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, check=False)
    said = [part.decode("utf-8", "replace").strip().splitlines() for part in (done.stderr, done.stdout)]
    lines = [line for line in said[0] if "synthetic" not in line and "..." not in line] or said[1] or [""]
    return done.returncode, time.perf_counter() - start, lines[-1]


def main() -> None:
    """Print the table."""
    source = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "inputs"
        shutil.copytree(source / "inputs", folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for command, right in commands(source / "README.md"):
            code, seconds, said = run(command, folder)
            print(f"{command}\n    exit {code}, {seconds:.1f} s: {said}\n    right: {right}")


if __name__ == "__main__":
    main()
