"""The workbenches of all renderers that there are.

Does not know what is rendered, nor what follows when a renderer is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reeldrop.base.job import Batch
from reeldrop.service.workbench import Workbench

if TYPE_CHECKING:
    from reeldrop.base.events import RendererJoined
    from reeldrop.base.fleet import Device
    from reeldrop.render.fleet import Fleet
    from reeldrop.service.forecast import BatchesToCome, Forecast

AWAY_SECONDS = 600.0
"""For how long a lost kind of card is expected back: most are replaced within a minute."""

JOIN_SECONDS = 120.0
"""For how long after a start other renderers are expected to join, maybe with larger cards; and a
drain without any waits for one."""

DRAIN_SECONDS = 60.0
"""For how long a drain expects either: it has to end."""


class Benches:
    """The workbenches, in the order in which the renderers joined.

    is_patient: whether cards that are not there are expected for long; not in a drain
    outlives: whether the process goes on when one is lost
    trouble: why renderers are missing; empty if none is
    is_hopeless: whether none will ever come
    began: when the first of them were asked for
    """

    def __init__(self, forecast: Forecast, *, is_patient: bool = True) -> None:
        self._forecast = forecast
        self._is_patient = is_patient
        self._benches: dict[str, Workbench] = {}
        self._changed: set[Workbench] = set()
        self._busy: set[Workbench] = set()
        self.outlives = False
        self.trouble = ""
        self.is_hopeless = False
        self.began = -math.inf
        self._lost_at = -math.inf
        self._lost: dict[str, tuple[Device, float]] = {}

    def __iter__(self) -> Iterator[Workbench]:
        return iter(tuple(self._benches.values()))

    def __len__(self) -> int:
        return len(self._benches)

    def get(self, renderer: str) -> Workbench | None:
        """Return the workbench of a renderer; None if that has left."""
        return self._benches.get(renderer)

    def join(self, joined: RendererJoined, fleet: Fleet, stall_seconds: float) -> Workbench:
        """Make the workbench of a renderer."""
        bench = Workbench(
            fleet.renderer(joined.id),
            stall_seconds,
            self._forecast,
            joined.id,
            joined.device,
            is_own=not fleet.can_lose,
            changed=self._note_change,
        )
        self._benches[joined.id] = bench
        self._note_change(bench)
        self._forecast.join(joined.id, bench.kind)
        return bench

    def leave(self, renderer: str) -> Workbench | None:
        """Take away the workbench of a renderer, and return it; None if it has left before."""
        self._forecast.leave(renderer)
        bench = self._benches.pop(renderer, None)
        if bench is not None:
            self._busy.discard(bench)
            self._changed.discard(bench)  # in a pause, nobody takes them for long
        return bench

    def _note_change(self, bench: Workbench) -> None:
        if self._benches.get(bench.id) is not bench:  # it is being made, or has left
            return
        self._changed.add(bench)
        if bench.is_busy:
            self._busy.add(bench)
        else:
            self._busy.discard(bench)

    def take_changed(self) -> set[Workbench]:
        """Return the workbenches on which something has changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def lose(self, device: Device, now: float) -> None:
        """Record that a renderer was lost: one on such a device will probably replace it."""
        self._lost[device.kind] = device, now
        self._lost_at = now

    def away(self, now: float) -> list[Device]:
        """Return the devices that were lost a short time ago, while none of their kind is there."""
        there = {bench.kind for bench in self}
        self._lost = {
            kind: (device, at)
            for kind, (device, at) in self._lost.items()
            if now - at < self._bounded(AWAY_SECONDS) and kind not in there
        }
        return [device for device, _ in self._lost.values()]

    def may_grow(self, now: float) -> bool:
        """Return whether others will probably join, as they were asked for a short time ago."""
        return self.outlives and now - self.began < self._bounded(JOIN_SECONDS)

    def are_expected(self, now: float) -> bool:
        """Return whether others will probably join, or come back."""
        return self.may_grow(now) or bool(self.away(now))

    def why_none_comes(self, now: float) -> str:
        """Return why a drain has to end: there is none, and none is waited for any more."""
        if self._benches or not self.outlives:
            return ""
        if self.is_hopeless:
            return f"no renderer: {self.trouble}"
        if now - max(self.began, self._lost_at) < JOIN_SECONDS:
            return ""
        why = self.trouble or "none has joined"
        return f"no renderer: {why}; a drain waits {JOIN_SECONDS:.0f} s at most for one"

    @property
    def patience(self) -> str:
        """Why others are expected for a short time only, in words; empty if that is not so."""
        if self._is_patient or not self.outlives:
            return ""
        return f"a drain waits {DRAIN_SECONDS:.0f} s at most for another card"

    def _bounded(self, seconds: float) -> float:
        return seconds if self._is_patient else min(seconds, DRAIN_SECONDS)

    @property
    def first(self) -> Workbench | None:
        """The one that has begun its batch before the others."""
        busy = (bench for bench in self if bench.batch is not None)
        return min(busy, key=lambda bench: bench.began, default=None)

    @property
    def are_busy(self) -> bool:
        """Whether all have something in hand."""
        return len(self._busy) == len(self._benches)

    @property
    def is_any_busy(self) -> bool:
        """Whether one has something in hand."""
        return bool(self._busy)

    @property
    def is_any_rendering(self) -> bool:
        """Whether one renders a batch or the warm-up."""
        return any(bench.batch or bench.warm_up for bench in self)

    @property
    def is_any_loading(self) -> bool:
        """Whether one loads a model."""
        return any(bench.loading for bench in self)

    def seconds_left(self, job_id: str, coming: BatchesToCome, now: float) -> float | None:
        """Return how long a job takes from now; None if unknown.

        coming: the batches after those in hand
        """
        handed = {bench.id: bench.coming for bench in self if bench.coming is not None}
        return self._forecast.left(job_id, coming, now, handed)

    def cancel_all(self) -> None:
        """Stop everything in hand at the end of its current step."""
        for bench in self:
            bench.cancel_all()

    def batches(self) -> Iterator[tuple[Workbench, Batch]]:
        """Yield the batches that were handed over, each with where."""
        for bench in self:
            for batch in bench.batches:
                yield bench, batch

    def close(self) -> None:
        """Close all renderers that have nothing in hand, and forget them."""
        for bench in self:
            bench.close()
            self.leave(bench.id)
        self._lost.clear()
