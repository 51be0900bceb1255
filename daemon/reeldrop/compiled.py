"""The denoiser of a pipeline, compiled in the background for the shapes that are rendered.

Until a shape is compiled it is rendered without the compiler, and so it stays where that fails: no
render waits for it. Does not know what a render is.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import nn

from reeldrop.unet3d import Call

MOST = 16
"""Shapes of one pipeline that are compiled; others are rendered without."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"

_log = structlog.get_logger()

_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a compiled denoiser is made for: the arguments but for the tensors' values, and `call`.

    `tensors` are the names of the arguments that are tensors, with size, dtype and device.
    """

    tensors: tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]
    others: tuple[tuple[str, bool | str | None], ...]
    call: tuple[int, bool]

    @property
    def sizes(self) -> dict[str, list[int]]:
        """The sizes of what is more than a number, for the log."""
        return {name: list(size) for name, size, *_ in self.tensors if size}

    def arguments(self) -> dict[str, Any]:
        """Return arguments of this shape."""
        made = {
            name: torch.zeros(size, dtype=dtype, device=device)
            for name, size, dtype, device in self.tensors
        }
        return {**made, **dict(self.others)}


class Compiled:
    """Takes the calls of a denoiser, and passes them to what has been compiled for their shape.

    What is compiled is a copy of the denoiser with the same weights and a record of the call of its
    own, so that the compiler and the renders do not meet.
    """

    def __init__(self, denoiser: nn.Module, call: Call) -> None:
        self._denoiser = denoiser
        self._call = call
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        self._seen: set[Shape] = set()
        self._begun: dict[Shape, threading.Thread] = {}
        self._ready: dict[Shape, Callable[..., Any]] = {}
        self._is_stopped = False
        denoiser.forward = self._forward
        _keep_what_is_compiled()

    @property
    def shapes(self) -> int:
        """How many shapes have been compiled."""
        return len(self._ready)

    def begin(self) -> None:
        """Compile, in the background, for the shapes that have been seen and have room."""
        new = [shape for shape in self._seen if shape not in self._begun]
        self._seen.clear()
        for shape in new[: MOST - len(self._begun)]:
            arguments = (shape, _bytes_of_last_render())
            thread = threading.Thread(target=self._work, args=arguments, daemon=True)
            self._begun[shape] = thread
            thread.start()

    def wait(self) -> None:
        """Wait until all that has been begun is compiled, or can't be."""
        for thread in self._begun.values():
            thread.join()

    def stop(self) -> None:
        """Let the denoiser be as it was; what is being compiled comes to nothing."""
        self._is_stopped = True
        self._ready.clear()
        self._denoiser.forward = self._eager

    def _forward(self, *arguments: Any, **named: Any) -> Any:
        named = {**dict(zip(self._names, arguments, strict=False)), **named}
        shape = _shape(named, self._call)
        if shape is None or self._is_stopped:
            return self._eager(**named)
        if (compiled := self._ready.get(shape)) is None:
            self._seen.add(shape)
            return self._eager(**named)
        # They have to lie in memory as those of `arguments()` do.
        plain = torch.contiguous_format
        tensors = {name: named[name].clone(memory_format=plain) for name, *_ in shape.tensors}
        return compiled(**{**named, **tensors})

    def _work(self, shape: Shape, needed: int) -> None:
        with _one_at_a_time:
            if self._is_stopped:
                return
            began = time.monotonic()
            _log.info("compiling", **shape.sizes)
            try:
                compiled = self._compile(shape, needed)
            except Exception as error:  # a compiler has many
                reason = " ".join(str(error).split())[:500]
                _log.warning("not_compiled", reason=reason, **shape.sizes)
                return
            if not self._is_stopped:
                self._ready[shape] = compiled
            _log.info("compiled", seconds=round(time.monotonic() - began, 1), **shape.sizes)

    @torch.inference_mode()
    def _compile(self, shape: Shape, needed: int) -> Callable[..., Any]:
        if not _has_room_for(needed):
            raise MemoryError("there is no room on the device for the compiler beside a render")
        # Of the code of a denoiser, there is one version for each shape, of each pipeline.
        torch._dynamo.config.recompile_limit = 100 * MOST
        forward = self._copy(Call(*shape.call)).forward
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


def _shape(arguments: dict[str, Any], call: Call) -> Shape | None:
    """Return the shape of a call; None where it has arguments that a compiler can't be sure of."""
    tensors = {name: one for name, one in arguments.items() if isinstance(one, torch.Tensor)}
    others = {name: one for name, one in arguments.items() if name not in tensors}
    if not all(one is None or isinstance(one, bool | str) for one in others.values()):
        return None
    sizes = ((name, one.shape, one.dtype, one.device) for name, one in tensors.items())
    return Shape(tuple(sizes), tuple(others.items()), dataclasses.astuple(call))


def _keep_what_is_compiled() -> None:
    """Let what is compiled be there for the next process, too: the default is in /tmp."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    os.environ.setdefault(CACHE, str(Path(caches) / "reeldrop-compiled"))


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
