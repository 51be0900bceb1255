"""Load the diffusers pipeline of a profile: weights, dtype, scheduler, placement.

Loads safetensors only, and runs no code but diffusers' own. Does not render.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render import (
    checkpoint,
    clip_texts,
    devices,
    downloads,
    dtypes,
    hub_cache,
    lora_files,
    loras,
    noisy,
    parts,
    placements,
    problems,
    quiet,
    split,
    windows,
)  # fmt: skip
from reeldrop.render.capabilities import check_class, describe
from reeldrop.render.classes import kind_of
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import fast
from reeldrop.speed.unet3d import Call

_PACKAGES = ("reeldrop", "torch", "diffusers", "transformers", "accelerate")

_FAULTS = (OSError, ValueError, AttributeError, TypeError, RuntimeError, ImportError)
"""What diffusers raises if a model can't be loaded."""


@functools.cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of the packages that may change what a video looks like."""
    return tuple((name, importlib.metadata.version(name)) for name in _PACKAGES)


def load(
    source: ModelSource,
    tell: downloads.Tell | None = None,
    *,
    join: Callable[[str], None] | None = None,
) -> LoadedPipeline:
    """Load a profile's pipeline and place it; download it first if it is not on this machine.

    `tell` is called with the bytes downloaded so far, and all bytes of the download. With `join`,
    the pipeline renders together with other processes: that is called with the model's folder, and
    joins them. Without it, it renders alone, however many GPUs are asked for.

    Raises:
        ConfigError: it can't be loaded, or its class can't be used.
        Unavailable: it could not be downloaded.
    """
    quiet.libraries()
    placements.require(source)
    folder, unavailable = _folder(source, tell)
    files, call = lora_files.found(source, tell), Call()
    pipe, wanted_dtypes = _from_pretrained(source, folder, unavailable)
    parts.set_up(pipe, source)
    loras.put_on(pipe, source, files, call)
    capabilities = clip_texts.readable(describe(pipe, source.name), source)
    parts.check_fixed(pipe, source, capabilities.defaults)
    capabilities = windows.with_windows(capabilities, pipe, source)
    pipe.set_progress_bar_config(disable=True)
    split.require_heads(pipe, source)
    if join is not None:
        join(folder)
        split.split(pipe)
    placement = source.placement
    if placement == "auto":
        free = (devices.memory() or (None,))[0]
        placement = placements.choose(placements.weight_bytes(pipe), free)
    fast_path = _fast_path(pipe, source, placement, call)
    return LoadedPipeline(
        source=source,
        pipe=pipe,
        capabilities=capabilities,
        device=placements.put(pipe, placement),
        dtype=dtypes.in_words(wanted_dtypes),
        revision=_commit(pipe) or source.revision,
        placement=placement,
        fast_path=fast_path,
        loras=files,
    )


def check_class_there(source: ModelSource) -> None:
    """Check the class of a model by its files, if they are on this machine.

    Raises:
        ConfigError: the class can't be used, or not as the profile says.
        Unavailable: its files can't be read.
    """
    is_folder = Path(source.location).is_absolute()
    folder = Path(source.location) if is_folder else hub_cache.complete(source)
    if folder is None:
        return
    try:
        _check_class(source, hub_cache.read_index(str(folder / checkpoint.INDEX)))
    except _FAULTS as error:
        raise problems.failure(source, error) from error


def _fast_path(pipe: Any, source: ModelSource, placement: str, call: Call) -> fast.FastPath:
    device, known = "cpu" if placement == "cpu" else "cuda", kind_of(type(pipe))
    unsuited = {"mixed_precision": False} if source.quantization else {}
    draws = known.draws(pipe) or noisy.from_everywhere(pipe)
    return fast.FastPath(
        pipe,
        fast.resolve({**source.speed_on(devices.name()), **unsuited}, device),
        device,
        source.lossy,
        call=call,
        compiles=placement == device and source.gpus == 1 and not draws,
        keeps_texts=known.keeps_texts,
        encode=clip_texts.encoder(pipe, source),
    )


def optimized(loaded: LoadedPipeline, source: ModelSource) -> LoadedPipeline:
    """Apply the optimizations of `source` to a pipeline that has none, and place it."""
    fast_path = _fast_path(loaded.pipe, source, loaded.placement, loaded.fast_path.call)
    device = placements.put(loaded.pipe, loaded.placement)
    return dataclasses.replace(loaded, source=source, device=device, fast_path=fast_path)


def _folder(source: ModelSource, tell: downloads.Tell | None) -> tuple[str, Unavailable | None]:
    """Return the folder of a model; and, if its download failed, why it may be incomplete.

    Diffusers always gets a folder: with a repository's name it would download by itself, without
    the check of free disk space and the pinned commit.
    """
    if Path(source.location).is_absolute():
        return source.location, None
    if hub_cache.is_offline() and hub_cache.complete(source) is None:
        folder = hub_cache.seems_there(source)
        if folder is None:
            raise problems.failure(source, FileNotFoundError(source.location))
        return str(folder), None
    check = functools.partial(_check_class, source)
    beside = lora_files.of_hub(source)
    try:
        return str(downloads.fetch(source, tell, check=check, beside=beside)), None
    except Unavailable as error:
        folder = hub_cache.seems_there(source)
        if folder is None:
            raise
        return str(folder), error


def _from_pretrained(
    source: ModelSource, folder: str, unavailable: Unavailable | None
) -> tuple[Any, Mapping[str, str]]:
    """Return the pipeline, and the dtype of each part."""
    try:
        index = diffusers.DiffusionPipeline.load_config(folder)
        _check_class(source, index)
        wanted = dtypes_of(source, index)
        with quiet.about_deprecation():
            pipe = parts.pipeline_class(source, index).from_pretrained(
                folder,
                variant=source.variant,
                dtype=_for_torch(wanted),
                quantization_config=parts.quantization(source),
                use_safetensors=True,
                trust_remote_code=False,
            )
    except _FAULTS as error:
        if unavailable is not None and isinstance(error, OSError):  # a file is missing
            raise unavailable from error
        raise problems.failure(source, error) from error
    _require_parts(pipe, source)
    return pipe, wanted


def _check_class(source: ModelSource, index: Mapping[str, Any]) -> None:
    """Raise ConfigError if a pipeline's class can't be used, or needs a package that is missing."""
    problems.require_packages(source, index)
    kind = parts.pipeline_class(source, index)
    if kind is not diffusers.DiffusionPipeline:
        check_class(kind, source.name)
        parts.check_texts(kind, source)
        parts.check_tiling(kind, source)
        windows.check_class(kind, source)
        split.require_possible(source, index)


def dtypes_of(
    source: ModelSource, index: Mapping[str, Any], *, cuda: bool | None = None
) -> Mapping[str, str]:
    """Return the dtype of each part, with `default` for the others.

    cuda: whether it is loaded for a GPU; None for what this machine has
    """
    auto = _auto(source, index, devices.cuda_is_available() if cuda is None else cuda)
    others = auto if source.dtype == dtypes.AUTO else {dtypes.DEFAULT: source.dtype}
    return dtypes.filled({**others, **source.part_dtypes}, auto)


def _auto(source: ModelSource, index: Mapping[str, Any], has_gpu: bool) -> Mapping[str, str]:
    """Return what auto is for each part, with `default` for the others."""
    if source.placement == "cpu" or not has_gpu:
        return {dtypes.DEFAULT: "float32"}
    native = dtypes.native(index)
    if dtypes.DEFAULT in source.native_dtype:
        return dtypes.filled(source.native_dtype, native)
    return {**native, **source.native_dtype}


def _for_torch(wanted: Mapping[str, str]) -> torch.dtype | dict[str, torch.dtype]:
    found: dict[str, torch.dtype] = {part: getattr(torch, name) for part, name in wanted.items()}
    return found[dtypes.DEFAULT] if found.keys() == {dtypes.DEFAULT} else found


def _require_parts(pipe: Any, source: ModelSource) -> None:
    """Raise ConfigError if a profile gives a dtype to a part that the pipeline doesn't have."""
    known = list(pipe.components)
    for name, given in (("dtype", source.part_dtypes), ("native_dtype", source.native_dtype)):
        for part in given.keys() - {dtypes.DEFAULT, *known}:
            problem = f"{type(pipe).__name__} has no part '{part}'"
            key = f"models.{source.name}.{name}.{part}"
            raise ConfigError(Mistake(problem, did_you_mean(part, known), key=key))


def _commit(pipe: Any) -> str | None:
    """Return the commit of the hub's repository; None if the weights are not from the hub."""
    for part in pipe.components.values():
        config = getattr(part, "config", None)
        commit = hub_cache.commit_of(Path(str(getattr(config, "_name_or_path", ""))))
        if commit is not None:
            return commit
    return None
