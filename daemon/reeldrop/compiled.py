"""The denoiser of a pipeline, compiled in the background for the shapes that are rendered.

Until a shape is compiled it is rendered without the compiler, and so it stays where that fails: no
render waits for it. Does not know what a render is.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
import torch
from torch import nn
from torch.utils import _pytree as pytree

from reeldrop.unet3d import Call

MOST = 16
"""Shapes of one pipeline that are compiled; others are rendered without."""

MOST_OF_A_RENDER = 4
"""Shapes that one render may have: more of them, and the next has others again."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"

_log = structlog.get_logger()

_one_at_a_time = threading.Lock()


class Tensor(NamedTuple):
    """All of a tensor but its values."""

    size: torch.Size
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Shape:
    """What a compiled denoiser is made for: its arguments, but for the tensors' values.

    `leaves` are the arguments in a row, and `tree` tells how they hang together; `call` is what the
    parts are told besides. `sizes` are for the log.
    """

    leaves: tuple[Tensor | float | str | None, ...]
    tree: pytree.TreeSpec
    call: tuple[int, bool] | None
    sizes: dict[str, list[int]] = field(compare=False)

    def arguments(self) -> dict[str, Any]:
        """Return arguments of this shape."""
        leaves = [
            torch.zeros(one.size, dtype=one.dtype, device=one.device)
            if isinstance(one, Tensor)
            else one
            for one in self.leaves
        ]
        made: dict[str, Any] = pytree.tree_unflatten(leaves, self.tree)
        return made


class Compiled:
    """Takes the calls of a denoiser, and passes them to what has been compiled for their shape.

    What is compiled is a copy of the denoiser with the same weights and a record of the call of its
    own, so that the compiler and the renders do not meet. `was_used` tells whether a call since it
    was last set has run compiled.
    """

    def __init__(self, denoiser: nn.Module, call: Call, *, heeds_call: bool) -> None:
        """Stand before a denoiser. `heeds_call`: its parts look at the record of the call."""
        self.was_used = False
        self._denoiser = denoiser
        self._call = call
        self._heeds_call = heeds_call
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        self._seen: set[Shape] = set()
        self._begun: dict[Shape, threading.Thread] = {}
        self._ready: dict[Shape, Callable[..., Any]] = {}
        self._told: set[str] = set()
        self._is_stopped = False
        denoiser.forward = self._forward
        _keep_what_is_compiled()

    @property
    def is_busy(self) -> bool:
        """Tell whether the compiler is at work, or is to be."""
        return any(thread.is_alive() for thread in list(self._begun.values()))

    def begin(self) -> None:
        """Compile, in the background, for the shapes that have been seen and have room."""
        new = [shape for shape in self._seen if shape not in self._begun]
        self._seen.clear()
        if len(new) > MOST_OF_A_RENDER:
            self._tell_once(f"it has been called in {len(new)} different ways in one render")
            return
        if len(self._begun) + len(new) > MOST:
            self._tell_once(f"{MOST} sizes are compiled already, which is the most")
        for shape in new[: MOST - len(self._begun)]:
            arguments = (shape, _bytes_of_last_render())
            thread = threading.Thread(target=self._work, args=arguments, daemon=True)
            self._begun[shape] = thread
            thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all that has been begun is compiled, or can't be, or for so long."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        for thread in list(self._begun.values()):
            thread.join(None if seconds is None else max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """Let the denoiser be as it was; what is being compiled comes to nothing."""
        self._is_stopped = True
        self._ready.clear()
        self._denoiser.forward = self._eager

    def discard(self) -> None:
        """Stop, and let the weights go at once: else the compiler would have them for minutes."""
        self.stop()
        if self.is_busy:
            for part in (*self._denoiser.parameters(), *self._denoiser.buffers()):
                part.data = part.data.new_empty(0)

    def _forward(self, *arguments: Any, **named: Any) -> Any:
        named = {**dict(zip(self._names, arguments, strict=False)), **named}
        if self._is_stopped or (shape := self._shape(named)) is None:
            return self._eager(**named)
        if (compiled := self._ready.get(shape)) is None:
            self._seen.add(shape)
            return self._eager(**named)
        self.was_used = True
        return compiled(**pytree.tree_map_only(torch.Tensor, _as_it_was_compiled, named))

    def _shape(self, arguments: dict[str, Any]) -> Shape | None:
        """Return the shape of a call; None where there is something that may not be a value."""
        leaves, tree = pytree.tree_flatten(arguments)
        for one in leaves:
            if not (one is None or isinstance(one, torch.Tensor | bool | int | float | str)):
                self._tell_once(f"it is called with a {type(one).__name__}")
                return None
        tensors = {k: one for k, one in arguments.items() if isinstance(one, torch.Tensor)}
        return Shape(
            leaves=tuple(
                Tensor(one.shape, one.dtype, one.device) if isinstance(one, torch.Tensor) else one
                for one in leaves
            ),
            tree=tree,
            call=dataclasses.astuple(self._call) if self._heeds_call else None,
            sizes={name: list(one.shape) for name, one in tensors.items() if one.shape},
        )

    def _work(self, shape: Shape, needed: int) -> None:
        with _one_at_a_time:
            if self._is_stopped:
                return
            if not _has_room_for(needed):
                self._tell_once("there is no room on the device beside a render", **shape.sizes)
                del self._begun[shape]  # another time there may be
                return
            began = time.monotonic()
            _log.info("compiling", **shape.sizes)
            try:
                compiled = self._compile(shape)
            except Exception as error:  # a compiler has many
                if not self._is_stopped:
                    reason = " ".join(str(error).split())[:500]
                    _log.warning("not_compiled", reason=reason, **shape.sizes)
                return
            if not self._is_stopped:
                self._ready[shape] = compiled
                seconds = round(time.monotonic() - began, 1)
                _log.info("compiled", seconds=seconds, **shape.sizes)

    def _tell_once(self, reason: str, **sizes: list[int]) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("not_compiled", reason=reason, **sizes)

    @torch.inference_mode()
    def _compile(self, shape: Shape) -> Callable[..., Any]:
        # Of the code of a denoiser, there is one version for each shape, of each pipeline.
        torch._dynamo.config.recompile_limit = 100 * MOST
        forward = self._copy(Call(*shape.call) if shape.call else Call()).forward
        torch.compile(forward, dynamic=False)(**shape.arguments())
        only_what_is_compiled: Callable[..., Any] = torch._dynamo.run(forward)
        return only_what_is_compiled

    def _copy(self, call: Call) -> nn.Module:
        """Return the denoiser with the same weights, and parts that are told by another record."""
        shared = (self, *self._denoiser.parameters(), *self._denoiser.buffers())
        known: dict[int, Any] = {id(one): one for one in shared}
        made = copy.deepcopy(self._denoiser, {**known, id(self._call): call})
        del made.forward  # this object's, not the class's
        return made


def _as_it_was_compiled(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that lies in memory as those of `Shape.arguments` do."""
    return tensor.clone(memory_format=torch.contiguous_format)


def _keep_what_is_compiled() -> None:
    """Let what is compiled be there for the next process, too: the default is in /tmp."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(caches):  # else there is no home
        os.environ.setdefault(CACHE, os.path.join(caches, "reeldrop-compiled"))


def _bytes_of_last_render() -> int:
    """Return what the last render took of a GPU's memory, besides the weights."""
    if not torch.cuda.is_available():
        return 0
    return torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()


def _has_room_for(needed: int) -> bool:
    """Tell whether the compiler can try what it made while a render goes on."""
    if not torch.cuda.is_available():
        return True
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > 2 * needed
