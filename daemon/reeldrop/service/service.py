"""The daemon's loop: one prompt file through all stages. Read this first.

The main thread reads one queue of events and never waits for anything else. Nothing here holds
state that is not in the files, except whose turn it is. `schedule` decides which job of the spool
or file of the inbox is next; to start, to go on and to restart are that same decision.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import structlog

from reeldrop.base.errors import (
    ConfigError,
    FileError,
    Mistake,
    RenderCancelled,
    RenderError,
    Unavailable,
    Unrenderable,
)
from reeldrop.base.job import (
    Batch,
    BatchFailed,
    BatchRendered,
    Cause,
    Event,
    Member,
    ModelFailed,
    ModelLoaded,
    Reload,
    RendererEnded,
    StepDone,
    Stop,
    VideoFailed,
    VideoPublished,
    Wake,
)
from reeldrop.config import profiles
from reeldrop.config.settings import Settings
from reeldrop.host import disk, ending, process
from reeldrop.host.ending import Ending, StallWatch
from reeldrop.host.notify import Notifier
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.service.feeding import Feeder
from reeldrop.service.jobs import Limits, OpenJobs, Outcome
from reeldrop.service.workbench import Workbench
from reeldrop.store import lock, status
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Rendering, Status
from reeldrop.video import encoder
from reeldrop.video.publishing import Publisher

if TYPE_CHECKING:
    from reeldrop.base.job import Frames, Rendered
    from reeldrop.config.config import Config
    from reeldrop.render.renderer import Renderer

BYTES_TO_ENCODE = 1 << 30
"""The renderer pauses while this many bytes of frames wait to be encoded."""

OPEN_SECONDS = 0.1
"""How long jobs that end at once are opened before events are handled again."""

STATUS_SECONDS = 0.5
"""While there is work, how often the status is written and requests to cancel are read."""

PATIENCE_SECONDS = 60.0
"""How much longer systemd is asked to wait, each time, for a start or a stop in progress."""

_log = structlog.get_logger()


class Service:
    """One daemon on one inbox.

    make_renderer: takes the config and a function for the renderer's events
    drain: end the run when nothing is left to do
    observe: called with every new status
    is_attended: somebody started it at a terminal; end when that is closed
    """

    def __init__(
        self,
        settings: Settings,
        make_renderer: Callable[[Config, Callable[[Event], None]], Renderer],
        *,
        drain: bool = False,
        is_attended: bool = False,
        observe: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        self._settings = settings
        self._make_renderer = make_renderer
        self._drain = drain
        self._is_attended = is_attended
        self._observe = observe
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        config = settings.config
        self._spool = Spool(config.spool, config.inbox, config.failed)
        self._results = Results(config.results)
        self._notifier = Notifier.from_environment()
        self._jobs = OpenJobs(self._spool, self._results, _limits(config))
        self._jobs.others_wait = lambda: not self._intake.is_empty()
        roots = (self._results.root, self._spool.failed, self._spool.root)
        self._disk = disk.Room((config.results, config.spool), config.min_free_gib, roots)
        self._watch_over()
        self._stopping = False
        self._is_ready = False
        self._held_up = ""
        self._drained_early: Mistake | None = None
        self._status_written = 0.0

    @property
    def _config(self) -> Config:
        return self._settings.config

    @property
    def _model(self) -> str:
        return self._settings.model

    def _watch_over(self) -> None:
        """Set up the watch over the disk and the encoder from config.yaml."""
        config = self._config
        self._disk.min_free_gib = config.min_free_gib
        self._encoder_stall = StallWatch(config.stall_seconds)
        watchdog = self._notifier.watchdog_seconds
        if watchdog is not None and watchdog <= config.stall_seconds:
            _log.warning(
                "watchdog_is_first",
                reason=f"systemd ends a render after {watchdog:g} s in which no step ended",
                remedy="make WatchdogSec= larger than stall_seconds, or that smaller",
            )

    # The lifecycle

    def run(self) -> Outcome:
        """Work until a request to stop; with `drain`, until nothing is left to do.

        Raises:
            ConfigError: a folder or the model can't be used.
            SpoolLocked: another daemon works on this spool.
            Unavailable: a drain ended early: the disk is full or in trouble, or the inbox is gone.
        """
        # Under nohup, closing the terminal must not end the daemon; it reloads the config.
        self._is_attended &= signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        signal.signal(signal.SIGHUP, self._on_hangup)
        process.hear()
        trace = self._config.spool / ending.FILE_NAME
        with self._spool.lock(self._waits_for_the_spool):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._spool.prepare()
            self._look_back(ending.how_it_ended(trace), ending.stacks(trace))
            with ending.traced(trace):
                self._work()
        if self._drained_early is not None:
            raise Unavailable(self._drained_early)
        if self._drain and self._intake.problem:
            raise Unavailable(Mistake(self._intake.problem, "put it back", key="inbox"))
        if self._drain and self._held_up:
            raise Unavailable(Mistake(f"held up: {self._held_up}", "start again when it is mended"))
        return self._jobs.outcome

    def _waits_for_the_spool(self, problem: str) -> bool:
        """Return whether to wait until the spool is free: only under systemd.

        It may have started this daemon beside one that can't be ended.
        """
        if self._notifier.is_heard:
            self._notifier.status(f"{problem}; waiting until it ends")
            self._notifier.be_patient(PATIENCE_SECONDS)
        return self._notifier.is_heard

    def _look_back(self, end: Ending, stacks: str) -> None:
        """Blame what the previous process had in hand for its end, unless the machine ended."""
        if end.how:
            _log.error("previous_process_ended", reason=end.how, stacks=stacks)
        is_blamed = end.cause is not Cause.MACHINE
        self._spool.note_ending(end.how if is_blamed else "", end.cause)

    def _work(self) -> None:
        self._start()
        try:
            self._look_after_the_disk(time.monotonic())
            self._report(time.monotonic(), is_due=True)  # a small model is loaded at once
            while not self._is_over():
                self._handle_events()
                self._advance(time.monotonic())
            self._stopping = True  # also if a drain ends with jobs held up
            self._held_up = self._jobs.trouble() or self._intake.trouble()
        finally:
            self._end()

    def _start(self) -> None:
        _log.info("starting", pid=os.getpid(), model=self._model)
        self._inbox = self._make_inbox()
        self._intake = self._make_intake()
        self._publisher = Publisher(self._results, self._events.put)
        self._publisher.h264 = encoder.choose_h264(self._config.mp4_encoder)
        self._open_workbench()
        self._feeder = self._make_feeder()

    def _open_workbench(self) -> None:
        """Open a renderer, and load the model of the settings in force."""
        renderer = self._make_renderer(self._config, self._events.put)
        self._bench = Workbench(renderer, self._config.stall_seconds)
        self._bench.load(self._model)

    def _make_inbox(self) -> Inbox:
        return Inbox(
            self._config.inbox,
            parsing.SUFFIXES,
            self._config.settle_seconds,
            parsing.DEFAULTS_NAME,
            patient=not self._drain,
            beside=self._config.spool,
            ignored=Ignored(self._config.ignore),
            renamed_settle_seconds=self._config.renamed_settle_seconds,
        )

    def _make_intake(self) -> Intake:
        return Intake(
            self._inbox,
            self._spool,
            self._settings.rules,
            self._model,
            self._config.scan_seconds,
            self._config.retry_seconds,
            lambda: self._events.put(Wake()),
            self._config.idle_scan_seconds,
            order=self._jobs.turns,
        )

    def _make_feeder(self) -> Feeder:
        return Feeder(self._spool, self._jobs, self._intake, self._bench)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._ask_to_stop(number)
        for either in (signal.SIGTERM, signal.SIGINT):  # the second signal ends the process
            signal.signal(either, signal.SIG_DFL)

    def _on_hangup(self, number: int, _frame: object) -> None:
        if self._is_attended and not os.isatty(sys.stdin.fileno()):  # the terminal is gone
            self._ask_to_stop(number)
        else:
            self._events.put(Reload())

    def _ask_to_stop(self, number: int) -> None:
        # Only what is safe in a signal handler: one system call and a reentrant put.
        ending.excuse(self._config.spool / ending.FILE_NAME)
        self._events.put(Stop(signal.Signals(number).name))

    def _is_over(self) -> bool:
        if self._bench.batch or self._bench.warm_up:
            return False
        if self._stopping:
            return True
        busy = self._publisher.videos or self._bench.loading or self._settings.are_changing
        return self._drain and not busy and not self._is_anything_left()

    def _is_anything_left(self) -> bool:
        if self._jobs.is_held_up() or self._intake.is_held_up():
            return False
        if self._jobs.holds_back():
            return True
        in_inbox = not (self._intake.problem or self._intake.is_empty())
        in_spool = self._jobs.unfinished(time.monotonic())
        return len(self._jobs) > 0 or in_inbox or in_spool is not None

    def _end(self) -> None:
        self._notifier.stopping()
        self._publisher.close()  # a video not encoded yet is rendered again
        self._bench.close()
        self._intake.close()
        if self._stopping:
            self._handle_all_that_came()
            self._jobs.put_down()
        outcome = self._jobs.outcome
        outcome.failed_jobs += self._intake.blocked() + self._jobs.postponed()
        self._report(time.monotonic(), state="stopped")
        _log.info("stopped", videos=outcome.videos, failed_jobs=outcome.failed_jobs)

    # Events

    def _handle_events(self) -> None:
        """Wait for an event or until something is due, and handle all that have arrived."""
        with contextlib.suppress(queue.Empty):
            self._handle(self._events.get(timeout=self._seconds_to_wait()))
        self._handle_all_that_came()

    def _handle_all_that_came(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._handle(self._events.get_nowait())

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        due = [now + min(self._config.scan_seconds, lock.LOOK_SECONDS)]
        if self._takes_files() and not self._stopping:
            due.append(self._intake.due())
        if self._is_renderer_free():
            due += self._jobs.due(opens=not self._settings.are_changing)
        if len(self._jobs) or not self._is_ready or self._disk.shortage:
            due.append(now + STATUS_SECONDS)
        return max(0.0, min(due) - now)

    def _handle(self, event: Event) -> None:
        match event:
            case Wake():
                pass  # it only ends the wait
            case Stop():
                self._stop(event)
            case Reload():
                self._reload()
            case ModelLoaded():
                self._model_loaded(event)
            case ModelFailed():
                self._model_failed(event.model, event.error)
            case StepDone():
                self._bench.step_done(event.step)
                self._notifier.progress()
            case BatchRendered(batch=batch) if batch is self._bench.warm_up:
                self._bench.clear()
                self._be_ready()
            case BatchFailed(batch=batch) if batch is self._bench.warm_up:
                self._warm_up_failed(event.error)
            case BatchRendered():
                self._batch_rendered(event)
            case BatchFailed():
                self._batch_failed(event)
            case RendererEnded():
                raise event.error
            case VideoPublished():
                self._publisher.release(event)
                self._jobs.published(event.video)
            case VideoFailed():
                self._publisher.release(event)
                self._jobs.prompt_failed(event.job_id, event.prompt, event.error)

    def _reload(self) -> None:
        """Read config.yaml again, to be used as soon as no job is begun."""
        coming = self._settings.read_again()
        if coming is not None:  # at once: without room no job ends, nor would it be used
            self._disk.min_free_gib = coming.min_free_gib
        self._report(time.monotonic(), is_due=True)

    def _stop(self, event: Stop) -> None:
        _log.info("stopping", signal=event.signal_name)
        self._notifier.stopping()
        self._stopping = True
        for batch in (self._bench.warm_up, *self._bench.batches):
            if batch is not None:
                self._bench.cancel(batch)

    def _end_loading(self) -> None:
        self._bench.clear()
        if self._bench.loads_for is not None:
            self._jobs.end_loading(self._bench.loads_for)

    def _model_loaded(self, event: ModelLoaded) -> None:
        self._end_loading()
        if self._stopping:
            return
        self._bench.loaded(event.model)
        _log.info("model_loaded", model=event.model, seconds=round(event.seconds, 3))
        try:
            rules = profiles.model_rules(event.model, self._config, event.capabilities)
        except ConfigError as error:
            self._model_failed(event.model, error)
            return
        self._settings.rules[event.model] = rules
        self._intake.examine_again()
        if self._bench.loads_for is None and not self._drain:
            self._begin_warm_up(rules)
        else:
            self._be_ready()

    def _begin_warm_up(self, rules: ModelRules) -> None:
        """Render the defaults once, so that a defect shows before the first prompt file."""
        try:
            prompt = profiles.warm_up(rules)
        except SettingsRefused:  # the defaults are incomplete
            self._be_ready()
        else:
            self._bench.try_out(Batch((Member("", prompt),)))

    def _warm_up_failed(self, error: Exception) -> None:
        problem = f"the model can't render its own defaults: {error}"
        remedy = "see what else uses the device, or change the defaults"
        self._model_failed(self._model, Unavailable(Mistake(problem, remedy, key=self._model)))

    def _be_ready(self) -> None:
        self._settings.confirm()
        if not self._is_ready and not self._stopping:
            self._is_ready = True
            self._notifier.ready()
            _log.info("ready", inbox=str(self._config.inbox))

    def _model_failed(self, model: str, error: Exception) -> None:
        """Fail the job that asked for the model. If none did, restore the old settings or raise."""
        self._end_loading()
        if self._stopping:
            return
        if self._bench.loads_for is not None:
            _log.error("model_failed", model=model, reason=str(error))
            self._jobs.fail(self._bench.loads_for, error)
        elif self._settings.change_back(error):
            self._change_renderer()
        else:
            raise error

    def _batch_rendered(self, event: BatchRendered) -> None:
        self._bench.batch_done(time.monotonic())
        self._jobs.note_fits(event.batch, event.fits)
        answers = zip(event.batch.members, event.frames, event.rendered, strict=True)
        for member, frames, rendered in answers:
            self._prompt_rendered(member, frames, rendered)

    def _prompt_rendered(self, member: Member, frames: Frames, rendered: Rendered) -> None:
        opened, prompt = self._jobs[member.job_id], member.prompt
        if self._spool.is_cancelled(opened.job):  # its batch went on for other jobs
            error = RenderCancelled("it was cancelled on request")
            self._jobs.prompt_failed(member.job_id, prompt, error)
            return
        self._jobs.rendered(member.job_id, rendered)
        earlier = opened.reserved.get(prompt.number)
        self._publisher.publish(opened.job, prompt, frames, rendered, earlier)

    def _batch_failed(self, event: BatchFailed) -> None:
        self._bench.batch_done(time.monotonic())
        if self._stopping:
            return  # the jobs stay in the spool, and are first at the next start
        if isinstance(event.error, FileError) and event.batch.model == self._model:
            raise event.error  # the daemon's own model can't be loaded any more
        may_pass = not isinstance(event.error, Unrenderable)
        if isinstance(event.error, RenderError) and may_pass and len(event.batch.members) > 1:
            self._jobs.render_alone(event.batch)  # to find the prompt to blame
            return
        for member in event.batch.members:
            self._jobs.prompt_failed(member.job_id, member.prompt, event.error)

    # The path of a prompt file

    def _advance(self, now: float) -> None:
        """Do everything that can be done now without waiting."""
        self._keep_the_spool()
        self._look_for_hangs(now)
        self._change_settings()
        self._look_after_the_disk(now)
        if not self._stopping:
            self._keep_rendering(now)  # first: a GPU must not wait for a large inbox
            self._intake.look(now)
            if self._takes_files():
                for job, error in self._intake.refused(patient=self._is_renderer_free()):
                    if self._jobs.is_order(job):
                        self._jobs.fail(job, error)
            self._feeder.heed_cancellations()
            self._keep_rendering(now)
        self._report(now)

    def _keep_the_spool(self) -> None:
        """End the process at once if another has the spool: that one resumes what was in hand."""
        if not self._spool.keep():
            reason = f"the lock's file in {self._config.spool} was removed, and another locked it"
            _log.critical("spool_lost", reason=reason)
            ending.leave_at_once()

    def _look_for_hangs(self, now: float) -> None:
        """End the process if the renderer or the encoder hangs: systemd restarts it."""
        if self._bench.hangs(now):
            self._end_stalled(f"{self._bench.doing()}, in step {self._bench.step}")
        sign, busy = self._publisher.signs_of_life, self._publisher.videos > 0
        if self._encoder_stall.is_stalled(now, busy=busy, sign=sign):
            self._end_stalled("encoding")

    def _end_stalled(self, what: str) -> NoReturn:
        reason = f"stalled: nothing went on for {self._config.stall_seconds:g} s while {what}"
        _log.critical("stalled", reason=reason)
        # After a request to stop, what is in hand is not blamed for the end.
        trace = None if self._stopping else self._config.spool / ending.FILE_NAME
        ending.end_stalled(trace, reason)

    def _change_settings(self) -> None:
        """Use the settings read last, as soon as no job is begun and the renderer is idle."""
        busy = self._stopping or self._bench.is_busy or self._jobs.are_begun
        if busy or not self._settings.are_changing:
            return
        if self._settings.change():
            self._change_renderer()
        else:
            self._use_settings()

    def _change_renderer(self) -> None:
        """Replace the renderer by one with the models of the settings in force."""
        self._bench.close()
        self._open_workbench()
        self._use_settings()

    def _use_settings(self) -> None:
        """Apply the settings in force, and keep what is known of the inbox."""
        self._watch_over()
        self._publisher.h264 = encoder.choose_h264(self._config.mp4_encoder)
        self._jobs.use(_limits(self._config))
        self._intake.close()
        self._inbox = self._make_inbox().after(self._inbox)
        self._intake = self._make_intake()
        self._feeder = self._make_feeder()

    def _look_after_the_disk(self, now: float) -> None:
        """Begin nothing new while the disk is too full, or not the same one; a drain ends then."""
        if self._is_report_due(now) and self._disk.look() and self._drain:
            self._stopping = True
            self._drained_early = self._disk.problem

    def _keep_rendering(self, now: float) -> None:
        """Keep the renderer supplied with work, but let events wait `OPEN_SECONDS` at most."""
        end = time.monotonic() + OPEN_SECONDS
        opens = not self._settings.are_changing
        while self._feeder.feed(now, opens=opens, is_paused=not self._may_go_on()):
            if time.monotonic() > end:
                self._events.put(Wake())
                if not self._bench.is_busy:  # rather than wait for a full batch
                    self._feeder.render_next(now)
                break

    def _takes_files(self) -> bool:
        """Return whether settled files are read: not on trial settings, nor without `_failed/`."""
        return self._is_ready and not self._settings.are_on_trial and not self._disk.is_lost

    def _is_renderer_free(self) -> bool:
        return self._may_go_on() and not self._bench.is_busy

    def _may_go_on(self) -> bool:
        """Return whether the renderer may be given more work."""
        kept = not self._is_ready or self._disk.shortage
        return not kept and self._publisher.bytes < BYTES_TO_ENCODE

    # Reports

    def _is_report_due(self, now: float) -> bool:
        return now - self._status_written >= STATUS_SECONDS

    def _report(self, now: float, state: str = "", *, is_due: bool = False) -> None:
        if not (state or is_due or self._is_report_due(now)):
            return
        self._status_written = now
        begun = self._jobs.waiting()
        waiting, count = self._intake.waiting(now)
        current = Status(
            pid=os.getpid(),
            state=state or self._state(),
            model=self._model,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
            rendering=self._progress(now),
            waiting=(*begun, *waiting)[: status.MAX_WAITING],
            waiting_count=len(begun) + count,
            waiting_seconds=self._intake.waiting_seconds(now),
            readings=self._settings.readings,
            refused=self._settings.refused,
        )
        self._keep_systemd_patient()
        with contextlib.suppress(OSError):  # nothing depends on it, and the disk may be full
            status.write(self._config.spool / status.FILE_NAME, current)
        self._notifier.status(current.line())
        self._observe(current)

    def _keep_systemd_patient(self) -> None:
        """Keep systemd from ending the process while it starts, stops, loads a model or is idle.

        The download of a model, or a step of a large video, may take long; if either hangs, the
        process ends itself. While it renders, each step reports progress.
        """
        if self._bench.loading or not self._bench.is_busy:
            self._notifier.progress()
        if self._stopping or not self._is_ready:
            self._notifier.be_patient(PATIENCE_SECONDS)

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        if not self._is_ready or self._bench.loading:
            return self._bench.doing()
        if self._disk.shortage:
            return f"paused: {self._disk.shortage}"
        trouble = self._jobs.trouble() or self._intake.trouble()
        if trouble:
            return f"held up: {trouble}; tried again every {self._config.retry_seconds:g} s"
        return self._intake.problem or self._bench.doing() or "idle"

    def _progress(self, now: float) -> Rendering | None:
        batch = self._bench.batch
        if batch is None:
            return None
        opened = self._jobs[batch.members[0].job_id]
        return self._bench.progress(batch, opened, now)


def _limits(config: Config) -> Limits:
    batch_sizes = {name: profiles.batch_limit(name, config) for name in config.models}
    return Limits(batch_sizes, config.max_attempts, config.retry_seconds)
