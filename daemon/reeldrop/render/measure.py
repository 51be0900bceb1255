"""Measure the memory that renders take, on the device or in this process."""

from __future__ import annotations

import gc
import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from reeldrop.base.errors import RendererDied
from reeldrop.render import memory, pipeline

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.render.pipeline import LoadedPipeline


def reset_peak_memory() -> None:
    """Let the next peak be that of what runs from now on."""
    if pipeline.cuda_is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mib() -> int:
    """Return the peak memory of the device since the reset; that of this process on a CPU."""
    if pipeline.cuda_is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def how_many_fit(loaded: LoadedPipeline, prompts: Sequence[Prompt]) -> int:
    """Return how many prompts fit at once, from the memory that these took, which are like them.

    On a CPU the process's peak counts, weights included. One, if the pipeline renders each prompt
    alone.
    """
    rendered = len(prompts)
    if loaded.renders_alone(prompts[0]):
        return 1
    if not (pipeline.cuda_is_available() and torch.cuda.max_memory_allocated()):
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return memory.how_many_fit(memory.available_bytes(), taken / rendered)
    resident, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    if loaded.placement == "model_offload":  # it was on the device only during the render
        resident += pipeline.denoiser_bytes(loaded.pipe)
    free, _ = torch.cuda.mem_get_info()
    room = free + torch.cuda.memory_reserved() - resident
    return memory.how_many_fit(room, (peak - resident) / rendered)


def device_total() -> int | None:
    """Return how many bytes the device has; None without one."""
    return torch.cuda.mem_get_info()[1] if pipeline.cuda_is_available() else None


def device_free() -> int | None:
    """Return how many bytes of the device are free for this process; None without one."""
    if not pipeline.cuda_is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def empty_cache() -> None:
    """Give unused memory back to the device.

    Raises:
        RendererDied: the device is broken.
    """
    gc.collect()  # modules in reference cycles
    if pipeline.cuda_is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise RendererDied(f"the device is broken: {error}") from None
