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
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from reeldrop.base.errors import RenderCancelled
from reeldrop.render import measure, pipeline, placements, rendering, split
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.orders import Answer, Call, Failed, Order, Place, Ready, Render, Said, Seat


class Follower:
    """Obeys rank 0."""

    def __init__(self, link: Connection[Said, Order | None]) -> None:
        self._link = link
        self._loaded: LoadedPipeline | None = None
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._is_calling = False

    def work(self, seat: Seat) -> None:
        """Load the model, and obey until rank 0 needs it no more."""

        def join(_folder: str) -> None:
            self._link.send(Answer())
            split.meet(seat.rank, seat.source.gpus, seat.place)

        def load() -> None:
            self._loaded = pipeline.load(seat.source, join=join)

        threading.Thread(target=self._listen, daemon=True).start()
        self._link.send(Answer(_error_of(load)))
        while (order := self._orders.get()) is not None:
            if not isinstance(order, Call):  # of a render that failed here
                self._obey(order)
        split.part()

    def _obey(self, order: Render | Place) -> None:
        def act() -> None:
            assert self._loaded is not None
            if isinstance(order, Render):
                rendering.follow(self._loaded, order.prompts, self._await_call, self._end_call)
            else:
                self._loaded = placements.put_again(self._loaded, order.placement)

        if error := _error_of(act):
            self._link.send(Failed(error, self._is_calling))
        self._is_calling = False
        split.settle()  # what still waits for the others is no end
        if error or isinstance(order, Place):  # not earlier: the traceback held the tensors
            measure.empty_cache()
        self._link.send(Answer(error))

    def _await_call(self) -> None:
        self._link.send(Ready())
        order = self._orders.get()
        if not (isinstance(order, Call) and order.goes_on):
            raise RenderCancelled
        self._is_calling = True

    def _end_call(self) -> None:
        self._is_calling = False

    def _listen(self) -> None:
        """Take the orders; end the process if rank 0 has ended."""
        try:
            while (order := self._link.recv()) is not None:
                self._orders.put(order)
            self._orders.put(None)
            self._link.recv()
        except (EOFError, OSError):
            os._exit(0)


def _error_of(act: Callable[[], None]) -> str:
    """Return what goes wrong in words; empty if nothing does."""
    try:
        act()
    except Exception as error:  # a model may raise anything, and rank 0 meets the same
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    """Serve the process that has given this one a connection."""
    link: Connection[Any, Any] = Connection(int(sys.argv[1]))
    Follower(link).work(link.recv())


if __name__ == "__main__":
    main()
