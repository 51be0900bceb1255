"""Texts that strangers chose, as people may be shown them: in one line, and with nothing hidden.

Reports, notes, tables, logs for people and status lines all use this; JSON needs none of it.
"""

from __future__ import annotations

import unicodedata

MAX_QUOTED = 40
"""No more characters of a stranger's text stand in a message."""


def shown(text: object, *, raw_bytes: bool = False) -> str:
    """Return a text as one line that can be written anywhere, whatever it is made of.

    Control, format and direction characters, line separators, and bytes of a name that are no
    UTF-8 are escaped; letters of every script stay, and so do spaces. Escaping again changes
    nothing. Programs need a name's `raw_bytes`, which stay as they are then.
    """
    found = str(text)
    if found.isprintable():
        return found
    return "".join(c if raw_bytes and _is_byte(c) else _shown_character(c) for c in found)


def shown_lines(text: str) -> str:
    """Return a text of several lines like that, line by line."""
    return "\n".join(map(shown, text.split("\n")))


def short(text: str) -> str:
    """Return a text, or its beginning where it is too long for a message."""
    whole = len(text) <= MAX_QUOTED
    return text if whole else text[: MAX_QUOTED - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _is_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def _shown_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
