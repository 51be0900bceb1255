"""Read and check config.yaml; report every mistake with its line and a remedy."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, Mistake, YamlError
from reeldrop.prompts.rules import did_you_mean

NAME = "config.yaml"
ENVIRONMENT = "REELDROP_CONFIG"
SYSTEM_WIDE = Path("/etc/reeldrop/config.yaml")

AUTO_WITH_CUDA = "ms-1.7b"
AUTO_WITHOUT = "bundled"


def _glob(pattern: object) -> object:
    """Accept a glob of names, but none that matches every prompt file."""
    if not isinstance(pattern, str) or not pattern.strip("*? "):
        raise ValueError("must be a name with * and ? in it, such as '*.draft.txt'")
    if "/" in pattern:
        raise ValueError("must be one name, of a file or a folder, without a slash")
    return pattern


def _one_value(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must be a text, a number, or true or false")
    return value


def _pair(limit: object) -> object:
    """Return (smallest, largest): (None, 200) for `num_frames: 200`, (8, 32) for `[8, 32]`."""
    match limit:
        case bool() | [bool(), _] | [_, bool()]:
            pass
        case int() | float():
            return None, limit
        case [int() | float() as low, int() | float() as high] if low <= high:
            return low, high
    raise ValueError("must be the largest value, or [smallest, largest]")


def _none_if_auto(value: object) -> object:
    if value is None:
        raise ValueError("must be a whole number, or auto")
    return None if value == "auto" else value


def _switch(value: object) -> object:
    if value not in ("auto", True, False) or isinstance(value, int) != isinstance(value, bool):
        raise ValueError("must be auto, true or false")
    return value


_Glob = Annotated[str, Field(max_length=255), pydantic.BeforeValidator(_glob)]
_Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Default = Annotated[str | int | float | bool, pydantic.BeforeValidator(_one_value)]
_Limit = Annotated[tuple[_Bound | None, _Bound], pydantic.BeforeValidator(_pair)]
_Switch = Annotated[bool | Literal["auto"], pydantic.BeforeValidator(_switch)]
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a list of `key: value` lines",
    "model_type": "a list of `key: value` lines",
}
"""What each of pydantic's errors of type expected, in words for the user."""

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class Scheduler(BaseModel):
    """A noise schedule: a diffusers class, and settings that override the model's own."""

    model_config = _STRICT

    name: str
    settings: dict[str, _Default] = {}


class Speed(BaseModel):
    """Switches of the fast path: each on, off, or auto for what is known to be fastest."""

    model_config = _STRICT

    channels_last: _Switch = "auto"
    temporal_conv_2d: _Switch = "auto"
    text_once: _Switch = "auto"
    guidance_once: _Switch = "auto"
    fused_qkv: _Switch = "auto"
    mixed_precision: _Switch = "auto"
    cached_texts: _Switch = "auto"
    compile: _Switch = "auto"
    compile_blocks: _Switch = "auto"
    cuda_graphs: _Switch = "auto"


class Lossy(BaseModel):
    """Optimisations that change the video to save time; the defaults, 1 and 0, turn them off."""

    model_config = _STRICT

    deep_cache: Annotated[int, Field(ge=1, le=10)] = 1
    first_block_cache: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Profile(BaseModel):
    """A model and its settings: its source, how it runs, and what prompt files may ask of it."""

    model_config = _STRICT

    repository: str | None = None
    path: Path | None = None
    bundled: bool = False
    revision: str | None = None
    variant: str | None = None
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    scheduler: Scheduler | None = None
    placement: Literal["auto", "cuda", "model_offload", "sequential_offload", "cpu"] = "auto"
    speed: Speed = Speed()
    lossy: Lossy = Lossy()
    max_batch_size: Annotated[
        Annotated[int, Field(ge=1, le=64)] | None, pydantic.BeforeValidator(_none_if_auto)
    ] = None
    defaults: dict[str, _Default] = {}
    limits: dict[str, _Limit] = {}

    @pydantic.field_validator("path", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return None if value is None else _absolute(value, info)

    @pydantic.field_validator("scheduler", mode="before")
    @classmethod
    def _scheduler_by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Profile:
        given = [self.repository is not None, self.path is not None, self.bundled]
        if sum(given) != 1:
            raise ValueError("give exactly one of repository, path and bundled: true")
        return self


def _absolute(value: object, info: pydantic.ValidationInfo) -> Path:
    """Return the absolute path; a relative one starts at config.yaml's folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be the path of a folder")
    base: Path = info.context["base"] if info.context else Path.cwd()
    try:
        return Path(os.path.abspath(base / Path(value).expanduser()))
    except RuntimeError:
        raise ValueError(f"there is no user {Path(value).parts[0]} on this machine") from None


class Config(BaseModel):
    """All settings of the daemon. Folders are absolute paths."""

    model_config = _STRICT

    inbox: Path = Path("inbox")
    results: Path = Path("results")
    spool: Path = Path("spool")
    failed: Path = Path("results/_failed")
    settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    renamed_settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.2
    scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    idle_scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    ignore: Annotated[list[_Glob], Field(max_length=100)] = []
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    min_free_gib: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    mp4_encoder: Literal["auto", "libx264", "h264_nvenc"] = "auto"
    model: str = "auto"
    models: Annotated[dict[str, Profile], Field(min_length=1)]

    @pydantic.field_validator("inbox", "results", "spool", "failed", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return _absolute(value, info)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _failed_in_results(cls, values: object) -> object:
        if isinstance(values, dict):
            results = values.get("results", "results")
            inside = {"failed": f"{results}/_failed"} if isinstance(results, str) else {}
            return {"inbox": "inbox", "results": "results", "spool": "spool", **inside, **values}
        return values

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.model != "auto" and self.model not in self.models:
            raise ValueError(f"model: there is no profile '{self.model}' under models")
        apart = {"inbox": self.inbox, "results": self.results, "spool": self.spool}
        for name, folder in apart.items():
            for other, above in apart.items():
                if name != other and folder.is_relative_to(above):
                    raise ValueError(f"{name}: {folder} must not be inside {other} ({above})")
        if any(folder.is_relative_to(self.failed) for folder in apart.values()):
            raise ValueError(f"failed: {self.failed} must be a folder of its own")
        if any(self.failed.is_relative_to(folder) for folder in (self.inbox, self.spool)):
            raise ValueError(f"failed: {self.failed} must be neither in the inbox nor in the spool")
        return self

    def selected_model(self, *, cuda: bool) -> str:
        """Return the profile for prompts that name none.

        Raises:
            ConfigError: `model: auto` selects a profile that config.yaml doesn't have.
        """
        if self.model != "auto":
            return self.model
        name = AUTO_WITH_CUDA if cuda else AUTO_WITHOUT
        if name not in self.models:
            problem = f"model: auto stands for the profile '{name}' on this machine"
            remedy = f"add it under models, or name one of {', '.join(self.models)}"
            raise ConfigError(Mistake(problem, remedy, key="model"))
        return name


def template() -> str:
    """Return the text of the commented config.yaml that is shipped."""
    return resources.files("reeldrop").joinpath(NAME).read_text(encoding="utf-8")


def find(given: Path | None) -> Path:
    """Return the config.yaml to use: `given`, $REELDROP_CONFIG, ./config.yaml or SYSTEM_WIDE.

    Raises:
        ConfigError: there is none.
    """
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None:
        return named
    for path in (Path.cwd() / NAME, SYSTEM_WIDE):
        if path.exists():
            return path
    problem = f"there is no {NAME} in {Path.cwd()}"
    remedy = f"make one with `reeldrop init`, or name one with --config or ${ENVIRONMENT}"
    raise ConfigError(Mistake(problem, remedy))


def load(path: Path) -> Config:
    """Return the settings of a config.yaml.

    Raises:
        ConfigError: contains every mistake that was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = "make one with `reeldrop init`, or name another with --config"
        mistake = Mistake(f"can't be read: {error.strerror}", remedy, file=str(path))
        raise ConfigError(mistake) from None
    except UnicodeDecodeError:
        raise ConfigError(Mistake("is no UTF-8 text", "save it as UTF-8", file=str(path))) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Return the settings in a config.yaml's text, as `load` does.

    `path` is for error messages, and relative folders start at its folder.
    """
    try:
        documents = strict_yaml.load_all(text)
    except YamlError as error:
        mistakes = (
            Mistake(m.problem, m.remedy, m.line, m.column, m.key, str(path)) for m in error.mistakes
        )
        raise ConfigError(*mistakes) from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        problem = "a config.yaml is one list of `key: value` lines"
        raise ConfigError(Mistake(problem, "see `reeldrop init`", file=str(path)))
    values = strict_yaml.plain(documents[0])
    try:
        return Config.model_validate(values, context={"base": path.absolute().parent})
    except pydantic.ValidationError as error:
        raise ConfigError(*_mistakes(error, documents[0], path)) from None


def _mistakes(
    error: pydantic.ValidationError, root: strict_yaml.Node, path: Path
) -> Iterator[Mistake]:
    for detail in error.errors(include_url=False):
        location = [part for part in detail["loc"] if part != "function-before"]
        problem, remedy = _explain(detail, location)
        if not location and ": " in problem:  # from `_consistent`: begins with the key
            location = [problem.partition(": ")[0]]
        node, known = _locate(root, location)
        key = ".".join(str(part) for part in location)
        line, column = (node.line, node.column) if known else (None, None)
        yield Mistake(problem, remedy, line, column, key, str(path))


def _locate(root: strict_yaml.Node, location: list[Any]) -> tuple[strict_yaml.Node, bool]:
    """Return the node at a location, or else its nearest parent, and whether it isn't the root."""
    node = root
    for part in location:
        below = strict_yaml.child(node, part)
        if below is None:
            break
        node = below
    return node, node is not root


def _explain(detail: Any, location: list[Any]) -> tuple[str, str]:
    value = detail["input"]
    shown = f"'{value}'" if isinstance(value, str) else str(value)
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key '{location[-1]}'", did_you_mean(
                str(location[-1]), _fields(location[:-1])
            )
        case "missing":
            return f"'{location[-1]}' is missing", "see `reeldrop init` for an example"
        case "value_error":
            return str(detail["ctx"]["error"]), ""
        case "too_short":
            return "must have at least one entry", "see `reeldrop init` for an example"
        case "literal_error":
            return f"can't be {shown}", f"use {detail['ctx']['expected']}"
        case kind if kind in _WANTED:
            return f"must be {_WANTED[kind]}, not {shown}", ""
        case _:
            message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"must be {message}, not {shown}", ""


def _fields(above: list[Any]) -> typing.Iterable[str]:
    match above:
        case []:
            return Config.model_fields
        case ["models", _]:
            return Profile.model_fields
        case ["models", _, "speed"]:
            return Speed.model_fields
        case _:
            return Scheduler.model_fields
