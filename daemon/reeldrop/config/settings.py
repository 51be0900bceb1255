"""The settings in force, and how others follow while the daemon runs.

config.yaml is read again on request. What is wrong with it is told, and the settings in force stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from reeldrop.base.errors import ConfigError, FileError, Mistake
from reeldrop.config import profiles
from reeldrop.prompts.rules import ModelRules

if TYPE_CHECKING:
    from reeldrop.config.config import Config

_FOLDERS = ("inbox", "results", "spool", "failed")

_log = structlog.get_logger()


class _Set(NamedTuple):
    config: Config
    model: str
    rules: dict[str, ModelRules | None]


class Settings:
    """What config.yaml says; `read` returns that, and the profile for prompts that name none.

    `rules` are what prompt files may ask of the profiles, None where that is not known yet.
    `readings` counts how often the file was read again, `refused` says what is wrong with it.
    """

    def __init__(self, read: Callable[[], tuple[Config, str]]) -> None:
        self._read = read
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
        """Whether other settings wait to be used."""
        return self._next is not None

    @property
    def are_on_trial(self) -> bool:
        """Whether those in force have a model that may turn out not to be loadable."""
        return self._before is not None

    def read_again(self) -> Config | None:
        """Read the file, and return what is used from the next `change` on; None if it is bad."""
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
        self.refused = str(error)
        _log.error("reload_refused", reason=self.refused, remedy="the settings stay as they were")

    def _require_same_folders(self, config: Config) -> None:
        for name in _FOLDERS:
            before, after = getattr(self.config, name), getattr(config, name)
            if before != after:
                problem = f"the daemon works in {before}, and can't move to {after} while it runs"
                raise ConfigError(Mistake(problem, "restart it", key=name))

    def _rules_known(self, config: Config) -> dict[str, ModelRules | None]:
        """Return the rules of the profiles that stay the same pipelines.

        Raises:
            ConfigError: defaults or limits do not fit a pipeline.
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
        """Use what was read, and return whether any pipeline has to be loaded anew for it."""
        assert self._next is not None
        coming, self._next = self._next, None
        try:  # more pipelines may be known by now
            coming = coming._replace(rules=self._rules_known(coming.config))
        except ConfigError as error:
            self._refuse(error)
            return False
        old, self._now = self._now, coming
        is_same_model = old.model == self.model and old.config.models.keys() == self.rules.keys()
        names = old.config.models.keys() & self.rules.keys()
        is_same = is_same_model and not any(self._is_another(name, old.config) for name in names)
        self._before = None if is_same else old
        _log.info("reloaded", model=self.model)
        return not is_same

    def change_back(self, error: Exception) -> bool:
        """Use those from before the last change again, if its model has turned out bad."""
        if self._before is None:
            return False
        self._now, self._before = self._before, None
        self._refuse(error)
        return True

    def confirm(self) -> None:
        """Keep what was changed to: its model is loaded."""
        self._before = None
