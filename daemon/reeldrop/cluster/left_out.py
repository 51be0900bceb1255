"""GPUs that get nothing to render for a time, as they fail what works elsewhere.

Ray may give such a GPU to any renderer of its machine: so it is known by its own name, and the
renderer that has it waits, which keeps it from others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reeldrop.cluster.lives import Life
    from reeldrop.cluster.places import Place


class _Out(NamedTuple):
    until: float
    reason: str
    node: str


class LeftOut:
    """The GPUs that are left out, by `Life.key`, and which GPU the last two at each place had."""

    def __init__(self) -> None:
        self._last: dict[Place, tuple[tuple[int, str], ...]] = {}
        self._out: dict[str, _Out] = {}

    def note_joined(self, life: Life) -> None:
        """Note that a renderer works: its GPU is left out no more."""
        before = self._last.get(life.place, ())[-1:]  # the service may know only that one yet
        self._last[life.place] = (*before, (life.number, life.key))
        self._out.pop(life.key, None)

    def add(self, number: int, until: float, reason: str) -> str:
        """Leave out the GPU of a renderer, which may have ended; return its key, if it is known."""
        for place, known in self._last.items():
            if key := dict(known).get(number):
                self._out[key] = _Out(until, reason, place.node)
                return key
        return ""

    def has(self, life: Life, others: Iterable[Life], now: float) -> bool:
        """Return whether a renderer has to wait: never if no other one works."""
        works = any(o.has_joined and not o.is_ended for o in others if o is not life)
        return works and life.key in self._out and now < self._out[life.key].until

    def reasons(self, now: float) -> list[str]:
        """Return why GPUs are left out now."""
        return [out.reason for out in self._out.values() if now < out.until]

    def forget(self, places: Collection[Place], now: float) -> None:
        """Forget what is on other nodes than these places: those have left. So is what is over."""
        for gone in self._last.keys() - set(places):
            del self._last[gone]
        nodes = {place.node for place in places}
        self._out = {
            key: out for key, out in self._out.items() if out.node in nodes and now < out.until
        }
