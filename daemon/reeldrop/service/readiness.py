"""What follows when a renderer has loaded a model, or could not: warm-up, READY, other settings.

Does not know the batches of prompts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import ConfigError, Mistake, RenderCancelled, Unavailable
from reeldrop.base.job import Batch, Member
from reeldrop.config import profiles
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.service.losses import Losses
from reeldrop.service.report import Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.store import described
from reeldrop.video import received

if TYPE_CHECKING:
    from reeldrop.base.events import BatchFailed, BatchRendered, ModelLoaded
    from reeldrop.service.workbench import Workbench

_log = structlog.get_logger()


class Readiness:
    """Which models are ready, and whether the daemon is.

    losses: what follows when renderers are lost
    """

    def __init__(self, stages: Stages, phase: Phase, reporter: Reporter) -> None:
        self._stages = stages
        self._phase = phase
        self._reporter = reporter
        self.losses = Losses(stages, phase, self.be_ready)

    def loaded(self, event: ModelLoaded, bench: Workbench) -> None:
        """Keep the rules of a model that a renderer has loaded, and warm up the daemon's own.

        Raises:
            ConfigError, Unavailable: the daemon's own model can't be used.
        """
        stages, seconds = self._stages, round(event.seconds, 3)
        _log.info("model_loaded", model=event.model, seconds=seconds, **bench.where)
        try:
            rules = stages.settings.rules_for(event.model, event.capabilities)
        except ConfigError as error:
            self.failed(event.model, error, bench)
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
            self.be_ready()

    def _begin_warm_up(self, rules: ModelRules, bench: Workbench) -> None:
        """Render the defaults once, so that a defect shows before the first prompt file."""
        try:
            prompt = profiles.warm_up(rules)
        except SettingsRefused:  # the defaults are incomplete
            self.be_ready()
        else:
            bench.try_out(Batch((Member("", prompt),)), time.monotonic())

    def warm_up_rendered(self, event: BatchRendered, bench: Workbench) -> None:
        """Drop the frames of the defaults: the model works."""
        self._stages.forecast.rendered(time.monotonic() - event.waited, bench.id)
        self._stages.models.renders(event.batch.model, bench.id)
        bench.clear()
        received.discard_all(event)
        self.be_ready()

    def warm_up_failed(self, event: BatchFailed, bench: Workbench) -> None:
        """Take a model that can't render its own defaults for one that can't be loaded.

        Raises:
            Unavailable: the daemon's own model can't be used.
        """
        if isinstance(event.error, RenderCancelled) and not self._phase.is_stopping:
            # It was cut short because of a reload, but had to be rendered again in smaller parts.
            bench.try_out(Batch(event.batch.members), time.monotonic())
            return
        model = self._stages.settings.model
        problem = f"the model can't render its own defaults: {event.error}"
        remedy = "see what else uses the device, or change the defaults"
        self.failed(model, Unavailable(Mistake(problem, remedy, key=model)), bench)

    def be_ready(self) -> None:
        """Keep the settings in force, and begin to render what waits."""
        settings = self._stages.settings
        settings.confirm()
        if not self._phase.is_ready and not self._phase.is_stopping:
            self._phase.is_ready = True
            self._reporter.ready()
            _log.info("ready", inbox=str(settings.config.inbox))

    def _end_loading(self, model: str, bench: Workbench) -> bool:
        """Record the end of a load; return whether a job could not be read before."""
        bench.clear()
        job = bench.loads_for
        return job is not None and self._stages.jobs.loads.end(job, model)

    def failed(self, model: str, error: Exception, bench: Workbench) -> None:
        """Let the jobs wait that need the model, or fail them.

        If none did, it is the daemon's own: the old settings return, or it goes on with the other
        models or renderers.

        Raises:
            Exception: `error`, if the daemon can't go on without the model.
        """
        is_unread = self._end_loading(model, bench)
        if self._phase.is_stopping:
            return
        stages, loads_for = self._stages, bench.loads_for
        error = stages.settings.placed(error)
        is_last = loads_for is None and not self._others_may_load(model, bench)
        if is_last:
            if stages.settings.change_back(error):
                stages.change_renderers()
                return
            if not self._goes_on_without_it(error, bench):
                raise error
        self.note_trouble(model, error, bench)
        refusal = stages.models.refusal(model, time.monotonic())
        if loads_for is None:
            if is_last or not stages.settings.are_on_trial:
                self.be_ready()
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

    def note_trouble(self, model: str, error: Exception, bench: Workbench) -> None:
        """Note that a renderer can't use a model for now; log it if it is news."""
        if self._stages.models.failed(model, error, time.monotonic(), bench.id):
            remedy = "prompts of other models are rendered; it is tried again"
            _log.error("model_failed", model=model, reason=str(error), remedy=remedy, **bench.where)
