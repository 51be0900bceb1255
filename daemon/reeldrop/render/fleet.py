"""Where renderers come from: the `Fleet` protocol, and the fleet of one renderer in this process.

Does not know what renderers are told to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from reeldrop.base.errors import RendererDied
from reeldrop.base.events import FromRenderer, RendererJoined
from reeldrop.base.fleet import Device
from reeldrop.render import pipeline
from reeldrop.render.renderer import InProcessRenderer

if TYPE_CHECKING:
    from reeldrop.base.events import Event
    from reeldrop.render.renderer import Renderer
    from reeldrop.render.source import ModelSource

OWN = "own"
"""The id of the renderer in this process."""


class Fleet(Protocol):
    """The renderers that there are. They may come and go.

    It tells RendererJoined and RendererLeft, FromRenderer between the two, and FleetTrouble. An
    event has the very batch that the renderer was given. The methods of a renderer return at once;
    those of one that has left do nothing.

    can_lose: whether a renderer can be lost while the process goes on; else the process ends with
        the first that does
    """

    can_lose: bool

    def begin(self) -> Sequence[RendererJoined]:
        """Return the renderers that are there at once, and tell of the others as they come."""

    def renderer(self, id: str) -> Renderer:
        """Return a renderer that has joined."""

    def end(self, id: str, reason: str) -> None:
        """End a renderer that hangs or is broken, without waiting for that; it counts as gone."""

    def close(self) -> None:
        """End all renderers. Nothing is in hand, except what can't be waited for."""


class OwnRenderer:
    """One renderer in this process, which can't go on without it."""

    can_lose = False

    def __init__(self, sources: Mapping[str, ModelSource], tell: Callable[[Event], None]) -> None:
        self._renderer = InProcessRenderer(sources, lambda event: tell(FromRenderer(OWN, event)))

    def begin(self) -> Sequence[RendererJoined]:
        return (RendererJoined(OWN, Device(pipeline.device_name())),)

    def renderer(self, id: str) -> Renderer:
        return {OWN: self._renderer}[id]

    def end(self, id: str, reason: str) -> None:
        raise RendererDied(f"{id}: {reason}")

    def close(self) -> None: ...
