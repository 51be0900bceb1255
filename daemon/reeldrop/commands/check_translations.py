"""What would be translated of a prompt file, and to what, for `reeldrop check FILE`."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.config import translators
from reeldrop.translation import detection, source
from reeldrop.translation.made import texts
from reeldrop.translation.translator import Translator

if TYPE_CHECKING:
    from reeldrop.config.config import Config


class Translation(NamedTuple):
    """A text, its language, and its translation; or why there is none.

    fails: whether it was tried in vain
    """

    text: str
    language: str
    translated: str
    problem: str = ""
    fails: bool = False

    def __str__(self) -> str:
        return f"{self.language}: {self.text} -> {self.translated or self.problem}"


def of(prompts: Sequence[Prompt], config: Config) -> list[Translation]:
    """Return what becomes of each text that needs a translation.

    Only if there is one, the process that translates is started, which loads torch and the model.
    Nothing is downloaded for that.
    """
    needed = list(dict.fromkeys(_needed(prompts, config)))
    sources = translators.sources(config)
    there = {language: one for language, one in sources.items() if source.is_there(one)}
    asked = [(prompt, text, language) for prompt, text, language in needed if language in there]
    made = iter(_made([prompt for prompt, _, _ in asked], config) if asked else ())
    found = []
    for _, text, language in needed:
        if language in there:
            translated, problem = next(made)
            found.append(Translation(text, language, translated, problem, bool(problem)))
        else:
            problem = f"its translator is not on this machine: `reeldrop pull translate.{language}`"
            found.append(Translation(text, language, "", problem))
    return found


def _needed(prompts: Sequence[Prompt], config: Config) -> Iterator[tuple[Prompt, str, str]]:
    """Yield each text, as the prompt of a video of its own, with its language."""
    for prompt in prompts:
        reads = config.models[prompt.model].languages
        for text in texts(prompt).values():
            language = detection.language(text, config.translate, reads)
            if language is not None:
                yield Prompt(0, text, prompt.model, (), 0, 1, ()), text, language


def _made(prompts: Sequence[Prompt], config: Config) -> list[tuple[str, str]]:
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    sources, reads = translators.sources(config), translators.reads(config)
    translator = Translator(sources, reads, answers.put, retry_seconds=config.retry_seconds)
    translator.ask("check", prompts)
    try:
        results = answers.get().results
    finally:
        translator.close()
    return [
        (prompt.texts[0], "") if error is None else ("", str(error)) for prompt, error in results
    ]
