"""Measure how a profile is rendered fastest, on each kind of card of a cluster by one renderer.

Knows neither jobs nor where the findings are kept.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reeldrop.base.errors import FileError, Mistake, Unavailable
from reeldrop.base.events import (
    Event,
    FleetBroken,
    FleetTrouble,
    FromRenderer,
    ModelFailed,
    RendererEnded,
    RendererJoined,
    RendererLeft,
)
from reeldrop.base.trial import Tried, Tuned
from reeldrop.cluster.fleet import ClusterFleet
from reeldrop.config import profiles

if TYPE_CHECKING:
    from reeldrop.config.config import Config

JOIN_SECONDS = 120.0
"""How long renderers are waited for that have not joined."""

SILENT_SECONDS = 1800.0
"""How long one that measures may tell no step and no trial, and read and write nothing: the
compiler may need some minutes for a large model."""


def tune(config: Config, model: str, rounds: int) -> Iterator[tuple[str, Tried | Tuned]]:
    """Yield what each kind of card tells, with the device's name; all kinds measure at once.

    Raises:
        ConfigError: the cluster can't be used.
        Unavailable: there is no renderer, or one could not measure or hangs, which is told at the
            end.
    """
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    fleet = ClusterFleet(config, events.put)
    fleet.begin()
    try:
        yield from _Tuning(config, model, rounds, fleet).told_by(events)
    finally:
        fleet.close()


class _Tuning:
    """What is measured where.

    The first renderer of each kind measures; the others of that kind have nothing to do.
    """

    def __init__(self, config: Config, model: str, rounds: int, fleet: ClusterFleet) -> None:
        self._order = profiles.untuned(model, config), config.allowed(model), rounds
        self._fleet = fleet
        self._kinds: set[str] = set()
        self._at: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        self._joined = 0
        self._trouble = ""
        self._failures: list[Mistake] = []

    def told_by(self, events: queue.SimpleQueue[Event]) -> Iterator[tuple[str, Tried | Tuned]]:
        end = time.monotonic() + JOIN_SECONDS
        while self._at or (self._missing and time.monotonic() < end):
            self._give_up_silent(time.monotonic())
            try:
                event = events.get(timeout=1)
            except queue.Empty:
                continue
            self._hear(event)
            if isinstance(event, RendererJoined | FromRenderer):
                self._heard[event.id] = time.monotonic()
            if isinstance(event, FromRenderer) and isinstance(event.event, Tried | Tuned):
                if (device := self._at.get(event.id)) is None:  # it has ended meanwhile
                    continue
                yield device, event.event
                if isinstance(event.event, Tuned):
                    del self._at[event.id]
        if self._missing:
            there = f"{self._joined} of {self._fleet.expected or 'all'} renderers have joined"
            self._failures.append(Mistake(f"{there}: {self._trouble or 'some need too long'}"))
        if self._failures:
            raise Unavailable(*self._failures)

    @property
    def _missing(self) -> bool:
        expected = self._fleet.expected
        return not self._kinds or expected is None or self._joined < expected

    def _hear(self, event: Event) -> None:
        match event:
            case RendererJoined(id, device):
                self._joined += 1
                renderer = self._fleet.renderer(id)
                if device.tuned_as not in self._kinds:
                    self._kinds.add(device.tuned_as)
                    self._at[id] = device.tuned_as
                    renderer.tune(*self._order)
            case RendererLeft(id):
                self._joined -= id in self._at  # another one may join for it
                self._failed(id, Mistake(event.reason))
            case FromRenderer(id, ModelFailed(_, error)):
                known = error.mistakes if isinstance(error, FileError) else (Mistake(str(error)),)
                self._failed(id, *known)
            case FromRenderer(id, RendererEnded(ended)):
                self._failed(id, Mistake(str(ended)))
            case FleetTrouble(reason, is_final):
                self._trouble = reason
                if is_final and not self._at:
                    raise Unavailable(Mistake(reason))
            case FleetBroken():
                raise event.error

    def _give_up_silent(self, now: float) -> None:
        silent = [one for one in self._at if now >= self._heard[one] + SILENT_SECONDS]
        for renderer in silent:
            self._failed(renderer, Mistake(f"no progress for {SILENT_SECONDS / 60:.0f} minutes"))

    def _failed(self, id: str, *mistakes: Mistake) -> None:
        if (device := self._at.pop(id, None)) is not None:
            self._failures += (replace(m, problem=f"{device}: {m.problem}") for m in mistakes)
