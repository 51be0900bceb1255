"""Use one memory layout, channels last, from the first convolution to the picture.

Memory in the order (batch, frames, height, width, channels) is channels_last for 2D convolutions, a
list of tokens for linear layers and attention, and a channels_last (frames x pixels) picture for
convolutions over frames, so nothing has to be copied between them. The class of a part of
diffusers' models is replaced by one with the same weights under the same names, and the same output
up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet3DConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn

LARGE = 2**22
"""Number of elements from which a norm by channels should be faster on a GPU. It takes a dozen
kernels, three of which read or write all elements; torch's own takes three, and two copies."""


class TemporalConv2d(nn.Conv3d):
    """A 3D convolution over frames only, computed as a 2D convolution over (frames, pixels).

    With weights in channels_last_3d, neither weights nor frames are copied to another layout.
    """

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        size = input.shape[3:]
        rows = input.contiguous(memory_format=torch.channels_last_3d).flatten(3)
        rows = F.conv2d(
            rows,
            weight.squeeze(-1),
            bias,
            stride=(self.stride[0], 1),
            padding=(int(self.padding[0]), 0),
            dilation=(self.dilation[0], 1),
            groups=self.groups,
        )
        frames: torch.Tensor = rows.unflatten(3, size)
        return frames


class ChannelsLastGroupNorm(nn.GroupNorm):
    """A group norm that keeps the layout channels_last; torch's own copies twice on CUDA."""

    def forward(self, input: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Normalise `input` plus `shift`, which is (channels,) or (batch, channels)."""
        if _is_by_channels(input):
            return self._by_channels(input, shift)
        if shift is None:
            return super().forward(input)
        return super().forward(input + shift.view(*shift.shape, *[1] * (input.dim() - 2)))

    def _by_channels(self, input: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        """Compute the moments of each channel first, which reads memory in order."""
        places = input.flatten(2)  # (batch, channels, places)
        mean = places.mean(2, dtype=torch.float32)
        norm = torch.linalg.vector_norm(places, dim=2, dtype=torch.float32)
        squares = torch.addcmul(norm.square(), mean, mean, value=-places.shape[2])
        if shift is not None:
            mean = mean + shift
        # Of each group: the variance of its channels' means, and the mean of their variances.
        groups = (self.num_groups, -1)
        between, center = torch.var_mean(mean.unflatten(1, groups), 2, correction=0, keepdim=True)
        within = squares.unflatten(1, groups).mean(2, keepdim=True)
        variance = torch.add(between, within, alpha=1 / places.shape[2]).clamp_(min=0)
        scale = self.weight.unflatten(0, groups) * variance.add_(self.eps).rsqrt_()
        if shift is not None:
            center = center - shift.expand(mean.shape).unflatten(1, groups)
        offset = torch.addcmul(self.bias.unflatten(0, groups), center, scale, value=-1)
        scale, offset = (m.flatten(1).unsqueeze(2) for m in (scale, offset))
        output = torch.addcmul(offset, places, scale, out=torch.empty_like(places))
        return output.view(input.shape)


def _is_by_channels(input: torch.Tensor) -> bool:
    # Compiled, torch's own norm makes no copies, and has fewer kernels than this one.
    is_compiling = torch.compiler.is_compiling()
    return is_on_gpu(input) and input.numel() >= LARGE and not is_compiling


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is on a GPU. On CPUs, torch's own kernels are as fast."""
    return tensor.is_cuda


def _without_bias(conv: Any, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the output of a convolution, and a bias that the next norm has to add, if any.

    On CUDA the bias would be added in a separate kernel, which reads and writes all of the output.
    """
    if type(conv) in (nn.Conv2d, TemporalConv2d) and is_on_gpu(conv.weight):
        return conv._conv_forward(input, conv.weight, None), conv.bias
    return conv(input), None


class ChannelsLastResnetBlock2D(ResnetBlock2D):
    """Adds the time embedding within the norm, and leaves out a division by 1."""

    def forward(
        self, input_tensor: torch.Tensor, temb: torch.Tensor | None, *_no: None, **_nothing: None
    ) -> torch.Tensor:
        act = self.nonlinearity
        hidden, shift = _without_bias(self.conv1, act(self.norm1(input_tensor)))
        if temb is not None:
            time = self.time_emb_proj(act(temb))  # (pictures, channels)
            shift = time if shift is None else time + shift
        hidden = self.conv2(act(self.norm2(hidden, shift)))
        if self.conv_shortcut is not None:
            input_tensor = self.conv_shortcut(input_tensor)
        output: torch.Tensor = input_tensor + hidden
        return output if self.output_scale_factor == 1 else output / self.output_scale_factor


class ChannelsLastTemporalConvLayer(TemporalConvLayer):
    """Treats pictures in channels_last as videos, without copies."""

    def forward(self, hidden_states: torch.Tensor, num_frames: int = 1) -> torch.Tensor:
        video = _as_videos(hidden_states, num_frames)
        hidden, shift = video, None
        for norm, *_, conv in (self.conv1, self.conv2, self.conv3):
            hidden, shift = _without_bias(conv, F.silu(norm(hidden, shift)))
        norm, *_, conv = self.conv4
        output: torch.Tensor = video + conv(F.silu(norm(hidden, shift)))
        return output.transpose(1, 2).flatten(0, 1)


def _as_videos(pictures: torch.Tensor, frames: int) -> torch.Tensor:
    """Return pictures, (batch * frames, channels, height, width), as videos.

    They are a view, (batch, channels, frames, height, width).
    """
    videos: torch.Tensor = pictures.unflatten(0, (-1, frames)).transpose(1, 2)
    return videos


class ChannelsLastTransformer2D(Transformer2DModel):
    """Keeps channels_last for its output; diffusers' own makes it contiguous."""

    def _get_output_for_continuous_inputs(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        residual: torch.Tensor,
        batch_size: int,
        height: int,
        width: int,
        **_inner_dim: int,
    ) -> torch.Tensor:
        hidden_states = self.proj_out(hidden_states)  # linear in all blocks of the UNet
        return hidden_states.reshape(batch_size, height, width, -1).permute(0, 3, 1, 2) + residual


class ChannelsLastTransformerTemporal(TransformerTemporalModel):
    """Does not move frames in memory: attention reads across frames by strides."""

    def forward(  # type: ignore[override]
        self, hidden_states: torch.Tensor, num_frames: int = 1, **_nothing: object
    ) -> tuple[torch.Tensor]:
        hidden = self.norm(_as_videos(hidden_states, num_frames)).movedim(1, -1)
        hidden = self.proj_in(hidden)  # (batch, frames, height, width, channels)
        for block in self.transformer_blocks:
            hidden = block(hidden)
        hidden = self.proj_out(hidden).flatten(0, 1).permute(0, 3, 1, 2)
        return (hidden + hidden_states,)


def use_channels_last(model: nn.Module) -> bool:
    """Use channels_last in a model; return whether it has any parts for that.

    In models other than UNet3DConditionModel and AutoencoderKL, only convolutions are changed: 2D
    ones, and 3D ones over frames only.
    """
    flat: list[Any] = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    for conv in flat:
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    temporal: list[Any] = [module for module in model.modules() if _is_temporal(module)]
    for conv in temporal:
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last_3d)
        conv.__class__ = TemporalConv2d
    if isinstance(model, UNet3DConditionModel | AutoencoderKL):
        for module in model.modules():
            module.__class__ = _FORMS.get(type(module), type(module))
    return bool(flat or temporal)


def _is_temporal(module: nn.Module) -> bool:
    if type(module) is not nn.Conv3d or isinstance(module.padding, str):
        return False
    over_pixels = (module.kernel_size[1:], module.stride[1:], module.dilation[1:])
    is_padded = module.padding_mode != "zeros" or tuple(module.padding[1:]) != (0, 0)
    return over_pixels == ((1, 1),) * 3 and not is_padded


_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.GroupNorm: ChannelsLastGroupNorm,
    ResnetBlock2D: ChannelsLastResnetBlock2D,
    TemporalConvLayer: ChannelsLastTemporalConvLayer,
    Transformer2DModel: ChannelsLastTransformer2D,
    TransformerTemporalModel: ChannelsLastTransformerTemporal,
}
"""For each class in these two models, the one that computes the same in channels_last."""
