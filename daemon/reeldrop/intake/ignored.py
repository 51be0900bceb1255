"""Which names belong to no prompt file, or to an unfinished one: a table with a row for each tool.

Knows names only. Their meanings were read in the tools' sources and manuals, or observed.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that puts files into folders, and the names that it uses internally.

    ignored: globs, in lower case, of files and folders that hold no prompt
    why: what the ignored names are
    unfinished: regex of a temporary name; group `name` is the name of the finished file
    conflict: regex of a conflict copy's name; groups `stem` and `suffix` are the original's
    """

    name: str
    ignored: tuple[str, ...]
    why: str
    unfinished: str = ""
    conflict: str = ""


_SUFFIX = r"(?P<suffix>\.[^. ()]+)?"

TOOLS = (
    Tool(
        "Syncthing",
        (".syncthing.*", "~syncthing~*", ".stfolder*", ".stignore", ".stversions"),
        "downloads, and its own marks and old versions",
        unfinished=r"(?:\.syncthing\.|~syncthing~)(?P<name>.+)\.tmp",
        conflict=r"(?P<stem>.+)\.sync-conflict-\d{8}-\d{6}(?:-[A-Z0-9]+)?" + _SUFFIX,
    ),
    Tool(
        "Nextcloud",
        (".*.~*", "*.nextcloud", "*.owncloud", ".sync_*", "._sync_*", ".owncloudsync.log*"),
        "downloads, placeholders and databases of the clients of Nextcloud and ownCloud",
        unfinished=r"\.(?P<name>.+)\.~[0-9a-f]+",
        conflict=r"(?P<stem>.+?)(?: \((?:conflicted copy (?:.+ )?\d{4}-\d\d-\d\d \d{6}"
        r"|case clash from .+)\)|_conflict-(?:.+-)?\d{8}-\d{6})" + _SUFFIX,
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
        unfinished=r"\.(?P<name>.+)\.[a-z0-9]{6}",
    ),
    Tool(
        "rclone",
        ("*.partial",),
        "transfers",
        unfinished=r"(?P<name>.+)\.[0-9a-f]{8}\.partial",
        conflict=r"(?P<stem>.+?)(?:\.conflict\d+|\.\.path[12])" + _SUFFIX,
    ),
    Tool(
        "Dropbox",
        (".dropbox", ".dropbox.*"),
        "its cache and marks",
        conflict=r"(?P<stem>.+) \([^()]*conflicted copy(?: [^()]*)?\)" + _SUFFIX,
    ),
    Tool("Google Drive", (".tmp.driveupload", ".tmp.drivedownload"), "transfers"),
    Tool(
        "OneDrive",
        ("~*", "*.tmp"),
        "transfers, and locks of Microsoft Office",
        conflict=r"(?P<stem>.+)-safebackup-\d{4}" + _SUFFIX,
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
        conflict=r"(?P<stem>.+?) ?\(sfconflict [^()]*\)" + _SUFFIX,
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

_LIKE_A_COPY = re.compile(r"conflict|case clash|path|backup", re.IGNORECASE)
"""A part that all names of conflict copies have: a cheap test that excludes most names."""


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile globs into one regex, less those that another one covers: every name is matched."""
    globs = {pattern.lower() for pattern in patterns}
    needed = {g for g in globs if not any(g != o and fnmatch.fnmatchcase(g, o) for o in globs)}
    return re.compile("|".join(map(fnmatch.translate, sorted(needed))))


def _compiled(regex: str) -> re.Pattern[str] | None:
    return re.compile(regex, re.IGNORECASE) if regex else None


_IGNORED = _any_of(pattern for tool in TOOLS for pattern in tool.ignored)
_UNFINISHED = [(t.name, c) for t in TOOLS if (c := _compiled(t.unfinished)) is not None]
_CONFLICTS = [(t.name, c) for t in TOOLS if (c := _compiled(t.conflict)) is not None]


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


@dataclass(frozen=True, slots=True)
class ConflictCopy:
    """What the name of a conflict copy tells: the tool, and the possible names of the original."""

    tool: str
    originals: tuple[str, ...]


def conflict_copy(name: str) -> ConflictCopy | None:
    """Return what the name of a conflict copy tells; None if the name is not one."""
    if not _LIKE_A_COPY.search(name):
        return None
    for tool, pattern in _CONFLICTS:
        found = pattern.fullmatch(name)
        if found is not None:
            names = _originals(found["stem"], found["suffix"] or "", tool)
            return ConflictCopy(tool, tuple(dict.fromkeys(names)))
    return None


def _originals(stem: str, suffix: str, tool: str) -> Iterator[str]:
    """Yield the possible names of the original: some tools append their mark to the whole name."""
    if os.path.splitext(stem)[1].lower() == suffix.lower() or not suffix:
        yield stem
    if tool != "OneDrive":
        yield stem + suffix
        return
    while "-" in stem:  # the mark begins with the machine's name, which may have hyphens
        stem = stem.rpartition("-")[0]
        yield stem + suffix
