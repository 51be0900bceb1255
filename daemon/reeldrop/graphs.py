"""A denoiser's work recorded as CUDA graphs: it is launched as a whole, not kernel by kernel.

That helps where kernels are so small that the device waits for the next one. See "CUDA Graphs" in
PyTorch's notes on CUDA semantics. Does not know what the work is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import structlog
import torch
from torch.utils import _pytree as pytree

from reeldrop.shapes import Shape

MOST = 16
"""Shapes that are kept; the one that was not asked for longest goes."""

_WARM_UPS = 3
"""Calls before the recording: libraries choose their ways, and take their memory, in the first."""

_log = structlog.get_logger()


class Recorder(Protocol):
    """Records what a `device` is told to do."""

    device: torch.device

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Return what some work returns, and what has the device do the same once more.

        That reads the memory that the work has read, and writes what it has written.
        """

    @property
    def taken_bytes(self) -> int:
        """How much memory is kept for all that was recorded."""


class CudaRecorder:
    """Records on the CUDA device. All recordings share their memory, so only one may be at work,
    and what it has returned is there until the next one.
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        now, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                work()
        now.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads encode texts and videos meanwhile: what they do is not to end the recording.
        captured = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
        with torch.cuda.stream(now), captured:  # a capture that fails does not come back by itself
            made = work()
        return made, graph.replay

    @property
    def taken_bytes(self) -> int:
        pool = torch.cuda.memory_snapshot(self._pool, include_traces=False)  # type: ignore[no-untyped-call]
        return sum(segment["total_size"] for segment in pool)


def recorder(device: str) -> Recorder | None:
    """Return what records on a kind of device, cpu or cuda; None where nothing does."""
    return CudaRecorder() if device == "cuda" else None


class Graphs:
    """The recordings of a denoiser's calls, by shape."""

    def __init__(self, recorder: Recorder) -> None:
        """Record by the recorder of the device on which the denoiser is."""
        self._recorder = recorder
        self._kept: OrderedDict[Shape, _Graph | None] = OrderedDict()
        self._is_given_up = False

    @property
    def taken_bytes(self) -> int:
        """How much of the device's memory is kept for them."""
        return self._recorder.taken_bytes if any(self._kept.values()) else 0

    def expect(self, shapes: set[Shape]) -> None:
        """Say that calls of these shapes are likely to come again."""
        for shape in shapes:
            self._kept.setdefault(shape, None)
            self._kept.move_to_end(shape)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def get(self, shape: Shape, form: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return what does the same as a form of the denoiser does for a shape; None if there is
        nothing, because the shape is not expected or can't be recorded.

        It has to be called in the thread that asks for it.
        """
        if self._is_given_up or shape not in self._kept:
            return None
        graph = self._kept[shape]
        if graph is None or graph.form is not form:
            graph = self._kept[shape] = None  # the old one has memory that the new one can use
            try:
                graph = self._kept[shape] = _Graph(form, shape, self._recorder)
            except Exception as error:  # much of what a model may do is no work for a recording
                reason = " ".join(str(error.__context__ or error).split())[:500]
                _log.warning("not_recorded", reason=reason, **shape.sizes)
                self.drop()
            else:
                _log.info("recorded", **shape.sizes)
        return graph

    def drop(self) -> None:
        """Let all of them go, and record nothing any more."""
        self._is_given_up = True
        self._kept.clear()


class _Graph:
    """One recording. It is called as the form of which it was made."""

    def __init__(self, form: Callable[..., Any], shape: Shape, recorder: Recorder) -> None:
        self.form = form
        arguments = shape.arguments(recorder.device)
        self._inputs = _tensors(arguments)
        self._output, self._replay = recorder.record(lambda: form(**arguments))
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
