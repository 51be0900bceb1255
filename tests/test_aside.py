"""What commands move between the inbox and `_failed/`, killed or held at every call in turn."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from conftest import says
from reeldrop import client, config, durable
from reeldrop.deliveries import Deliveries
from reeldrop.errors import NoSuchPromptFile
from reeldrop.names import ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX
from reeldrop.results import Results
from reeldrop.spool import Spool

NAME = PurePosixPath("poems/a.txt")
CALLS = ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir", "utime")
CONFIG = """\
results: {results}
model: tiny
models: {{tiny: {{path: tiny}}}}
"""
OURS = (ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX)


@dataclass
class World:
    """The folders, with a daemon that opens what it claims, or `fails` it at once."""

    folder: Path
    failed: Path
    fails: bool = False

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.spool = Spool(self.folder / "spool", self.inbox, self.failed)
        self.deliveries = Deliveries(self.spool, Results(self.folder / "results"))
        (self.inbox / NAME.parent).mkdir(parents=True)
        (self.failed / NAME.parent).mkdir(parents=True)
        self.spool.prepare()
        (self.spool.folder / "lock").touch()
        file = self.folder / "config.yaml"
        file.write_text(CONFIG.format(results=self.failed.parent))
        self.config = config.load(file)
        self.opened = set[str]()

    def work(self) -> None:
        """Do what a daemon does with what it finds, in hand or in the inbox."""
        for path in [p for p in self.inbox.rglob("*.txt") if not durable.is_temporary(p.name)]:
            self.spool.claim(PurePosixPath(path.relative_to(self.inbox)), ())
        for job in self.spool.unfinished(self.opened):
            if self.spool.is_cancelled(job):
                self.spool.fail(job, says(f"cancelled\n\nJob {job.id}, now\n"))
            elif self.deliveries.is_order(job):
                self.opened.add(job.id)
                if self.fails:
                    self.spool.fail(job, says(f"anew\n\nJob {job.id}, now\n"))

    def put_back(self) -> None:
        """Retry what a person sees in `_failed/`."""
        client.retry(self.config, None)

    def cancel(self) -> None:
        """Cancel the file that waits, unless it does not any more."""
        with contextlib.suppress(NoSuchPromptFile):
            client.cancel(self.config, [str(NAME)])

    def places(self) -> list[str]:
        """Return where files are, without what tells of them, and what a kill has left of none."""
        files = (p for top in (self.folder, self.failed) for p in top.rglob("*") if p.is_file())
        found = {p for p in files if not p.name.endswith(OURS)}
        known = {"config.yaml", "job.json", "attempts.json", "cancel", "lock"}
        return sorted(
            str(p.relative_to(self.folder if p.is_relative_to(self.folder) else self.failed.parent))
            for p in found
            if p.name not in known and not durable.is_temporary(p.name)
        )

    def reports(self) -> list[str]:
        """Return what lies beside files of `_failed/`, or did."""
        return sorted(p.name for p in self.failed.rglob("*") if p.name.endswith(OURS))


@pytest.fixture(params=["at once", "by links", "across"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], World]]:
    """Folders, new at each call: where one can move in one instant, by links, or only by copies."""
    number = itertools.count()
    if request.param == "by links":

        def cannot(_source: Path, target: Path) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(target))

        monkeypatch.setattr(durable, "rename_exclusively", cannot)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # where an fsync costs nothing
        results = tmp_path if request.param == "across" else Path(memory)

        def make() -> World:
            n = next(number)
            failed = results / f"results{n}" / "_failed"
            return World(Path(memory) / f"site{n}", failed)

        yield make


def failed_before(made: World) -> World:
    """Let a prompt file lie in `_failed/`, with all that may lie beside it."""
    place = made.failed / NAME
    place.write_text("a horse")
    for suffix in OURS:
        place.with_name(place.name + suffix).write_text("old")
    return made


def waiting(made: World) -> World:
    """Let a prompt file wait in the inbox."""
    (made.inbox / NAME).write_text("a horse")
    return made


def interposed(at: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> Iterator[int]:
    """Act right before the `at`-th call that changes something; yield the number of each call."""
    calls = itertools.count(1)
    acting = False

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            nonlocal acting
            if not acting and next(calls) == at:
                acting = True
                act()
                acting = False
            return function(*arguments, **keywords)

        return wrapper

    for name in CALLS:
        patch.setattr(os, name, wrap(getattr(os, name)))
    patch.setattr(durable, "rename_exclusively", wrap(durable.rename_exclusively))
    return calls


def is_killed(at: int, command: Callable[[], None], patch: pytest.MonkeyPatch) -> bool:
    """Run a command in a process that is killed before its `at`-th call; return whether it was."""
    pid = os.fork()
    if not pid:
        try:
            interposed(at, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
            command()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_retry_that_is_held_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow its calls are: the daemon renders the file once, or fails it with a new report,
    which the retry leaves alone.
    """
    for at in itertools.count(1):
        place = failed_before(world())
        place.fails = fails
        with monkeypatch.context() as patch:
            calls = interposed(at, place.work, patch)
            place.put_back()
        place.work()
        place.work()
        assert len(place.opened) == 1
        if fails:
            assert ["_failed/poems/a.txt"] == [p.replace("-2", "") for p in place.places()]
            assert ["anew"] == [
                p.read_text().split("\n")[0] for p in place.failed.rglob("*.error.txt")
            ]
        else:
            (job,) = place.spool.unfinished()
            assert [f"spool/active/{job.id}/a.txt"] == place.places()
            assert [] == place.reports()
        if next(calls) <= at:
            return


@pytest.mark.parametrize("who_is_next", ["the daemon", "a person"])
def test_a_retry_that_is_killed_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], who_is_next: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in the inbox, or is seen among the failures and can be retried; never both."""
    for at in itertools.count(1):
        place = failed_before(world())
        killed = is_killed(at, place.put_back, monkeypatch)
        if who_is_next == "the daemon":
            place.work()
        place.put_back()
        place.work()
        (job,) = place.spool.unfinished()
        assert [f"spool/active/{job.id}/a.txt"] == place.places()
        assert [] == place.reports()
        if not killed:
            return


def test_a_cancellation_that_is_held_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon has claimed the file, or it is in `_failed/`, with a report; never both."""
    for at in itertools.count(1):
        place = waiting(world())
        with monkeypatch.context() as patch, place.spool.lock():
            calls = interposed(at, place.work, patch)
            place.cancel()
        place.work()
        (found,) = place.places()
        in_failed = ["_failed/poems/a.txt"] == [found]
        assert in_failed or found.startswith("spool/active/")
        assert ["a.txt.error.txt"] * in_failed == [
            name for name in place.reports() if name.endswith(ERROR_SUFFIX)
        ]
        if next(calls) <= at:
            return


@pytest.mark.parametrize("who_is_next", ["the daemon", "a person"])
def test_a_cancellation_that_is_killed_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], who_is_next: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file waits on, or is seen among the failures."""
    for at in itertools.count(1):
        place = waiting(world())
        killed = is_killed(at, place.cancel, monkeypatch)
        if who_is_next == "the daemon":
            place.work()
        else:
            place.cancel()
        (found,) = place.places()
        if found.startswith("_failed/"):
            seen = client.failures(place.config)
            assert ["poems/a.txt"] == [failure.name for failure in seen]
        else:
            assert found.startswith("spool/active/")
            assert [] == place.reports()
        if not killed:
            return
