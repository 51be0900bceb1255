"""lock: one process works on a spool, even if the lock file is removed or only readable."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.processes import await_that
from harness.site import Daemon, Site
from reeldrop.base.errors import SpoolLocked
from reeldrop.store import lock
from reeldrop.store.lock import DAEMON, Lock
from reeldrop.store.spool import Spool

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A spool that has had jobs, and that everybody may read."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        (Path(top) / "spool" / "active").mkdir(parents=True)
        yield Path(top) / "spool"


def made(folder: Path) -> Lock:
    """Return a process's lock on a spool."""
    return Lock(folder, folder / "active")


def never(_problem: str) -> bool:
    """Return False: do not wait."""
    return False


def test_a_file_that_was_removed_is_made_anew_before_another_takes_it(folder: Path) -> None:
    """A new process waits for the holder to recreate the file, and is refused then."""
    (folder / "lock").touch()
    ours, theirs = made(folder), made(folder)
    refused = []

    def start() -> None:
        try:
            with theirs.held(never, DAEMON):
                pass
        except SpoolLocked as error:
            refused.append(error)

    with ours.held(never, DAEMON):
        (folder / "lock").unlink()
        other = threading.Thread(target=start)
        other.start()
        assert ours.keep()
        other.join()
        assert 1 == len(refused)
        assert made(folder).is_held()
    assert not made(folder).is_held()


def test_who_comes_too_late_has_lost_the_spool(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that was stopped for too long finds another holder, and `keep` returns False."""
    monkeypatch.setattr(lock, "GRACE_SECONDS", 0.0)
    (folder / "lock").touch()
    ours, theirs = made(folder), made(folder)
    with ours.held(never, DAEMON):
        (folder / "lock").unlink()
        with theirs.held(never, DAEMON):
            assert (False, True) == (ours.keep(), theirs.keep())
        assert ours.keep()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is removed between opening and locking is not taken for the lock."""
    (folder / "lock").touch()
    real, third = fcntl.fcntl, made(folder)
    entered = []

    def late(fd: int, command: int, argument: bytes) -> object:
        if command == fcntl.F_OFD_SETLK and not entered:
            entered.append(True)
            (folder / "lock").unlink()
            shutil.copy(os.devnull, folder / "lock")
            holding = third.held(never, DAEMON)
            holding.__enter__()
            entered.append(holding)
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", late)
    with pytest.raises(SpoolLocked), made(folder).held(never, DAEMON):
        pass
    entered[1].__exit__(None, None, None)


def test_a_spool_that_was_deleted_is_made_anew(folder: Path) -> None:
    """The holder recreates a deleted spool, and still holds it."""
    (folder / "lock").touch()
    inbox = folder.with_name("inbox")
    inbox.mkdir()
    ours = Spool(folder, inbox, folder.with_name("failed"))
    with ours.lock.held():
        ours.prepare()
        shutil.rmtree(folder)
        assert ours.keep()
        assert made(folder).is_held()
        assert ["active", "lock"] == sorted(os.listdir(folder))


@pytest.mark.usefixtures("root")
def test_a_spool_whose_share_is_unmounted_is_not_made_anew(tmp_path: Path) -> None:
    """Nothing is made under the mount point, and the holder keeps the spool."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        (tmp_path / "inbox").mkdir()
        ours = Spool(tmp_path / "spool", tmp_path / "inbox", tmp_path / "failed")
        with ours.lock.held():
            ours.prepare()
            subprocess.run(["umount", "--lazy", tmp_path], check=True)
            assert ours.keep()
            assert [] == os.listdir(tmp_path)
    finally:
        if os.path.ismount(tmp_path):
            subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.usefixtures("root")
def test_readers_cannot_keep_a_daemon_from_its_start(folder: Path) -> None:
    """A process that may only read can't lock the file; queries take no lock."""
    (folder / "lock").touch(0o644)
    reader = os.open(folder / "lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    with made(folder).held(never, DAEMON):
        assert 0o600 == stat.S_IMODE((folder / "lock").stat().st_mode)
        pid = os.fork()
        if not pid:
            try:
                os.setuid(NOBODY)
                try:
                    os.open(folder / "lock", os.O_RDONLY)
                except PermissionError:
                    os._exit(0 if made(folder).is_held() else 2)
            finally:
                os._exit(1)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with pytest.raises(BlockingIOError):
            fcntl.fcntl(
                reader, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_RDLCK, 0, 0, 0, 0)
            )
    os.close(reader)
    assert not made(folder).is_held()


def test_a_daemon_whose_spool_is_deleted_goes_on(site: Site, daemon: Callable[..., Daemon]) -> None:
    """The daemon continues to claim files; a second daemon is refused as before."""
    running = daemon()
    running.wait_for("ready")
    running.process.send_signal(signal.SIGSTOP)  # lest it write into what is being deleted
    shutil.rmtree(site.spool)
    running.process.send_signal(signal.SIGCONT)
    running.wait_for("lock_recreated")
    site.drop("a.txt", "a horse")
    running.wait_for("job_ended")
    assert 75 == site.drain().returncode
    assert 0 == running.stop()
    assert (site.results / "a" / "a.txt").exists()


def test_a_daemon_that_has_lost_its_spool_ends(site: Site, daemon: Callable[..., Daemon]) -> None:
    """If another process has locked a new file, the daemon claims nothing, and ends with 75."""
    running = daemon()
    running.wait_for("ready")
    running.process.send_signal(signal.SIGSTOP)
    (site.spool / "lock").unlink()
    (site.spool / "lock").touch()
    with made(site.spool).held(never, DAEMON):
        site.drop("a.txt", "a horse")
        running.process.send_signal(signal.SIGCONT)
        await_that(lambda: running.process.poll() is not None, "the end")
        assert 75 == running.process.returncode
        assert "another locked it" in running.events("spool_lost")[0]["reason"]
        assert (site.inbox / "a.txt").exists()
