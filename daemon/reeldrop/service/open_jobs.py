"""The open jobs: how they are opened, and when they are closed.

Does not know what is in hand of them, nor what is rendered next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import structlog

from reeldrop.base.escaping import shown
from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Job, Prompt
from reeldrop.host import log
from reeldrop.schedule import schedule
from reeldrop.schedule.turns import Rank, Turns
from reeldrop.schedule.view import JobView
from reeldrop.service import opening
from reeldrop.service.limits import Fits, Limits, Outcome
from reeldrop.service.opened import OpenJob
from reeldrop.service.spooled import SpooledJobs, of_night
from reeldrop.store import job_files
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Waiting

_log = structlog.get_logger()


class OpenJobs:
    """The jobs in hand whose prompts are known.

    limits: what config.yaml sets
    turns: whose turn it is among the groups of one priority
    fits: how many prompts fit into memory at once
    kinds: the kinds of devices that render or will again soon, each with limits of its own
    may_grow: returns whether devices of other kinds will probably join
    spooled: the jobs in hand that are not open
    make_sheets: begins to make the sheets of a job, of prompts of a sweep; None if there are none
    sheets_rest: for how long they have made no progress, in words; empty if they do
    translate: lets prompts rest whose texts have to be translated; None if none are
    translator_trouble: returns why those of a job can't be now; empty if they can
    stop_translating: called with the id of each job that is closed
    seconds_each: returns how long each of so many prompts in a batch takes on a kind of device
    """

    def __init__(
        self, spool: Spool, results: Results, limits: Limits, turns: Turns, outcome: Outcome
    ) -> None:
        self.limits = limits
        self.turns = turns
        self.fits = Fits()
        self.kinds: Mapping[str, Mapping[str, BatchLimit]] = {"": {}}
        self.may_grow: Callable[[float], bool] = lambda _now: False
        self.make_sheets: Callable[[Job, Sequence[Prompt]], None] | None = None
        self.sheets_rest = ""
        self.translate: Callable[[OpenJob], None] | None = None
        self.translator_trouble: Callable[[str], str] = lambda _: ""
        self.stop_translating: Callable[[str], None] = lambda _: None
        self.seconds_each: Callable[[Prompt, int, str], float | None] = lambda *_: None
        self._open: dict[str, OpenJob] = {}
        self.spooled = SpooledJobs(spool, results, limits, self._open, turns, outcome)
        self._spool = spool
        self._results = results

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, job_id: str) -> OpenJob:
        return self._open[job_id]

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._open

    def __iter__(self) -> Iterator[OpenJob]:
        """Yield the jobs that are open now, whichever are closed meanwhile."""
        return iter(tuple(self._open.values()))

    def views(
        self, now: float, known: Mapping[str, JobView] = MappingProxyType({})
    ) -> tuple[JobView, ...]:
        """Return the jobs as input of a decision.

        known: those that have not changed since, except in whose turn it is, by id
        """
        limits = (self.limits.batch_sizes, *self.kinds.values())
        most = max((limit.most for found in limits for limit in found.values()), default=1)
        return tuple(
            self._in_turn(opened, known[job_id])
            if job_id in known
            else self._view(opened, now, most)
            for job_id, opened in tuple(self._open.items())
        )

    def _in_turn(self, opened: OpenJob, known: JobView) -> JobView:
        turn = known.rank[1] if not known.prompts else self.turns.of(opened.group)
        if turn == known.rank[1]:
            return known
        return known._replace(rank=(known.rank[0], turn, *known.rank[2:]))

    def _view(self, opened: OpenJob, now: float, most: int) -> JobView:
        if opened.is_all_in_hand:  # as most are that hundreds of renderers have
            return opened.view_in_hand()
        opened.wake(now)
        turn = self.turns.of(opened.group)
        if not opened.waiting:
            return opened.view(turn, {"": 1}, most)
        first = opened.waiting[0]
        sizes = {kind: self.together(first, kind) for kind in self.kinds}
        if not any(sizes.values()) and not self.may_grow(now):
            # Those it fits have left for good: the next try says what is missing.
            sizes = dict.fromkeys(sizes, 1)
        few = (kind for kind in sizes if not first.loras and self._limit(first, kind).in_few_sizes)
        kinds = sizes.items() if len(sizes) > 1 else ()
        takes = ((kind, self.seconds_each(first, size, kind)) for kind, size in kinds if size)
        seconds = {kind: found for kind, found in takes if found is not None}
        return opened.view(turn, sizes, most, seconds, frozenset(few))

    def together(self, prompt: Prompt, kind: str) -> int:
        """Return how many prompts like this one a kind of device renders at once."""
        return self.fits.size(prompt, self._limit(prompt, kind), kind)

    def _limit(self, prompt: Prompt, kind: str) -> BatchLimit:
        own, model = self.kinds[kind], prompt.model
        return own[model] if model in own else self.limits.batch_sizes[model]

    def usually_together(self, prompt: Prompt) -> int:
        """Return how many prompts like this one the first kind of device renders that can."""
        return next(filter(None, (self.together(prompt, kind) for kind in self.kinds)), 1)

    def waiting(self, night: str) -> list[Waiting]:
        """Return the jobs that were begun and of which nothing is in hand.

        night: why jobs wait for the night; empty if it is night
        """
        begun = (o for o in self if o.waiting and o.is_recorded and not o.in_hand)
        sources = (opened.job.source for opened in begun)
        turns = [
            Waiting.of(source, f"begun; {of_night(source, night) or 'waits for its turn'}")
            for source in sources
        ]
        for opened in self:
            if opened.makes_sheets:
                reason = f"rendered; sheets are being made{self.sheets_rest}"
                turns.append(Waiting.of(opened.job.source, reason))
            elif opened.is_translated and not (opened.waiting or opened.in_hand):
                reason = self.translator_trouble(opened.job.id) or "is being translated"
                turns.append(Waiting.of(opened.job.source, reason))
        return turns

    # Jobs are opened

    def open(
        self,
        job: Job,
        prompts: tuple[Prompt, ...],
        rank: Rank | None = None,
        size: int | None = None,
    ) -> None:
        """Queue the prompts of a job for the renderer that have no video yet.

        `size` is how many bytes the prompt file had when it was read.
        """
        suspects = self.spooled.suspects
        try:
            opened = opening.opened(job, prompts, self._spool, self._results, self.limits, suspects)
            if opened is None:
                return
            log.open_job_file(job.id, job_files.log_of(job))
        except OSError as error:
            self.spooled.ends.postpone(job, error)
            return
        _log_notes(job, prompts)
        if past := self.spooled.past.pop(job.id, None):
            opened.recall(past)
        if rank is not None:
            opened.place = rank[2:]
        opened.size = size
        self._open[job.id] = opened
        if self.translate is not None:
            self.translate(opened)
        if not self.spooled.take_out(job.id):
            _log.info(
                "job_started",
                job_id=job.id,
                prompt_file=shown(job.source),
                attempt=len(job.attempts) + 1,
                videos=len(prompts),
                already_published=opened.videos,
            )
        self.close_if_through(opened)

    # Jobs are closed

    def put_back(self, job_id: str, *, is_over: bool = False) -> None:
        """Put a job with nothing in hand back into the spool until its turn comes.

        is_over: that is in the next night. By then other settings may be in force: for them, it was
            not begun. Until then it is known what failed of it.
        """
        opened = self._open[job_id]
        if is_over:
            self._leave(opened)
        else:
            self._close(opened)
            self.spooled.put_back(job_id)

    def put_down(self) -> None:
        """Leave the jobs in the spool, to be resumed at the next start."""
        for opened in self:
            log.close_job_file(opened.job.id)
            opened.take_back_attempt()

    def hold(self, model: str, until: float) -> None:
        """Let the prompts of a model wait until a time. Jobs with no others wait in the spool."""
        for opened in self:
            opened.hold(model, until)
            if opened.only_waits_for(model):
                self._leave(opened)
                self.spooled.needs.add(opened.job, model)

    def leave_untranslated(self) -> None:
        """Put the jobs back into the spool that only wait for their translation."""
        for opened in self:
            if opened.only_waits_for_translation:
                self._leave(opened)

    def make_room(self) -> None:
        """Postpone the newest jobs that wait for a translator, if it is missing for so many.

        They would leave no room for others, in any language.
        """
        if len(self) <= (most := schedule.MAX_OPEN_JOBS // 2):
            return
        for opened in reversed(tuple(self)):
            job = opened.job
            if opened.only_waits_for_translation and (why := self.translator_trouble(job.id)):
                self._leave(opened)
                self.spooled.ends.postpone(job, OSError(why))
                if len(self) <= most:
                    return

    def _leave(self, opened: OpenJob) -> None:
        self._close(opened)
        self.spooled.past[opened.job.id] = opened.past

    def end_rests(self) -> None:
        """Queue what rests after a failure, or waits for its model: there is another renderer."""
        for opened in self:
            opened.end_rests()

    def leave_for_now(self, opened: OpenJob, error: OSError) -> None:
        """Return a job to the spool as soon as nothing of it is in hand."""
        opened.trouble = error
        opened.drop_waiting()
        self.close_if_through(opened)

    def close_if_through(self, opened: OpenJob) -> None:
        """End a job when all its prompts have a video or a failure; postpone it if in trouble."""
        if opened.in_hand or opened.makes_sheets:
            return
        if opened.waiting or opened.resting:
            if opened.is_recorded:  # no blame for what is rendered before its turn
                self.let_go(opened)
            return
        if opened.trouble is None:
            if self._begin_sheets(opened):
                return
            _log_end(opened)
        self._close(opened)
        if opened.trouble is not None:
            opened.take_back_attempt()
            self.spooled.ends.postpone(opened.job, opened.trouble)
            return
        failures = [opened.failures[number] for number in sorted(opened.failures)]
        self.spooled.ends.finish(opened, failures)

    def _begin_sheets(self, opened: OpenJob) -> bool:
        """Let the sheets of a sweep be made, once; return whether its job has to wait for that."""
        sweep = opened.take_sweep()
        if not sweep or self.make_sheets is None:
            return False
        if opened.is_recorded:
            self.let_go(opened)  # no blame for the sheets
        opened.makes_sheets = True
        self.make_sheets(opened.job, sweep)
        return True

    def sheets_made(self, job_id: str) -> None:
        """End a job whose sheets have been made, or can't be."""
        opened = self._open[job_id]
        opened.makes_sheets = False
        self.close_if_through(opened)

    def _close(self, opened: OpenJob) -> None:
        del self._open[opened.job.id]
        self.stop_translating(opened.job.id)
        log.close_job_file(opened.job.id)

    def let_go(self, opened: OpenJob) -> None:
        """Record that less of a job is in hand than before."""
        opened.let_go(device_worked=self.spooled.suspects.device_works(opened.job))


def _log_end(opened: OpenJob) -> None:
    """Log the line that sums up a job."""
    job = opened.job
    _log.info(
        "job_ended",
        job_id=job.id,
        prompt_file=shown(job.source),
        videos=opened.videos,
        failed=len(opened.failures),
        outcome=opened.outcome,
        attempts=len(job.attempts) + opened.is_recorded,
        seconds=round(time.monotonic() - opened.opened_at, 3),
        peak_memory_mib=opened.peak_memory_mib,
    )


def _log_notes(job: Job, prompts: Sequence[Prompt]) -> None:
    """Log what the author should know about how the file was read, each once for all prompts."""
    numbers: dict[str, list[int]] = {}
    for prompt in prompts:
        for note in prompt.notes:
            numbers.setdefault(note, []).append(prompt.number)
    for note, noted in numbers.items():
        _log.warning("prompt_note", job_id=job.id, note=note, prompts=noted)
