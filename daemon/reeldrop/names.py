"""Names that Linux, macOS, Windows, SMB and sync tools accept, and what is added to them."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import PurePosixPath

MAX_NAME_BYTES = 200
SIDECAR_SUFFIX = ".yaml"
POSTER_SUFFIX = ".jpg"
ERROR_SUFFIX = ".error.txt"
LOG_SUFFIX = ".job.log"
NOTE_SUFFIX = ".not-rendered.txt"

_ROOM = len("-9999.yaml")
_LONGEST_READ = 1000
"""No more of a text goes into its name. Normalising takes time that grows with the square."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(
    r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)( *(\..*)?)$", re.IGNORECASE
)
_TEMPORARY_ENDS = re.compile(
    r"(~|\.(tmp|part|partial|crdownload|filepart|download|!sync|sync(part|temp|old)|seaftmp|sbak"
    r"|nextcloud|owncloud|icloud))$",
    re.IGNORECASE,
)
_TOOLS_OWN = re.compile(
    r"^(desktop\.ini|thumbs\.db|@eadir|[#@$]recycle(\.bin)?|#snapshot|@recently-snapshot)$",
    re.IGNORECASE,
)
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Cn"})
_DIRECTION_MARKS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def video_name(prompt: str) -> str:
    """Return the file name, without suffix, of a prompt's video: spaces become underscores."""
    return safe_name(re.sub(r"\s", "_", prompt), MAX_NAME_BYTES - _ROOM)


def folder_name(text: str) -> str:
    """Return a safe name for a folder of the results, where a leading underscore is reeldrop's."""
    name = safe_name(text)
    while name.startswith("_"):  # what comes to the front has to be safe there, too
        name = safe_name(name.lstrip("_"))
    return name


def shortened(name: str) -> str:
    """Return a file name that leaves room for what is added to it, mostly the name itself."""
    path = PurePosixPath(name)
    room = MAX_NAME_BYTES - len(path.suffix.encode())
    if len(os.fsencode(path.stem)) <= room:
        return name
    return safe_name(path.stem, room) + path.suffix


def safe_name(text: str, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Return a name that Linux, macOS, Windows, SMB and sync tools accept, close to the text.

    In NFC, at most `max_bytes` of UTF-8; what is cut off is stood for by a short hash.
    """
    beginning = text[:_LONGEST_READ]
    name = "".join(c for c in beginning if unicodedata.category(c) not in _HIDDEN_CATEGORIES)
    name = "".join(c for c in name if c not in _DIRECTION_MARKS)
    name = unicodedata.normalize("NFC", name)
    name = _FORBIDDEN.sub("_", name).lstrip(" .~").rstrip(" .")
    name = _TEMPORARY_ENDS.sub(lambda found: found[0].replace("~", "_").replace(".", "_"), name)
    name = _TOOLS_OWN.sub(r"\1_", _RESERVED.sub(r"\1_\2", name))
    if len(name.encode()) > max_bytes or len(text) > _LONGEST_READ:
        mark = "-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = (_cut(name, max_bytes - len(mark)) or "video") + mark
    return name or "video"


def _cut(name: str, max_bytes: int) -> str:
    """Cut between characters, so that no accent, joiner or variation mark loses its base."""
    kept = name.encode()[:max_bytes].decode(errors="ignore")
    while kept and len(kept) < len(name) and (_is_mark(name[len(kept)]) or kept[-1] == "\u200d"):
        kept = kept[:-1]
    return kept.rstrip(" .")


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me", "Mc", "Cf", "Sk")
