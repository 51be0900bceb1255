"""The settings in force, and their replacement while the daemon runs.

config.yaml is read again on request. If it has mistakes, they are reported, and the settings in
force stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from reeldrop.base.errors import ConfigError, FileError, Mistake
from reeldrop.config import profiles
from reeldrop.prompts.rules import ModelRules

if TYPE_CHECKING:
    from reeldrop.base.job import Capabilities
    from reeldrop.config.config import Config

_FOLDERS = ("inbox", "results", "spool", "failed")

_log = structlog.get_logger()


def _of_the_fleet(config: Config) -> tuple[object, ...]:
    """Return what the renderers are made with: those of a cluster that come later, too."""
    if config.engine != "ray":
        return (config.engine,)
    together = {name: profiles.batch_limit(name, config, cuda=True) for name in config.models}
    return (config.engine, config.ray, config.mp4_encoder, profiles.sources(config), together)


class _Set(NamedTuple):
    config: Config
    model: str
    rules: dict[str, ModelRules | None]


class Settings:
    """The settings in force. `read` returns config.yaml's and the profile for prompts without one.
    `placed` returns an error of a model with the places of its keys in that file.

    rules: what prompt files may ask of each profile; None while that is unknown.
    readings: how often config.yaml was read again.
    refused: why the last change was refused; empty if it was not.
    """

    def __init__(
        self,
        read: Callable[[], tuple[Config, str]],
        placed: Callable[[FileError], FileError] = lambda error: error,
    ) -> None:
        self._read = read
        self._placed = placed
        config, model = read()
        self._now = _Set(config, model, dict.fromkeys(config.models))
        self._next: _Set | None = None
        self._before: _Set | None = None
        self.readings = 0
        self.refused = ""

    @property
    def config(self) -> Config:
        return self._now.config

    @property
    def model(self) -> str:
        return self._now.model

    @property
    def rules(self) -> dict[str, ModelRules | None]:
        return self._now.rules

    @property
    def are_changing(self) -> bool:
        """Whether settings were read that `change` has not put into force yet."""
        return self._next is not None

    @property
    def are_on_trial(self) -> bool:
        """Whether the model of the settings in force may still fail to load."""
        return self._before is not None

    def placed(self, error: Exception) -> Exception:
        """Return an error that came up with a model, with the places of its keys in config.yaml."""
        return self._placed(error) if isinstance(error, FileError) else error

    def read_again(self) -> Config | None:
        """Read config.yaml, and return the settings for the next `change`; None if it is bad."""
        self.readings += 1
        self._next, self.refused = None, ""
        try:
            config, model = self._read()
            self._require_same_folders(config)
            self._next = _Set(config, model, self._rules_known(config))
        except FileError as error:
            self._refuse(error)
            return None
        return config

    def _refuse(self, error: Exception) -> None:
        self.refused = str(self.placed(error))
        _log.error("reload_refused", reason=self.refused, remedy="the settings stay as they were")

    def _require_same_folders(self, config: Config) -> None:
        for name in _FOLDERS:
            before, after = getattr(self.config, name), getattr(config, name)
            if before != after:
                problem = f"the daemon works in {before}, and can't move to {after} while it runs"
                raise ConfigError(Mistake(problem, "restart it", key=name))

    def rules_for(self, name: str, capabilities: Capabilities) -> ModelRules:
        """Return the rules of a profile whose pipeline is loaded, also by the hundredth renderer.

        Raises:
            ConfigError: its defaults or limits do not fit the pipeline.
        """
        found = self.rules.get(name)
        if found is not None and found.capabilities == capabilities:
            return found
        return profiles.model_rules(name, self.config, capabilities)

    def _rules_known(self, config: Config) -> dict[str, ModelRules | None]:
        """Return the rules of each profile; None where its pipeline is new or not yet loaded.

        Raises:
            ConfigError: defaults or limits don't fit a pipeline.
        """
        rules: dict[str, ModelRules | None] = dict.fromkeys(config.models)
        for name in rules:
            found = self.rules.get(name)
            if found is not None and not self._is_another(name, config):
                rules[name] = profiles.model_rules(name, config, found.capabilities)
        return rules

    def _is_another(self, name: str, config: Config) -> bool:
        return profiles.source(name, self.config) != profiles.source(name, config)

    def change(self) -> bool:
        """Put into force what was read; return whether the daemon's own model is another one.

        So it is also if it is to be rendered elsewhere, or in a cluster by other settings.

        False also if the settings are refused.
        """
        assert self._next is not None
        coming, self._next = self._next, None
        try:  # more pipelines may have been loaded by now
            coming = coming._replace(rules=self._rules_known(coming.config))
        except ConfigError as error:
            self._refuse(error)
            return False
        old, self._now = self._now, coming
        is_same = old.model == self.model and not self._is_another(self.model, old.config)
        is_same &= _of_the_fleet(old.config) == _of_the_fleet(self.config)
        self._before = None if is_same else old
        _log.info("reloaded", model=self.model)
        return not is_same

    def change_back(self, error: Exception) -> bool:
        """Return to the settings before the last change, because its model failed to load.

        False if there are no such settings.
        """
        if self._before is None:
            return False
        self._now, self._before = self._before, None
        self._refuse(error)
        return True

    def confirm(self) -> None:
        """Keep the settings in force: their model is loaded."""
        self._before = None
