"""Set up a pipeline by its profile: class, scheduler, guider, VAE, quantized weights."""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import diffusers
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render.classes import TESTED, kind_of
from reeldrop.speed import denoisers

if TYPE_CHECKING:
    from reeldrop.base.job import Scalar
    from reeldrop.render.source import ModelSource

_SHIFTS = ("flow_shift", "shift")
"""The names of schedulers' setting for the shift of a flow model's noise levels."""

_SCHEDULES = ("sigmas", "timesteps")
"""The names of lists that a pipeline hands on to its scheduler."""


def set_up(pipe: Any, source: ModelSource) -> None:
    """Replace a pipeline's scheduler and guider, and switch its VAE's tiling, if the profile asks.

    Raises:
        ConfigError: the pipeline has no such part, or the part has no such setting.
    """
    if source.scheduler is not None or source.flow_shift is not None:
        pipe.scheduler = _scheduler(pipe.scheduler, source)
    if source.guider:
        pipe.guider = _guider(pipe, source)
    if source.tiling != "auto":
        _tile(pipe, source)


def check_fixed(pipe: Any, source: ModelSource, settings: Container[str]) -> None:
    """Check that a pipeline takes the lists that a profile fixes.

    settings: what prompts can set, each to one value

    Raises:
        ConfigError: it takes no such list, or its scheduler does not.
    """
    accepted = inspect.signature(pipe.__call__).parameters
    for name in source.fixed:
        key = f"models.{source.name}.defaults.{name}"
        if name in settings:
            remedy = "give one under defaults; the smallest and the largest go under limits"
            raise ConfigError(Mistake(f"{name} is one value, not a list", remedy, key=key))
        if name not in accepted:
            problem = f"{type(pipe).__name__} takes no {name}"
            raise ConfigError(Mistake(problem, did_you_mean(name, accepted), key=key))
        scheduler = pipe.scheduler
        if name in _SCHEDULES and name not in inspect.signature(scheduler.set_timesteps).parameters:
            problem = f"{type(scheduler).__name__} takes no {name}"
            remedy = "leave it out, or name another scheduler"
            raise ConfigError(Mistake(problem, remedy, key=key))


def pipeline_class(source: ModelSource, index: Mapping[str, Any]) -> Any:
    """Return the class that the profile names, else the one in a model_index.json.

    If diffusers does not know the one in model_index.json, that is DiffusionPipeline.

    Raises:
        ConfigError: the profile names one that diffusers does not know.
    """
    kind = getattr(diffusers, source.pipeline or str(index.get("_class_name")), None)
    if isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline):
        return kind
    if source.pipeline is None:
        return diffusers.DiffusionPipeline
    problem = f"diffusers has no pipeline {source.pipeline}"
    remedy = did_you_mean(source.pipeline, TESTED)
    raise ConfigError(Mistake(problem, remedy, key=f"models.{source.name}.pipeline"))


def check_texts(kind: type, source: ModelSource) -> None:
    """Check that a class of pipelines can read long or weighted texts, if the profile asks for it.

    Raises:
        ConfigError: it can't.
    """
    asked = {"long_prompt": source.reads_chunks, "prompt_syntax": source.reads_weights}
    if kind_of(kind).clip or not any(asked.values()):
        return
    keys = [key for key, is_asked in asked.items() if is_asked]
    problem = f"CLIP is not the only text encoder of {kind.__name__}"
    remedy = "leave the key out: its text encoder reads more than 77 tokens, but no weights"
    raise ConfigError(*(Mistake(problem, remedy, key=f"{source.key}.{key}") for key in keys))


def check_tiling(kind: type, source: ModelSource) -> None:
    """Check that the VAE of a class of pipelines can do without tiles, if the profile asks for it.

    Raises:
        ConfigError: it can't.
    """
    if source.tiling is False and kind_of(kind).tiles:
        problem = f"the VAE of {kind.__name__} always decodes in tiles"
        raise ConfigError(Mistake(problem, "leave tiling out", key=f"{source.key}.tiling"))


def quantization(source: ModelSource) -> PipelineQuantizationConfig | None:
    """Return the quantization of the denoisers' weights; None for none.

    Raises:
        ConfigError: torchao is not installed.
    """
    if source.quantization is None:
        return None
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig
    except ImportError:
        problem = "quantization needs the package torchao, which is not installed"
        remedy = "pip install 'torchao>=0.18', or leave quantization out"
        key = f"models.{source.name}.quantization"
        raise ConfigError(Mistake(problem, remedy, key=key)) from None
    kind = Int8WeightOnlyConfig if source.quantization == "int8" else Float8WeightOnlyConfig
    config: Any = diffusers.TorchAoConfig(kind())
    return PipelineQuantizationConfig(quant_mapping=dict.fromkeys(denoisers.NAMES, config))


def _scheduler(own: Any, source: ModelSource) -> Any:
    kind = type(own) if source.scheduler is None else getattr(diffusers, source.scheduler, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        problem = f"diffusers has no scheduler {source.scheduler}"
        remedy = "use a class name such as DPMSolverMultistepScheduler"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{source.name}.scheduler"))
    settings = dict(source.scheduler_settings)
    accepted = _accepted(kind)
    _require(settings, accepted, kind, f"models.{source.name}.scheduler.settings")
    if source.flow_shift is not None:
        settings[_shift_of(kind, accepted, source)] = source.flow_shift
    made = kind.from_config(own.config, **settings)
    if source.flow_shift is not None:
        _require_shifted(made, accepted, source)
    return made


def _require_shifted(scheduler: Any, accepted: Container[str], source: ModelSource) -> None:
    """Raise ConfigError if a scheduler does not read its flow shift, as it is set up.

    accepted: its own settings; its config keeps those of another kind that it was made from, too
    """
    config = scheduler.config
    if "use_flow_sigmas" in accepted and not config["use_flow_sigmas"]:
        settings = "prediction_type: flow_prediction, use_flow_sigmas: true"
    elif "use_dynamic_shifting" in accepted and config["use_dynamic_shifting"]:
        settings = "use_dynamic_shifting: false"
    else:
        return
    name = type(scheduler).__name__
    remedy = f"leave it out, or write `scheduler: {{name: {name}, settings: {{{settings}}}}}`"
    key = f"models.{source.name}.flow_shift"
    raise ConfigError(Mistake(f"flow_shift has no effect on this {name}", remedy, key=key))


def _shift_of(kind: type, accepted: Iterable[str], source: ModelSource) -> str:
    found = next((name for name in _SHIFTS if name in accepted), None)
    if found is None:
        problem = f"{kind.__name__} has no flow shift"
        remedy = "leave flow_shift out, or name a scheduler such as UniPCMultistepScheduler"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{source.name}.flow_shift"))
    return found


def _guider(pipe: Any, source: ModelSource) -> Any:
    guider = getattr(pipe, "guider", None)
    key = f"models.{source.name}.guider"
    if guider is None:
        problem = f"{type(pipe).__name__} has no guider"
        raise ConfigError(Mistake(problem, "give guidance_scale under defaults", key=key))
    _require(source.guider, _accepted(type(guider)), type(guider), key)
    return guider.new(**source.guider)


def _tile(pipe: Any, source: ModelSource) -> None:
    vae: Any = getattr(pipe, "vae", None)
    if not hasattr(vae, "enable_tiling"):
        problem = f"the VAE of {type(pipe).__name__} can't decode in tiles"
        raise ConfigError(Mistake(problem, "use auto", key=f"models.{source.name}.tiling"))
    if source.tiling:
        vae.enable_tiling()
    else:
        vae.disable_tiling()


def _accepted(kind: type) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


def _require(given: Mapping[str, Scalar], accepted: list[str], kind: type, key: str) -> None:
    unknown = [name for name in given if name not in accepted]
    if unknown:
        raise ConfigError(
            *(
                Mistake(
                    f"{kind.__name__} has no setting '{name}'",
                    did_you_mean(name, accepted),
                    key=f"{key}.{name}",
                )
                for name in unknown
            )
        )
