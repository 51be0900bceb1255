"""Which keys and values a profile allows; words the messages about bad values.

Knows settings as plain values; `parsing` knows their places in the file.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field

from reeldrop.base import invisible
from reeldrop.base.escaping import short
from reeldrop.base.job import CROP, IMAGE_FIT, PAD, Capabilities, Grid, Scalar
from reeldrop.base.loras import LoraLimits
from reeldrop.base.sweeps import SWEEPS
from reeldrop.base.translated import KEYS, TRANSLATE
from reeldrop.prompts import emphasis, loras, pictures, tags, unknown_keys, values, wording
from reeldrop.prompts.faults import Fault as Fault
from reeldrop.prompts.faults import SettingsRefused as SettingsRefused
from reeldrop.prompts.layers import MAX_VIDEOS
from reeldrop.prompts.wording import described

MAX_SEED = 2**63 - 1
LONGEST_TEXT = 10_000
FASTEST_GIF = 50
"""Frames a second. A GIF counts in hundredths; players treat a delay of none or one as wrong."""

MAX_FAULTS = 20
"""Upper bound on the faults reported of one prompt: wording one takes longer than finding it."""

Format = Literal["mp4", "gif", "webm"]
FORMATS: tuple[str, ...] = get_args(Format)
FILE_KEYS = ("prompts", "priority", "rendered")
"""Keys of a whole prompt file, not allowed in a single prompt."""

_OWN_DEFAULTS: Mapping[str, Scalar] = {"fps": 8, "format": "mp4"}
_OWN_KEYS = ("prompt", "seed", "fps", "format", "num_videos_per_prompt", TRANSLATE)
_LISTS = ("seed", "format")
COUNTED = ("num_frames", "height", "width", "num_inference_steps")
"""Settings that are at least 1; others may be 0, and are 0 by default in some models."""
_Fit = Literal["crop", "pad"]
_Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


@dataclass(frozen=True)
class ModelRules:
    """What prompt files may set for one profile.

    defaults: the profile's, which override the pipeline's
    limits: the smallest and the largest value of a setting; None: the smallest that makes sense
    loras: the profile's, by name
    reads_weights: prompts may have weights in them; see `emphasis`
    languages: those that its text encoder reads; None if nobody knows
    translators: the languages that config.yaml has a translator for
    """

    name: str
    capabilities: Capabilities
    defaults: Mapping[str, Scalar]
    limits: Mapping[str, tuple[float | None, float]]
    loras: Mapping[str, LoraLimits] = field(default_factory=dict)
    reads_weights: bool = False
    languages: tuple[str, ...] | None = None
    translators: frozenset[str] = frozenset()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is allowed in a prompt for this profile."""
        chosen = [loras.KEY] if self.loras else []
        pictures = self.capabilities.pictures
        own = (*_OWN_KEYS, *self._translations)
        return (*self.capabilities.settings, *pictures, *own, *chosen, "model")

    @property
    def _translations(self) -> list[str]:
        """The keys that give translations of its texts."""
        texts = ("prompt", *self.capabilities.settings)
        return [key for text, key in KEYS.items() if text in texts]

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings of a prompt, with defaults for those that are not given.

        `seed`, `format` and pictures are lists; `seed` and pictures are empty if none was given.
        `loras` are as in a Prompt.

        Raises:
            SettingsRefused: the settings can't be rendered.
        """
        settings = {**self._all_defaults, **given}
        if "seed" in given:  # as in `layers.over`
            settings["num_videos_per_prompt"] = given.get("num_videos_per_prompt", 1)
        for key in (*_LISTS, *self.capabilities.pictures):
            if key in settings and not isinstance(settings[key], list):
                settings[key] = [settings[key]]
        asked = settings.pop(loras.KEY, [])
        faults = list(loras.faults(asked, self.loras, self.name))
        try:
            resolved = self._schema(**settings).model_dump()
        except pydantic.ValidationError as error:
            details = error.errors(include_url=False)[:MAX_FAULTS]
            wrong = {str(detail["loc"][0]) for detail in details}
            faults += self._faults_of_the_rest(settings, wrong)
            raise SettingsRefused([*self._faults(details, settings), *faults]) from None
        faults += self._faults_beyond_schema(resolved)
        if faults:
            raise SettingsRefused(faults)
        chosen = loras.chosen(asked, self.loras) if loras.to_choose(self.loras) else None
        return {**resolved, loras.KEY: chosen}

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
        fields[TRANSLATE] = (bool, True)
        fields |= dict.fromkeys(self._translations, (_Text | None, None))
        for name in self.capabilities.pictures:
            fields[name] = (Annotated[list[_Text], Field(min_length=1)], [])
        config = pydantic.ConfigDict(extra="forbid", strict=True)
        return pydantic.create_model("Settings", __config__=config, **fields)

    def _annotation(self, name: str, kind: type) -> Any:
        if name == IMAGE_FIT:
            return _Fit
        if kind in (str, bool):
            return _Text if kind is str else bool
        if name not in COUNTED:
            default = self._all_defaults.get(name)
            usual = default if isinstance(default, int | float) else 0
            return self._within(name, kind, min(0, usual), max(10_000, usual))
        grid = self.capabilities.grid(name)
        multiple = grid.multiple if name in ("height", "width") and not grid.plus else None
        return self._within(name, kind, grid.least, grid.most or 10_000, multiple)

    def _within(
        self, name: str, kind: type, lowest: float, highest: float, multiple: int | None = None
    ) -> Any:
        """Return a number's type with bounds: the profile's limits, else those given here."""
        low, high = self.limits.get(name, (None, highest))
        low = lowest if low is None else low or max(0, lowest)  # there is no video of 0 fps
        low, high = (low, high) if kind is float else (math.ceil(low), int(high))
        finite = False if kind is float else None
        field = Field(ge=low, le=high, multiple_of=multiple, allow_inf_nan=finite)
        return Annotated[kind, field]

    def _faults_of_the_rest(self, settings: Mapping[str, Any], wrong: set[str]) -> Iterator[Fault]:
        """Yield what is wrong beside the settings that are `wrong` by themselves."""
        instead = {"prompt": "-", **self._all_defaults}
        lists = {key: [instead[key]] for key in _LISTS if key in instead}
        rest = {key: value for key, value in settings.items() if key not in wrong}
        try:
            resolved = self._schema(**{**instead, **lists, **rest}).model_dump()
        except pydantic.ValidationError:  # a setting without a default, for example
            return
        faults = self._faults_beyond_schema(resolved)
        yield from (fault for fault in faults if fault.key not in wrong)

    def _faults_beyond_schema(self, settings: Mapping[str, Any]) -> Iterator[Fault]:
        if invisible.is_blank(settings["prompt"]):
            yield Fault("prompt", "the prompt is empty", "write what to film")
        named = {key: settings[key] for key in self.capabilities.pictures}
        yield from (Fault(*found) for found in pictures.problems(named))
        for key in ("prompt", KEYS["prompt"]):
            tag = tags.of_another_tool(settings.get(key) or "", self.loras)
            if tag is not None:
                remedy, example = tag.remedy, tag.example
                if key != "prompt":
                    remedy, example = "take it out: a translation is one text", ""
                yield Fault(key, f"{short(tag.text)} is {tag.meaning}", remedy, example=example)
        for key in (*KEYS, *self._translations):
            text = settings.get(key) or ""
            if self.reads_weights and (part := emphasis.too_heavy(text)) is not None:
                problem = f"{short(part.text)} has the weight {part.weight:g}"
                remedy = f"use at most {emphasis.MOST:g}; 1.5 is much already. Brackets that are "
                yield Fault(key, problem, remedy + r"text are written \( and \)")
            if not _is_encodable(text):
                problem = f"{key} has half a character (a lone surrogate) in it"
                yield Fault(key, problem, "write the character itself")
        if len(settings["seed"]) > 1 and settings["num_videos_per_prompt"] > 1:
            problem = "a list of seeds already says how many videos there are"
            remedy = "give a list of seeds or num_videos_per_prompt, not both"
            yield Fault("num_videos_per_prompt", problem, remedy)
        elif sum(settings["seed"][:1], settings["num_videos_per_prompt"] - 1) > MAX_SEED:
            problem = f"the seeds that count up from this one become larger than {MAX_SEED}"
            yield Fault("seed", problem, "begin with a smaller one")
        if "gif" in settings["format"] and settings["fps"] > FASTEST_GIF:
            problem = (
                f"a GIF has no more than {FASTEST_GIF} frames a second, not {settings['fps']:g}"
            )
            yield Fault("fps", problem, f"use {FASTEST_GIF} or less, or take gif out of `format:`")
        for key in COUNTED:
            grid, count = self.capabilities.grid(key), settings.get(key)
            if count is not None and not grid.has(count):
                what = "frames" if key == "num_frames" else f"as {key}"
                problem = f"{self.name} makes {grid} {what}, not {count}"
                yield Fault(key, problem, self._near(key, count))

    def _faults(self, details: Iterable[Any], settings: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield validation errors of pydantic as faults worded for authors of prompt files."""
        known = (*self.keys, *FILE_KEYS[:2], *SWEEPS)
        unknown = unknown_keys.Unknown(known, settings, self._nearest_frames, self._fault_of)
        for detail in sorted(details, key=lambda found: found["type"] == "missing"):
            key, *rest = detail["loc"]
            if detail["type"] == "extra_forbidden" and key in (*pictures.KEYS, IMAGE_FIT):
                problem, remedy = f"{self.name} takes no {key}", pictures.NOT_TAKEN
            elif detail["type"] == "extra_forbidden" and key not in FILE_KEYS:
                problem, remedy = unknown.explain(str(key))
            elif detail["type"] == "missing" and unknown.has_prompt:
                continue  # an unknown key is reported as the prompt
            else:
                problem, remedy = self._explain(str(key), detail)
            item = rest[0] if rest and isinstance(rest[0], int) else None
            yield Fault(str(key), problem, remedy, item)

    def _fault_of(self, key: str, value: object) -> tuple[str, str] | None:
        """Return what is wrong with a setting's value by itself, and the remedy; else None."""
        if key not in self._schema.model_fields:  # it is no setting of a single prompt
            return None
        try:
            self.resolve({"prompt": "-", key: value})
        except SettingsRefused as error:
            return next(((f.problem, f.remedy) for f in error.faults if f.key == key), None)
        return None

    def _explain(self, key: str, detail: Any) -> tuple[str, str]:
        value, context = detail["input"], detail.get("ctx", {})
        told = short(str(value)) if isinstance(value, int | float | str) else described(value)
        wanted = wording.wanted(detail)
        if wanted is not None:
            problem = f"{key} must be {wanted}, not {described(value)}"
            usual = self._all_defaults.get(key)
            if usual == value:  # it is the default that is wrong
                usual = self.capabilities.defaults.get(key)
            return problem, values.right(key, value, wanted, usual)
        match detail["type"]:
            case "extra_forbidden":
                return f"'{key}' belongs to the whole file, not to one prompt", "move it to the top"
            case "missing":
                return f"there is no {key} here", f"add `{key}: ...`"
            case "greater_than_equal" if key == "seed":
                remedy = "leave the line out for a new seed each time, or use 0 or more"
                return f"{key} is {told}, less than the smallest", remedy
            case "greater_than_equal":
                return f"{key} is {told}, less than the smallest", self._bound(key, detail)
            case "less_than_equal" if key == "seed":
                return f"{key} is {told}, more than the largest", f"use {wording.bound(detail)}"
            case "less_than_equal":
                return f"{key} is {told}, more than {self.name} allows", self._bound(key, detail)
            case "multiple_of":
                multiple = context["multiple_of"]
                problem = f"{self.name} can't make a {key} of {told}, only multiples of {multiple}"
                return problem, self._near(key, value)
            case "literal_error" if key == IMAGE_FIT:
                problem = f"a picture can't be made to fit by '{told}'"
                return problem, f"use {CROP}, which cuts off what is too much, or {PAD}, for bars"
            case "literal_error":
                return f"there is no format '{told}'", "use " + ", ".join(FORMATS)
            case "string_too_long":
                problem = f"{key} has {len(value):,} characters, more than {LONGEST_TEXT:,}"
                return problem, "make it shorter; models read some hundred words"
            case "too_short":
                return f"{key} is an empty list", "name at least one, or remove the line"
            case _:
                return f"{key}: {detail['msg']}", "see docs/prompt-files.md"

    def _bound(self, key: str, detail: Any) -> str:
        """Return, in words, the bound on a number, as one that the model can make."""
        if key not in COUNTED:
            return f"use {wording.bound(detail)}"
        grid = self._allowed(key)
        least = grid.near(grid.least)[0]
        most = grid.near(grid.most)[-1] if grid.most else None
        if least == most:
            return f"use {least}"
        return f"use {least} or more" if "ge" in detail["ctx"] else f"use {most} or less"

    def _near(self, key: str, value: int) -> str:
        """Return, in words, the nearest numbers that the model can make and the profile allows."""
        near = self._allowed(key).near(value) or self.capabilities.grid(key).near(value)
        return "use " + " or ".join(map(str, near))

    def _nearest_frames(self, frames: int) -> int:
        """Return the nearest number of frames that the model can make and the profile allows."""
        near = self._allowed("num_frames").near(frames)
        return min(near, key=lambda one: abs(one - frames), default=frames)

    def _allowed(self, key: str) -> Grid:
        """Return the numbers that the model can make, within the profile's limits."""
        grid = self.capabilities.grid(key)
        low, high = self.limits.get(key, (None, 10_000))
        most = min(int(high), grid.most or int(high))
        return dataclasses.replace(grid, least=max(grid.least, math.ceil(low or 1)), most=most)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
