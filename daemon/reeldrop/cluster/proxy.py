"""A renderer of the cluster, as the service sees it: sends calls as messages, reads its events.

Does not know how the messages are sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from reeldrop.base.events import BatchFailed, BatchRendered, Previewed, StepDone
from reeldrop.cluster.wire import (
    Cancel,
    Instruction,
    Load,
    Order,
    Release,
    Render,
    Said,
    Tune,
    Use,
)

if TYPE_CHECKING:
    from reeldrop.base.events import RendererEvent
    from reeldrop.base.job import Batch
    from reeldrop.render.source import ModelSource


class ClusterRenderer:
    """Implements `Renderer`. Orders are numbered when they are given, and pickled when sent.

    place: the number that the bridge has given to its actor
    send: takes a function that makes a message, and calls it on another thread
    """

    def __init__(self, place: int, send: Callable[[Callable[[], Order]], None]) -> None:
        self.place = place
        self._send = send
        self._orders = itertools.count(1)
        self._numbers = itertools.count(1)
        self._batches: dict[int, Batch] = {}
        self._has_left = False

    def load(self, model: str) -> None:
        self._order(lambda: Load(model))

    def release(self, model: str, *, keeps: bool) -> None:
        self._order(lambda: Release(model, keeps))

    def use(self, sources: Mapping[str, ModelSource]) -> None:
        self._order(lambda: Use(sources))

    def render(self, batch: Batch) -> None:
        number = next(self._numbers)
        self._batches[number] = batch
        self._order(lambda: _with_pictures(number, batch))

    def cancel(self, batch: Batch) -> None:
        for number, known in list(self._batches.items()):
            if known is batch:
                self._order(partial(Cancel, number))

    def tune(self, source: ModelSource, allowed: Mapping[str, Any], rounds: int) -> None:
        """Let it measure how a profile is rendered fastest, before it has loaded anything."""
        self._order(lambda: Tune(source, allowed, rounds))

    def close(self) -> None:
        """Do nothing: the fleet ends all renderers together."""

    def leave(self) -> None:
        """Ignore all further orders."""
        self._has_left = True
        self._batches.clear()

    def heard(self, told: bytes) -> RendererEvent | None:
        """Return the renderer's event; None if nobody waits for it any more."""
        said: Said = pickle.loads(told)
        event = said.event
        if not isinstance(event, BatchRendered | BatchFailed | StepDone | Previewed):
            return None if self._has_left else event
        batch = self._batches.get(said.number)
        if batch is None:
            return None
        if isinstance(event, BatchRendered | BatchFailed):
            self._batches.pop(said.number, None)  # the service may just have let it leave
        return dataclasses.replace(event, batch=batch)

    def _order(self, make: Callable[[], Instruction]) -> None:
        if not self._has_left:
            number = next(self._orders)
            self._send(lambda: Order(self.place, number, pickle.dumps(make())))


def _with_pictures(number: int, batch: Batch) -> Render:
    """Return the order to render a batch, with the content of its pictures.

    A picture that can't be read is left out: the renderer reports it as missing.
    """
    pictures = {}
    for prompt in batch.prompts:
        for picture in prompt.pictures:
            with contextlib.suppress(OSError):
                pictures[picture.path] = picture.path.read_bytes()
    return Render(number, batch, pictures)
