"""Measure the memory that renders take, on the device or in this process."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from reeldrop.base.errors import RendererDied
from reeldrop.render import devices, memory, placements
from reeldrop.speed.compiled import collect_garbage

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.render.loaded import LoadedPipeline


def reset_peak_memory() -> None:
    """Measure the next peak from now on."""
    if devices.cuda_is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mib(loaded: LoadedPipeline) -> int:
    """Return the peak memory of the device since the reset; on a CPU, that of this process."""
    if loaded.placement != "cpu":
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def how_many_fit(loaded: LoadedPipeline, prompts: Sequence[Prompt]) -> int:
    """Return how many prompts like these fit at once, by the memory that these took.

    On a CPU the process's peak counts, weights included. One, if the pipeline renders each prompt
    alone.
    """
    rendered = len(prompts)
    if loaded.renders_alone(prompts[0]):
        return 1
    if loaded.placement == "cpu" or not torch.cuda.max_memory_allocated():
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return memory.how_many_fit(memory.available_bytes(), taken / rendered)
    resident, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    if loaded.placement == "model_offload":  # the denoiser is on the device only during renders
        resident += placements.denoiser_bytes(loaded.pipe)
    free, _ = torch.cuda.mem_get_info()
    room = free + torch.cuda.memory_reserved() - resident
    return memory.how_many_fit(room, (peak - resident) / rendered)


def empty_cache() -> None:
    """Give unused memory back to the device; that of garbage later, while something compiles.

    Raises:
        RendererDied: the device is broken.
    """
    collect_garbage()  # modules in reference cycles
    if devices.cuda_is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise RendererDied(f"the device is broken: {error}") from None
