"""Where the weights of a pipeline are, and how large they are.

On the GPU, in host memory, or moved to the GPU when they are needed: see `placement` of
`ModelSource`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.residents import HEADROOM
from reeldrop.render import devices
from reeldrop.speed.denoisers import denoisers, made_of, modules

if TYPE_CHECKING:
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.source import ModelSource

WITHOUT_A_GPU = ("auto", "cpu")
"""The placements that need no GPU."""


def require(source: ModelSource) -> None:
    """Check that there is a GPU if a profile's placement needs one.

    Raises:
        ConfigError: there is none.
    """
    if source.placement not in WITHOUT_A_GPU and not devices.cuda_is_available():
        problem = f"placement: {source.placement} needs a CUDA device, and there is none"
        raise ConfigError(Mistake(problem, "use placement: auto", key=f"{source.key}.placement"))


def choose(weight_bytes: int, free_bytes: int | None) -> str:
    """Return the placement: cuda if the whole pipeline fits, else model_offload; cpu without a GPU.

    `free_bytes` is the GPU's free memory, None without a GPU.
    """
    if free_bytes is None:
        return "cpu"
    return "cuda" if weight_bytes * HEADROOM <= free_bytes else "model_offload"


def put(pipe: Any, placement: str) -> str:
    """Place a pipeline and return the device's name."""
    match placement:
        case "cpu":
            pipe.to("cpu")
            return "cpu"
        case "cuda":
            pipe.to("cuda")
        case "model_offload":
            pipe.enable_model_cpu_offload()
        case "sequential_offload":
            pipe.enable_sequential_cpu_offload()
    return f"cuda ({torch.cuda.get_device_name()}, {placement})"


def put_again(loaded: LoadedPipeline, placement: str) -> LoadedPipeline:
    """Move a pipeline to a placement that takes less GPU memory; see `ModelSource`."""
    loaded.fast_path.stop_compiling()
    device = put(loaded.pipe, placement)
    return dataclasses.replace(loaded, device=device, placement=placement)


def keep_in_host_memory(loaded: LoadedPipeline) -> None:
    """Move a pipeline's weights from the device to host memory; free its other device memory."""
    loaded.fast_path.let_go_of_forms()
    if (texts := loaded.fast_path.texts) is not None:
        texts.forget()
    for part in modules(loaded.pipe):  # not `pipe.to`, which warns of float16 on a CPU
        part.to("cpu")


def bring_back(loaded: LoadedPipeline) -> LoadedPipeline:
    """Move a pipeline's weights from host memory back to the device."""
    return dataclasses.replace(loaded, device=put(loaded.pipe, loaded.placement))


def weight_bytes(pipe: Any) -> int:
    """Return the size of a pipeline's weights."""
    return sum(map(_part_bytes, modules(pipe)))


def denoiser_bytes(pipe: Any) -> int:
    """Return the size of the largest denoiser's weights, which model offload moves."""
    return max(map(_part_bytes, denoisers(pipe)), default=0)


def _part_bytes(part: object) -> int:
    if not isinstance(part, torch.nn.Module):
        return 0
    return sum(one.numel() * one.element_size() for one in made_of(part.parameters()))
