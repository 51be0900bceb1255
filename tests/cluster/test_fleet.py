"""What the service sees of a cluster, with a bridge of the test's own: no Ray."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import queue
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from harness.processes import DEADLINE_SECONDS
from harness.site import CONFIG
from reeldrop.base.events import Event, FleetBroken, RendererJoined, RendererLeft
from reeldrop.base.job import Cause
from reeldrop.cluster import fleet as cluster
from reeldrop.cluster.wire import Facts, Joined, Left
from reeldrop.config import config as configuration
from reeldrop.config.config import Config
from reeldrop.video import received

FACTS = Facts("node", "cpu", "", 0, 0, False, "", 1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The settings of a service on a cluster."""
    file = tmp_path / "config.yaml"
    file.write_text("engine: ray\n" + CONFIG.format(pipeline=tmp_path))
    (tmp_path / "results").mkdir()
    return configuration.load(file)


def test_renderers_that_have_left_are_forgotten(config: Config) -> None:
    """In weeks, thousands come and go; none has the name of another."""
    told: list[Event] = []
    fleet = cluster.ClusterFleet(config, told.append)
    seen = []
    for place in range(1, 6):
        fleet._hear(Joined(place, FACTS, 0))
        joined = told[-1]
        assert isinstance(joined, RendererJoined)
        seen.append(weakref.ref(fleet.renderer(joined.id)))
        if place % 2:
            fleet._hear(Left(place, "killed", Cause.UNKNOWN))
        else:
            fleet.end(joined.id, "it hangs")
    left = next(event.id for event in told if isinstance(event, RendererLeft))
    fleet.end(left, "its place is broken", 600.0)
    fleet.end(left, "it is not there")
    orders = [fleet._orders.get_nowait()() for _ in range(3)]  # type: ignore[misc]
    assert ["it hangs", "it hangs", "its place is broken"] == [order.reason for order in orders]
    assert fleet._orders.empty()
    gc.collect()
    assert [None] * 5 == [renderer() for renderer in seen]
    assert 5 == len({event.id for event in told if isinstance(event, RendererJoined)})
    assert 3 == sum(isinstance(event, RendererLeft) for event in told)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_a_thread_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear the renderers any more, and the service would wait for ever."""
    ours, theirs = multiprocessing.Pipe()

    @contextlib.contextmanager
    def bridge(_environment: object) -> Iterator[Connection[object, object]]:
        yield ours

    monkeypatch.setattr(cluster, "bridge", bridge)
    told = queue.SimpleQueue[Event]()
    fleet = cluster.ClusterFleet(config, told.put)
    fleet.begin()
    theirs.send("what no bridge says")
    broken = told.get(timeout=DEADLINE_SECONDS)
    assert isinstance(broken, FleetBroken)
    assert "a defect of the thread 'cluster': AssertionError" in str(broken.error)
    fleet.close()

    another = cluster.ClusterFleet(config, told.put)
    another._threads[1].start()

    def order() -> Callable[[], None]:
        raise MemoryError("no room for an order")

    another._orders.put(order)  # type: ignore[arg-type]
    broken = told.get(timeout=DEADLINE_SECONDS)
    assert isinstance(broken, FleetBroken)
    assert "'orders': MemoryError" in str(broken.error)
    another._threads[1].join()


def test_two_services_on_one_results_tree_leave_each_other_alone(
    config: Config, tmp_path: Path
) -> None:
    """What each finds there at its start is its own; what nobody has used for days goes."""
    other = config.model_copy(update={"spool": tmp_path / "other spool"})
    fleets = [cluster.ClusterFleet(each, lambda _event: None) for each in (config, other)]
    folders = [received.folder(each.results, each.spool) for each in (config, other)]
    for fleet, folder in zip(fleets, folders, strict=True):
        fleet._first_message()
        (folder / "0123.mp4").touch()
    fleets[0]._first_message()  # of its next bridge
    received.remove_left(config.results, config.spool)
    assert not folders[0].exists()
    left = sorted(path.name.partition("-")[0] for path in folders[1].iterdir())
    assert ["0123.mp4", "marker"] == left
    assert folders == [received.folder(each.results, each.spool) for each in (config, other)]
    received.remove_old(config.results, 3600)
    assert (folders[1] / "0123.mp4").exists()
    os.utime(folders[1] / "0123.mp4", (0, 0))
    received.remove_old(config.results, 3600)
    assert ["marker"] == [path.name[:6] for path in folders[1].iterdir()]
