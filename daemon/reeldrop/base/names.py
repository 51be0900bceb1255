"""File names that Linux, macOS, Windows, SMB and sync tools accept, and reeldrop's suffixes."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from reeldrop.base import inbox_folders, invisible

LONGEST_NAME = 255
"""Longest name of a file on any file system, in bytes."""

MAX_NAME_BYTES = 200
MAX_PATH_UNITS = 219
"""Longest path below the results in UTF-16 units. Windows allows 259; 40 are reserved for the
folder that the results are synced to."""

SIDECAR_SUFFIX = ".yaml"
POSTER_SUFFIX = ".jpg"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Those of pictures from which a video starts; in the results, `.jpg` is only of posters."""
VIDEO_SUFFIX = ".mp4"
"""The suffix of videos that are prompt files, too."""
PROMPT_SUFFIXES = frozenset({".txt", ".yaml", ".yml", VIDEO_SUFFIX})
"""Those of prompt files, whatever their case."""
ERROR_SUFFIX = ".error.txt"
LOG_SUFFIX = ".job.log"
NOTE_SUFFIX = ".not-rendered.txt"
PICTURES_SUFFIX = ".pictures"
"""Of the folder in `_failed/` that has the pictures of the prompt file with the name before it."""
RETRIED_FOLDER = "_retried"
"""Folder in `_failed/` for files on their way back into the inbox, as <random hex>-<name>; the
inode of a copy follows the random part."""
CLEARED_FOLDER = "_cleared"
"""Folder at the top of `_failed/` for what was rendered after it had failed."""
STATUS_NAME = "STATUS.txt"
"""The file at the top of the results in which the daemon says what it does."""
INDEX_NAME = "index.html"
PAGE_FOLDER = "_page"
"""The gallery beside it: the page, and the folder with what it shows."""
RATINGS_FOLDER = "_ratings"
"""The folder at the top of the results with what people think of the videos."""
SHEET_NAME = "_sheet"
"""The name, without suffix, of what shows the videos of a sweep side by side."""
PREVIEW_NAME = "preview.jpg"
"""In that folder, while something is rendered whose profile asks for previews."""
ORDER_FOLDER = "_order"
"""Folder beside the videos for a result that was dropped as a prompt file: it is none of these."""

_MAX_VIDEO_UNITS = 100
"""Longest file name of a video: with a folder name as long, the path fits on every client."""
_LONGEST_END = len("-9999.yaml")
_LONGEST_SUFFIX = len(SIDECAR_SUFFIX)
_MAX_FOLDERS_UNITS = 80
_FILE_UNITS = MAX_PATH_UNITS - len(f"//-9999{SIDECAR_SUFFIX}{NOTE_SUFFIX}")
"""Length left for a prompt file's folders and twice its stem, which also names its folder."""

_KEPT_NAMES = frozenset({STATUS_NAME.casefold(), INDEX_NAME})
_LONGEST_READ = 1000
"""Upper bound on the characters that are read for a name: normalising takes quadratic time."""
_MOST_KNOWN = 10_000
"""How many names are remembered: more than the open jobs of hundreds of renderers have."""

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
_RATINGS = re.compile(r"ratings.*\.json", re.IGNORECASE)
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})
_UNSEEN = invisible.INVISIBLE.difference(invisible.JOINERS)


def video_name(prompt: str, folder: str = ".", ending: str = "") -> str:
    """Return the file name, without suffix, of a prompt's video; spaces become underscores.

    It is short enough for `folder`, a path below the results. The ending, which tells it from
    videos of the same prompt, stays where the prompt is too long.
    """
    room = min(MAX_PATH_UNITS - _units(f"{folder}/"), _MAX_VIDEO_UNITS) - _LONGEST_END
    most = MAX_NAME_BYTES - _LONGEST_END
    text = re.sub(r"\s", "_", prompt)
    if ending:
        end = "_" + safe_name(re.sub(r"\s", "_", ending), most // 2, room // 2)
        text = safe_name(text, most - len(end.encode()), room - _units(end)) + end
    return unreserved(safe_name(text, most, room))


def unreserved(name: str) -> str:
    """Return a safe name without leading underscores, with which the inbox would refuse it."""
    return folder_name(name) if name.startswith("_") else name


@functools.lru_cache(_MOST_KNOWN)
def folder_name(text: str) -> str:
    """Return a safe name for a results folder; a leading underscore is reserved for reeldrop.

    So are the names of the files that it keeps at the top of the results. It is not longer than
    `safe_name(text)`, for which a path has room.
    """
    name = safe_name(text)
    while name.startswith("_"):  # the new first characters have to be safe, too
        bare = safe_name(name.lstrip("_"))
        name = bare if _units(bare) <= _units(name) else "v"
    return name.replace(".", "_") if folded(name) in _KEPT_NAMES else name


@functools.lru_cache(_MOST_KNOWN)
def portable(source: PurePosixPath) -> PurePosixPath:
    """Return a prompt file's path made valid on every file system, with room for suffixes.

    A portable path stays unchanged. If the folders are too long together, their beginning is kept,
    with a hash of them all.
    """
    folders = _portable_folders(source.parent)
    kept_in = f"{ORDER_FOLDER}/" if order_folder(source) else ""
    room = (_FILE_UNITS - _units(f"{folders}{kept_in}")) // 2
    has_suffix = source.suffix.isascii() and len(source.suffix) <= _LONGEST_SUFFIX
    suffix = source.suffix if has_suffix else ""
    stem = safe_name(source.name.removesuffix(suffix), MAX_NAME_BYTES - _LONGEST_SUFFIX, room)
    return folders / safe_name(stem + suffix)


def aside(source: PurePosixPath) -> PurePosixPath:
    """Return a prompt file's path in `_failed/` if it is free; never one in `CLEARED_FOLDER`."""
    top, *below = portable(source).parts
    return PurePosixPath(marked_name(top) if folded(top) == CLEARED_FOLDER else top, *below)


def order_folder(source: PurePosixPath) -> str:
    """Return the subfolder of its results in which a prompt file is kept; empty if it is none."""
    is_result = is_video(source) or inbox_folders.wish(source) == inbox_folders.AGAIN
    return ORDER_FOLDER if is_result else ""


def is_video(source: PurePosixPath) -> bool:
    """Return whether a prompt file is a video."""
    return source.suffix.lower() == VIDEO_SUFFIX


def is_ratings_name(name: str) -> bool:
    """Return whether a file of the inbox may have ratings of videos, also a copy of a tool."""
    return _RATINGS.fullmatch(name) is not None


def folded(name: str) -> str:
    """Return a name in the form by which case-insensitive file systems compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def folded_file(path: PurePosixPath) -> PurePosixPath:
    """Return a file's path with its name `folded`, and its folders as they are."""
    return path.with_name(folded(path.name))


def spellings(name: str) -> list[str]:
    """Return a name, and the same with its accents composed and apart, as Macs write them.

    Without spellings that are too long for a file: Korean is three times as long in parts.
    """
    if name.isascii():
        return [name]
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    fitting = (f for f in forms if len(f.encode(errors="surrogateescape")) <= LONGEST_NAME)
    return list(dict.fromkeys((name, *fitting)))


def marked_name(name: str) -> str:
    """Return a name with a hash, for use beside one that differs only in case; hardly longer."""
    mark = _hash(name)
    return _cut(name, MAX_NAME_BYTES - len(mark), max(_units(name), 20) - len(mark)) + mark


def _portable_folders(folders: PurePosixPath) -> PurePosixPath:
    path = "/".join(safe_name(part) for part in folders.parts)
    if _units(path) > _MAX_FOLDERS_UNITS:
        mark = _hash(str(folders))
        kept = _cut(path, len(path.encode()), _MAX_FOLDERS_UNITS - len(mark)).rstrip("/")
        *above, last = kept.split("/")
        path = "/".join([*above, safe_name(last + mark)])
    return PurePosixPath(path)


def safe_name(text: str, max_bytes: int = MAX_NAME_BYTES, max_units: int = MAX_NAME_BYTES) -> str:
    """Return a name, close to the text, that Linux, macOS, Windows, SMB and sync tools accept.

    In NFC, at most `max_bytes` of UTF-8 and `max_units` of UTF-16; a short hash marks a cut.
    """
    beginning = text[:_LONGEST_READ]
    name = unicodedata.normalize("NFC", beginning if _is_plain(beginning) else _visible(beginning))
    name = _FORBIDDEN.sub("_", name).lstrip(" .~").rstrip(" .")
    name = _TEMPORARY_ENDS.sub(lambda found: found[0].replace("~", "_").replace(".", "_"), name)
    name = _TOOLS_OWN.sub(r"\1_", _RESERVED.sub(r"\1_\2", name))
    is_long = len(name.encode()) > max_bytes or _units(name) > max_units
    if is_long or len(text) > _LONGEST_READ:
        mark = _hash(text)
        name = (_cut(name, max_bytes - len(mark), max_units - len(mark)) or "video") + mark
    return "video" if invisible.is_blank(name) else name


def _visible(text: str) -> str:
    shown = (c for c in text if unicodedata.category(c) not in _HIDDEN_CATEGORIES)
    return "".join(c for c in shown if c not in _UNSEEN)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _hash(text: str) -> str:
    return "-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _units(text: str) -> int:
    """Return the length of a text in UTF-16 units, as Windows counts it."""
    return len(text.encode("utf-16-le")) // 2


def _cut(name: str, max_bytes: int, max_units: int) -> str:
    """Cut a name, without separating an accent, joiner or variation mark from its base."""
    kept = name.encode()[:max_bytes].decode(errors="ignore")
    kept = kept.encode("utf-16-le")[: 2 * max_units].decode("utf-16-le", errors="ignore")
    while kept and len(kept) < len(name) and (_is_mark(name[len(kept)]) or kept[-1] == "\u200d"):
        kept = kept[:-1]
    return kept.rstrip(" .")


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me", "Mc", "Cf", "Sk")
