"""Compiled forms of a denoiser: one for each shape of its calls, made after that was rendered once.

No render waits for the compiler: until a shape is compiled, or if that fails, the denoiser runs
uncompiled. All compilations of this process run one at a time, in threads beside renders.
"""

from __future__ import annotations

import copy
import functools
import gc
import hashlib
import inspect
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import nn
from torch._inductor.runtime import cache_dir_utils
from torch.utils import _pytree as pytree

from reeldrop.speed.unet3d import Call

CACHE = "TORCHINDUCTOR_CACHE_DIR"

MOST = 16
"""Upper bound on the compiled shapes of a denoiser; the least recently rendered one is dropped."""

MOST_OF_A_RENDER = 4
"""Upper bound on the shapes of a render. With more, those of the next render probably differ."""

LOOK_SECONDS = 0.1
"""How often whoever waits for the compiler looks whether that is enough."""

_REPEATED_BLOCKS = (
    "ResnetBlock2D",
    "TemporalConvLayer",
    "Transformer2DModel",
    "TransformerTemporalModel",
)
"""Class names of the repeated blocks of UNet3DConditionModel."""

_THREAD = "compiler"

Shape = tuple[tuple[int, bool], tuple[object, ...], pytree.TreeSpec]
"""What a call has in common with others that the same code computes: the fields of the `Call`, the
flattened arguments, of tensors only size, dtype and device, and the arguments' structure."""

_log = structlog.get_logger()
_one_at_a_time = threading.Lock()


class Forms:
    """Receives the calls of a denoiser, and passes each to the compiled form of its shape, if any.

    The compiler works on a copy of the denoiser, with the same weights but another `Call`, so that
    it does not interfere with renders.

    was_used: whether a compiled form was called since the render began
    is_on_disk: whether the code for the newest shape is in the cache, so that it takes seconds
    seconds: the total time of all compilations
    """

    def __init__(self, denoiser: nn.Module, call: Call, *, by_blocks: bool = False) -> None:
        """Replace `denoiser.forward`. Calls with LoRAs, as `call` tells, are never compiled.

        by_blocks: each repeated block is compiled (see `blocks`), not the denoiser as a whole
        """
        self.was_used = self.is_on_disk = False
        self.seconds = 0.0
        self._denoiser = denoiser
        self._call = call
        self._by_blocks = by_blocks
        self._eager = denoiser.forward
        self._names = tuple(inspect.signature(self._eager).parameters)
        dtypes = sorted({str(weight.dtype) for weight in denoiser.parameters()})
        self._made_of = f"{torch.__version__} {by_blocks} {dtypes} {denoiser}"
        self._seen: dict[Shape, dict[str, Any]] = {}  # with the arguments of the last such call
        self._ready: OrderedDict[Shape, Callable[..., Any] | None] = OrderedDict()
        self._told: set[str] = set()
        denoiser.forward = self._forward

    def begin(self) -> None:
        """Begin a render. Shapes of a render that failed are forgotten."""
        self.was_used = False
        self._seen = {}

    def end(self) -> None:
        """End a render: compile its new shapes in the background, for the next one."""
        seen, self._seen = self._seen, {}
        if len(seen) > MOST_OF_A_RENDER:
            reason = f"it was called with more than {MOST_OF_A_RENDER} shapes in one render"
            self._warn_once("denoiser_left_as_it_is", reason)
            return
        for shape, arguments in seen.items():
            if shape in self._ready:
                self._ready.move_to_end(shape)
                continue
            self._ready[shape] = None
            self.is_on_disk = self._mark(shape).exists()
            work = functools.partial(self._make_ready, shape, arguments, _bytes_of_render())
            threading.Thread(target=_in_turn, args=(work,), name=_THREAD, daemon=True).start()
        while len(self._ready) > MOST:
            self._ready.popitem(last=False)

    def drop(self) -> None:
        """Drop all forms, and the results of running compilations."""
        self._ready.clear()

    def stop(self) -> None:
        """Restore the denoiser, and drop all."""
        self._denoiser.forward = self._eager
        self.drop()

    def _forward(self, *arguments: Any, **named: Any) -> Any:
        named = {**dict(zip(self._names, arguments, strict=False)), **named}
        if self._call.loras:
            return self._eager(**named)
        try:
            shape = self._shape(named)
        except TypeError as error:
            self._warn_once("denoiser_left_as_it_is", str(error))
            return self._eager(**named)
        if len(self._seen) <= MOST_OF_A_RENDER:
            self._seen[shape] = named
        form = self._ready.get(shape)
        self.was_used |= form is not None
        return (form or self._eager)(**named)

    def _shape(self, arguments: Mapping[str, Any]) -> Shape:
        """Return the shape of a call.

        Raises:
            TypeError: an argument has a type that can't be compared between calls.
        """
        leaves, tree = pytree.tree_flatten(arguments)
        for one in leaves:
            if not (one is None or isinstance(one, torch.Tensor | bool | int | float | str)):
                raise TypeError(f"an argument of its call is a {type(one).__name__}")
        like = (
            (one.shape, one.dtype, one.device) if isinstance(one, torch.Tensor) else one
            for one in leaves
        )
        return (self._call.num_frames, self._call.is_guided), tuple(like), tree

    def _make_ready(self, shape: Shape, arguments: dict[str, Any], needed: int) -> None:
        """Compile a shape, unless it was dropped meanwhile.

        needed: the bytes that its render took
        """
        if shape not in self._ready:
            return
        sizes = {
            name: [*one.shape]
            for name, one in arguments.items()
            if isinstance(one, torch.Tensor) and one.dim()
        }
        if not _has_room_for(needed):  # may recur after every render
            reason = "the device has too little memory to compile beside a render"
            self._warn_once("not_compiled", reason, **sizes)
            self._ready.pop(shape, None)  # to try again after a later render
            return
        began = time.monotonic()
        _log.info("compiling", **sizes)
        try:
            form = self._compile(shape, arguments)
            self._mark(shape).parent.mkdir(parents=True, exist_ok=True)
            self._mark(shape).touch()
        except Exception as error:  # a compiler raises errors of many types
            if shape in self._ready:
                reason = " ".join(str(error).split())[:500]
                _log.warning("not_compiled", reason=reason, **sizes)
            return
        if shape in self._ready:
            self._ready[shape] = form
            seconds = time.monotonic() - began
            self.seconds += seconds
            _log.info("compiled", seconds=round(seconds, 1), **sizes)

    def _mark(self, shape: Shape) -> Path:
        """Return the file whose existence shows that the code for a shape is in the cache."""
        digest = hashlib.sha256(f"{self._made_of} {shape}".encode()).hexdigest()
        return _folder() / "reeldrop-ready" / digest

    @torch.inference_mode()
    def _compile(self, shape: Shape, arguments: dict[str, Any]) -> Callable[..., Any]:
        # The compiler keeps a version of the denoiser's code for each shape and pipeline, or of a
        # block's code for each width and resolution as well.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = (
            100 * MOST
        )
        torch._dynamo.config.run_gc_after_compile = False  # after each frame, in the middle of all
        made = self._copy(Call(*shape[0]))
        parts = blocks(made) if self._by_blocks else [made]
        for part in parts:
            part.forward = torch.compile(part.forward, dynamic=False)
        # Without the hooks, which write to the other `Call`.
        made.forward(**_in_one_layout(arguments))
        for part in parts:
            part.forward = torch._dynamo.run(part.forward)  # only runs what is compiled
        forward = made.forward
        return lambda **arguments: forward(**_in_one_layout(arguments))

    def _copy(self, call: Call) -> nn.Module:
        """Return a copy of the denoiser with the same weights, whose parts read `call`."""
        front = vars(self._denoiser)["forward"]
        shared = (front, *self._denoiser.parameters(), *self._denoiser.buffers())
        known: dict[int, Any] = {id(one): one for one in shared}
        made = copy.deepcopy(self._denoiser, {**known, id(self._call): call})
        del made.forward
        return made

    def _warn_once(self, event: str, reason: str, **sizes: list[int]) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.warning(event, reason=reason, **sizes)


def blocks(denoiser: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a denoiser; none is inside another one.

    Equal blocks are compiled once. diffusers' models name their repeated blocks
    (`_repeated_blocks`); UNet3DConditionModel does not.
    """
    names = {*(getattr(denoiser, "_repeated_blocks", None) or _REPEATED_BLOCKS)}
    parts = denoiser.modules()
    return [part for part in parts if names & {kind.__name__ for kind in type(part).__mro__}]


def _in_one_layout(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments whose tensors are contiguous: the compiled code is for that layout."""
    copied = functools.partial(torch.clone, memory_format=torch.contiguous_format)
    made: dict[str, Any] = pytree.tree_map_only(torch.Tensor, copied, arguments)
    return made


def _in_turn(work: Callable[[], None]) -> None:
    """Call `work`, which compiles, after all that was begun before.

    Meanwhile no thread collects garbage, which also happens unasked: torch has crashed where that
    was done in the middle of a compilation.
    """
    with _one_at_a_time:
        gc.disable()
        try:
            work()
        finally:
            gc.enable()
            gc.collect()


def collect_garbage() -> None:
    """Collect garbage; while something compiles, that is done at its end."""
    if _one_at_a_time.acquire(blocking=False):
        try:
            gc.collect()
        finally:
            _one_at_a_time.release()


def _at_work() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == _THREAD]


def is_compiling() -> bool:
    """Return whether a compilation runs or waits for its turn, for any pipeline."""
    return bool(_at_work())


def wait_for_compiler(
    seconds: float = math.inf, is_enough: Callable[[], bool] = lambda: False
) -> None:
    """Wait until all compilations have ended or `is_enough`, for `seconds` at most."""
    end = time.monotonic() + seconds
    for thread in _at_work():
        while thread.is_alive() and not is_enough() and (left := end - time.monotonic()) > 0:
            thread.join(min(left, LOOK_SECONDS))


def _folder() -> Path:
    """Return the folder for what is compiled; it may not exist.

    Torch's own default, which it puts into the environment on import, is in /tmp; a permanent
    folder takes its place.
    """
    default = cache_dir_utils.default_cache_dir()
    given = os.environ.get(CACHE) or default
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if given == default and os.path.isabs(caches):  # it is not absolute without a home
        given = os.environ[CACHE] = os.path.join(caches, "reeldrop-compiled")
    return Path(given)


def _bytes_of_render() -> int:
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
