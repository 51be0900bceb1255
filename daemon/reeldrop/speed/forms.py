"""Pass each call of a denoiser to the fastest form: as it is, compiled, or a CUDA graph.

A form is made for one shape of the arguments, after that shape has been rendered once: `compiled`
compiles it in the background, `graphs` records it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import structlog
from torch import nn

from reeldrop.speed.compiled import Compiled, is_compiling
from reeldrop.speed.graphs import Graph, Graphs
from reeldrop.speed.shapes import Shape
from reeldrop.speed.unet3d import Call

MOST_OF_A_RENDER = 4
"""Upper bound on the shapes of a render. With more, the next one is likely to have others."""

_log = structlog.get_logger()


class Forms:
    """Receives the calls of a denoiser.

    `used` names the forms that took calls since the render began: compiled, recorded.
    `uncounted_bytes` is the memory of recordings that were made in earlier renders: torch's peak
    counters do not include it, because it was allocated before.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        call: Call,
        *,
        heeds_call: bool,
        compiled: Compiled | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        """Replace `denoiser.forward`. With `heeds_call`, the denoiser's parts read `call`.

        A call with LoRAs is passed to the denoiser as it is: there is no other form with them.
        """
        self.used: set[str] = set()
        self.uncounted_bytes = 0
        self.compiled = compiled
        self.graphs = graphs
        self._denoiser = denoiser
        self._call = call
        self._heeds_call = heeds_call
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        self._seen: set[Shape] = set()
        self._new: set[Shape] = set()
        self._told: set[str] = set()
        denoiser.forward = self._forward

    def begin(self) -> None:
        """Begin a render. Shapes of a render that failed are forgotten."""
        self.used.clear()
        self.uncounted_bytes = 0
        self._new.clear()
        self._seen.clear()

    def end(self) -> None:
        """End a render: compile and record its shapes for the next one."""
        seen, self._seen = self._seen, set()
        if len(seen) > MOST_OF_A_RENDER:
            self._tell_once(f"it was called with {len(seen)} different shapes in one render")
            return
        if self.compiled is not None:
            kept = self.graphs.taken_bytes if self.graphs is not None else 0
            self.compiled.begin(seen, uncounted_bytes=self.uncounted_bytes, kept_bytes=kept)
        if self.graphs is not None:
            self.graphs.expect(seen)

    def stop(self) -> None:
        """Restore the denoiser, and discard what is compiled or being compiled."""
        self._denoiser.forward = self._eager
        if self.compiled is not None:
            self.compiled.stop()
        if self.graphs is not None:
            self.graphs.drop()

    def discard(self) -> None:
        """Stop, and free the weights at once: a running compiler would keep them for minutes."""
        self.stop()
        if is_compiling():
            for part in (*self._denoiser.parameters(), *self._denoiser.buffers()):
                part.data = part.data.new_empty(0)

    def _forward(self, *arguments: Any, **named: Any) -> Any:
        named = {**dict(zip(self._names, arguments, strict=False)), **named}
        if self._call.loras:
            return self._eager(**named)
        try:
            shape = Shape.of(named, self._call if self._heeds_call else None)
        except TypeError as error:
            self._tell_once(str(error))
            return self._eager(**named)
        self._seen.add(shape)
        form = self._eager
        if self.compiled is not None and (ready := self.compiled.get(shape)) is not None:
            self.used.add("compiled")
            form = ready
        if self.graphs is not None and (graph := self._recorded(self.graphs, shape, form)):
            self.used.add("recorded")
            form = graph
        return form(**named)

    def _recorded(self, graphs: Graphs, shape: Shape, form: Callable[..., Any]) -> Graph | None:
        graph = graphs.get(shape, form)
        # Not while a compiler runs, even of an earlier pipeline: its kernels would be recorded.
        if graph is None and not is_compiling():
            graph = graphs.record(shape, form)
            self._new.add(shape)
        if graph is not None and shape not in self._new:
            self.uncounted_bytes = max(self.uncounted_bytes, graph.needed_bytes)
        return graph

    def _tell_once(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("denoiser_left_as_it_is", reason=reason)
