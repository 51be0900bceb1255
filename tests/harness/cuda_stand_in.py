"""Stand in for the parts of a GPU that `torch.cuda.graph` needs: streams, and pools with users.

It treats them as torch does (CUDAGraph.cpp): a pool keeps its memory until its last graph is
deleted, and is dead then; the end of a recording that the device refused raises, leaves the stream
as it is, and leaves the allocator recording.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container

import pytest
import torch

REFUSED = "operation not permitted when stream is capturing"


class Cuda:
    """The device: its current stream, the state of the recording, and the users of each pool."""

    def __init__(self) -> None:
        self.streams = 0
        self.current = self.main = Stream(self)
        self.users: dict[int, int] = {}
        self.segments: dict[int, int] = {}
        self.allocating_to: set[int] = set()
        self.is_recording = False
        self.is_spoilt = False
        self.waits_are = "default"
        self.handles = itertools.count(1)

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Replace the device in `torch.cuda`."""
        for name, value in {
            "CUDAGraph": lambda: Graph(self),
            "Stream": lambda: Stream(self),
            "stream": lambda stream: _On(self, stream),
            "current_stream": lambda: self.current,
            "graph_pool_handle": lambda: next(self.handles),
            "memory_snapshot": lambda pool, **_: [{"total_size": 100}] * self.segments[pool],
            "reset_peak_memory_stats": lambda: None,
            "memory_allocated": lambda: 1000,
            "max_memory_allocated": lambda: 1030,
            "current_device": lambda: 0,
            "synchronize": lambda: None,
            "empty_cache": lambda: None,
            "get_sync_debug_mode": lambda: self.waits_are,
            "set_sync_debug_mode": lambda mode: setattr(self, "waits_are", mode),
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_allocating_to, raising=False)

    def end_allocating_to(self, _device: int, pool: int) -> None:
        """End allocations from a pool."""
        if pool not in self.allocating_to:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.allocating_to.remove(pool)

    def wait(self) -> None:
        """Synchronise, as `item` does.

        Raises RuntimeError during a recording, or where waiting counts as an error.
        """
        if self.is_recording:
            self.is_spoilt = True
            raise RuntimeError(REFUSED)
        if self.waits_are == "error":
            raise RuntimeError("called a synchronizing CUDA operation")


class _On:
    """Makes a stream current until exit. Not a generator, whose exit runs when it is collected."""

    def __init__(self, cuda: Cuda, stream: object) -> None:
        self._cuda = cuda
        self._stream = stream

    def __enter__(self) -> None:
        self._before, self._cuda.current = self._cuda.current, self._stream

    def __exit__(self, *_: object) -> None:
        self._cuda.current = self._before


class Stream:
    """A stream of the device."""

    def __init__(self, cuda: Cuda) -> None:
        cuda.streams += 1

    def wait_stream(self, _other: object) -> None:
        """Do nothing: this device finishes all work at once."""


class Graph:
    """A recording, which uses its pool until it is deleted."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._pool = 0

    def capture_begin(self, pool: int, **_: object) -> None:
        assert self._cuda.users.get(pool) != 0, "the pool is dead"
        self._cuda.users[pool] = self._cuda.users.get(pool, 0) + 1
        self._cuda.is_recording, self._cuda.is_spoilt = True, False
        self._cuda.allocating_to.add(pool)
        self._cuda.segments[pool] = self._cuda.segments.get(pool, 0) + 1
        self._pool = pool

    def capture_end(self) -> None:
        self._cuda.is_recording = False
        if self._cuda.is_spoilt:
            self._pool = 0  # its use of the pool is never released
            raise RuntimeError("operation failed due to a previous error during capture")
        self._cuda.end_allocating_to(0, self._pool)

    def pool(self) -> int:
        return self._pool

    def replay(self) -> None:
        """Do nothing: this device does no work."""

    def __del__(self) -> None:
        if self._pool:
            self._cuda.users[self._pool] -= 1
            if not self._cuda.users[self._pool]:
                self._cuda.segments[self._pool] = 0


def waiting(cuda: Cuda, calls: Container[int]) -> Callable[[], int]:
    """Return work that waits for the device in its calls with these numbers, counted from 1."""
    count = itertools.count(1)

    def work() -> int:
        if next(count) in calls:
            cuda.wait()
        return 1

    return work
