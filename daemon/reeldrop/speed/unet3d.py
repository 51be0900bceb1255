"""Faster attention and guidance for diffusers' UNet3DConditionModel, equal up to rounding.

Does not know which of these optimizations are wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import nn

from reeldrop.base.loras import Loras

MOST_HEADS = 2**16 - 1
"""Upper bound on the heads of CUDA's attention kernels; large frames have more pixels than that."""


@dataclass(slots=True)
class Call:
    """A record of the denoiser's current call, which its parts read.

    is_guided: whether the second half of the batch repeats the first with another text
    loras: those in use
    """

    num_frames: int = 1
    is_guided: bool = False
    loras: Loras = ()


def _follow_calls(unet: Any, call: Call) -> None:
    """Record the number of frames at each call of the UNet."""

    def note(_unet: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        sample = arguments[0] if arguments else named["sample"]  # (batch, channels, frames, h, w)
        call.num_frames = sample.shape[2]

    unet.register_forward_pre_hook(note, with_kwargs=True)


class TextOnce:
    """Cross-attention to the text for all frames of a sample at once.

    The UNet repeats the text for each frame; here keys and values are computed from one copy only.
    To keep them from step to step would save only a sixteenth of what this saves.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        **_nothing: None,
    ) -> torch.Tensor:
        frames = self._call.num_frames
        (query,) = _projected(attn, hidden_states, "q")
        query = query.unflatten(0, (-1, frames)).flatten(1, 2)
        text = encoder_hidden_states[::frames]  # (batch, tokens, channels)
        return _output(attn, hidden_states, _attend(query, *_projected(attn, text, "kv")))


class SelfAttention:
    """Self-attention along the second dimension of (batch, tokens, ..., channels), without copies.

    The dimensions between are independent of each other, like heads.
    """

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, **_nothing: None
    ) -> torch.Tensor:
        parts = (part.flatten(2, -2) for part in _projected(attn, hidden_states, "qkv"))
        return _output(attn, hidden_states, _attend(*parts))


def _projected(attn: Any, states: torch.Tensor, letters: str) -> tuple[torch.Tensor, ...]:
    """Return projections of states, each (..., heads, channels of a head).

    letters: which ones, of q, k and v; if their weights were joined, one product computes them
    """
    if (joined := getattr(attn, f"to_{letters}", None)) is not None:
        together: torch.Tensor = joined(states).unflatten(-1, (attn.heads, len(letters), -1))
        return together.unbind(-2)
    parts = (getattr(attn, f"to_{letter}")(states) for letter in letters)
    return tuple(part.unflatten(-1, (attn.heads, -1)) for part in parts)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the attention's output; all tensors are (batch, tokens, heads, channels of a head)."""
    if query.shape[2] > MOST_HEADS:
        halves = zip(*(states.chunk(2, dim=2) for states in (query, key, value)), strict=True)
        return torch.cat([_attend(*half) for half in halves], dim=2)
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _output(attn: Any, states: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    projection, _dropout = attn.to_out
    output: torch.Tensor = projection(attended.reshape(*states.shape[:-1], -1))
    return output


def use_fast_attention(unet: Any, call: Call) -> None:
    """Compute keys and values of the text once for each sample, and join projections.

    Those of the same states become one, except those with LoRAs and quantized ones.
    """
    found: list[Any] = [module for module in unet.modules() if isinstance(module, Attention)]
    for attn in found:
        attn.set_processor(TextOnce(call) if attn.is_cross_attention else SelfAttention())
        letters = "kv" if attn.is_cross_attention else "qkv"
        if all(_is_simple(getattr(attn, f"to_{letter}")) for letter in letters):
            _join(attn, letters)
    _follow_calls(unet, call)


def _is_simple(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and type(layer.weight.data) is torch.Tensor


def _join(attn: Any, letters: str) -> None:
    """Replace projections by one, whose output is (..., heads, projections, channels of a head).

    In that order each projection is a view in which heads and earlier dimensions can be merged.
    """
    names = [f"to_{letter}" for letter in letters]
    parts = [getattr(attn, name) for name in names]
    inputs, outputs = parts[0].in_features, sum(part.out_features for part in parts)
    joined = nn.Linear(inputs, outputs, parts[0].bias is not None, device="meta")
    joined.weight = _joined(attn, [part.weight for part in parts])
    if joined.bias is not None:
        joined.bias = _joined(attn, [part.bias for part in parts])
    setattr(attn, f"to_{letters}", joined.eval())
    for name in names:
        delattr(attn, name)


def _joined(attn: Any, parts: list[torch.Tensor]) -> nn.Parameter:
    by_head = torch.stack([part.data.unflatten(0, (attn.heads, -1)) for part in parts], dim=1)
    return nn.Parameter(by_head.flatten(0, 2), requires_grad=False)


def use_guidance_once(unet: Any, call: Call) -> None:
    """Compute the layers before the text for half of a guided batch: the halves are equal there."""
    for module in list(_before_the_text(unet)):
        module.forward = functools.partial(_for_one_half, module.forward, call)


def _before_the_text(unet: Any) -> Iterator[nn.Module]:
    yield unet.conv_in
    yield unet.transformer_in
    for block in unet.down_blocks:
        if getattr(block, "has_cross_attention", False):
            yield block.resnets[0]
            yield block.temp_convs[0]
            return
        yield from (*block.resnets, *block.temp_convs, *(block.downsamplers or ()))


def _for_one_half(forward: Callable[..., Any], call: Call, *arguments: Any, **named: Any) -> Any:
    if not call.is_guided:
        return forward(*arguments, **named)
    halves = {key: _half(value) for key, value in named.items()}
    output = forward(*map(_half, arguments), **halves)
    if isinstance(output, tuple):
        return tuple(torch.cat([part, part]) for part in output)
    return torch.cat([output, output])


def _half(argument: Any) -> Any:
    return argument[: len(argument) // 2] if isinstance(argument, torch.Tensor) else argument
