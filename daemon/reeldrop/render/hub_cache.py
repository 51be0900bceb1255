"""What of a model is in the hub's cache on this machine; whether only that may be used.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub as hub
from huggingface_hub import constants, errors
from huggingface_hub.file_download import repo_folder_name

from reeldrop.render import checkpoint
from reeldrop.render.repository import Wanted, pinned


def folder() -> Path:
    """Return the folder of the hub's cache."""
    return Path(constants.HF_HUB_CACHE)


def blobs(wanted: Wanted) -> Path:
    """Return the folder of the cache that holds the content of a repository's files."""
    return folder() / repo_folder_name(repo_id=wanted.location, repo_type="model") / "blobs"


def is_offline() -> bool:
    """Return whether the environment forbids downloads."""
    return bool(hub.is_offline_mode())


def complete(wanted: Wanted) -> Path | None:
    """Return the folder of a model that is known to be complete on this machine, else None."""
    with contextlib.suppress(
        OSError, ValueError, errors.CachedRepoTreeNotFoundError, errors.EntryNotFoundError
    ):
        revision = pinned(wanted)
        tree = hub.get_cached_repo_tree(wanted.location, revision=revision)
        index = hub.try_to_load_from_cache(wanted.location, checkpoint.INDEX, revision=revision)
        if isinstance(index, str):
            folder = Path(index).parent
            names = checkpoint.needed((f.path for f in tree), read_index(index), wanted.variant)
            if all((folder / name).is_file() for name in names):
                return folder
    return None


def seems_there(wanted: Wanted) -> Path | None:
    """Return the folder of a model that seems complete on this machine, else None.

    If earlier versions or other programs have downloaded it, the cache has no list of its files.
    What they left half-way has all folders, as small files come first, but not all weights.
    """
    revision = pinned(wanted)
    index = hub.try_to_load_from_cache(wanted.location, checkpoint.INDEX, revision=revision)
    if not isinstance(index, str):
        return None
    try:
        folder, parts = Path(index).parent, read_index(index)
    except (OSError, ValueError):
        return None
    names = [str(file.relative_to(folder)) for file in folder.glob("*/*") if file.is_file()]
    has_folders = all((folder / part).is_dir() for part in checkpoint.parts(parts))
    lacks_weights = checkpoint.without_weights(names, parts, wanted.variant)
    return folder if has_folders and not lacks_weights else None


def file_there(wanted: Wanted, file: str) -> Path | None:
    """Return a file of a repository if it is on this machine, else None."""
    found = hub.try_to_load_from_cache(wanted.location, file, revision=pinned(wanted))
    return Path(found) if isinstance(found, str) else None


def commit_of(path: Path) -> str | None:
    """Return the commit of a path in the hub's cache; None if it is elsewhere."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


def read_index(index: str) -> dict[str, Any]:
    """Return the content of the model_index.json at a path.

    Raises:
        ValueError: it is damaged, as after a power cut.
    """
    found = json.loads(Path(index).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{index} is no list of parts")
    return found
