"""Carries out what `schedule` decides: opens jobs, loads models, hands over batches.

Keeps only how long something has been passed over or left: the spool, the inbox and the open jobs
tell what is next. Waits for nothing but the disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from reeldrop.base.errors import DISK_ERRORS, Mistake, PromptError, RenderCancelled
from reeldrop.base.job import Job
from reeldrop.intake.intake import Intake
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.schedule import schedule
from reeldrop.schedule.decisions import Decision, Load, Open, PutBack, Release, Render, Wait
from reeldrop.schedule.models import Waits
from reeldrop.schedule.turns import Rank
from reeldrop.schedule.view import (
    Conditions,
    FileView,
    JobView,
    RendererView,
    SpoolView,
    View,
)
from reeldrop.service import outlook
from reeldrop.service.benches import Benches
from reeldrop.service.jobs import Jobs
from reeldrop.service.models import Models
from reeldrop.service.sight import Sight
from reeldrop.service.workbench import Workbench
from reeldrop.store import job_files
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


@dataclass(slots=True)
class Seen:
    """What hundreds of renderers and jobs look like, until an event or a decision changes it.

    jobs: the open ones that were looked at and have not changed, but for whose turn it is
    spool: the jobs of the spool; None if it has to be looked at
    sizes: of models that were needed, as in `View`
    """

    benches: tuple[Workbench, ...]
    renderers: list[RendererView]
    jobs: dict[str, JobView] = field(default_factory=dict)
    spool: tuple[SpoolView, ...] | None = None
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feeder:
    """Moves what waits onto the workbenches.

    models: those that can't be used for now
    waits: how long something has waited for its model, or for a quicker renderer
    held: returns the renderers that get nothing for now, though they are idle
    size: returns how many bytes the weights of a model take; 0 if that is unknown
    processes: how many processes load a model, where there are several
    """

    spool: Spool
    jobs: Jobs
    intake: Intake
    benches: Benches
    models: Models
    waits: Waits = field(default_factory=Waits)
    held: Callable[[float], frozenset[Workbench]] = lambda _now: frozenset()
    size: Callable[[str], int] = lambda _model: 0
    processes: Mapping[str, int] = field(default_factory=dict)
    _sight: Sight = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sight", Sight(self.benches, self.models, self.held))

    def look(self, now: float) -> Seen:
        """Return what the steps until the next event have in common."""
        return Seen(*self._sight.look(now))

    def feed(self, now: float, conditions: Conditions, seen: Seen | None = None) -> bool:
        """Take a step towards the next batch, or hand it over; return whether there was a step.

        seen: by a look at this time; None to look anew
        """
        if conditions.is_paused:
            return False
        seen = seen or self.look(now)
        if not any(renderer.is_free for renderer in seen.renderers):
            return False  # checked first: true after nearly every step
        if self.jobs.turns.are_many():
            self.jobs.turns.keep(self.jobs.groups() | self.intake.line.groups())
        resting = self.models.resting(now)
        for model, due in resting.items():
            self.jobs.opened.hold(model, due)
            seen.jobs.clear()
        self.jobs.opened.make_room()
        jobs = self._jobs(seen, now)
        if seen.spool is None:
            seen.spool = self.jobs.spooled.views(now)
        files = self.intake.first() if conditions.opens else ()
        groups: tuple[Iterable[JobView | SpoolView | FileView], ...] = (jobs, seen.spool, files)
        self.waits.keep(found.id for group in groups for found in group)
        view = View(
            tuple(seen.renderers),
            jobs,
            seen.spool,
            files,
            conditions,
            is_in_trouble=bool(self.jobs.trouble()),
            unusable=frozenset(resting),
            sizes=self._sizes(seen, *groups),
            processes=self.processes,
            waits=self.waits.seconds(now),
            now=now,
        )
        return self._carry_out(schedule.decide(view), seen, now)

    def _jobs(self, seen: Seen, now: float) -> tuple[JobView, ...]:
        found = self.jobs.opened.views(now, seen.jobs)
        seen.jobs = {job.id: job for job in found}
        return found

    def render_next(self, now: float, conditions: Conditions, seen: Seen) -> None:
        """Hand over the next batch of the open jobs as it is, if there is one."""
        jobs = self._jobs(seen, now)
        view = View(
            tuple(seen.renderers),
            jobs,
            conditions=replace(conditions, unload_seconds=math.inf),
            sizes=self._sizes(seen, jobs),
            processes=self.processes,
            waits=self.waits.seconds(now),
            now=now,
        )
        self._carry_out(schedule.decide(view), seen, now)

    def _carry_out(self, decision: Decision, seen: Seen, now: float) -> bool:
        """Execute a decision; return whether it was one to do something."""
        match decision:
            case Open(what, also):
                self._open_next(what, also, now)
            case PutBack(job_id, is_over):
                self.jobs.opened.put_back(job_id, is_over=is_over)
            case Release(renderer, model, keeps):
                seen.benches[renderer].release(model, keeps=keeps)
            case Load(renderer, what):
                self._load(what, seen.benches[renderer], now)
            case Render(renderer) as found:
                self._render(found, seen.benches[renderer], now)
            case Wait(left):
                self.waits.leave_to_others(left, now)
                return False
        if isinstance(decision, Render):
            for job_id in (*(job_id for job_id, _ in decision.picks), *decision.passed_over):
                seen.jobs.pop(job_id, None)
        else:
            seen.jobs.clear()
        if not isinstance(decision, Open | PutBack):
            number = decision.renderer
            seen.renderers[number] = self._sight.view(seen.benches[number], now)
        if seen.spool or not isinstance(decision, Render):  # a batch changes the turns of groups
            seen.spool = None
        return True

    def _sizes(
        self, seen: Seen, *waiting: Iterable[JobView | SpoolView | FileView]
    ) -> dict[str, int]:
        """Return the sizes of the models that are needed; 0 if they are loaded everywhere."""
        needed = {found.model for group in waiting for found in group} - {""}
        for model in needed - seen.sizes.keys():
            is_loaded = all(bench.has(model) for bench in seen.benches)
            seen.sizes[model] = 0 if is_loaded else self.size(model)
        return seen.sizes

    def _render(self, found: Render, bench: Workbench, now: float) -> None:
        batch = self.jobs.batches.begin(found)
        if batch is not None:
            self.intake.line.pass_over(found.passed_over)
            self.waits.begin((job_id for job_id, _ in found.picks), found.waits, now, bench.id)
            bench.render(batch, now)

    def heed_cancellations(self, now: float) -> None:
        """Cancel jobs on request, and each batch that only has prompts of cancelled jobs.

        Jobs that wait for a model are cancelled, too: it may be in trouble for long.
        """
        spooled = self.jobs.spooled
        for job_id in spooled.needs.cancelled():
            spooled.needs.forget(job_id)
            if (job := spooled.find(job_id)) is not None:
                self._open(job, None, now)
        cancelled = self.jobs.batches.cancel_asked(opened.job.id for opened in self.jobs.opened)
        for bench, batch in self.benches.batches():
            if all(member.job_id in cancelled for member in batch.members):
                bench.cancel(batch)

    def cancel(self, job: Job, now: float) -> None:
        """End a job with a request to cancel, also one that nobody has opened yet."""
        is_tried_later = job.id in self.jobs.spooled.retries
        if job.id not in self.jobs.opened and not is_tried_later:
            self._open(job, None, now)

    def _open_next(
        self, what: SpoolView | FileView, also: tuple[FileView, ...], now: float
    ) -> None:
        """Open a job of the spool, or claim and open files of the inbox that are still there."""
        views: tuple[SpoolView | FileView, ...] = what, *also
        if isinstance(what, SpoolView):
            found = [self.jobs.spooled.find(what.id)]
        else:
            found = self.intake.take_all([what, *also])
        for view, job in zip(views, found, strict=True):
            if job is not None:
                self.waits.rename(view.id, job.id)
                self._open(job, view.rank, now)

    def _open(self, job: Job, rank: Rank | None, now: float) -> None:
        """Read a claimed file, and queue its prompts for the renderer."""
        try:
            if job_files.is_cancelled(job) and not self.spool.attempts.was_in_hand(job):
                self.jobs.ends.fail(job, RenderCancelled())
                return
            self.spool.take_pictures(job)  # a kill may have left some in the inbox
            if not self.jobs.ends.is_order(job):
                return
            found = self.intake.reader.read_job(job)
        except NotDescribed as unknown:
            refusal = self.models.refusal(unknown.model, now)
            if job_files.is_cancelled(job):
                refusal = RenderCancelled()
            if refusal is not None:
                self.jobs.ends.fail(job, refusal)
            else:
                self.jobs.spooled.needs.add(job, unknown.model)
        except PromptError as error:
            self.jobs.ends.fail(job, error)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                self.jobs.ends.postpone(job, error)
            else:
                self.jobs.ends.fail(
                    job,
                    PromptError(
                        Mistake(f"can't read it: {error.strerror}", "put a plain file there")
                    ),
                )
        else:
            self.jobs.opened.open(job, found.prompts, rank, found.size)
            self._tell_of_sweep(job, now)
            self.jobs.batches.cancel_asked([job.id])  # before any prompt of it is rendered

    def _tell_of_sweep(self, job: Job, now: float) -> None:
        """Log how many videos a sweep asks for and how long they take, before the first of them."""
        if job.id not in self.jobs.opened:
            return
        opened = self.jobs.opened[job.id]
        if opened.sweep and not opened.videos:
            together, jobs = self.jobs.opened.usually_together, self.jobs.opened.views(now)
            coming = outlook.to_come(opened, together, jobs, self.intake.first())
            seconds = self.benches.seconds_left(job.id, list(coming), now)
            _log.info("sweep_begins", job_id=job.id, videos=opened.count, about_seconds=seconds)

    def _load(self, what: SpoolView | JobView, bench: Workbench, now: float) -> None:
        """Load the model that a job needs; the job waits until then, in the spool or open."""
        refusal, job = self.models.refusal(what.model, now), None
        if isinstance(what, SpoolView) and self.intake.reader.knows(what.model):
            self.jobs.spooled.needs.forget(what.id)  # it waited while its model was in trouble
        elif isinstance(what, SpoolView):
            job = self.jobs.loads.begin_to_read(what.id)
        elif refusal is not None:
            self.jobs.loads.refuse(what.model, refusal)
        else:
            job = self.jobs.loads.begin_to_render(what.id, what.model)
        if job is not None:
            bench.load(what.model, job)
