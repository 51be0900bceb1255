"""Compile a pipeline's denoiser in the background for the shapes that are rendered.

No render waits for the compiler: until a shape is compiled, or if that fails, the denoiser runs
uncompiled. Does not know what a render is.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import hashlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import nn
from torch._inductor.runtime import cache_dir_utils
from torch.utils import _pytree as pytree

from reeldrop.speed.shapes import Shape
from reeldrop.speed.unet3d import Call

MOST = 16
"""Upper bound on the compiled shapes of a pipeline; the least recently rendered one is dropped."""

_REPEATED_BLOCKS = (
    "ResnetBlock2D",
    "TemporalConvLayer",
    "Transformer2DModel",
    "TransformerTemporalModel",
)
"""Class names of the repeated blocks of UNet3DConditionModel."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"

LOOK_SECONDS = 0.1
"""How often whoever waits for the compiler looks whether that is enough."""

_log = structlog.get_logger()

_one_at_a_time = threading.Lock()
_at_work: set[threading.Thread] = set()
"""Threads that compile or wait for their turn."""
_has_garbage = threading.Event()


def is_compiling() -> bool:
    """Return whether a compilation runs or waits for its turn, for any pipeline."""
    return any(thread.is_alive() for thread in list(_at_work))


def wait_for_compiler(
    seconds: float = math.inf, is_enough: Callable[[], bool] = lambda: False
) -> None:
    """Wait until all compilations have ended or `is_enough`, for `seconds` at most."""
    end = time.monotonic() + seconds
    for thread in list(_at_work):
        while thread.is_alive() and not is_enough() and (left := end - time.monotonic()) > 0:
            thread.join(min(left, LOOK_SECONDS))


def collect_garbage() -> None:
    """Collect garbage; while something compiles, only after that (see `_without_collector`)."""
    _has_garbage.set()  # first: whoever compiles looks after that
    while _has_garbage.is_set() and _one_at_a_time.acquire(blocking=False):
        try:
            _has_garbage.clear()
            gc.collect()
        finally:
            _one_at_a_time.release()


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep all threads from collecting garbage, which also happens unasked.

    Torch has crashed where garbage was collected in the middle of a compilation.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()


class Compiled:
    """Compiled forms of a denoiser, by the shape of its calls.

    The compiler works on a copy of the denoiser, with the same weights but another `Call`, so that
    it does not interfere with renders.
    """

    def __init__(self, denoiser: nn.Module, call: Call, *, by_blocks: bool = False) -> None:
        """Compile a denoiser as a whole, or each of its repeated blocks (see `blocks`)."""
        self.seconds = 0.0
        """The total time of all compilations."""
        self.is_on_disk = False
        """Whether the code for the newest shape is in the cache, so that it takes seconds."""
        self._denoiser = denoiser
        self._call = call
        self._by_blocks = by_blocks
        dtypes = sorted({str(weight.dtype) for weight in denoiser.parameters()})
        self._made_of = f"{torch.__version__} {by_blocks} {dtypes} {denoiser}"
        self._begun: OrderedDict[Shape, None] = OrderedDict()
        self._ready: dict[Shape, Callable[..., Any]] = {}
        self._lacked_room = False
        self._is_stopped = False
        _keep_what_is_compiled()

    def get(self, shape: Shape) -> Callable[..., Any] | None:
        """Return the compiled form for a shape, called like the denoiser; None if not compiled."""
        return self._ready.get(shape)

    def begin(self, shapes: set[Shape]) -> None:
        """Compile the new ones of these shapes, those of the last render, in the background."""
        for shape in shapes:
            if shape in self._begun:
                self._begun.move_to_end(shape)
                continue
            arguments = (shape, _bytes_of_last_render())
            thread = threading.Thread(target=self._work, args=arguments, daemon=True)
            self._begun[shape] = None
            self.is_on_disk = os.path.exists(self._mark(shape))
            _at_work.add(thread)
            thread.start()
        while len(self._begun) > MOST:
            shape, _ = self._begun.popitem(last=False)
            self._ready.pop(shape, None)

    def stop(self) -> None:
        """Drop all compiled forms, and discard the results of running compilations."""
        self._is_stopped = True
        self._ready.clear()

    def _work(self, shape: Shape, needed: int) -> None:
        try:
            with _one_at_a_time:
                if not self._is_stopped and shape in self._begun:
                    self._make_ready(shape, needed)
        finally:
            if _has_garbage.is_set():
                collect_garbage()
            _at_work.discard(threading.current_thread())

    def _make_ready(self, shape: Shape, needed: int) -> None:
        if not _has_room_for(needed):
            if not self._lacked_room:  # logged once, since it may recur after every render
                reason = "the device has too little memory to compile beside a render"
                _log.warning("not_compiled", reason=reason, **shape.sizes)
            self._lacked_room = True
            self._begun.pop(shape, None)  # to try again after a later render
            return
        began = time.monotonic()
        _log.info("compiling", **shape.sizes)
        try:
            with _without_collector():
                compiled = self._compile(shape)
            self._mark(shape).parent.mkdir(parents=True, exist_ok=True)
            self._mark(shape).touch()
        except Exception as error:  # a compiler raises errors of many types
            if not self._is_stopped:
                reason = " ".join(str(error).split())[:500]
                _log.warning("not_compiled", reason=reason, **shape.sizes)
            return
        if not self._is_stopped:
            self._ready[shape] = compiled
            seconds = time.monotonic() - began
            self.seconds += seconds
            _log.info("compiled", seconds=round(seconds, 1), **shape.sizes)

    def _mark(self, shape: Shape) -> Path:
        """Return the file whose existence shows that the code for a shape is in the cache."""
        digest = hashlib.sha256(f"{self._made_of} {shape}".encode()).hexdigest()
        # Not torch's `cache_dir`, which makes the folder, and raises if it can't.
        folder = os.environ.get(CACHE) or cache_dir_utils.default_cache_dir()
        return Path(folder) / "reeldrop-ready" / digest

    @torch.inference_mode()
    def _compile(self, shape: Shape) -> Callable[..., Any]:
        # The compiler keeps a version of the denoiser's code for each shape and pipeline, or of a
        # block's code for each width and resolution as well.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = (
            100 * MOST
        )
        torch._dynamo.config.run_gc_after_compile = False  # after each frame, in the middle of all
        made = self._copy(Call(*shape.call) if shape.call else Call())
        parts = blocks(made) if self._by_blocks else [made]
        plain = [part.forward for part in parts]
        for part, forward in zip(parts, plain, strict=True):
            part.forward = torch.compile(forward, dynamic=False)
        made.forward(**shape.arguments())  # without the hooks, which write to the other `Call`
        for part, forward in zip(parts, plain, strict=True):
            part.forward = torch._dynamo.run(forward)  # only runs what is compiled
        only_what_is_compiled = made.forward

        def call(**arguments: Any) -> Any:
            tensors = pytree.tree_map_only(torch.Tensor, _as_it_was_compiled, arguments)
            return only_what_is_compiled(**tensors)

        return call

    def _copy(self, call: Call) -> nn.Module:
        """Return a copy of the denoiser with the same weights, whose parts read `call`."""
        front = vars(self._denoiser)["forward"]  # the instance's own, set by Forms
        shared = (front, *self._denoiser.parameters(), *self._denoiser.buffers())
        known: dict[int, Any] = {id(one): one for one in shared}
        made = copy.deepcopy(self._denoiser, {**known, id(self._call): call})
        del made.forward
        return made


def blocks(denoiser: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a denoiser, without those inside another one.

    Equal blocks are compiled once. diffusers' models name their repeated blocks
    (`_repeated_blocks`); UNet3DConditionModel does not.
    """
    names = getattr(denoiser, "_repeated_blocks", None) or _REPEATED_BLOCKS
    found: list[nn.Module] = []
    waiting = [*denoiser.children()]
    while waiting:
        part = waiting.pop()
        if any(kind.__name__ in names for kind in type(part).__mro__):
            found.append(part)
        else:
            waiting += part.children()
    return found


def _as_it_was_compiled(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the memory layout of `Shape.arguments`."""
    return tensor.clone(memory_format=torch.contiguous_format)


def _keep_what_is_compiled() -> None:
    """Set a permanent cache folder, because torch's default is in /tmp.

    The default may already be in the environment, where torch puts it on import.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    default = cache_dir_utils.default_cache_dir()
    is_given = os.environ.get(CACHE, default) != default
    if os.path.isabs(caches) and not is_given:  # it is not absolute without a home
        os.environ[CACHE] = os.path.join(caches, "reeldrop-compiled")


def _bytes_of_last_render() -> int:
    """Return the GPU memory that the last render took in addition to the weights."""
    if not torch.cuda.is_available():
        return 0
    return torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()


def _has_room_for(needed: int) -> bool:
    """Return whether the GPU has memory to run the compiled form while a render runs."""
    if not torch.cuda.is_available():
        return True
    free, _ = torch.cuda.mem_get_info()
    stock = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return free + stock > 2 * needed
