"""Which profiles can't be used for now, why, and when they are tried again.

Trouble with one model stops no prompts of another. Does no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reeldrop.base.errors import ConfigError, FileError
from reeldrop.schedule.retries import MAX_PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a model can't be used.

    tries: how often it failed, one after the other
    due: when it is tried again; infinite if it is not, as the renderer can never use it
    is_final: whether prompts fail until then; else they wait
    """

    error: Exception
    tries: int
    due: float
    is_final: bool


_NONE = frozenset[str]()


class Models:
    """The models in trouble, by name, until they work; each renderer may have troubles of its own.

    own: the profile for prompts that name none; their authors did not choose it, so they wait
    is_patient: whether prompts wait for a model that may work later
    """

    def __init__(self, own: str, retry_seconds: float, *, is_patient: bool) -> None:
        self._own = own
        self._retry_seconds = retry_seconds
        self._is_patient = is_patient
        self._troubles: dict[str, dict[str, Trouble]] = {}
        self._renderers: set[str] = set()

    def join(self, renderer: str) -> None:
        """Record that there is a renderer."""
        self._renderers.add(renderer)

    def leave(self, renderer: str) -> None:
        """Forget a renderer that is lost."""
        self._renderers.discard(renderer)
        for model in tuple(self._troubles):
            self.works(model, renderer)

    def problems(self) -> dict[str, str]:
        """Return why models can't be used by any renderer."""
        return {model: _in_words(found[0].error) for model, found in self._of_all()}

    def problems_of(self, renderer: str) -> dict[str, str]:
        """Return why models can't be used by a renderer that might use them."""
        found = ((model, of.get(renderer)) for model, of in self._troubles.items())
        return {m: _in_words(t.error) for m, t in found if t is not None and t.due < math.inf}

    def exclude(self, model: str, error: Exception, renderer: str) -> None:
        """Record that a renderer can never use a model, such as for want of memory."""
        is_final = not self._waits(model, error)
        self._troubles.setdefault(model, {})[renderer] = Trouble(error, 0, math.inf, is_final)

    def _waits(self, model: str, error: Exception) -> bool:
        return self._is_patient and (model == self._own or not isinstance(error, ConfigError))

    def failed(self, model: str, error: Exception, now: float, renderer: str = "") -> bool:
        """Record that a model could not be loaded; return whether that is news.

        It is tried again after pauses that double.
        """
        troubles = self._troubles.setdefault(model, {})
        before = troubles.get(renderer)
        if before is not None and before.due == math.inf:
            return False
        tries = before.tries + 1 if before is not None else 1
        pause = min(self._retry_seconds * 2 ** min(tries - 1, 30), MAX_PAUSE_SECONDS)
        due = now + max(self._retry_seconds, pause)
        troubles[renderer] = Trouble(error, tries, due, is_final=not self._waits(model, error))
        return before is None or str(before.error) != str(error)

    def works(self, model: str, renderer: str = "") -> None:
        """Record that a model was loaded or has rendered something."""
        troubles = self._troubles.get(model, {})
        troubles.pop(renderer, None)
        if not troubles:
            self._troubles.pop(model, None)

    def refusal(self, model: str, now: float) -> Exception | None:
        """Return why prompts of a model fail at once; None if they do not, or only wait."""
        found = self._of_all_renderers(model)
        if found and all(trouble.is_final and now < trouble.due for trouble in found):
            return found[0].error
        return None

    def resting(self, now: float) -> dict[str, float]:
        """Return until when prompts wait for each model that is tried again later.

        If no renderer can ever use it, for a short while: another one may join.
        """
        due = {
            model: min(trouble.due for trouble in found)
            for model, found in self._of_all()
            if all(now < trouble.due for trouble in found)
            and not all(trouble.is_final for trouble in found)
        }
        soon = now + self._retry_seconds
        return {model: at if at < math.inf else soon for model, at in due.items()}

    def unusable(self, renderer: str, now: float) -> frozenset[str]:
        """Return what a renderer can't use for now, while others may."""
        if not self._troubles:
            return _NONE
        return frozenset(
            model
            for model, found in self._troubles.items()
            if renderer in found and now < found[renderer].due and not self.refusal(model, now)
        )

    def _of_all(self) -> list[tuple[str, list[Trouble]]]:
        """Return the models, with their troubles, that no renderer can use."""
        found = ((model, self._of_all_renderers(model)) for model in self._troubles)
        return [(model, troubles) for model, troubles in found if troubles]

    def _of_all_renderers(self, model: str) -> list[Trouble]:
        """Return the troubles with a model, if all renderers have one; else none.

        Of renderers that can never use it only if there are no others.
        """
        found = self._troubles.get(model, {})
        if not found or not self._renderers <= found.keys():
            return []
        passing = [trouble for trouble in found.values() if trouble.due < math.inf]
        return passing or list(found.values())


def _in_words(error: Exception) -> str:
    if isinstance(error, FileError):
        return "; ".join(mistake.problem for mistake in error.mistakes)
    return str(error)
