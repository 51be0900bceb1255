"""The GPU that torch renders on, if there is one: its name and its memory."""

from __future__ import annotations

import torch


def cuda_is_available() -> bool:
    """Return whether there is a CUDA device that torch can use."""
    return torch.cuda.is_available()


def name() -> str:
    """Return the name of the GPU, or `cpu` with its number of threads."""
    if cuda_is_available():
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"


def total_bytes() -> int | None:
    """Return the total memory of the GPU, in bytes; None without one."""
    return torch.cuda.mem_get_info()[1] if cuda_is_available() else None


def memory() -> tuple[int, int] | None:
    """Return the free and the total memory of the GPU, in bytes; None without one."""
    return torch.cuda.mem_get_info() if cuda_is_available() else None


def memories() -> list[tuple[int, int]]:
    """Return the free and the total memory of each GPU that this process sees, in bytes."""
    return list(map(torch.cuda.mem_get_info, range(torch.cuda.device_count())))


def free_bytes() -> int | None:
    """Return how many bytes of the device this process can still use; None without a device."""
    if not cuda_is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
