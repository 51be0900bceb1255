"""Prompts rest until their texts are translated, whatever happens to their job meanwhile."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.jobs import Place, empty_place, next_batch, prompts
from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.service.translations import Translations
from reeldrop.translation import process
from reeldrop.translation.orders import Reads
from reeldrop.translation.source import TranslatorSource
from reeldrop.translation.translator import Translator

ZH_EN = Path(__file__).parents[1] / "translation" / "zh_en"
SOURCES = {"zh": TranslatorSource("zh", str(ZH_EN), is_folder=True)}
READS = {"m": Reads(("en",))}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Empty folders."""
    with empty_place(tmp_path) as made:
        yield made


def chinese(num_frames: int) -> tuple[Prompt, ...]:
    """Return prompts that have to be translated."""
    return tuple(
        replace(one, prompt=f"大鹏一日同风起{one.number}") for one in prompts(2, num_frames)
    )


def test_a_reload_renders_no_prompts_of_the_old_settings(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answer may arrive after the file was read again."""
    answers = 'while read -r line; do echo "{\\"text\\": \\"word\\"}"; done'
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    told: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    translator = Translator(SOURCES, READS, told.put)
    translations = Translations(translator, place.jobs, renders_untranslated=False)
    opened = place.jobs.opened
    opened.translate, opened.stop_translating = translations.begin, translator.forget
    job = place.claim("a.txt")
    opened.open(job, chinese(num_frames=4))
    late = told.get(timeout=60)
    opened.leave_untranslated()
    translator.use(SOURCES, READS, 0.01)
    opened.open(job, chinese(num_frames=8))
    translations.done(late)
    assert next_batch(place.jobs, time.monotonic()) is None
    translations.done(told.get(timeout=60))
    translator.close()
    batch = next_batch(place.jobs, time.monotonic())
    assert batch is not None
    assert [8, 8] == [prompt.argument("num_frames") for prompt in batch.prompts]


@pytest.mark.parametrize("is_rendered", [True, False])
def test_what_could_be_translated_is_rendered(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, is_rendered: bool
) -> None:
    """A negative prompt that can't be translated is no reason to render the prompt as it stands.

    If that fails, what is dropped again has no translation but those that its author gave.
    """
    answers = """while read -r line; do
      case "$line" in *6c34*) echo '{"error": "no"}';; *) echo '{"text": "word"}';; esac
    done"""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", answers))
    told: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    translator = Translator(SOURCES, READS, told.put)
    translations = Translations(translator, place.jobs, renders_untranslated=is_rendered)
    opened = place.jobs.opened
    opened.translate, opened.stop_translating = translations.begin, translator.forget
    job = place.claim("a.txt")
    first, second = chinese(num_frames=4)
    unwanted = replace(second, arguments=(*second.arguments, ("negative_prompt", "水")))
    opened.open(job, (first, unwanted))
    for _ in range(1 + (opened.usually_together(first) == 1)):
        translations.done(told.get(timeout=60))
    translator.close()
    batch = next_batch(place.jobs, time.monotonic())
    assert batch is not None
    found = {one.number: one for one in batch.prompts}
    assert ("word", None) == (found[1].texts[0], found.get(3))
    if is_rendered:
        assert ("word", "水") == found[2].texts
        assert "its negative prompt can't be translated: no" in found[2].notes[0]
    else:
        assert unwanted == opened[job.id].failures[2][0]
