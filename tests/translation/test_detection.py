"""Which language short prompts are in."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import yaml
from reeldrop.prompts import scripts
from reeldrop.translation import detection

PROMPTS: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parent / "short_prompts.yaml").read_text(encoding="utf-8")
)
EUROPEAN = ("de", "fr", "es", "it", "pt")
BY_LETTERS = ("zh", "ja", "ko", "ru")


def judged(translators: tuple[str, ...]) -> dict[tuple[str, str], str | None]:
    """Return the language that each prompt is translated from, by its own language and text."""
    return {
        (own, text): detection.language(text, translators, ("en",))
        for own, texts in PROMPTS.items()
        for text in texts
    }


def test_what_the_detector_knows() -> None:
    """Languages are refused that it would never find."""
    assert set(detection._detector(("de", "en"))._full_model[2]) == detection._DETECTED


def test_letters_tell_without_doubt() -> None:
    """Each prompt in another script is recognised, and no other is; `花火` has Chinese letters."""
    found = judged(BY_LETTERS)
    assert 200 == len(found)
    wrong = {
        text: language
        for (own, text), language in found.items()
        if language != (own if own in BY_LETTERS else None)
    }
    assert {"花火": "zh"} == wrong


@pytest.mark.parametrize("translators", [("de",), ("de", "fr"), (*EUROPEAN, *BY_LETTERS)])
def test_english_is_left_alone(translators: tuple[str, ...]) -> None:
    """Names and loan words make no prompt French or German; half of the others are recognised."""
    found = judged(translators)
    misjudged = [text for (own, text), language in found.items() if own == "en" and language]
    assert {"a geisha in Kyoto", "café at night", "Ein Zwei Drei band logo"}.isdisjoint(misjudged)
    assert 3 >= len(misjudged)
    asked = {key: language for key, language in found.items() if key[0] in translators}
    assert sum(own == language for (own, _), language in asked.items()) >= 0.75 * len(asked)
    taken_for_others = [key for key, language in asked.items() if language not in (None, key[0])]
    assert 2 >= len(taken_for_others)


def test_what_is_read_is_not_translated() -> None:
    """Nor is anything if most languages are read, or nobody could translate it."""
    text = "大鹏一日同风起"
    assert "zh" == detection.language(text, ("zh",), None)
    assert detection.language(text, ("zh",), ("en", "zh")) is None
    assert detection.language(text, ("zh",), ("any",)) is None
    assert detection.language(text, ("zh",), ()) is None
    assert detection.language(text, ("ru", "de"), ("en",)) is None
    assert "ja" == detection.language(text, ("ja",), ("en",))
    assert "uk" == detection.language("червоний м'яч їде додому", ("ru", "uk"), ("en",))


def test_a_script_whose_languages_are_unknown_is_not_translated() -> None:
    """It is named by Unicode; no translator can be asked for."""
    assert "Ol Chiki" == scripts.script("ᱟᱨᱟᱜ")
    assert detection.language("ᱟᱨᱟᱜ", ("zh", "de"), ("en",)) is None
    assert not detection.may_need("ᱟᱨᱟᱜ", ("zh", "de"), None)


def test_scripts_of_mixed_texts() -> None:
    """Terms and names among other letters do not count, nor a word in quotation marks."""
    for text, name in {
        "宇航员骑马, cinematic, 8k uhd, masterpiece, best quality": "Chinese",
        "a neon sign that says 大鹏 over a wet street": "Latin",
        "Spiderman 在冲浪": "Chinese",
        "東京の夜景": "Japanese",
        "ｱｲ": "Japanese",
        "café, 4k": "Latin",
        "🙂 12": "Latin",
        "": "Latin",
        "a wooden board that says नमस्ते over a street": "Latin",
        "a cat holds a board that says สวัสดี in the rain": "Latin",
        "neon sign مَرْحَبًا above a small shop in the night": "Latin",
        "قِطَّةٌ حَمْرَاءُ": "Arabic",
        "नीली नाव, cinematic, 4k, masterpiece": "Devanagari",
        "ㄅㄆㄇ": "Chinese",
        "a sine of π, 5 Ω": "Latin",
        "η γάτα": "Greek",
        "ନାଲି ବଲ": "Oriya",
        "ރަތް ބޯޅަ": "Thaana",
    }.items():
        for form in ("NFC", "NFD"):  # as some programs on a Mac write it
            assert name == scripts.script(unicodedata.normalize(form, text)), text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Thai", "ภูเขาหิมะยามเช้า"),
        ("Khmer", "ឆ្មាក្រហមអង្គុយលើតុ"),
        ("Lao", "ດອກໄມ້ບານໃນສວນ"),
        ("Myanmar", "ငှက်ကြီးပင်လယ်ပေါ်ပျံ"),
    ],
)
def test_words_without_spaces_or_vowel_signs(name: str, text: str) -> None:
    """Four or five words are more than a quarter, beside eleven English ones."""
    tags = "cinematic, 4k, masterpiece, best quality, ultra detailed, golden hour, film grain"
    assert name == scripts.script(f"{text}, {tags}")


def test_accents_may_be_letters_of_their_own() -> None:
    """The words are the same, and so is the language."""
    for text, own in {"một con chim lớn": "vi", "deux garçons à la fenêtre": "fr"}.items():
        for form in ("NFC", "NFD"):
            written = unicodedata.normalize(form, text)
            assert own == detection.language(written, (own,), ("en",)), form


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("tt", "кызыл туп"),
        ("ba", "ҡыҙыл туп"),
        ("arz", "كورة حمرا"),
        ("ary", "كورة حمرا"),
        ("sdh", "تووپی سۊر"),
        ("uzs", "قیزیل توپ"),
        ("hbo", "כדור אדום"),
        ("grc", "σφαῖρα ἐρυθρά"),
        ("gom", "तांबडो बॉल"),
        ("wuu", "红颜色个球"),
        ("or", "ନାଲି ବଲ"),
    ],
)
def test_a_language_with_a_translator_is_found(language: str, text: str) -> None:
    """It was accepted in config.yaml: a prompt in its letters needs no other proof."""
    detection.require_detector([language])
    assert language == detection.language(text, (language,), ("en",))
