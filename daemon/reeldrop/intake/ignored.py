"""Which names belong to no prompt file, or to an unfinished one: a table with a row for each tool.

Knows names only. Their meanings were read in the tools' sources and manuals, or observed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that puts files into folders, and the names that it uses internally.

    ignored: globs, in lower case, of files and folders that hold no prompt
    why: what the ignored names are
    unfinished: regex of a temporary name; group `name` is the name of the finished file
    """

    name: str
    ignored: tuple[str, ...]
    why: str
    unfinished: str = ""


TOOLS = (
    Tool(
        "Syncthing",
        (".syncthing.*", "~syncthing~*", ".stfolder*", ".stignore", ".stversions"),
        "downloads, and its own marks and old versions",
        unfinished=r"(?:\.syncthing\.|~syncthing~)(?P<name>.+)\.tmp",
    ),
    Tool(
        "Nextcloud",
        (".*.~*", "*.nextcloud", "*.owncloud", ".sync_*", "._sync_*", ".owncloudsync.log*"),
        "downloads, placeholders and databases of the clients of Nextcloud and ownCloud",
        unfinished=r"\.(?P<name>.+)\.~[0-9a-f]+",
    ),
    Tool(
        "Nextcloud's server",
        ("*.part",),
        "uploads",
        unfinished=r"(?P<name>.+)\.octransferid\d+\.part",
    ),
    Tool(
        "iCloud",
        (".*.icloud",),
        "placeholders of what is not downloaded",
        unfinished=r"\.(?P<name>.+)\.icloud",
    ),
    Tool(
        "rsync",
        (".~tmp~", ".rsync-partial"),
        "transfers, and folders of what was interrupted; with a dot before the name, too",
        # Six random letters and digits: nothing like `.backup`, `.Backup`, `.old001` or `.202611`.
        unfinished=r"\.(?P<name>.+)\.(?-i:(?!(?:[A-Z]?[a-z]*|[A-Z]*)\d*\Z)[A-Za-z0-9]{6})",
    ),
    Tool(
        "rclone",
        ("*.partial",),
        "transfers",
        unfinished=r"(?P<name>.+)\.[0-9a-f]{8}\.partial",
    ),
    Tool(
        "Dropbox",
        (".dropbox", ".dropbox.*"),
        "its cache and marks",
    ),
    Tool("Google Drive", (".tmp.driveupload", ".tmp.drivedownload"), "transfers"),
    Tool(
        "OneDrive",
        ("~*", "*.tmp"),
        "transfers, and locks of Microsoft Office",
    ),
    Tool(
        "Resilio Sync",
        ("*.!sync", "*.syncpart", "*.synctemp", "*.syncold", ".sync", ".sync[ia]*"),
        "downloads, its archive and its settings",
        unfinished=r"(?P<name>.+)\.(?:!sync|syncpart|synctemp)",
    ),
    Tool(
        "Unison",
        (".unison.*",),
        "transfers",
        unfinished=r"\.unison\.(?P<name>.+)\.[0-9a-f]+\.unison\.tmp",
    ),
    Tool(
        "Seafile",
        ("*.seaftmp", "*.seaftmp~", "*.sbak"),
        "downloads and backups",
        unfinished=r"(?P<name>.+)\.seaftmp~?",
    ),
    Tool("WinSCP", ("*.filepart",), "uploads", unfinished=r"(?P<name>.+)\.filepart"),
    Tool(
        "a browser",
        ("*.crdownload", "*.part", "*.download"),
        "downloads",
        unfinished=r"(?P<name>.+)\.(?:crdownload|part|download)",
    ),
    Tool(
        "Windows",
        ("thumbs.db", "desktop.ini", "~$*", ".smbdelete*", "$recycle.bin"),
        "what Windows and Samba keep in a shared folder",
    ),
    Tool(
        "a NAS",
        ("@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot"),
        "previews, and what was deleted",
    ),
    Tool(
        "macOS",
        ("._*", ".ds_store", ".trashes", ".spotlight-v100", ".localized", "__macosx"),
        "attributes of files, and what Finder keeps in a folder",
    ),
    Tool("NFS", (".nfs*", ".fuse_hidden*"), "files that were deleted while they were open"),
    Tool(
        "an editor",
        (".*.sw?", "*~", ".#*", "#*#", ".~lock.*#", ".goutputstream-*", "*___jb_*___",
         ".*.kate-swp"),
        "backups, locks, and what is being saved",
        unfinished=r"(?P<name>.+)___jb_tmp___",
    ),
    Tool("reeldrop", ("*.error.txt", "*.not-rendered.txt"), "its own reports, when they come back"),
    Tool("anything", (".*",), "hidden"),
)  # fmt: skip


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile globs into one regex, without those that another covers: it must be fast."""
    globs = {pattern.lower() for pattern in patterns}
    needed = {g for g in globs if not any(g != o and fnmatch.fnmatchcase(g, o) for o in globs)}
    return re.compile("|".join(map(fnmatch.translate, sorted(needed))))


def _compiled(regex: str) -> re.Pattern[str] | None:
    return re.compile(regex, re.IGNORECASE) if regex else None


_IGNORED = _any_of(pattern for tool in TOOLS for pattern in tool.ignored)
_UNFINISHED = [(t.name, c) for t in TOOLS if (c := _compiled(t.unfinished)) is not None]


class Ignored:
    """The names that an inbox ignores: those of the table, and the operator's globs."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        more = tuple(more)
        self._more = _any_of(more) if more else None

    def __contains__(self, name: str) -> bool:
        lower = name.lower()
        if _IGNORED.match(lower):
            return True
        return self._more is not None and self._more.match(lower) is not None


def finished_name(name: str) -> tuple[str, str] | None:
    """Return the final name of an unfinished file, and its tool; None if no tool names files so.

    An editor's lock gives None: the file that it locks is complete.
    """
    for tool, pattern in _UNFINISHED:
        found = pattern.fullmatch(name)
        if found is not None:
            return found["name"], tool
    return None
