"""Faster forms of the parts of diffusers' UNet3DConditionModel, equal up to rounding.

A part is given another class that has the same weights under the same names. Does not know which
forms are wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn

from reeldrop.base.loras import Loras


@dataclass(slots=True)
class Call:
    """What the parts of a denoiser need to know of its current call.

    If `is_guided`, the second half of the batch repeats the first with another text. `loras` are
    those that layers add.
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


class TemporalConv2d(nn.Conv3d):
    """A convolution over frames alone, computed as a 2D convolution over (frames, pixels).

    With weights in channels_last_3d, neither weights nor frames are copied to another layout.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        size = input.shape[3:]
        rows = input.contiguous(memory_format=torch.channels_last_3d).flatten(3)
        rows = F.conv2d(
            rows,
            self.weight.squeeze(-1),
            self.bias,
            stride=(self.stride[0], 1),
            padding=(int(self.padding[0]), 0),
            dilation=(self.dilation[0], 1),
            groups=self.groups,
        )
        frames: torch.Tensor = rows.unflatten(3, size)
        return frames


def use_temporal_conv_2d(model: nn.Module) -> bool:
    """Give each convolution over frames alone its faster form; return whether there are any."""
    found = [m for m in model.modules() if type(m) is nn.Conv3d and _is_temporal(m)]
    for conv in found:
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last_3d)
        conv.__class__ = TemporalConv2d
    return bool(found)


def _is_temporal(conv: nn.Conv3d) -> bool:
    spatial = (conv.kernel_size[1:], conv.stride[1:], conv.dilation[1:])
    return (
        spatial == ((1, 1),) * 3
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and tuple(conv.padding[1:]) == (0, 0)
    )


class ChannelsLastTransformer2D(Transformer2DModel):
    """Leaves its output in channels_last; diffusers' own makes it contiguous."""

    def _get_output_for_continuous_inputs(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        residual: torch.Tensor,
        batch_size: int,
        height: int,
        width: int,
        **_inner_dim: int,
    ) -> torch.Tensor:
        if self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        hidden_states = hidden_states.reshape(batch_size, height, width, -1).permute(0, 3, 1, 2)
        if not self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        return hidden_states + residual


class ChannelsLastTransformerTemporal(TransformerTemporalModel):
    """Leaves its output in channels_last; diffusers' own makes it contiguous."""

    def forward(  # type: ignore[override]
        self, hidden_states: torch.Tensor, num_frames: int = 1, **_nothing: object
    ) -> tuple[torch.Tensor]:
        residual = hidden_states
        frames, channels, height, width = hidden_states.shape
        hidden_states = hidden_states.unflatten(0, (-1, num_frames)).transpose(1, 2)
        hidden_states = self.norm(hidden_states)  # (batch, channels, frames, height, width)
        hidden_states = hidden_states.permute(0, 3, 4, 2, 1).flatten(0, 2)
        hidden_states = self.proj_in(hidden_states)  # (batch * height * width, frames, channels)
        for block in self.transformer_blocks:
            hidden_states = block(hidden_states)
        hidden_states = self.proj_out(hidden_states)
        hidden_states = hidden_states.unflatten(0, (-1, height * width)).transpose(1, 2)
        hidden_states = hidden_states.reshape(frames, height, width, channels).permute(0, 3, 1, 2)
        return (hidden_states + residual,)


def keep_channels_last(unet: Any) -> None:
    """Keep activations in channels_last through the whole UNet."""
    for module in unet.modules():
        if type(module) is TransformerTemporalModel:
            module.__class__ = ChannelsLastTransformerTemporal
        elif type(module) is Transformer2DModel and module.is_input_continuous:
            module.__class__ = ChannelsLastTransformer2D


class TextOnce:
    """Attends to the text of a sample with all of its frames at once.

    The UNet repeats the text for each frame; keys and values are computed from one of these copies.
    Keeping them from step to step would save only a sixteenth of what this saves.
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
        text = encoder_hidden_states[::frames]  # (batch, tokens, channels)
        query = attn.to_q(hidden_states).unflatten(0, (-1, frames)).flatten(1, 2)
        attended = _attend(attn, query, attn.to_k(text), attn.to_v(text))
        return _output(attn, attended.reshape(*hidden_states.shape[:2], -1))


class FusedSelfAttention:
    """Makes queries, keys and values in one product."""

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, **_nothing: None
    ) -> torch.Tensor:
        query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        return _output(attn, _attend(attn, query, key, value))


def _attend(
    attn: Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Return what each query finds; all are (batch, places, channels)."""
    query, key, value = (
        states.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for states in (query, key, value)
    )
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _output(attn: Attention, attended: torch.Tensor) -> torch.Tensor:
    projection, _dropout = attn.to_out
    output: torch.Tensor = projection(attended)
    return output


def use_text_once(unet: Any, call: Call) -> bool:
    """Compute keys and values of the text once per sample; return whether any part can."""
    found = [attn for attn in _plain_attentions(unet) if attn.is_cross_attention]
    for attn in found:
        attn.set_processor(TextOnce(call))
    _follow_calls(unet, call)
    return bool(found)


def use_fused_qkv(unet: Any) -> bool:
    """Join the three projections of self-attention; return whether there are any.

    Those with LoRAs stay apart.
    """
    found = [
        attn
        for attn in _plain_attentions(unet)
        if not attn.is_cross_attention
        and all(type(part) is nn.Linear for part in _projections(attn))
    ]
    for attn in found:
        _fuse(attn)
        attn.set_processor(FusedSelfAttention())
    return bool(found)


def _projections(attn: Any) -> tuple[Any, ...]:
    return attn.to_q, attn.to_k, attn.to_v


def _fuse(attn: Any) -> None:
    """Replace three projections by one."""
    parts = _projections(attn)
    with torch.device("meta"):
        attn.to_qkv = nn.Linear(attn.query_dim, sum(p.out_features for p in parts), attn.use_bias)
    attn.to_qkv.weight = _joined([part.weight for part in parts])
    if attn.use_bias:
        attn.to_qkv.bias = _joined([part.bias for part in parts])
    attn.to_qkv.eval()
    attn.fused_projections = True
    del attn.to_q, attn.to_k, attn.to_v


def _joined(parts: list[torch.Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.data for part in parts]), requires_grad=False)


def _plain_attentions(unet: Any) -> Iterator[Any]:
    """Yield the attentions that consist only of a softmax between linear projections."""
    for module in unet.modules():
        if isinstance(module, Attention):
            extras = ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "add_k_proj")
            is_plain = not any(getattr(module, name, None) for name in extras)
            is_scaled = module.scale == (module.inner_dim // module.heads) ** -0.5
            output_is_plain = not module.residual_connection and module.rescale_output_factor == 1
            if is_plain and is_scaled and output_is_plain:
                yield module


def use_guidance_once(unet: Any, call: Call) -> None:
    """Compute what precedes the text for half of a guided batch: both halves are equal there."""
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
