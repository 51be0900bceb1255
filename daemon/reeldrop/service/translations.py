"""Lets prompts rest until their texts are translated, and go on then.

Does not know how texts are translated, nor what is rendered next.
"""

from __future__ import annotations

import dataclasses
import math
import time

import structlog

from reeldrop.base.events import TextsTranslated
from reeldrop.service.jobs import Jobs
from reeldrop.service.opened import OpenJob
from reeldrop.translation.translator import Translator

_log = structlog.get_logger()


class Translations:
    """The prompts of open jobs that are being translated: they rest, with no time to go on.

    renders_untranslated: whether a prompt that can't be translated is rendered as it stands
    """

    def __init__(self, translator: Translator, jobs: Jobs, *, renders_untranslated: bool) -> None:
        self._translator = translator
        self._jobs = jobs
        self.renders_untranslated = renders_untranslated

    def begin(self, opened: OpenJob) -> None:
        """Have the waiting prompts of a job translated that need it, as many at once as are
        rendered together: the first of them are rendered while the others are translated."""
        waiting = list(opened.waiting)
        opened.waiting.clear()
        rest = []
        for prompt in waiting:
            if (known := self._translator.known(prompt)) is not None:
                opened.waiting.append(known)
            else:
                rest.append(prompt)
        opened.resting += [(math.inf, prompt) for prompt in rest]
        size = self._jobs.opened.usually_together(rest[0]) if rest else 1
        for first in range(0, len(rest), size):
            self._translator.ask(opened.job.id, rest[first : first + size])

    def done(self, event: TextsTranslated) -> None:
        """Queue prompts for the renderer whose texts are translated; fail those that can't be."""
        is_outdated = event.settings != self._translator.settings  # its prompts were read anew
        if is_outdated or event.job_id not in self._jobs.opened:
            return
        opened = self._jobs.opened[event.job_id]
        for prompt, error in event.results:
            if (untranslated := opened.end_rest(prompt.number)) is None:
                continue  # it was cancelled meanwhile
            if error is not None and not self.renders_untranslated:
                self._jobs.batches.fail(opened, [untranslated], error)
                continue
            if error is not None:
                prompt = dataclasses.replace(prompt, notes=(*prompt.notes, str(error)))
                _log.warning("not_translated", job_id=event.job_id, reason=str(error))
            for _key, text in prompt.translated.texts if prompt.translated.by else ():
                what = {"job_id": event.job_id, "number": prompt.number, "text": text}
                _log.info("translated", **what, by=dict(prompt.translated.by))
            opened.resting.append((time.monotonic(), prompt))
