"""What renderers and the encoder answer, and what follows from it for prompts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import (
    FileError,
    RenderError,
    TooLarge,
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
from reeldrop.service.readiness import Readiness
from reeldrop.service.report import Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.service.workbench import Workbench
from reeldrop.video import received

if TYPE_CHECKING:
    from reeldrop.base.fleet import Encoded
    from reeldrop.base.job import Frames, Rendered

_log = structlog.get_logger()


class Answers:
    """Handles the events of the stages."""

    def __init__(self, stages: Stages, phase: Phase, reporter: Reporter) -> None:
        self._stages = stages
        self._phase = phase
        self._reporter = reporter
        self._readiness = Readiness(stages, phase, reporter)
        self.losses = self._readiness.losses

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
                self._readiness.loaded(event, bench)
            case ModelFailed():
                self._readiness.failed(event.model, event.error, bench)
            case Downloading():
                bench.downloaded(event.done, event.total)
            case ModelsReleased():
                bench.clear()
                for model in event.models:
                    _log.info("model_released", model=model, **bench.where)
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
                self._readiness.warm_up_rendered(event, bench)
            case BatchFailed(batch=batch) if batch is bench.warm_up:
                self._readiness.warm_up_failed(event, bench)
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
        batches, error = self._stages.jobs.batches, self._stages.settings.placed(event.error)
        if isinstance(error, FileError):  # its model can't be loaded
            self._readiness.note_trouble(event.batch.model, error, bench)
            if self._stages.models.refusal(event.batch.model, time.monotonic()) is None:
                batches.give_back(event.batch)
                return
        if isinstance(error, TooLarge) and self._fits_elsewhere(event.batch, bench):
            _log.warning("left_to_larger_cards", reason=str(error), **bench.where)
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
