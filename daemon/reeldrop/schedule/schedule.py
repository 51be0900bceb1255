"""Decides what is rendered next: only `decide` does.

Pure: no I/O, and no clock of its own. It takes records of everything that waits and returns one
action; `feeding` executes it and asks again. Does not know files, the spool or the renderer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from reeldrop.schedule import models, placing
from reeldrop.schedule.decisions import Decision, Load, Open, PutBack, Release, Render, Wait
from reeldrop.schedule.view import FileView, JobView, RendererView, SpoolView, View, Waiting

MAX_OPEN_JOBS = 256
"""Upper bound on the number of open jobs: each holds a file open. Further renderers add to it."""

MAX_OPEN_PROMPTS = 10_000
"""No more jobs are opened while this many prompts of the open ones wait."""

LOOK_THROUGH = 64
"""How many of the waiting files are searched for prompts that fit into one batch."""

MAX_AT_ONCE = 32
"""Upper bound on the files that are claimed at once."""


def decide(view: View) -> Decision:
    """Return what to do next, so that prompts are rendered in the order of their ranks."""
    able = [number for number, renderer in enumerate(view.renderers) if renderer.is_free]
    is_guarded = any(job.is_suspect and job.is_in_hand for job in view.jobs)
    if not able or view.conditions.is_paused or is_guarded:
        return Wait()
    if (over := _over_with_the_night(view)) is not None:
        return PutBack(over.id, is_over=True)
    line = _line(view)
    if line:
        able = placing.in_order(view.renderers, able, line[0].model)
    left: dict[str, None] = {}
    for renderer in able:
        found, slower = placing.without_others(view, renderer, line)
        left |= dict.fromkeys(slower)
        decision = _next(view, renderer, found) if found else _rest(view, renderer)
        if isinstance(decision, Render) and len(found) < len(line):
            decision = _with_left(decision, line, found)
        if not isinstance(decision, Wait):
            return decision
    return Wait(tuple(left))


def _with_left(decision: Render, line: list[Waiting], found: list[Waiting]) -> Render:
    """Return a render that goes ahead of what was left to other renderers: that waits, too."""
    lead = next(waiting for waiting in found if waiting.id == decision.picks[0][0])
    others = {waiting.id for waiting in found}
    ahead = takewhile(lambda waiting: waiting.rank < lead.rank, line)
    left = (w for w in ahead if w.id not in others and w.rank[0] == lead.rank[0])
    waits = (*decision.waits, *(waiting.id for waiting in _in_turn(left, lead.rank[1])))
    return dataclasses.replace(decision, waits=waits)


def _next(view: View, renderer: int, line: list[Waiting]) -> Decision:
    """Return what to do next for one renderer."""
    line, waits = _by_models(view, view.renderers[renderer], line)
    if _is_full(view) and not isinstance(line[0], JobView):
        ready = [waiting for waiting in line if isinstance(waiting, JobView)]
        for job in reversed(ready):
            if job.may_go_back:
                return PutBack(job.id)
        line = [*ready]
        if not line:
            return Wait()
    decision = _begin(view, renderer, line)
    return dataclasses.replace(decision, waits=waits) if type(decision) is Render else decision


def _over_with_the_night(view: View) -> JobView | None:
    """Return an open job that waits for the next night; None if there is none.

    In the spool it keeps neither a file open nor other settings from coming into force.
    """
    if view.conditions.is_night:
        return None
    return next((job for job in view.jobs if job.is_of_night and job.may_leave), None)


def _line(view: View) -> list[Waiting]:
    """Return everything that may be next, sorted by rank."""
    if view.conditions.is_held:
        cancelled = (job for job in view.spool if job.is_cancelled)
        return sorted(cancelled, key=lambda waiting: waiting.rank)
    line: list[Waiting] = [job for job in view.jobs if job.prompts]
    line += [job for job in view.spool if view.conditions.opens or job.was_begun]
    if view.conditions.opens and not view.is_in_trouble:
        line += view.files
    if not view.conditions.is_night:
        line = [waiting for waiting in line if not waiting.is_of_night]
    usable = (waiting for waiting in line if waiting.model not in view.unusable)
    return sorted(usable, key=lambda waiting: waiting.rank)


def _rest(view: View, renderer: int) -> Wait | Release:
    """Return what to do while nothing can begin: unload models after a while."""
    found = view.renderers[renderer]
    if found.is_busy or found.idle_seconds(view.now) < view.conditions.unload_seconds:
        return Wait()
    return models.unload(renderer, found.memory) or Wait()


def _by_models(
    view: View, renderer: RendererView, line: list[Waiting]
) -> tuple[list[Waiting], tuple[str, ...]]:
    """Return the line, and what waits because the line is not in the order of ranks any more.

    Within one priority, the first whose model is loaded leads it, or else models would be exchanged
    all the time. But what has waited for `model_wait_seconds` because of that goes first.
    """
    ready, first = renderer.memory.ready, line[0]
    if not ready or first.model in ("", *ready):
        return line, ()
    same = list(takewhile(lambda waiting: waiting.rank[0] == first.rank[0], line))
    most = view.conditions.model_wait_seconds
    overdue = (waiting for waiting in same if view.waits.get(waiting.id, 0.0) >= most)
    loaded = (waiting for waiting in same if waiting.model in ready)
    lead = next(overdue, None) or next(loaded, first)
    passed = takewhile(lambda waiting: waiting is not lead, same)
    in_turn = _in_turn(passed, lead.rank[1])
    waits = tuple(w.id for w in in_turn if w.model not in ("", *ready))
    return [lead, *(other for other in line if other is not lead)], waits


def _in_turn(line: Iterable[Waiting], own: int) -> Iterator[Waiting]:
    """Yield what is in a line, but of each turn other than `own` only the first.

    The others of its group wait for its next turn, and not for their model.
    """
    seen: set[int] = set()
    for waiting in line:
        turn = waiting.rank[1]
        if turn not in seen:
            yield waiting
        if turn != own:
            seen.add(turn)


def _is_full(view: View) -> bool:
    """Return whether no more jobs can be opened."""
    prompts = sum(job.count for job in view.jobs)
    return _room(view) <= 0 or prompts >= MAX_OPEN_PROMPTS


def _room(view: View) -> int:
    """Return how many more jobs can be open. Each further renderer may have two in hand."""
    return MAX_OPEN_JOBS + 2 * (len(view.renderers) - 1) - len(view.jobs)


def _files_after(view: View, first: FileView, line: list[Waiting]) -> tuple[FileView, ...]:
    """Return the files that are next after the first in line, for renderers that are free, too.

    Claims at once take hardly longer than one. Open prompts that wait come before, and nothing is
    claimed that would then wait: not the next file of a group behind which others have a turn.
    """
    if any(isinstance(waiting, SpoolView) for waiting in line):
        return ()
    free = (r for r in view.renderers if r.is_free and first.model in ("", *r.memory.ready))
    jobs = (job for job in line if isinstance(job, JobView) and first.model in ("", job.model))
    prompts = sum(1 for _ in free) - sum(job.count for job in jobs) - max(1, first.count)
    most = min(MAX_AT_ONCE, _room(view)) - 1
    groups, found = {first.group}, list[FileView]()
    for file in line[1:]:
        if prompts <= 0 or len(found) >= most or not isinstance(file, FileView):
            break
        if (file.model, file.rank[0]) != (first.model, first.rank[0]):
            break
        if file.group and file.group in groups:
            continue
        groups.add(file.group)
        found.append(file)
        prompts -= max(1, file.count)
    return tuple(found)


def _begin(view: View, renderer: int, line: list[Waiting]) -> Decision:
    """Return the next action towards a batch that is led by the first in line."""
    first = line[0]
    if isinstance(first, FileView):
        return Open(first, _files_after(view, first, line))
    if first.is_suspect and any(job.is_in_hand for job in view.jobs):
        return Wait()  # else what is in hand would share the blame if it ends this process
    if isinstance(first, SpoolView) and not first.model:
        return Open(first)
    memory, is_busy = view.renderers[renderer].memory, view.renderers[renderer].is_busy
    size, processes = view.sizes.get(first.model, 0), view.processes.get(first.model, 1)
    release = models.make_room(renderer, memory, first.model, size, processes)
    if release is not None:
        return Wait() if is_busy else release
    if isinstance(first, JobView):
        if first.model in memory.ready:
            return _batch(view, renderer, first, line)
        if first.is_in_hand and not view.conditions.outlives_renderers:
            return Wait()  # else what is encoded would be blamed if the load ends this process
    return Wait() if is_busy else Load(renderer, first)


class _Pick(NamedTuple):
    """How many prompts of a job a batch takes.

    before: the jobs and files that had other prompts waiting ahead of it
    """

    job_id: str
    prompts: int
    before: tuple[str, ...]


def _batch(view: View, renderer: int, first: JobView, line: list[Waiting]) -> Decision:
    """Fill a batch with prompts of the same kind as the first, in order, passing over the others.

    A file is opened only if all its prompts fit. Nothing is passed over twice. Other renderers get
    their share of such prompts. What is theirs alone was left to them before, if it may be.
    """
    kind = first.kind(first.prompts[0])
    size = room = first.size_on(view.renderers[renderer])
    if room > 1:
        room = placing.share(view, renderer, placing.prompts_for(line, first.model), first)
    room = max(1, room)
    opens = not (first.is_suspect or _is_full(view))
    picks: list[_Pick] = []
    passed: list[str] = []
    for waiting in line:
        if not room:
            break
        if isinstance(waiting, JobView):
            count = min(room, waiting.count_of(kind))
            if count:
                picks.append(_Pick(waiting.id, count, tuple(passed)))
                room -= count
            if count == waiting.count:
                continue
        elif isinstance(waiting, SpoolView):
            if opens and not waiting.is_suspect and not waiting.model:
                return Open(waiting)
            break
        elif opens and waiting.kind == hash(kind) and 0 < waiting.count <= room:
            return Open(waiting)
        if waiting is not first and waiting.was_passed_over:
            break
        passed.append(waiting.id)
    if view.renderers[renderer].kind in first.in_few_sizes:
        picks = _in_few_sizes(picks, size)
    return Render(renderer, tuple((pick.job_id, pick.prompts) for pick in picks), picks[-1].before)


def _in_few_sizes(picks: list[_Pick], full: int) -> list[_Pick]:
    """Return the first of some prompts, so many that their number is `full` or a power of two.

    If 16 prompts fit, there are five sizes in place of 16, each of which takes the compiler
    minutes. Rejected: filling a batch up with videos that nobody asked for.
    """
    count = sum(pick.prompts for pick in picks)
    left = count if count == full else 1 << count.bit_length() - 1
    found = []
    for pick in picks:
        if left:
            found.append(pick._replace(prompts=min(pick.prompts, left)))
        left = max(0, left - pick.prompts)
    return found
