"""Check what a profile lets prompts ask against what its pipeline can do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.prompts.rules import COUNTED, ModelRules, SettingsRefused
from reeldrop.prompts.wording import did_you_mean, number

_OWN_NUMBERS = ("fps", "num_videos_per_prompt")


def check_profile(rules: ModelRules) -> None:
    """Check a profile's defaults and limits against its pipeline's capabilities.

    Raises:
        ConfigError: it has every mistake that was found.
    """
    mistakes = [*_unknown(rules)] or [*_impossible(rules)] or [*_without_effect(rules)]
    if mistakes:
        raise ConfigError(*mistakes)
    try:
        rules.resolve({"prompt": "any"})
    except SettingsRefused as error:
        place = f"models.{rules.name}.defaults."
        found = (Mistake(f.problem, f.remedy, key=place + f.key) for f in error.faults)
        raise ConfigError(*found) from None


def _unknown(rules: ModelRules) -> Iterator[Mistake]:
    """Yield the defaults and limits of settings that the pipeline does not have."""
    not_here = ("prompt", "seed", "model", *rules.capabilities.pictures)
    known = [key for key in rules.keys if key not in not_here]
    counts = {key for key, kind in rules.capabilities.settings.items() if kind in (int, float)}
    numbers = [key for key in known if key in counts or key in _OWN_NUMBERS]
    for where, settings in (("defaults", rules.defaults), ("limits", rules.limits)):
        for key in settings:
            place = f"models.{rules.name}.{where}.{key}"
            if key not in known:
                problem = f"the pipeline of {rules.name} has no setting '{key}'"
                yield Mistake(problem, did_you_mean(key, known), key=place)
            elif where == "limits" and key not in numbers:
                problem, remedy = f"'{key}' is no number, so it has no limits", "leave it out"
                yield Mistake(problem, remedy, key=place)


def _impossible(rules: ModelRules) -> Iterator[Mistake]:
    """Yield the limits between which there is no number that the pipeline can make."""
    for key, (low, high) in rules.limits.items():
        if key not in COUNTED:
            continue
        grid = rules.capabilities.grid(key)
        least = max(grid.least, math.ceil(low or 0))
        near = grid.near(max(least, int(high)))
        if not any(least <= one <= high for one in near):
            problem = f"{rules.name} can't make any {key} from {least} to {number(high)}"
            remedy = f"the limits must have one between them that it makes, such as {near[-1]}"
            place = f"models.{rules.name}.limits.{key}"
            yield Mistake(problem, remedy, key=place)


def _without_effect(rules: ModelRules) -> Iterator[Mistake]:
    """Yield the window of which no video needs a second one."""
    windows, grid = rules.capabilities.windows, rules.capabilities.grid("num_frames")
    if not windows.frames or "num_frames" not in rules.limits:
        return
    longest = grid.near(int(rules.limits["num_frames"][1]))[0]
    if windows.count(longest) == 1:
        problem = (
            f"a window of {windows.frames} frames has no effect: the longest video has {longest}"
        )
        remedy = "raise num_frames under limits, or leave window and overlap out"
        yield Mistake(problem, remedy, key=f"models.{rules.name}.window")
