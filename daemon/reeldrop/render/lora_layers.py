"""Layers that add LoRAs to their output: W x + scale * B A x (Hu et al., arXiv 2106.09685).

The class of a layer is replaced; its weights stay the same, under the same names. It reads from the
record of the current call which LoRAs are in use; with none, it computes the same as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from reeldrop.speed.unet3d import Call


@dataclass(frozen=True, slots=True)
class LowRank:
    """The part of a LoRA for one layer.

    down: A, (rank, inputs), for a convolution with the dimensions of its kernel behind
    up: B, (outputs, rank)
    bias: added to the outputs; None for nothing
    scale: of the product and the bias
    """

    down: torch.Tensor
    up: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0


class LoraLinear(nn.Linear):
    """A linear layer with LoRAs."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _plus_loras(self, super().forward(input), lambda down: F.linear(input, down))


class LoraConv2d(nn.Conv2d):
    """A 2D convolution with LoRAs."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _plus_loras(self, super().forward(input), lambda down: _convolved(self, input, down))


class LoraConv3d(nn.Conv3d):
    """A 3D convolution with LoRAs."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _plus_loras(self, super().forward(input), lambda down: _convolved(self, input, down))


_FORMS = {nn.Linear: LoraLinear, nn.Conv2d: LoraConv2d, nn.Conv3d: LoraConv3d}


def _convolved(layer: Any, input: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = layer._conv_forward(input, down, None)
    return product.movedim(1, -1)


def _plus_loras(
    layer: Any, output: torch.Tensor, reduced: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return a layer's output plus what the LoRAs in use add.

    `reduced` returns the product with A, (..., rank).
    """
    for name, weight in layer.call.loras:
        if name in layer.loras:
            down, up, bias, scale = layer.loras[name]
            added = F.linear(
                reduced(getattr(layer, down)), getattr(layer, up), getattr(layer, bias)
            )
            if not isinstance(layer, nn.Linear):
                added = added.movedim(-1, 1)
            output = output + added * (weight * scale)
    return output


def fault(layer: Any, what: LowRank) -> str:
    """Return why a LoRA can't be used with a layer; empty if it can."""
    if type(layer) not in (*_FORMS, *_FORMS.values()):
        return f"is a {type(layer).__name__}, which takes no LoRA"
    if getattr(layer, "groups", 1) != 1:
        return "is a convolution in groups, which takes no LoRA"
    if what.down.shape[0] != what.up.shape[1]:
        return f"has the rank {what.down.shape[0]} on one side and {what.up.shape[1]} on the other"
    wanted, given = layer.weight.shape, (what.up.shape[0], *what.down.shape[1:])
    if wanted != given:
        return f"has weights of {_in_words(wanted)}, but the LoRA is for {_in_words(given)}"
    if what.bias is not None and layer.bias is None:
        return "has no bias, but the LoRA has one"
    if what.bias is not None and what.bias.shape != wanted[:1]:
        return f"has {wanted[0]} outputs, but the LoRA has biases for {what.bias.numel()}"
    return ""


def _in_words(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def attach(layer: Any, name: str, what: LowRank, call: Call) -> None:
    """Let a layer add a LoRA whenever the record of the call names it."""
    layer.__class__ = _FORMS.get(type(layer), type(layer))
    layer.call = call
    others: dict[str, object] = getattr(layer, "loras", {})
    names = [f"lora_{part}_{len(others)}" for part in ("down", "up", "bias")]
    for own, tensor in zip(names, (what.down, what.up, what.bias), strict=True):
        given = None if tensor is None else tensor.to(layer.weight.dtype).contiguous()
        kept = None if given is None else nn.Parameter(given, requires_grad=False)
        layer.register_parameter(own, kept)
    layer.loras = {**others, name: (*names, what.scale)}


def merge(layer: Any, what: LowRank, weight: float) -> None:
    """Add a LoRA to the weights of a layer permanently."""
    product = what.up.float() @ what.down.flatten(1).float() * (weight * what.scale)
    layer.weight.data.copy_(layer.weight.data.float() + product.view_as(layer.weight))
    if what.bias is not None:
        layer.bias.data.copy_(layer.bias.data.float() + what.bias.float() * (weight * what.scale))
