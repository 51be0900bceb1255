"""What the renderers look like; each is looked at again only when something has changed there.

Hundreds would take longer to look at than everything else that follows from an event. Does not know
what is rendered next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from reeldrop.schedule.view import AHEAD_SECONDS, RendererView
from reeldrop.service.benches import Benches
from reeldrop.service.models import Models
from reeldrop.service.workbench import Workbench

_NONE = frozenset[str]()


class Sight:
    """The renderers as input of a decision. Only one may be asked of the same workbenches.

    held: returns the renderers that get nothing for now, though they are idle
    """

    def __init__(
        self, benches: Benches, models: Models, held: Callable[[float], frozenset[Workbench]]
    ) -> None:
        self._benches = benches
        self._models = models
        self._ask_for_held = held
        self._order: tuple[Workbench, ...] = ()
        self._views: dict[Workbench, RendererView] = {}
        self._due: dict[Workbench, float] = {}
        self._unusable: Mapping[str, frozenset[str]] = {}
        self._held = frozenset[Workbench]()

    def look(self, now: float) -> tuple[tuple[Workbench, ...], list[RendererView]]:
        """Return the workbenches, and what each of them looks like."""
        changed = self._benches.take_changed()
        changed.update(bench for bench, at in self._due.items() if at <= now)
        if self._order != (order := tuple(self._benches)):
            self._order, views = order, self._views
            self._views = {bench: views[bench] for bench in order if bench in views}
            self._due = {bench: at for bench, at in self._due.items() if bench in self._views}
            changed.update(bench for bench in order if bench not in views)
        changed.update(self._note_trouble(now))
        for bench in changed:
            if self._benches.get(bench.id) is bench:  # else it has left
                self.view(bench, now)
        return order, [self._views[bench] for bench in order]

    def _note_trouble(self, now: float) -> set[Workbench]:
        """Note what renderers can't use, and which get nothing; return those where that changes."""
        unusable, held = self._models.all_unusable(now), self._ask_for_held(now)
        changed = set(held ^ self._held)
        if unusable != self._unusable:
            before = self._unusable
            changed.update(b for b in self._order if unusable.get(b.id) != before.get(b.id))
        self._unusable, self._held = unusable, held
        return changed

    def view(self, bench: Workbench, now: float) -> RendererView:
        """Look at a renderer after a decision that changes it; at its troubles only by `look`."""
        found = bench.view(now, self._unusable.get(bench.id, _NONE))
        if bench in self._held:
            found = replace(found, is_busy=True, seconds_left=math.inf, is_held=True)
        self._views[bench] = found
        self._due.pop(bench, None)
        if found.is_busy and found.seconds_left < math.inf:  # while it is free, it may be overdue
            is_free = found.is_free
            self._due[bench] = now if is_free else now + found.seconds_left - AHEAD_SECONDS
        return found
