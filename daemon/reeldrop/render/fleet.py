"""Sets of renderers: the `Fleet` protocol, and the fleet of one renderer in this process.

Does not know what renderers are told to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from reeldrop.base.errors import RendererDied
from reeldrop.base.events import FromRenderer, RendererJoined
from reeldrop.base.fleet import Device
from reeldrop.render import devices
from reeldrop.render.renderer import InProcessRenderer

if TYPE_CHECKING:
    from reeldrop.base.events import Event, RendererEvent
    from reeldrop.render.renderer import Renderer
    from reeldrop.render.source import ModelSource

OWN = "own"
"""The id of the renderer in this process."""


class Fleet(Protocol):
    """All renderers at a time. They may join and leave.

    It tells RendererJoined and RendererLeft, FromRenderer between the two, FleetTrouble, and
    FleetBroken. The batch in an event is the same object that the renderer was given. The methods
    of a renderer return at once; those of one that has left do nothing.

    can_lose: whether the process goes on when a renderer ends; else it ends as well
    """

    can_lose: bool

    def begin(self) -> Sequence[RendererJoined]:
        """Return the renderers that exist at once; the others are told as they join."""

    def renderer(self, id: str) -> Renderer:
        """Return a renderer that has joined. Asked once for each."""

    def end(self, id: str, reason: str, pause: float = 0.0) -> None:
        """End a renderer that hangs or is broken. Does not wait; it counts as gone at once.

        pause: for so many seconds no other renderer joins on its GPU, unless it is the only one,
            and the reason is told; the renderer may have ended before
        """

    def close(self) -> None:
        """End all renderers. Called when no batch is in hand, or none can be waited for."""


class OwnRenderer:
    """One renderer in this process, which can't go on without it."""

    can_lose = False

    def __init__(self, sources: Mapping[str, ModelSource], tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._telling, self._is_closed = threading.Lock(), False
        self._renderer = InProcessRenderer(sources, self._told)

    def _told(self, event: RendererEvent) -> None:
        with self._telling:
            if not self._is_closed:  # else a thread had hung, and the next renderer has this id
                self._tell(FromRenderer(OWN, event))

    def begin(self) -> Sequence[RendererJoined]:
        device = Device(devices.name(), memory_bytes=devices.total_bytes() or 0)
        return (RendererJoined(OWN, device),)

    def renderer(self, id: str) -> Renderer:
        return {OWN: self._renderer}[id]

    def end(self, id: str, reason: str, _pause: float = 0.0) -> None:
        raise RendererDied(f"{id}: {reason}")

    def close(self) -> None:
        with self._telling:
            self._is_closed = True
