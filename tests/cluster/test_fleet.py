"""What the service sees of a cluster, with a bridge of the test's own: no Ray."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from harness.processes import DEADLINE_SECONDS
from harness.site import CONFIG
from reeldrop.base.events import (
    Event,
    FleetBroken,
    FleetTrouble,
    FromRenderer,
    RendererJoined,
    RendererLeft,
    SignOfLife,
)
from reeldrop.base.job import Cause
from reeldrop.cluster import fleet as cluster
from reeldrop.cluster.wire import End, Facts, Joined, Left, Said, Start, Told
from reeldrop.config import config as configuration
from reeldrop.config import profiles
from reeldrop.config.config import Config
from reeldrop.tune import tuned
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
        fleet._hear(Joined(place, FACTS, "n", 0))
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


def test_how_many_fit_follows_from_what_was_found_for_the_card(
    config: Config, tmp_path: Path
) -> None:
    """Also for a renderer of several GPUs, which renders most profiles on one of them."""
    settings = tmp_path / "config.yaml"
    settings.write_text(settings.read_text().replace("    max_batch_size: 2\n", ""))
    config = configuration.load(settings)
    config.spool.mkdir()
    basis = profiles.basis(profiles.untuned("tiny", config), "a card")
    tuned.note(config.spool, "tiny", "a card", tuned.Finding(basis, {"exact": True}, 8))
    told: list[Event] = []
    fleet = cluster.ClusterFleet(config, told.append)
    for place, (name, gpus, most) in enumerate(
        [("a card", 1, 8), ("a card", 2, 8), ("another", 1, 16)], start=1
    ):
        facts = replace(FACTS, device=name, gpus=gpus, total=1 << 36, gpu="node/0")
        fleet._hear(Joined(place, facts, str(place), 0))
        joined = told[-1]
        assert isinstance(joined, RendererJoined)
        shown = name if gpus == 1 else f"2 x {name}"
        assert (shown, name) == (joined.device.name, joined.device.tuned_as)
        assert most == joined.device.limits["tiny"].most


def with_bridge(link: Connection[object, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fleet have this connection instead of one to a process."""

    @contextlib.contextmanager
    def bridge(_environment: object) -> Iterator[Connection[object, object]]:
        yield link

    monkeypatch.setattr(cluster, "bridge", bridge)


def test_a_spool_that_can_not_be_used_is_told(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a lost connection: Ray has no fault in it."""
    config.spool.write_text("a file")
    with_bridge(multiprocessing.Pipe()[0], monkeypatch)
    told = queue.SimpleQueue[Event]()
    fleet = cluster.ClusterFleet(config, told.put)
    fleet.begin()
    trouble = told.get(timeout=DEADLINE_SECONDS)
    fleet.close()
    assert isinstance(trouble, FleetTrouble)
    assert trouble.reason.startswith("the spool can't be used: ")
    assert str(config.spool) in trouble.reason


def test_a_bridge_hears_of_its_work_first(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an order that was given while the results, on a slow share, were looked at."""
    ours, theirs = multiprocessing.Pipe()
    with_bridge(ours, monkeypatch)
    fleet = cluster.ClusterFleet(config, lambda _event: None)
    make, are_read, may_go_on = fleet._first_message, threading.Event(), threading.Event()

    def slow() -> Start:
        may_go_on.wait(DEADLINE_SECONDS)
        return make()

    def of_an_order() -> End:
        are_read.set()
        return End(1, "its place is broken", 600.0)

    monkeypatch.setattr(fleet, "_first_message", slow)
    fleet.begin()
    fleet._orders.put(of_an_order)
    assert are_read.wait(DEADLINE_SECONDS)
    may_go_on.set()
    assert isinstance(theirs.recv(), Start)
    fleet.close()


def begun(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> tuple[cluster.ClusterFleet, Connection[object, object], queue.SimpleQueue[Event]]:
    """Return a fleet that has begun, the end of its bridge, and what it tells the service."""
    ours, theirs = multiprocessing.Pipe()
    with_bridge(ours, monkeypatch)
    told = queue.SimpleQueue[Event]()
    fleet = cluster.ClusterFleet(config, told.put)
    fleet.begin()
    assert isinstance(theirs.recv(), Start)
    return fleet, theirs, told


def test_a_bridge_that_falls_silent_is_replaced(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head hangs, or the network to it swallows all: no prompt is to blame."""
    monkeypatch.setattr(cluster, "SILENT_SECONDS", 0.0)
    fleet, theirs, told = begun(config, monkeypatch)
    theirs.send(Joined(1, FACTS, "n", 0))
    joined, left, trouble = [told.get(timeout=DEADLINE_SECONDS) for _ in range(3)]
    assert isinstance(joined, RendererJoined)
    assert isinstance(left, RendererLeft)
    assert (joined.id, Cause.MACHINE) == (left.id, left.cause)
    assert isinstance(trouble, FleetTrouble)
    assert "the cluster (local) has not answered for 0 s" in trouble.reason
    fleet.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_a_thread_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear the renderers any more, and the service would wait for ever."""
    ours, theirs = multiprocessing.Pipe()
    with_bridge(ours, monkeypatch)
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


@pytest.mark.parametrize("event", [b"half", b"cno_such_module\nno_such_name\n.", pickle.dumps(1)])
def test_who_tells_what_can_not_be_read_is_replaced(
    event: bytes, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one with other versions of libraries. The service and other renderers go on."""
    fleet, theirs, told = begun(config, monkeypatch)
    for place in (1, 2):
        theirs.send(Joined(place, FACTS, "n", 0))
    read = pickle.dumps(Said(0, SignOfLife(7)))
    theirs.send(Told(1, (event, read)))
    theirs.send(Told(2, (read,)))
    first, second, left, sign = [told.get(timeout=DEADLINE_SECONDS) for _ in range(4)]
    assert isinstance(first, RendererJoined)
    assert isinstance(second, RendererJoined)
    assert isinstance(left, RendererLeft)
    assert (first.id, Cause.WORK) == (left.id, left.cause)
    assert left.reason.startswith("what it tells can't be read: ")
    assert FromRenderer(second.id, SignOfLife(7)) == sign
    assert End(1, left.reason) == theirs.recv()
    fleet.close()


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
    received.remove_old(config.results, config.spool, 3600)
    assert (folders[1] / "0123.mp4").exists()
    for path in folders[1].iterdir():
        os.utime(path, (0, 0))
    received.remove_old(config.results, config.spool, 3600)
    assert ["marker"] == [path.name[:6] for path in folders[1].iterdir()]


def test_what_services_that_are_gone_have_left_is_removed(config: Config) -> None:
    """Their folders, too, once nobody has used them for a month; never that of a quiet service."""
    own = received.folder(config.results, config.spool)
    names = (own.name, ".reeldrop-rendered", ".reeldrop-rendered-0123456789abcdef")
    folders = [config.results / name for name in names]
    for folder in folders:
        folder.mkdir()
        for name in ("marker-0123", *(f"{number}.mp4" for number in range(20))):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
        os.utime(folder, (0, 0))
    (folders[2] / "gone").symlink_to("nowhere")  # as if another service were faster
    os.utime(folders[2], (0, 0))
    received.remove_old(config.results, config.spool, 3600)
    assert ["marker-0123"] == [path.name for path in folders[0].iterdir()]
    assert not folders[1].exists()
    assert ["gone"] == [path.name for path in folders[2].iterdir()]


def test_nothing_is_removed_or_written_behind_a_link(config: Config, tmp_path: Path) -> None:
    """A sync tool may bring links into the results; what they lead to belongs to others."""
    own = received.folder(config.results, config.spool)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("a.mp4", "marker-0"):
        (theirs / name).touch()
        os.utime(theirs / name, (0, 0))
    os.utime(theirs, (0, 0))
    for name in (own.name, ".reeldrop-rendered-0123456789abcdef"):
        (config.results / name).symlink_to(theirs)
    cluster.ClusterFleet(config, lambda _event: None)._first_message()
    received.remove_old(config.results, config.spool, 3600)
    received.remove_left(config.results, config.spool)
    assert ["a.mp4", "marker-0"] == sorted(os.listdir(theirs))
