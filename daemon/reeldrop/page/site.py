"""The files of the page itself: they come with reeldrop, and are the same whatever it shows."""

from __future__ import annotations

import os
from pathlib import Path

from reeldrop.base import plain_files
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.names import INDEX_NAME
from reeldrop.page.gallery import LIST_NAME
from reeldrop.page.gallery import write as write_file

_SOURCE = Path(__file__).parent / "web"
_MARK = b'<meta name="generator" content="reeldrop">'


def is_there(results: Path, data: Path) -> bool:
    """Return whether the page and its list of videos exist: somebody may have deleted them."""
    return os.path.lexists(results / INDEX_NAME) and os.path.lexists(data / LIST_NAME)


def write(results: Path, page: Path) -> None:
    """Write the page, `index.html` last: it needs the others, which are in the folder `page`."""
    require_ours(results / INDEX_NAME, _MARK)
    for source in sorted(_SOURCE.iterdir(), key=lambda path: path.name == INDEX_NAME):
        folder = results if source.name == INDEX_NAME else page
        write_file(folder / source.name, source.read_bytes())


def require_ours(path: Path, mark: bytes) -> None:
    """Check that a file has a mark of ours in it, or is not there: others are not replaced.

    Raises:
        FileExistsError: it is somebody else's.
    """
    start = b""
    try:
        with open(plain_files.open_plain(path), "rb") as file:
            start = file.read(1000)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
    if mark not in start:
        raise FileExistsError(f"{path.name} in the results is not reeldrop's: move it away")
