"""Read the header of a safetensors file, without its weights.

https://github.com/huggingface/safetensors#format: the header's size, then JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

_MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's tensors by their names.

    Raises:
        OSError: it can't be read.
        ValueError: it is no safetensors file.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError("no header of a safetensors file")
        header = json.loads(opened.read(length))
    if not isinstance(header, dict):
        raise ValueError("no header of a safetensors file")
    header.pop("__metadata__", None)
    try:
        return {name: tuple(map(int, tensor["shape"])) for name, tensor in header.items()}
    except (LookupError, TypeError) as error:
        raise ValueError("a tensor without a shape") from error
