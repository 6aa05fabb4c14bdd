"""A network as a processor computes it fastest, for inputs of one shape.

torch arranges the weights of a convolution anew in every call, which takes a third of the time of a small one. Here
they are arranged once, by oneDNN. Where there are matrix units for half-precision numbers (AMX), these multiply and
sum up in float32; what lies between convolutions has half precision, too, so it is never converted.
"""

from __future__ import annotations

from copy import deepcopy
from platform import machine
from typing import Any

import torch
from torch import Tensor, nn

CLOSE = 0.05  # of the largest output, that another arrangement may change; matrix units change less than 0.01


class _PackedConv(nn.Module):
    """A convolution of inputs of one shape; `weight` is what it had."""

    def __init__(self, conv: nn.Conv2d, shape: torch.Size, kind: torch.dtype) -> None:
        super().__init__()
        self.weight, self.kind = conv.weight, kind
        self.bias = None if conv.bias is None else conv.bias.to(kind)
        self.sizes = [list(size) for size in (conv.padding, conv.stride, conv.dilation)]
        pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.packed = pack(conv.weight.to(kind).to_mkldnn(), *self.sizes, conv.groups, list(shape))
        self.groups = conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution's, but of its own type."""
        ready = x.to(self.kind, memory_format=torch.channels_last)
        convolve: Any = torch.ops.mkldnn._convolution_pointwise
        output: Tensor = convolve(ready, self.packed, self.bias, *self.sizes, self.groups, "none", [], "")
        return output


@torch.inference_mode()
def packed(net: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network for inputs of the example's shape, float32; the network itself where there is no better way.

    The arrangement is no public part of torch, so what comes of the example is compared.
    """
    if machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return net
    try:
        faster, true = _packed(net, example), net(example)
        apart = (faster(example) - true).abs().max()
    except (AttributeError, RuntimeError, TypeError):
        return net
    return faster if apart <= CLOSE * true.abs().max() else net


def _packed(net: nn.Module, example: Tensor) -> nn.Module:
    faster, shapes = deepcopy(net), dict[str, torch.Size]()
    convs = {name: part for name, part in faster.named_modules() if isinstance(part, nn.Conv2d)}
    hooks = [
        conv.register_forward_pre_hook(lambda _, given, name=name: shapes.update({name: given[0].shape}))  # type: ignore[misc]
        for name, conv in convs.items()
    ]
    faster(example)
    for hook in hooks:
        hook.remove()
    for name, shape in shapes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(faster.get_submodule(parent), leaf, _PackedConv(convs[name], shape, _kind()))
    return faster


def _kind() -> torch.dtype:
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    return torch.bfloat16 if has_amx() else torch.float32
