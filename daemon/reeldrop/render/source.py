"""The settings of a profile that its loading needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from reeldrop.base.job import Scalar
from reeldrop.speed.lossy import NOTHING, Lossy


@dataclass(frozen=True, slots=True)
class LoraSource:
    """Where a LoRA of a profile comes from, and what it is for.

    location: a file, a folder, or a repository of the hub
    weight_name: the name of its file in the folder or repository; None if there is only one
    component: the part of the pipeline; None for its first denoiser
    is_always_used: it is used in every video, with `weight`, and prompts can't choose it
    """

    name: str
    location: str
    revision: str | None = None
    weight_name: str | None = None
    component: str | None = None
    weight: float = 1.0
    is_always_used: bool = False


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a profile's pipeline comes from and how it is set up.

    location: a repository of the hub or a folder
    pipeline: the pipeline's class in diffusers; None for the one that the model names
    dtype: auto, float16, bfloat16 or float32
    part_dtypes: the dtypes of parts that differ, such as the VAE
    native_dtype: the meaning of auto on a GPU, by part, `default` for other parts; see `dtypes`
    scheduler: a class name of diffusers; None for the model's own
    flow_shift: the scheduler's shift or flow_shift; None for the model's own
    guider: settings of the pipeline's guider that differ from the model's own
    fixed: call arguments that prompts can't set: sigmas or timesteps
    tiling: whether the VAE decodes in tiles: true, false, or auto
    quantization: int8 or float8, the denoiser's weights by torchao; None for no quantization
    placement: auto, cuda, model_offload, sequential_offload or cpu
    gpus: how many GPUs render each video together
    speed: the switches of the fast path that are not auto
    tuned: the switches that were found fastest, by the name of the device; those of `speed` hold
    preview_steps: the number of steps after each of which there is a preview; 0 for none
    loras: the LoRAs of the profile
    window: the frames of the windows in which longer videos are rendered, or auto; None for none
    overlap: the frames that a window shares with the one before; None for about half
    reads_chunks: texts that are too long for the text encoder are read in chunks, not truncated
    reads_weights: texts may contain weights; see `prompts.emphasis`
    pins: the file with the commits that repositories had at their first download; None for none
    """

    name: str
    location: str
    pipeline: str | None = None
    revision: str | None = None
    variant: str | None = None
    dtype: str = "auto"
    part_dtypes: Mapping[str, str] = field(default_factory=dict)
    native_dtype: Mapping[str, str] = field(default_factory=dict)
    scheduler: str | None = None
    scheduler_settings: Mapping[str, Scalar] = field(default_factory=dict)
    flow_shift: float | None = None
    guider: Mapping[str, Scalar] = field(default_factory=dict)
    fixed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tiling: bool | str = "auto"
    quantization: str | None = None
    placement: str = "auto"
    gpus: int = 1
    speed: Mapping[str, bool | str] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, bool | str]] = field(default_factory=dict)
    lossy: Lossy = NOTHING
    preview_steps: int = 0
    loras: tuple[LoraSource, ...] = ()
    window: int | str | None = None
    overlap: int | None = None
    reads_chunks: bool = False
    reads_weights: bool = False
    pins: Path | None = None

    def speed_on(self, device: str) -> Mapping[str, bool | str]:
        """Return the switches of the fast path that are not auto on a device with this name."""
        return {**self.tuned.get(device, {}), **self.speed}

    @property
    def changes(self) -> dict[str, object]:
        """The settings of the profile that change how the model renders, by key of config.yaml.

        Without the scheduler's class, dtype, tiling and windows, which each render records itself.
        """
        found = {
            "variant": self.variant,
            "quantization": self.quantization,
            "scheduler_settings": dict(self.scheduler_settings),
            "flow_shift": self.flow_shift,
            "guider": dict(self.guider),
            "long_prompt": "chunks" if self.reads_chunks else None,
            "prompt_syntax": "weighted" if self.reads_weights else None,
            **{name: list(values) for name, values in self.fixed.items()},
            "lossy": {name: getattr(self.lossy, name) for name in self.lossy.wanted},
        }
        return {name: value for name, value in found.items() if value}

    @property
    def what(self) -> str:
        return f"the model {self.name}"

    @property
    def key(self) -> str:
        return f"models.{self.name}"


def bundled_model() -> Path:
    """Return the folder of the small model that comes with reeldrop."""
    return Path(str(resources.files("reeldrop").joinpath("bundled_model")))
