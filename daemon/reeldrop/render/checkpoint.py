"""Which files of a model's repository a pipeline needs. Works on names, without hub or disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

INDEX = "model_index.json"
SAFETENSORS = ".safetensors"

_OTHER_WEIGHTS = frozenset(
    {".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".gguf", ".pb"}
)
_FOR_PEOPLE = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".mp4", ".svg", ".md"})

_WITHOUT_WEIGHTS = ("Tokenizer", "Processor", "Scheduler", "Extractor", "Guidance")
"""In the names of classes of parts that have no weights."""

_NAME = r"(?:model|diffusion_pytorch_model)"
_SHARD = r"(?:-\d{5}-of-\d{5})?"
_WEIGHTS = re.compile(rf"{_NAME}(?:\.(\w+))?{_SHARD}(?:\.(\w+))?\.safetensors")
_OF_SHARDS = re.compile(r"-\d{5}-of-(\d{5})")
_SHARDS = re.compile(rf"{_NAME}\.safetensors\.index(?:\.(\w+))?\.json")
"""Weights and indexes of their shards; the groups are the variant."""


def needed(names: Iterable[str], index: Mapping[str, Any], variant: str | None) -> set[str]:
    """Return the files that a pipeline needs, by its model_index.json: only safetensors weights.

    A part without weights of the variant is taken without a variant.
    """
    known = list(names)
    found = {INDEX}
    for part in parts(index):
        folder = [name for name in known if name.startswith(f"{part}/")]
        # A repository with a single part of its kind may have that part's files at its root.
        found |= _of_part(folder or [name for name in known if "/" not in name], variant)
    return found & set(known)


def parts(index: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a pipeline's parts."""
    for name, value in index.items():
        if isinstance(value, list) and len(value) == 2 and value[0] is not None:
            yield name


def without_safetensors(names: Iterable[str], index: Mapping[str, Any]) -> list[str]:
    """Return the parts whose weights exist only in other formats."""
    known = [PurePosixPath(name) for name in names]
    kinds = {part: {n.suffix for n in known if n.parts[0] == part} for part in parts(index)}
    return [p for p, k in kinds.items() if k & _OTHER_WEIGHTS and SAFETENSORS not in k]


def without_weights(
    names: Iterable[str], index: Mapping[str, Any], variant: str | None
) -> list[str]:
    """Return the parts with a config.json that lack some or all of their weights.

    `names` are the files that are there.
    """
    there = set(names)
    found = [name for name in needed(there, index, variant) if name.endswith(SAFETENSORS)]
    models = (
        part
        for part in parts(index)
        if f"{part}/config.json" in there
        if not any(word in str(index[part][1]) for word in _WITHOUT_WEIGHTS)
    )
    return [
        part for part in models if not _is_whole([n for n in found if n.startswith(f"{part}/")])
    ]


def _is_whole(weights: list[str]) -> bool:
    """Return whether there are weights in one file, or all shards of them."""
    shards = [int(match[1]) for name in weights if (match := _OF_SHARDS.search(name))]
    return len(weights) > len(shards) or (bool(shards) and len(shards) >= max(shards))


def _of_part(names: list[str], variant: str | None) -> set[str]:
    of_variant = {name for name in names if variant and variant == _variant(name)}
    chosen = variant if any(name.endswith(SAFETENSORS) for name in of_variant) else None
    return {name for name in names if _is_needed(name, chosen)}


def _is_needed(name: str, variant: str | None) -> bool:
    path = PurePosixPath(name)
    if path.suffix == SAFETENSORS or _SHARDS.fullmatch(path.name):
        is_known = _WEIGHTS.fullmatch(path.name) or _SHARDS.fullmatch(path.name)
        return bool(is_known) and len(path.parts) <= 2 and _variant(name) == variant
    is_other_index = path.name.endswith(".index.json")
    return path.suffix not in _OTHER_WEIGHTS | _FOR_PEOPLE and not is_other_index


def _variant(name: str) -> str | None:
    base = PurePosixPath(name).name
    match = _WEIGHTS.fullmatch(base) or _SHARDS.fullmatch(base)
    return next(filter(None, match.groups()), None) if match else None
