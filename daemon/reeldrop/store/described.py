"""What each profile's pipeline accepts, noted in the spool for commands, which load no pipeline.

It is derived from the pipelines, and the daemon does not depend on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reeldrop.base import durable, plain_files
from reeldrop.base.job import Capabilities, Grid
from reeldrop.base.windows import Windows

FILE_NAME = "described.json"
MAX_BYTES = 1 << 20

_KINDS: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def note(spool: Path, profile: str, origin: str, found: Capabilities) -> None:
    """Note what the pipeline of a profile accepts; `origin` is where it was loaded from.

    Only the daemon calls it. If it fails, commands check less; the next start notes it again.
    """
    file = spool / FILE_NAME
    described = {
        "origin": origin,
        "settings": {key: kind.__name__ for key, kind in found.settings.items()},
        "defaults": dict(found.defaults),
        "size_multiple": found.size_multiple,
        "frames_multiple": found.frames_multiple,
        "pictures": dict(found.pictures),
        "grids": {key: dataclasses.asdict(grid) for key, grid in found.grids.items()},
        "windows": dataclasses.asdict(found.windows),
    }
    known = _read(file)
    if known.get(profile) != described:
        text = json.dumps({**known, profile: described}, indent=1)
        with contextlib.suppress(OSError):
            durable.write_unsynced(file, f"{text}\n".encode())


def read(spool: Path, profile: str, origin: str) -> Capabilities | None:
    """Return what the pipeline of a profile accepts; None if unknown, or of another origin."""
    found: Any = _read(spool / FILE_NAME).get(profile)
    with contextlib.suppress(LookupError, TypeError, AttributeError, ValueError):
        if found["origin"] == origin:
            return Capabilities(
                settings={key: _KINDS[kind] for key, kind in found["settings"].items()},
                defaults=dict(found["defaults"]),
                size_multiple=int(found["size_multiple"]),
                frames_multiple=int(found["frames_multiple"]),
                pictures={key: bool(is_needed) for key, is_needed in found["pictures"].items()},
                grids={key: Grid(**grid) for key, grid in found["grids"].items()},
                windows=Windows(**found.get("windows", {})),
            )
    return None


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(plain_files.content(file, MAX_BYTES))
        if isinstance(found, dict):
            return found
    return {}
