"""A drain on a disk that fills up: what is in hand completes; the exit code says what is left."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from harness.jobs import RENDERED
from harness.site import CONFIG
from reeldrop.base.events import BatchRendered, Event, MemoryChanged, ModelLoaded
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

    def __init__(self, tell: Callable[[Event], None]) -> None:
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
    (tmp_path / "config.yaml").write_text(CONFIG.format(pipeline="nowhere"))
    settings = Settings(lambda: (configuration.load(tmp_path / "config.yaml"), "tiny"))
    config = settings.config
    config.inbox.mkdir()
    for number in range(files):
        (config.inbox / f"{number}.yaml").write_text(f"prompt: a\nnum_frames: {4 + number}\n")
    spool, events = Spool(config.spool, config.inbox, config.failed), queue.SimpleQueue[Event]()
    renderers = []

    def make_renderer(_config: object, tell: Callable[[Event], None]) -> Renderer:
        renderers.append(Renderer(tell))
        return renderers[-1]

    phase = Phase(drains=True)
    results = Results(config.results)
    stages = Stages(settings, spool, results, make_renderer, events.put, is_patient=False)

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
    states = []

    def observe(status: Status) -> None:
        states.append(status.state)
        if status.state is not State.STOPPED:
            next(steps)

    page = Page(results.root, config.failed, lambda _name: False)
    reporter = Reporter(
        stages, phase, Notifier.from_environment(), tmp_path / "status", page, observe
    )
    loop = Loop(stages, phase, reporter, events, tmp_path / "trace")
    with spool.lock.held():
        spool.prepare()
        loop.work()
    assert is_early == (loop.drained_early is not None)
    assert not is_early or "GiB free" in loop.drained_early.problem
    assert left == [path.name for path in config.inbox.iterdir()]
    done = sorted(path.parent.name for path in config.results.glob("*/*.mp4"))
    assert [str(number) for number in range(files - len(left))] == done
    assert State.PAUSED in states
