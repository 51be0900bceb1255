"""The thread that has texts translated, one after the other, and remembers the translations.

A process of its own translates. If it ends or hangs, another one is started; after a long time
without a text it is ended, which frees its memory.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from reeldrop.base import invisible
from reeldrop.base.errors import ReeldropError, Unavailable, Unrenderable
from reeldrop.base.escaping import short
from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.base.translated import KEYS, TRANSLATE, Translated
from reeldrop.prompts import scripts
from reeldrop.prompts.rules import LONGEST_TEXT
from reeldrop.translation import detection, source
from reeldrop.translation.process import Process, TranslationFailed, TranslatorEnded
from reeldrop.translation.source import TranslatorSource

IDLE_SECONDS = 600.0
"""How long the process is kept without a text to translate."""

CLOSE_SECONDS = 5.0
"""How long `close` waits. A download can't be interrupted, but nothing is lost if it is left."""

TRIES = 3
"""How often a text is tried: it may not be to blame for the end of a process."""

MOST_KEPT = 10_000
"""Upper bound on remembered translations."""

MOST_FORESEEN = 200
"""Upper bound on the prompts that are translated in advance."""

_NONSENSE = (ValueError, TypeError, LookupError, RuntimeError)
"""What the hub, the detector or a broken answer may raise. If it ended this thread, the prompts
would wait for ever."""

_log = structlog.get_logger()

Reads = tuple[str, ...] | None
"""The languages that a text encoder reads; None if unknown."""


class Made(NamedTuple):
    """A translation, the language it is from, and who made it; all empty if none is needed."""

    text: str = ""
    language: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class _Order:
    prompts: tuple[Prompt, ...]
    reads: Mapping[str, Reads]


class Translator:
    """Translates the texts of prompts for models that can't read them.

    reads: the languages that the text encoder of each profile reads
    tell: is called with each answer
    """

    def __init__(
        self,
        sources: Mapping[str, TranslatorSource],
        reads: Mapping[str, Reads],
        tell: Callable[[TextsTranslated], None],
        *,
        retry_seconds: float = 5.0,
    ) -> None:
        self._tell = tell
        self._lock = threading.Condition()
        self._waiting: OrderedDict[str, deque[_Order]] = OrderedDict()
        self._foreseen: deque[_Order] = deque()
        self._made: dict[tuple[str, Reads], Made] = {}
        self._process: Process | None = None
        self._unavailable: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()
        self.use(sources, reads, retry_seconds)

    def use(
        self,
        sources: Mapping[str, TranslatorSource],
        reads: Mapping[str, Reads],
        retry_seconds: float,
    ) -> None:
        """Apply new settings: forget all translations, and load the translators' files again."""
        with self._lock:
            self._sources, self._reads, self._retry_seconds = sources, reads, retry_seconds
            self._made = {}
            self._is_outdated = True

    # Called by the main thread: nothing here waits

    def known(self, prompt: Prompt) -> Prompt | None:
        """Return a prompt with its translations, if it needs any; None if one is not yet known."""
        reads = self._reads.get(prompt.model)
        found = {}
        for key, text in _texts(prompt).items():
            if detection.may_need(text, self._sources, reads):
                if (made := self._made.get((text, reads))) is None:
                    return None
                found[key] = made
        return _with(prompt, found)

    def ask(self, job_id: str, prompts: Sequence[Prompt]) -> None:
        """Translate prompts of a job, and answer once, when all are done.

        Jobs take turns, so that none waits for all prompts of another.
        """
        with self._lock:
            order = _Order(tuple(prompts), self._reads)
            self._waiting.setdefault(job_id, deque()).append(order)
            self._wake()

    def foresee(self, prompts: Sequence[Prompt]) -> None:
        """Translate prompts that may soon be needed, when there is nothing else to do."""
        if not self._sources:
            return
        for prompt in prompts[: MOST_FORESEEN - len(self._foreseen)]:
            if self.known(prompt) is None:
                with self._lock:
                    self._foreseen.append(_Order((prompt,), self._reads))
                    self._wake()

    def forget(self, job_id: str) -> None:
        """Drop the waiting texts of a cancelled job."""
        with self._lock:
            self._waiting.pop(job_id, None)

    def close(self) -> None:
        """End the thread and its process."""
        self._is_closed.set()
        with self._lock:
            self._lock.notify()
        if self._thread is not None:
            if (process := self._process) is not None:  # the thread may end it meanwhile
                process.kill()
            self._thread.join(CLOSE_SECONDS)

    def _wake(self) -> None:
        if self._thread is None:
            # A daemon thread: a download that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._work, name="translator", daemon=True)
            self._thread.start()
        self._lock.notify()

    # The thread

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            job_id, order = taken
            results = tuple(self._result(prompt, order.reads) for prompt in order.prompts)
            if job_id and not self._is_closed.is_set():
                self._tell(TextsTranslated(job_id, results))
        self._end_process()

    def _next(self) -> tuple[str, _Order] | None:
        """Return the next order and the id of its job, which is empty in advance; None to end."""
        with self._lock:
            while not self._is_closed.is_set():
                if self._is_outdated:
                    self._is_outdated = False
                    self._end_process()
                if self._waiting:
                    job_id, orders = self._waiting.popitem(last=False)
                    order = orders.popleft()
                    if orders:
                        self._waiting[job_id] = orders  # behind the others
                    return job_id, order
                if self._foreseen:
                    return "", self._foreseen.popleft()
                has_process = self._process is not None
                if not self._lock.wait(IDLE_SECONDS if has_process else None):
                    _log.info("translator_ended", reason="nothing to translate")
                    self._end_process()
        return None

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _result(
        self, prompt: Prompt, reads: Mapping[str, Reads]
    ) -> tuple[Prompt, Unrenderable | None]:
        found = {}
        for key, text in _texts(prompt).items():
            try:
                found[key] = self._made_of(text, reads.get(prompt.model))
            except (ReeldropError, OSError, *_NONSENSE) as error:
                if not isinstance(error, ReeldropError):  # the next answer may be to this text
                    self._end_process()
                problem = (
                    f"its {key.replace('_', ' ')} can't be translated: {str(error) or repr(error)}"
                )
                remedy = f"write `{KEYS[key]}: ...` beside it, or `{TRANSLATE}: false`"
                return prompt, Unrenderable(problem, f"{remedy}, which renders it as it stands")
        return _with(prompt, found), None

    def _made_of(self, text: str, reads: Reads) -> Made:
        if (made := self._made.get((text, reads))) is not None:
            return made
        sources = self._sources
        language = detection.language(text, sources, reads)
        made = Made() if language is None else self._translated(text, language, sources[language])
        with self._lock:
            if sources is self._sources:
                if len(self._made) >= MOST_KEPT:
                    del self._made[next(iter(self._made))]
                self._made[text, reads] = made
        return made

    def _translated(self, text: str, language: str, wanted: TranslatorSource) -> Made:
        """Return the translation of a text.

        Raises:
            FileError: the translator is missing, or can't be downloaded.
            TranslationFailed, TranslatorEnded: the text can't be translated.
        """
        # Otherwise each of many texts would wait for a translator that can't be downloaded.
        tries = 1 if language in self._unavailable else TRIES
        for tries_left in reversed(range(tries)):
            try:
                folder = source.folder(wanted)
                self._unavailable.discard(language)
                if self._process is None:
                    self._process = Process()
                if self._is_closed.is_set():  # `close` may not have seen the process
                    raise TranslatorEnded("reeldrop is ending")
                made = self._process.translated(folder, text)
                return Made(_checked(made), language, source.by(wanted, folder))
            except (TranslatorEnded, Unavailable) as error:
                if isinstance(error, TranslatorEnded):
                    self._end_process()
                else:
                    self._unavailable.add(language)
                if not tries_left or self._is_closed.is_set():
                    raise
                _log.warning("translation_delayed", language=language, reason=str(error))
                self._is_closed.wait(self._retry_seconds)
        raise AssertionError


def _checked(made: str) -> str:
    made = " ".join(invisible.CONTROL.sub(" ", made).split())
    if invisible.is_blank(made):
        raise TranslationFailed("the translation is empty")
    if len(made) > LONGEST_TEXT:
        problem = f"the translation has {len(made):,} characters, more than {LONGEST_TEXT:,}"
        raise TranslationFailed(problem)
    if (script := scripts.script(made)) != scripts.LATIN:
        raise TranslationFailed(f"the translation still has {script} letters: {short(made)}")
    return made


def _texts(prompt: Prompt) -> dict[str, str]:
    """Return the texts of a prompt that may need a translation, by their keys."""
    if not prompt.translated.is_wanted:
        return {}
    texts = {"prompt": prompt.prompt, "negative_prompt": prompt.argument("negative_prompt")}
    return {
        key: str(text)
        for key, text in texts.items()
        if text and not getattr(prompt.translated, key)
    }


def _with(prompt: Prompt, found: Mapping[str, Made]) -> Prompt:
    """Return a prompt with the translations found for its texts."""
    made = {key: one for key, one in found.items() if one.text}
    if not made:
        return prompt
    by = tuple(dict.fromkeys((one.language, one.by) for one in made.values()))
    before = prompt.translated
    return dataclasses.replace(
        prompt,
        translated=Translated(
            made.get("prompt", Made(before.prompt)).text,
            made.get("negative_prompt", Made(before.negative_prompt)).text,
            by=by,
        ),
    )
