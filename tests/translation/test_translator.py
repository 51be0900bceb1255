"""The translator that the tests have, the thread that asks it, and what may happen to it."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import queue
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import train_tiny_translator
from harness.processes import as_fork, await_that
from huggingface_hub import constants
from reeldrop.base.errors import FileError
from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.translation import by_sentence, detection, process, sentences, translator
from reeldrop.translation.orders import Order, Reads
from reeldrop.translation.source import TranslatorSource
from reeldrop.translation.translator import Translator
from reeldrop.translation.worker import Endless, Model, serve

ZH_EN = Path(__file__).parent / "zh_en"
BIRD = "大鹏一日同风起"
ANSWERS = """
while read -r line; do
  echo asked >&2
  case "$line" in *999*) echo '{"error": "no"}';; *) echo '{"text": "word"}';; esac
done
"""
"""A stand-in for the process that translates."""


@pytest.fixture(scope="module")
def model() -> Model:
    """The translator, in this process."""
    return Model(ZH_EN)


def test_words(model: Model) -> None:
    """It has learned words and grammar: sentences that it has never seen come out right."""
    assert "A great bird rises with the wind" == model.translated(BIRD)
    learned, held_out = train_tiny_translator.split()
    some = [pair for pair in held_out if pair not in learned][:20]
    assert dict(some) == {chinese: model.translated(chinese) for chinese, _ in some}


def test_long_texts(model: Model) -> None:
    """They are cut where sentences end, else at pauses, else anywhere; nothing is left out."""
    one, other = "一只红色的大球在海上升起", "一条蓝色的鱼在夜里飞"
    assert [one + "。", other] == sentences.parts(f"{one}。{other}", lambda _: True, "zh")
    assert [one] == model.parts(one)
    pauses = "，".join([one] * 5)
    parts = model.parts(pauses)
    assert len(parts) > 1
    assert pauses == "".join(parts)
    unbroken = one * 9
    parts = model.parts(unbroken)
    assert unbroken == "".join(parts)
    assert all(model.translated(part) for part in parts)
    assert ["a b", "c"] == sentences.parts("a b\nc", lambda _: True, "fr")
    assert ["ab", "cd", "e"] == sentences.parts("ab cd e", lambda text: len(text) < 3, "fr")


def test_a_translation_without_an_end(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut off is no translation."""
    monkeypatch.setattr(model, "_longest", 5)
    with pytest.raises(Endless, match="the translation is cut off after 5 tokens"):
        model.translated(BIRD)


def test_damaged_files(tmp_path: Path) -> None:
    """It is said that it is they that are to blame, and not the text; others are translated."""
    shutil.copytree(ZH_EN, damaged := tmp_path / "opus")
    os.truncate(damaged / "model.safetensors", 100)
    orders = [{"folder": str(folder), "text": BIRD} for folder in (damaged, ZH_EN)]
    answers = io.StringIO()
    serve(io.StringIO("\n".join(map(json.dumps, orders))), answers)
    first, *_others, last = map(json.loads, answers.getvalue().splitlines())
    assert first["not_loaded"].startswith("SafetensorError: ")
    assert {"text": "A great bird rises with the wind"} == last


def prompt(number: int, text: str, unwanted: str = "", profile: str = "m") -> Prompt:
    """Return a prompt of a profile that reads English; `weighted` reads weights, too."""
    return Prompt(number, text, profile, (("negative_prompt", unwanted),), 0, 8, ("mp4",))


class Asked:
    """A translator and its answers."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
        sources = {"zh": TranslatorSource("zh", str(ZH_EN), is_folder=True)}
        reads = {"m": Reads(("en",)), "weighted": Reads(("en",), weights=True)}
        self.translator = Translator(sources, reads, self.answers.put, retry_seconds=0.01)

    def answer(self, *prompts: Prompt) -> tuple[tuple[Prompt, Exception | None], ...]:
        """Return the answer for prompts of a job."""
        self.translator.ask("job", prompts)
        return self.answers.get(timeout=120).results


@pytest.fixture
def asked() -> Asked:
    """A translator on a thread of its own."""
    return Asked()


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists once the first process of `running` was killed."""
    return tmp_path_factory.mktemp("killed") / "mark"


@pytest.fixture(scope="module")
def running(mark: Path) -> Iterator[Asked]:
    """A translator for several tests: its process takes long to begin. The first is killed.

    As a fork it need not import torch; `test_translation_end_to_end.py` begins a new process.
    """
    worker = shlex.join(as_fork(process.COMMAND))
    killed = f'if [ -e "$0" ]; then exec {worker}; fi; touch "$0"; kill -9 $$'
    asked = Asked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "COMMAND", ("sh", "-c", killed, str(mark)))
        [(_, failure)] = asked.answer(prompt(1, "水印"))
    assert failure is None
    yield asked
    asked.translator.close()


def test_a_kill_loses_nothing(running: Asked, mark: Path) -> None:
    """Another process takes its place; what was translated once is known at once."""
    assert mark.exists()
    assert ("watermark", "") == running.answer(prompt(1, "水印"))[0][0].texts
    both = prompt(1, "一条蓝色的鱼在夜里飞", "水印"), prompt(2, "a red ball")
    assert [None, both[1]] == list(map(running.translator.known, both))
    (first, failure), (second, _) = running.answer(*both)
    assert failure is None
    assert ("A blue fish flying at night", "watermark") == first.texts
    assert (("zh", "zh_en"),) == first.translated.by
    assert both[1] == second
    assert first == running.translator.known(both[0])


def test_a_module_of_a_stranger_is_not_imported(tmp_path: Path) -> None:
    """The folder in which it begins may be an inbox."""
    (tmp_path / "json.py").write_text("raise SystemExit")
    with subprocess.Popen(process.COMMAND, cwd=tmp_path, stdin=subprocess.PIPE) as began:
        maps = Path(f"/proc/{began.pid}/maps")
        await_that(lambda: began.poll() is not None or "libtorch" in maps.read_text(), "torch")
        assert began.poll() is None
        began.kill()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ((sys.executable, "-c", ""), "the translator ended (0)"),
        (("sleep", "600"), "the translator hung for 0.1 s, and was ended"),
    ],
)
def test_a_translator_that_never_works(
    asked: Asked, command: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and then the prompt fails with the reason and what its author can do."""
    monkeypatch.setattr(process, "COMMAND", command)
    monkeypatch.setattr(process, "START_SECONDS", 0.1)
    monkeypatch.setattr(translator, "TRIES", 2)
    ((same, failure),) = asked.answer(prompt(1, BIRD))
    assert prompt(1, BIRD) == same
    assert f"its prompt can't be translated: {reason}" in str(failure)
    assert "write `translated_prompt: ...` beside it" in str(failure)
    asked.translator.close()


def test_a_translator_that_cannot_be_used_has_its_place_in_config_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may be missing, or such that it can't be loaded."""
    broken = """while read -r line; do echo '{"not_loaded": "no"}'; done"""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", broken))
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    folders = {"zh": ZH_EN, "ru": tmp_path}
    sources = {one: TranslatorSource(one, str(at), is_folder=True) for one, at in folders.items()}
    reads = {"m": Reads(("en",))}

    def placed(error: FileError) -> FileError:
        return type(error)(*error.in_file("config.yaml"))

    asked = Translator(sources, reads, answers.put, placed=placed)
    asked.ask("job", [prompt(1, BIRD), prompt(2, "вода")])
    first, second = (str(failure) for _, failure in answers.get(timeout=60).results)
    asked.close()
    reason = f"the translator from zh can't be loaded from {ZH_EN}: no"
    assert f"can't be translated: config.yaml, key 'translate.zh': {reason}" in first
    assert f"config.yaml, key 'translate.ru': {tmp_path} has no config.json" in second


@pytest.mark.parametrize(
    ("made", "read"),
    [
        ("A\x1b[31m red\x00\n ball", "A [31m red ball"),
        ("", "the translation is empty"),
        ("\x00\u200b ", "the translation is empty"),
        ("♪ ...", "the translation is empty"),
        ("a bird, the sky, the sky, The Sky - the sky", "repeats itself: the sky, the sky, The"),
        ("very very very big", "very very very big"),
        ("a" * 10_001, "the translation has 10,001 characters, more than 10,000"),
        ("一" * 99, f"still has Chinese letters: {'一' * 39}\N{HORIZONTAL ELLIPSIS} (write"),
    ],
)
def test_what_no_prompt_may_be(
    asked: Asked, made: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A translator may say anything; what it says is a prompt, or a reason why there is none."""
    answer = json.dumps({"text": made})
    answers = ("sh", "-c", 'printf "%s\\n" "$0"; exec cat >/dev/null', answer)
    monkeypatch.setattr(process, "COMMAND", answers)
    ((found, failure),) = asked.answer(prompt(1, BIRD))
    asked.translator.close()
    assert read in str(failure or found.texts[0])
    assert (failure is None) == (found.texts[0] == read)


def test_no_more_is_foreseen_than_allowed(asked: Asked) -> None:
    """One that let others pass may have come back behind the last that was allowed."""
    order = Order((prompt(1, BIRD),), {"m": Reads(("en",))})
    asked.translator._foreseen.extend([order] * (translator.MOST_FORESEEN + 1))
    asked.translator.foresee([prompt(number, f"{BIRD}{number}") for number in range(5)])
    assert translator.MOST_FORESEEN + 1 == len(asked.translator._foreseen)


def test_what_the_author_repeats(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be repeated in the translation, too, as may what is told by words alike."""
    answers = """while read -r line; do echo '{"text": "ha ha ha ha"}'; done"""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    ugly = "丑陋，难看，丑恶，丑"  # for which English may have one word
    found = asked.answer(*(prompt(n, text) for n, text in enumerate(("哈哈哈哈", ugly, BIRD))))
    asked.translator.close()
    assert ["ha ha ha ha"] * 2 == [one.texts[0] for one, _ in found[:2]]
    assert "the translation repeats itself: ha ha ha ha" in str(found[2][1])


def test_a_negative_prompt_without_effect_is_left_alone(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it can't be translated is no reason to film nothing."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    both = [
        dataclasses.replace(
            prompt(number, BIRD),
            arguments=(("negative_prompt", "水999"), ("guidance_scale", scale)),
        )
        for number, scale in enumerate((1.0, 5.0))
    ]
    (found, failure), (_, other) = asked.answer(*both)
    asked.translator.close()
    assert (None, ("word", "水999")) == (failure, found.texts)
    assert "its negative prompt can't be translated: no" in str(other)


def test_all_that_fails_is_told(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each text may be rendered as it stands, and is to be noted then."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    texts = (("prompt_2", "鱼"), ("negative_prompt_2", "水999"))
    [(found, failure)] = asked.answer(dataclasses.replace(prompt(1, f"{BIRD}999"), arguments=texts))
    asked.translator.close()
    assert "word" == found.read["prompt_2"]
    why = "its prompt can't be translated: no; its negative prompt 2 can't be translated: no"
    remedy = "write `translated_prompt: ...` and `translated_negative_prompt_2: ...` beside it, or"
    assert why in str(failure)
    assert remedy in str(failure)


def test_second_prompts(running: Asked) -> None:
    """Those of a second text encoder are translated as the first, and told apart in batches."""
    one, other = (
        dataclasses.replace(
            prompt(number, BIRD), arguments=(("prompt_2", text), ("negative_prompt_2", "水印"))
        )
        for number, text in enumerate(("两只黄鹂鸣翠柳", "a ball"))
    )
    (made, _), (same, _) = running.answer(one, other)
    bird, birds = "A great bird rises with the wind", "Two orioles sing in a green willow"
    assert {"prompt": bird, "prompt_2": birds, "negative_prompt_2": "watermark"} == made.read
    assert {"prompt": bird, "prompt_2": "a ball", "negative_prompt_2": "watermark"} == same.read
    assert made.batch_key != same.batch_key
    assert made.batch_key == dataclasses.replace(made, prompt="x").batch_key
    plain, empty = (
        dataclasses.replace(one, arguments=texts) for texts in ((), (("prompt_2", ""),))
    )
    assert ({}, {"prompt_2": ""}) == (plain.second, empty.second)
    assert plain.batch_key != empty.batch_key


def test_weights_survive(running: Asked) -> None:
    """Where a profile reads them: on the same words, whatever the translator does with brackets."""
    bird = "A great bird rises with the wind"
    sea = "A big red ball rising over the sea"
    less = "(watermark:0.9091)"
    expected = {
        "（大鹏一日同风起：1.2）": f"({bird}:1.2)",  # noqa: RUF001
        "((大鹏一日同风起))": f"({bird}:1.21)",
        "(水印:1.3)，一只红色的大球在海上升起，[水印]": f"(watermark:1.3), {sea}, {less}",
        "（大鹏一日同风起。水印：0.8）": f"({bird}:0.8) (watermark:0.8)",  # noqa: RUF001
        "大鹏一日同风起。(cinematic, 8k:1.2), film": f"{bird} (cinematic:1.2), (8k:1.2), film",
        "大鹏一日同风起。(film:1.2) 16:9, (8:1.1)": f"{bird} (film:1.2) 16:9, (8:1.1)",
        r"大鹏一日同风起。a \(big\) bird": rf"{bird} a \(big\) bird",
        "大鹏一日同风起": bird,
    }
    results = running.answer(
        *(prompt(number, text, profile="weighted") for number, text in enumerate(expected))
    )
    assert expected == {found.prompt: found.texts[0] for found, _ in results}
    assert {None} == {failure for _, failure in results}


def test_weights_within_a_sentence(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are where the translation has the same words; else the words are added."""
    answers = """while read -r line; do case "$line" in
        *999*) echo '{"text": "A redder Red ball (big)"}';;
        *888*) echo '{"text": "the red."}';;
        *) echo '{"text": "crimson"}';; esac; done"""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    texts = "一只（红888：1.2）球999", "一只(红)球999"  # noqa: RUF001
    results = asked.answer(*(prompt(1, text, profile="weighted") for text in texts))
    asked.translator.close()
    assert [r"A redder (Red:1.2) ball \(big\)", r"A redder Red ball \(big\), (crimson:1.1)"] == [
        found.texts[0] for found, _ in results
    ]


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("(16:9 film:1.2)\n一", "(16:9 film:1.2) word"),
        ("一，(8，16:1.2)，(10,000:1.2)", "word, (8:1.2), (16:1.2), (10,000:1.2)"),
        ("一(a !:1.2)球", "word, (a !:1.2) word"),
        (r"一。(坏:1.2)的[\(坏\)]", r"word (坏:1.2)的(\(坏\):0.9091)"),
    ],
)
def test_weights_of_what_stays(text: str, english: str) -> None:
    """Numbers and articles alone, too, and a sentence that can't be translated."""

    def translate(sentence: str) -> str:
        return "..." if "坏" in sentence else "word"

    made = by_sentence.translated(text, "zh", translate, {}, has_weights=True)
    assert english == made.text


@pytest.mark.parametrize(
    ("text", "has_weights", "english"),
    [
        ("一 BREAK 二，AND 三", False, "word BREAK word AND word"),
        ("(一 BREAK 二:1.2) AND 三", True, "(word:1.2) (BREAK:1.2) (word:1.2) AND word"),
        ("BREAK BREAK, 一", False, "BREAK BREAK, word"),
    ],
)
def test_marks_between_texts_stay(text: str, *, has_weights: bool, english: str) -> None:
    """What A1111 reads as no word is none for a translator; the texts beside it are apart."""

    made = by_sentence.translated(text, "zh", lambda _: "word", {}, has_weights=has_weights)
    assert (english, "") == made
    with pytest.raises(process.Untranslatable):  # that a mark stays as it is translates nothing
        by_sentence.translated(text, "zh", lambda _: "...", {}, has_weights=has_weights)


def test_letters_with_accents_apart() -> None:
    """They are the same letters, also if only a bracket stood before the accent."""
    apart = unicodedata.normalize("NFD", "ein Bär. ein Ball")
    for text, english in {apart: "word word", "一(e)\u0301球": "word, (e:1.1)"}.items():
        made = by_sentence.translated(text, "de", lambda _: "word", {}, has_weights=True)
        assert (english, "") == made


def test_the_rest_of_a_text_is_kept(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one sentence can't be translated, it stays as it is, and is what is reported."""
    answers = """while read -r line; do case "$line" in *999*) echo '{"text": "..."}';;
        *888*) echo '{"unfit": "cut off"}';; *) echo '{"text": "word"}';; esac; done"""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    texts = ("一。坏999。二", "一。坏888。二。坏999", "坏999。坏888")
    results = asked.answer(*(prompt(number, text) for number, text in enumerate(texts)))
    asked.translator.close()
    assert ["word 坏999。 word", "word 坏888。 word 坏999", texts[2]] == [
        found.texts[0] for found, _ in results
    ]
    first, second, third = (str(failure) for _, failure in results)
    assert "a sentence of its prompt can't be translated: the translation is empty: 坏999" in first
    assert "a sentence of its prompt can't be translated: cut off" in second
    assert "its prompt can't be translated: the translation is empty: 坏999" in third


def test_english_sentences_stay(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A translator from another language would spoil them, unless a word in them needs it."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    mixed = "A wide cinematic shot of 黄鹂 in a tree."
    text = f"大鹏一日同风起。(Cinematic:1.2), 8k.\n黄鹂\n{mixed}"
    ((found, failure),) = asked.answer(prompt(1, text))
    asked.translator.close()
    assert failure is None
    assert "word (Cinematic:1.2), 8k. word word" == found.texts[0]


def test_many_texts_do_not_wait_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a translator can't be had, one text waits for it; the others fail at once."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    sources = {"zh": TranslatorSource("zh", "some/opus")}
    nobody = Translator(sources, {"m": Reads(("en",))}, answers.put, retry_seconds=0.01)
    with structlog.testing.capture_logs() as logged:
        nobody.ask("job", [prompt(number, f"{BIRD} {number}") for number in range(5)])
        results = answers.get(timeout=60).results
    nobody.close()
    assert all("HF_HUB_OFFLINE=0 reeldrop pull translate.zh" in str(error) for _, error in results)
    assert translator.TRIES - 1 == [line["event"] for line in logged].count("translation_delayed")


def test_a_very_long_prompt_lets_others_pass(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentences are translated some at a time, in turn with the prompts of other jobs."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    monkeypatch.setattr(by_sentence, "LONGEST_PART", 5)
    text = "".join(f"第{n:02}句。" for n in range(20)) + "没有标点" * 20
    asked.translator.ask("long", [prompt(1, text)])
    asked.translator.ask("short", [prompt(2, "一句")])
    found = [asked.answers.get(timeout=60).results[0] for _ in range(2)]
    asked.translator.close()
    assert [2, 1] == [one.number for one, _ in found]
    assert [None, None] == [failure for _, failure in found]
    assert 36 == len(found[1][0].texts[0].split())


def long_text(sentences: int) -> str:
    """Return a text that is translated in several turns."""
    return "".join(f"第{n:02}句。" for n in range(sentences))


def test_long_prompts_of_a_job_are_done_one_by_one(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is rendered while the others are translated, though it has the most sentences."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    for number, count in enumerate((25, 15, 16), 1):
        asked.translator.ask("job", [prompt(number, long_text(count))])
    found = [asked.answers.get(timeout=60).results[0][0].number for _ in range(3)]
    asked.translator.close()
    assert [1, 2, 3] == found


def test_nothing_is_done_again_in_another_turn(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A text before a long one was translated, and one failed: it may have taken long."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    results = asked.answer(prompt(1, "坏999"), prompt(2, "一句"), prompt(3, long_text(25)))
    asked.translator.close()
    assert [1, 2, 3] == [one.number for one, _ in results]
    assert [False, True, True] == [failure is None for _, failure in results]
    assert 1 + 1 + 25 == capfd.readouterr().err.count("asked")


def test_an_order_is_given_whole_or_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that does not fit into a pipe waits for its reader, which may hang."""
    text = "a" * 200_000
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", 'read -r l; echo "{\\"text\\": ${#l}}"'))
    reader = process.Process()
    order = json.dumps({"folder": str(tmp_path), "text": text})
    assert str(len(order)) == reader.translated(tmp_path, text)
    reader.close()
    monkeypatch.setattr(process, "COMMAND", ("sleep", "600"))
    monkeypatch.setattr(process, "START_SECONDS", 0.1)
    with pytest.raises(process.TranslatorEnded, match=r"hung for 0\.1 s"):
        process.Process().translated(tmp_path, text)


def test_an_outage_of_the_hub_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no fault of a prompt: others go on, and the trouble is said of those that wait."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    sources = {
        "zh": TranslatorSource("zh", "some/opus"),
        "ru": TranslatorSource("ru", str(tmp_path), is_folder=True),
    }
    waits = Translator(
        sources, {"m": Reads(("en",))}, answers.put, retry_seconds=0.01, is_patient=True
    )
    waits.ask("job", [prompt(1, BIRD)])
    await_that(lambda: "reeldrop pull translate.zh" in waits.trouble("job"), "the trouble")
    waits.ask("job", [prompt(2, "a red ball")])
    waits.ask("other", [prompt(3, "вода")])
    with structlog.testing.capture_logs() as logged:
        found = [answers.get(timeout=60) for _ in range(2)]
    assert [2, 3] == sorted(one.results[0][0].number for one in found)
    assert answers.empty()
    assert [] == [line for line in logged if line["event"] == "translation_delayed"]
    assert "" == waits.trouble("other")
    assert waits.trouble("job")
    waits.forget("job")
    assert "" == waits.trouble("job")
    waits.close()


def test_other_settings_end_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited was read under the old ones: only what is asked for again is answered."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    sources, reads = {"zh": TranslatorSource("zh", "some/opus")}, {"m": Reads(("en",))}
    waits = Translator(sources, reads, answers.put, retry_seconds=600.0, is_patient=True)
    waits.ask("job", [prompt(1, BIRD)])
    await_that(lambda: waits.trouble("job"), "the trouble")
    before = waits.settings
    waits.use({"zh": TranslatorSource("zh", str(ZH_EN), is_folder=True)}, reads, 0.01)
    assert "" == waits.trouble("job")
    waits.ask("job", [prompt(2, BIRD)])
    found = answers.get(timeout=120)
    waits.close()
    ((made, failure),) = found.results
    assert (2, None) == (made.number, failure)
    assert "word" == made.texts[0]
    assert before < found.settings
    assert answers.empty()


def test_other_settings_read_the_files_anew(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stays for the next text, but not for other settings: its files may be others."""
    answers = 'while read -r line; do echo "{\\"text\\": \\"process $$\\"}"; done'
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    seen = [asked.answer(prompt(1, text))[0][0].texts[0] for text in ("一", "二")]
    asked.translator.use({"zh": TranslatorSource("zh", str(ZH_EN), is_folder=True)}, {}, 0.01)
    seen.append(asked.answer(prompt(1, "二"))[0][0].texts[0])
    asked.translator.close()
    assert seen[0] == seen[1] != seen[2]


def test_what_nobody_expects_is_answered_too(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that is not answered would rest for ever, and those after it."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", "echo nothing; exec sleep 600"))
    for number in (1, 2):
        ((_, failure),) = asked.answer(prompt(number, BIRD))
        assert "its prompt can't be translated: Expecting value" in str(failure)
    monkeypatch.delattr(detection, "language")  # as after a defect in a library
    ((_, failure),) = asked.answer(prompt(3, "一"))
    assert "has no attribute 'language'" in str(failure)
    asked.translator.close()
