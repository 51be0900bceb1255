"""Translate a profile of config.yaml into values for the stages, which do not know config.yaml."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import structlog

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.fleet import BatchLimit, Device
from reeldrop.base.job import Capabilities, Picture, Prompt
from reeldrop.config import builtin
from reeldrop.config.profile_keys import Speed
from reeldrop.prompts import profile_rules
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.render import devices, pins, pipeline, weights
from reeldrop.render.source import LoraSource, ModelSource, bundled_model
from reeldrop.speed import fast
from reeldrop.speed.lossy import NOTHING, Lossy
from reeldrop.tune import tuned
from reeldrop.tune.tuned import Finding
from reeldrop.video.signing import Signer

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.config.profile_keys import Lora, Profile
    from reeldrop.render.loaded import LoadedPipeline

MAX_TOGETHER = {"cuda": 16, "cpu": 4}
"""Upper bound on a batch if neither the profile nor `reeldrop tune` sets one. A larger batch saves
little time, and its first prompt has to wait for its last."""

MOST_TOGETHER = 1000

_SAMPLE = "a red ball"

_log = structlog.get_logger()


def source(name: str, config: Config) -> ModelSource:
    """Return where a profile's pipeline comes from and how to set it up, findings included."""
    found = _findings(name, config)
    tuned = {device: finding.speed for device, finding in found.items()}
    return dataclasses.replace(untuned(name, config), tuned=tuned)


def signer(config: Config) -> Signer | None:
    """Return what signs files, if config.yaml names a certificate.

    Raises:
        ConfigError: it can't be used.
    """
    found = config.provenance
    if found is None:
        return None
    return Signer(found.certificate, found.key, include_prompt=found.include_prompt)


def untuned(name: str, config: Config) -> ModelSource:
    """Return the same as `source`, without the findings of `reeldrop tune`."""
    return of_profile(name, config.models[name], config)


def of_profile(name: str, profile: Profile, config: Config) -> ModelSource:
    """Return the same for a profile that config.yaml need not have."""
    return ModelSource(
        name=name,
        location=str(profile.path or profile.repository or bundled_model()),
        pipeline=profile.pipeline,
        revision=profile.revision,
        variant=profile.variant,
        dtype=profile.dtype.get("default", "auto"),
        part_dtypes={part: name for part, name in profile.dtype.items() if part != "default"},
        native_dtype=profile.native_dtype,
        quantization=profile.quantization,
        scheduler=profile.scheduler.name if profile.scheduler else None,
        scheduler_settings=profile.scheduler.settings if profile.scheduler else {},
        flow_shift=profile.flow_shift,
        guider=profile.guider,
        fixed=profile.lists,
        tiling=profile.tiling,
        placement=profile.placement,
        gpus=profile.gpus,
        speed=profile.speed.model_dump(exclude_defaults=True),
        lossy=Lossy(**profile.lossy.model_dump()),
        preview_steps=profile.preview_steps,
        loras=tuple(_lora(*one) for one in profile.loras.items()),
        window=profile.window,
        overlap=profile.overlap,
        reads_chunks=profile.long_prompt == "chunks",
        reads_weights=profile.prompt_syntax == "weighted",
        pins=config.spool / pins.FILE_NAME,
    )


def _lora(name: str, lora: Lora) -> LoraSource:
    return LoraSource(
        name=name,
        location=str(lora.path or lora.repository),
        revision=lora.revision,
        weight_name=lora.weight_name,
        component=lora.component,
        weight=lora.weight if lora.always else 1.0,  # else a prompt's business
        is_always_used=lora.always,
    )


def chosen(config: Config) -> frozenset[str]:
    """Return the profiles that config.yaml names or selects, without those that it always has and
    does not change."""
    given = config.models.items()
    own = {
        name for name, one in given if name not in builtin.OFFERED or one != builtin.profile(name)
    }
    return frozenset(own | {config.model})


class Sizes:
    """The sizes of the weights of each profile's model, in bytes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, int] = {}

    def of(self, name: str) -> int:
        """Return the size of a profile's weights; 0 if it is unknown.

        It is unknown before the download, and if config.yaml no longer has the profile, which
        waiting files may still name.
        """
        if not self._known.get(name) and name in self._config.models:
            self._known[name] = weights.size(source(name, self._config))
        return self._known.get(name, 0)


def sources(config: Config) -> dict[str, ModelSource]:
    """Return the `source` of each profile."""
    return {name: source(name, config) for name in config.models}


def warn_of_findings(config: Config, device: str) -> None:
    """Log a warning for each profile that was tuned, but not as it is now on this device."""
    for name in tuned.read(config.spool).keys() & config.models.keys():
        if device not in _findings(name, config):
            remedy = "run `reeldrop tune` again"
            _log.warning("tuned_for_another", model=name, device=device, remedy=remedy)


def batch_limit(
    name: str, config: Config, *, device: str = "", cuda: bool | None = None
) -> BatchLimit:
    """Return the maximum size of a batch of a profile.

    device: its name; empty for this machine's
    cuda: whether it is rendered on a GPU; None for what this machine has
    """
    profile, plain = config.models[name], source(name, config)
    device = device or devices.name()
    found = _findings(name, config).get(device)
    if plain.lossy.mixes_prompts:
        return BatchLimit(1)
    has_gpu = devices.cuda_is_available() if cuda is None else cuda
    kind = "cuda" if has_gpu and profile.placement != "cpu" else "cpu"
    switches = fast.resolve(plain.speed_on(device), kind)
    stays = profile.placement in ("auto", "cuda", "cpu") and plain.gpus == 1
    is_compiled = switches.compile != "off" and stays and not plain.lossy.wanted
    if profile.max_batch_size is not None:
        return BatchLimit(profile.max_batch_size, in_few_sizes=is_compiled)
    most = found.max_batch_size if found else MAX_TOGETHER[kind]
    return BatchLimit(most, is_measured=True, in_few_sizes=is_compiled)


def too_large(config: Config, device: Device) -> dict[str, str]:
    """Return the profiles that are not rendered on a device, each with the reason in words."""
    name, has = device.name, device.memory_bytes
    has_words = f"{name} has {has / 1e9:.1f} GB" if has else f"'{name}' is no GPU"
    return {
        model: f"it needs a GPU with {profile.min_memory_gb:g} GB of memory, and {has_words}"
        for model, profile in config.models.items()
        if profile.min_memory_gb and has < profile.min_memory_gb * 1e9
    }


def _findings(name: str, config: Config) -> dict[str, Finding]:
    """Return the findings for a profile with these settings, by the device's name."""
    plain = untuned(name, config)
    return {
        device: found
        for device, found in tuned.read(config.spool).get(name, {}).items()
        if _is_possible(found) and found.basis == basis(plain, device)
    }


def _is_possible(found: Finding) -> bool:
    """Return whether a finding is usable; its file may have been damaged or edited."""
    try:
        known = Speed.model_validate(found.speed).model_dump(exclude_defaults=True)
    except pydantic.ValidationError:
        return False
    return known == found.speed and 1 <= found.max_batch_size <= MOST_TOGETHER


def basis(plain: ModelSource, device: str) -> str:
    """Return a digest of the conditions that findings about a pipeline on a device depend on."""
    model = dataclasses.replace(plain, name="", speed={}, preview_steps=0, pins=None)
    conditions = (device, pipeline.versions(), model)
    return hashlib.sha256(repr(conditions).encode()).hexdigest()


def model_rules(name: str, config: Config, capabilities: Capabilities) -> ModelRules:
    """Return what prompt files may ask of a profile.

    Raises:
        ConfigError: the defaults or limits name settings that the pipeline doesn't have, or the
            defaults exceed the limits.
    """
    return _rules(name, capabilities, config.allowed(name))


def _rules(name: str, capabilities: Capabilities, allowed: Mapping[str, Any]) -> ModelRules:
    found = ModelRules(name, capabilities, **allowed)
    profile_rules.check_profile(found)
    return found


def sample(found: ModelRules) -> Prompt:
    """Return a prompt with a profile's defaults, and the pictures that it needs.

    Raises:
        SettingsRefused: the defaults can't be rendered.
    """
    settings = found.resolve({"prompt": _SAMPLE})
    arguments = ((key, settings[key]) for key in found.capabilities.settings)
    given = tuple((key, value) for key, value in arguments if value is not None)
    return Prompt(
        1,
        _SAMPLE,
        found.name,
        given,
        0,
        settings["fps"],
        ("mp4",),
        windows=found.capabilities.windows,
        pictures=sample_pictures(found.capabilities),
        loras=settings["loras"],
    )


def sample_pictures(capabilities: Capabilities) -> tuple[Picture, ...]:
    """Return the picture that comes with reeldrop, as each that a pipeline needs."""
    path = Path(str(resources.files("reeldrop").joinpath("config/sample.png")))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    needed = (key for key, is_needed in capabilities.pictures.items() if is_needed)
    return tuple(Picture(key, path.name, path, digest) for key in needed)


def to_tune(
    plain: ModelSource, allowed: Mapping[str, Any]
) -> tuple[ModelSource, LoadedPipeline, Prompt]:
    """Return a profile's untuned source, its plain pipeline, and the prompt to time.

    allowed: what prompts may ask of it; see `Config.allowed`

    Raises:
        ConfigError: the pipeline can't be loaded, the defaults can't be rendered, or several GPUs
            render it.
    """
    if plain.gpus > 1:
        problem = f"tune times one GPU, and {plain.gpus} render this model's videos together"
        remedy = "there is nothing to tune: with several GPUs, nothing is compiled"
        raise ConfigError(Mistake(problem, remedy, key=f"{plain.key}.gpus"))
    loaded = pipeline.load(dataclasses.replace(plain, speed=fast.PLAIN, lossy=NOTHING))
    try:
        return plain, loaded, sample(_rules(plain.name, loaded.capabilities, allowed))
    except SettingsRefused as error:
        problem = "there is nothing to tune it with: the defaults can't be rendered"
        raise ConfigError(Mistake(problem, str(error), key=f"{plain.key}.defaults")) from None


def warm_up(found: ModelRules) -> Prompt:
    """Return the prompt that warms a profile up: its defaults, in two steps if it has steps.

    Raises:
        SettingsRefused: the defaults can't be rendered.
    """
    full = sample(found)
    fewer = {"num_inference_steps": 2} if "num_inference_steps" in found.keys else {}
    arguments = {**dict(full.arguments), **fewer}
    return dataclasses.replace(full, arguments=tuple(arguments.items()))
