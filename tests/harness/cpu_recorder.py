"""Record work on the CPU as CUDA graphs do on a GPU: a replay repeats only tensor operations."""

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
    """Refuses calls that pass a tensor's values to Python; on the CPU, they are no operations."""

    NAMES = frozenset({"tolist", "numpy", "__array__", "item"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in self.NAMES:
            raise RuntimeError(f"{REFUSED}: {name}")
        return func(*args, **(kwargs or {}))


class Tape(TorchDispatchMode):
    """Records each operation with the very tensors that it read and wrote."""

    WAIT = frozenset({"lift_fresh", "_local_scalar_dense", "equal"})
    """Operations that wait for the device, besides those with a tag that implies it."""
    TAGS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._given: set[int] = set()
        self._made: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode, composite operations arrive whole
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
        """The size of all memory that the operations wrote."""
        return sum(one.untyped_storage().nbytes() for one in self._made.values())

    def replay(self) -> None:
        """Repeat all operations, in the same memory."""
        for func, args, kwargs, output in self._operations:
            again = pytree.tree_leaves(func(*args, **kwargs))
            for old, new in zip(pytree.tree_leaves(output), again, strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)

    def spoil(self) -> None:
        """Overwrite the written memory, as another recording that shares it would."""
        for one in self._made.values():
            whole = torch.empty(0, dtype=torch.uint8).set_(one.untyped_storage())
            whole.fill_(0xFF)  # as floats: NaN


class CpuRecorder:
    """A `graphs.Recorder` that counts its recordings and replays."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.recorded = 0
        self.replayed = 0
        self._tapes: weakref.WeakSet[Tape] = weakref.WeakSet()

    @property
    def taken_bytes(self) -> int:
        """Memory of all recordings, as if each took 1 MiB."""
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
