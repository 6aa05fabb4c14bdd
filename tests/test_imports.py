"""Imports only go down, files and functions are short, and the front door opens at once."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mggdub"
VALUES = {"version", "types", "errors", "options", "progress", "reports", "weights", "compiled", "deferred", "srgb"}
BASE = VALUES | {"geometry", "media", "face", "networks"}
ACTS = {"avatar", "motion", "animation", "renderer", "models"}
# What each part may import besides itself: from the leaves up to the command line.
ALLOWED = {
    "errors": set(),
    "version": set(),
    "types": set(),
    "srgb": {"types"},
    "compiled": {"errors"},
    "deferred": set(),
    "progress": set(),
    "reports": set(),
    "options": {"errors"},
    "weights": {"errors"},
    "geometry": VALUES,
    "media": VALUES,
    "face": VALUES | {"geometry"},
    "networks": VALUES | {"geometry", "face"},
    "inpainting": VALUES | {"media"},
    "models": VALUES | {"geometry", "face", "networks"},
    "renderer": VALUES | {"geometry"},
    "motion": BASE | {"models"},
    "metrics": BASE | {"motion"},
    "avatar": BASE | {"inpainting", "models", "metrics", "renderer"},
    "animation": BASE | {"avatar", "metrics", "models", "motion", "renderer"},
    "checks": BASE | ACTS | {"metrics"},
    "inspection": BASE | ACTS | {"metrics"},
    "jobs": BASE | ACTS | {"checks", "inpainting"},
    "doctor": VALUES | {"inpainting", "media", "renderer"},
    "evaluation": BASE | ACTS | {"metrics"},
    "batch": VALUES | {"avatar", "checks", "face", "inpainting", "jobs", "media", "models"},
    "api": BASE | ACTS | {"evaluation", "inpainting", "inspection", "jobs"},
    "cli": VALUES | {"avatar", "batch", "checks", "doctor", "evaluation", "inspection", "jobs", "media"},
    "__main__": {"cli"},
    "train": BASE | ACTS | {"evaluation", "jobs", "metrics"},
}
# Third-party packages that one place knows (training may use a command line and a bar of its own).
KEEPERS = {
    "av": "media/demux.py",
    "ffmpeg": "media",
    "imageio_ffmpeg": "media/process.py",
    "ai_edge_litert": "face/detector.py",
    "click": "cli",
    "tqdm": "cli/console.py",
    "gsplat": "renderer/gsplat.py",
    "distributed": "batch/cluster.py",
    "jinja2": "batch/page.py",
    "filelock": "batch/locks.py",
    "c2pa": "media/provenance.py",
    "cryptography": "media/provenance.py",
    "dlib": "evaluation/perceptual.py",
    "librosa": "motion/prosody.py",
    "simple_lama_inpainting": "inpainting.py",
}
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines
LONG = {"renderer/kernels.py"}


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    parts = {name.split(".")[1] for name in imported(path) if name.startswith("mggdub.")}
    known = {p.stem for p in PACKAGE.iterdir()}
    assert (parts & known) - {part} <= ALLOWED[part]


def test_files_and_functions_are_short() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(PACKAGE))
        assert len(text.splitlines()) <= LONGEST_FILE or name in LONG, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{name}: {node.name}"


@pytest.mark.parametrize("name", KEEPERS)
def test_a_third_party_package_has_one_keeper(name: str) -> None:
    users = {str(p.relative_to(PACKAGE)) for p in FILES if name in {i.split(".")[0] for i in imported(p)}}
    strangers = {user for user in users if not user.startswith((KEEPERS[name], "train/"))}
    assert not strangers


def test_the_front_door_is_light() -> None:
    program = "import sys, mggdub.cli.main; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numba", "numpy", "scipy", "librosa", "PIL", "ffmpeg", "av", "tqdm"} & set(loaded)
