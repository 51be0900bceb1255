"""What is to be translated, in turn: by jobs, and not before it is due. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reeldrop.base.errors import Unrenderable
from reeldrop.base.job import Prompt
from reeldrop.translation.process import Untranslatable


class Reads(NamedTuple):
    """What a profile reads: the languages of its text encoder, None if unknown; and weights."""

    languages: tuple[str, ...] | None = None
    weights: bool = False


Result = tuple[Prompt, Unrenderable | None]
"""A prompt with its translations, and why it has none; None if it has."""


Parts = dict[tuple[str, str], str | Untranslatable]
"""The translations of sentences, or why there are none, by language and sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Prompts to translate, and what each profile reads.

    due: not before this time, in seconds of the monotonic clock
    trouble: why it waits for a translator; empty if it does not
    done: the results of its first prompts
    parts: the translated sentences of the next one
    """

    prompts: tuple[Prompt, ...]
    reads: Mapping[str, Reads]
    due: float = 0.0
    trouble: str = ""
    done: tuple[Result, ...] = ()
    parts: Parts = field(default_factory=dict)


class Orders:
    """Orders of jobs, which take turns, so that none waits for all prompts of another."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Order]] = OrderedDict()

    def add(self, job_id: str, order: Order, *, first: bool = False) -> None:
        """Add an order of a job behind its others; or before them, if it is `first`."""
        orders = self._waiting.setdefault(job_id, deque())
        if first:
            orders.appendleft(order)
        else:
            orders.append(order)

    def of(self, job_id: str) -> Sequence[Order]:
        """Return the orders of a job."""
        return tuple(self._waiting.get(job_id, ()))

    def forget(self, job_id: str) -> None:
        """Drop the orders of a job."""
        self._waiting.pop(job_id, None)

    def take(self, now: float) -> tuple[str, Order] | None:
        """Take the next order that is due, and the id of its job; None if there is none."""
        for job_id, orders in self._waiting.items():
            order = next((order for order in orders if order.due <= now), None)
            if order is not None:
                orders.remove(order)
                del self._waiting[job_id]
                if orders:
                    self._waiting[job_id] = orders  # behind the others
                return job_id, order
        return None

    def next_due(self) -> float | None:
        """Return when the next order is due; None if there is none."""
        dues = (order.due for orders in self._waiting.values() for order in orders)
        return min(dues, default=None)
