"""The LoRAs of a pipeline: attached to its layers at load, switched by each batch.

diffusers reads the many formats in which LoRAs are published. A LoRA is refused unless every tensor
fits the pipeline: one that is applied in part gives results that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import safetensors
import structlog
import torch
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from torch import nn

from reeldrop.base.loras import Loras, UsedLora
from reeldrop.render import lora_layers, tensors
from reeldrop.render.lora_files import LoraFile, misfit
from reeldrop.render.lora_layers import LowRank

if TYPE_CHECKING:
    from reeldrop.render.source import LoraSource, ModelSource
    from reeldrop.speed.unet3d import Call

_log = structlog.get_logger()

_KEY = re.compile(r"(?P<layer>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias)")
_BAD = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, re.error,
    safetensors.SafetensorError,
)  # fmt: skip
"""What diffusers raises when it reads files that are not LoRAs, or of another kind."""

_LEFT_OUT = re.compile(r"norm.*\.diff(_b)?$|\.diff_m$")
"""Differences of norms: diffusers ignores them in LoRAs with the names of Wan's authors."""

_FIRST = ("unet", "transformer")
"""The names of a pipeline's first denoiser."""


def put_on(pipe: Any, source: ModelSource, files: tuple[LoraFile, ...], call: Call) -> None:
    """Attach a profile's LoRAs to a pipeline; the layers read from `call` which are in use.

    Those that are always used are merged into the weights.

    Raises:
        ConfigError: one does not fit.
    """
    for file in files:
        part = _part(pipe, source, file.lora)
        for layer, what in _fitting(part, _read(pipe, source, file), source, file):
            if file.lora.is_always_used:
                lora_layers.merge(layer, what, file.lora.weight)
            else:
                lora_layers.attach(layer, file.lora.name, what, call)


def used(files: tuple[LoraFile, ...], wanted: Loras) -> tuple[UsedLora, ...]:
    """Return the records of the LoRAs that are used for a prompt that wants some."""
    weights = dict(wanted)
    return tuple(
        UsedLora(
            file.lora.name,
            file.lora.weight if file.lora.is_always_used else weights[file.lora.name],
            file.path.name,
            file.revision,
            file.sha256,
        )
        for file in files
        if file.lora.is_always_used or file.lora.name in weights
    )


def _part(pipe: Any, source: ModelSource, lora: LoraSource) -> nn.Module:
    """Return the part of a pipeline that a LoRA is for."""
    known = [name for name in (*_FIRST, "transformer_2") if _has(pipe, name)]
    name = lora.component or next(iter(known), "transformer")
    if name not in known:
        problem = f"is for {name}, but {type(pipe).__name__} has no such part"
        raise misfit(source, lora, problem, f"set component to {' or '.join(known)}")
    part: nn.Module = getattr(pipe, name)
    return part


def _has(pipe: Any, name: str) -> bool:
    return isinstance(getattr(pipe, name, None), nn.Module)


def _read(pipe: Any, source: ModelSource, file: LoraFile) -> dict[str, LowRank]:
    """Return the parts of a LoRA by the names of their layers."""
    read = getattr(type(pipe), "lora_state_dict", None)
    if read is None:
        problem = f"can't be read: diffusers supports no LoRAs for {type(pipe).__name__}"
        raise misfit(source, file.lora, problem, "leave loras out")
    try:
        state, *alphas, metadata = read(
            str(file.path), use_safetensors=True, return_lora_metadata=True
        )
        found = _by_layer(state, alphas[0] if alphas else None, metadata)
    except _BAD as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        remedy = "it must be a LoRA in a format that diffusers reads"
        raise misfit(
            source, file.lora, f"can't be read from {file.path}: {reason}", remedy
        ) from None
    left_out = sum(bool(_LEFT_OUT.search(name)) for name in tensors.shapes(file.path))
    if left_out:
        _log.warning(
            "lora_tensors_left_out", model=source.name, lora=file.lora.name, norms=left_out
        )
    return found


def _by_layer(
    state: Mapping[str, torch.Tensor], alphas: Mapping[str, float] | None, metadata: Any
) -> dict[str, LowRank]:
    """Group a LoRA's tensors by layer.

    alphas: of each layer; its product is scaled by alpha / rank, by 1 if it has none
    metadata: settings of peft's LoraConfig, which may have alphas, too

    Raises:
        ValueError: a tensor is unknown or missing.
    """
    if not any("lora_A" in name for name in state):
        state = convert_unet_state_dict_to_peft(state)
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        match = _KEY.fullmatch(_without_part(name))
        if match is None:
            raise ValueError(f"there is an unknown tensor {name}")
        found.setdefault(match["layer"], {})[match["part"]] = tensor
    if not found:
        raise ValueError("there is no layer in it")
    scales = {_without_part(name).removesuffix(".alpha"): a for name, a in (alphas or {}).items()}
    settings = {_without_part(name): value for name, value in (metadata or {}).items()}
    return {
        layer: _low_rank(layer, parts, scales.get(layer), settings)
        for layer, parts in found.items()
    }


def _without_part(name: str) -> str:
    """Return the name of a tensor without the name of the pipeline's part."""
    first, _, rest = name.partition(".")
    return rest if first in _FIRST else name


def _low_rank(
    layer: str, parts: Mapping[str, torch.Tensor], alpha: float | None, settings: Mapping[str, Any]
) -> LowRank:
    missing = {"lora_A.weight", "lora_B.weight"} - parts.keys()
    if missing:
        raise ValueError(f"there is no {layer}.{min(missing)}")
    down, up = parts["lora_A.weight"], parts["lora_B.weight"].flatten(1)
    if alpha is None:
        alpha = _alpha(layer, settings)
    divisor = len(down) ** (0.5 if settings.get("use_rslora") else 1)
    scale = 1.0 if alpha is None else float(alpha) / divisor
    return LowRank(down, up, parts.get("lora_B.bias"), scale)


def _alpha(layer: str, settings: Mapping[str, Any]) -> float | None:
    """Return the alpha of a layer from peft's settings, whose patterns match the ends of names."""
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return float(alpha)
    return settings.get("lora_alpha")


def _fitting(
    part: nn.Module, layers: Mapping[str, LowRank], source: ModelSource, file: LoraFile
) -> Iterator[tuple[nn.Module, LowRank]]:
    """Yield each layer that a LoRA changes, with its part of the LoRA."""
    modules = dict(part.named_modules())
    faults = [fault for name, what in layers.items() if (fault := _fault(name, modules, what))]
    if faults:
        more = f" (and {len(faults) - 1} more of {len(layers)} layers)" if len(faults) > 1 else ""
        problem = f"does not fit {type(part).__name__}: {faults[0]}{more}"
        raise misfit(source, file.lora, problem, f"use one that was made for {source.location}")
    yield from ((modules[name], what) for name, what in layers.items())


def _fault(name: str, modules: Mapping[str, nn.Module], what: LowRank) -> str:
    """Return why a LoRA does not fit a layer; empty if it does."""
    if name not in modules:
        return f"there is no layer {name}"
    problem = lora_layers.fault(modules[name], what)
    return f"the layer {name} {problem}" if problem else ""
