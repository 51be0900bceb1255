"""One daemon on one inbox, from the lock on the spool to the exit. Read this first.

Locks the spool, listens to signals, finds out how the process before ended, and lets `loop` work.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import Unavailable
from reeldrop.base.events import Event, Reload, Stop
from reeldrop.base.job import Cause
from reeldrop.base.roots import Root
from reeldrop.config.settings import Settings
from reeldrop.host import ending, process
from reeldrop.host.ending import Ending
from reeldrop.host.notify import Notifier
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.scan import Names
from reeldrop.page.page import Page
from reeldrop.prompts import parsing
from reeldrop.service.limits import Outcome
from reeldrop.service.loop import Loop
from reeldrop.service.report import PATIENCE_SECONDS, Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.store import status
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Status

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.render.fleet import Fleet

_log = structlog.get_logger()


class Service:
    """One daemon on one inbox.

    make_fleet: takes the config and a function for the events of its renderers
    drain: end the run when nothing is left to do
    observe: called with every new status
    is_attended: somebody started it at a terminal; end when that is closed
    """

    def __init__(
        self,
        settings: Settings,
        make_fleet: Callable[[Config, Callable[[Event], None]], Fleet],
        *,
        drain: bool = False,
        is_attended: bool = False,
        observe: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        config = settings.config
        self._settings = settings
        self._make_fleet = make_fleet
        self._drain = drain
        self._is_attended = is_attended
        self._has_terminal = False
        self._observe = observe
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._spool = Spool(config.spool, config.inbox, config.failed)
        self._results = Results(config.results)
        self._notifier = Notifier.from_environment()
        self._trace = config.spool / ending.FILE_NAME
        self._status_file = config.spool / status.FILE_NAME

    def run(self) -> Outcome:
        """Work until a request to stop; with `drain`, until nothing is left to do.

        Raises:
            ConfigError: a folder or the model can't be used.
            SpoolLocked: another daemon works on this spool.
            Unavailable: a drain ended early: the disk is full or in trouble, or the inbox is gone.
        """
        # Under nohup, closing the terminal must not end the daemon; it reloads the config.
        self._is_attended &= signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        self._has_terminal = process.has_terminal()
        signal.signal(signal.SIGHUP, self._on_hangup)
        process.hear()
        with self._spool.lock.held(self._waits_for_the_spool):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._spool.prepare()
            self._look_back(ending.how_it_ended(self._trace), ending.stacks(self._trace))
            with ending.traced(self._trace):
                loop = self._started()
                loop.work()
        if loop.drained_early is not None:
            raise Unavailable(loop.drained_early)
        return loop.outcome

    def _waits_for_the_spool(self, problem: str) -> bool:
        """Return whether to wait until the spool is free: only under systemd.

        It may have started this daemon beside one that can't be ended.
        """
        if self._notifier.is_heard:
            self._notifier.status(f"{problem}; waiting until it ends")
            self._notifier.be_patient(PATIENCE_SECONDS)
        return self._notifier.is_heard

    def _look_back(self, end: Ending, stacks: str) -> None:
        """Blame what the previous process had in hand for its end, unless the machine ended."""
        self._last_end = end.word
        if end.how:
            _log.error("previous_process_ended", reason=end.how, stacks=stacks)
        is_blamed = end.cause is not Cause.MACHINE
        self._spool.note_ending(end.how if is_blamed else "", end.cause)

    def _started(self) -> Loop:
        _log.info("starting", pid=os.getpid(), model=self._settings.model)
        stages = Stages(
            self._settings,
            self._spool,
            self._results,
            self._make_fleet,
            self._events.put,
            is_patient=not self._drain,
        )
        phase = Phase(drains=self._drain)
        reporter = Reporter(
            stages, phase, self._notifier, self._status_file, self._page(), self._observe
        )
        reporter.last_end = self._last_end
        return Loop(stages, phase, reporter, self._events, self._trace)

    def _page(self) -> Page:
        config = self._settings.config
        names = Names(parsing.SUFFIXES, parsing.DEFAULTS_NAME, Ignored(config.ignore))
        inbox = Root(config.inbox, config.spool)
        return Page(self._results.root, self._spool.failed.root, inbox, names.is_read)

    # Signals

    def _on_signal(self, number: int, _frame: object) -> None:
        self._ask_to_stop(number)
        for either in (signal.SIGTERM, signal.SIGINT):  # the second signal ends the process
            signal.signal(either, signal.SIG_DFL)

    def _on_hangup(self, number: int, _frame: object) -> None:
        is_gone = not os.isatty(sys.stdin.fileno())
        is_lost = self._has_terminal and not process.has_terminal()  # its shell has died
        if self._is_attended and (is_gone or is_lost):
            self._ask_to_stop(number)
        else:
            self._events.put(Reload())

    def _ask_to_stop(self, number: int) -> None:
        # Only what is safe in a signal handler: one system call and a reentrant put.
        ending.excuse(self._trace)
        self._events.put(Stop(signal.Signals(number).name))
