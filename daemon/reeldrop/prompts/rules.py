"""Which keys and values a profile allows; words the messages about unknown keys and bad values.

Knows settings as plain values; `parsing` knows their places in the file.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field

from reeldrop.base.errors import ConfigError, Mistake, ReeldropError
from reeldrop.base.escaping import short
from reeldrop.base.job import Capabilities, Scalar

MAX_VIDEOS = 1000
MAX_SEED = 2**63 - 1
LONGEST_KEY = 100
LONGEST_TEXT = 10_000
MAX_FAULTS = 20
"""Most faults reported of one prompt: describing one takes longer than finding it."""

Format = Literal["mp4", "gif", "webm"]
FORMATS: tuple[str, ...] = get_args(Format)
FILE_KEYS = ("prompts", "priority", "rendered")
"""Keys of a whole prompt file, not allowed in a single prompt."""

_OWN_DEFAULTS: Mapping[str, Scalar] = {"fps": 8, "format": "mp4"}
_OWN_KEYS = ("prompt", "seed", "fps", "format", "num_videos_per_prompt")
_LISTS = ("seed", "format")
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
}

_Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a setting, and the remedy; `item` is the index in a list."""

    key: str
    problem: str
    remedy: str = ""
    item: int | None = None


class SettingsRefused(ReeldropError):
    """A prompt's settings can't be rendered; has every fault that was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.problem for fault in self.faults))


@dataclass(frozen=True)
class ModelRules:
    """What prompt files may set for one profile.

    defaults: the profile's, which override the pipeline's
    limits: the smallest and the largest value of a setting; None for the smallest that makes sense
    """

    name: str
    capabilities: Capabilities
    defaults: Mapping[str, Scalar]
    limits: Mapping[str, tuple[float | None, float]]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is allowed in a prompt for this profile."""
        return (*self.capabilities.settings, *_OWN_KEYS, "model")

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings of a prompt, with defaults for those that are not given.

        `seed` and `format` are lists; `seed` is empty if none was given.

        Raises:
            SettingsRefused: the settings can't be rendered.
        """
        settings = {**self._all_defaults, **given}
        for key in _LISTS:
            if key in settings and not isinstance(settings[key], list):
                settings[key] = [settings[key]]
        try:
            resolved = self._schema(**settings).model_dump()
        except pydantic.ValidationError as error:
            details = error.errors(include_url=False)[:MAX_FAULTS]
            raise SettingsRefused(self._fault(detail) for detail in details) from None
        faults = list(self._faults_beyond_schema(resolved))
        if faults:
            raise SettingsRefused(faults)
        return resolved

    @functools.cached_property
    def _all_defaults(self) -> dict[str, Scalar]:
        return {**_OWN_DEFAULTS, **self.capabilities.defaults, **self.defaults}

    @functools.cached_property
    def _schema(self) -> type[pydantic.BaseModel]:
        fields: dict[str, Any] = {
            "prompt": (_Text, ...),
            "seed": (Annotated[list[_Seed], Field(min_length=1)], []),
            "fps": (self._within("fps", float, 1, 120), ...),
            "format": (Annotated[list[Format], Field(min_length=1)], ...),
            "num_videos_per_prompt": (
                self._within("num_videos_per_prompt", int, 1, MAX_VIDEOS),
                self.defaults.get("num_videos_per_prompt", 1),
            ),
        }
        for name, kind in self.capabilities.settings.items():
            annotation = self._annotation(name, kind)
            optional = self._all_defaults.get(name) is None
            fields[name] = (annotation | None, None) if optional else (annotation, ...)
        config = pydantic.ConfigDict(extra="forbid", strict=True)
        return pydantic.create_model("Settings", __config__=config, **fields)

    def _annotation(self, name: str, kind: type) -> Any:
        if kind in (str, bool):
            return _Text if kind is str else bool
        multiple = self.capabilities.size_multiple if name in ("height", "width") else None
        return self._within(name, kind, 1 if kind is int else 0, 10_000, multiple)

    def _within(
        self, name: str, kind: type, lowest: float, highest: float, multiple: int | None = None
    ) -> Any:
        """Return a number's type with bounds: the profile's limits, else those given here."""
        low, high = self.limits.get(name, (None, highest))
        low = lowest if low is None else low
        finite = False if kind is float else None
        field = Field(ge=kind(low), le=kind(high), multiple_of=multiple, allow_inf_nan=finite)
        return Annotated[kind, field]

    def _faults_beyond_schema(self, settings: Mapping[str, Any]) -> Iterator[Fault]:
        if not settings["prompt"].strip():
            yield Fault("prompt", "the prompt is empty", "write what to film")
        for key in ("prompt", "negative_prompt"):
            if not _is_encodable(settings.get(key) or ""):
                problem = f"{key} has half a character (a lone surrogate) in it"
                yield Fault(key, problem, "write the character itself")
        if len(settings["seed"]) > 1 and settings["num_videos_per_prompt"] > 1:
            problem = "a list of seeds already says how many videos there are"
            remedy = "give a list of seeds or num_videos_per_prompt, not both"
            yield Fault("num_videos_per_prompt", problem, remedy)
        elif sum(settings["seed"][:1], settings["num_videos_per_prompt"] - 1) > MAX_SEED:
            problem = f"the seeds that count up from this one become larger than {MAX_SEED}"
            yield Fault("seed", problem, "begin with a smaller one")
        multiple, frames = self.capabilities.frames_multiple, settings.get("num_frames") or 1
        if (frames - 1) % multiple:
            lower = (frames - 1) // multiple * multiple + 1
            problem = f"{self.name} makes {multiple}n + 1 frames, not {frames}"
            yield Fault("num_frames", problem, f"use {lower} or {lower + multiple}")

    def _fault(self, detail: Any) -> Fault:
        """Return a validation error of pydantic as a fault worded for authors of prompt files."""
        key, *rest = detail["loc"]
        problem, remedy = self._explain(str(key), detail)
        item = rest[0] if rest and isinstance(rest[0], int) else None
        return Fault(str(key), problem, remedy, item)

    def _explain(self, key: str, detail: Any) -> tuple[str, str]:
        value, context = detail["input"], detail.get("ctx", {})
        told = short(str(value)) if isinstance(value, int | float | str) else described(value)
        match detail["type"]:
            case "extra_forbidden" if key in FILE_KEYS:
                return f"'{key}' belongs to the whole file, not to one prompt", "move it to the top"
            case "extra_forbidden":
                return f"unknown key '{short(key)}'", did_you_mean(
                    key, (*self.keys, *FILE_KEYS[:2])
                )
            case "missing":
                return f"there is no {key} here", f"add `{key}: ...`"
            case "int_type" | "int_from_float" | "float_type" | "string_type" | "bool_type" as kind:
                remedy = "put it between quotes" if kind == "string_type" else ""
                return (
                    f"{key} must be {_WANTED[kind.split('_')[0]]}, not {described(value)}",
                    remedy,
                )
            case "greater_than_equal":
                least = _number(context["ge"])
                return (
                    f"{key} is {told}, less than the smallest",
                    f"use {least} or more",
                )
            case "less_than_equal":
                problem = f"{key} is {told}, more than {self.name} allows"
                return problem, f"use {_number(context['le'])} or less"
            case "multiple_of":
                multiple = context["multiple_of"]
                problem = f"{self.name} can't make a {key} of {told}, only multiples of {multiple}"
                return problem, f"use {' or '.join(self._near(key, value, multiple))}"
            case "literal_error":
                return f"there is no format '{told}'", "use " + ", ".join(FORMATS)
            case "string_too_long":
                problem = f"{key} has {len(value):,} characters, more than {LONGEST_TEXT:,}"
                return problem, "make it shorter; models read some hundred words"
            case "too_short":
                return f"{key} is an empty list", "name at least one, or remove the line"
            case _:
                return f"{key}: {detail['msg']}", ""

    def _near(self, key: str, value: int, multiple: int) -> list[str]:
        """Return the multiples next to a number that the profile allows; both if it allows none."""
        lower = max(multiple, value // multiple * multiple)
        both = (lower, lower + multiple)
        low, high = self.limits.get(key, (None, max(both)))
        return [str(near) for near in both if (low or 0) <= near <= high] or [str(n) for n in both]


def check(rules: ModelRules) -> None:
    """Check a profile's defaults and limits against its pipeline's capabilities.

    Raises:
        ConfigError: has every mistake that was found.
    """
    mistakes = []
    known = [key for key in rules.keys if key not in ("prompt", "seed", "model")]
    for where, settings in (("defaults", rules.defaults), ("limits", rules.limits)):
        for key in settings:
            if key not in known:
                problem = f"the pipeline of {rules.name} has no setting '{key}'"
                place = f"models.{rules.name}.{where}.{key}"
                mistakes.append(Mistake(problem, did_you_mean(key, known), key=place))
    if mistakes:
        raise ConfigError(*mistakes)
    try:
        rules.resolve({"prompt": "any"})
    except SettingsRefused as error:
        place = f"models.{rules.name}.defaults."
        found = (Mistake(f.problem, f.remedy, key=place + f.key) for f in error.faults)
        raise ConfigError(*found) from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with all known words, and the most similar one, if any is similar."""
    names = list(known)
    is_near = len(word) <= LONGEST_KEY  # a longer one is no typo, and slow to compare
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5) if is_near else []
    listed = "known are " + ", ".join(names)
    return f"did you mean '{near[0]}'? {listed}" if near else listed


def described(value: object) -> str:
    """Return a value for a message: short, and with its type recognizable."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text '{short(value)}'"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return short(str(value))


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
