"""Cut texts into parts that fit into a translator. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_CLOSING = (
    r"(?:[\"'”’」』｣》〉】)\]\N{FULLWIDTH RIGHT PARENTHESIS}]"
    r"|[^\S\n]?[»›](?!\w)|[“«‹‘](?=\s|$))*+"  # these open in some languages, and close in others
)
_POINT = rf"[.…](?={_CLOSING}\s)"
_SIGNS = r"。｡！？!?；;؛।॥؟።။។\N{ARABIC FULL STOP}\N{ARMENIAN FULL STOP}\n"
_ADDRESS = (
    r"(?<![A-Za-z])(?:[A-Za-z][A-Za-z0-9+.-]{0,15}://|www\.)[!-~]*[A-Za-z0-9/=&#%_~-]"
    r"|&(?:[a-z]{2,8}|#[0-9A-Fa-fx]{2,7});"
)
"""An address, or an escape of HTML such as `&amp;`: signs in it end no sentence."""

_ENDS = re.compile(rf"{_ADDRESS}|(?P<end>(?:[{_SIGNS}]|{_POINT})+(?:(?<!\n){_CLOSING})?\s*)")
_LONGEST_WORD = 50
"""Upper bound on the characters that are searched for the word at the end of a text."""

_LAST_WORD = re.compile(r"(?:(?<!\w)(?P<letter>\w)\.\s?)?(?P<word>\w+)\.[)\]]?[^\S\n]*$")
_MARK = re.compile(r"\d{1,3}\.\s+$")
"""A number at the beginning of a sentence is the mark of a list, `1. Ball`."""

_NUMBER = re.compile(r"\d+|[IVX]{2,5}")
_INITIAL = re.compile(r"[^\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""A letter of a name or abbreviation, but no syllable or character that is a word: `파란 배.`"""

_MARKS = re.compile(r"(?<!\w)(\d{1,3})\.\s")

_WITH_ORDINALS = frozenset(
    {
        "de", "lb", "da", "no", "nb", "nn", "fo", "is", "fi", "et", "lv", "cs", "sk", "sl", "pl",
        "hr", "sr", "bs", "hu", "tr", "eu",
    }
)  # fmt: skip
"""Languages that write `3.` for the third."""

_WITH_CAPITALS = frozenset(("de", "lb"))
"""Languages in which a word with a capital may be a noun within a sentence."""

_OPENERS = frozenset(
    {
        "der", "die", "das", "ein", "eine", "einer", "eines", "einem", "einen", "den",
        "dem", "des", "kein", "keine", "er", "sie", "es", "wir", "ihr", "ich", "man",
        "dies", "diese", "dieser", "dieses", "alle", "alles", "viele", "mehrere", "jeder",
        "jede", "jedes", "sein", "seine", "ihre", "und", "aber", "oder", "doch", "dann",
        "danach", "dabei", "dazu", "darin", "darauf", "darüber", "darunter", "davor",
        "dahinter", "daneben", "dort", "da", "hier", "jetzt", "nun", "später", "plötzlich",
        "bald", "zuerst", "zuletzt", "schließlich", "während", "wenn", "als", "wie", "weil",
        "in", "im", "an", "am", "auf", "aus", "bei", "beim", "mit", "nach", "neben", "ohne",
        "über", "um", "unter", "von", "vom", "vor", "hinter", "zwischen", "zu", "zum",
        "zur", "durch", "für", "gegen", "bis", "so", "auch", "nur", "noch", "links",
        "rechts", "oben", "unten",
    }
)  # fmt: skip
"""German words that have a capital only where a sentence begins."""

_ABBREVIATIONS = frozenset(
    {
        "dr", "prof", "st", "nr", "ca", "bzw", "vgl", "ggf", "evtl", "inkl", "hl", "hr",
        "fr", "abb", "mr", "mrs", "ms", "jr", "sr", "sra", "vs", "env", "mme", "mlle", "cf",
        "dott", "dhr", "bijv", "mgr", "inż", "tzn", "tzv", "např", "np", "ul", "tj",
        "ул", "им", "св", "проф", "тов", "напр", "тыс", "bspw", "sog", "jh", "mrd", "srta", "núm",
        "pág", "aprox", "mevr", "incl", "excl", "tzw", "godz", "mj", "pl", "dvs", "kl", "esim",
        "örn", "ee", "p.ex", "p.es", "p.ej", "t.ex", "f.eks", "m.in",
        "bzgl", "zzgl", "ggfs", "frl", "geb", "univ", "bhf", "v.Chr", "n.Chr", "ing", "avv",
        "cfr", "gen", "gén", "apr", "boul", "avda", "dña", "sres", "profa", "exmo", "lic", "gral",
        "séc", "mw", "drs", "św", "mjr", "tys", "mln", "sv", "nám", "resp", "kb", "ún", "sn",
        "вул", "ім", "тис", "млн", "пл", "пр", "просп", "акад", "ст", "оз", "ген", "δηλ", "οδ",
        "κα", "de:fa", "de:mio", "it:es", "it:sec", "it:sig", "fr:av", "fr:ex", "fr:mm", "fr:ste",
        "es:av", "es:dra", "es:ej", "es:sta", "es:sto", "es:ud", "es:uds", "es:vd", "pt:av",
        "pt:cia", "pt:dra", "pt:ex", "pt:sta", "pt:sto", "pl:al", "pl:ok", "pl:os", "ru:ок",
        "ru:см",
    }
)  # fmt: skip
"""Those after which the same sentence goes on, in all languages that have them; only in the one
before a colon where others have such a word, as Danish `sig`."""

_BEFORE_NUMBERS = frozenset(
    {
        "max", "min", "máx", "mín", "pag", "fig", "vol", "bd", "chap", "cap", "kap", "abs", "art",
        "str", "no", "nro", "tel", "стр", "рис", "гл", "кв", "jan", "feb", "aug", "sept", "oct",
        "okt", "nov", "dec", "dez", "janv", "févr", "juil", "déc",
    }
)  # fmt: skip
"""Those after which a number belongs to the same sentence."""

_AND_SO_ON = frozenset(
    {
        "etc", "usw", "usf", "dgl", "ecc", "enz", "osv", "s.v", "m.m", "itd", "itp", "atd", "apod",
        "stb", "vb", "uu", "jne", "yms", "т.д", "т.п", "т.н", "др", "ін",
    }
)  # fmt: skip
"""Those with which a sentence may end: the next one begins with a capital."""

_MARKS_BETWEEN = re.compile(r"(?<!\w)(?:BREAK|AND|ADD(?:COMM|BASE|ROW|COL))(?!\w)[,，、:：]*")
_WORD_BEFORE = re.compile(r"\w+[^\S\n]*$")
_WORD_BEHIND = re.compile(r"[^\S\n]*\w+")

PAUSES = re.compile(r"(?<=[，、,：:،])(?!(?<=\d[,:：])\d)")
"""Where a sentence may be cut: between the parts of a list, too, but not in `16:9`."""

_SPACES = re.compile(r"(?<=\s)")
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]")


def has_letters(text: str) -> bool:
    """Return whether there is anything to translate in a text."""
    return _LETTER.search(text) is not None


def parts(text: str, fits: Callable[[str], bool], language: str) -> list[str]:
    """Return the sentences of a text in a language, in order; the text is in Unicode's form NFC.

    Translators are trained on single sentences, and leave out the rest of a longer text. A sentence
    that does not fit (`fits`) is cut; see `cut`.
    """
    apart = (one for piece in _between_marks(text) for one in _sentences(piece, language))
    return [part for one in apart for part in cut(one.strip(), fits) if part]


def stays(part: str) -> bool:
    """Return whether a part of a text is no sentence: a mark between texts, or signs beside it."""
    return not has_letters(part) or _MARKS_BETWEEN.fullmatch(part) is not None


def without_marks(text: str) -> str:
    """Return a text without the marks between texts, such as `BREAK`."""
    return " ".join(piece for piece in _between_marks(text) if not stays(piece))


def _between_marks(text: str) -> Iterator[str]:
    """Yield the texts between A1111's marks, such as `BREAK`, and the marks.

    Among words in capitals it is a word, such as `FIRE AND ICE`.
    """
    begin = 0
    for found in _MARKS_BETWEEN.finditer(text):
        before = _WORD_BEFORE.search(text, max(0, found.start() - _LONGEST_WORD), found.start())
        beside = [one[0].strip() for one in (before, _WORD_BEHIND.match(text, found.end())) if one]
        if not (all(map(str.isupper, beside)) and any(len(word) > 1 for word in beside)):
            yield text[begin : found.start()]
            yield found[0]
            begin = found.end()
    yield text[begin:]


def _sentences(text: str, language: str) -> Iterator[str]:
    """Yield the sentences of a text, each with letters: of others, translators make some up."""
    marks = [int(number) for number in _MARKS.findall(text)]
    is_list = len(marks) > 1 and marks == list(range(1, len(marks) + 1))
    sentence, has_some = "", False
    for piece, end in _pieces(text):
        whole, has_more = piece + end, has_letters(piece)
        is_next = has_some and (has_more or _MARK.match(whole))
        if is_next and not _goes_on(sentence, whole, language, is_list=is_list):
            yield sentence
            sentence, has_some = "", False
        sentence += whole
        has_some = has_some or has_more
    yield sentence


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a text, each with the signs at its end."""
    begin = 0
    for found in _ENDS.finditer(text):
        if found["end"]:
            yield text[begin : found.start()], found["end"]
            begin = found.end()
    yield text[begin:], ""


def _goes_on(sentence: str, rest: str, language: str, *, is_list: bool) -> bool:
    """Return whether a sign ends no sentence: `z. B.`, `Dr. Faust`, `am 3. Oktober`, `“好。”，`.

    is_list: numbers with a point are the marks of a list
    """
    if rest.startswith(("，", "、", ",", "،")):
        return True
    found, word = _LAST_WORD.search(sentence[-_LONGEST_WORD:]), _WORD.search(rest)
    if found is None:
        return False
    last, following = found["word"], word[0] if word else ""
    names = {last.lower(), f"{language}:{last.lower()}", f"{found['letter']}.{last}"}
    if is_list and last.isdigit():
        return True
    if language in _WITH_CAPITALS and following.istitle() and following.lower() in _OPENERS:
        return False
    if following[:1].isdigit() and last.lower() in _BEFORE_NUMBERS and not _MARK.match(rest):
        return True
    if not names.isdisjoint(_AND_SO_ON):
        return not following[:1].isupper()
    if not _NUMBER.fullmatch(last):
        return _INITIAL.fullmatch(last) is not None or not names.isdisjoint(_ABBREVIATIONS)
    if language not in _WITH_ORDINALS or last[3:].isdigit():  # four digits are a year
        return False
    return language in _WITH_CAPITALS or not following[:1].isupper()


def cut(
    text: str,
    fits: Callable[[str], bool],
    ways: Sequence[re.Pattern[str]] = (PAUSES, _SPACES),
) -> Iterator[str]:
    """Yield a text in parts that fit, cut at commas and colons, else at spaces, else anywhere."""
    if fits(text) or len(text) < 2:
        yield text
        return
    if ways:
        pieces = list(filter(None, ways[0].split(text)))
        for joined in _joined(pieces, fits):
            yield from cut(joined.strip(), fits, ways[1:])
        return
    middle = len(text) // 2
    yield from cut(text[:middle], fits, ())
    yield from cut(text[middle:], fits, ())


def _joined(pieces: Sequence[str], fits: Callable[[str], bool]) -> Iterator[str]:
    """Yield the pieces, joined as far as they fit."""
    kept = ""
    for piece in pieces:
        if kept and not fits(kept + piece):
            yield kept
            kept = ""
        kept += piece
    yield kept
