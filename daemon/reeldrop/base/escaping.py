"""Escape strangers' texts for people to read: on one line, with nothing hidden.

Used by reports, notes, tables, logs for people and status lines; JSON does not need it.
"""

from __future__ import annotations

import unicodedata

from reeldrop.base.invisible import JOINERS

MAX_QUOTED = 40
"""Upper bound on the characters of a stranger's text in a message."""


def shown(text: object, *, raw_bytes: bool = False) -> str:
    """Return a text as one line that is safe to write anywhere.

    Escapes control, format and direction characters, line separators, and bytes of a name that are
    not UTF-8; keeps letters of every script, emoji, their joiners, and spaces. Idempotent. With
    `raw_bytes`, for names that programs read, bytes that are not UTF-8 stay.
    """
    found = str(text)
    if found.isprintable():
        return found
    return "".join(
        c if _is_joiner(found, place) or (raw_bytes and _is_byte(c)) else _shown_character(c)
        for place, c in enumerate(found)
    )


def shown_lines(text: str) -> str:
    """Apply `shown` to each line of a text."""
    return "\n".join(map(shown, text.split("\n")))


def short(text: str, most: int = MAX_QUOTED) -> str:
    """Return a text, cut to a number of characters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _is_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def _is_joiner(text: str, place: int) -> bool:
    """Return whether a character joins two letters or signs, as in Persian words and emoji."""
    beside = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
    is_inside = len(beside) == 2 and beside.isprintable() and not any(map(str.isascii, beside))
    return text[place] in JOINERS and is_inside


def _shown_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
