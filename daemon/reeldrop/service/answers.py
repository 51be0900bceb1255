"""What renderers and the encoder answer, and what follows from it for models and jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import (
    ConfigError,
    FileError,
    Mistake,
    RenderCancelled,
    RenderError,
    TooLarge,
    Unavailable,
    Unrenderable,
)
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Downloading,
    Event,
    FleetBroken,
    FleetClosed,
    FleetTrouble,
    FromRenderer,
    MemoryChanged,
    ModelFailed,
    ModelLoaded,
    ModelsReleased,
    Previewed,
    RendererEnded,
    RendererEvent,
    RendererJoined,
    RendererLeft,
    SheetsMade,
    SignOfLife,
    StepDone,
    TextsTranslated,
    VideoFailed,
    VideoPublished,
)
from reeldrop.base.job import Batch, Member
from reeldrop.config import profiles
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.service.losses import Losses
from reeldrop.service.report import Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.service.workbench import Workbench
from reeldrop.store import described, job_files
from reeldrop.video import received

if TYPE_CHECKING:
    from reeldrop.base.fleet import Encoded
    from reeldrop.base.job import Frames, Rendered

_log = structlog.get_logger()


def _where(bench: Workbench) -> dict[str, str]:
    """Return the renderer for a line of the log; nothing if it is the only one."""
    return {} if bench.is_own else {"renderer": bench.id}


class Answers:
    """Handles the events of the stages."""

    def __init__(self, stages: Stages, phase: Phase, reporter: Reporter) -> None:
        self._stages = stages
        self._phase = phase
        self._reporter = reporter
        self.losses = Losses(stages, phase, self._be_ready)

    def handle(self, event: Event) -> None:
        """Handle an event of a renderer, the fleet or the encoder.

        Raises:
            ConfigError, Unavailable: the daemon's own model can't be used.
            RendererDied: the renderer in this process, or the fleet of others, can't go on.
        """
        stages, forecast = self._stages, self._stages.forecast
        match event:
            case FleetBroken():
                raise event.error
            case FleetClosed():
                stages.closed_fleets -= 1
            case FromRenderer() | RendererJoined() | RendererLeft() | FleetTrouble() if (
                stages.closed_fleets
            ):
                pass  # of a fleet that is closed: the next one may have the same ids
            case FromRenderer():
                bench = stages.benches.get(event.id)
                if bench is not None:
                    self._told(event.event, bench)
                elif isinstance(event.event, BatchRendered | BatchFailed):
                    received.discard_all(event.event)
            case RendererJoined():
                _log.info("renderer_joined", renderer=event.id, device=event.device.name)
                if not self._phase.is_stopping:
                    stages.join(event)
            case RendererLeft():
                self.losses.lost(event, time.monotonic())
            case FleetTrouble():
                stages.benches.trouble, stages.benches.is_hopeless = event.reason, event.is_final
                if event.reason:
                    _log.warning("renderers_missing", reason=event.reason)
            case VideoPublished():
                key = stages.publisher.release(event)
                forecast.encoded(*key, time.monotonic(), is_published=True)
                stages.jobs.batches.published(event.video)
                self._reporter.show(event.video)
            case VideoFailed():
                key = stages.publisher.release(event)
                forecast.encoded(*key, time.monotonic(), is_published=False)
                stages.jobs.batches.failed(event.job_id, event.prompt, event.error)
            case SheetsMade():
                if stages.assembler.made(event):
                    stages.jobs.opened.sheets_made(event.job_id)
            case TextsTranslated():
                stages.translations.done(event)

    def _told(self, event: RendererEvent, bench: Workbench) -> None:
        """Handle an event of a renderer; ignore one of a batch that it does not have in hand."""
        match event:
            case ModelLoaded():
                self._model_loaded(event, bench)
            case ModelFailed():
                self._model_failed(event.model, event.error, bench)
            case Downloading():
                bench.downloaded(event.done, event.total)
            case ModelsReleased():
                bench.clear()
                for model in event.models:
                    _log.info("model_released", model=model, **_where(bench))
            case MemoryChanged():
                bench.memory = event.memory
            case SignOfLife():
                bench.sign = event.sign
            case StepDone(batch=batch) if bench.has_in_hand(batch):
                bench.step_done(event.step, time.monotonic())
                self._reporter.progress()
            case Previewed(batch=batch) if batch is bench.batch:
                bench.preview = event.picture
            case BatchRendered(batch=batch) if batch is bench.warm_up:
                self._stages.forecast.rendered(time.monotonic() - event.waited, bench.id)
                self._stages.models.renders(batch.model, bench.id)
                bench.clear()
                received.discard_all(event)
                self._be_ready()
            case BatchFailed(batch=batch) if batch is bench.warm_up:
                self._warm_up_failed(event, bench)
            case BatchRendered(batch=batch) if batch is bench.batch:
                self._batch_rendered(event, bench)
            case BatchFailed(batch=batch) if batch is bench.batch:
                self._batch_failed(event, bench)
            case BatchRendered() | BatchFailed():
                received.discard_all(event)
            case RendererEnded() if bench.is_own:
                raise event.error
            case RendererEnded():
                self.losses.end(bench.id, str(event.error), time.monotonic(), event.cause)

    # Models

    def _end_loading(self, model: str, bench: Workbench) -> bool:
        """Record the end of a load; return whether a job could not be read before."""
        bench.clear()
        job = bench.loads_for
        return job is not None and self._stages.jobs.loads.end(job, model)

    def _model_loaded(self, event: ModelLoaded, bench: Workbench) -> None:
        stages, seconds = self._stages, round(event.seconds, 3)
        _log.info("model_loaded", model=event.model, seconds=seconds, **_where(bench))
        try:
            rules = stages.settings.rules_for(event.model, event.capabilities)
        except ConfigError as error:
            self._model_failed(event.model, error, bench)
            return
        self._end_loading(event.model, bench)
        if self._phase.is_stopping:
            return
        self.losses.loaded(bench, event.model)
        if not stages.intake.reader.knows(event.model):
            stages.settings.rules[event.model] = rules
            config = stages.settings.config
            origin = config.models[event.model].origin
            described.note(config.spool, event.model, origin, event.capabilities)
            stages.intake.examine_again()
        if bench.loads_for is None and not (self._phase.drains and bench.is_own):
            self._begin_warm_up(rules, bench)
        else:
            self._be_ready()

    def _begin_warm_up(self, rules: ModelRules, bench: Workbench) -> None:
        """Render the defaults once, so that a defect shows before the first prompt file."""
        try:
            prompt = profiles.warm_up(rules)
        except SettingsRefused:  # the defaults are incomplete
            self._be_ready()
        else:
            bench.try_out(Batch((Member("", prompt),)), time.monotonic())

    def _warm_up_failed(self, event: BatchFailed, bench: Workbench) -> None:
        if isinstance(event.error, RenderCancelled) and not self._phase.is_stopping:
            # It was cut short because of a reload, but had to be rendered again in smaller parts.
            bench.try_out(Batch(event.batch.members), time.monotonic())
            return
        model = self._stages.settings.model
        problem = f"the model can't render its own defaults: {event.error}"
        remedy = "see what else uses the device, or change the defaults"
        self._model_failed(model, Unavailable(Mistake(problem, remedy, key=model)), bench)

    def _be_ready(self) -> None:
        settings = self._stages.settings
        settings.confirm()
        if not self._phase.is_ready and not self._phase.is_stopping:
            self._phase.is_ready = True
            self._reporter.ready()
            _log.info("ready", inbox=str(settings.config.inbox))

    def _model_failed(self, model: str, error: Exception, bench: Workbench) -> None:
        """Let the jobs wait that need the model, or fail them.

        If none did, it is the daemon's own: the old settings return, or it goes on with the other
        models or renderers, or it ends.
        """
        is_unread = self._end_loading(model, bench)
        if self._phase.is_stopping:
            return
        stages, loads_for = self._stages, bench.loads_for
        is_last = loads_for is None and not self._others_may_load(model, bench)
        if is_last:
            if stages.settings.change_back(error):
                stages.change_renderers()
                return
            if not self._goes_on_without_it(error, bench):
                raise error
        self._note_trouble(model, error, bench)
        refusal = stages.models.refusal(model, time.monotonic())
        if loads_for is None:
            if is_last or not stages.settings.are_on_trial:
                self._be_ready()
        elif refusal is not None and is_unread:
            stages.jobs.ends.fail(loads_for, refusal)
        elif refusal is not None:
            stages.jobs.loads.refuse(model, refusal)

    def _others_may_load(self, model: str, bench: Workbench) -> bool:
        """Return whether another renderer can use a model, or may yet."""
        problems_of = self._stages.models.problems_of
        return any(
            other.loading == model
            or (model in other.memory.ready and model not in problems_of(other.id))
            for other in self._stages.benches
            if other is not bench
        )

    def _goes_on_without_it(self, error: Exception, bench: Workbench) -> bool:
        """Return whether config.yaml has other models, and a service waits for this one.

        If other renderers may join, it waits for those: what is missing on one machine need not be
        on another. A drain does not if config.yaml seems wrong: no renderer has loaded the model.
        """
        settings = self._stages.settings
        is_wrong = isinstance(error, ConfigError) and settings.rules[settings.model] is None
        if not bench.is_own and not (is_wrong and self._phase.drains):
            return True
        return not self._phase.drains and len(profiles.chosen(settings.config)) > 1

    def _note_trouble(self, model: str, error: Exception, bench: Workbench) -> None:
        if self._stages.models.failed(model, error, time.monotonic(), bench.id):
            remedy = "prompts of other models are rendered; it is tried again"
            _log.error(
                "model_failed", model=model, reason=str(error), remedy=remedy, **_where(bench)
            )

    # Batches

    def _batch_rendered(self, event: BatchRendered, bench: Workbench) -> None:
        now = time.monotonic()
        self._stages.forecast.rendered(now, bench.id)
        bench.batch_done(now)
        self.losses.rendered(bench, event.batch)
        self._stages.jobs.opened.fits.note(event.batch, event.fits, bench.kind)
        self._publish(event, bench)

    def _publish(self, event: BatchRendered | BatchFailed, bench: Workbench) -> None:
        """Publish what is rendered of a batch."""
        answers = zip(event.batch.members, event.frames, event.rendered, strict=False)
        for member, frames, rendered in answers:
            self._prompt_rendered(member, frames, rendered, bench)

    def _prompt_rendered(
        self, member: Member, frames: Frames | Encoded, rendered: Rendered, bench: Workbench
    ) -> None:
        jobs, prompt = self._stages.jobs, member.prompt
        opened = jobs.opened[member.job_id]
        if job_files.is_cancelled(opened.job):  # its batch went on for other jobs
            jobs.batches.failed(member.job_id, prompt, RenderCancelled())
            received.discard(frames)
            return
        jobs.batches.rendered(member.job_id, rendered)
        earlier = opened.reserved.get(prompt.number)
        self._stages.publisher.publish(opened.job, prompt, frames, rendered, earlier, bench.id)
        self._stages.forecast.encode(member, time.monotonic())

    def _batch_failed(self, event: BatchFailed, bench: Workbench) -> None:
        if self.losses.is_machine_to_blame(bench, event.batch, event.error):
            return
        bench.batch_done(time.monotonic())
        self._publish(event, bench)
        if self._phase.is_stopping:
            return  # the jobs stay in the spool, and are first at the next start
        batches, error = self._stages.jobs.batches, event.error
        if isinstance(error, FileError):  # its model can't be loaded
            self._note_trouble(event.batch.model, error, bench)
            if self._stages.models.refusal(event.batch.model, time.monotonic()) is None:
                batches.give_back(event.batch)
                return
        if isinstance(error, TooLarge) and self._fits_elsewhere(event.batch, bench):
            _log.warning("left_to_larger_cards", reason=str(error), **_where(bench))
            batches.give_back(event.batch)
            return
        if isinstance(error, TooLarge) and self._stages.benches.patience:
            error = TooLarge(error.problem, self._stages.benches.patience)
        has_pictures = any(prompt.pictures for prompt in event.batch.prompts)  # one may be damaged
        may_pass = has_pictures or not isinstance(error, Unrenderable)
        if isinstance(error, RenderError) and may_pass and len(event.batch.members) > 1:
            batches.give_back(event.batch, alone=True)  # to find the prompt to blame
            return
        for member in event.batch.members[len(event.frames) :]:
            self.losses.failed(bench, member, error)

    def _fits_elsewhere(self, batch: Batch, bench: Workbench) -> bool:
        """Note that prompts do not fit into a kind of card; return whether a larger one may do.

        It may have trouble with the model now, or be away for a moment, or join soon.
        """
        stages, now = self._stages, time.monotonic()
        benches, opened = stages.benches, stages.jobs.opened
        opened.fits.note(batch, 0, bench.kind)
        devices = [b.device for b in benches if not stages.models.is_excluded(batch.model, b.id)]
        return benches.may_grow(now) or any(
            device.memory_bytes > bench.device.memory_bytes
            and opened.together(batch.prompts[0], device.kind)
            for device in (*devices, *benches.away(now))
        )
