"""What records on the CPU as CUDA graphs do on a GPU: only what touches tensors is done again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = "operation not permitted when stream is capturing"


class _NoValues(TorchFunctionMode):
    """Refuses what hands a tensor's values to Python, without any operation where it is a CPU's."""

    NAMES = frozenset({"tolist", "numpy", "__array__", "item"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in self.NAMES:
            raise RuntimeError(f"{REFUSED}: {name}")
        return func(*args, **(kwargs or {}))


class Tape(TorchDispatchMode):
    """Notes each operation with the very tensors that it has read and written."""

    WAIT = frozenset({"lift_fresh", "_local_scalar_dense", "equal"})
    """What waits for the device, besides what says so of itself."""
    TAGS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._given: set[int] = set()
        self._made: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode what is made of several operations comes whole
            output = func.decompose(*args, **kwargs)
        if output is not NotImplemented:
            return output
        if self._waits(func, args):
            raise RuntimeError(f"{REFUSED}: {func}")
        output = func(*args, **kwargs)
        self._operations.append((func, args, kwargs, output))
        self._given |= {_memory(one) for one in _tensors((args, kwargs))} - self._made.keys()
        for one in _tensors(output):
            if _memory(one) not in self._given:
                self._made.setdefault(_memory(one), one)
        return output

    def _waits(self, func: Any, args: Any) -> bool:
        name = func.overloadpacket.__name__
        if name in ("index", "index_put", "index_put_"):  # by a mask
            return any(one.dtype in (torch.bool, torch.uint8) for one in _tensors(args[1]))
        return name in self.WAIT or bool(self.TAGS & {*func.tags})

    @property
    def made_bytes(self) -> int:
        """How much memory all that it has written is."""
        return sum(one.untyped_storage().nbytes() for one in self._made.values())

    def replay(self) -> None:
        """Do all of it again, in the same memory."""
        for func, args, kwargs, output in self._operations:
            again = pytree.tree_leaves(func(*args, **kwargs))
            for old, new in zip(pytree.tree_leaves(output), again, strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)

    def spoil(self) -> None:
        """Overwrite what it has written, as another recording does that has the same memory."""
        for one in self._made.values():
            whole = torch.empty(0, dtype=torch.uint8).set_(one.untyped_storage())
            whole.fill_(0xFF)  # as floats: not numbers


class CpuRecorder:
    """A `graphs.Recorder`, which knows how often it was asked."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.recorded = 0
        self.replayed = 0
        self._tapes: weakref.WeakSet[Tape] = weakref.WeakSet()

    @property
    def taken_bytes(self) -> int:
        """As if each took as much."""
        return len(self._tapes) << 20

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None], int]:
        self.recorded += 1
        work()
        with _NoValues(), Tape() as tape:
            made = work()
        self._tapes.add(tape)

        def replay() -> None:
            self.replayed += 1
            for other in {*self._tapes} - {tape}:
                other.spoil()
            tape.replay()

        return made, replay, tape.made_bytes


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
