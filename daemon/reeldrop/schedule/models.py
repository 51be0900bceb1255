"""Which models stay loaded, and whose prompts go first, so that models are seldom exchanged.

Pure, as `schedule`, which uses it. Does not know pipelines or devices, only sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from reeldrop.base.residents import HEADROOM, Memory, Resident
from reeldrop.schedule.decisions import Release


def make_room(
    renderer: int, memory: Memory, model: str, size: int, processes: int = 1
) -> Release | None:
    """Return which model has to leave before another one renders; None if there is room, or nobody
    can leave.

    The least recently used one goes first. A model of unknown size, 0, is given all the room. Each
    of its processes reads the weights into host memory, and has a device of its own, if any.
    """
    own = next((found for found in memory.residents if found.model == model), None)
    others = [found for found in memory.residents if found.model != model]
    arriving = size * processes if own is None else 0
    has_device = memory.device_free is not None
    free = memory.device_free if memory.device_free is not None else memory.host_free
    if free < _needed(own, size) * (1 if has_device else processes):
        for other in others:
            if has_device and other.device_bytes:
                keeps = memory.host_free >= other.device_bytes + arriving
                return Release(renderer, other.model, keeps)
            if not has_device:
                return Release(renderer, other.model, keeps=False)
    if has_device and memory.host_free < arriving:  # weights are read there first
        for other in others:
            if other.host_bytes:
                return Release(renderer, other.model, keeps=False)
    return None


def _needed(own: Resident | None, size: int) -> float:
    """Return how many bytes have to be free for a model to be loaded, if it is not, and render."""
    if own is None:
        return size * HEADROOM if size else math.inf
    if own.is_ready:
        return (own.device_bytes or own.host_bytes) * (HEADROOM - 1)
    return own.host_bytes * HEADROOM


def unload(renderer: int, memory: Memory) -> Release | None:
    """Return which model leaves first if nothing is to do; None if the device is free of them."""
    for resident in memory.residents:
        if memory.device_free is None:
            return Release(renderer, resident.model, keeps=False)
        if resident.device_bytes:
            keeps = memory.host_free >= resident.device_bytes
            return Release(renderer, resident.model, keeps)
    return None


class Waits:
    """How long jobs and files have waited while later ones of a loaded model went first, or while
    a renderer with nothing to do left them to quicker ones.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._passed: dict[str | None, frozenset[str]] = {}
        self._since = 0.0

    def begin(
        self, rendered: Iterable[str], passed: Iterable[str], now: float, renderer: str = ""
    ) -> None:
        """Record that a batch of some begins, and goes ahead of others; those in it wait anew."""
        self._seconds = self.seconds(now)
        for name in rendered:
            self._seconds.pop(name, None)
        self._passed.pop(None, None)  # what is left is told when nothing more can begin
        self._passed.pop(renderer, None)
        if names := frozenset(passed):  # of hundreds, few go ahead of others
            self._passed[renderer] = names
        self._since = now

    def leave_to_others(self, left: Iterable[str], now: float) -> None:
        """Record what renderers with nothing to do leave to quicker ones from now on."""
        names = frozenset(left)
        if names != self._passed.get(None, frozenset()):
            self._seconds, self._since = self.seconds(now), now
            self._passed[None] = names

    def leave(self, renderer: str, now: float) -> None:
        """Record that nothing goes ahead on a renderer any more: it is lost."""
        self.begin((), (), now, renderer)

    def rename(self, before: str, name: str) -> None:
        """Record that a file that waits is a job now."""
        if before in self._seconds:
            self._seconds[name] = self._seconds.pop(before)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all others: they do not wait any more."""
        if self._seconds:  # else hundreds of names would be looked at for nothing
            self._seconds = {name: self._seconds[name] for name in names if name in self._seconds}

    def seconds(self, now: float) -> dict[str, float]:
        """Return for how long each of them has waited."""
        passed = frozenset[str]().union(*self._passed.values())
        longer = {name: self._seconds.get(name, 0.0) + now - self._since for name in passed}
        return {**self._seconds, **longer}
