"""Which of several renderers renders what. Pure, as `schedule`, which uses it.

What needs a model goes where that is loaded. It is loaded elsewhere, too, if a renderer would have
nothing else to do.
"""

from __future__ import annotations

import math
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


def without_others(view: View, renderer: int, line: list[Waiting]) -> list[Waiting]:
    """Return a line without what a renderer can't render, and what it leaves to others."""
    own = view.renderers[renderer]
    ready = own.memory.ready
    left: dict[str, bool] = {}
    found = []
    for waiting in line:
        model = waiting.model
        if model in own.unusable:
            continue
        if model and model not in ready:
            if model not in left:
                left[model] = _is_left(view, renderer, model, line)
            if left[model]:
                continue
        found.append(waiting)
    return found


def _is_left(view: View, renderer: int, model: str, line: Iterable[Waiting]) -> bool:
    """Return whether what needs a model is left to others: to those that load it or are free.

    If another model would have to leave here, it is left to those that are busy, too, until it has
    waited for too long, or this one has had nothing to do for as long.
    """
    wanted = [waiting for waiting in line if waiting.model == model]
    most = view.conditions.model_wait_seconds
    own, size = view.renderers[renderer], view.sizes.get(model, 0)
    is_overdue = any(view.waits.get(waiting.id, 0.0) >= most for waiting in wanted)
    is_overdue |= not own.is_busy and own.idle_seconds >= most
    is_dear = models.make_room(renderer, own.memory, model, size) is not None and not is_overdue
    others = [
        other
        for number, other in enumerate(view.renderers)
        if number != renderer
        and model not in other.unusable
        and (other.loading == model or (model in other.memory.ready and (other.is_free or is_dear)))
    ]
    lead = next((waiting for waiting in wanted if isinstance(waiting, JobView)), None)
    if lead is None:  # it has to be claimed or read first
        return bool(others)
    count = sum(1 if isinstance(w, SpoolView) else max(1, w.count) for w in wanted)
    return count <= sum(lead.size_on(other) for other in others)


def share(view: View, renderer: int, line: Iterable[Waiting], first: JobView) -> int:
    """Return how many prompts like the first of a job a renderer takes.

    As many as fit; fewer if others have nothing to do: what there is is shared equally with them.
    """
    size, kind = first.size_on(view.renderers[renderer]), first.kind(first.prompts[0])
    others = sum(
        number != renderer and not other.is_busy and first.model in other.memory.ready
        for number, other in enumerate(view.renderers)
    )
    if not others:
        return size
    count = 0
    for waiting in line:
        if isinstance(waiting, JobView):
            alike = waiting.count_of(kind)
            count += waiting.count if alike == len(waiting.prompts) else alike
        elif isinstance(waiting, FileView) and waiting.kind == hash(kind):
            count += waiting.count
    return min(size, math.ceil(count / (1 + others)))
