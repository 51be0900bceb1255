"""Which of several renderers renders what. Pure, as `schedule`, which uses it.

What needs a model goes where that is loaded. It is loaded elsewhere, too, if a renderer would have
nothing else to do.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from reeldrop.schedule import models
from reeldrop.schedule.view import FileView, JobView, RendererView, SpoolView, View, Waiting


def in_order(renderers: Sequence[RendererView], able: Iterable[int], model: str) -> list[int]:
    """Return the numbers of renderers, those first that are best for prompts of a model.

    They have it ready, or else have nothing in hand, or else the fewest models.
    """

    def key(number: int) -> tuple[bool, bool, int]:
        found = renderers[number]
        is_away = model not in found.memory.ready
        return is_away, found.is_busy, len(found.memory.residents) if is_away else 0

    return sorted(able, key=key)


def without_others(
    view: View, renderer: int, line: list[Waiting]
) -> tuple[list[Waiting], list[str]]:
    """Return a line without what a renderer can't render, and what it leaves to others.

    Also return what it leaves only because they would finish it sooner.
    """
    own = view.renderers[renderer]
    ready = own.memory.ready
    left: dict[str, bool] = {}
    ends = _Ends(view, renderer, line)
    found: list[Waiting] = []
    slower: list[str] = []
    for waiting in line:
        model = waiting.model
        if model in own.unusable or (isinstance(waiting, JobView) and not waiting.size_on(own)):
            continue
        if _is_for_others(view, own, waiting):
            continue
        if model and model not in ready:
            if model not in left:
                left[model] = _is_left(view, renderer, model, line)
            if left[model]:
                continue
        elif ends.has(waiting):
            slower.append(waiting.id)
            continue
        found.append(waiting)
    return found, slower


class _Ends:
    """What a renderer leaves to others that would finish it sooner, each after all before it.

    It leaves no job for longer than it would have taken for it: others may have got other work.
    """

    def __init__(self, view: View, renderer: int, line: list[Waiting]) -> None:
        self._view, self._renderer, self._line = view, renderer, line
        self._counts: dict[str, float] = {}
        self._are_left: dict[tuple[object, ...], bool] = {}
        self._models: set[str] = set()

    def has(self, waiting: Waiting) -> bool:
        """Return whether something is left; of files, what comes after such a job of their model.

        Never a suspect, as all else waits for it.
        """
        model = waiting.model
        if isinstance(waiting, FileView):
            return model in self._models
        if isinstance(waiting, SpoolView) or waiting.is_suspect:
            return False
        own = self._view.renderers[self._renderer]
        each = waiting.seconds.get(own.kind)
        if each is None or self._view.waits.get(waiting.id, 0.0) >= each:
            return False
        key = (waiting.kind(waiting.prompts[0]), waiting.size_on(own), waiting.failed_at)
        if key not in self._are_left:
            if model not in self._counts:
                self._counts[model] = prompts_for(self._line, model)
            share_of_it = share(self._view, self._renderer, self._counts[model], waiting)
            self._are_left[key] = not share_of_it
        if self._are_left[key]:
            self._models.add(model)
        return self._are_left[key]


def _is_for_others(view: View, own: RendererView, waiting: Waiting) -> bool:
    """Return whether something has failed where a renderer is, and others have not tried it."""
    if not isinstance(waiting, JobView) or own.place not in waiting.failed_at:
        return False
    return any(other.may_take(waiting) for other in view.renderers)


def _is_left(view: View, renderer: int, model: str, line: Iterable[Waiting]) -> bool:
    """Return whether what needs a model is left to others: to those that load it or are free.

    If another model would have to leave here, it is left to those that are busy, too, until it has
    waited for too long, or this one has had nothing to do for as long.
    """
    wanted = [waiting for waiting in line if waiting.model == model]
    most = view.conditions.model_wait_seconds
    own, size = view.renderers[renderer], view.sizes.get(model, 0)
    processes = view.processes.get(model, 1)
    is_overdue = any(view.waits.get(waiting.id, 0.0) >= most for waiting in wanted)
    is_overdue |= not own.is_busy and own.idle_seconds(view.now) >= most
    release = models.make_room(renderer, own.memory, model, size, processes)
    is_dear = release is not None and not is_overdue
    others = [
        other
        for number, other in enumerate(view.renderers)
        if number != renderer
        and model not in other.unusable
        and not other.is_held
        and (other.loading == model or (model in other.memory.ready and (other.is_free or is_dear)))
    ]
    lead = next((waiting for waiting in wanted if isinstance(waiting, JobView)), None)
    if lead is None:  # it has to be claimed or read first
        return bool(others)
    others = [other for other in others if other.may_take(lead)]
    count = sum(1 if isinstance(w, SpoolView) else max(1, w.count) for w in wanted)
    return count <= sum(lead.size_on(other) for other in others)


def prompts_for(line: Iterable[Waiting], model: str) -> float:
    """Return how many prompts wait for a model, at most; infinite if that is not known."""
    return sum(_count(waiting) for waiting in line if waiting.model in ("", model))


def share(view: View, renderer: int, count: float, first: JobView) -> int:
    """Return how many prompts like the first of a job a renderer takes; 0 leaves them to others.

    count: how many wait for the model

    It takes one after the other, as many as fit, as long as it is through with that one no later
    than the others that have the model would be, after what they have in hand, with that one and
    all else that waits for the model. So a slow one works while much waits, and leaves the end to a
    quick one that is still busy; those that have nothing to do share by their speed.

    All that waits is taken to be like the first. Who has not rendered such a video yet counts only
    while it has nothing in hand, and as quick as this renderer; if that has not, all are equal.
    """
    own, now = view.renderers[renderer], view.now
    each, size = first.seconds.get(own.kind), first.size_on(own)
    begin = own.free_in(now) if each else 0.0
    begin = begin if math.isfinite(begin) else 0.0
    quickest = max(1e-9, min(first.seconds.values())) if each else 1.0
    if len(view.renderers) * (begin + size * (each or 1.0)) / quickest <= count - size:
        return size  # more than all others could do, whatever they have in hand
    others = []
    for number, other in enumerate(view.renderers):
        takes = first.seconds.get(other.kind) if each else None
        free_in = other.free_in(now)
        is_known = not other.is_busy or (takes is not None and math.isfinite(free_in))
        has_it = first.model in other.memory.ready and other.may_take(first)
        if number != renderer and has_it and is_known and first.size_on(other):
            others.append((free_in, takes or each or 1.0))

    def is_late(taken: int) -> bool:
        end = begin + (taken + 1) * (each or 1.0)
        done = sum(max(0, math.ceil((end - at) / takes) - 1) for at, takes in others)
        return done >= count - taken

    return bisect_left(range(size), True, key=is_late)


def _count(waiting: Waiting) -> float:
    """Return how many prompts something has; infinite if that is not known."""
    return math.inf if isinstance(waiting, SpoolView) else waiting.count or math.inf
