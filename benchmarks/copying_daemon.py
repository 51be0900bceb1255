"""`reeldrop` that copies its folders before each change to them: the states that kills would leave.

Its arguments are the folder for the copies, the folders, and after `--` those of `reeldrop`. A
state is copied once, however many changes find it: before and after an fsync, files are the same.
So are states that differ in the drawn part of a temporary name, or in what a log says.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reeldrop.base import durable
from reeldrop.commands import cli

DRAWN = re.compile("[0-9a-f]{16}")
CHANGES = ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir")


def copy_before_each_change(copies: Path, folders: Sequence[Path]) -> None:
    """Let each change wait for a copy: no other thread makes one meanwhile."""
    numbers, seen, lock = itertools.count(1), set[frozenset[Any]](), threading.Lock()

    def copying(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: Any, **keywords: Any) -> object:
            with lock:
                found = frozenset(state(folders))
                if found not in seen:
                    seen.add(found)
                    copy(folders, copies / f"{next(numbers):03}")
                return function(*arguments, **keywords)

        return wrapper

    copies.mkdir()
    for name in CHANGES:
        setattr(os, name, copying(getattr(os, name)))
    durable.rename_exclusively = copying(durable.rename_exclusively)


def state(folders: Sequence[Path]) -> list[tuple[str, bytes | None]]:
    """Return all paths below folders, and the bytes of files; not the status, which has times."""
    paths = (path for folder in folders for path in [folder, *folder.rglob("*")])
    return [
        (
            DRAWN.sub("", str(path)),
            path.read_bytes() if path.is_file() and path.suffix != ".log" else None,
        )
        for path in paths
        if not path.name.startswith("status.") and path.exists()
    ]


def copy(folders: Sequence[Path], into: Path) -> None:
    """Copy folders with the times and links of their files."""
    there = [str(folder) for folder in folders if folder.exists()]
    script = 'mkdir "$1" && exec cp --archive --target-directory "$@"'
    subprocess.run(["sh", "-c", script, "sh", str(into), *there], check=True)


if __name__ == "__main__":
    _end = sys.argv.index("--")
    _copies, *_folders = map(Path, sys.argv[1:_end])
    sys.argv[1:] = sys.argv[_end + 1 :]
    copy_before_each_change(_copies, _folders)
    cli.main()
