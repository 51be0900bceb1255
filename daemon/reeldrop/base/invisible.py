"""Characters that cannot be seen: their names for messages, and texts without them at the edges."""

from __future__ import annotations

import re
import unicodedata

_RANGES = (
    "\xad\xad\u034f\u034f\u061c\u061c\u115f\u1160\u17b4\u17b5\u180b\u180f\u200b\u200f\u202a\u202e"
    "\u2060\u206f\u2800\u2800\u3164\u3164\ufeff\ufeff\uffa0\uffa0\ufff9\ufffb"
)
INVISIBLE = frozenset(
    chr(code)
    for first, last in zip(_RANGES[::2], _RANGES[1::2], strict=True)
    for code in range(ord(first), ord(last) + 1)
)
"""Format characters and blank letters, but not the marks that choose the form of an emoji."""

JOINERS = "\u200c\u200d"
"""The characters that join two letters in Persian words, and two signs in emoji."""

_SPACES = " \xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_AT_EDGES = INVISIBLE.union(_SPACES, _CONTROLS)
_EDGES = "".join(_AT_EDGES)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that no line of text may have: controls other than the tab, and other line breaks."""

_NAMES = {
    "\t": "a tab",
    "\x0b": "a vertical tab",
    "\x0c": "a form feed",
    "\x1a": "a Ctrl-Z",
    "\x1b": "an escape character",
    "\x85": "a next-line character",
    "\xa0": "a no-break space",
    "\u202e": "a right-to-left override",
    "\u202f": "a narrow no-break space",
    "\u3000": "a full-width space",
    "\ufeff": "a byte order mark",
    "\uff1a": "a full-width colon",
}


def named(character: str) -> str:
    """Return the name of a character for a message, such as "a no-break space (U+00A0)"."""
    known = _NAMES.get(character)
    if known is None:
        name = unicodedata.name(character, "control character").lower()
        name = name.replace("zero width", "zero-width")
        known = f"{'an' if name[0] in 'aeio' else 'a'} {name}"
    return f"{known} (U+{ord(character):04X})"


def strip(text: str) -> str:
    """Return a text without spaces, controls and invisible characters at its edges."""
    return text.strip(_EDGES)


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    return _AT_EDGES.issuperset(text)


def without(text: str) -> str:
    """Return a text without invisible characters other than `JOINERS`."""
    return "".join(c for c in text if c not in INVISIBLE or c in JOINERS)
