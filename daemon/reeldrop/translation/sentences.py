"""Cut texts into parts that fit into a translator. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

_CLOSING = r"[\"'”’»」』\N{FULLWIDTH RIGHT PARENTHESIS})]*"
_POINT = rf"(?<!\b[^\W_])(?<!\b\d\d)\.(?={_CLOSING}\s)"
_ENDS = re.compile(rf"((?:[。｡！？!?；;।॥؟\N{{ARABIC FULL STOP}}።\n]|{_POINT})+{_CLOSING}\s*)")
"""A point after a single letter or a short number ends none: `z. B.`, `1. Ball`."""

PAUSES = re.compile(r"(?<=[，、,：:،])\s*")
"""Where a sentence may be cut: between the parts of a list, too."""

_SPACES = re.compile(r"(?<=\s)")
_LETTER = re.compile(r"[^\W\d_]")


def parts(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Return the sentences of a text, in order.

    Translators are trained on single sentences, and leave out the rest of a longer text. A sentence
    that does not fit (`fits`) is cut at commas and colons, else at spaces, else in the middle.
    """
    found = (part for sentence in _sentences(text) for part in _cut(sentence.strip(), fits))
    return [part for part in found if part]


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each with letters: of others, translators make some up."""
    pieces = iter(_ENDS.split(unicodedata.normalize("NFC", text)))
    sentence = ""
    for piece in pieces:
        if _LETTER.search(piece) and _LETTER.search(sentence):
            yield sentence
            sentence = ""
        sentence += piece + next(pieces, "")
    yield sentence


def _cut(
    text: str,
    fits: Callable[[str], bool],
    ways: Sequence[re.Pattern[str]] = (PAUSES, _SPACES),
) -> Iterator[str]:
    if fits(text) or len(text) < 2:
        yield text
        return
    if ways:
        pieces = list(filter(None, ways[0].split(text)))
        for joined in _joined(pieces, fits):
            yield from _cut(joined.strip(), fits, ways[1:])
        return
    middle = len(text) // 2
    yield from _cut(text[:middle], fits, ())
    yield from _cut(text[middle:], fits, ())


def _joined(pieces: Sequence[str], fits: Callable[[str], bool]) -> Iterator[str]:
    """Yield the pieces, joined as far as they fit."""
    kept = ""
    for piece in pieces:
        if kept and not fits(kept + piece):
            yield kept
            kept = ""
        kept += piece
    yield kept
