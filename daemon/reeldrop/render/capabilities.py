"""Tell what a pipeline can be asked for, from its call signature and its configuration."""

from __future__ import annotations

import contextlib
import inspect
import math
import types
import typing
from typing import Any

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.job import Capabilities

_NOT_SETTINGS = frozenset(
    {
        "prompt", "num_images_per_prompt", "num_videos_per_prompt", "output_type", "return_dict",
        "callback_steps", "clip_skip", "attention_kwargs", "cross_attention_kwargs",
    }
)  # fmt: skip
"""Simple call arguments that the renderer chooses; clip_skip fails with transformers 5."""


def describe(pipe: Any, name: str) -> Capabilities:
    """Return what a pipeline can be asked for, read from its call signature and configuration.

    Raises:
        ConfigError: it makes no videos from text.
    """
    parameters = inspect.signature(pipe.__call__).parameters
    if "num_frames" not in parameters or "prompt" not in parameters:
        problem = f"{type(pipe).__name__} is no text-to-video pipeline"
        remedy = "its call must take prompt and num_frames"
        raise ConfigError(Mistake(problem, remedy, key=name))
    hints = typing.get_type_hints(pipe.__call__)
    settings, defaults = {}, {}
    for key, parameter in parameters.items():
        kind = _simple_type(hints.get(key))
        if kind is not None and key not in _NOT_SETTINGS:
            settings[key] = kind
            defaults[key] = parameter.default
    spatial = _first(
        pipe,
        "vae_scale_factor_spatial",
        "vae_spatial_compression_ratio",
        "vae_scale_factor",
        default=8,
    )
    for key in ("height", "width"):
        if key in settings and defaults[key] is None:
            defaults[key] = _default_size(pipe, spatial)
    return Capabilities(
        settings=types.MappingProxyType(settings),
        defaults=types.MappingProxyType(defaults),
        size_multiple=math.lcm(8, spatial * _patch(pipe)),
        frames_multiple=_first(
            pipe, "vae_scale_factor_temporal", "vae_temporal_compression_ratio", default=1
        ),
    )


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


def _default_size(pipe: Any, spatial: int) -> int | None:
    with contextlib.suppress(AttributeError, TypeError):
        return int(pipe.unet.config.sample_size * spatial)
    return None
