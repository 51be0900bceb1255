"""sentences: any text is cut into parts, in order, and no letter of it is lost or doubled."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from harness import processes
from hypothesis import given
from hypothesis import strategies as st
from reeldrop.translation import by_sentence, sentences

PIECES = [
    *" ab.!?。…\"”“)»«\n:;,，、5（》",  # noqa: RUF001
    *("z. B. ", "3. ", "Der ", "Dr. ", "M. ", "e\u0301", " \u3000", "\u2028", "\t", "\r\n"),
    *(" BREAK", "AND ", "p. ex. ", "etc. ", "a://b?c ", "&amp;"),
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


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("zh", "大鹏！！！", ["大鹏！！！"]),
        ("zh", "真的吗？！太好了。😀", ["真的吗？！", "太好了。😀"]),
        ("zh", "1. 大鹏\n12. 黄鹂", ["1. 大鹏", "12. 黄鹂"]),
        ("zh", "1. 大鹏 2. 黄鹂 3. 船", ["1. 大鹏 2. 黄鹂 3. 船"]),
        ("zh", "一共有12. 然后走了", ["一共有12.", "然后走了"]),
        ("zh", "大鹏\n\n---\n黄鹂", ["大鹏\n\n---", "黄鹂"]),
        ("zh", "他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("hi", "एक लाल गेंद। एक नीली नाव।", ["एक लाल गेंद।", "एक नीली नाव।"]),
        ("ar", "كرة حمراء؟ طائر", ["كرة حمراء؟", "طائر"]),
        ("ja", "猫｡犬", ["猫｡", "犬"]),
        ("my", "ဘောလုံး။ လှေ", ["ဘောလုံး။", "လှေ"]),
        ("km", "បាល់។ ទូក", ["បាល់។", "ទូក"]),
        ("hy", "գնդակ\N{ARMENIAN FULL STOP} նավակ", ["գնդակ\N{ARMENIAN FULL STOP}", "նավակ"]),
        ("de", "z. B. ein Ball. Ein Boot.", ["z. B. ein Ball.", "Ein Boot."]),
        ("de", "Dr. Faust in St. Petersburg", ["Dr. Faust in St. Petersburg"]),
        ("de", "die Straße Nr.\nEin Boot", ["die Straße Nr.", "Ein Boot"]),
        ("de", "ein Rad vom Typ B. Dann Regen", ["ein Rad vom Typ B.", "Dann Regen"]),
        ("ru", "Б. Л. Пастернак идёт. Кот.", ["Б. Л. Пастернак идёт.", "Кот."]),
        ("ru", "3.5 метра", ["3.5 метра"]),
    ],
)
def test_sentences_of_languages(language: str, text: str, found: list[str]) -> None:
    """Each has words: of points or a number alone, translators make up a sentence."""
    assert found == sentences.parts(text, lambda _: True, language)


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("de", "Eine Straße im Jahr 1990. Dann ein Auto.", 2),
        ("de", "Eine Straße im Jahr 1990. Autos fahren.", 2),
        ("de", "Es sind 12. Dann kommt ein Boot.", 2),
        ("de", "Um 12:30. Ein Boot fährt ab.", 2),
        ("de", "Er zählt 5 Bälle. 3. Das Boot", 2),
        ("de", "am 3. Oktober fährt ein Boot", 1),
        ("de", "im 19. Jahrhundert", 1),
        ("de", "das 100. Boot", 1),
        ("de", "am 3. und am 4. Oktober", 1),
        ("de", "Es sind 12. Autos fahren.", 1),  # in doubt
        ("de", "1. Der Ball 2. Das Boot", 1),
        ("fr", "Une rue en 1990. Puis une voiture.", 2),
        ("fr", "Il en a 12. Puis il part.", 2),
        ("fr", "il en a 5. puis il part", 2),
        ("es", "Tiene 7. Luego se va.", 2),
        ("ru", "Их 15. Потом кот.", 2),
        ("ru", "Сцена: 1. Кот 2. Пёс", 1),
        ("cs", "Je jich 5. Pak jde kocour.", 2),
        ("cs", "dne 3. října", 1),
        ("da", "den 3. oktober", 1),
        ("fi", "Niitä on 4. Sitten tulee vene.", 2),
    ],
)
def test_points_after_numbers(language: str, text: str, count: int) -> None:
    """They end a sentence unless the number may be an ordinal there, or the mark of a list."""
    assert count == len(sentences.parts(text, lambda _: True, language)), text


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("de", "Bälle, Boote usw. auf dem Meer", 1),
        ("de", "Bälle, Boote usw. Dann kommt ein Hund.", 2),
        ("de", "Bälle usw. Kinder spielen.", 2),
        ("de", "(Bälle, Boote etc.) auf dem Meer", 1),
        ("de", "bspw. Bälle", 1),
        ("fr", "des balles, etc. sur la mer", 1),
        ("fr", "des balles, etc. Puis il part.", 2),
        ("fr", "des fruits, p. ex. une pomme", 1),
        ("fr", "des fruits (p.ex. une pomme)", 1),
        ("it", "palle ecc. sul mare. Poi piove.", 2),
        ("it", "frutta, p. es. una mela", 1),
        ("de", "Da ist es. Autos fahren.", 2),
        ("es", "frutas, p. ej. una manzana", 1),
        ("es", "los EE. UU. son grandes. Luego llueve.", 2),
        ("tr", "elma vb. masada", 1),
        ("pt", "frutas, p. ex. uma maçã, etc. na mesa", 1),
        ("sv", "frukt, t.ex. äpplen o.s.v. Sedan regnar det.", 2),
        ("da", "frugt, f. eks. æbler", 1),
        ("nl", "ballen enz. op zee", 1),
        ("pl", "m.in. jabłko itd. na stole", 1),
        ("cs", "jablka atd. Pak prší.", 2),
        ("hu", "pl. alma stb. az asztalon", 1),
        ("ru", "мячи и т. д. на море", 1),
        ("ru", "мячи и т.д. Потом кот.", 2),
        ("ru", "мячи и др. Потом кот.", 2),
        ("ru", "Т. Д. Иванов идёт", 1),  # noqa: RUF001
        ("ru", "напр. яблоко", 1),
        ("zh", "气球 etc. 然后走了", 1),
        ("ko", "빨간 공. 파란 배. 밤", 3),
        ("ja", "赤い花. 海", 2),
        ("zh", "红球和 猫. 船", 2),
        ("ko", "J. 오스틴의 집. 밤", 2),
        ("ar", "د. أحمد على البحر", 1),
        ("it", "il sig. Rossi, per es. in una barca del sec. XV", 1),
        ("it", "nel 44 a.C. Roma era. Poi piove.", 2),
        ("da", "han vender sig. Så regner det.", 2),
        ("da", "han går ud. Så regner det.", 2),
        ("sv", "de ska dra. Sedan regnar det.", 2),
        ("it", "due anni fa. Poi piove.", 2),
        ("de", "Frl. Meier, 50 v. Chr. geb. in Rom, max. 5 Bälle. Dann Regen.", 2),
        ("de", "z.B. die Fa. Opel, Bd. 3, 3 Mio. Bälle. Ein Hund.", 2),
        ("fr", "M. Dupont et Mme. Roux, 50 av. J.-C. Puis il part.", 1),  # in doubt
        ("fr", "l'av. Foch, par ex. la nuit, fig. 3. Puis il part.", 2),
        ("es", "El Sr. García y la Dra. Ruiz en la Av. Corrientes. Luego llueve.", 2),
        ("es", "por ej. Ud. en Sto. Domingo, máx. 5 barcos. Luego llueve.", 2),
        ("pt", "A Dra. Silva na Av. Paulista no séc. XV. Depois chove.", 2),
        ("nl", "Mw. Jansen en Drs. Bos. Dan regent het.", 2),
        ("pl", "św. Jan, ok. 5 tys. balonów. Potem pada.", 2),
        ("ru", "пл. Ленина, просп. Мира, 5 млн. шаров. Потом кот.", 2),
        ("de", "mit Max. Dann Regen.", 2),
        ("fr", "un ballon. 5 bateaux", 2),
    ],
)
def test_points_after_abbreviations(language: str, text: str, found: int) -> None:
    """Some never end a sentence; those for `and so on` do if a word with a capital follows."""
    assert found == len(sentences.parts(text, lambda _: True, language)), text


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("de", "wie auf https://a.org/watch?v=1;t=2!x zu sehen", 1),
        ("de", "wie auf www.a.org/?q=ball zu sehen. Ein Boot", 2),
        ("de", "Siehst du http://a.org/b? Ein Boot", 2),
        ("de", "ein Ball (https://a.org/?q=1). Ein Boot", 2),
        ("zh", "见https://a.org/?q=1。然后走了", 2),
        ("zh", "见https://a.org/a然后走了?好", 2),
        ("de", "ein Ball &amp; ein Boot &#8211; im Schnee", 1),
        ("de", "ein Ball &amp; ein Boot &amp;. Dann Regen", 2),
        ("de", "ein Ball; ein Boot", 2),
        ("de", "aus R&D; dann Regen", 2),
    ],
)
def test_signs_within_addresses(language: str, text: str, found: int) -> None:
    """They end no sentence, nor does the sign at the end of an escape of HTML."""
    assert found == len(sentences.parts(text, lambda _: True, language)), text


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("zh", "一个女孩 BREAK 大海", ["一个女孩", "BREAK", "大海"]),
        ("zh", "一个女孩, BREAK, 大海。船", ["一个女孩,", "BREAK,", "大海。", "船"]),
        ("zh", "女孩\nBREAK\n大海", ["女孩", "BREAK", "大海"]),
        ("de", "ein Ball AND ein Boot", ["ein Ball", "AND", "ein Boot"]),
        ("de", "ein Ball in UHD AND ein Boot", ["ein Ball in UHD", "AND", "ein Boot"]),
        ("de", "ein Hund ADDCOMM ein Ball", ["ein Hund", "ADDCOMM", "ein Ball"]),
        ("de", "ein Plakat: FIRE AND ICE", ["ein Plakat: FIRE AND ICE"]),
        ("da", "EN AND I SØEN", ["EN AND I SØEN"]),
        ("de", "Break and Roll", ["Break and Roll"]),
    ],
)
def test_marks_between_texts(language: str, text: str, found: list[str]) -> None:
    """Those of A1111 are parts of their own; words in capitals among others are words."""
    assert found == sentences.parts(text, lambda _: True, language)


ENDS = [
    "a. ",
    "a.",
    "1. ",
    ". ",
    "5! ",
    ".)",
    ".\"'",
    '!"',
    "!",
    ",",
    "… » ",
    "&a",
    "a://",
    "BREAK ",
]
MANY = """
import sys
from reeldrop.translation import sentences
for end in sys.argv[1:]:
    sentences.parts(end * 100_000 + "a, b", lambda part: len(part) <= 500, "de")
"""


def test_each_end_is_looked_at_by_itself() -> None:
    """However long the text before it is; else so many would take longer than `run` waits."""
    assert 0 == processes.run([sys.executable, "-c", MANY, *ENDS]).returncode
