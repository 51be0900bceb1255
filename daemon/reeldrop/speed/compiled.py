"""What all compilations of this process share: their turn, their folder on disk, memory, garbage.

They run one at a time, in threads beside renders. Does not know what is compiled.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch._inductor.runtime import cache_dir_utils

CACHE = "TORCHINDUCTOR_CACHE_DIR"

LOOK_SECONDS = 0.1
"""How often whoever waits for the compiler looks whether that is enough."""

_one_at_a_time = threading.Lock()
_at_work: set[threading.Thread] = set()
"""Threads that compile or wait for their turn."""
_has_garbage = threading.Event()


def compile_beside(work: Callable[[], None]) -> None:
    """Call `work`, which compiles, in a thread, after all that was begun before."""
    thread = threading.Thread(target=_in_turn, args=(work,), daemon=True)
    _at_work.add(thread)
    thread.start()


def _in_turn(work: Callable[[], None]) -> None:
    try:
        with _one_at_a_time, _without_collector():
            work()
    finally:
        if _has_garbage.is_set():
            collect_garbage()
        _at_work.discard(threading.current_thread())


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


def use_permanent_folder() -> None:
    """Set a permanent cache folder, because torch's default is in /tmp.

    The default may already be in the environment, where torch puts it on import.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    default = cache_dir_utils.default_cache_dir()
    is_given = os.environ.get(CACHE, default) != default
    if os.path.isabs(caches) and not is_given:  # it is not absolute without a home
        os.environ[CACHE] = os.path.join(caches, "reeldrop-compiled")


def folder() -> Path:
    """Return the folder for what is compiled; it may not exist."""
    # Not torch's `cache_dir`, which makes the folder, and raises if it can't.
    return Path(os.environ.get(CACHE) or cache_dir_utils.default_cache_dir())


def bytes_of_last_render() -> int:
    """Return the GPU memory that the last render took in addition to the weights."""
    if not torch.cuda.is_available():
        return 0
    return torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()


def has_room_for(needed: int) -> bool:
    """Return whether the GPU has memory to run the compiled form while a render runs."""
    if not torch.cuda.is_available():
        return True
    free, _ = torch.cuda.mem_get_info()
    stock = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return free + stock > 2 * needed
