"""The built-in profiles, and how the values of config.yaml override theirs.

Works on plain values; `profile_keys` says what they may be.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from reeldrop.base import strict_yaml
from reeldrop.config.profile_keys import Profile
from reeldrop.prompts.wording import did_you_mean

FILE = "profiles.yaml"

OFFERED = ("ms-1.7b", "bundled")
"""The profiles that prompt files may name even if config.yaml does not. It must name the other
built-in ones: a prompt file must not make a machine download a hundred gigabytes."""

_SOURCES = ("repository", "path", "bundled")
_OF_A_SOURCE = ("revision", "about", "weight_name")
"""The values that describe the source of a model or a LoRA, and do not apply to another one."""

_DTYPES = ("dtype", "native_dtype")
"""The values for all parts if they are a name, else by part."""

Fault = tuple[list[Any], str, str]
"""A key's location in config.yaml, the problem, and the remedy."""


@functools.cache
def profiles() -> Mapping[str, dict[str, Any]]:
    """Return the built-in profiles by name, in the form of `models` in config.yaml."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = strict_yaml.plain(strict_yaml.load_all(text)[0])
    return found


def profile(name: str) -> Profile:
    """Return a built-in profile, unchanged."""
    return Profile.model_validate(_merge(profiles()[name], {}))


def merged(values: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values of a config.yaml with those of the built-in profiles below them.

    A key without a value removes the built-in value. A profile of another name begins empty, or
    with the values of the profile that is its `base`.
    """
    models = values.get("models", {})
    if not isinstance(models, dict):
        return values, []
    profiles_of, selected = _Merge(models), values.get("model")
    faults = list(profiles_of.faults(selected))
    wanted = [*OFFERED, *models]
    if isinstance(selected, str) and selected in profiles():
        wanted.append(selected)
    names = [name for name in dict.fromkeys(wanted) if not profiles_of.is_removed(name)]
    return {**values, "models": {name: profiles_of.whole(name) for name in names}}, faults


class _Merge:
    """The profiles of one config.yaml, `given`, over the built-in ones."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def is_removed(self, name: str) -> bool:
        return name in self._given and self._given[name] is None

    def whole(self, name: str) -> Any:
        """Return all values of a profile, those of its base included."""
        given = self._given.get(name) or {}
        if not isinstance(given, dict):
            return given
        base = self._base(name)
        if base in (None, name) or self._base_fault(name):
            return _over(profiles().get(name, {}), given)
        return _over(self.whole(str(base)), given)

    def _base(self, name: str) -> str | None:
        given = self._given.get(name)
        base = given.get("base") if isinstance(given, dict) else None
        return base if isinstance(base, str) else None

    def _base_fault(self, name: str) -> tuple[str, str] | None:
        seen = [name]
        while (base := self._base(seen[-1])) is not None and base != seen[-1]:
            if base not in self._known:
                return f"there is no profile '{base}'", did_you_mean(base, self._known)
            if base in seen:
                return (
                    f"{' is based on '.join([*seen, base])}",
                    "remove one `base:`",
                )
            seen.append(base)
        return None

    @property
    def _known(self) -> list[str]:
        return list(dict.fromkeys([*profiles(), *self._given]))

    def faults(self, selected: object) -> Iterator[Fault]:
        """Yield what is wrong with the names of profiles."""
        for name in self._given:
            if self.is_removed(name) and name not in OFFERED:
                remedy = "write `{}` after it to offer it unchanged, or remove the line"
                yield ["models", name], "has nothing in it", remedy
            elif self._base(name) and (fault := self._base_fault(name)):
                yield ["models", name, "base"], *fault
        if not isinstance(selected, str) or selected == "auto":
            return
        if selected not in self._known:
            problem = f"there is no profile '{selected}'"
            yield ["model"], problem, did_you_mean(selected, self._known)
        elif self.is_removed(selected):
            yield ["model"], f"the profile '{selected}' is removed under models", "name another"


def _over(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile's values, `given` over those below it."""
    above = _with_named_scheduler(given)
    dropped = ["base", *_of_another_source(below, given)]
    if _scheduler_name(above) not in (None, _scheduler_name(_with_named_scheduler(below))):
        dropped.append("scheduler")  # its settings are those of another class
    kept = {k: v for k, v in below.items() if k not in dropped}
    return _merge(_with_loras_left(kept, given), above)


def _of_another_source(below: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys below that another source given above makes untrue."""
    is_another = any(given.get(key) not in (None, below.get(key)) for key in _SOURCES)
    return (*_SOURCES, *_OF_A_SOURCE) if is_another else ()


def _with_loras_left(below: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile's values without what is not true of the LoRAs given above."""
    loras, above = below.get("loras"), given.get("loras")
    if not isinstance(loras, dict) or not isinstance(above, dict):
        return below
    left = {
        name: {k: v for k, v in lora.items() if k not in _of_another_source(lora, above[name])}
        if isinstance(above.get(name), dict)
        else lora
        for name, lora in loras.items()
    }
    return {**below, "loras": left}


def _scheduler_name(profile: Mapping[str, Any]) -> object:
    scheduler = profile.get("scheduler")
    return scheduler.get("name") if isinstance(scheduler, dict) else None


def _with_named_scheduler(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a profile's values with `scheduler: NAME` written out, so that both forms merge."""
    if isinstance(given.get("scheduler"), str):
        return {**given, "scheduler": {"name": given["scheduler"]}}
    return given


def _merge(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(_with_named_scheduler(below))
    for key, value in given.items():
        if key in _DTYPES and isinstance(value, dict) and isinstance(found.get(key), str):
            found[key] = {"default": found[key]}
        if value is None and key in found:
            del found[key]
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merge(found[key], value)
        else:
            found[key] = value
    return found
