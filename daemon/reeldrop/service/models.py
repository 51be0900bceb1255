"""Which profiles can't be used for now, why, and when they are tried again.

Trouble with one model stops no prompts of another. Does no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass

from reeldrop.base.errors import ConfigError, FileError, Mistake, Unavailable
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


ENDS = 3
"""After so many renderers in a row that a model has ended, no other one has to load it."""


class Models:
    """The models in trouble, by name, until they work; each renderer may have troubles of its own.

    own: the profile for prompts that name none; their authors did not choose it, so they wait
    is_patient: whether prompts wait for a model that may work later
    are_expected: returns whether other renderers will probably join, which may be able to use it
    """

    def __init__(
        self,
        own: str,
        retry_seconds: float,
        *,
        is_patient: bool,
        are_expected: Callable[[float], bool] = lambda _now: False,
    ) -> None:
        self._own = own
        self._retry_seconds = retry_seconds
        self._is_patient = is_patient
        self._are_expected = are_expected
        self._troubles: dict[str, dict[str, Trouble]] = {}
        self._ends: dict[str, Trouble] = {}
        self._ended_at: dict[str, set[str]] = {}
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
        """Record that a renderer can never use a model, such as for want of memory.

        With a ConfigError, no other can join that might: prompts fail, whoever chose the model.
        """
        is_final = isinstance(error, ConfigError) or not self._is_patient
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
        troubles[renderer] = self._trouble(model, error, tries, tries - 1, now)
        return before is None or str(before.error) != str(error)

    def _trouble(
        self, model: str, error: Exception, tries: int, doublings: int, now: float
    ) -> Trouble:
        pause = min(self._retry_seconds * 2 ** min(max(0, doublings), 30), MAX_PAUSE_SECONDS)
        due = now + max(self._retry_seconds, pause)
        return Trouble(error, tries, due, is_final=not self._waits(model, error))

    def ended(
        self, model: str, reason: str, now: float, place: str, trying: Set[str] = _NONE
    ) -> Exception | None:
        """Record that a renderer ended while it loaded a model, and none has it.

        Return the error for all renderers, after ENDS of them in a row; else None. While it is
        being loaded where it has not ended one yet, it may be the place that is to blame.

        trying: the places where others are loading it
        """
        before = self._ends.get(model)
        tries = before.tries + 1 if before is not None else 1
        places = self._ended_at.setdefault(model, set())
        places.add(place)
        if trying - places:
            tries = min(tries, ENDS - 1)
        problem = f"{tries} renderers in a row ended while they loaded it, the last one: {reason}"
        remedy = "see the log of its machine: too little memory, a driver, a damaged file?"
        error = Unavailable(Mistake(problem, remedy, key=model))
        self._ends[model] = self._trouble(model, error, tries, tries - ENDS, now)
        return error if tries >= ENDS else None

    def ends_renderers(self, model: str, now: float) -> bool:
        """Return whether a model has ended so many renderers that it is not loaded for now."""
        found = self._ends.get(model)
        return found is not None and found.tries >= ENDS and now < found.due

    def renders(self, model: str, renderer: str) -> None:
        """Record that a model has rendered something."""
        self._ends.pop(model, None)
        self._ended_at.pop(model, None)
        self.works(model, renderer)

    def works(self, model: str, renderer: str = "") -> None:
        """Record that a model was loaded."""
        troubles = self._troubles.get(model, {})
        troubles.pop(renderer, None)
        if not troubles:
            self._troubles.pop(model, None)

    def refusal(self, model: str, now: float) -> Exception | None:
        """Return why prompts of a model fail at once; None if they do not, or only wait."""
        found = self._of_all_renderers(model)
        if found and all(self._is_final(trouble, now) for trouble in found):
            return found[0].error
        return None

    def _is_final(self, trouble: Trouble, now: float) -> bool:
        if not trouble.is_final or now >= trouble.due:
            return False
        may_others = trouble.due == math.inf and not isinstance(trouble.error, ConfigError)
        return not (may_others and self._are_expected(now))

    def resting(self, now: float) -> dict[str, float]:
        """Return until when prompts wait for each model that is tried again later.

        If no renderer can ever use it, for a short while: another one may join.
        """
        due = {
            model: min(trouble.due for trouble in found)
            for model, found in self._of_all()
            if all(now < trouble.due for trouble in found)
            and not all(self._is_final(trouble, now) for trouble in found)
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

    def all_unusable(self, now: float) -> dict[str, frozenset[str]]:
        """Return what each renderer can't use for now; none that can use all."""
        unusable: dict[str, set[str]] = {}
        for model, found in self._troubles.items():
            if self.refusal(model, now):
                continue
            for renderer, trouble in found.items():
                if now < trouble.due:
                    unusable.setdefault(renderer, set()).add(model)
        return {renderer: frozenset(models) for renderer, models in unusable.items()}

    def is_excluded(self, model: str, renderer: str) -> bool:
        """Return whether a renderer can never use a model."""
        found = self._troubles.get(model, {}).get(renderer)
        return found is not None and found.due == math.inf

    def _of_all(self) -> list[tuple[str, list[Trouble]]]:
        """Return the models, with their troubles, that no renderer can use."""
        models = dict.fromkeys((*self._troubles, *self._ends))
        return [(model, found) for model in models if (found := self._of_all_renderers(model))]

    def _of_all_renderers(self, model: str) -> list[Trouble]:
        """Return the troubles with a model, if all renderers have one; else none.

        Of renderers that can never use it only if there are no others.
        """
        ended = self._ends.get(model)
        if ended is not None and ended.tries >= ENDS:
            return [ended]
        found = self._troubles.get(model, {})
        if not found or not self._renderers <= found.keys():
            return []
        passing = [trouble for trouble in found.values() if trouble.due < math.inf]
        return passing or list(found.values())


def _in_words(error: Exception) -> str:
    if isinstance(error, FileError):
        return "; ".join(mistake.problem for mistake in error.mistakes)
    return str(error)
