"""Move a waiting prompt file into `_failed/` for `reeldrop cancel`, while a daemon may claim it.

Knows nothing of jobs.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, moves, temporaries
from reeldrop.base.names import PICTURES_SUFFIX, aside
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.store import reports
from reeldrop.store.folded import Names


def withdraw(
    inbox: Root,
    failed: Root,
    source: PurePosixPath,
    report: Callable[[PurePosixPath], str],
    *,
    across: bool = False,
) -> Path | None:
    """Move a file of the inbox into `_failed/`, and return its path there; None if it was gone.

    `report` gets the path in `_failed/`, and returns the text of the report. The report is
    written last: a kill before that leaves a file without a report, never a report on a file that
    still waits. `across` permits a copy to another file system, safe only while no daemon works.

    Raises:
        OSError: EXDEV if a copy is needed, but not permitted, or it is neither a file nor a link.
    """
    owner, names = temporaries.command_owner(), Names(failed.path)
    first = names.within(aside(source))
    with inbox.opened(source.parent) as there, failed.opened(first.parent, make=True) as into:
        try:
            mode = (there / source.name).lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                raise OSError(errno.EXDEV, "only the daemon takes this", str(source))
            durable.fsync_untrusted(there / source.name)  # its author may not have done so
            free = (
                into / name
                for name in durable.free_names(first.name)
                if not names.clashes(first.with_name(name))
            )
            at = _set_aside(there / source.name, free, owner if across else "")
        except FileNotFoundError:
            if is_there(there / source.name):
                raise
            return None
        beside, text = reports.beside(at), reports.encoded(report(first.with_name(at.name)))
        with contextlib.suppress(FileExistsError):
            durable.write_new(beside, text, owner)
        if not is_there(at):  # it was put back meanwhile
            beside.unlink(missing_ok=True)
        temporaries.remove_left(into, beside)
        return failed.path / first.with_name(at.name)


def _set_aside(file: Path, places: Iterable[Path], copies_for: str) -> Path:
    """Move a file to the first of the places that has no file, no report, no pictures."""
    for target in places:
        pictures = target.with_name(target.name + PICTURES_SUFFIX)
        if not any(map(is_there, (reports.beside(target), pictures))):
            with contextlib.suppress(FileExistsError):
                if copies_for:
                    moves.move(file, target, copies_for)
                else:
                    durable.rename_new(file, target)
                return target
    raise AssertionError("free_names never ends")
