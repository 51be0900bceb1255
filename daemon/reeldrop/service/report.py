"""What the daemon tells others: the status file, systemd, and who watches at the terminal."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from reeldrop.base.escaping import shown
from reeldrop.base.job import Video
from reeldrop.base.residents import Resident
from reeldrop.host.notify import Notifier
from reeldrop.page.page import Page
from reeldrop.service import outlook
from reeldrop.service.benches import Benches
from reeldrop.service.forecast import BatchesToCome
from reeldrop.service.opened import OpenJob
from reeldrop.service.stages import Phase, Stages
from reeldrop.service.workbench import Workbench
from reeldrop.store import status
from reeldrop.store.status import (
    MAX_WAITING,
    Model,
    Numbers,
    RendererNow,
    Rendering,
    State,
    Status,
    Waiting,
)
from reeldrop.video import synthetic

STATUS_SECONDS = 0.5
"""While there is work, how often the status is written and requests to cancel are read."""

PATIENCE_SECONDS = 60.0
"""How much longer systemd is asked to wait, each time, for a start or a stop in progress."""

_log = structlog.get_logger()


class Reporter:
    """Puts together the status of a daemon, and tells it.

    file: the status file
    page: shows the status in the results
    observe: called with every new status
    last_end: how the process before this one ended, in a word
    """

    def __init__(
        self,
        stages: Stages,
        phase: Phase,
        notifier: Notifier,
        file: Path,
        page: Page,
        observe: Callable[[Status], None],
    ) -> None:
        self._stages = stages
        self._phase = phase
        self._notifier = notifier
        self._file = file
        self._page = page
        self._observe = observe
        self._written = self._counted = 0.0
        self._busy_seconds, self._busy = 0.0, 0
        self._began = datetime.now(UTC).isoformat()
        self.last_end = ""

    def is_due(self, now: float) -> bool:
        """Return whether the last report is older than `STATUS_SECONDS`."""
        return now - self._written >= STATUS_SECONDS

    def report(self, now: float) -> None:
        """Tell the status."""
        self._tell(now, *self._state())

    def report_the_end(self, now: float, why: str) -> None:
        """Tell that the daemon has stopped; with the error, if nobody has asked for that."""
        self._tell(now, State.STOPPED, why)
        self._page.close()

    def show(self, video: Video) -> None:
        """Show a video that was published."""
        if self._stages.settings.config.page:
            self._page.show(video.sidecar)

    def ready(self) -> None:
        """Tell systemd that the service is ready."""
        self._notifier.ready()

    def stopping(self) -> None:
        """Tell systemd that the service is stopping."""
        self._notifier.stopping()

    def progress(self) -> None:
        """Tell systemd's watchdog that a step is done."""
        self._notifier.progress()

    def check_the_watchdog(self) -> None:
        """Warn if systemd would end the process before it ends itself when the device hangs."""
        watchdog = self._notifier.watchdog_seconds
        stall = self._stages.settings.config.stall_seconds
        if watchdog is not None and watchdog <= stall:
            _log.warning(
                "watchdog_is_first",
                reason=f"systemd ends a render after {watchdog:g} s in which no step ended",
                remedy="make WatchdogSec= larger than stall_seconds, or that smaller",
            )

    def _tell(self, now: float, state: State, reason: str) -> None:
        self._written = now
        current = self._status(now, state, reason)
        self._keep_systemd_patient()
        with contextlib.suppress(OSError):  # nothing depends on it, and the disk may be full
            status.write(self._file, current)
        if self._stages.settings.config.page:
            self._page.use(self._stages.intake.names.is_read)
            self._page.tell(current, self._marked(self._preview(current)))
        else:
            self._page.turn_off()
        self._notifier.status(current.line())
        self._observe(current)

    def _status(self, now: float, state: State, reason: str) -> Status:
        stages = self._stages
        models = _models(stages.benches, stages.models.problems())
        reasons = {model.name: model.trouble for model in models if model.trouble}
        is_over = state is State.STOPPED
        night = stages.wait_for_night()
        begun = self._left_in_spool() if is_over else stages.jobs.waiting(reasons, night)
        waiting, count = stages.intake.waiting(now, reasons)
        unrecognised, unrecognised_count = stages.intake.unrecognised()
        return Status(
            pid=os.getpid(),
            state=state,
            model=stages.settings.model,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
            rendering=None if is_over else self._rendering(now),
            waiting=(*begun, *waiting)[:MAX_WAITING],
            waiting_count=len(begun) + count,
            unrecognised=unrecognised,
            unrecognised_count=unrecognised_count,
            numbers=self._numbers(now),
            waiting_seconds=stages.intake.waiting_seconds(now),
            readings=stages.settings.readings,
            refused=stages.settings.refused,
            reason=reason,
            models=models,
            downloaded=next((b.share_downloaded for b in stages.benches if b.downloading), None),
            renderers=() if is_over else self._renderers(),
            missing=stages.benches.trouble,
        )

    def _renderers(self) -> tuple[RendererNow, ...]:
        """Return what each renderer does; nothing if there is only that of this process."""
        if not self._stages.benches.outlives:
            return ()
        return tuple(map(self._renderer, self._stages.benches))

    def _renderer(self, bench: Workbench) -> RendererNow:
        state, what = bench.doing() or (State.IDLE, "")
        number = count = 0
        if bench.batch is not None:
            first = bench.batch.members[0]
            opened = self._stages.jobs.opened[first.job_id]
            what, number, count = shown(opened.job.source), first.prompt.number, opened.count
        problems = self._stages.models.problems_of(bench.id)
        return RendererNow(
            id=bench.id,
            device=f"{bench.device.node}: {bench.kind}" if bench.device.node else bench.kind,
            state=state,
            what=what,
            number=number,
            count=count,
            step=bench.step if bench.batch is not None else 0,
            steps=max(1, bench.batch.steps) if bench.batch is not None else 0,
            together=len(bench.batch.members) if bench.batch is not None else 0,
            models=tuple(resident.model for resident in bench.memory.residents),
            problem="; ".join(
                [
                    *(f"{model} can't be used: {p}" for model, p in problems.items()),
                    *filter(None, [self._stages.health.suspicion(bench.place)]),
                ]
            ),
        )

    def _numbers(self, now: float) -> Numbers:
        """Return what is counted; time counts for each renderer that had a batch at the last look.

        What several renderers say adds up.
        """
        self._busy_seconds += self._busy * (now - self._counted)
        benches = list(self._stages.benches)
        self._busy, self._counted = sum(bench.batch is not None for bench in benches), now
        memories = [bench.memory for bench in benches]
        shortages: Counter[str] = Counter()
        for what, count in (found for memory in memories for found in memory.shortages):
            shortages[what] += count
        free = [m.device_free for m in memories if m.device_free is not None]
        total = [m.device_total for m in memories if m.device_total is not None]
        return Numbers(
            began=self._began,
            last_end=self.last_end,
            busy_seconds=round(self._busy_seconds, 3),
            shortages=tuple(sorted(shortages.items())),
            device_free=sum(free) if free else None,
            device_total=sum(total) if total else None,
        )

    def _left_in_spool(self) -> list[Waiting]:
        """Return the jobs that go on at the next start; none if the spool can't be read."""
        with contextlib.suppress(OSError):
            jobs = self._stages.spool.unfinished()
            return [Waiting.of(job.source, "begun; goes on at the next start") for job in jobs]
        return []

    def _state(self) -> tuple[State, str]:
        """Return the state and the reason."""
        stages, doing = self._stages, self._doing()
        if self._phase.is_stopping:
            return State.STOPPING, ""
        if doing is not None and doing[0] is not State.RENDERING:
            return doing
        if stages.pause or stages.disk.shortage:
            return State.PAUSED, stages.pause or stages.disk.shortage
        trouble = stages.jobs.trouble() or stages.intake.claims.trouble()
        if trouble:
            seconds = stages.settings.config.retry_seconds
            return State.HELD_UP, f"{trouble}; tried again every {seconds:g} s"
        if stages.intake.problem:
            return State.NO_INBOX, stages.intake.problem
        if not len(stages.benches):
            return State.NO_RENDERER, stages.benches.trouble or "one is waited for"
        is_encoding = self._stages.forecast.in_encoder is not None
        return doing or (State.RENDERING if is_encoding else State.IDLE, "")

    def _doing(self) -> tuple[State, str] | None:
        """Return what is in hand; of several renderers, what is told of the one that gives most."""
        found = [doing for bench in self._stages.benches if (doing := bench.doing()) is not None]
        is_rendering = (doing for doing in found if doing[0] is State.RENDERING)
        first = next(is_rendering, None) or next(iter(found), None)
        if first is not None and len(found) < len(self._stages.benches) and self._phase.is_ready:
            return first if first[0] is State.RENDERING else None  # one can be given work
        return first

    def _rendering(self, now: float) -> Rendering | None:
        """Return the progress of the first prompt in hand; in the encoder, if in none other."""
        bench, forecast = self._stages.benches.first, self._stages.forecast
        batch = bench.batch if bench is not None else None
        first = batch.members[0] if batch is not None else forecast.in_encoder
        if first is None:
            return None
        opened, steps = self._stages.jobs.opened[first.job_id], max(1, first.prompt.steps)
        return Rendering(
            job_id=first.job_id,
            prompt_file=shown(opened.job.source),
            prompt=first.prompt.prompt,
            number=first.prompt.number,
            count=opened.count,
            step=bench.step if bench is not None else steps,
            steps=steps,
            eta_seconds=self._stages.benches.seconds_left(
                first.job_id, self._to_come(opened, now), now
            ),
            together=len(batch.members) if batch is not None else 1,
        )

    def _preview(self, current: Status) -> bytes:
        """Return what the batch in hand looks like; empty if there is no preview of it."""
        bench = self._stages.benches.first
        return bench.preview if bench is not None and current.rendering is not None else b""

    def _marked(self, preview: bytes) -> bytes:
        """Return a preview that says that it is synthetic, as the results do, if they do."""
        if not preview or not self._stages.settings.config.synthetic_mark:
            return preview
        return synthetic.in_jpg(preview, synthetic.packet_of(["unknown"]))

    def _to_come(self, opened: OpenJob, now: float) -> BatchesToCome:
        """Return the batches after those in hand, until no prompt of a job waits any more."""
        stages = self._stages
        jobs, files = stages.jobs.opened.views(now), stages.intake.first()
        if stages.wait_for_night():
            jobs = tuple(j for j in jobs if j.id == opened.job.id or not j.is_of_night)
            files = tuple(file for file in files if not file.is_of_night)
        return list(outlook.to_come(opened, stages.jobs.opened.usually_together, jobs, files))

    def _keep_systemd_patient(self) -> None:
        """Keep systemd from ending the process while it starts, stops, loads a model or is idle.

        The download of a model, or a step of a large video, may take long; if either hangs, the
        process ends itself. While it renders, each step reports progress. Renderers of other
        processes are watched by this one.
        """
        benches = self._stages.benches
        if benches.outlives or benches.is_any_loading or not benches.is_any_busy:
            self._notifier.progress()
        if self._phase.is_stopping or not self._phase.is_ready:
            self._notifier.be_patient(PATIENCE_SECONDS)


def _models(benches: Benches, problems: Mapping[str, str]) -> tuple[Model, ...]:
    residents = (resident for bench in benches for resident in bench.memory.residents)
    places = {resident.model: _place(resident) for resident in residents}
    names = dict.fromkeys([*places, *problems])
    return tuple(Model(name, places.get(name, ""), problems.get(name, "")) for name in names)


def _place(resident: Resident) -> str:
    if not resident.is_ready:
        return "kept"
    return "device" if resident.device_bytes else "memory"
