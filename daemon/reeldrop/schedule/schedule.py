"""Decides what is rendered next: only `decide` does.

Pure: no I/O, and no clock of its own. It takes records of everything that waits and returns one
action; `feeding` executes it and asks again. Does not know files, the spool or the renderer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile

from reeldrop.base.job import Prompt
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

MODEL_SECONDS = 60.0
"""How long a loaded model is kept before work of the same priority that needs another one gets its
turn. Without it, models would be loaded all the time.
"""


@dataclass(frozen=True, slots=True)
class RendererView:
    """What a renderer has in hand.

    is_busy: whether it has anything in hand
    seconds_left: how long that takes at least; infinite if unknown, or if another batch follows
    model: the model that it works with
    model_seconds: for how long it has worked with that model
    """

    is_busy: bool = False
    seconds_left: float = 0.0
    model: str = ""
    model_seconds: float = math.inf


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
        return self.prompts[0].model

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
    model: the model of its first prompt, or the one that has to be loaded to read the file
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
    """

    is_ready: bool = True
    is_short_of_room: bool = False
    settings_change: bool = False
    bytes_to_encode: int = 0

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
    """

    renderers: tuple[RendererView, ...]
    jobs: tuple[JobView, ...] = ()
    spool: tuple[SpoolView, ...] = ()
    files: tuple[FileView, ...] = ()
    conditions: Conditions = Conditions()
    is_in_trouble: bool = False


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
    """

    renderer: int
    picks: tuple[tuple[str, int], ...]
    passed_over: tuple[str, ...] = ()


Decision = Wait | Open | PutBack | Load | Render
_Waiting = JobView | SpoolView | FileView


def decide(view: View) -> Decision:
    """Return what to do next, so that prompts are rendered in the order of their ranks."""
    renderer = free(view.renderers)
    is_guarded = any(job.is_suspect and job.is_in_hand for job in view.jobs)
    line = _line(view)
    if renderer is None or view.conditions.is_paused or is_guarded or not line:
        return Wait()
    line = _held(view.renderers[renderer], line)
    if _is_full(view) and not isinstance(line[0], JobView):
        ready = [waiting for waiting in line if isinstance(waiting, JobView)]
        for job in reversed(ready):
            if job.may_go_back:
                return PutBack(job.id)
        line = [*ready]
        if not line:
            return Wait()
    return _begin(view, renderer, line)


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
    return sorted(line, key=lambda waiting: waiting.rank)


def _held(renderer: RendererView, line: list[_Waiting]) -> list[_Waiting]:
    """Return the line, changed so that a loaded model stays in use for `MODEL_SECONDS`.

    Until then, the first of the same priority that needs this model leads the line.
    """
    if renderer.model_seconds < MODEL_SECONDS and line[0].model not in ("", renderer.model):
        for waiting in line:
            if waiting.rank[0] == line[0].rank[0] and waiting.model == renderer.model:
                return [waiting, *(other for other in line if other is not waiting)]
    return line


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
    if isinstance(first, JobView):
        return _batch(view, renderer, first, line)
    if not first.model:
        return Open(first)
    return Wait() if view.renderers[renderer].is_busy else Load(renderer, first)


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
