"""The folders at the top of the inbox that say when or how their files are rendered, not where to.

Each stands before the path that a file would have without it: `NOW/poems/a.txt` is `poems/a.txt`,
rendered first. Knows names only.
"""

from __future__ import annotations

from pathlib import PurePosixPath

NOW = "NOW"
NIGHT = "NIGHT"
AGAIN = "AGAIN"
"""With a new seed."""

_ALL = frozenset({NOW, NIGHT, AGAIN})
"""In capitals only: `night/` may be a folder of somebody's videos about nights."""


def wish(source: PurePosixPath) -> str:
    """Return which of these folders a file is in, by its path in the inbox; empty if in none."""
    folder, slash, _ = str(source).partition("/")
    return folder if slash and folder in _ALL else ""


def home(source: PurePosixPath) -> PurePosixPath:
    """Return the path that a file would have in the inbox without the wish."""
    return PurePosixPath(str(source).partition("/")[2]) if wish(source) else source


def alike(source: PurePosixPath) -> list[PurePosixPath]:
    """Return the paths in the inbox of files that would be the same order, sooner or later."""
    if wish(source) == AGAIN:
        return [source]
    return [home(source), NOW / home(source), NIGHT / home(source)]


def folders_above(source: PurePosixPath) -> list[PurePosixPath]:
    """Return the folders whose defaults a file has, the farthest first: also those of its home."""
    above = [*reversed(home(source).parents), *reversed(source.parents)]
    return list(dict.fromkeys(above))
