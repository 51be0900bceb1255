"""Which names belong to conflict copies: the second file of two that a sync tool could not merge.

Knows names only. Each pattern was read in the tool's source or manual, or seen in names that its
users have published. Names that people give, too, are not recognised: Google Drive's `a (1).txt`,
which browsers also write; iCloud's `a 2.txt`; and OneDrive's `a-LAPTOP.txt`, unless the computer
has the name that Windows gave it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_SUFFIX = r"(?P<suffix>\.[^. ()]+)?"
_DAY = r"\d{4}-\d\d-\d\d"


@dataclass(frozen=True, slots=True)
class Naming:
    """How a tool names conflict copies.

    pattern: regex of the name; groups `stem` and `suffix` are the original's
    before: the character before the name of a computer or person at the end of the stem
    any_case: whether the tool's words may be in upper or lower case
    """

    tool: str
    pattern: str
    before: str = ""
    any_case: bool = True


_DROPBOX = "|".join(
    (
        "in konflikt stehende kopie",  # German; each of the others is in another language
        "copie en conflit",
        "copia en conflicto",
        "copia conflictiva",
        "cópia em conflito",
        "copia in conflitto",
        "kopia powodująca konflikt",
        "конфликтующая копия",
        "競合コピー",
        "冲突副本",
        "衝突複本",
        "충돌된 사본",
    )
)
"""What Dropbox calls a conflicted copy in the languages in which such names were found.

Its clients also speak Dutch, Swedish, Danish, Norwegian, Ukrainian, Indonesian, Malay and Thai.
"""

NAMINGS = (
    Naming(  # syncthing, lib/model/folder_sendrecv.go
        "Syncthing",
        r"(?P<stem>.+)\.sync-conflict-\d{8}-\d{6}(?:-[A-Z0-9]+)?" + _SUFFIX,
    ),
    Naming(  # nextcloud/desktop and owncloud/client, src/common/utility.cpp
        "Nextcloud",
        rf"(?P<stem>.+?)(?: \((?:conflicted copy (?:.+ )?{_DAY} \d{{6}}"
        r"|case clash from .+)\)|_conflict-(?:.+-)?\d{8}-\d{6})" + _SUFFIX,
    ),
    Naming(  # help.resilio.com, Conflict files in Sync
        "Resilio Sync",
        r"(?P<stem>.+?)(?:\.Conflict\d*)+" + _SUFFIX,
        any_case=False,
    ),
    Naming(  # rclone.org/bisync
        "rclone",
        r"(?P<stem>.+?)(?:\.conflict\d+|\.\.path[12])" + _SUFFIX,
    ),
    Naming(  # help.dropbox.com, What's a conflicted copy; maestral/sync.py writes the same
        "Dropbox",
        r"(?P<stem>.+) \([^()]*conflicted copy(?: [^()]*)?\)" + _SUFFIX,
    ),
    Naming(  # names in public repositories, by people who speak these languages
        "Dropbox",
        rf"(?P<stem>.+?) ?\([^()]*(?:{_DROPBOX})[^()]*{_DAY}[^()]*\)" + _SUFFIX,
    ),
    Naming(  # maestral/sync.py and utils/path.py, which follow Dropbox's own client
        "Dropbox",
        r"(?P<stem>.+) \((?:conflicting copy|(?:case|unicode(?: encoding)?|selective sync)"
        r" conflict)(?: \d+| \(\d+\))?\)" + _SUFFIX,
    ),
    Naming(  # as encryption tools know Google's client; its `a (1).txt` may be a person's
        "Google Drive",
        r"(?P<stem>.+)_conf\(\d+\)" + _SUFFIX,
    ),
    Naming(  # abraunegg/onedrive, docs/client-architecture.md
        "OneDrive",
        r"(?P<stem>.+)-safebackup-\d{4}" + _SUFFIX,
        before="-",
    ),
    Naming(  # skilion/onedrive, issues 265 and 338; here for the names that Windows gives
        "OneDrive",
        r"(?P<stem>.+?)-(?:DESKTOP-[A-Z0-9]{7}|LAPTOP-[A-Z0-9]{8}|WIN-[A-Z0-9]{11})(?:-\d{1,3})?"
        + _SUFFIX,
        any_case=False,
    ),
    Naming(  # kb.synology.com, file conflicts; the month in the client's language: seen in names
        "Synology Drive",
        r"(?P<stem>.+)_[^_-]{1,12}-\d\d-\d{4}(?:\d\d)?-\d{4}"
        r"_(?:WhiteSpace|TailCharacter|Case)?Conflict(?:_\d+)?" + _SUFFIX,
        before="_",
    ),
    Naming(  # haiwen/seafile, common/vc-common.c
        "Seafile",
        r"(?P<stem>.+?) ?\(sfconflict [^()]*\)" + _SUFFIX,
    ),
    Naming(  # pcloudcom/pclsync, plibs.c
        "pCloud",
        r"(?P<stem>.+?) \(conflicted(?: \d+)?\)" + _SUFFIX,
    ),
    Naming(  # help.pcloud.com, files not recommended for sync
        "pCloud",
        r"(?P<stem>.+?)\.conflicted(?P<suffix>)",
    ),
    Naming(  # bcpierce00/unison, src/files.ml
        "Unison",
        rf"(?P<stem>.+?) \(conflict(?: #\d+)?_on_{_DAY}(?:_was_deleted)?\)" + _SUFFIX,
    ),
    Naming(  # getfilecloud.com, Managing Sync Conflicts
        "FileCloud",
        r"(?P<stem>.+?)\(conflict_.+_\d{4}(?:-\d\d){5}\)" + _SUFFIX,
    ),
    Naming(  # cryptomator/cryptomator, issue 359
        "Cryptomator",
        r"(?P<stem>.+?) \(conflict [0-9a-f]{8}\)" + _SUFFIX,
    ),
)

_LIKE_A_COPY = re.compile(
    r"confli|_conf\(|konflikt|конфликт|競合|冲突|衝突|충돌|case clash|path|backup"
    "|desktop-|laptop-|win-",
    re.IGNORECASE,
)
"""A part that all names of conflict copies have: a cheap test that excludes most names."""

_PATTERNS = [(n, re.compile(n.pattern, re.IGNORECASE if n.any_case else 0)) for n in NAMINGS]


@dataclass(frozen=True, slots=True)
class ConflictCopy:
    """What the name of a conflict copy says: the tool, and the possible names of the original."""

    tool: str
    originals: tuple[str, ...]


def conflict_copy(name: str) -> ConflictCopy | None:
    """Return what the name of a conflict copy says; None if the name is not one."""
    composed = unicodedata.normalize("NFC", name)  # a Mac may have decomposed it
    if not _LIKE_A_COPY.search(composed):
        return None
    for naming, pattern in _PATTERNS:
        found = pattern.fullmatch(composed)
        if found is not None:
            names = list(_originals(found["stem"], found["suffix"] or "", naming.before))
            if composed != name:
                names += [unicodedata.normalize("NFD", original) for original in names]
            return ConflictCopy(naming.tool, tuple(dict.fromkeys(names)))
    return None


def _originals(stem: str, suffix: str, before: str) -> Iterator[str]:
    """Yield the possible names of the original: some tools append their mark to the whole name."""
    if os.path.splitext(stem)[1].lower() == suffix.lower() or not suffix:
        yield stem
    if not before:
        yield stem + suffix
        return
    while before in stem:  # the name of a computer may have such characters, too
        stem = stem.rpartition(before)[0]
        yield stem + suffix
