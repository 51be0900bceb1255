"""Actors, as the bridge knows them: how one is started, and what the errors of its calls mean."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reeldrop.cluster import actor

if TYPE_CHECKING:
    from reeldrop.cluster.places import Place
    from reeldrop.cluster.wire import Facts

_THREADS = 8
"""Threads of an actor; one of them waits in `ask`."""


@dataclass(slots=True, eq=False)
class Life:
    """One actor, from its start to its end.

    number: by which the service knows it
    arrived: the number of its last event that has arrived
    repeating: its calls that fail, and are repeated
    has_joined, is_ended: the service knows it; the service has ended it
    """

    number: int
    place: Place
    handle: Any
    began: float
    facts: Facts | None = None
    arrived: int = 0
    has_joined: bool = False
    repeating: set[object] = field(default_factory=set)
    is_ended: bool = False
    is_over: bool = False


def begin(number: int, place: Place, needs: Mapping[str, float], setup: bytes) -> Life:
    """Start an actor at a place, with what it needs there and a pickled `Setup`."""
    others = dict(needs)
    options = {
        "num_cpus": 0,
        "num_gpus": others.pop("GPU", 0),
        "resources": others,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": _THREADS,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node, soft=False),
    }
    handle = ray.remote(actor.RendererActor).options(**options).remote(setup)
    return Life(number, place, handle, time.monotonic())


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


def end_process(life: Life) -> None:
    """Kill an actor's process, if Ray could not."""
    if not life.is_over and life.facts is not None:
        strategy = NodeAffinitySchedulingStrategy(life.place.node, soft=False)
        kill = ray.remote(actor.end_process).options(num_cpus=0, scheduling_strategy=strategy)
        kill.remote(life.facts.pid)
