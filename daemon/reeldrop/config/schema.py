"""The keys of config.yaml, and what each may be. Does not know the file or built-in profiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.render import dtypes

AUTO_WITH_CUDA = "ms-1.7b"
AUTO_WITHOUT = "bundled"

_DTYPES = (dtypes.AUTO, *dtypes.NAMES)
_LONGEST_LIST = 1000


class Refused(ValueError):
    """A value that can't be, with what would be right."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


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


def _default(value: object) -> object:
    """Accept a value, or a list of numbers."""
    if not isinstance(value, list):
        return _one_value(value)
    if not 0 < len(value) <= _LONGEST_LIST or not all(type(item) in (int, float) for item in value):
        raise ValueError("must be a text, a number, or true or false; or a list of numbers")
    return tuple(value)


def _dtypes(value: object) -> object:
    """Return a dtype for each part, and for the others as `default`; nothing for auto."""
    named = {"default": value} if isinstance(value, str) else value
    if not isinstance(named, dict):
        raise Refused("must be a dtype, or a list of `part: dtype` lines")
    for dtype in named.values():
        if dtype not in _DTYPES:
            raise Refused(f"can't be '{dtype}'", f"use {', '.join(map(repr, _DTYPES))}")
    return {part: dtype for part, dtype in named.items() if dtype != "auto"}


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
_Value = Annotated[str | int | float | bool, pydantic.BeforeValidator(_one_value)]
_Default = Annotated[
    str | int | float | bool | tuple[int | float, ...], pydantic.BeforeValidator(_default)
]
_Dtypes = Annotated[dict[str, str], pydantic.BeforeValidator(_dtypes)]
_Limit = Annotated[tuple[_Bound | None, _Bound], pydantic.BeforeValidator(_pair)]
_Switch = Annotated[bool | Literal["auto"], pydantic.BeforeValidator(_switch)]
_Gigabytes = Annotated[float, Field(ge=0, le=1e6)]

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class Scheduler(BaseModel):
    """A noise schedule: a diffusers class, and settings that override the model's own."""

    model_config = _STRICT

    name: str
    settings: dict[str, _Value] = {}


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


class About(BaseModel):
    """What is known of a model before it is loaded, for people and for `check`.

    download_gb: its files on the hub, in 10^9 bytes
    weights_gb: all parts in the dtypes that auto is on a GPU
    offloaded_gb: GPU memory that suffices with one part at a time on the GPU
    """

    model_config = _STRICT

    pipeline: str | None = None
    licence: str | None = None
    download_gb: _Gigabytes | None = None
    weights_gb: _Gigabytes | None = None
    offloaded_gb: _Gigabytes | None = None
    note: str | None = None


class Profile(BaseModel):
    """A model and its settings: its source, how it runs, and what prompt files may ask of it."""

    model_config = _STRICT

    base: str | None = None
    repository: str | None = None
    path: Path | None = None
    bundled: bool = False
    pipeline: str | None = None
    revision: str | None = None
    variant: str | None = None
    dtype: _Dtypes = {}
    native_dtype: _Dtypes = {}
    quantization: Literal["int8", "float8"] | None = None
    scheduler: Scheduler | None = None
    flow_shift: Annotated[float, Field(gt=0, le=100)] | None = None
    guider: dict[str, _Value] = {}
    tiling: _Switch = "auto"
    placement: Literal["auto", "cuda", "model_offload", "sequential_offload", "cpu"] = "auto"
    speed: Speed = Speed()
    lossy: Lossy = Lossy()
    max_batch_size: Annotated[
        Annotated[int, Field(ge=1, le=64)] | None, pydantic.BeforeValidator(_none_if_auto)
    ] = None
    defaults: dict[str, _Default] = {}
    limits: dict[str, _Limit] = {}
    about: About = About()

    @pydantic.field_validator("path", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return None if value is None else _absolute(value, info)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Profile:
        given = [self.repository is not None, self.path is not None, self.bundled]
        if sum(given) != 1:
            raise ValueError("give exactly one of repository, path and bundled: true")
        if len(self._schedules) > 1:
            raise Refused("sigmas and timesteps say the same", "give one of them under defaults")
        steps = self.defaults.get("num_inference_steps", self.steps)
        if self.steps is not None and steps != self.steps:
            problem = f"num_inference_steps is {steps}, but the list has {self.steps} steps"
            raise Refused(problem, "leave num_inference_steps out")
        return self

    @property
    def origin(self) -> str:
        """Where the pipeline comes from, to tell it from another one of the same profile."""
        parts = (self.path or self.repository or "bundled", self.revision, self.pipeline)
        return " ".join(str(part) for part in parts if part is not None)

    @property
    def lists(self) -> dict[str, tuple[float, ...]]:
        """The defaults that are lists, such as sigmas: call arguments that no prompt changes."""
        return {key: value for key, value in self.defaults.items() if isinstance(value, tuple)}

    @property
    def _schedules(self) -> list[tuple[float, ...]]:
        return [self.lists[key] for key in ("sigmas", "timesteps") if key in self.lists]

    @property
    def steps(self) -> int | None:
        """The number of steps if a list fixes it."""
        return len(self._schedules[0]) if self._schedules else None

    @property
    def prompt_defaults(self) -> dict[str, str | int | float | bool]:
        """The defaults of what prompts may set."""
        found = {k: v for k, v in self.defaults.items() if not isinstance(v, tuple)}
        return found if self.steps is None else {**found, "num_inference_steps": self.steps}

    @property
    def prompt_limits(self) -> dict[str, tuple[float | None, float]]:
        """The bounds of what prompts may set."""
        if self.steps is None:
            return self.limits
        return {**self.limits, "num_inference_steps": (self.steps, self.steps)}


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
    picture_wait_minutes: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    ignore: Annotated[list[_Glob], Field(max_length=100)] = []
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    min_free_gib: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    model_wait_seconds: Annotated[float, Field(ge=0, le=86400)] = 120.0
    idle_unload_minutes: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    mp4_encoder: Literal["auto", "libx264", "h264_nvenc"] = "auto"
    page: bool = True
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
