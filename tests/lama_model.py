"""What tests of LaMa share: a small model of its interface, and a package that stands in for the true one."""

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image


class Stripes(torch.nn.Module):
    """Red and blue stripes, one pixel wide, where there is something to paint."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        odd = (torch.arange(image.shape[3]) % 2).to(image.dtype)
        paint = torch.stack([odd, torch.zeros_like(odd), 1 - odd])[None, :, None, :].expand(image.shape)
        return image * (1 - mask) + paint * mask


class Nothing(torch.nn.Module):
    """A model of another kind: one picture in, a number out."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean()


class StandIn:
    """simple-lama-inpainting 0.1.2, as far as it is used: what it reads, pads and returns."""

    seen: list[tuple[np.ndarray, np.ndarray]] = []  # noqa: RUF012  what it was given

    def __init__(self, device: torch.device) -> None:
        self.model = torch.jit.load(os.environ["LAMA_MODEL"], map_location=device)

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> Image.Image:
        self.seen.append((image, mask))
        edges = [(0, -side % 8) for side in mask.shape]
        picture = np.pad(image, (*edges, (0, 0)), "symmetric").transpose(2, 0, 1).astype(np.float32) / 255
        hole = (np.pad(mask, edges, "symmetric")[None] > 0) * 1
        with torch.inference_mode():
            painted = self.model(torch.from_numpy(picture)[None], torch.from_numpy(hole)[None])
        return Image.fromarray(np.clip(painted[0].permute(1, 2, 0).numpy() * 255, 0, 255).astype(np.uint8))


def install(kind: str, patch: pytest.MonkeyPatch) -> None:
    """Make the package importable: the stand-in, the true one (or skip), or none."""
    StandIn.seen.clear()
    if kind == "true":
        pytest.importorskip("simple_lama_inpainting", exc_type=ImportError)
        return
    module = ModuleType("simple_lama_inpainting")
    module.SimpleLama = StandIn  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "simple_lama_inpainting", module if kind == "stand-in" else None)  # type: ignore[arg-type]


def write_model(path: Path, model: torch.nn.Module | None = None) -> Path:
    """A TorchScript file."""
    torch.jit.script(model or Stripes()).save(str(path))
    return path
