"""Whatever a process inherits neither ends it nor spoils its work."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.processes import DEADLINE_SECONDS, await_that, start
from harness.site import Daemon, Site
from harness.zygote import REELDROP
from reeldrop.base.errors import Unavailable
from reeldrop.commands.reload import ask_daemon
from reeldrop.commands.status import current
from reeldrop.config import config
from reeldrop.host import process
from reeldrop.store.lock import COMMAND, TUNER, Holder
from reeldrop.store.spool import Spool
from reeldrop.store.status import State


def shell(site: Site, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $R is reeldrop and $C its --config."""
    given = {
        **os.environ,
        "R": shlex.join(REELDROP),
        "C": f"--config={site.folder / 'config.yaml'}",
        **environment,
    }
    return subprocess.run(
        ["bash", "-c", line],
        env=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("line", "exit_code", "stderr"),
    [
        ("$R status $C <&-", 0, ""),
        ("$R status $C >&-", 0, ""),
        ("$R history $C 2>&-", 0, ""),
        ("$R history $C <&- >&- 2>&-", 0, ""),
        ("$R history $C 2>/dev/full", 0, ""),
        ("$R status $C | true; exit ${PIPESTATUS[0]}", 1, ""),
        (
            "$R status $C >/dev/full",
            1,
            "reeldrop: can't write to stdout: No space left on device\n",
        ),
        ("mkdir d; cd d; rmdir ../d; $R status $C", 0, ""),
        ("env -u HOME $R status $C", 0, ""),
        ("TZ=:/no/such/../zone $R status $C", 0, ""),
        ("ulimit -n 24; $R status $C", 0, ""),
    ],
)
def test_a_command_does_what_it_is_for_however_it_is_started(
    line: str, exit_code: int, stderr: str, site: Site
) -> None:
    """With closed or full streams, or a deleted folder: no traceback, and our own exit code."""
    ended = shell(site, f"cd {site.folder}; {line}")
    told = [x for x in ended.stderr.splitlines(keepends=True) if "there are no videos" not in x]
    assert (exit_code, stderr) == (ended.returncode, "".join(told))


def test_what_a_locale_lacks_is_written_all_the_same(site: Site) -> None:
    """File names are UTF-8 in any locale; characters that a stream lacks are escaped."""
    assert 0 == shell(site, "$R submit 李白é😀 $C", **ASCII).returncode
    assert (site.inbox / "李白é😀.yaml").exists()
    ended = shell(site, "$R status $C --json", **ASCII)
    (waiting,) = json.loads(ended.stdout)["waiting"]
    assert ("李白é😀.yaml", True) == (waiting["prompt_file"], ended.stdout.isascii())


def test_a_daemon_renders_without_streams_and_in_any_locale(site: Site) -> None:
    """Its output gets into no other file, and file names are correct."""
    site.drop("a.yaml", "prompt: 李白\n")
    site.drop("b.yaml", "prompt: a horse\n键: 1\n")
    line = "umask 0777; trap '' CHLD; unset HOME; $R run --drain $C <&- >&- 2>&-"
    ended = shell(site, f"cd {site.folder}; mkdir d; cd d; rmdir ../d; {line}", **ASCII)
    assert 1 == ended.returncode
    assert "键" in (site.failed / "b.yaml.error.txt").read_text()
    made = [path for path in site.results.rglob("*") if path.is_file()]
    assert "李白.mp4" in {path.name for path in made}
    assert [] == [
        path for path in made if b'"level"' in path.read_bytes() and path.suffix != ".log"
    ]


def _mask(daemon: Daemon, name: str) -> int:
    """Return a set of signals of a process as a bit mask."""
    try:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1], 16)


IN_ITS_START = """\
import contextlib, pathlib, sys, time
from reeldrop.commands import cli
from reeldrop.host import process
sign, importing = pathlib.Path(sys.argv.pop(1)), process.importing

@contextlib.contextmanager
def held():
    while sign.exists():
        time.sleep(0.01)
    with importing():
        yield

process.importing = held
cli.main()
"""
"""Stays where libraries are imported for seconds, while a file exists: a fork has them already."""


def test_signals_that_ask_for_no_end_do_not_end_a_daemon(site: Site) -> None:
    """Also SIGHUP during the start, which is heeded later as a reload."""
    script, sign = site.folder / "in_its_start.py", site.folder / "sign"
    script.write_text(IN_ITS_START)
    sign.touch()
    daemon = Daemon(site, (sys.executable, str(script), str(sign)))
    try:
        daemon.wait_for("loading_libraries")
        await_that(lambda: _mask(daemon, "SigIgn:") & 1 << signal.SIGUSR1 - 1, "the start")
        harmless = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGRTMIN)
        for number in (*harmless, signal.SIGHUP):
            daemon.process.send_signal(number)
        assert [] == daemon.events("starting")
        sign.unlink()
        daemon.wait_for("ready")
        daemon.wait_for("reloaded")
        assert 0 == daemon.stop()
    finally:
        daemon.process.kill()
        daemon.process.wait()


UNDER_NOHUP = """\
import runpy, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
runpy.run_module("reeldrop", run_name="__main__", alter_sys=True)
"""

OF_A_SHELL = """\
import os, runpy, sys
terminal, said = sys.argv[1:3]
del sys.argv[1:3]
os.setsid()
os.dup2(os.open(terminal, os.O_RDWR), 0)  # it controls the session from now on
if pid := os.fork():
    with open(said + ".pid", "w") as file:
        file.write(str(pid))
    os.waitpid(pid, 0)
else:
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)
    runpy.run_module("reeldrop", run_name="__main__", alter_sys=True)
"""
"""Does what a shell on a terminal does: it leads a session, and waits for the daemon."""


def test_a_daemon_outlives_its_terminal_and_hears_reload_under_nohup(site: Site) -> None:
    """Under nohup, SIGHUP only reloads config.yaml; output to the closed terminal is lost."""
    ours, theirs = pty.openpty()
    script, config_file = site.folder / "under_nohup.py", site.folder / "config.yaml"
    script.write_text(UNDER_NOHUP)
    daemon = start(
        [sys.executable, str(script), "run", "--config", str(config_file)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        os.read(ours, 1)  # it has begun to show how far it is
        os.close(ours)
        daemon.send_signal(signal.SIGHUP)
        site.drop("a.txt", "a horse\n")
        await_that((site.results / "a/a_horse.mp4").exists, "the video")
        assert (0, "") == ((ended := site.command("reload")).returncode, ended.stderr)
        daemon.terminate()
        assert 0 == daemon.wait(DEADLINE_SECONDS)
    finally:
        daemon.kill()
        daemon.wait()


def test_a_daemon_ends_with_its_shell(site: Site) -> None:
    """If the shell is killed before the terminal closes, SIGHUP still ends the daemon."""
    ours, theirs = pty.openpty()
    said, script = site.folder / "said", site.folder / "shell.py"
    script.write_text(OF_A_SHELL)
    daemon = ["run", "--config", str(site.folder / "config.yaml")]
    shell = start([sys.executable, str(script), os.ttyname(theirs), str(said), *daemon])
    try:
        await_that(lambda: said.exists() and '"ready"' in said.read_text(), "the daemon")
        process = os.pidfd_open(int(Path(f"{said}.pid").read_text()))
        shell.kill()
        assert [process] == select.select([process], [], [], DEADLINE_SECONDS)[0]
        assert '"signal": "SIGHUP"' in said.read_text()
    finally:
        shell.kill()
        shell.wait()
        for descriptor in (ours, theirs):
            os.close(descriptor)


def test_who_tunes_is_told(site: Site) -> None:
    """While a tuner has the spool, `status`, `submit --wait` and daemons name its process."""
    settings = config.load(site.folder / "config.yaml")
    spool = Spool(settings.spool, settings.inbox, settings.failed)
    site.drop("a.txt", "a horse\n")
    with spool.lock.held(role=TUNER):
        found = current(settings)
    assert (State.TUNING, 1) == (found.state, found.waiting_count)
    assert str(os.getpid()) in found.said()
    with spool.lock.held(role=COMMAND):
        assert State.NOT_RUNNING == current(settings).state


def test_no_signal_is_sent_to_who_is_no_daemon(site: Site) -> None:
    """`reload` signals neither a tuner nor a process in another container, nor guesses one."""
    settings = config.load(site.folder / "config.yaml")
    spool = Spool(settings.spool, settings.inbox, settings.failed)
    settings.spool.mkdir()
    with (
        spool.lock.held(role=TUNER),
        pytest.raises(Unavailable, match=f"the tuner {os.getpid()} works"),
    ):
        ask_daemon(settings)
    with spool.lock.held():
        record = json.loads((settings.spool / "lock").read_text())
        (settings.spool / "lock").write_text(json.dumps({**record, "where": "elsewhere"}))
        with pytest.raises(Unavailable, match="on another machine or in a container"):
            ask_daemon(settings)
        (settings.spool / "lock").write_text("4711\n")
        assert Holder(4711, "daemon", is_here=True) == spool.lock.holder()
        (settings.spool / "lock").write_text("")  # as for others than its owner
        with pytest.raises(PermissionError, match="only its own user and root"):
            ask_daemon(settings)


def test_the_collector_rests_only_while_libraries_are_imported() -> None:
    """It works again afterwards, also if an import fails; if it rested before, it goes on to."""
    with process.importing():
        is_searching = gc.isenabled()
    with contextlib.suppress(ImportError), process.importing():
        raise ImportError
    assert (False, True) == (is_searching, gc.isenabled())
    gc.disable()
    try:
        with process.importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
