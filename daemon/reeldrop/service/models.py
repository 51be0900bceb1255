"""Which profiles can't be used for now, why, and when they are tried again.

Trouble with one model stops no prompts of another. Does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from reeldrop.base.errors import ConfigError, FileError
from reeldrop.schedule.retries import MAX_PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a model can't be used.

    tries: how often it failed, one after the other
    due: when it is tried again
    is_final: whether prompts fail until then; else they wait
    """

    error: Exception
    tries: int
    due: float
    is_final: bool


class Models:
    """The models in trouble, by name, until they work.

    own: the profile for prompts that name none; their authors did not choose it, so they wait
    is_patient: whether prompts wait for a model that may work later
    """

    def __init__(self, own: str, retry_seconds: float, *, is_patient: bool) -> None:
        self._own = own
        self._retry_seconds = retry_seconds
        self._is_patient = is_patient
        self._troubles: dict[str, Trouble] = {}

    def problems(self) -> dict[str, str]:
        """Return why models can't be used."""
        return {model: _in_words(trouble.error) for model, trouble in self._troubles.items()}

    def failed(self, model: str, error: Exception, now: float) -> bool:
        """Record that a model could not be loaded; return whether that is news.

        It is tried again after pauses that double.
        """
        before = self._troubles.get(model)
        tries = before.tries + 1 if before is not None else 1
        pause = min(self._retry_seconds * 2 ** min(tries - 1, 30), MAX_PAUSE_SECONDS)
        waits = self._is_patient and (model == self._own or not isinstance(error, ConfigError))
        due = now + max(self._retry_seconds, pause)
        self._troubles[model] = Trouble(error, tries, due, is_final=not waits)
        return before is None or str(before.error) != str(error)

    def works(self, model: str) -> None:
        """Record that a model was loaded or has rendered something."""
        self._troubles.pop(model, None)

    def refusal(self, model: str, now: float) -> Exception | None:
        """Return why prompts of a model fail at once; None if they do not, or only wait."""
        found = self._troubles.get(model)
        return found.error if found is not None and found.is_final and now < found.due else None

    def resting(self, now: float) -> dict[str, float]:
        """Return until when prompts wait for each model that is tried again later."""
        return {
            model: trouble.due
            for model, trouble in self._troubles.items()
            if now < trouble.due and not trouble.is_final
        }


def _in_words(error: Exception) -> str:
    if isinstance(error, FileError):
        return "; ".join(mistake.problem for mistake in error.mistakes)
    return str(error)
