"""The thread that has texts translated, one after the other, and remembers the translations.

A process of its own translates. If it ends or hangs, another one is started; after a long time
without a text it is ended, which frees its memory.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from reeldrop.base.errors import FileError, ReeldropError, Unavailable, Unrenderable
from reeldrop.base.events import TextsTranslated
from reeldrop.base.job import Prompt
from reeldrop.base.translated import KEYS, TRANSLATE
from reeldrop.translation import by_sentence, detection, source
from reeldrop.translation.by_sentence import Delayed
from reeldrop.translation.made import Made, PartlyTranslated, checked, texts, with_translations
from reeldrop.translation.orders import Order, Orders, Parts, Reads, Result
from reeldrop.translation.process import NotLoaded, Process, TranslatorEnded
from reeldrop.translation.source import TranslatorSource

IDLE_SECONDS = 600.0
"""How long the process is kept without a text to translate."""

CLOSE_SECONDS = 5.0
"""How long `close` waits. A download can't be interrupted, but nothing is lost if it is left."""

TRIES = 3
"""How often a text is tried: it may not be to blame for the end of a process."""

MAX_PAUSE_SECONDS = 600.0
"""Longest pause before a translator that can't be downloaded now is tried again."""

MOST_KEPT = 10_000
"""Upper bound on remembered translations."""

MOST_FORESEEN = 200
"""Upper bound on the prompts that are translated in advance."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Rest:
    """Why a translator can't be had now, until when it is not tried again, and the pause."""

    reason: str
    until: float
    pause: float


class Translator:
    """Translates the texts of prompts for models that can't read them.

    reads: the languages that the text encoder of each profile reads
    tell: is called with each answer
    placed: returns an error of a translator with its place in config.yaml
    is_patient: whether prompts wait for a translator that can't be downloaded now; else they fail
    settings: the number of those in force
    """

    def __init__(
        self,
        sources: Mapping[str, TranslatorSource],
        reads: Mapping[str, Reads],
        tell: Callable[[TextsTranslated], None],
        *,
        placed: Callable[[FileError], Exception] = lambda error: error,
        retry_seconds: float = 5.0,
        is_patient: bool = False,
    ) -> None:
        self._tell = tell
        self._placed = placed
        self._is_patient = is_patient
        self._rests: dict[str, _Rest] = {}
        self._lock = threading.Condition()
        self._orders = Orders()
        self._foreseen: deque[Order] = deque()
        self._taken: tuple[str, Order] | None = None  # by the thread, until it is forgotten
        self.settings = 0
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
        """Apply new settings: forget all texts, and load the translators' files again.

        Only while no job is open: the prompts that wait were read under the old settings.
        """
        with self._lock:
            self.settings += 1
            self._sources, self._reads, self._retry_seconds = sources, reads, retry_seconds
            self._made = {}
            self._orders, self._taken = Orders(), None
            self._foreseen.clear()
            self._is_outdated = True
            self._lock.notify()

    # Called by the main thread: nothing here waits

    def trouble(self, job_id: str) -> str:
        """Return why a job waits for a translator that can't be downloaded; empty if it doesn't."""
        with self._lock:
            orders = [*self._orders.of(job_id)]
            if self._taken is not None and self._taken[0] == job_id:
                orders.append(self._taken[1])
        return "; ".join(dict.fromkeys(order.trouble for order in orders if order.trouble))

    def known(self, prompt: Prompt) -> Prompt | None:
        """Return a prompt with its translations, if it needs any; None if one is not yet known."""
        reads = self._reads.get(prompt.model, Reads())
        found = {}
        for key, text in texts(prompt).items():
            if detection.may_need(text, self._sources, reads.languages):
                if (made := self._made.get((text, reads))) is None:
                    return None
                found[key] = made
        return with_translations(prompt, found)

    def ask(self, job_id: str, prompts: Sequence[Prompt]) -> None:
        """Translate prompts of a job, and answer once, when all are done.

        Jobs take turns, so that none waits for all prompts of another.
        """
        with self._lock:
            self._orders.add(job_id, Order(tuple(prompts), self._reads))
            self._wake()

    def foresee(self, prompts: Sequence[Prompt]) -> None:
        """Translate prompts that may soon be needed, when there is nothing else to do."""
        if not self._sources:
            return
        for prompt in prompts[: max(0, MOST_FORESEEN - len(self._foreseen))]:
            if self.known(prompt) is None:
                with self._lock:
                    self._foreseen.append(Order((prompt,), self._reads))
                    self._wake()

    def forget(self, job_id: str) -> None:
        """Drop the waiting texts of a job that is closed."""
        with self._lock:
            self._orders.forget(job_id)
            if self._taken is not None and self._taken[0] == job_id:
                self._taken = None

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
            results = [*order.done]
            delayed: Delayed | None = None
            try:
                for prompt in order.prompts[len(results) :]:
                    results.append(self._result(prompt, order))
                    order.parts.clear()
            except Delayed as error:
                delayed = error
            order = dataclasses.replace(order, done=tuple(results))
            with self._lock:
                if self._taken is not taken or self._is_closed.is_set():
                    continue  # nobody waits for it any more
                if delayed is not None:
                    self._put_back(job_id, order, delayed)
                elif job_id:
                    self._tell(TextsTranslated(job_id, order.done, self.settings))
                self._taken = None
        self._end_process()

    def _put_back(self, job_id: str, order: Order, delayed: Delayed) -> None:
        order = dataclasses.replace(order, due=delayed.until, trouble=delayed.trouble)
        if job_id:
            self._orders.add(job_id, order, first=not delayed.trouble)
        elif not delayed.trouble:
            self._foreseen.appendleft(order)

    def _next(self) -> tuple[str, Order] | None:
        """Return the next order and the id of its job, which is empty in advance; None to end."""
        with self._lock:
            while not self._is_closed.is_set():
                if self._is_outdated:
                    self._is_outdated = False
                    self._rests.clear()
                    self._end_process()
                taken = self._orders.take(now := time.monotonic())
                if taken is None and self._foreseen:
                    taken = "", self._foreseen.popleft()
                if taken is not None:
                    self._taken = taken
                    return taken
                if (due := self._orders.next_due()) is not None:
                    self._lock.wait(max(0.0, due - now))
                elif not self._lock.wait(IDLE_SECONDS if self._process is not None else None):
                    _log.info("translator_ended", reason="nothing to translate")
                    self._end_process()
        return None

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _result(self, prompt: Prompt, order: Order) -> Result:
        found, failed = {}, dict[str, str]()
        reads = order.reads.get(prompt.model, Reads())
        for key, text in texts(prompt).items():
            try:
                found[key] = self._made_of(text, reads, order.parts)
            except Delayed:
                raise
            except Exception as error:  # if it ended this thread, prompts would wait for ever
                if not isinstance(error, ReeldropError):  # the next answer may be to this text
                    self._end_process()
                what = f"its {key.replace('_', ' ')}"
                if isinstance(error, PartlyTranslated):
                    found[key] = error.made
                    what = f"a sentence of {what}"
                failed[key] = f"{what} can't be translated: {str(error) or repr(error)}"
        made = with_translations(prompt, found)
        if not failed:
            return made, None
        remedy = f"write {' and '.join(f'`{KEYS[key]}: ...`' for key in failed)} beside it"
        remedy += f", or `{TRANSLATE}: false`, which renders it as it stands"
        return made, Unrenderable("; ".join(failed.values()), remedy)

    def _made_of(self, text: str, reads: Reads, done: Parts) -> Made:
        if (made := self._made.get((text, reads))) is not None:
            return made
        sources = self._sources
        language = detection.language(text, sources, reads.languages)
        wanted = sources.get(language or "")
        made = Made() if wanted is None else self._translated(text, wanted, reads.weights, done)
        with self._lock:
            if sources is self._sources:
                if len(self._made) >= MOST_KEPT:
                    del self._made[next(iter(self._made))]
                self._made[text, reads] = made
        return made

    def _translated(
        self, text: str, wanted: TranslatorSource, has_weights: bool, done: Parts
    ) -> Made:
        """Return the translation of a text.

        Raises:
            PartlyTranslated: some sentences of it can't be translated.
            FileError: the translator is missing, or can't be downloaded or loaded.
            TranslationFailed, TranslatorEnded: the text can't be translated.
        """
        language = wanted.language
        rest = self._rests.get(language)
        if rest is not None and time.monotonic() < rest.until:
            raise Delayed(rest.until, rest.reason)
        # Otherwise each of many texts would wait for a translator that can't be downloaded.
        tries = 1 if language in self._unavailable else TRIES
        for tries_left in reversed(range(tries)):
            try:
                folder = self._folder(wanted)
                self._unavailable.discard(language)
                self._rests.pop(language, None)
                if self._process is None:
                    self._process = Process()
                if self._is_closed.is_set():  # `close` may not have seen the process
                    raise TranslatorEnded("reeldrop is ending")
                translate = functools.partial(self._process.translated, folder)
                found = by_sentence.translated(
                    text, language, translate, done, has_weights=has_weights
                )
                made = Made(checked(found.text), language, source.by(wanted, folder))
                if found.trouble:
                    raise PartlyTranslated(found.trouble, made)
                return made
            except NotLoaded as error:
                raise self._placed(source.not_loaded(wanted, str(error))) from None
            except (TranslatorEnded, Unavailable) as error:
                if self._is_patient and isinstance(error, Unavailable):
                    raise self._rest(language, error) from None
                if isinstance(error, TranslatorEnded):
                    self._end_process()
                else:
                    self._unavailable.add(language)
                if not tries_left or self._is_closed.is_set():
                    raise
                _log.warning("translation_delayed", language=language, reason=str(error))
                self._is_closed.wait(self._retry_seconds)
        raise AssertionError

    def _folder(self, wanted: TranslatorSource) -> Path:
        try:
            return source.folder(wanted)
        except FileError as error:
            raise self._placed(error) from None

    def _rest(self, language: str, error: Unavailable) -> Delayed:
        """Let the prompts wait that need a translator, and return until when."""
        before, reason = self._rests.get(language), str(error)
        pause = min(max(self._retry_seconds, 2 * before.pause if before else 0), MAX_PAUSE_SECONDS)
        if before is None or before.reason != reason:
            _log.warning("translation_delayed", language=language, reason=reason, seconds=pause)
        rest = self._rests[language] = _Rest(reason, time.monotonic() + pause, pause)
        return Delayed(rest.until, reason)
