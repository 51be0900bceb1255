"""What records on the CPU as CUDA graphs do on a GPU: only what touches tensors is done again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

WAIT_FOR_THE_DEVICE = {"item", "_local_scalar_dense", "nonzero", "equal", "lift_fresh"}
"""What reads values of the device, or brings some from the host: a recording forbids that."""


class Tape(TorchDispatchMode):
    """Notes each operation with the very tensors that it has read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAIT_FOR_THE_DEVICE:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        output = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        """Do all of it again, in the same memory."""
        for func, args, kwargs, output in self.operations:
            again = pytree.tree_leaves(func(*args, **kwargs))
            for old, new in zip(pytree.tree_leaves(output), again, strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


class CpuRecorder:
    """A `graphs.Recorder`, which knows how often it was asked."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.recorded = 0
        self.replayed = 0
        self.taken_bytes = 1 << 20

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        with Tape() as tape:
            made = work()

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return made, replay
