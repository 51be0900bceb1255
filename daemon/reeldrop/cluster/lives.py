"""Actors, as the bridge knows them: how one is started, and what the errors of its calls mean."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reeldrop.cluster import actor

if TYPE_CHECKING:
    from reeldrop.cluster.places import Node, Place
    from reeldrop.cluster.wire import Facts, Start

_THREADS = 8
"""Threads of an actor; one of them waits in `ask`."""

LATE_SECONDS = 60.0
"""After so long it is told that an actor has not begun; most need a tenth of that."""

START_SECONDS = 600.0
"""After so long another one is started: it only imports torch, and asks for the GPU's memory."""


@dataclass(slots=True, eq=False)
class Life:
    """One actor, from its start to its end.

    number: by which the service knows it
    node: its machine, for people
    address: of its machine, which no other one has
    asked: since when it has not answered what it is; infinite if it has
    arrived: the number of its last event that has arrived
    repeating: its calls that fail, and are repeated
    has_joined, is_ended: the service knows it; the service has ended it
    """

    number: int
    place: Place
    handle: Any
    began: float
    node: str = ""
    address: str = ""
    asked: float = math.inf
    facts: Facts | None = None
    arrived: int = 0
    has_joined: bool = False
    repeating: set[object] = field(default_factory=set)
    is_ended: bool = False
    is_over: bool = False

    def answered(self, facts: Facts) -> Facts:
        """Note what it is, and return that with its machine's name in the cluster."""
        self.asked, self.facts = math.inf, replace(facts, node=self.node)
        return self.facts

    @property
    def key(self) -> str:
        """Identifies its GPUs, or its machine if it has none, also after a restart."""
        return f"{self.address} {self.facts.gpu if self.facts is not None else ''}".strip()


def begin(number: int, place: Place, node: Node, start: Start) -> Life:
    """Start an actor at a place of a node, with what the service has said first."""
    others = dict(node.needs(start.groups))
    options = {
        "num_cpus": 0,
        "num_gpus": others.pop("GPU", 0),
        "resources": others,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": _THREADS,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node, soft=False),
    }
    made = ray.remote(actor.RendererActor).options(**options)
    handle = made.remote(start.setup, node.slots(start.groups))
    return Life(number, place, handle, time.monotonic(), node.name, node.address)


def shares_gpu(life: Life, others: Iterable[Life]) -> bool:
    """Return whether another actor works on the same GPU: what that uses is no orphan's.

    So it is where a machine has more renderers than GPUs.
    """
    there = (o for o in others if o is not life and o.has_joined and not o.is_ended)
    return any(other.key == life.key for other in there)


def late(life: Life, now: float) -> str:
    """Return that an actor has not begun for long, and why; empty if it has, or may yet.

    Ray waits for ever, and says nothing, if others on its cluster have the GPU.
    """
    if life.is_ended or life.repeating or now < life.asked + LATE_SECONDS:
        return ""
    return (
        f"{life.node}: a renderer has not started for {LATE_SECONDS:.0f} s, and is replaced after "
        f"{START_SECONDS:.0f} s: another service or program on this cluster has its GPU, or its "
        "start hangs (see Ray's logs on that machine)"
    )


def is_too_late(life: Life, now: float) -> bool:
    """Return whether an actor will probably never begin; what it does until then can't be asked."""
    return now >= life.asked + START_SECONDS


def is_dead(error: BaseException) -> bool:
    """Return whether the actor has ended, or can't be started."""
    return isinstance(error, ray.exceptions.ActorDiedError | ray.exceptions.ActorUnschedulableError)


def is_full(error: BaseException) -> bool:
    """Return whether a machine has no room for arguments or answers, whatever they are."""
    full = ray.exceptions.ObjectStoreFullError | ray.exceptions.OutOfDiskError
    return isinstance(error, full)


def is_defect(error: BaseException) -> bool:
    """Return whether a method of the actor has raised an error: it would do so again."""
    return isinstance(error, ray.exceptions.RayTaskError) and not is_full(error)


def is_of_machine(error: BaseException) -> bool:
    """Return whether a disk, the network or Ray has failed, whatever the call asked for."""
    if isinstance(error, ray.exceptions.RayTaskError):  # Ray's own: its arguments were lost
        return isinstance(error.cause, OSError | ray.exceptions.RayError)
    return is_full(error) or isinstance(error, ray.exceptions.ActorUnavailableError)


def end_process(life: Life) -> None:
    """Kill an actor's process, if Ray could not."""
    if not life.is_over and life.facts is not None:
        strategy = NodeAffinitySchedulingStrategy(life.place.node, soft=False)
        kill = ray.remote(actor.end_process).options(num_cpus=0, scheduling_strategy=strategy)
        kill.remote(life.facts.pid)
