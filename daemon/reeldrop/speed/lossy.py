"""Lossy optimizations: steps reuse what earlier steps have computed.

They are used only if a profile asks for them. Does not measure how much the frames differ.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from torch import nn

from reeldrop.speed.denoisers import denoisers


@dataclass(frozen=True, slots=True)
class Lossy:
    """The lossy optimizations of a profile. config.yaml explains them; 1 and 0 switch them off."""

    deep_cache: int = 1
    first_block_cache: float = 0.0

    @property
    def mixes_prompts(self) -> bool:
        """Return whether a video would depend on the others in its batch.

        The first-block cache decides by all prompts of a batch which blocks it skips.
        """
        return self.first_block_cache > 0

    @property
    def wanted(self) -> list[str]:
        """The names of those that are on."""
        asked = {"deep_cache": self.deep_cache > 1, "first_block_cache": self.first_block_cache > 0}
        return [name for name, is_asked in asked.items() if is_asked]


NOTHING = Lossy()


def apply(pipe: Any, lossy: Lossy) -> list[str]:
    """Apply those for which a pipeline has the parts; return their names."""
    ways = {"deep_cache": _deep_cache, "first_block_cache": _first_block_cache}
    found = {n: [ways[n](pipe, part, lossy) for part in denoisers(pipe)] for n in lossy.wanted}
    return [name for name, of_parts in found.items() if any(of_parts)]


def _deep_cache(_pipe: Any, part: Any, lossy: Lossy) -> bool:
    if type(part) is not UNet3DConditionModel:
        return False
    unet: Any = part
    unet.__class__ = DeepCacheUNet3D
    unet.interval = lossy.deep_cache
    unet.up_blocks[-1].resnets[-1].register_forward_pre_hook(unet.keep)
    return True


def _first_block_cache(pipe: Any, part: Any, lossy: Lossy) -> bool:
    # The cache works only if the pipeline names the cache context at each call.
    if not isinstance(part, CacheMixin) or "cache_context" not in inspect.getsource(pipe.__call__):
        return False
    try:
        part.enable_cache(FirstBlockCacheConfig(threshold=lossy.first_block_cache))
    except (ValueError, IndexError):  # diffusers does not know its blocks, or it has only one
        return False
    return True


class DeepCacheUNet3D(UNet3DConditionModel):
    """Runs all layers at every n-th step, and only the first and the last layer at the others.

    DeepCache (Ma, Fang, Wang: "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024) with
    its shallowest branch: deeper features change little from step to step.

    kept: the last layer's input from the layer before, (batch * frames, channels, height, width)
    """

    interval = 1
    steps = 0
    kept: torch.Tensor | None = None

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        *,
        return_dict: bool = True,
        **others: Any,
    ) -> UNet3DConditionOutput | tuple[torch.Tensor]:
        if self.steps % self.interval == 0:
            self.kept = None
        self.steps += 1
        if self.kept is None:
            whole: Any = super().forward  # type: ignore[misc]
            predicted = whole(sample, timestep, encoder_hidden_states, **others).sample
        else:
            predicted = self._outermost(sample, timestep, encoder_hidden_states, self.kept)
        return UNet3DConditionOutput(sample=predicted) if return_dict else (predicted,)

    def keep(self, _layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        """Keep the input of the last layer, without the channels from the first layer."""
        if self.kept is None:
            unet: Any = self
            self.kept = arguments[0][:, : -unet.conv_in.out_channels].clone()

    def _outermost(
        self, sample: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        """Return the predicted noise, computed only with the first and the last layer."""
        unet: Any = self
        frames = sample.shape[2]
        time = unet.time_proj(timestep.to(sample.device).expand(len(sample))).to(unet.dtype)
        time = unet.time_embedding(time).repeat_interleave(frames, dim=0)
        hidden = unet.conv_in(sample.transpose(1, 2).flatten(0, 1))
        hidden = unet.transformer_in(hidden, num_frames=frames, return_dict=False)[0]
        block = unet.up_blocks[-1]
        hidden = block.resnets[-1](torch.cat([kept, hidden], dim=1), time)
        hidden = block.temp_convs[-1](hidden, num_frames=frames)
        if getattr(block, "has_cross_attention", False):
            text = text.repeat_interleave(frames, dim=0)
            hidden = block.attentions[-1](hidden, encoder_hidden_states=text, return_dict=False)[0]
            hidden = block.temp_attentions[-1](hidden, num_frames=frames, return_dict=False)[0]
        hidden = unet.conv_act(unet.conv_norm_out(hidden))
        noise: torch.Tensor = unet.conv_out(hidden).unflatten(0, (-1, frames)).transpose(1, 2)
        return noise

    def _reset_stateful_cache(self) -> None:
        """Reset; diffusers' pipelines call this method of a cache at the end of a render."""
        self.steps, self.kept = 0, None
