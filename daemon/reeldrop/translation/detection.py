"""Recognise the language of a text, by its letters or else by its words. In doubt it is English.

Most prompts have only a few words, and an English prompt that is translated by mistake is spoiled
without a warning.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from reeldrop.prompts import scripts
from reeldrop.prompts.scripts import ANY, LANGUAGES, LATIN, written_in
from reeldrop.translation import sentences

ENGLISH = "en"

_MOST_ENGLISH = 0.05
"""Upper bound on the probability of English in a text that is translated. Measured with the short
prompts of the tests: at 0.05, two of sixty English ones are misjudged, one of them French words."""

_LEAST = 0.7
"""Lower bound on the probability of its language, among all that have a translator."""

_MOST_WITHOUT_NAMES = 0.5
"""Upper bound on the probability of English without the names, as in `Ein Zwei Drei band logo`."""

_ENGLISH_WORDS = frozenset(
    {
        "the", "of", "at", "and", "with", "from", "by", "is", "are", "his", "her", "to", "for",
        "up", "down", "into", "over", "under",
    }
)  # fmt: skip
"""Words that other languages with Latin letters do not have."""

_WORD = re.compile(r"[^\W\d_]+")
_DETECTED = frozenset(
    {
        "ace", "af", "am", "an", "ar", "ary", "arz", "as", "az", "ba", "bcl", "be", "bg",
        "bn", "br", "bs", "ca", "crh", "cs", "cy", "da", "de", "dz", "el", "en", "eo",
        "es", "et", "eu", "ext", "fa", "fi", "fo", "fr", "fuv", "fy", "ga", "gcf", "gcr",
        "gd", "gl", "gom", "grc", "gu", "gug", "guw", "ha", "hbo", "he", "hi", "hr", "ht",
        "hu", "hy", "id", "ig", "is", "it", "ja", "jv", "ka", "kab", "kik", "kk", "km",
        "kn", "ko", "ku", "ky", "la", "lb", "lg", "lij", "ln", "lo", "lt", "ltg", "lv",
        "mg", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "nso",
        "oc", "om", "or", "pa", "pcm", "pl", "ps", "pt", "qu", "ro", "ru", "rw", "sa",
        "sdh", "se", "si", "sk", "sl", "sn", "so", "sq", "sr", "st", "sv", "sw", "ta",
        "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "uzs", "vec",
        "vi", "vo", "wa", "wuu", "xh", "yo", "yue", "zh", "zu", "zxx",
    }
)  # fmt: skip
"""The languages that py3langid knows."""

_OF_OTHER_SCRIPTS = frozenset(code for codes in LANGUAGES.values() for code in codes)


def needs_detector(languages: Iterable[str]) -> bool:
    """Return whether any of these languages can't be recognised by its letters alone."""
    return any(one not in _OF_OTHER_SCRIPTS and one != ENGLISH for one in languages)


def require_detector(languages: Collection[str]) -> None:
    """Raise ValueError if a language can't be recognised: unknown, or the detector is missing."""
    for one in languages:
        if one == ENGLISH:
            raise ValueError(f"{one} is what prompts are translated into: leave it out")
        if one not in _OF_OTHER_SCRIPTS | _DETECTED:
            raise ValueError(f"nothing here recognises '{one}': write its usual code, such as de")
    if needs_detector(languages) and importlib.util.find_spec("py3langid") is None:
        wanted = next(one for one in languages if needs_detector([one]))
        remedy = "pip install 'reeldrop[translate]'"
        raise ValueError(f"py3langid is needed to tell {wanted} from English: {remedy}")


def language(text: str, translators: Collection[str], reads: Collection[str] | None) -> str | None:
    """Return the language from which a text has to be translated; None if it needs no translation.

    translators: the languages that can be translated
    reads: those that the text encoder reads; None if unknown
    """
    if not may_need(text, translators, reads):
        return None
    reads, script = (ENGLISH,) if reads is None else reads, scripts.script(text)
    if script == LATIN:
        return _of_words(text, tuple(sorted(set(translators) - _OF_OTHER_SCRIPTS)), tuple(reads))
    found = tuple(one for one in written_in(script) if one in translators)
    if len(found) < 2 or script == "Chinese":
        return next(iter(found), None)
    return _detector(found).classify(text)[0] if _has_detector() else found[0]


def may_need(text: str, translators: Collection[str], reads: Collection[str] | None) -> bool:
    """Return whether a text may need a translation, without a look at its words."""
    reads = (ENGLISH,) if reads is None else reads
    if ENGLISH not in reads or ANY in reads or not translators:
        return False
    script = scripts.script(text)
    if script == LATIN:
        return needs_detector(translators)
    return not scripts.is_read(script, reads) and not set(written_in(script)).isdisjoint(
        translators
    )


def _has_detector() -> bool:
    return importlib.util.find_spec("py3langid") is not None


def _of_words(text: str, others: tuple[str, ...], reads: tuple[str, ...]) -> str | None:
    others = tuple(one for one in others if one != ENGLISH and one not in reads)
    words = _WORD.findall(sentences.without_marks(unicodedata.normalize("NFC", text)))
    if not others or not words or not _ENGLISH_WORDS.isdisjoint(word.lower() for word in words):
        return None
    detector = _detector((*others, *reads))
    best = _sure(detector, words, _MOST_ENGLISH, _LEAST)
    plain = [word for word in words if not word[0].isupper()]
    if best is not None and plain and _sure(detector, plain, _MOST_WITHOUT_NAMES) != best:
        return None
    return best if best in others else None


def _sure(
    detector: Any, words: Sequence[str], most_english: float, least: float = 0.0
) -> str | None:
    """Return the most probable language of some words; None if that is not sure enough."""
    found = dict(detector.rank(" ".join(words)))
    best: str = max(found, key=lambda one: found[one])
    return best if found[ENGLISH] <= most_english and found[best] >= least else None


@functools.lru_cache(8)
def _detector(languages: tuple[str, ...]) -> Any:
    """Return a detector that tells these languages apart."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = {str(one) for one in detector.nb_classes}
    detector.set_languages([one for one in languages if one in known])
    return detector
