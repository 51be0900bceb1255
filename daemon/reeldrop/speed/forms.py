"""Pass the calls of a denoiser to its compiled form, if there is one for their shape.

A form is compiled for one shape of the arguments, after that shape has been rendered once.
"""

from __future__ import annotations

import inspect
from typing import Any

import structlog
from torch import nn

from reeldrop.speed.compiled import Compiled
from reeldrop.speed.shapes import Shape
from reeldrop.speed.unet3d import Call

MOST_OF_A_RENDER = 4
"""Upper bound on the shapes of a render. With more, those of the next render probably differ."""

_log = structlog.get_logger()


class Forms:
    """Receives the calls of a denoiser.

    was_used: whether a compiled form was called since the render began
    """

    def __init__(
        self, denoiser: nn.Module, call: Call, compiled: Compiled, *, heeds_call: bool
    ) -> None:
        """Replace `denoiser.forward`. With `heeds_call`, the denoiser's parts read `call`.

        Calls with LoRAs are never compiled.
        """
        self.was_used = False
        self.compiled = compiled
        self._denoiser = denoiser
        self._call = call
        self._heeds_call = heeds_call
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        self._seen: set[Shape] = set()
        self._told: set[str] = set()
        denoiser.forward = self._forward

    def begin(self) -> None:
        """Begin a render. Shapes of a render that failed are forgotten."""
        self.was_used = False
        self._seen.clear()

    def end(self) -> None:
        """End a render: compile its shapes for the next one."""
        seen, self._seen = self._seen, set()
        if len(seen) > MOST_OF_A_RENDER:
            self._tell_once(f"it was called with {len(seen)} different shapes in one render")
            return
        self.compiled.begin(seen)

    def stop(self) -> None:
        """Restore the denoiser, and discard its compiled forms and running compilations."""
        self._denoiser.forward = self._eager
        self.compiled.stop()

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
        form = self.compiled.get(shape)
        self.was_used |= form is not None
        return (form or self._eager)(**named)

    def _tell_once(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("denoiser_left_as_it_is", reason=reason)
