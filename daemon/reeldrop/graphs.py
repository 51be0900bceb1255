"""A denoiser's work recorded as CUDA graphs: it is launched as a whole, not kernel by kernel.

That helps where kernels are so small that the device waits for the next one. See "CUDA Graphs" in
PyTorch's notes on CUDA semantics. Does not know what the work is.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

import structlog
import torch
from torch.utils import _pytree as pytree

from reeldrop import memory
from reeldrop.shapes import Shape

MOST = 16
"""Shapes that are kept; the one that was not asked for longest goes."""

_WARM_UPS = 2
"""Calls before one that is as the recording is: libraries choose their ways in the first."""

_log = structlog.get_logger()


class Recorder(Protocol):
    """Records what a `device` is told to do."""

    device: torch.device

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None], int]:
        """Return what some work returns, what has the device do the same once more, and how many
        bytes it needs beside what it is given.

        To do it again reads the memory that the work has read, and writes what it has written.
        """

    @property
    def taken_bytes(self) -> int:
        """How much memory is kept for all that was recorded."""


class CudaRecorder:
    """Records on the CUDA device. All recordings share their memory, so only one may be at work,
    and what it has returned is there until the next one.
    """

    is_usable: ClassVar = True
    """Until the device refuses what it was to record: torch (2.13) does not get the memory of such
    a recording back, so nothing more is recorded in this process.
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None], int]:
        now, beside = torch.cuda.current_stream(), _stream()
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                work()
            torch.cuda.reset_peak_memory_stats()
            resident = torch.cuda.memory_allocated()
            with _refusing_to_wait():
                work()
        needed = torch.cuda.max_memory_allocated() - resident
        now.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # A pool goes with the last graph that is in it.
        pool = self._pool or torch.cuda.graph_pool_handle()
        # Other threads encode texts and videos meanwhile: what they do is not to end the recording.
        captured = torch.cuda.graph(graph, pool, beside, capture_error_mode="thread_local")
        try:
            with torch.cuda.stream(now), captured:  # it does not come back by itself if it fails
                made = work()
        except RuntimeError as error:
            if not memory.is_shortage(error):
                CudaRecorder.is_usable = False
                _end_allocating_to(pool)
            raise
        self._graphs.add(graph)
        return made, graph.replay, needed

    @property
    def taken_bytes(self) -> int:
        if self._pool is None:
            return 0
        pool = torch.cuda.memory_snapshot(self._pool, include_traces=False)  # type: ignore[no-untyped-call]
        return sum(segment["total_size"] for segment in pool)

    @property
    def _pool(self) -> Any:
        return next((graph.pool() for graph in self._graphs), None)


def _end_allocating_to(pool: Any) -> None:
    """Let torch give memory back again, which it does not do while it thinks that it records.

    It may know by itself that it does not: some versions do. Torch's own `use_mem_pool` does this.
    """
    with contextlib.suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)


@functools.cache
def _stream() -> torch.cuda.Stream:
    """Return the one stream that records: libraries keep memory for each stream that they see."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Have an error raised by what waits for the device, as a recording can't.

    The recording itself would be spoilt by it. Another thread, which encodes texts ahead, may get
    the error, too, and then leaves that to the render.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def recorder(device: str) -> Recorder | None:
    """Return what records on a kind of device, cpu or cuda; None where nothing does."""
    return CudaRecorder() if device == "cuda" and CudaRecorder.is_usable else None


class Graphs:
    """The recordings of a denoiser's calls, by shape."""

    def __init__(self, recorder: Recorder) -> None:
        """Record by the recorder of the device on which the denoiser is."""
        self._recorder = recorder
        self._kept: OrderedDict[Shape, Graph | None] = OrderedDict()
        self._too_large: set[Shape] = set()
        self._is_given_up = False

    @property
    def taken_bytes(self) -> int:
        """How much of the device's memory is kept for them."""
        return self._recorder.taken_bytes if any(self._kept.values()) else 0

    def expect(self, shapes: set[Shape]) -> None:
        """Say that calls of these shapes are likely to come again."""
        if self._is_given_up:
            return
        for shape in shapes - self._too_large:
            self._kept.setdefault(shape, None)
            self._kept.move_to_end(shape)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def get(self, shape: Shape, form: Callable[..., Any]) -> Graph | None:
        """Return what has been recorded of a form of the denoiser for a shape, and does the same.

        It has to be called in the thread that asks for it.
        """
        graph = self._kept.get(shape)
        return graph if graph is not None and graph.form is form else None

    def record(self, shape: Shape, form: Callable[..., Any]) -> Graph | None:
        """Record a form, and return the same as `get`; None if the shape is not expected, or can't
        be recorded.
        """
        if shape not in self._kept:
            return None
        self._kept[shape] = None  # the old one has memory that the new one can use
        try:
            graph = self._kept[shape] = Graph(form, shape, self._recorder)
        except Exception as error:  # much of what a model may do is no work for a recording
            # What ends a recording says only that it has failed; why, was said before.
            reason = " ".join(str(error.__context__ or error).split())[:500]
            _log.warning("not_recorded", reason=reason, **shape.sizes)
            if memory.is_shortage(error):
                self._too_large.add(shape)
                del self._kept[shape]
                self._kept = OrderedDict.fromkeys(self._kept)  # this render needs their memory
            else:
                self.drop()
            return None
        _log.info("recorded", **shape.sizes)
        return graph

    def drop(self) -> None:
        """Let all of them go, and record nothing any more."""
        self._is_given_up = True
        self._kept.clear()


class Graph:
    """One recording. It is called as the form of which it was made, and needs so many bytes beside
    what it is given, which are kept for it.
    """

    def __init__(self, form: Callable[..., Any], shape: Shape, recorder: Recorder) -> None:
        self.form = form
        arguments = shape.arguments(recorder.device)
        self._inputs = _tensors(arguments)
        self._output, self._replay, self.needed_bytes = recorder.record(lambda: form(**arguments))
        others = {type(leaf).__name__ for leaf in pytree.tree_leaves(self._output)} - {"Tensor"}
        if others:
            raise TypeError(f"it returns a {', '.join(others)}")

    def __call__(self, **arguments: Any) -> Any:
        for ours, given in zip(self._inputs, _tensors(arguments), strict=True):
            ours.copy_(given)
        self._replay()
        return pytree.tree_map_only(torch.Tensor, torch.clone, self._output)


def _tensors(arguments: dict[str, Any]) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
