"""The dtype of each part of a pipeline, by name. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO = "auto"
NAMES = ("float16", "bfloat16", "float32")

DEFAULT = "default"
"""The key for all parts that are not named."""

_VAES_IN_FLOAT32 = ("AutoencoderKLAllegro", "AutoencoderKLWan")
"""Their authors decode in float32; in bfloat16 detail is lost."""


def native(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the dtypes that a model is meant for, from its model_index.json.

    UNets are made for float16. Transformers overflow in it, and are trained in bfloat16.
    """
    default = "float16" if "unet" in index else "bfloat16"
    classes = {name: part[1] for name, part in index.items() if _is_part(part)}
    exceptions = {name: "float32" for name, kind in classes.items() if kind in _VAES_IN_FLOAT32}
    return {DEFAULT: default, **exceptions}


def filled(given: Mapping[str, str], auto: Mapping[str, str]) -> dict[str, str]:
    """Return dtypes by part, each auto among them replaced by what that is."""
    each = ((part, auto.get(part, auto[DEFAULT]), dtype) for part, dtype in given.items())
    return {part: usual if dtype == AUTO else dtype for part, usual, dtype in each}


def _is_part(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def in_words(dtypes: Mapping[str, str]) -> str:
    """Return dtypes by part in words, such as `bfloat16, vae float32`."""
    parts = [f"{name} {dtype}" for name, dtype in dtypes.items() if name != DEFAULT]
    return ", ".join([dtypes.get(DEFAULT, AUTO), *parts])
