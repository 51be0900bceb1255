"""The daemon's loop on real folders, in a thread of the test, with renderers that a test makes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.events import Event, Stop
from reeldrop.config import config as configuration
from reeldrop.config.settings import Settings
from reeldrop.host.notify import Notifier
from reeldrop.page.page import Page
from reeldrop.service.loop import Loop
from reeldrop.service.report import Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

from harness.processes import await_that
from harness.site import CONFIG

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.render.fleet import Fleet
    from reeldrop.store.status import Status


class Looped:
    """A daemon without a process of its own.

    make_fleet: takes the config and a function for events
    more: lines of config.yaml, which replace the usual ones for their keys
    profile: lines of its profile
    observe: called with every new status
    """

    def __init__(
        self,
        folder: Path,
        pipeline: Path,
        make_fleet: Callable[[Config, Callable[[Event], None]], Fleet],
        *,
        more: str = "",
        profile: str = "",
        drains: bool = False,
        observe: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        keys = tuple(line.partition(":")[0] + ":" for line in more.splitlines())
        usual = CONFIG.format(pipeline=pipeline).splitlines(keepends=True)
        kept = (line for line in usual if not keys or not line.startswith(keys))
        (folder / "config.yaml").write_text(more + "".join(kept) + profile)
        settings = Settings(lambda: (configuration.load(folder / "config.yaml"), "tiny"))
        self.config = config = settings.config
        config.inbox.mkdir(exist_ok=True)
        self._spool = Spool(config.spool, config.inbox, config.failed)
        self.events = queue.SimpleQueue[Event]()
        self.status: Status | None = None
        self._observe = observe
        results = Results(config.results)
        self.stages = Stages(
            settings, self._spool, results, make_fleet, self.events.put, is_patient=not drains
        )
        phase = Phase(drains=drains)
        page = Page(results.root, self._spool.failed.root, results.root, lambda _name: False, 0.05)
        reporter = Reporter(
            self.stages, phase, Notifier.from_environment(), folder / "status", page, self._see
        )
        self.loop = Loop(self.stages, phase, reporter, self.events, folder / "trace")
        self._thread = threading.Thread(target=self._work_and_tell, daemon=True)
        self._error: BaseException | None = None

    def _see(self, status: Status) -> None:
        self.status = status
        self._observe(status)

    def work(self) -> None:
        """Work until the end, in this thread."""
        with self._spool.lock.held():
            self._spool.prepare()
            self.loop.work()

    def _work_and_tell(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self._error = error
            raise

    def __enter__(self) -> Looped:
        """Begin to work in another thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.events.put(Stop("SIGTERM"))
        self.end()

    def end(self) -> None:
        """Wait for the end."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self._error is None

    def drop(self, name: str, text: str) -> None:
        """Put a prompt file into the inbox."""
        (self.config.inbox / name).write_text(text)

    def videos(self) -> list[str]:
        """Return the videos in the results: the names of prompt file and video."""
        found = self.config.results.glob("[!.]*/*.mp4")
        return sorted(f"{path.parent.name}/{path.stem}" for path in found)

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so."""
        await_that(lambda: is_so() or not self._thread.is_alive(), what)
        assert is_so(), what
