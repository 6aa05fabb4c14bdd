"""A packed network says what the network says."""

from platform import machine
from typing import Any

import pytest
import torch
from torch import nn

from mggdub.models import Models
from mggdub.networks import packed as module
from mggdub.networks.lower_face import INPUTS, SIZE
from mggdub.networks.packed import packed

INTEL = machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()


def inputs(seed: int) -> torch.Tensor:
    return torch.rand(1, INPUTS, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_packed_network_says_what_it_said(models: Models, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype) -> None:
    monkeypatch.setattr(module, "_kind", lambda: kind)
    net = models.lower_face
    faster = packed(net, inputs(0))
    assert (faster is not net) == INTEL
    assert any(isinstance(part, module._PackedConv) for part in faster.modules()) == INTEL
    assert not any(isinstance(part, module._PackedConv) for part in net.modules())
    true = net(inputs(1))
    apart = (faster(inputs(1)) - true).abs().max()
    assert apart < (1e-5 if kind == torch.float32 else 0.01) and true.abs().max() > 0.05
    assert torch.equal(faster(inputs(1)), faster(inputs(1)))


class _Odd(nn.Module):
    """Convolutions of all sorts, one of which is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.SiLU(), nn.Conv2d(8, 8, 5, 1, 4, 2, 4))
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.steps(x))


@torch.inference_mode()
def test_strides_groups_and_what_is_idle() -> None:
    torch.manual_seed(0)
    net, x = _Odd(), torch.rand(2, 3, 20, 31)
    assert (packed(net, x)(x) - net(x)).abs().max() < 0.01


def test_without_onednn_a_network_stays_as_it_is(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("not here")

    monkeypatch.setattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", refuse)
    assert packed(models.lower_face, inputs(0)) is models.lower_face
    monkeypatch.undo()
    right = module._PackedConv.forward
    monkeypatch.setattr(module._PackedConv, "forward", lambda conv, x: 1.1 * right(conv, x))
    assert packed(models.lower_face, inputs(0)) is models.lower_face
    monkeypatch.undo()
    monkeypatch.setattr(module, "machine", lambda: "arm64")
    assert packed(models.lower_face, inputs(0)) is models.lower_face
