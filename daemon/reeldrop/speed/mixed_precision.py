"""Let convolutions and linear layers of a float32 model multiply in bfloat16.

bfloat16 has 8 significant bits, float32 has 24. Activations between layers, sums, normalisation and
attention stay in float32: with everything in bfloat16, the content of some videos changes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from reeldrop.speed.channels_last import TemporalConv2d

_PRODUCT = torch.bfloat16


class MixedLinear(nn.Linear):
    """A linear layer with weights in bfloat16."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input.to(_PRODUCT), self.weight, self.bias).float()


class MixedConv2d(nn.Conv2d):
    """A 2D convolution with weights in bfloat16."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(_PRODUCT)).float()


class MixedTemporalConv2d(TemporalConv2d):
    """A convolution over frames with weights in bfloat16."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(_PRODUCT)).float()


_FORMS = {nn.Linear: MixedLinear, nn.Conv2d: MixedConv2d, TemporalConv2d: MixedTemporalConv2d}


def is_native() -> bool:
    """Return whether this CPU has instructions for bfloat16; without them float32 is faster."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def use_mixed_precision(model: nn.Module) -> bool:
    """Let the inner layers of a float32 model use bfloat16; return whether there are any.

    The outermost layers, which read and write latents or pictures, are not changed.
    """
    layers = [
        module
        for name, module in model.named_modules()
        if "." in name  # not a child of the model itself
        and type(module) in _FORMS
        and all(weight.dtype == torch.float32 for weight in module.parameters())
    ]
    for layer in layers:
        layer.to(_PRODUCT)
        layer.__class__ = _FORMS[type(layer)]
    return bool(layers)
