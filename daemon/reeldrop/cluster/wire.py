"""The messages between the service, the bridge and the actors.

Orders and events are pickled once, by the service and the actors; the bridge passes them on unread,
so it needs no torch. Unpickling adds no risk: whoever can call an actor can run code by Ray anyway,
which is why Ray asks for a token.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reeldrop.base.job import Batch, Cause

if TYPE_CHECKING:
    from reeldrop.base.events import RendererEvent
    from reeldrop.render.source import ModelSource


def _proxy(mapping: Mapping[object, object]) -> MappingProxyType[object, object]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, lambda proxy: (_proxy, (dict(proxy),)))

# What the service and the actors say to each other


@dataclass(frozen=True, slots=True)
class Setup:
    """The arguments of an actor.

    bundled: the folder of the bundled model where the service runs
    encoder: for mp4, as in config.yaml
    results: the folder in which the service looks for files that renderers have encoded
    marker, secret: the name and content of a file in it: a node that reads the same has the folder
    """

    sources: Mapping[str, ModelSource]
    bundled: str
    encoder: str
    results: Path
    marker: str
    secret: str


@dataclass(frozen=True, slots=True)
class Load:
    """See `Renderer.load`."""

    model: str


@dataclass(frozen=True, slots=True)
class Release:
    """See `Renderer.release`."""

    model: str
    keeps: bool


@dataclass(frozen=True, slots=True)
class Use:
    """See `Renderer.use`."""

    sources: Mapping[str, ModelSource]


@dataclass(frozen=True, slots=True)
class Render:
    """See `Renderer.render`. `number` identifies the batch in later messages.

    pictures: the content of the batch's pictures, by their paths where the service runs
    """

    number: int
    batch: Batch
    pictures: Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Cancel:
    """See `Renderer.cancel`."""

    number: int


@dataclass(frozen=True, slots=True)
class Tune:
    """Tell, by `Tuner.tell`, how a profile is rendered fastest; a ModelFailed, if it can't be.

    allowed: what prompts may ask of it; see `Config.allowed`
    rounds: how often each way is timed
    """

    source: ModelSource
    allowed: Mapping[str, Any]
    rounds: int


Instruction = Load | Release | Use | Render | Cancel | Tune

NO_BATCH = Batch(())


@dataclass(frozen=True, slots=True)
class Said:
    """An event of a renderer. One about a batch has NO_BATCH in place of it, and its `number`."""

    number: int
    event: RendererEvent


# What the service says to the bridge


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a bridge.

    address: `local`, `auto`, or host:port
    node_ip: the address of this machine in the cluster's network; empty for Ray's choice
    network: the cluster's network, such as 10.0.0.0/24; empty for any
    most: how many renderers at most; None for all GPUs
    setup: a pickled `Setup` for the actors
    groups: the numbers of GPUs that profiles ask for
    free: the most bytes that were ever free on each GPU, by the key of `Joined`
    first: the number of the first actor: an order for one of an earlier bridge must not find it
    """

    address: str
    node_ip: str
    network: str
    most: int | None
    setup: bytes
    groups: tuple[int, ...] = ()
    free: Mapping[str, int] = field(default_factory=dict)
    first: int = 1


@dataclass(frozen=True, slots=True)
class Order:
    """An order for a renderer, a pickled `Instruction`; `number` counts its orders from 1."""

    place: int
    number: int
    order: bytes


@dataclass(frozen=True, slots=True)
class End:
    """End a renderer at once, whatever it does.

    pause: for so many seconds none on its GPU joins, also if it has ended before
    """

    place: int
    reason: str
    pause: float = 0.0


# What the bridge says to the service


@dataclass(frozen=True, slots=True)
class Facts:
    """What an actor finds out about its place.

    device: the name of its GPU, or of the CPU
    gpu: its machine and the numbers of its GPUs there; empty without one
    total, free: bytes of the GPU that has the fewest free; 0 without one
    sees_results: whether it shares the service's results folder
    version: of reeldrop
    gpus: how many of the device it renders on together
    """

    node: str
    device: str
    gpu: str
    total: int
    free: int
    sees_results: bool
    version: str
    pid: int
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Connected:
    """The bridge has joined the cluster, which has this number of nodes.

    renderers: how many there will be if no node joins or leaves
    """

    nodes: int
    renderers: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The head of the cluster answers, and the bridge goes on; said every few seconds."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A renderer takes orders at a place.

    key: identifies its GPUs, or its machine if it has none, also after a restart
    free: the most bytes that were ever free there; 0 without a GPU
    """

    place: int
    facts: Facts
    key: str
    free: int


@dataclass(frozen=True, slots=True)
class Left:
    """A renderer has ended."""

    place: int
    reason: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Told:
    """Events of a renderer, each a pickled `Said`."""

    place: int
    events: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why renderers are missing; empty if none are.

    is_final: whether a later try would fail, too
    """

    reason: str
    is_final: bool = False


Message = Connected | Alive | Joined | Left | Told | Trouble
"""What the bridge sends to the service."""
