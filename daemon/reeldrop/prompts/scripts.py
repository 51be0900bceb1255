"""In which script a text is written, and which languages are written in it. Pure."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection

ANY = "any"
"""Stands among the languages of a text encoder that reads most of them."""

LATIN = "Latin"

LANGUAGES: dict[str, tuple[str, ...]] = {
    "Chinese": ("zh", "yue", "wuu", "ja"),
    "Japanese": ("ja",),
    "Korean": ("ko",),
    "Cyrillic": ("ru", "uk", "bg", "sr", "be", "mk", "kk", "ky", "mn", "tg", "tt", "ba"),
    "Arabic": ("ar", "fa", "ur", "ps", "ug", "ckb", "arz", "ary", "sdh", "uzs"),
    "Hebrew": ("he", "yi", "hbo"),
    "Greek": ("el", "grc"),
    "Thai": ("th",),
    "Devanagari": ("hi", "mr", "ne", "sa", "gom"),
    "Bengali": ("bn", "as"),
    "Gujarati": ("gu",),
    "Gurmukhi": ("pa",),
    "Oriya": ("or",),
    "Tamil": ("ta",),
    "Telugu": ("te",),
    "Kannada": ("kn",),
    "Malayalam": ("ml",),
    "Sinhala": ("si",),
    "Georgian": ("ka",),
    "Armenian": ("hy",),
    "Khmer": ("km",),
    "Lao": ("lo",),
    "Myanmar": ("my",),
    "Ethiopic": ("am", "ti"),
    "Tibetan": ("bo", "dz"),
    "Thaana": ("dv",),
    "Syriac": (),
    "Mongolian": (),
    "Tifinagh": (),
    "Cherokee": (),
}
"""The languages of each script but Latin, whose are all others; the most probable one first.

Other scripts have the names that Unicode gives their letters, and no languages.
"""

_NAMES = {
    "CJK": "Chinese", "IDEOGRAPHIC": "Chinese", "BOPOMOFO": "Chinese", "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese", "HANGUL": "Korean", "SUPERSCRIPT": LATIN,
    **{name.upper(): name for name in (*LANGUAGES, LATIN)},
}  # fmt: skip
_OTHER = re.compile(
    r"(?!MODIFIER )([A-Z' ]+?)(?: CAPITAL| SMALL)? (?:LETTER|SYLLAB|IDEOGRAPH|HIEROGLYPH)"
)
"""The name of a letter of another script, such as `OL CHIKI LETTER LA`."""

_WIDTHS = ("HALFWIDTH ", "FULLWIDTH ")
_LETTERS_OF_A_WORD = {
    "Chinese": 2, "Japanese": 3, "Thai": 3, "Khmer": 2.5, "Lao": 2.5, "Myanmar": 2,
}  # fmt: skip
"""How many letters, without vowel signs, make about a word in the scripts that put no spaces
between words."""

_OF_FORMULAS = ("Greek", 1)
"""Script and number of the letters of π and Ω."""

_SHARE = 0.25
"""With this share of its words in another script, a text with Latin words in it is of that one."""

_WORD = re.compile(r"[^\W\d_]+")


@functools.lru_cache(256)  # a sweep asks a thousand times
def script(text: str) -> str:
    """Return the name of the script that a text is written in; Latin if it has no letters.

    Latin names and terms in a text of another script are usual, such as `4k` and `cinematic`. A
    text with Japanese syllables is Japanese, whatever else is in it.
    """
    if text.isascii():
        return LATIN
    words: Counter[str] = Counter()
    for name, letters in itertools.chain(*map(_runs, _WORD.findall(_without_marks(text)))):
        if (name, letters) == _OF_FORMULAS:
            continue
        words[name] += max(1, round(letters / _LETTERS_OF_A_WORD.get(name, letters)))
    others = [(count, name) for name, count in words.items() if name != LATIN]
    if sum(count for count, _ in others) < _SHARE * max(1, words.total()):
        return LATIN
    most = max(others)[1]
    return "Japanese" if most == "Chinese" and words["Japanese"] else most


@functools.lru_cache(256)  # as above
def unread(text: str, languages: tuple[str, ...]) -> str:
    """Return the first word in a script that a text encoder certainly can't read; empty if none.

    Single Greek letters are none.
    """
    for word in () if text.isascii() else text.split():
        for name, letters in itertools.chain(*map(_runs, _WORD.findall(_without_marks(word)))):
            if not is_read(name, languages) and (name, letters) != _OF_FORMULAS:
                return word
    return ""


def _without_marks(text: str) -> str:
    """Return a text without vowel signs and accents, as `_WORD` would take them for gaps."""
    composed = unicodedata.normalize("NFC", text)  # of Hangul, letters are what decides
    return "".join(one for one in composed if not unicodedata.category(one).startswith("M"))


def _runs(word: str) -> list[tuple[str, int]]:
    runs = [(name, len(list(letters))) for name, letters in itertools.groupby(word, _of_letter)]
    return [(name, count) for name, count in runs if name]


@functools.lru_cache(4096)
def _of_letter(letter: str) -> str:
    name = unicodedata.name(letter, "")
    for width in _WIDTHS:
        name = name.removeprefix(width)
    known = _NAMES.get(name.partition(" ")[0].partition("-")[0])
    other = _OTHER.match(name) if known is None else None
    return known or (other[1].title() if other else "")


def written_in(name: str) -> tuple[str, ...]:
    """Return the languages of a script but Latin, as far as they are known."""
    return LANGUAGES.get(name, ())


def is_read(name: str, languages: Collection[str]) -> bool:
    """Return whether a text encoder that reads these languages may read a script."""
    return name == LATIN or ANY in languages or not set(written_in(name)).isdisjoint(languages)
