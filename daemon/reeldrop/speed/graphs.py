"""Record a denoiser's work as CUDA graphs: one launch instead of one for each kernel.

That helps where kernels are so small that the device waits for the next launch. See "CUDA Graphs"
in PyTorch's notes on CUDA semantics. Does not know what the work is.
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

from reeldrop.base.errors import is_shortage
from reeldrop.speed.shapes import Shape

MOST = 16
"""Upper bound on the kept shapes; the least recently expected is dropped."""

_WARM_UPS = 2
"""Calls before the recording: libraries choose their algorithms in the first ones."""

_log = structlog.get_logger()


class Recorder(Protocol):
    """Records the work of a `device`."""

    device: torch.device

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None], int]:
        """Return the result of `work`, a function that replays it, and the bytes that it needs.

        The bytes exclude the inputs. A replay reads and writes the same memory as the work did.
        """

    @property
    def taken_bytes(self) -> int:
        """How much memory all recordings keep."""


class CudaRecorder:
    """Records on the CUDA device.

    All recordings share one memory pool: only one may run at a time, and its result is valid until
    the next one runs.
    """

    is_usable: ClassVar = True
    """False after the device has refused a recording: torch 2.13 leaks the memory of such a
    recording, so this process records nothing more.
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
        # A pool is freed with its last graph.
        pool = self._pool or torch.cuda.graph_pool_handle()
        # Other threads encode texts and videos meanwhile; thread_local keeps them from ending it.
        captured = torch.cuda.graph(graph, pool, beside, capture_error_mode="thread_local")
        try:
            with torch.cuda.stream(now), captured:  # torch does not restore the stream if it fails
                made = work()
        except RuntimeError as error:
            if not is_shortage(error):
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
    """End torch's allocation to a pool, which a failed recording leaves open.

    Some versions of torch end it themselves. torch's own `use_mem_pool` makes the same call.
    """
    with contextlib.suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)


@functools.cache
def _stream() -> torch.cuda.Stream:
    """Return the one stream for recordings: libraries keep memory for each stream that they see."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Raise an error where code waits for the device, which would spoil a recording.

    The thread that encodes texts ahead may get this error, too; it then leaves that text to the
    render.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def recorder(device: str) -> Recorder | None:
    """Return the recorder for a device type, cpu or cuda; None if there is none."""
    return CudaRecorder() if device == "cuda" and CudaRecorder.is_usable else None


class Graphs:
    """The recordings of a denoiser's calls, by shape."""

    def __init__(self, recorder: Recorder) -> None:
        """`recorder` is that of the denoiser's device."""
        self._recorder = recorder
        self._kept: OrderedDict[Shape, Graph | None] = OrderedDict()
        self._too_large: set[Shape] = set()
        self._is_given_up = False

    @property
    def taken_bytes(self) -> int:
        """How much device memory the recordings keep."""
        return self._recorder.taken_bytes if any(self._kept.values()) else 0

    def expect(self, shapes: set[Shape]) -> None:
        """Record these shapes when they are called again."""
        if self._is_given_up:
            return
        for shape in shapes - self._too_large:
            self._kept.setdefault(shape, None)
            self._kept.move_to_end(shape)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def get(self, shape: Shape, form: Callable[..., Any]) -> Graph | None:
        """Return the recording of a form of the denoiser for a shape; None if there is none.

        Call it in the thread that asked for it.
        """
        graph = self._kept.get(shape)
        return graph if graph is not None and graph.form is form else None

    def record(self, shape: Shape, form: Callable[..., Any]) -> Graph | None:
        """Record a form and return the recording.

        None if the shape is not expected or can't be recorded.
        """
        if shape not in self._kept:
            return None
        self._kept[shape] = None  # frees the memory of the old one for the new one
        try:
            graph = self._kept[shape] = Graph(form, shape, self._recorder)
        except Exception as error:  # a model may do many things that can't be recorded
            # The error that ends a recording says only that it failed; its context says why.
            reason = " ".join(str(error.__context__ or error).split())[:500]
            _log.warning("not_recorded", reason=reason, **shape.sizes)
            if is_shortage(error):
                self._too_large.add(shape)
                del self._kept[shape]
                self._kept = OrderedDict.fromkeys(self._kept)  # this render needs their memory
            else:
                self.drop()
            return None
        _log.info("recorded", **shape.sizes)
        return graph

    def drop(self) -> None:
        """Drop all recordings, and record nothing more."""
        self._is_given_up = True
        self._kept.clear()


class Graph:
    """One recording, called like the form that it was made from.

    `needed_bytes` is the memory that is kept for it, without its inputs.
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
