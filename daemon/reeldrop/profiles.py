"""What a profile of config.yaml means to the stages, which do not know config.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reeldrop import pipeline, rules
from reeldrop.job import Capabilities, Prompt
from reeldrop.pipeline import ModelSource
from reeldrop.rules import ModelRules

if TYPE_CHECKING:
    from reeldrop.config import Config

_WARM_UP_PROMPT = "a red ball"


def source(name: str, config: Config) -> ModelSource:
    """Return where a profile's pipeline comes from and how it is set up."""
    profile = config.models[name]
    return ModelSource(
        name=name,
        location=str(profile.path or profile.repository or pipeline.bundled()),
        revision=profile.revision,
        variant=profile.variant,
        dtype=profile.dtype,
        scheduler=profile.scheduler.name if profile.scheduler else None,
        scheduler_settings=profile.scheduler.settings if profile.scheduler else {},
        placement=profile.placement,
        speed=profile.speed.model_dump(exclude_defaults=True),
    )


def sources(config: Config) -> dict[str, ModelSource]:
    """Return where each profile's pipeline comes from."""
    return {name: source(name, config) for name in config.models}


def model_rules(name: str, config: Config, capabilities: Capabilities) -> ModelRules:
    """Return what prompt files may ask of a profile.

    Raises:
        ConfigError: its defaults or limits are for settings that the pipeline doesn't have, or
            the defaults are beyond its limits.
    """
    profile = config.models[name]
    found = ModelRules(name, capabilities, profile.defaults, profile.limits)
    rules.check(found)
    return found


def warm_up(found: ModelRules) -> Prompt:
    """Return what is rendered before anybody's prompt: the defaults, in two steps.

    Raises:
        SettingsRefused: there are no defaults that could be rendered.
    """
    settings = found.resolve({"prompt": _WARM_UP_PROMPT})
    arguments = {key: settings[key] for key in found.capabilities.settings}
    arguments["num_inference_steps"] = 2
    given = tuple((key, value) for key, value in arguments.items() if value is not None)
    return Prompt(1, _WARM_UP_PROMPT, found.name, given, 0, settings["fps"], ("mp4",))
