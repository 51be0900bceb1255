"""What is to be translated, in turn: by jobs, and not before it is due. Pure."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from reeldrop.base.job import Prompt

Reads = tuple[str, ...] | None
"""The languages that a text encoder reads; None if unknown."""


@dataclass(frozen=True, slots=True)
class Order:
    """Prompts to translate, and what the text encoder of each profile reads.

    due: not before this time, in seconds of the monotonic clock
    """

    prompts: tuple[Prompt, ...]
    reads: Mapping[str, Reads]
    due: float = 0.0


class Orders:
    """Orders of jobs, which take turns, so that none waits for all prompts of another."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Order]] = OrderedDict()

    def add(self, job_id: str, order: Order) -> None:
        """Add an order of a job behind its others."""
        self._waiting.setdefault(job_id, deque()).append(order)

    def forget(self, job_id: str) -> None:
        """Drop the orders of a job."""
        self._waiting.pop(job_id, None)

    def be_due(self) -> None:
        """Let all orders be due at once."""
        for orders in self._waiting.values():
            waiting = [dataclasses.replace(order, due=0.0) for order in orders]
            orders.clear()
            orders.extend(waiting)

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
