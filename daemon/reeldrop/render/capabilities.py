"""Find out which settings a pipeline has, from its call's signature, its parts and its class."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.job import CROP, IMAGE_FIT, Capabilities, Scalar
from reeldrop.render.classes import kind_of
from reeldrop.render.kinds import Kind

_FRAMES = ("num_frames", "video_length", "frames")
"""The names of the argument for the number of frames."""

_RATES = ("frame_rate", "fps", "target_fps")
"""The names of the argument for the frames per second, which prompt files call `fps`."""

_NOT_SETTINGS = frozenset(
    {
        "prompt", "num_images_per_prompt", "num_videos_per_prompt", "output_type", "return_dict",
        "callback_steps", "clip_skip", "attention_kwargs", "cross_attention_kwargs", "seed",
        *_FRAMES[1:], *_RATES,
    }
)  # fmt: skip
"""Simple call arguments that prompts can't set; clip_skip fails with transformers 5."""

_SPATIAL = (
    "vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_spatial_scale_factor",
    "vae_scale_factor",
)  # fmt: skip
_TEMPORAL = (
    "vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_temporal_scale_factor",
)  # fmt: skip
"""The names of the VAE's compression ratios, in space and in time."""


def describe(pipe: Any, name: str) -> Capabilities:
    """Return a pipeline's settings, with their defaults and limits.

    Raises:
        ConfigError: it needs more than a text and a picture, or does not say what it takes.
    """
    check_class(type(pipe), name)
    kind = kind_of(type(pipe))
    parameters = inspect.signature(pipe.__call__).parameters
    frames = frames_argument(parameters)
    settings: dict[str, type] = {}
    defaults: dict[str, Scalar] = {}
    hints = _hints(pipe, name)
    for key, parameter in parameters.items():
        key = "num_frames" if key == frames else key
        simple = _simple_type(hints.get(parameter.name))
        if simple is not None and key not in _NOT_SETTINGS and key not in kind.hidden:
            settings[key] = simple
            defaults[key] = parameter.default
    if is_guided_apart(pipe, parameters):
        settings["guidance_scale"] = float
        defaults["guidance_scale"] = pipe.guider.guidance_scale
    if (rate := rate_argument(parameters)) is not None:
        defaults["fps"] = float(parameters[rate].default)
    defaults |= {key: value for key, value in _left_open(pipe) if defaults.get(key, 0) is None}
    defaults |= kind.defaults(pipe)
    pictures = _pictures(pipe, kind)
    if pictures:
        settings[IMAGE_FIT] = str
        defaults[IMAGE_FIT] = CROP
    cell = _first(pipe, *_SPATIAL, default=8) * _patch(pipe)
    return Capabilities(
        settings=types.MappingProxyType(settings),
        defaults=types.MappingProxyType(defaults),
        size_multiple=math.lcm(8, kind.size_multiple, cell),
        frames_multiple=_first(pipe, *_TEMPORAL, default=1),
        grids=types.MappingProxyType(dict(kind.grids(pipe))),
        pictures=types.MappingProxyType(pictures),
    )


def check_class(pipeline_class: type, name: str) -> None:
    """Check that a class of pipelines makes videos from texts, or from texts and pictures.

    name: of the profile, for the error

    Raises:
        ConfigError: it does not.
    """
    if refusal := _refusal(pipeline_class):
        problem = f"{pipeline_class.__name__} can't be used: {refusal}"
        remedy = "use a class that makes videos from texts or pictures; docs/models.md has a table"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{name}.pipeline"))


def frames_argument(parameters: Mapping[str, object]) -> str | None:
    """Return the argument for the number of frames; None if the pipeline makes no videos."""
    return next((name for name in _FRAMES if name in parameters), None)


def rate_argument(parameters: Mapping[str, object]) -> str | None:
    """Return the argument for the frames per second; None if there is none."""
    return next((name for name in _RATES if name in parameters), None)


def is_guided_apart(pipe: Any, parameters: Mapping[str, object]) -> bool:
    """Return whether the guidance scale is a setting of the pipeline's guider, not of its call."""
    guider = getattr(pipe, "guider", None)
    return "guidance_scale" not in parameters and hasattr(guider, "guidance_scale")


def _pictures(pipe: Any, kind: Kind) -> dict[str, bool]:
    """Return which pictures a pipeline takes, and whether it needs them."""
    last = kind.last_image(pipe)
    return {**kind.pictures, **({} if last is None else {"last_image": last})}


def _refusal(pipeline_class: Any) -> str:
    """Return why a class of pipelines is refused; empty if it is not."""
    kind = kind_of(pipeline_class)
    if kind.refused:
        return kind.refused
    _self, *parameters = inspect.signature(pipeline_class.__call__).parameters.values()
    names = {parameter.name: parameter for parameter in parameters}
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name not in ("prompt", *kind.pictures)
    ]
    if needed:
        return f"it needs more than a text: {', '.join(needed)}"
    if frames_argument(names) is None or not ("prompt" in names or kind.pictures):
        return "its call takes no prompt, or no number of frames"
    return ""


def _hints(pipe: Any, name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(pipe.__call__)
    except (TypeError, NameError) as error:
        problem = f"{type(pipe).__name__} does not say what its call takes: {error}"
        remedy = "use a model of another class"
        raise ConfigError(Mistake(problem, remedy, key=f"models.{name}")) from None


def _simple_type(hint: Any) -> type | None:
    """Return int, float, bool or str if the hint is that type, also in a union; else None."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if is_union else (hint,)
    found = [kind for kind in (bool, int, float, str) if kind in kinds]
    return found[0] if len(found) == 1 else None


def _first(pipe: Any, *names: str, default: int) -> int:
    """Return the first of these attributes of the pipeline that is an int."""
    values = (getattr(pipe, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), default)


def _patch(pipe: Any) -> int:
    """Return the transformer's spatial patch size, in latent cells."""
    transformer = getattr(pipe, "transformer", None)
    patch = getattr(getattr(transformer, "config", None), "patch_size", 1)
    patch = patch[-1] if isinstance(patch, (list, tuple)) else patch
    return patch if isinstance(patch, int) else 1


def _left_open(pipe: Any) -> Iterator[tuple[str, int]]:
    """Yield the defaults of arguments whose default in the call is None, the best one last."""
    spatial = _first(pipe, *_SPATIAL, default=8)
    for part in (getattr(pipe, "unet", None), getattr(pipe, "transformer", None)):
        config = getattr(part, "config", None)
        for key, names in (
            ("height", ("sample_size", "sample_height")),
            ("width", ("sample_size", "sample_width")),
        ):
            for name in names:
                cells = getattr(config, name, None)
                if isinstance(cells, int):
                    yield key, cells * spatial
        frames = getattr(config, "sample_frames", None)
        if isinstance(frames, int):
            yield "num_frames", frames
    for key in ("height", "width"):
        default = getattr(pipe, f"default_{key}", None)
        if isinstance(default, int):
            yield key, default
