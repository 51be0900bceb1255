"""Make LoRAs for tiny pipelines, as diffusers saves them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

STRENGTH = 0.4
"""Large enough to change the video."""


def tensors(
    part: nn.Module, layers: str = r".*\.to_[qkv]", *, rank: int = 2, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return a LoRA, with peft's names, for the layers of a part whose full names match."""
    drawn = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    for name, module in part.named_modules():
        if re.fullmatch(layers, name) and isinstance(getattr(module, "weight", None), nn.Parameter):
            outputs, *inputs = module.weight.shape
            one = (1,) * (len(inputs) - 1)
            for key, shape in (("A", (rank, *inputs)), ("B", (outputs, rank, *one))):
                drawn_now = torch.randn(shape, generator=drawn)
                found[f"{name}.lora_{key}.weight"] = STRENGTH * drawn_now
    assert found
    return found


def save(
    kind: Any, folder: Path, layers: dict[str, torch.Tensor], name: str, **metadata: Any
) -> Path:
    """Save a LoRA as a class of pipelines does, and return the file."""
    part = "unet" if issubclass(kind, diffusers.TextToVideoSDPipeline) else "transformer"
    given: dict[str, Any] = {f"{part}_lora_layers": layers, "weight_name": f"{name}.safetensors"}
    if metadata:
        given[f"{part}_lora_adapter_metadata"] = metadata
    kind.save_lora_weights(folder, **given)
    return folder / f"{name}.safetensors"
