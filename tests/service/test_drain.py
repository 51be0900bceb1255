"""A drain on a disk that fills up: what is in hand completes; the exit code says what is left."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from harness.jobs import RENDERED
from harness.site import CONFIG
from reeldrop.base.errors import RendererDied
from reeldrop.base.events import (
    BatchRendered,
    Event,
    FromRenderer,
    MemoryChanged,
    ModelLoaded,
    RendererEnded,
    RendererEvent,
    RendererJoined,
)
from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch, Capabilities
from reeldrop.base.residents import Memory, Resident
from reeldrop.config import config as configuration
from reeldrop.config.settings import Settings
from reeldrop.host.notify import Notifier
from reeldrop.page.page import Page
from reeldrop.service.loop import Loop
from reeldrop.service.report import Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import State, Status

SETTINGS = ("num_inference_steps", "num_frames", "height", "width")
CAPABILITIES = Capabilities(dict.fromkeys(SETTINGS, int), {}, 8, 1)
FULL = 1e6
PIXELS = np.zeros((4, 16, 16, 3), np.uint8)


class Renderer:
    """A renderer that holds its batch until it is told to finish it."""

    def __init__(self, tell: Callable[[RendererEvent], None]) -> None:
        self._tell = tell
        self.batch: Batch | None = None

    def load(self, model: str) -> None:
        self._tell(MemoryChanged(Memory((Resident(model, host_bytes=1),), host_free=1)))
        self._tell(ModelLoaded(model, CAPABILITIES, 0.0))

    def render(self, batch: Batch) -> None:
        self.batch = batch

    def finish(self) -> None:
        """Let the batch in hand be rendered."""
        if self.batch is not None:
            batch, self.batch = self.batch, None
            count = len(batch.members)
            self._tell(BatchRendered(batch, (PIXELS,) * count, (RENDERED,) * count, 1))

    def cancel(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


class Fleet:
    """The renderer of this process."""

    can_lose = False

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def begin(self) -> list[RendererJoined]:
        return [RendererJoined("own", Device("cpu"))]

    def renderer(self, _id: str) -> Renderer:
        return self._renderer

    def end(self, _id: str, reason: str, _pause: float = 0.0) -> None:
        raise AssertionError(reason)

    def close(self) -> None: ...


class Run:
    """A drain of some files, with renderers that hold their batches.

    observe: called with every new status
    more: more settings
    """

    def __init__(
        self, folder: Path, files: int, observe: Callable[[Status], None], more: str = ""
    ) -> None:
        (folder / "config.yaml").write_text(more + CONFIG.format(pipeline="nowhere"))
        settings = Settings(lambda: (configuration.load(folder / "config.yaml"), "tiny"))
        config = settings.config
        config.inbox.mkdir()
        for number in range(files):
            text = f"prompt: a\nnum_frames: {4 + number}\n"
            (config.inbox / f"{number}.yaml").write_text(text)
        self._spool = Spool(config.spool, config.inbox, config.failed)
        self.events = queue.SimpleQueue[Event]()
        self.renderers: list[Renderer] = []
        results = Results(config.results)
        self.stages = Stages(
            settings, self._spool, results, self._make_fleet, self.events.put, is_patient=False
        )
        phase = Phase(drains=True)
        page = Page(results.root, self._spool.failed.root, results.root, lambda _name: False)
        reporter = Reporter(
            self.stages, phase, Notifier.from_environment(), folder / "status", page, observe
        )
        self.loop = Loop(self.stages, phase, reporter, self.events, folder / "trace")

    def _make_fleet(self, _config: object, tell: Callable[[Event], None]) -> Fleet:
        self.renderers.append(Renderer(lambda event: tell(FromRenderer("own", event))))
        return Fleet(self.renderers[-1])

    def work(self) -> None:
        """Drain the inbox."""
        with self._spool.lock.held():
            self._spool.prepare()
            self.loop.work()


@pytest.mark.parametrize(
    ("files", "has_room_again", "is_early", "left"),
    [
        (2, True, False, []),
        (2, False, True, ["1.yaml"]),
        (1, False, False, []),
    ],
    ids=["room again", "no room, one left", "no room, none left"],
)
def test_a_drain_whose_disk_runs_full_while_it_renders(
    files: int, has_room_again: bool, is_early: bool, left: list[str], tmp_path: Path
) -> None:
    """With space again before its end it continues; else it ends with 75 if files are left."""
    states = []

    def observe(status: Status) -> None:
        states.append(status.state)
        if status.state is not State.STOPPED:
            next(steps)

    run = Run(tmp_path, files, observe)
    stages, renderers = run.stages, run.renderers

    def course() -> Iterator[None]:
        """Describe what happens from one report to the next."""
        while renderers[0].batch is None:
            yield
        stages.disk.min_free_gib = FULL
        while not stages.disk.shortage:
            yield
        yield
        if has_room_again:
            stages.disk.min_free_gib = 0.0
            while stages.disk.shortage:
                yield
        while True:
            renderers[0].finish()
            yield

    steps = course()
    run.work()
    loop, config = run.loop, stages.settings.config
    assert is_early == (loop.drained_early is not None)
    assert not is_early or "GiB free" in loop.drained_early.problem
    assert left == [path.name for path in config.inbox.iterdir()]
    done = sorted(path.parent.name for path in config.results.glob("*/*.mp4"))
    assert [str(number) for number in range(files - len(left))] == done
    assert State.PAUSED in states


@pytest.mark.parametrize("name", ["PAUSE.txt", "NIGHT/2.yaml"])
def test_a_drain_that_is_paused_or_by_day(name: str, tmp_path: Path) -> None:
    """A pause ends it early, and says how to go on; files of the night are not waited for."""
    now = datetime.now()
    begin, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 3))
    said = set()

    def observe(status: Status) -> None:
        said.update(waiting.reason for waiting in status.waiting)
        run.renderers[0].finish()

    run = Run(tmp_path, 2, observe, f'night: "{begin}-{end}"\n')
    is_paused, path = name == "PAUSE.txt", tmp_path / "inbox" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("" if is_paused else "prompt: at night\n")
    run.work()
    early = run.loop.drained_early
    paused = "paused by inbox/PAUSE.txt; delete it to go on"
    assert (paused if is_paused else None) == (early and early.problem)
    assert is_paused == (f"waits for the night, until {begin}" not in said)
    assert (0 if is_paused else 2) == len(list(tmp_path.glob("results/*/*.mp4")))
    assert path.exists()


def test_who_has_stopped_renders_nothing(tmp_path: Path) -> None:
    """A device that breaks ends the daemon in the middle of a batch: its last status says so."""
    told: list[Status] = []

    def observe(status: Status) -> None:
        told.append(status)
        if status.rendering is not None:
            ended = RendererEnded(RendererDied("the device is broken"))
            run.events.put(FromRenderer("own", ended))

    run = Run(tmp_path, 1, observe)
    with pytest.raises(RendererDied):
        run.work()
    assert any(status.rendering for status in told)
    assert (State.STOPPED, None) == (told[-1].state, told[-1].rendering)
    assert "the device is broken" == told[-1].reason
    run.stages.jobs.opened.put_down()
