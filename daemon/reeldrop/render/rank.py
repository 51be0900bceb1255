"""One of several processes that render a video together, but not the one that decides.

`python -m reeldrop.render.rank DESCRIPTOR` loads a model, and calls its pipeline as rank 0 does.
It ends when rank 0 does, also in the middle of a render, and is started with the signals blocked
that are for all.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from reeldrop.base.errors import ReeldropError, RenderCancelled
from reeldrop.render import measure, pipeline, rendering, split
from reeldrop.render.pipeline import LoadedPipeline
from reeldrop.render.ranks import Answer, Call, Order, Place, Render, Seat

_ERRORS = (
    ReeldropError,
    ArithmeticError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What rank 0 may go on after, if all have met it. Any other ends this process."""


class Follower:
    """Obeys rank 0."""

    def __init__(self, link: Connection[Answer, Order | None]) -> None:
        self._link = link
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()

    def work(self, seat: Seat) -> None:
        """Load the model, and obey until rank 0 needs it no more."""

        def join(_folder: str) -> None:
            self._answer()
            split.meet(seat.rank, seat.source.gpus, seat.place)

        threading.Thread(target=self._listen, daemon=True).start()
        loaded: LoadedPipeline | None = None
        try:
            loaded = pipeline.load(seat.source, join=join)
            self._answer()
        except _ERRORS as error:
            self._answer(str(error))
        while (order := self._orders.get()) is not None:
            if loaded is not None and not isinstance(order, Call):  # of a render that failed here
                loaded = self._obey(order, loaded)
        split.part()

    def _obey(self, order: Render | Place, loaded: LoadedPipeline) -> LoadedPipeline:
        error = ""
        try:
            if isinstance(order, Render):
                rendering.follow(loaded, order.prompts, self._await_call)
            else:
                loaded = pipeline.place_again(loaded, order.placement)
        except _ERRORS as raised:
            error = f"{type(raised).__name__}: {raised}"
        split.settle()  # what still waits for the others is no end
        if error or isinstance(order, Place):  # not earlier: the traceback held the tensors
            measure.empty_cache()
        self._answer(error)
        return loaded

    def _await_call(self) -> None:
        order = self._orders.get()
        if not (isinstance(order, Call) and order.goes_on):
            raise RenderCancelled

    def _answer(self, error: str = "") -> None:
        self._link.send(Answer(error))

    def _listen(self) -> None:
        """Take the orders; end the process if rank 0 has ended."""
        try:
            while (order := self._link.recv()) is not None:
                self._orders.put(order)
            self._orders.put(None)
            self._link.recv()
        except (EOFError, OSError):
            os._exit(0)


def main() -> None:
    """Serve the process that has given this one a connection."""
    link: Connection[Any, Any] = Connection(int(sys.argv[1]))
    Follower(link).work(link.recv())


if __name__ == "__main__":
    main()
