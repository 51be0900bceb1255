"""The stages that the loop works with, made as the settings in force say: inbox, renderer, encoder.

Makes them anew when settings change. Does not decide when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.durations import in_words
from reeldrop.base.errors import ConfigError, Mistake, RenderCancelled, Unavailable
from reeldrop.base.escaping import shown
from reeldrop.base.events import Event, FleetClosed, FromRenderer, ModelFailed, Wake
from reeldrop.config import profiles, translators
from reeldrop.config.settings import Settings
from reeldrop.host.disk import DiskWatch
from reeldrop.host.ending import StallWatch
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing
from reeldrop.schedule.models import Waits
from reeldrop.schedule.night import Night
from reeldrop.service.benches import Benches
from reeldrop.service.elsewhere import Elsewhere
from reeldrop.service.feeding import Feeder
from reeldrop.service.forecast import Forecast
from reeldrop.service.health import Health
from reeldrop.service.jobs import Jobs
from reeldrop.service.limits import Fits, Limits
from reeldrop.service.models import Models
from reeldrop.service.translations import Translations
from reeldrop.store import job_files
from reeldrop.store.results import Results
from reeldrop.store.sheets import remove_left_sheets
from reeldrop.store.spool import Spool
from reeldrop.translation.translator import Translator
from reeldrop.video import encoder, received
from reeldrop.video.assembling import Assembler
from reeldrop.video.publishing import Publisher

if TYPE_CHECKING:
    from reeldrop.base.events import RendererJoined
    from reeldrop.base.job import Job
    from reeldrop.config.config import Config
    from reeldrop.render.fleet import Fleet
    from reeldrop.service.workbench import Workbench

_log = structlog.get_logger()


@dataclass(slots=True)
class Phase:
    """The phase in the life of the daemon.

    drains: it ends when nothing is left to do
    is_ready: its own model was loaded and warmed up
    is_stopping: somebody asked it to end
    """

    drains: bool = False
    is_ready: bool = False
    is_stopping: bool = False


class Stages:
    """All stages of one daemon, under the settings in force. The model is being loaded.

    make_fleet: takes the config and a function for the events of its renderers
    tell: takes the events of all stages, from any thread
    is_patient: whether files that seem unfinished are waited for
    closed_fleets: how many were closed whose last events have not come yet
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        results: Results,
        make_fleet: Callable[[Config, Callable[[Event], None]], Fleet],
        tell: Callable[[Event], None],
        *,
        is_patient: bool,
    ) -> None:
        self.settings = settings
        self.spool = spool
        config = settings.config
        self.jobs = Jobs(spool, results, _limits(config))
        self.jobs.suspects.others_wait = lambda: not self.intake.is_empty()
        roots = (results.root, spool.failed.root, spool.root)
        self.disk = DiskWatch((config.results, config.spool), config.min_free_gib, roots)
        self._make_fleet = make_fleet
        self._tell = tell
        self._is_patient = is_patient
        self.night = Night.parsed(config.night)
        self._translator = Translator(
            translators.sources(config),
            translators.reads(config),
            tell,
            placed=settings.placed,
            retry_seconds=config.retry_seconds,
            is_patient=is_patient,
        )
        self.translations = Translations(
            self._translator, self.jobs, renders_untranslated=config.render_untranslated
        )
        self.jobs.opened.translate = self.translations.begin
        self.jobs.opened.translator_trouble = self._translator.trouble
        self.jobs.opened.stop_translating = self._translator.forget
        self.intake = self._make_intake()
        remove_left_sheets(spool.root, results)
        self.assembler = Assembler(results, spool.root, tell)
        self.jobs.opened.make_sheets = self.assembler.assemble
        self.publisher = Publisher(results, tell)
        self.publisher.before = self._before_a_video
        self._use_encoder()
        self._encoder_stall = StallWatch(config.stall_seconds)
        self._sheets_stall = StallWatch(config.stall_seconds)
        self.waits = Waits()
        self.forecast = Forecast()
        self.jobs.opened.seconds_each = self.forecast.seconds_each
        self.benches = Benches(self.forecast, is_patient=is_patient)
        self.jobs.opened.may_grow = self.benches.may_grow
        self.closed_fleets = 0
        self.health = Health()
        self.models = self._make_models()
        self._begin_fleet()
        self.feeder = self._make_feeder()

    def _make_intake(self) -> Intake:
        config = self.settings.config
        inbox = Inbox(
            config.inbox,
            parsing.SUFFIXES,
            config.settle_seconds,
            parsing.DEFAULTS_NAME,
            patient=self._is_patient,
            beside=config.spool,
            ignored=Ignored(config.ignore),
            renamed_settle_seconds=config.renamed_settle_seconds,
            picture_seconds=60 * config.picture_wait_minutes,
            has_controls=config.controls,
        )
        return Intake(
            inbox,
            self.spool,
            Reader(self.settings.rules, self.settings.model, self._translator.foresee),
            Intervals(config.scan_seconds, config.retry_seconds, config.idle_scan_seconds),
            lambda: self._tell(Wake()),
            order=self.jobs.turns,
            night=self.wait_for_night,
        )

    def _begin_fleet(self) -> None:
        """Make the renderers that the settings in force ask for."""
        self.fleet = self._make_fleet(self.settings.config, self._tell)
        self.benches.outlives, self.benches.began = self.fleet.can_lose, time.monotonic()
        self.benches.trouble, self.benches.is_hopeless = "", False
        self.jobs.loads.are_recorded = not self.fleet.can_lose
        self._use_max_attempts()
        if self.fleet.can_lose:
            received.remove_left(self.settings.config.results, self.settings.config.spool)
        for joined in self.fleet.begin():
            self.join(joined)

    def _use_max_attempts(self) -> None:
        # Where renderers end alone, it is seldom a prompt that ends this process.
        most = self.settings.config.max_attempts
        self.jobs.suspects.ends = most if self.fleet.can_lose else None

    def join(self, joined: RendererJoined) -> None:
        """Let a renderer load the model of the settings in force, before it gets prompts.

        If its memory is too small for that, it is told, unless a larger one may try new settings.
        """
        model, stall_seconds = self.settings.model, self.settings.config.stall_seconds
        bench = self.benches.join(joined, self.fleet, stall_seconds)
        profiles.warn_of_findings(self.settings.config, bench.device.tuned_as)
        excluded = self._join_models(bench, self.models)
        if model not in excluded:
            if not self.models.ends_renderers(model, time.monotonic()):
                bench.load(model)
        elif not (self.fleet.can_lose and self.settings.are_on_trial):
            self._tell(FromRenderer(joined.id, ModelFailed(model, excluded[model])))
        self.note_kinds(time.monotonic())

    def _join_models(self, bench: Workbench, models: Models) -> dict[str, Exception]:
        """Record that there is a renderer; return why it can never use some models."""
        models.join(bench.id)
        kind = Unavailable if self.fleet.can_lose else ConfigError
        found: dict[str, Exception] = {}
        for model, reason in profiles.too_large(self.settings.config, bench.device).items():
            remedy = "change min_memory_gb, or render it on another GPU"
            remedy = "; ".join(filter(None, (remedy, self.benches.patience)))
            error = kind(Mistake(reason, remedy, key=f"models.{model}"))
            found[model] = self.settings.placed(error)
            models.exclude(model, found[model], bench.id)
            _log.info("gpu_too_small", renderer=bench.id, model=model, reason=reason)
        return found

    def leave(self, renderer: str, now: float) -> Workbench | None:
        """Take away a renderer that is lost, and return its workbench; None if it has left."""
        bench = self.benches.leave(renderer)
        if bench is not None:
            self.models.leave(renderer)
            self.waits.leave(renderer, now)
            self.benches.lose(bench.device, now)
            self.note_kinds(now)
        return bench

    def note_kinds(self, now: float) -> None:
        """Note which kinds of devices render, or will again in a moment."""
        devices = [*(bench.device for bench in self.benches), *self.benches.away(now)]
        kinds = {device.kind: device.limits for device in devices}
        self.jobs.opened.kinds = kinds or self.jobs.opened.kinds

    def _make_models(self) -> Models:
        config = self.settings.config
        made = Models(
            self.settings.model,
            config.retry_seconds,
            is_patient=self._is_patient,
            are_expected=self.benches.are_expected,
        )
        for bench in self.benches:
            self._join_models(bench, made)
        return made

    def _make_feeder(self) -> Feeder:
        config = self.settings.config
        sizes = profiles.Sizes(config)
        opened, health = self.jobs.opened, self.health
        self.elsewhere = Elsewhere(self.benches, opened, self.models, health)
        self.jobs.batches.places = self.elsewhere.places
        return Feeder(
            self.spool,
            self.jobs,
            self.intake,
            self.benches,
            self.models,
            self.waits,
            self.elsewhere.held,
            sizes.of,
            {name: profile.gpus for name, profile in config.models.items() if profile.gpus > 1},
        )

    def change_renderers(self) -> None:
        """Apply the settings in force, and load their model; all others leave to give it room."""
        self.benches.close()
        self.fleet.close()
        self.closed_fleets += 1
        self._tell(FleetClosed())
        self.waits = Waits()
        self.health = Health()
        self._begin_fleet()
        self._use_settings()

    def use_settings(self) -> None:
        """Apply the settings in force, whose model is the same; others leave if they changed."""
        config = self.settings.config
        sources = profiles.sources(config)
        for bench in self.benches:
            bench.use(sources, config.stall_seconds)
            profiles.warn_of_findings(config, bench.device.tuned_as)
        self._use_settings()

    def _before_a_video(self, job: Job) -> None:
        """Refuse a video of a cancelled job, whose batch went on for others. Called by threads."""
        if job_files.is_cancelled(job):
            raise RenderCancelled
        self.spool.attempts.flush(job)

    def _use_encoder(self) -> None:
        config = self.settings.config
        self.publisher.h264 = encoder.choose_h264(config.mp4_encoder)
        self.publisher.marks = self.assembler.marks = config.synthetic_mark
        try:
            self.publisher.signer = self.assembler.signer = profiles.signer(config)
        except ConfigError as error:  # it could be read when config.yaml was
            _log.error("certificate_unusable", reason=str(error), next="the one before")

    def _use_settings(self) -> None:
        """Keep what is known of the inbox."""
        config = self.settings.config
        self.disk.min_free_gib = config.min_free_gib
        self.night = Night.parsed(config.night)
        self._encoder_stall = StallWatch(config.stall_seconds)
        self._sheets_stall = StallWatch(config.stall_seconds)
        self._use_encoder()
        self._translator.use(
            translators.sources(config), translators.reads(config), config.retry_seconds
        )
        self.translations.renders_untranslated = config.render_untranslated
        self.jobs.use(_limits(config))
        self._use_max_attempts()
        self.jobs.opened.fits = Fits()  # a profile may take other memory now
        self.intake.close()
        self.intake = self._make_intake().after(self.intake)
        self.models = self._make_models()
        self.feeder = self._make_feeder()

    @property
    def pause(self) -> str:
        """Who has asked for a pause, and how it ends; empty if nobody has."""
        file = self.intake.controls.pause
        return f"by inbox/{shown(file)}; delete it to go on" if file else ""

    def wait_for_night(self) -> str:
        """Return why prompt files wait for the night; empty if it is night."""
        return self.night.wait(datetime.now())

    def hanging(self, now: float) -> str:
        """Return what makes no progress any more beside renderers; empty if nothing hangs."""
        sign, busy = self.publisher.sign_of_life, self.publisher.videos > 0
        return "encoding" if self._encoder_stall.is_stalled(now, busy=busy, sign=sign) else ""

    def look_after_sheets(self, now: float) -> None:
        """Let a job end without sheets that make no progress any more."""
        sheets, watch = self.assembler, self._sheets_stall
        hangs = watch.is_stalled(now, busy=sheets.is_busy, sign=sheets.signs_of_life)
        said = in_words(watch.idle_seconds)
        is_slow = watch.idle_seconds >= self.settings.config.stall_seconds / 4
        self.jobs.opened.sheets_rest = f", but for {said} without progress" if is_slow else ""
        if hangs:
            sheets.give_up(f"they made no progress for {said}")

    def close(self) -> None:
        """End the stages. A video that is not encoded yet is rendered again at the next start."""
        self._translator.close()
        self.publisher.close()
        self.assembler.close()
        self.benches.close()
        self.fleet.close()
        self.intake.close()


def _limits(config: Config) -> Limits:
    batch_sizes = {name: profiles.batch_limit(name, config) for name in config.models}
    return Limits(batch_sizes, config.max_attempts, config.retry_seconds)
