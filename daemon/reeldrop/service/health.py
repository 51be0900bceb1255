"""Which places fail what others render: GPUs, or machines without one.

A place is suspected after `MOST` failures in a row, and broken as soon as another place has
rendered one of these prompts. A prompt that fails elsewhere, too, says nothing about a place.
Does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST = 3
"""So many failures in a row, without a success between them, are no accident."""


@dataclass(slots=True)
class _Failure:
    """What failed at a place: a prompt, or the load of a model.

    renderer: that was there
    is_load: whether its renderer ended while it loaded the model
    works_elsewhere: whether it has succeeded at another place
    """

    renderer: str
    model: str
    reason: str
    is_load: bool = False
    works_elsewhere: bool = False


class Health:
    """The failures in a row at each place, by a key of what failed."""

    def __init__(self) -> None:
        self._places: dict[str, dict[tuple[str, int], _Failure]] = {}

    def failed(
        self, place: str, renderer: str, job_id: str, number: int, model: str, reason: str
    ) -> None:
        """Record that a prompt failed, or ended its renderer."""
        key, is_elsewhere = (job_id, number), False
        for at, found in self._places.items():
            is_elsewhere |= at != place and found.pop(key, None) is not None
        if not is_elsewhere:
            self._note(place, key, _Failure(renderer, model, reason))

    def load_failed(
        self, place: str, renderer: str, model: str, reason: str, *, works_elsewhere: bool
    ) -> None:
        """Record that a renderer ended while it loaded a model, or rendered its warm-up."""
        failure = _Failure(renderer, model, reason, True, works_elsewhere)
        self._note(place, (renderer, 0), failure)

    def _note(self, place: str, key: tuple[str, int], failure: _Failure) -> None:
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
                if failure.is_load and failure.model == model and at != place:
                    failure.works_elsewhere = True

    def suspicion(self, place: str) -> str:
        """Return why a place is suspected, in words; empty if it is not."""
        found = list(self._places.get(place, {}).values())
        if len(found) < MOST:
            return ""
        return f"{MOST} failures in a row, the last one: {found[-1].reason}"

    def models(self, place: str) -> set[str]:
        """Return the models of what failed at a place."""
        return {failure.model for failure in self._places.get(place, {}).values()}

    def broken(self) -> list[tuple[str, str]]:
        """Return the places that are broken, each with the last renderer that was there."""
        return [
            (place, list(found.values())[-1].renderer)
            for place, found in self._places.items()
            if len(found) >= MOST and any(failure.works_elsewhere for failure in found.values())
        ]

    def forget(self, place: str) -> None:
        """Drop what is known of a place: it is left out, or its machine is lost."""
        self._places.pop(place, None)
