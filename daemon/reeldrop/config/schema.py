"""The keys of config.yaml, and what each may be. Does not know the file or built-in profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.loras import LoraLimits
from reeldrop.config.values import (
    STRICT,
    BatchSize,
    Compile,
    Default,
    Dtypes,
    Gigabytes,
    Glob,
    Hours,
    Languages,
    Limit,
    LoraName,
    LoraWeight,
    LoraWeights,
    Refused,
    Switch,
    Value,
    absolute,
)
from reeldrop.config.world import Cluster, Command, MetricsPlaces, Provenance, Receiver, Translators
from reeldrop.render.checkpoint import SAFETENSORS

AUTO_WITH_CUDA = "ms-1.7b"
AUTO_WITHOUT = "bundled"


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

    repository: str | None = None
    path: Path | None = None
    revision: str | None = None
    weight_name: str | None = None
    component: Literal["unet", "transformer", "transformer_2"] | None = None
    weight: LoraWeight = 1.0
    limits: LoraWeights = [-2.0, 2.0]
    always: bool = False

    @pydantic.field_validator("path", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return None if value is None else absolute(value, info, "a file or a folder")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Lora:
        if (self.repository is None) == (self.path is None):
            raise ValueError("give exactly one of repository and path")
        if self.repository is not None and self.weight_name is None:
            raise Refused("weight_name is missing", "name the file in the repository")
        if self.weight_name is not None and not self.weight_name.endswith(SAFETENSORS):
            problem = f"weight_name is {self.weight_name}, which is no safetensors file"
            raise Refused(problem, "name one; other formats can run code")
        least, most = self.limits
        if not self.always and not least <= self.weight <= most:
            problem = f"the weight {self.weight:g} is not within {least:g} and {most:g}"
            raise Refused(problem, "change weight or limits")
        return self


class About(BaseModel):
    """What is known of a model before it is loaded, for people and for `check`.

    download_gb: its files on the hub, in 10^9 bytes
    weights_gb: all parts in the dtypes that auto is on a GPU
    offloaded_gb: GPU memory that suffices with one part at a time on the GPU
    """

    model_config = STRICT

    pipeline: str | None = None
    licence: str | None = None
    download_gb: Gigabytes | None = None
    weights_gb: Gigabytes | None = None
    offloaded_gb: Gigabytes | None = None
    note: str | None = None


class Profile(BaseModel):
    """A model and its settings: its source, how it runs, and what prompt files may ask of it."""

    model_config = STRICT

    base: str | None = None
    repository: str | None = None
    path: Path | None = None
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
    window: Annotated[int, Field(ge=2, le=10_000)] | Literal["auto"] | None = None
    overlap: Annotated[int, Field(ge=1, le=10_000)] | None = None
    long_prompt: Literal["cut", "chunks"] = "cut"
    prompt_syntax: Literal["plain", "weighted"] = "plain"
    preview_steps: Annotated[int, Field(ge=0, le=1000)] = 0
    max_batch_size: BatchSize = None
    min_memory_gb: Gigabytes | None = None
    languages: Languages | None = None
    defaults: dict[str, Default] = {}
    limits: dict[str, Limit] = {}
    about: About = About()

    @pydantic.field_validator("path", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return None if value is None else absolute(value, info)

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


class Config(BaseModel):
    """All settings of the daemon. Folders are absolute paths."""

    model_config = STRICT

    inbox: Path = Path("inbox")
    results: Path = Path("results")
    spool: Path = Path("spool")
    failed: Path = Path("results/_failed")
    settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    renamed_settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.2
    scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    idle_scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    picture_wait_minutes: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    ignore: Annotated[list[Glob], Field(max_length=100)] = []
    controls: bool = True
    night: Hours = "22:00-06:00"
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    min_free_gib: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    model_wait_seconds: Annotated[float, Field(ge=0, le=86400)] = 120.0
    idle_unload_minutes: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    engine: Literal["in_process", "ray"] = "in_process"
    ray: Cluster = Cluster()
    mp4_encoder: Literal["auto", "libx264", "h264_nvenc"] = "auto"
    synthetic_mark: bool = True
    provenance: Provenance | None = None
    page: bool = True
    notify: Annotated[list[Receiver], Field(max_length=100)] = []
    on_video: Command = []
    on_job: Command = []
    on_failed: Command = []
    hook_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    metrics: MetricsPlaces = MetricsPlaces()
    notify_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    translate: Translators = {}
    render_untranslated: bool = False
    model: str = "auto"
    models: Annotated[dict[str, Profile], Field(min_length=1)]

    @pydantic.field_validator("inbox", "results", "spool", "failed", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return absolute(value, info)

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

    def allowed(self, name: str) -> dict[str, Any]:
        """Return what prompts may ask of a profile, as arguments of `ModelRules`."""
        profile = self.models[name]
        return {
            "defaults": profile.prompt_defaults,
            "limits": profile.prompt_limits,
            "loras": profile.lora_limits,
            "reads_weights": profile.prompt_syntax == "weighted",
            "languages": profile.languages,
            "translators": frozenset(self.translate),
        }

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
