"""Which places fail what others render: GPUs, or machines without one.

A place is suspected after `MOST` failures in a row, and broken as soon as others have succeeded
with all of them. A prompt that fails elsewhere, too, says nothing about a place. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reeldrop.base.job import Prompt

MOST = 3
"""So many failures in a row, without a success between them, are no accident."""


@dataclass(slots=True)
class Failure:
    """What failed at a place: a prompt, or the load of a model.

    at: when, by a monotonic clock
    renderer: that was there
    job_id, prompt: empty and None if its renderer ended while it loaded the model
    works_elsewhere: whether it has succeeded at another place
    """

    at: float
    renderer: str
    model: str
    reason: str
    job_id: str = ""
    prompt: Prompt | None = None
    works_elsewhere: bool = False


class Health:
    """The failures in a row at each place, by a key of what failed."""

    def __init__(self) -> None:
        self._places: dict[str, dict[tuple[str, int], Failure]] = {}

    def failed(
        self, place: str, renderer: str, job_id: str, prompt: Prompt, reason: str, now: float
    ) -> None:
        """Record that a prompt failed, or ended its renderer."""
        key, is_elsewhere = (job_id, prompt.number), False
        for at, found in self._places.items():
            is_elsewhere |= at != place and found.pop(key, None) is not None
        if not is_elsewhere:
            self._note(place, key, Failure(now, renderer, prompt.model, reason, job_id, prompt))

    def load_failed(
        self,
        place: str,
        renderer: str,
        model: str,
        reason: str,
        now: float,
        *,
        works_elsewhere: bool,
    ) -> None:
        """Record that a renderer ended while it loaded a model, or rendered its warm-up."""
        failure = Failure(now, renderer, model, reason, works_elsewhere=works_elsewhere)
        self._note(place, (renderer, 0), failure)

    def _note(self, place: str, key: tuple[str, int], failure: Failure) -> None:
        found = self._places.setdefault(place, {})
        found.pop(key, None)
        found[key] = failure
        if len(found) > MOST:
            del found[next(iter(found))]

    def rendered(self, place: str, keys: Iterable[tuple[str, int]]) -> None:
        """Record that prompts, each a job's id and a number, were rendered."""
        self._places.pop(place, None)
        for found in self._places.values():
            for key in found.keys() & set(keys):
                found[key].works_elsewhere = True

    def loaded(self, place: str, model: str) -> None:
        """Record that a model was loaded."""
        for at, found in self._places.items():
            for failure in found.values():
                if failure.prompt is None and failure.model == model and at != place:
                    failure.works_elsewhere = True

    def failures(self, place: str) -> list[Failure]:
        """Return why a place is suspected, the last one last; empty if it is not."""
        found = self._places.get(place)
        return list(found.values()) if found and len(found) >= MOST else []

    def suspected(self) -> list[str]:
        """Return the places that are suspected."""
        return [place for place in self._places if self.failures(place)]

    def suspicion(self, place: str) -> str:
        """Return why a place is suspected, in words; empty if it is not."""
        found = self.failures(place)
        return f"{MOST} failures in a row, the last one: {found[-1].reason}" if found else ""

    def broken(self) -> list[tuple[str, str]]:
        """Return the places that are broken, each with the last renderer that was there."""
        suspected = ((place, self.failures(place)) for place in self.suspected())
        return [
            (place, found[-1].renderer)
            for place, found in suspected
            if all(failure.works_elsewhere for failure in found)
        ]

    def forget(self, place: str) -> None:
        """Drop what is known of a place: it is left out, or its machine is lost."""
        self._places.pop(place, None)
