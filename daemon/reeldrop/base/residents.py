"""Which models a renderer has loaded, and how much memory is free, as it reports them."""

from __future__ import annotations

from dataclasses import dataclass, field

HEADROOM = 1.5
"""A model has room if this many times its weights are free: renders need some beside them."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model.

    device_bytes, host_bytes: the memory that its weights take on the device and in host memory
    is_ready: whether it can render at once; else its weights are only kept in host memory
    """

    model: str
    device_bytes: int = 0
    host_bytes: int = 0
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """The models that are loaded, the least recently used first, and the bytes that are free.

    device_free, device_total: None if the renderer computes in host memory
    shortages: how often memory ran out so far, by what was done about it
    ready: the models that can render at once
    """

    residents: tuple[Resident, ...] = ()
    device_free: int | None = None
    host_free: int = 0
    device_total: int | None = None
    shortages: tuple[tuple[str, int], ...] = ()
    ready: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        ready = frozenset(found.model for found in self.residents if found.is_ready)
        object.__setattr__(self, "ready", ready)  # asked for each of hundreds of renderers
