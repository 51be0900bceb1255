"""What the keys of a profile, below `models` in config.yaml, may be."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, Field

from reeldrop.base import windows
from reeldrop.base.loras import LoraLimits
from reeldrop.config.values import (
    STRICT,
    BatchSize,
    Compile,
    Default,
    Dtypes,
    FileOrFolder,
    Folder,
    Gigabytes,
    Languages,
    Limit,
    LoraName,
    LoraWeight,
    LoraWeights,
    Refused,
    Repository,
    Switch,
    Value,
    require_repository,
    whole_or,
)
from reeldrop.render.checkpoint import SAFETENSORS


class Scheduler(BaseModel):
    """A noise schedule: a diffusers class, and settings that override the model's own."""

    model_config = STRICT

    name: str
    settings: dict[str, Value] = {}


EXACT_WAYS = (
    "channels_last", "temporal_conv_2d", "text_once", "guidance_once", "fused_qkv", "cached_texts",
)  # fmt: skip


REPLACED = {
    **dict.fromkeys(EXACT_WAYS, "it is part of `exact` now: `exact: true` or `exact: false`"),
    "compile_blocks": "it is `compile: blocks` now, and `compile: off` compiles nothing",
    "cuda_graphs": "leave it out: it gained nothing in batches, and kept much memory",
}
"""Earlier keys of `speed`, and what to do about each. Their value auto changes nothing."""


class Speed(BaseModel):
    """Switches of the fast path: each on, off, or auto for what is known to be fastest."""

    model_config = STRICT

    exact: Switch = "auto"
    mixed_precision: Switch = "auto"
    compile: Compile = "auto"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_earlier_keys(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return {k: v for k, v in values.items() if not (k in REPLACED and v == "auto")}


class Lossy(BaseModel):
    """Optimisations that change the video to save time; the defaults, 1 and 0, turn them off."""

    model_config = STRICT

    deep_cache: Annotated[int, Field(ge=1, le=10)] = 1
    first_block_cache: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Lora(BaseModel):
    """A LoRA: where its file is, the part of the pipeline that it is for, and how much of it.

    component: None for the pipeline's first denoiser
    weight: where a prompt gives none; with `always`, that of every video
    limits: the smallest and the largest weight that a prompt may give
    """

    model_config = STRICT

    repository: Repository | None = None
    path: FileOrFolder | None = None
    revision: str | None = None
    weight_name: str | None = None
    component: Literal["unet", "transformer", "transformer_2"] | None = None
    weight: LoraWeight = 1.0
    limits: LoraWeights = [-2.0, 2.0]
    always: bool = False

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Lora:
        if (self.repository is None) == (self.path is None):
            raise ValueError("give exactly one of repository and path")
        require_repository(self.revision, self.repository)
        if self.repository is not None and self.weight_name is None:
            raise Refused("weight_name is missing", "name the file in the repository")
        if self.weight_name is not None and not self.weight_name.endswith(SAFETENSORS):
            problem = f"weight_name is {self.weight_name}, which is no safetensors file"
            raise Refused(problem, "name one; other formats can run code")
        if self.always and "limits" in self.model_fields_set:
            problem = "limits are for the weights of prompts, which can't choose it: always is true"
            raise Refused(problem, "leave limits out, or write `always: false`")
        least, most = self.limits
        if not self.always and not least <= self.weight <= most:
            problem = f"the weight {self.weight:g} is not within {least:g} and {most:g}"
            raise Refused(problem, "change weight or limits")
        return self


class About(BaseModel):
    """What is known of a model before it is loaded, for people and for `check`.

    download_gb: its files on the hub, in 10^9 bytes
    weights_gb: all parts in the dtypes that auto is on a GPU
    parts_gb: those of its large parts, by the names of model_index.json
    offloaded_gb: GPU memory that suffices with one part at a time on the GPU
    """

    model_config = STRICT

    pipeline: str | None = None
    licence: str | None = None
    download_gb: Gigabytes | None = None
    weights_gb: Gigabytes | None = None
    parts_gb: dict[str, Gigabytes] = {}
    offloaded_gb: Gigabytes | None = None
    note: str | None = None


class Profile(BaseModel):
    """A model and its settings: its source, how it runs, and what prompt files may ask of it."""

    model_config = STRICT

    base: str | None = None
    repository: Repository | None = None
    path: Folder | None = None
    bundled: bool = False
    pipeline: str | None = None
    revision: str | None = None
    variant: str | None = None
    dtype: Dtypes = {}
    native_dtype: Dtypes = {}
    quantization: Literal["int8", "float8"] | None = None
    scheduler: Scheduler | None = None
    flow_shift: Annotated[float, Field(gt=0, le=100)] | None = None
    guider: dict[str, Value] = {}
    tiling: Switch = "auto"
    placement: Literal["auto", "cuda", "model_offload", "sequential_offload", "cpu"] = "auto"
    gpus: Annotated[int, Field(ge=1, le=64)] = 1
    speed: Speed = Speed()
    lossy: Lossy = Lossy()
    loras: dict[LoraName, Lora] = {}
    window: (
        Annotated[int | Literal["auto"], whole_or("auto", windows.LEAST, windows.MOST)] | None
    ) = None
    overlap: Annotated[int, Field(ge=1, le=windows.MOST)] | None = None
    long_prompt: Literal["cut", "chunks"] = "cut"
    prompt_syntax: Literal["plain", "weighted"] = "plain"
    preview_steps: Annotated[int, Field(ge=0, le=1000)] = 0
    max_batch_size: BatchSize = None
    min_memory_gb: Gigabytes | None = None
    languages: Languages | None = None
    defaults: dict[str, Default] = {}
    limits: dict[str, Limit] = {}
    about: About = About()

    @pydantic.field_validator("overlap")
    @classmethod
    def _fits_the_window(cls, overlap: int | None, info: pydantic.ValidationInfo) -> int | None:
        window = info.data.get("window")
        if overlap is not None and isinstance(window, int) and overlap >= window:
            problem = f"an overlap of {overlap} does not fit a window of {window} frames"
            raise Refused(problem, f"use less than {window}, such as {window // 2}")
        return overlap

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Profile:
        given = [self.repository is not None, self.path is not None, self.bundled]
        if sum(given) != 1:
            raise ValueError("give exactly one of repository, path and bundled: true")
        merged = [name for name, lora in self.loras.items() if lora.always]
        if self.quantization is not None and merged:
            problem = f"the LoRA {merged[0]} can't become part of quantized weights"
            raise Refused(problem, "take always away from it, or quantization")
        if self.min_memory_gb and self.placement == "cpu":
            raise Refused("min_memory_gb is that of a GPU, but placement is cpu", "leave one out")
        if self.overlap is not None and self.window is None:
            raise Refused("there is an overlap, but no window", "add `window: auto`")
        lossy = [name for name, value in self.lossy if value != Lossy.model_fields[name].default]
        if self.window is not None and lossy:
            problem = f"with window, {lossy[0]} would mix what it keeps of different windows"
            raise Refused(problem, "leave one of them out")
        compiled = [f"compile: {how}" for how in ("whole", "blocks") if self.speed.compile == how]
        alone = [*lossy, *compiled, *(["placement: cpu"] if self.placement == "cpu" else [])]
        if self.gpus > 1 and alone:
            problem = f"several GPUs can't render a video together with {alone[0]}"
            raise Refused(problem, "leave it out, or gpus")
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

    @property
    def lora_limits(self) -> dict[str, LoraLimits]:
        """What prompts may ask of each LoRA."""
        return {
            name: LoraLimits(lora.weight, lora.limits[0], lora.limits[1], lora.always)
            for name, lora in self.loras.items()
        }
