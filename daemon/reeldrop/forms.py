"""The calls of a denoiser, each passed to the fastest form that there is for its shape.

A form is made of what has been rendered once: compiled, beside the next renders, and recorded as a
graph of the GPU's. Where there is none, the denoiser is called as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import structlog
from torch import nn

from reeldrop.compiled import Compiled, is_compiling
from reeldrop.graphs import Graph, Graphs
from reeldrop.shapes import Shape
from reeldrop.unet3d import Call

MOST_OF_A_RENDER = 4
"""Shapes that one render may have: more of them, and the next has others again."""

_log = structlog.get_logger()


class Forms:
    """Takes the calls of a denoiser. `used` are the kinds of forms that have done any of them since
    a render began: compiled, recorded. `uncounted_bytes` is how much memory such recordings need
    that were made before: torch counts what is taken, and that was taken already.
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
        """Stand before a denoiser. `heeds_call`: its parts look at the record of the call."""
        self.used: set[str] = set()
        self.uncounted_bytes = 0
        self.compiled = compiled
        self.graphs = graphs
        self._denoiser = denoiser
        self._call = call if heeds_call else None
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        self._seen: set[Shape] = set()
        self._new: set[Shape] = set()
        self._told: set[str] = set()
        denoiser.forward = self._forward

    def begin(self) -> None:
        """Say that a render begins; of one that failed nothing is known any more."""
        self.used.clear()
        self.uncounted_bytes = 0
        self._new.clear()
        self._seen.clear()

    def end(self) -> None:
        """Say that a render is done: what it was like is to be faster the next time."""
        seen, self._seen = self._seen, set()
        if len(seen) > MOST_OF_A_RENDER:
            self._tell_once(f"it has been called in {len(seen)} different ways in one render")
            return
        if self.compiled is not None:
            kept = self.graphs.taken_bytes if self.graphs is not None else 0
            self.compiled.begin(seen, uncounted_bytes=self.uncounted_bytes, kept_bytes=kept)
        if self.graphs is not None:
            self.graphs.expect(seen)

    def stop(self) -> None:
        """Let the denoiser be as it was; what is being compiled comes to nothing."""
        self._denoiser.forward = self._eager
        if self.compiled is not None:
            self.compiled.stop()
        if self.graphs is not None:
            self.graphs.drop()

    def discard(self) -> None:
        """Stop, and let the weights go at once: else the compiler would have them for minutes."""
        self.stop()
        if is_compiling():
            for part in (*self._denoiser.parameters(), *self._denoiser.buffers()):
                part.data = part.data.new_empty(0)

    def _forward(self, *arguments: Any, **named: Any) -> Any:
        named = {**dict(zip(self._names, arguments, strict=False)), **named}
        try:
            shape = Shape.of(named, self._call)
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
        # Not beside a compiler, of an earlier pipeline perhaps: it would be recorded, too.
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
