"""What would be translated of a prompt file, and to what, for `reeldrop check FILE`."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.config import translators
from reeldrop.translation import detection, source
from reeldrop.translation.made import texts
from reeldrop.translation.translator import Translator

if TYPE_CHECKING:
    from reeldrop.base.errors import FileError
    from reeldrop.config.config import Config


class Translation(NamedTuple):
    """A text, its language, and its translation; or why there is none, or one of a part only.

    fails: whether it was tried in vain
    """

    text: str
    language: str
    translated: str
    problem: str = ""
    fails: bool = False

    def __str__(self) -> str:
        why = f" ({self.problem})" if self.translated and self.problem else ""
        return f"{self.language}: {self.text} -> {self.translated or self.problem}{why}"


def of(
    prompts: Sequence[Prompt],
    config: Config,
    placed: Callable[[FileError], FileError] = lambda error: error,
) -> list[Translation]:
    """Return what becomes of each text that needs a translation.

    Only if there is one, the process that translates is started, which loads torch and the model.
    Nothing is downloaded for that.

    placed: returns an error of a translator with its place in config.yaml
    """
    needed = list(dict.fromkeys(_needed(prompts, config)))
    sources = translators.sources(config)
    there = {language: one for language, one in sources.items() if source.is_there(one)}
    asked = [(prompt, key) for prompt, key, language in needed if language in there]
    made = iter(_made(asked, config, placed) if asked else ())
    found = []
    for prompt, key, language in needed:
        text = prompt.originals[key]
        if language in there:
            translated, problem = next(made)
            found.append(Translation(text, language, translated, problem, bool(problem)))
        else:
            problem = f"its translator is not on this machine: `reeldrop pull translate.{language}`"
            found.append(Translation(text, language, "", problem))
    return found


def _needed(prompts: Sequence[Prompt], config: Config) -> Iterator[tuple[Prompt, str, str]]:
    """Yield each text as the only one of a video of its own, with its key and its language."""
    for prompt in prompts:
        reads = config.models[prompt.model].languages
        for key, text in texts(prompt).items():
            language = detection.language(text, config.translate, reads)
            if language is not None:
                first, others = (text, ()) if key == "prompt" else ("", ((key, text),))
                yield Prompt(0, first, prompt.model, others, 0, 1, ()), key, language


def _made(
    asked: Sequence[tuple[Prompt, str]], config: Config, placed: Callable[[FileError], FileError]
) -> list[tuple[str, str]]:
    """Return the translation of a text of each prompt, and what is wrong with it."""
    answers: queue.SimpleQueue[TextsTranslated] = queue.SimpleQueue()
    sources, reads = translators.sources(config), translators.reads(config)
    translator = Translator(
        sources, reads, answers.put, placed=placed, retry_seconds=config.retry_seconds
    )
    translator.ask("check", [prompt for prompt, _ in asked])
    try:
        results = answers.get().results
    finally:
        translator.close()
    return [
        (dict(prompt.translated.texts).get(key, ""), "" if error is None else str(error))
        for (_, key), (prompt, error) in zip(asked, results, strict=True)
    ]
