"""The renderers of a cluster, as the service sees them.

Starts the bridge, and another one whenever it ends; its actors end with it. Has two threads: one
keeps a bridge running and reads its messages, the other sends it the orders.
"""

from __future__ import annotations

import pickle
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import PurePath
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import RendererDied
from reeldrop.base.events import (
    Event,
    FleetBroken,
    FleetTrouble,
    FromRenderer,
    RendererJoined,
    RendererLeft,
)
from reeldrop.base.fleet import Device
from reeldrop.base.job import Cause
from reeldrop.base.roots import Root
from reeldrop.cluster import access
from reeldrop.cluster.process import bridge
from reeldrop.cluster.proxy import ClusterRenderer
from reeldrop.cluster.wire import (
    Connected,
    End,
    Joined,
    Left,
    Message,
    Order,
    Setup,
    Start,
    Told,
    Trouble,
)
from reeldrop.config import profiles
from reeldrop.render.source import bundled_model
from reeldrop.video import received

if TYPE_CHECKING:
    from reeldrop.config.config import Config

AGAIN_SECONDS = 5.0
"""How long after the end of a bridge the next one is started."""

JOIN_SECONDS = 120.0
"""How long a bridge may take to join a cluster, or to start one."""

SILENT_SECONDS = 60.0
"""How long a bridge may say nothing then. It waits for a head that hangs, or that is cut off, as
long as that does; prompts in hand would be blamed for it after `stall_seconds`."""

LEFT_SECONDS = 2 * 86400.0
"""Files of lost renderers are removed at this age: no renderer that still works is so slow."""

_log = structlog.get_logger()


class ClusterFleet:
    """The renderers of a Ray cluster; see `Fleet`.

    expected: how many there will be, if no node joins or leaves; None before it is connected

    Raises:
        ConfigError: Ray is not installed, or what config.yaml says of the cluster can't be used.
    """

    can_lose = True

    def __init__(self, config: Config, tell: Callable[[Event], None]) -> None:
        self._config = config
        ray = config.ray
        self._node_ip, self._network = access.require(ray.interface, ray.token_file)
        self._tell = tell
        self._there: dict[int, tuple[str, ClusterRenderer]] = {}
        self._new: dict[str, ClusterRenderer] = {}
        self._free: dict[str, int] = {}
        self.expected: int | None = None
        self._last = 0
        self._reason = ""
        self._trouble = FleetTrouble("")
        self._closing = threading.Event()
        self._link: Connection[object, object] | None = None
        self._orders: queue.SimpleQueue[Callable[[], Order | End] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=partial(self._work, work), name=name, daemon=True)
            for work, name in ((self._keep_a_bridge, "cluster"), (self._bring, "orders"))
        ]

    def begin(self) -> Sequence[RendererJoined]:
        for thread in self._threads:
            thread.start()
        return ()

    def renderer(self, id: str) -> ClusterRenderer:
        return self._new.pop(id)  # the one who asked has it from now on

    def end(self, id: str, reason: str, pause: float = 0.0) -> None:
        place = int(id.rpartition("/")[2])
        if (found := self._there.pop(place, None)) is not None:
            found[1].leave()
        if found is not None or pause:
            self._orders.put(partial(End, place, reason, pause))

    def close(self) -> None:
        self._closing.set()
        self._orders.put(None)
        self._threads[0].join()  # the other one may hang while it reads pictures from a share
        received.remove_left(self._config.results, self._config.spool)

    # The bridge

    def _work(self, work: Callable[[], None]) -> None:
        """Work until the end. A defect ends the service, which would wait in vain otherwise."""
        try:
            work()
        except BaseException as error:
            words = f"a defect of the thread '{threading.current_thread().name}'"
            self._tell(FleetBroken(RendererDied(f"{words}: {type(error).__name__}: {error}")))
            raise

    def _keep_a_bridge(self) -> None:
        environment = access.environment(self._config.ray.address, self._config.ray.token_file)
        while not self._closing.is_set():
            self._reason = f"the connection to the cluster ({self._config.ray.address}) is lost"
            try:
                with bridge(environment) as link:
                    self._listen(link)
            except OSError as error:  # there is no room for a process now
                self._reason = f"the process for Ray can't be started: {error}"
            for place in list(self._there):
                self._left(Left(place, self._reason, Cause.MACHINE))
            if not self._closing.is_set():
                again = f"{self._reason}; it is tried again every {AGAIN_SECONDS:.0f} s"
                self._note(FleetTrouble(again, self._trouble.is_final))
                self._closing.wait(AGAIN_SECONDS)

    def _listen(self, link: Connection[object, object]) -> None:
        """Read the messages of a bridge, until it or this fleet ends."""
        try:
            first = self._first_message()
        except OSError as error:
            self._reason = f"the spool can't be used: {error}"
            return
        try:
            link.send(first)
            self._link = link  # not earlier, or an order may be what it hears first
            heard, most = time.monotonic(), JOIN_SECONDS
            while not self._closing.is_set():
                if link.poll(0.5):
                    message = link.recv()
                    assert isinstance(message, Message)
                    heard, most = time.monotonic(), SILENT_SECONDS
                    self._hear(message)
                elif time.monotonic() >= heard + most:  # Ray would wait for some minutes
                    where = self._config.ray.address
                    self._reason = f"the cluster ({where}) has not answered for {most:.0f} s"
                    return
        except (EOFError, OSError):
            return
        finally:
            self._link = None

    def _bring(self) -> None:
        """Send orders to the bridge. Without a bridge they are dropped: no renderer is left."""
        while (make := self._orders.get()) is not None:
            link, message = self._link, make()
            if link is not None:
                try:
                    link.send(message)
                except (OSError, TypeError):  # TypeError: it was closed in the middle
                    _log.debug("order_lost", place=message.place)

    def _first_message(self) -> Start:
        ray, folder = self._config.ray, received.folder(self._config.results, self._config.spool)
        marker, secret = f"marker-{secrets.token_hex(8)}", secrets.token_hex(32)
        try:
            folder.mkdir(exist_ok=True)
            with Root(folder.parent).opened(PurePath(folder.name)) as held:
                for old in held.glob("marker-*"):
                    old.unlink(missing_ok=True)
                (held / marker).write_text(secret, encoding="utf-8")
        except OSError as error:  # the results can't be reached: use the network
            _log.warning("no_marker_in_results", reason=str(error))
        sources = profiles.sources(self._config)
        bundled, encoder = str(bundled_model()), self._config.mp4_encoder
        setup = pickle.dumps(Setup(sources, bundled, encoder, folder, marker, secret))
        most = None if ray.renderers == "all" else ray.renderers
        return Start(
            ray.address,
            self._node_ip,
            self._network,
            most,
            setup,
            tuple({source.gpus for source in sources.values()}),
            self._free,
            self._last + 1,
        )

    # Its messages

    def _hear(self, message: Message) -> None:
        match message:
            case Connected(nodes, renderers):
                self.expected = renderers
                _log.info("cluster_joined", address=self._config.ray.address, nodes=nodes)
                self._note(FleetTrouble(""))
            case Trouble(reason, is_final):
                self._reason = reason or self._reason
                self._note(FleetTrouble(reason, is_final))
            case Joined():
                self._joined(message)
            case Told(place, events):
                self._told(place, events)
            case Left():
                self._left(message)

    def _note(self, trouble: FleetTrouble) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(trouble)

    def _joined(self, message: Joined) -> None:
        facts = message.facts
        self._last = max(self._last, message.place)
        self._free[message.key] = message.free
        renderer = f"{facts.node}/{message.place}"  # that no renderer had before
        self._new[renderer] = ClusterRenderer(message.place, self._orders.put)
        self._there[message.place] = renderer, self._new[renderer]
        limits = {
            name: profiles.batch_limit(
                name, self._config, device=facts.device, cuda=facts.total > 0
            )
            for name in self._config.models
        }
        received.remove_old(self._config.results, self._config.spool, LEFT_SECONDS)
        name = f"{facts.gpus} x {facts.device}" if facts.gpus > 1 else facts.device
        device = Device(name, facts.node, facts.total, limits, message.key, facts.device)
        self._tell(RendererJoined(renderer, device))

    def _told(self, place: int, events: tuple[bytes, ...]) -> None:
        found = self._there.get(place)
        if found is None:
            return
        name, renderer = found
        for told in events:
            try:
                event = renderer.heard(told)
            except Exception as error:  # another process has pickled it, maybe of another version
                reason = f"what it tells can't be read: {type(error).__name__}: {error}"
                self.end(name, reason)
                self._tell(RendererLeft(name, reason, Cause.WORK))
                return
            if event is not None:
                self._tell(FromRenderer(name, event))

    def _left(self, message: Left) -> None:
        found = self._there.pop(message.place, None)
        if found is not None:
            name, renderer = found
            renderer.leave()
            self._tell(RendererLeft(name, message.reason, message.cause))
