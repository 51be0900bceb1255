"""`reeldrop init`: write a commented config.yaml, and make the folders that it names.

The inbox gets a README.txt, which says to people who see nothing else what they can do there.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from importlib import resources
from pathlib import Path

from reeldrop.base import durable, temporaries
from reeldrop.commands import exit_codes, output
from reeldrop.config import config


def write_config(folder: Path) -> int:
    """Write the config.yaml, print what to do next, and return the exit code."""
    path = folder / config.NAME
    settings = config.parse(config.template(), path)
    if os.path.lexists(path) or not _is_written(path, settings):
        output.note(f"reeldrop: {path} is there already; it is left as it is")
        return exit_codes.USAGE
    print(f"Wrote {path}. Next, run this, and put a text file with a prompt on each line into")
    print(f"{settings.inbox}:\n\n    reeldrop run --config {shlex.quote(str(path))}")
    return 0


def _is_written(path: Path, settings: config.Config) -> bool:
    """Make the folders, then write config.yaml; return False if it exists by now."""
    try:
        for made in (settings.inbox, settings.results, settings.spool):
            durable.make_folder(made)
        with contextlib.suppress(FileExistsError):
            text = resources.files("reeldrop").joinpath("inbox.txt").read_bytes()
            durable.write_new(settings.inbox / "README.txt", text, temporaries.command_owner())
        durable.write_new(path, config.template().encode(), temporaries.command_owner())
    except FileExistsError:
        return False
    return True
