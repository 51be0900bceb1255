"""What prompt files say of translations, and notes on texts that a model can't read."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import pytest
from harness.prompt_files import TINY
from reeldrop.base import yaml_text
from reeldrop.base.errors import PromptError
from reeldrop.base.job import DefaultsFile, Job, Prompt, Rendered
from reeldrop.base.translated import Translated
from reeldrop.prompts import parsing, scripts
from reeldrop.store import sidecars
from reeldrop.translation.made import Made, with_translations

BIRD = "大鹏一日同风起"
READ = {"english": ("en",), "chinese": ("en", "zh"), "most": ("any",), "unknown": None}
RULES = {
    name: dataclasses.replace(TINY, name=name, languages=read, translators=frozenset({"ja"}))
    for name, read in READ.items()
}


def prompts(text: str, defaults: str = "", model: str = "english") -> tuple[Prompt, ...]:
    """Parse a YAML prompt file."""
    above = [DefaultsFile("_defaults.yaml", defaults.encode())] if defaults else []
    return parsing.parse("a.yaml", text.encode(), above, RULES, model, lambda _number: 1).prompts


def test_a_translation_is_taken_as_it_is() -> None:
    """The model is given it, the prompt is only the name; the sidecar says the same again."""
    text = f"prompt: {BIRD}\ntranslated_prompt: A bird \nnegative_prompt: 水\ntranslate: false\n"
    [found] = prompts(f"{text}translated_negative_prompt: water")
    assert (BIRD, ("A bird", "water")) == (found.prompt, found.texts)
    texts = (("prompt", "A bird"), ("negative_prompt", "water"))
    assert Translated(texts, is_wanted=False) == found.translated
    settings = found.as_settings()
    assert ["prompt", "translate", "translated_prompt"] == list(settings)[:3]
    assert (found,) == prompts(yaml_text.dump(settings))
    [plain] = prompts("prompt: a bird\nnegative_prompt: water")
    assert ("a bird", "water") == plain.texts
    assert not [key for key in plain.as_settings() if "translat" in key]


def test_a_translation_of_another_prompt() -> None:
    """A sidecar whose prompt was edited is rendered as it says, with a note."""
    sidecar = "prompt: {}\ntranslated_prompt: A bird\nrendered: {{translated_from: 大鹏}}\n"
    assert () == prompts(sidecar.format("大鹏"))[0].notes
    assert () == prompts(sidecar.replace("大鹏", "[大鹏]").format("黄鹂"))[0].notes
    [found] = prompts(sidecar.format("黄鹂"))
    assert ("黄鹂", "A bird") == (found.prompt, found.texts[0])
    assert "translated_prompt is of another prompt, '大鹏', and is rendered" in found.notes[0]
    rendered = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 100)
    job = Job("id", PurePosixPath("a.yaml"), Path("nowhere"), ())
    for _ in range(2):  # its own sidecar says so, too, however often it is rendered
        [again] = prompts(sidecars.text(job, found, rendered))
        assert (found.notes, found.translated) == (again.notes, again.translated)
        found = again


def test_a_translation_of_another_negative_prompt() -> None:
    """It gets a note of its own; so does one that was taken out by an empty text."""
    text = "prompt: a bird\nnegative_prompt: {}\ntranslated_negative_prompt: water\n"
    [found] = prompts(text.format("水"))
    rendered = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 100)
    job = Job("id", PurePosixPath("a.yaml"), Path("nowhere"), ())
    sidecar = sidecars.text(job, found, rendered)
    assert (found,) == prompts(sidecar)
    assert () == prompts(sidecar)[0].notes
    for changed in ("火", "''"):
        [other] = prompts(sidecar.replace("negative_prompt: 水", f"negative_prompt: {changed}", 1))
        assert "water" == other.texts[1]
        note = "translated_negative_prompt is of another negative prompt, '水', and is rendered"
        assert note in other.notes[0]
        [again] = prompts(sidecars.text(job, other, rendered))
        assert (other.notes, other.translated) == (again.notes, again.translated)


def test_the_texts_of_a_second_text_encoder() -> None:
    """They have translations and notes as the others have, where the pipeline takes them."""
    kinds = {**TINY.capabilities.settings, "prompt_2": str, "negative_prompt_2": str}
    capabilities = dataclasses.replace(TINY.capabilities, settings=kinds)
    rules = dataclasses.replace(RULES["english"], capabilities=capabilities)
    texts = {
        "prompt": BIRD, "prompt_2": "黄鹂", "translated_prompt_2": "Orioles",
        "negative_prompt_2": "вода",
    }  # fmt: skip
    told = yaml_text.dump(texts).encode()
    [found] = parsing.parse("a.yaml", told, (), {"english": rules}, "english", int).prompts
    assert {"prompt": BIRD, "prompt_2": "Orioles", "negative_prompt_2": "вода"} == found.read
    assert "can't read the Cyrillic letters of the negative prompt 2" in "".join(found.notes)
    rendered = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 100)
    sidecar = sidecars.text(
        Job("id", PurePosixPath("a.yaml"), Path("nowhere"), ()), found, rendered
    )
    assert "translated_from_2: 黄鹂" in sidecar
    told = sidecar.replace("prompt_2: 黄鹂", "prompt_2: 鱼", 1).encode()
    [other] = parsing.parse("a.yaml", told, (), {"english": rules}, "english", int).prompts
    assert "translated_prompt_2 is of another prompt 2, '黄鹂'" in other.notes[0]
    assert "the prompt 2 would be translated anew" in other.notes[0]
    told = sidecar.replace("\nprompt_2: 黄鹂\n", "\n", 1).encode()  # it is still read
    [other] = parsing.parse("a.yaml", told, (), {"english": rules}, "english", int).prompts
    assert "translated_prompt_2 is of another prompt 2, '黄鹂'" in other.notes[0]
    assert "there would be no prompt 2" in other.notes[0]
    with pytest.raises(PromptError, match="unknown key 'translated_prompt_2'"):
        prompts(f"prompt: {BIRD}\ntranslated_prompt_2: Orioles")


def test_a_prompt_that_failed_is_translated_anew() -> None:
    """As it may be edited in `_failed/`; what its author gave stays."""
    [found] = prompts(f"prompt: {BIRD}\nnegative_prompt: 水\ntranslated_negative_prompt: water")
    done = with_translations(found, {"prompt": Made("A bird", "zh", "opus")})
    assert (("A bird", "water"), (("zh", "opus"),)) == (done.texts, done.translated.by)
    [again] = prompts(sidecars.remainder_text([done]))
    assert (found.texts, found.translated) == (again.texts, again.translated)


def test_what_failed_says_of_which_text_its_translations_are() -> None:
    """An edited sidecar keeps its note; a text that is edited in `_failed/` gets one."""
    sidecar = (
        f"prompt: {{}}\ntranslated_prompt: A bird\nrendered: {{{{translated_from: {BIRD}}}}}\n"
    )
    [same], [edited] = prompts(sidecar.format(BIRD)), prompts(sidecar.format("黄鹂"))
    note = f"translated_prompt is of another prompt, '{BIRD}', and is rendered"
    assert note in edited.notes[0]
    left = sidecars.remainder_text([edited, same])
    again, other = prompts(left)
    assert (edited.notes, edited.translated) == (again.notes, again.translated)
    assert ((), same.translated) == (other.notes, other.translated)
    _, later = prompts(left.replace(f"prompt: {BIRD}", "prompt: 鱼", 1))
    assert note in later.notes[0]
    assert "rendered" not in sidecars.remainder_text(list(prompts("prompt: a bird")))


def test_a_negative_prompt_without_effect() -> None:
    """Nobody needs to know that the model can't read it, as it has none."""
    [found] = prompts("prompt: a bird\nnegative_prompt: вода\nguidance_scale: 1")
    assert ("the negative prompt has no effect: it needs a guidance_scale above 1",) == found.notes


def test_the_nearest_layer_turns_it_off_and_on() -> None:
    """A folder's defaults may turn it off; they can't give the translation of every prompt."""
    both = "prompts: [a, {prompt: b, translate: true}]"
    wanted = [one.translated.is_wanted for one in prompts(both, "translate: false")]
    assert [False, True] == wanted
    with pytest.raises(PromptError, match="'translated_prompt' can't have a default"):
        prompts(both, "translated_prompt: x")
    with pytest.raises(PromptError, match="either `translated_prompt` or `prompts`"):
        prompts("prompts: [a, b]\ntranslated_prompt: x")
    with pytest.raises(PromptError, match="translate must be true or false"):
        prompts("prompt: a\ntranslate: zh")


def test_notes_on_what_nobody_reads() -> None:
    """Only of what the model surely can't read, and nobody translates; with the reason."""
    [found] = prompts(f"prompt: {BIRD}\nnegative_prompt: вода")
    assert not [note for note in found.notes if "Chinese" in note]  # a translator from ja may
    why = "config.yaml names no translator for it (`translate:`)"
    assert (
        f"english can't read the Cyrillic letters of the negative prompt: {why}",
    ) == found.notes
    [off] = prompts(f"prompt: {BIRD}\ntranslate: false")
    of_none, why = why, "`translate: false` forbids to translate it"
    assert (f"english can't read the Chinese letters of the prompt: {why}",) == off.notes
    for model in ("chinese", "most", "unknown"):
        assert () == prompts(f"prompt: {BIRD}", model=model)[0].notes
    assert () == prompts(f"prompt: {BIRD}\ntranslated_prompt: A bird\ntranslate: false")[0].notes
    [odia] = prompts("prompt: ନାଲି ବଲ")
    assert "english can't read the Oriya letters of the prompt" in odia.notes[0]
    for name, text in {
        "Georgian": "წითელი ბურთი",
        "Ethiopic": "ቀይ ኳስ",
        "Khmer": "បាល់ក្រហម",
        "Ol Chiki": "ᱟᱨᱟᱜ",
        "Adlam": "𞤦𞤮𞤣𞤫",
        "Javanese": "ꦱꦸꦏꦺꦴ",
        "Coptic": "ⲁⲃⲅ",
    }.items():
        [found] = prompts(f"prompt: {text}")
        assert (f"english can't read the {name} letters of the prompt: {of_none}",) == found.notes
    for text in (
        "déjà vu",
        "a sine of π, 5 Ω",
        "🙂",
        "5 µm",
        "Ludwig ⅩⅣ",
        "aʰ, 1ª",
        "xⁿ",
        "ðə rɛd",
    ):
        assert () == prompts(f"prompt: {text}")[0].notes


def test_a_translation_is_looked_at_as_a_prompt_is() -> None:
    """The model reads it in place of the prompt: what is only text in it, or not read, is said."""
    given = f"prompt: {BIRD}\ntranslated_prompt: '{{}}'"
    for text, note in {
        "黄鹂": "english can't read the Chinese letters of the translated prompt: a translation is "
        "rendered as it is given",
        "a bird and 黄鹂 in a green tree": "english can't read '黄鹂' in the translated prompt: "
        "few such words stay as they are",
        "a (red:1.2) bird": "in the translated prompt, (red:1.2) is text here: reeldrop has no "
        "weights",
        "a​ bird": "there is a zero-width space (U+200B) in the translated prompt, which can't be "
        "seen",
    }.items():
        [found] = prompts(given.format(text))
        assert (note,) == found.notes
    for text in ("<lora:ink:1> a bird", "a {red|blue} bird"):
        with pytest.raises(PromptError, match="take it out: a translation is one text"):
            prompts(given.format(text))
    for text in ("", "  ", "​"):
        assert prompts(f"prompt: {BIRD}") == prompts(given.format(text))
    [found] = prompts("prompt: (红:1.2)\ntranslated_prompt: a red bird")
    assert () == found.notes  # its weight is nobody's text


def test_what_is_text_in_a_negative_prompt() -> None:
    """It is noted as in a prompt, unless the negative prompt is that of a profile, or in vain."""
    text = "prompt: a bird\nnegative_prompt: <lora:bad:1> mud BREAK fog\n"
    notes = [
        "in the negative prompt, <lora:bad:1> is text here: reeldrop has no such tags",
        "in the negative prompt, BREAK is text here: reeldrop has no breaks between texts",
    ]
    assert notes == list(prompts(text)[0].notes)
    assert notes == list(prompts("prompt: a bird", text.partition("\n")[2])[0].notes)
    for braces in ("{red|blue}", "{x | y}"):
        [note] = prompts(f"prompt: a bird\nnegative_prompt: '{braces} mud'")[0].notes
        assert f"in the negative prompt, {braces} is text here: " in note
        assert "below `matrix:`" in note
    vain = "the negative prompt has no effect: it needs a guidance_scale above 1"
    assert (vain,) == prompts(f"{text}guidance_scale: 1")[0].notes
    only = "prompt: a bird\ntranslated_negative_prompt: mud\nguidance_scale: 1"
    assert (vain,) == prompts(only)[0].notes
    defaults = {**TINY.defaults, "negative_prompt": "(mud:1.2)"}
    rules = {"english": dataclasses.replace(RULES["english"], defaults=defaults)}
    [found] = parsing.parse("a.yaml", b"prompt: a bird", (), rules, "english", int).prompts
    assert () == found.notes


def test_notes_on_words_that_nobody_reads() -> None:
    """A text is not translated for few of them: they may be what matters most in it.

    What else is in it may be translated, as from German.
    """
    tags = "masterpiece, best quality, ultra detailed, cinematic lighting"
    for word, text in {
        "大鹏,": f"大鹏, {tags}",
        "꽃,": f"꽃, {tags}",
        "नमस्ते": "a board that says नमस्ते over a long street",
        "ନାଲି": f"{tags}, ନାଲି",
        "ᱟᱨᱟᱜ": f"{tags}, ᱟᱨᱟᱜ",
    }.items():
        [found] = prompts(f"prompt: '{text}'")
        note = f"english can't read '{word}' in the prompt: few such words stay as they are; "
        assert (f"{note}if it matters, write `translated_prompt: ...`",) == found.notes
        assert () == prompts(f"prompt: '{text}'", model="most")[0].notes
        looked_at = scripts.unread.cache_info().misses
        assert found.notes == prompts(f"prompt: '{text}'\nseed: [1, 2]")[1].notes
        assert looked_at == scripts.unread.cache_info().misses  # a sweep asks a thousand times
        assert () == prompts(f"prompt: '{text}'\ntranslated_prompt: A bird")[0].notes
