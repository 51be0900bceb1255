"""What is rendered next: decided by `decide`, and nowhere else.

Pure: no I/O, and no clock of its own. It is given records of all that waits, and returns what to
do; `feeding` carries that out, and asks again. Does not know files, the spool or the renderer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile

from reeldrop.base.job import Prompt
from reeldrop.schedule.turns import Rank

AHEAD_SECONDS = 1.0
"""The next batch is handed over so long before the end of this one: enough to claim its files."""

MAX_OPEN_JOBS = 256
"""No more jobs are open at a time: each holds a file open."""

MAX_OPEN_PROMPTS = 10_000
"""Of jobs that wait for their turn, only those stay open that together have fewer prompts left."""

LOOK_THROUGH = 64
"""Of so many files that wait, those are looked for that can be rendered in one batch."""


MODEL_SECONDS = 60.0
"""A model that has been loaded is worked with for so long, before it is another's turn of the same
priority that needs another one: or models would be loaded all the time."""


@dataclass(frozen=True, slots=True)
class RendererView:
    """What a renderer has in hand: nothing, or something that takes so many seconds more at least.

    Where it `is_busy` and the seconds are infinite, that is not known, or another batch follows. It
    works with a `model`, and has done so for `model_seconds`.
    """

    is_busy: bool = False
    seconds_left: float = 0.0
    model: str = ""
    model_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class JobView:
    """An open job of which `count` prompts wait for the renderer; `prompts` are the first of them.

    `size` is how many like the first are rendered together. What was in hand when a process ended
    `is_suspect`. Prompts of the numbers `alone` are not rendered together with others. The job has
    something `is_in_hand` in the renderer or the encoder; it `was_passed_over` by a batch; and it
    `may_go_back` into the spool, where nothing would be lost by it.
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
        """Return what the prompts of one batch have in common."""
        if self.is_suspect or prompt.number in self.alone:
            return (self.id, prompt.number)
        return prompt.batch_key

    def count_of(self, kind: tuple[object, ...]) -> int:
        """Return how many of a kind are first among those that wait."""
        return sum(1 for _ in takewhile(lambda prompt: self.kind(prompt) == kind, self.prompts))


@dataclass(frozen=True, slots=True)
class SpoolView:
    """A job of the spool that is not open, and needs a `model` to be loaded first if one is named.

    It `was_begun` by this process, under the settings in force.
    """

    id: str
    rank: Rank
    model: str = ""
    is_suspect: bool = False
    was_begun: bool = False


@dataclass(frozen=True, slots=True)
class FileView:
    """A settled file of `count` prompts; `kind` is the hash of theirs, 0 if they are not of one."""

    id: str
    rank: Rank
    kind: int = 0
    count: int = 0
    was_passed_over: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All that is needed to decide: `files` are the first of the inbox, in order.

    Jobs are only opened where it `opens` any; where the disk `is_in_trouble`, only those of the
    spool. Where it `is_paused`, nothing is begun.
    """

    renderers: tuple[RendererView, ...]
    jobs: tuple[JobView, ...] = ()
    spool: tuple[SpoolView, ...] = ()
    files: tuple[FileView, ...] = ()
    opens: bool = True
    is_in_trouble: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do until something happens."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a job of the spool, or claim and open a file, to go on or along with the next batch."""

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
    """Let a renderer render the first so many prompts of each of these open jobs, in one batch.

    The first of them leads it. Jobs and files were `passed_over`, which were before the last.
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
    if renderer is None or view.is_paused or is_guarded or not line:
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
    """Return which renderer may be given a batch: an idle one, else one that is nearly through.

    Not earlier, so that prompt files stay in the inbox for as long as they can.
    """
    for number, renderer in enumerate(renderers):
        if not renderer.is_busy:
            return number
    for number, renderer in enumerate(renderers):
        if renderer.seconds_left <= AHEAD_SECONDS:
            return number
    return None


def _line(view: View) -> list[_Waiting]:
    """Return all that may be next, in order."""
    line: list[_Waiting] = [job for job in view.jobs if job.prompts]
    line += [job for job in view.spool if view.opens or job.was_begun]
    if view.opens and not view.is_in_trouble:
        line += view.files
    return sorted(line, key=lambda waiting: waiting.rank)


def _held(renderer: RendererView, line: list[_Waiting]) -> list[_Waiting]:
    """Return the line, led by who needs no other model, where the one at work has just come."""
    if renderer.model_seconds < MODEL_SECONDS and line[0].model not in ("", renderer.model):
        for waiting in line:
            if waiting.rank[0] == line[0].rank[0] and waiting.model == renderer.model:
                return [waiting, *(other for other in line if other is not waiting)]
    return line


def _is_full(view: View) -> bool:
    """Return whether no more jobs can be open beside those that are."""
    prompts = sum(job.count for job in view.jobs)
    return len(view.jobs) >= MAX_OPEN_JOBS or prompts >= MAX_OPEN_PROMPTS


def _begin(view: View, renderer: int, line: list[_Waiting]) -> Decision:
    """Return how to come nearer to a batch that is led by the first in line."""
    first = line[0]
    if isinstance(first, FileView):
        return Open(first)
    if first.is_suspect and any(job.is_in_hand for job in view.jobs):
        return Wait()  # or what is in hand would be blamed, too, if it ends this process
    if isinstance(first, JobView):
        return _batch(view, renderer, first, line)
    if not first.model:
        return Open(first)
    return Wait() if view.renderers[renderer].is_busy else Load(renderer, first)


def _batch(view: View, renderer: int, first: JobView, line: list[_Waiting]) -> Open | Render:
    """Fill a batch with what is like its first prompt, in order, past what is not.

    Of what is not open, the whole of a file has to fit. Nobody is passed over for two batches.
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
