"""Find out how much memory a model's weights will take, from its files."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reeldrop.base.errors import ConfigError
from reeldrop.render import checkpoint, dtypes, hub_cache, lora_files, pipeline, tensors
from reeldrop.speed import denoisers

if TYPE_CHECKING:
    from reeldrop.render.source import ModelSource

UNREADABLE = 1
"""The size of a model whose files can't be read."""


def size(source: ModelSource) -> int:
    """Return how many bytes a model's weights take when it is loaded.

    0 if it has not been downloaded. UNREADABLE if its files can't be read: then it can't be loaded
    either, so no other model has to be released for it.
    """
    found = by_part(source)
    return 0 if found is None else max(1, sum(found.values()))


def by_part(source: ModelSource, *, cuda: bool | None = None) -> dict[str, int] | None:
    """Return the same for each part of a model, with `default` for LoRAs that are not merged.

    None if it has not been downloaded; empty if its files can't be read.

    cuda: whether it is loaded for a GPU; None for what this machine has
    """
    folder = _folder(source)
    if folder is None:
        return None
    known = (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError)
    with contextlib.suppress(*known):
        index = json.loads((folder / checkpoint.INDEX).read_text(encoding="utf-8"))
        each = _bytes_of_a_number(source, index, cuda)
        files = [(file, file.parent.name) for file in _files(folder, index, source.variant)]
        files += [(file, dtypes.DEFAULT) for file in _loras(source)]
        found = dict.fromkeys((part for _, part in files), 0)
        for file, part in files:
            found[part] += _count(file) * each(part)
        return found
    return {}


def scaled(
    source: ModelSource, sizes: Mapping[str, float], *, cuda: bool | None = None
) -> dict[str, float]:
    """Return the same for a model that is not here, from the sizes of its parts with two bytes for
    each number."""
    each = _bytes_of_a_number(source, {}, cuda)
    return {part: size * each(part) / 2 for part, size in sizes.items()}


def _folder(source: ModelSource) -> Path | None:
    """Return the folder of a model's files; None if it has not been downloaded."""
    if Path(source.location).is_absolute():
        return Path(source.location)
    return hub_cache.complete(source) or hub_cache.seems_there(source)


def _files(folder: Path, index: Mapping[str, Any], variant: str | None) -> list[Path]:
    """Return the files of weights that diffusers loads."""
    names = (str(file.relative_to(folder)) for file in folder.glob("*/*.safetensors"))
    return [folder / name for name in checkpoint.needed(names, index, variant)]


def _loras(source: ModelSource) -> list[Path]:
    """Return the files of LoRAs that are not merged into the weights."""
    return [path for lora, path in lora_files.there(source) if not lora.is_always_used]


def _count(file: Path) -> int:
    """Return how many numbers a file of weights has."""
    return sum(map(math.prod, tensors.shapes(file).values()))


def _bytes_of_a_number(
    source: ModelSource, index: Mapping[str, Any], cuda: bool | None
) -> Callable[[str], int]:
    """Return a function that returns how many bytes each number of a part takes."""
    wanted = pipeline.dtypes_of(source, index, cuda=cuda)
    converted = denoisers.NAMES if source.quantization else ()

    def each(part: str) -> int:
        if part in converted:
            return 1
        return 4 if wanted.get(part, wanted[dtypes.DEFAULT]) == "float32" else 2

    return each
