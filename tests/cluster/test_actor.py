"""What a renderer and its proxy say to each other, without Ray between them."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from harness.jobs import RENDERED
from harness.processes import DEADLINE_SECONDS
from harness.videos import decoded
from reeldrop.base.errors import ConfigError, RenderCancelled
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    ModelFailed,
    ModelLoaded,
    RendererEnded,
    SignOfLife,
    StepDone,
)
from reeldrop.base.job import Batch, Cause, Member, Picture, Prompt
from reeldrop.base.trial import Tried, Tuned
from reeldrop.cluster.actor import RendererActor, placed
from reeldrop.cluster.outbox import Outbox
from reeldrop.cluster.proxy import ClusterRenderer
from reeldrop.cluster.wire import Order, Setup
from reeldrop.render.source import ModelSource, bundled_model
from reeldrop.video import remote

MARKER, SECRET = "marker-1", "what only the service knows"


class Wire:
    """An actor and its proxy. What is ordered waits in `orders`, to be delivered at will."""

    def __init__(self, tiny: Path, results: Path) -> None:
        sources = {
            "tiny": ModelSource("tiny", str(tiny)),
            "gone": ModelSource("gone", str(tiny / "gone")),
        }
        bundled = str(bundled_model())
        setup = Setup(sources, bundled, "auto", results, MARKER, SECRET)
        self.folder = tiny
        self.actor = RendererActor(pickle.dumps(setup))
        self.orders: list[Callable[[], Order]] = []
        self.proxy = ClusterRenderer(7, self.orders.append)
        self.arrived = 0
        self.events: list[object] = []

    def deliver(self) -> None:
        """Deliver all orders in the wrong order, and each twice."""
        orders = [make() for make in self.orders]  # later than they were given, as by the fleet
        for order in [*reversed(orders), *orders]:
            self.actor.obey(order.number, order.order)
        self.orders.clear()

    def await_event(self, *kinds: type) -> object:
        """Return the next event of these kinds; others are kept in `events`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            lost = self.actor.ask(self.arrived)  # so it is told again
            before, (self.arrived, told) = self.arrived, self.actor.ask(self.arrived)
            assert told[: lost[0] - before - 1] == lost[1][: lost[0] - before - 1]
            heard = [event for one in told if (event := self.proxy.heard(one))]
            self.events += heard
            if found := [event for event in heard if isinstance(event, kinds)]:
                return found[-1]
        raise AssertionError(f"waited in vain for {kinds}, but got {self.events}")


@pytest.fixture
def wire(
    tmp_path: Path,
    tiny_pipeline: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_restored: None,  # noqa: ARG001
) -> Iterator[Wire]:
    """An actor that sees the results, and its proxy."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # an actor replaces it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    results = tmp_path / "results"
    results.mkdir()
    (results / MARKER).write_text(SECRET)
    made = Wire(tiny_pipeline, results)
    yield made
    made.actor._renderer.close()


def prompt(steps: int = 2) -> Prompt:
    """Return a prompt of four small frames."""
    given = {"num_inference_steps": steps, "num_frames": 4, "height": 32, "width": 32}
    return Prompt(1, "a horse", "tiny", tuple(given.items()), 1, 8.0, ("mp4",))


def test_orders_are_carried_out_in_turn_and_once_however_they_arrive(wire: Wire) -> None:
    """The events name the very batches that were ordered; each comes once, in its turn."""
    first, second = (Batch((Member("j", prompt()),)) for _ in range(2))
    left = wire.actor._pictures / "1"  # as of pictures of the first
    left.mkdir()
    wire.proxy.load("tiny")
    wire.proxy.render(first)
    wire.proxy.render(second)
    wire.deliver()
    while sum(isinstance(event, BatchRendered) for event in wire.events) < 2:
        wire.await_event(BatchRendered)
    loaded, *answers = [e for e in wire.events if isinstance(e, ModelLoaded | BatchRendered)]
    assert isinstance(loaded, ModelLoaded)
    assert "num_frames" in loaded.capabilities.settings
    assert [first, second] == [answer.batch for answer in answers]
    assert not left.exists()
    (video,) = answers[0].frames
    assert 4 == len(decoded(video.files["mp4"]))
    steps = [event for event in wire.events if isinstance(event, StepDone)]
    assert {first, second} >= {event.batch for event in steps}


def test_a_batch_is_cancelled_while_another_order_is_carried_out(wire: Wire) -> None:
    """And no other one. Errors arrive as they are; a model that can't be loaded is one of them."""
    batch, later = (Batch((Member("j", prompt(steps)),)) for steps in (900, 2))
    wire.proxy.render(batch)
    wire.proxy.render(later)
    wire.deliver()
    wire.await_event(StepDone)
    wire.proxy.cancel(batch)
    wire.proxy.load("gone")
    wire.deliver()
    failed = wire.await_event(BatchFailed)
    assert isinstance(failed, BatchFailed)
    assert batch is failed.batch
    assert isinstance(failed.error, RenderCancelled)
    if not any(isinstance(event, BatchRendered) for event in wire.events):
        wire.await_event(BatchRendered)
    (rendered,) = (event for event in wire.events if isinstance(event, BatchRendered))
    assert later is rendered.batch
    if not any(isinstance(event, ModelFailed) for event in wire.events):
        wire.await_event(ModelFailed)


def test_what_can_not_be_tuned_is_told(wire: Wire) -> None:
    """The model is missing, or the defaults can't be rendered."""
    gone = ModelSource("gone", str(wire.folder / "gone"))
    tiny = ModelSource("tiny", str(wire.folder))
    for source, defaults in ((gone, {}), (tiny, {"num_frames": "many"})):
        wire.proxy.tune(source, {"defaults": defaults, "limits": {}}, 1)
        wire.deliver()
        failed = wire.await_event(ModelFailed)
        assert isinstance(failed, ModelFailed)
        assert (source.name, True) == (failed.model, isinstance(failed.error, ConfigError))


def test_what_is_tuned_gives_a_sign_of_each_step(wire: Wire) -> None:
    """The first trial of a large model may take hours, and one that hangs tells nothing."""
    source = ModelSource("tiny", str(wire.folder), speed={"exact": False, "compile": "off"})
    defaults = {"num_inference_steps": 2, "num_frames": 2, "height": 32, "width": 32}
    wire.proxy.tune(source, {"defaults": defaults, "limits": {}}, 1)
    wire.deliver()
    wire.await_event(Tried)
    signs = [event for event in wire.events if isinstance(event, SignOfLife)]
    assert signs
    assert 2 * 3 <= signs[-1].sign
    if not any(isinstance(event, Tuned) for event in wire.events):
        wire.await_event(Tuned)


def test_one_that_has_left_says_and_heeds_nothing(wire: Wire) -> None:
    """What comes late can't change anything."""
    wire.proxy.load("tiny")
    wire.deliver()
    told = ()
    while not told:
        _, told = wire.actor.ask(0)
    wire.proxy.leave()
    assert [None] * len(told) == [wire.proxy.heard(one) for one in told]
    wire.proxy.render(Batch((Member("j", prompt()),)))
    assert not wire.orders


def test_files_go_over_the_network_unless_the_results_are_the_same(
    tmp_path: Path, tiny_pipeline: Path, wire: Wire
) -> None:
    """A folder of the same name proves nothing: another machine may have one."""
    assert wire.actor.facts().sees_results
    (tmp_path / "results" / MARKER).write_text("of another service")
    other = Wire(tiny_pipeline, tmp_path / "results")
    assert not other.actor.facts().sees_results
    other.proxy.render(Batch((Member("j", prompt()),)))
    other.deliver()
    rendered = other.await_event(BatchRendered)
    assert isinstance(rendered, BatchRendered)
    assert all(isinstance(content, bytes) for content in rendered.frames[0].files.values())
    assert [MARKER] == [path.name for path in (tmp_path / "results").iterdir()]
    other.actor._renderer.close()


def test_to_encode_is_progress_and_a_full_disk_is_no_fault_of_a_prompt(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither results nor room for temporary files, the renderer ends."""
    batch, told = Batch((Member("j", prompt()),)), []
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    event = BatchRendered(batch, (frames,), (RENDERED,), 1)
    wire.actor._step, wire.actor._encoded_at = 2, -math.inf
    with monkeypatch.context() as patch:
        patch.setattr(wire.actor, "_tell_of_batch", lambda event, _kind: told.append(event))
        wire.actor._encoded(event)
    assert [StepDone(batch, 2)] == told
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    remote._own_folder.cache_clear()
    wire.actor._folder = Path("/proc/nowhere")
    wire.actor._events.put(event)
    ended = wire.await_event(RendererEnded, BatchFailed)
    assert isinstance(ended, RendererEnded)
    assert Cause.MACHINE is ended.cause
    assert "there is no room for the encoded files" in str(ended.error)


def test_one_that_waits_for_its_memory_lives_on(wire: Wire) -> None:
    """Its facts are asked for, and nothing else: that is no end of the service."""
    wire.actor._asked = -math.inf
    wire.actor.facts()
    assert wire.actor._asked > time.monotonic() - DEADLINE_SECONDS
    wire.actor._living.acquire()
    wire.actor.live()  # repeated, it returns: else it took one thread after the other


@pytest.mark.parametrize(("own", "share_of", "threads"), [("", 1, 0), ("", 10**6, 1), ("3", 1, 3)])
def test_a_renderer_uses_its_share_of_the_cores(own: str, share_of: int, threads: int) -> None:
    """Ray sets one thread where the machine's environment sets none; 0 stands for all cores."""
    begun = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    begun |= {"OMP_NUM_THREADS": own} if own else {}
    does = (
        "import os; from reeldrop.cluster import actor; "
        "os.environ.setdefault('OMP_NUM_THREADS', '1'); "
        f"actor.use_cores({share_of}); print(os.environ['OMP_NUM_THREADS'])"
    )
    found = subprocess.run([sys.executable, "-c", does], env=begun, check=True, capture_output=True)
    assert (threads or len(os.sched_getaffinity(0))) == int(found.stdout)


def test_pictures_travel_with_their_batch(tmp_path: Path) -> None:
    """Where the batch is rendered, they have other paths."""
    there, here = Path("/srv/spool/active/j/a.png"), tmp_path / "here"
    with_picture = Prompt(1, "p", "m", (), 1, 8.0, ("mp4",), pictures=(
        Picture("image", "a.png", there, "0"),))  # fmt: skip
    moved = placed(Batch((Member("j", with_picture),)), {there: b"png"}, here)
    (picture,) = moved.members[0].prompt.pictures
    assert here == picture.path.parent
    assert b"png" == picture.path.read_bytes()
    assert ("image", "a.png", "j") == (picture.key, picture.name, moved.members[0].job_id)


def test_an_outbox_keeps_what_has_not_arrived() -> None:
    """Of what is of one kind, the last is told, unless another came between."""
    outbox = Outbox()
    for content, kind in (("1", "step"), ("2", "step"), ("answer", ""), ("3", "step")):
        outbox.put(content.encode(), kind)
    assert (3, (b"2", b"answer", b"3")) == outbox.take(0, 0)
    assert (3, (b"2", b"answer", b"3")) == outbox.take(0, 0)
    outbox.put(b"4", "step")  # the third was told
    assert (4, (b"3", b"4")) == outbox.take(2, 5)
    assert (4, ()) == outbox.take(4, 0)
