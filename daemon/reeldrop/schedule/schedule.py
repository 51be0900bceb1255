"""Decides what is rendered next: only `decide` does.

Pure: no I/O, and no clock of its own. It takes records of everything that waits and returns one
action; `feeding` executes it and asks again. Does not know files, the spool or the renderer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from reeldrop.base.job import Prompt
from reeldrop.base.residents import Memory
from reeldrop.schedule import models
from reeldrop.schedule.models import Release
from reeldrop.schedule.turns import Rank

AHEAD_SECONDS = 1.0
"""How long before the end of a batch the next is handed over: enough to claim its files."""

MAX_OPEN_JOBS = 256
"""Upper bound on the number of open jobs: each holds a file open."""

MAX_OPEN_PROMPTS = 10_000
"""No more jobs are opened while this many prompts of the open ones wait."""

LOOK_THROUGH = 64
"""How many of the waiting files are searched for prompts that fit into one batch."""

BYTES_TO_ENCODE = 1 << 30
"""The renderer pauses while this many bytes of frames wait to be encoded."""


@dataclass(frozen=True, slots=True)
class RendererView:
    """What a renderer has in hand, and in memory.

    is_busy: whether it has anything in hand
    seconds_left: how long that takes at least; infinite if unknown, or if another batch follows
    idle_seconds: for how long it has had nothing in hand
    """

    is_busy: bool = False
    seconds_left: float = 0.0
    idle_seconds: float = 0.0
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class JobView:
    """An open job.

    prompts: the first of the prompts that wait for the renderer
    count: the number of all prompts that wait
    size: how many prompts like the first are rendered together
    alone: numbers of the prompts that are rendered in a batch of their own
    is_suspect: whether it was in hand when a process ended
    is_in_hand: whether the renderer or the encoder has prompts of it
    was_passed_over: whether a batch has passed it over
    may_go_back: whether it can go back into the spool without a loss
    """

    id: str
    rank: Rank
    prompts: tuple[Prompt, ...] = ()
    count: int = 0
    size: int = 1
    alone: frozenset[int] = frozenset()
    is_suspect: bool = False
    is_in_hand: bool = False
    was_passed_over: bool = False
    may_go_back: bool = False

    @property
    def model(self) -> str:
        return self.prompts[0].model if self.prompts else ""

    def kind(self, prompt: Prompt) -> tuple[object, ...]:
        """Return the key that the prompts of one batch have in common."""
        if self.is_suspect or prompt.number in self.alone:
            return (self.id, prompt.number)
        return prompt.batch_key

    def count_of(self, kind: tuple[object, ...]) -> int:
        """Return how many prompts at the head of those that wait are of a kind."""
        return sum(1 for _ in takewhile(lambda prompt: self.kind(prompt) == kind, self.prompts))


@dataclass(frozen=True, slots=True)
class SpoolView:
    """A job of the spool that is not open.

    model: the model that has to be loaded first; empty if none has
    is_suspect: whether it was in hand when a process ended
    was_begun: whether this process has opened it before, under the settings in force
    """

    id: str
    rank: Rank
    model: str = ""
    is_suspect: bool = False
    was_begun: bool = False


@dataclass(frozen=True, slots=True)
class FileView:
    """A settled file of the inbox.

    kind: the hash of its prompts' kind; 0 if they differ or are not known yet
    count: the number of its prompts; 0 if it is not known yet
    was_passed_over: whether a batch has passed it over
    model: the model of its prompts, empty if they have several; or the one that has to be loaded
        to read it
    """

    id: str
    rank: Rank
    kind: int = 0
    count: int = 0
    was_passed_over: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What decides, apart from jobs, whether work goes on.

    is_ready: the daemon's own model was loaded and warmed up
    is_short_of_room: the disk is too full, or another folder is in the place of one of ours
    settings_change: other settings are used as soon as what was begun has ended
    bytes_to_encode: the size of the frames that wait to be encoded
    model_wait_seconds: how long prompts of a model that is not loaded wait, at most, behind later
        ones of a model that is
    unload_seconds: how long the renderer is idle before its models are unloaded
    """

    is_ready: bool = True
    is_short_of_room: bool = False
    settings_change: bool = False
    bytes_to_encode: int = 0
    model_wait_seconds: float = math.inf
    unload_seconds: float = math.inf

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be begun."""
        is_full = self.bytes_to_encode >= BYTES_TO_ENCODE
        return not self.is_ready or self.is_short_of_room or is_full

    @property
    def opens(self) -> bool:
        """Whether jobs may be opened that were not begun."""
        return not self.settings_change


@dataclass(frozen=True, slots=True)
class View:
    """All input of a decision.

    files: the first files of the inbox, in order
    is_in_trouble: whether the disk is in trouble, so that no file is claimed
    unusable: the models that can't be used for now
    sizes: the bytes of the weights of models that are not loaded; 0 if unknown
    waits: for how long jobs and files have waited behind later ones of models that are loaded
    """

    renderers: tuple[RendererView, ...]
    jobs: tuple[JobView, ...] = ()
    spool: tuple[SpoolView, ...] = ()
    files: tuple[FileView, ...] = ()
    conditions: Conditions = Conditions()
    is_in_trouble: bool = False
    unusable: frozenset[str] = frozenset()
    sizes: Mapping[str, int] = field(default_factory=dict)
    waits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until something happens."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a job of the spool, or claim and open a file, for the next batch."""

    what: SpoolView | FileView


@dataclass(frozen=True, slots=True)
class PutBack:
    """Put an open job back into the spool until its turn comes, to make room for another."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Load:
    """Let a renderer load the model that a job of the spool needs."""

    renderer: int
    what: SpoolView


@dataclass(frozen=True, slots=True)
class Render:
    """Let a renderer render prompts of open jobs in one batch.

    picks: the jobs, each with how many of its first waiting prompts; the first job leads the batch
    passed_over: the jobs and files that had other prompts waiting ahead of the last pick
    waits: the jobs and files that were first, but need a model that is not loaded
    """

    renderer: int
    picks: tuple[tuple[str, int], ...]
    passed_over: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()


Decision = Wait | Open | PutBack | Release | Load | Render
_Waiting = JobView | SpoolView | FileView


def decide(view: View) -> Decision:
    """Return what to do next, so that prompts are rendered in the order of their ranks."""
    renderer = free(view.renderers)
    is_guarded = any(job.is_suspect and job.is_in_hand for job in view.jobs)
    if renderer is None or view.conditions.is_paused or is_guarded:
        return Wait()
    line = _line(view)
    if not line:
        return _rest(view, renderer)
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


def free(renderers: tuple[RendererView, ...]) -> int | None:
    """Return the renderer that may be given a batch: an idle one, else one that is nearly done.

    None if there is none. Not earlier, so that prompt files stay in the inbox as long as possible.
    """
    for number, renderer in enumerate(renderers):
        if not renderer.is_busy:
            return number
    for number, renderer in enumerate(renderers):
        if renderer.seconds_left <= AHEAD_SECONDS:
            return number
    return None


def _line(view: View) -> list[_Waiting]:
    """Return everything that may be next, sorted by rank."""
    line: list[_Waiting] = [job for job in view.jobs if job.prompts]
    line += [job for job in view.spool if view.conditions.opens or job.was_begun]
    if view.conditions.opens and not view.is_in_trouble:
        line += view.files
    usable = (waiting for waiting in line if waiting.model not in view.unusable)
    return sorted(usable, key=lambda waiting: waiting.rank)


def _rest(view: View, renderer: int) -> Wait | Release:
    """Return what to do while nothing can begin: unload models after a while."""
    found = view.renderers[renderer]
    if found.is_busy or found.idle_seconds < view.conditions.unload_seconds:
        return Wait()
    return models.unload(renderer, found.memory) or Wait()


def _by_models(
    view: View, renderer: RendererView, line: list[_Waiting]
) -> tuple[list[_Waiting], tuple[str, ...]]:
    """Return the line, and who waits because it is not in the order of ranks any more.

    Within one priority, the first whose model is loaded leads it, or else models would be exchanged
    all the time. But who has waited for `model_wait_seconds` because of that goes first.
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
    waits = tuple(w.id for w in passed if w.model not in ("", *ready))
    return [lead, *(other for other in line if other is not lead)], waits


def _is_full(view: View) -> bool:
    """Return whether no more jobs can be opened."""
    prompts = sum(job.count for job in view.jobs)
    return len(view.jobs) >= MAX_OPEN_JOBS or prompts >= MAX_OPEN_PROMPTS


def _begin(view: View, renderer: int, line: list[_Waiting]) -> Decision:
    """Return the next action towards a batch that is led by the first in line."""
    first = line[0]
    if isinstance(first, FileView):
        return Open(first)
    if first.is_suspect and any(job.is_in_hand for job in view.jobs):
        return Wait()  # else what is in hand would share the blame if it ends this process
    if isinstance(first, SpoolView) and not first.model:
        return Open(first)
    is_busy = view.renderers[renderer].is_busy
    release = _make_room(view, renderer, first.model)
    if release is not None:
        return Wait() if is_busy else release
    if isinstance(first, JobView):
        return _batch(view, renderer, first, line)
    return Wait() if is_busy else Load(renderer, first)


def _make_room(view: View, renderer: int, model: str) -> Release | None:
    memory = view.renderers[renderer].memory
    return models.make_room(renderer, memory, model, view.sizes.get(model, 0))


def _batch(view: View, renderer: int, first: JobView, line: list[_Waiting]) -> Open | Render:
    """Fill a batch with prompts of the same kind as the first, in order, passing over the others.

    A file is opened only if all its prompts fit. Nothing is passed over twice.
    """
    kind, room = first.kind(first.prompts[0]), first.size
    opens = not (first.is_suspect or _is_full(view))
    picks: list[tuple[str, int]] = []
    passed: list[str] = []
    before: tuple[str, ...] = ()
    for waiting in line:
        if not room:
            break
        if isinstance(waiting, JobView):
            count = min(room, waiting.count_of(kind))
            if count:
                picks.append((waiting.id, count))
                before, room = tuple(passed), room - count
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
    return Render(renderer, tuple(picks), before)
