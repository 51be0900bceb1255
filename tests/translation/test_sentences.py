"""sentences: any text is cut into parts, in order, and no letter of it is lost or doubled."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reeldrop.translation import by_sentence, sentences

PIECES = [
    *" ab.!?。…\"”“)»«\n:;,，、5（》",  # noqa: RUF001
    *("z. B. ", "3. ", "Der ", "Dr. ", "M. ", "e\u0301", " \u3000", "\u2028", "\t", "\r\n"),
]  # fmt: skip


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.sampled_from(["de", "fr", "zh", "ru", "cs"]),
    st.sampled_from([1, 2, 5, 500]),
)
def test_nothing_is_lost(text: str, language: str, longest: int) -> None:
    """Between the parts of a text there is nothing but space."""
    rest = text = unicodedata.normalize("NFC", text)
    for part in sentences.parts(text, lambda one: len(one) <= longest, language):
        between, found, rest = rest.partition(part)
        assert ("", part) == (between.strip(), found), text
    assert not rest.strip(), text


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("comma", [", ", "， "])
def test_spaces_behind_commas(comma: str, *, has_weights: bool) -> None:
    """A sentence that is too long is cut there, too, and what it consists of is found in it."""
    text = comma.join(["ein roter Ball über dem Meer"] * 30)
    made = by_sentence.translated(text, "de", lambda _: "word", {}, has_weights=has_weights)
    assert ("word word", "") == made


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("de", "Er sagt: „Komm.“ Dann geht er.", ["Er sagt: „Komm.“", "Dann geht er."]),
        ("de", "Er sagt: »Komm.« Dann geht er.", ["Er sagt: »Komm.«", "Dann geht er."]),
        ("fr", "Il dit : « Viens. » Puis il part.", ["Il dit : « Viens. »", "Puis il part."]),
        ("fr", "Il part. « Viens. »", ["Il part.", "« Viens. »"]),
        ("de", "Er geht. „Komm.“", ["Er geht.", "„Komm.“"]),
        ("zh", "他来了。“好。”", ["他来了。", "“好。”"]),
        ("zh", "《大鹏。》黄鹂", ["《大鹏。》", "黄鹂"]),
        ("zh", "【大鹏。】黄鹂", ["【大鹏。】", "黄鹂"]),
        ("zh", "他说：“好。”，然后走了。", ["他说：“好。”，然后走了。"]),
        ("de", "Er wartet… Dann geht er.", ["Er wartet…", "Dann geht er."]),
        ("ar", "كرة حمراء؛ طائر", ["كرة حمراء؛", "طائر"]),
        ("de", 'Ein Ball.\n"Ein Boot."', ["Ein Ball.", '"Ein Boot."']),
        ("de", "im XVIII. Jahrhundert", ["im XVIII. Jahrhundert"]),
        ("de", "Ludwig XIV. tanzt. Ein Boot.", ["Ludwig XIV. tanzt.", "Ein Boot."]),
        ("de", "Hr. Schmidt und Fr. Meier gehen.", ["Hr. Schmidt und Fr. Meier gehen."]),
        ("fr", "Mme. Dupont marche.", ["Mme. Dupont marche."]),
    ],
)
def test_marks_around_the_ends(language: str, text: str, found: list[str]) -> None:
    """What closes stays with the sentence before it, what opens goes with the next one."""
    assert found == sentences.parts(text, lambda _: True, language)


@pytest.mark.parametrize("sign", ["1. ", ". ", "5! ", "a. ", ".)", ".\"'", '!"', "!", ",", "… » "])
def test_thousands_of_ends_take_no_time(sign: str) -> None:
    """Each is looked at by itself, however long the text before it is, with letters or without."""
    began = time.process_time()
    sentences.parts(sign * 10_000 + "a, b", lambda part: len(part) <= 500, "de")
    assert time.process_time() - began < 1
