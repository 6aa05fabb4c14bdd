"""Imports only go down, and the front door opens at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mggdub"
VALUES = {"types", "errors", "config", "weights", "compiled"}
ROOMS = {"geometry", "media", "perception", "models", "render"}
# What each part may import besides itself. Only `reconstruct` and `pipeline` bring the rooms together.
ALLOWED = {
    "errors": set(),
    "types": set(),
    "config": {"errors"},
    "weights": {"errors"},
    "compiled": set(),
    "signals": {"errors"},
    "streams": {"errors"},
    "geometry": VALUES,
    "media": VALUES,
    "perception": VALUES | {"geometry"},
    "models": VALUES | {"geometry"},
    "render": VALUES | {"geometry"},
    "metrics": VALUES | ROOMS,
    "drive": VALUES | ROOMS,
    "avatar_bounds": VALUES | {"models"},
    "avatar": VALUES | {"avatar_bounds", "media", "models"},
    "checks": VALUES | ROOMS | {"metrics"},
    "appearance": VALUES | ROOMS | {"metrics"},
    "inspection": VALUES | ROOMS | {"appearance", "metrics"},
    "reconstruct": VALUES | ROOMS | {"appearance", "drive"},
    "pipeline": VALUES | ROOMS | {"avatar", "checks", "drive", "reconstruct"},
    "evaluate": VALUES | ROOMS | {"drive", "metrics", "pipeline"},
    "bench": VALUES | ROOMS | {"pipeline"},
    "batch": VALUES | {"avatar", "media", "perception", "pipeline"},
    "doctor": VALUES | {"media", "render"},
    "cli": VALUES
    | {"signals", "streams", "avatar", "batch", "media", "metrics", "checks", "inspection", "pipeline", "doctor"},
    "__main__": {"cli"},
    "train": VALUES | ROOMS | {"drive", "metrics", "pipeline", "reconstruct"},
}
# Third-party packages that one place knows (training may use a command line and a bar of its own).
KEEPERS = {
    "av": "media/demux.py",
    "ffmpeg": "media",
    "imageio_ffmpeg": "media/process.py",
    "ai_edge_litert": "perception/face.py",
    "click": "cli.py",
    "tqdm": "cli.py",
    "gsplat": "render",
    "distributed": "batch/cluster.py",
    "filelock": "batch/locks.py",
    "c2pa": "media/provenance.py",
    "cryptography": "media/provenance.py",
    "dlib": "metrics/perceptual.py",
}
FILES = sorted(PACKAGE.rglob("*.py"))


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


@pytest.mark.parametrize("name", KEEPERS)
def test_a_third_party_package_has_one_keeper(name: str) -> None:
    users = {str(p.relative_to(PACKAGE)) for p in FILES if name in {i.split(".")[0] for i in imported(p)}}
    strangers = {user for user in users if not user.startswith((KEEPERS[name], "train/"))}
    assert not strangers


def test_the_front_door_is_light() -> None:
    program = "import sys, mggdub.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numba", "numpy", "scipy", "librosa", "PIL", "ffmpeg", "av", "tqdm"} & set(loaded)
