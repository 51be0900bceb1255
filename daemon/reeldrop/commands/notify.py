"""`reeldrop notify`: tell the world what happens in the results; see the package `notices`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import threading
import time
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reeldrop.base import durable
from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.commands import exit_codes, folders
from reeldrop.host import log, notify
from reeldrop.notices.deliveries import Delivery, Manners
from reeldrop.notices.happenings import FAILED, JOB, VIDEO
from reeldrop.notices.receivers import Program, Service
from reeldrop.notices.record import KEPT_SECONDS, Record
from reeldrop.notices.states import States
from reeldrop.notices.tree import Tree
from reeldrop.schedule.night import Night
from reeldrop.store import status as reports

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.notices.happenings import Happening
    from reeldrop.notices.metrics import Metrics

END_SECONDS = 20.0
ONCE_SECONDS = 300.0
"""How long `--once` waits for receivers that do not answer."""

LOOK_SHARE = 20
"""The least pause after a look at many folders, in multiples of how long the look took."""

LONGEST_PAUSE_SECONDS = 300.0
"""Upper bound on that pause; the unit's watchdog wants a sign of life sooner than in 15 minutes."""

_COUNTED_SECONDS = 3600.0
"""What is found so long after it happened was moved, and is not counted by the metrics."""

_log = structlog.get_logger()


def notify_all(config: Config, *, is_once: bool) -> int:
    """Tell what happens until a signal ends this, or with `is_once` what has happened by now.

    Return the exit code: with `is_once`, 75 if a receiver was not told of everything.

    Raises:
        ConfigError: there is nobody to tell, or a receiver can't be used.
        Unavailable: another process tells the same.
    """
    log.to_stdout()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    teller = Teller(config, _state_folder(config), time.time())
    supervisor = notify.Notifier.from_environment()
    supervisor.ready()
    _log.info("ready", receivers=teller.names)
    if is_once:
        teller.look()
        deadline = time.monotonic() + ONCE_SECONDS
        while teller.is_busy() and time.monotonic() < deadline and not ended.wait(0.1):
            pass
        return 0 if teller.end(END_SECONDS) else exit_codes.NOT_NOW
    while not ended.is_set():
        began = time.monotonic()
        teller.look()
        supervisor.progress()
        ended.wait(pause(config.notify_seconds, time.monotonic() - began))
    supervisor.stopping()
    teller.end(END_SECONDS)
    return 0


def pause(usual: float, look: float) -> float:
    """Return how long to wait after a look that took so long, all in seconds."""
    return max(usual, min(LOOK_SHARE * look, LONGEST_PAUSE_SECONDS))


class Teller:
    """All that is told about one daemon."""

    def __init__(self, config: Config, state: Path, now: float) -> None:
        self._config = config
        self._locks = _locked(state, config.spool)
        self._states = States()
        self._metrics = _metrics(config)
        self._deliveries = []
        self.names = []
        records: dict[str, Record] = {}  # the same address may have several manners
        for receiver, manners in _receivers(config):
            key = hashlib.sha256(receiver.key.encode()).hexdigest()[:16]
            record = records[key] = records.get(key) or Record(state / f"{key}.jsonl", now)
            self._deliveries.append(Delivery(receiver, manners, record))
            self.names.append(receiver.name)
        _forget(state, records, now)
        self._began = now
        self._counted: dict[str, float] = {}
        self._tree = Tree(config.results, config.failed)
        if not self._deliveries and self._metrics is None:
            problem = "there is nobody to tell: neither notify, a hook nor metrics is set"
            raise ConfigError(Mistake(problem, "set one of them in config.yaml"))
        for delivery in self._deliveries:
            delivery.start()

    def _since(self, now: float) -> float:
        """Return since when somebody has to be told."""
        for delivery in self._deliveries:
            delivery.record.move_on(now)
        return min((d.record.since for d in self._deliveries), default=self._began)

    def look(self) -> None:
        """Tell what is new in the results and in the status."""
        now = time.time()
        found = self._tree.look(self._since(now))
        status = reports.read(self._config.spool / reports.FILE_NAME)
        is_running = folders.is_at_work(self._config)
        states = self._states.look(status, is_running=is_running, now=now)
        for delivery in self._deliveries:
            if delivery.is_dead():
                raise RuntimeError("a thread has ended; a restart tells what is left")
            if delivery.record.is_reset:
                delivery.record.begin_anew([(one.id, one.at) for one in found])
            delivery.tell([*found, *states])
        if self._metrics is not None:
            self._metrics.count(self._not_counted(found, now))
            self._metrics.show(status, is_running=is_running)
            self._write_metrics(self._metrics)

    def _not_counted(self, found: Sequence[Happening], now: float) -> list[Happening]:
        """Return what the metrics have not counted: folders that are moved are found again."""
        since = max(self._began, now - _COUNTED_SECONDS)
        new = [h for h in found if h.at >= since and h.id not in self._counted]
        self._counted = {name: at for name, at in self._counted.items() if at >= since}
        self._counted.update((happening.id, happening.at) for happening in new)
        return new

    def _write_metrics(self, metrics: Metrics) -> None:
        file = self._config.metrics.textfile
        if file is None:
            return
        try:
            metrics.write(file)
        except OSError as error:
            _log.warning("metrics_not_written", reason=f"{file}: {error.strerror}")

    def is_busy(self) -> bool:
        """Return whether somebody is being told something."""
        return any(delivery.is_busy() for delivery in self._deliveries)

    def end(self, seconds: float) -> bool:
        """Let all that waits be told, for so long at most; return whether nothing is left."""
        deadline = time.monotonic() + seconds
        ends = [d.end(max(0.0, deadline - time.monotonic())) for d in self._deliveries]
        return all(ends)


def _locked(state: Path, spool: Path) -> list[int]:
    """Return what this process alone has, so that no other one tells the same.

    The record may be in two places, that of the unit and that of a person's shell. So the folder of
    the spool is locked, too, where its file system can do that for one who may only read it.

    Raises:
        Unavailable: another one has it.
    """
    durable.make_folder(state)
    locks = [os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)]
    with contextlib.suppress(OSError):
        locks.append(os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for lock in locks:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"another `reeldrop notify` is at work, by its lock in {state} or {spool}"
            raise Unavailable(Mistake(problem, "end it, or wait for its end")) from None
        except OSError as error:
            _log.warning("not_locked", reason=str(error))
    return locks


def _forget(state: Path, known: Container[str], now: float) -> None:
    """Remove the records of receivers that were taken away so long ago that all counts as told."""
    for file in state.glob("*.jsonl"):
        with contextlib.suppress(OSError):
            if file.stem not in known and file.stat().st_mtime < now - KEPT_SECONDS:
                file.unlink()


def _receivers(config: Config) -> list[tuple[Service | Program, Manners]]:
    found: list[tuple[Service | Program, Manners]] = []
    told = set[tuple[str, str]]()
    for one in config.notify:
        if twice := sorted(told.intersection((one.url, kind) for kind in one.on)):
            problem = f"two receivers under notify have the same url, and '{twice[0][1]}' in on"
            raise ConfigError(Mistake(problem, "leave it out of one of them", key="notify"))
        told.update((one.url, kind) for kind in one.on)
        titles, bodies = ({str(k): text for k, text in t.items()} for t in (one.title, one.body))
        service = Service(one.url, titles, bodies, attaches=one.attach)
        quiet = Night.parsed(one.quiet) if one.quiet else None
        repeats = service.has_key if one.repeat is None else one.repeat == "once"
        manners = Manners(frozenset(one.on), quiet, one.digest_above, repeats)
        found.append((service, manners))
    hooks = {VIDEO: config.on_video, JOB: config.on_job, FAILED: config.on_failed}
    for kind, command in hooks.items():
        if command:
            program = Program(kind, command, config.hook_seconds)
            found.append((program, Manners(frozenset({kind}), most=1 << 30)))
    return found


def _metrics(config: Config) -> Metrics | None:
    """Return the metrics if they are wanted; they are served at once if that is asked for."""
    if config.metrics.textfile is None and config.metrics.port is None:
        return None
    try:
        from reeldrop.notices.metrics import Metrics
    except ImportError:
        problem, remedy = (
            "the package prometheus-client is missing",
            "pip install 'reeldrop[notify]'",
        )
        raise ConfigError(Mistake(problem, remedy)) from None
    metrics = Metrics({"results": config.results, "spool": config.spool})
    if config.metrics.port is not None:
        try:
            metrics.serve(config.metrics.port)
        except OSError as error:
            problem = f"port {config.metrics.port} of this machine can't be used: {error.strerror}"
            raise ConfigError(Mistake(problem, "choose another", key="metrics")) from None
    return metrics


def _state_folder(config: Config) -> Path:
    """Return the folder of the records: that of systemd for this service, or the spool."""
    given = os.environ.get("STATE_DIRECTORY")
    return Path(given) if given else config.spool / "notify"
