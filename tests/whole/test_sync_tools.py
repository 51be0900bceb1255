"""Prompt files that real tools deliver, mostly slowly: each is rendered once, complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.processes import await_that
from harness.programs import needs
from harness.real_syncthing import free_port
from harness.site import Daemon, Site, make_site

LINES = 4000
"""A file of so many lines takes a throttled tool a few seconds."""


def run(*command: str | Path, seconds: float = 60.0) -> None:
    """Run a tool to its end."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )
    assert 0 == done.returncode, done.stdout + done.stderr


@dataclass
class Live:
    """A daemon, and a folder from which files are sent."""

    site: Site
    daemon: Daemon
    sender: Path

    def write(self, name: str, lines: int = LINES) -> Path:
        """Write a long prompt file whose only prompt is its last line, and return it."""
        path = self.sender / name
        comments = "".join(f"# line {number} of a long poem\n" for number in range(lines))
        path.write_text(f"{comments}the end of {path.stem}\n")
        os.utime(path, (1_500_000_000, 1_500_000_000))
        return path

    def assert_rendered(self, *names: str) -> None:
        """Wait until files have been rendered; assert that each was, once and complete."""
        for name in names:
            stem = Path(name).stem
            folder = self.site.results / stem
            await_that((folder / name).exists, f"the end of {name}")
            assert [f"the_end_of_{stem}.mp4"] == [path.name for path in folder.glob("*.mp4")]
            assert (self.sender / name).read_bytes() == (folder / name).read_bytes()
            assert 1 == sum(e["prompt_file"] == name for e in self.daemon.events("job_started"))
        assert [] == self.daemon.events("job_failed")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Live]:
    """A daemon whose files settle in a second."""
    folder = tmp_path_factory.mktemp("tools")
    site = make_site(folder / "site", tiny_pipeline)
    site.configure("settle_seconds: 1")
    sender = folder / "sender"
    sender.mkdir()
    daemon = Daemon(site)
    try:
        daemon.wait_for("ready")
        yield Live(site, daemon, sender)
    finally:
        daemon.process.kill()
        daemon.process.wait()


@pytest.mark.parametrize(
    "options",
    [[], ["--inplace"], ["--delay-updates"], ["--partial"], ["--whole-file", "--inplace"]],
    ids=lambda options: " ".join(options) or "plain",
)
def test_rsync(options: Sequence[str], live: Live) -> None:
    """With each of rsync's ways to write, at low speed."""
    needs("rsync")
    name = f"rsync{''.join(options)}.txt"
    path = live.write(name)
    run("rsync", "-a", "--bwlimit=50", *options, path, f"{live.site.inbox}/")
    live.assert_rendered(name)


def test_rsync_that_is_interrupted(live: Live) -> None:
    """With --partial, a part has the final name until the next run completes it."""
    needs("rsync")
    path = live.write("interrupted.txt", lines=4 * LINES)
    command = ["rsync", "-a", "--partial", "--bwlimit=50", path, f"{live.site.inbox}/"]
    sending = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    await_that(lambda: any(p.stat().st_size for p in live.site.inbox.glob(".inter*")), "a part")
    sending.send_signal(signal.SIGINT)
    assert 0 != sending.wait(60)
    part = live.site.inbox / path.name
    assert 0 < part.stat().st_size < path.stat().st_size
    live.site.drop("other.txt", "the end of other\n")
    await_that((live.site.results / "other" / "other.txt").exists, "another file")
    status = live.site.command("status").stdout
    assert "its modification time is 0: an interrupted transfer" in status
    run("rsync", "-a", "--partial", path, f"{live.site.inbox}/")
    live.assert_rendered("interrupted.txt")


def test_rclone(live: Live) -> None:
    """Also with writes in place."""
    needs("rclone")
    path = live.write("rclone.txt")
    empty = live.sender / "rclone.conf"
    empty.touch()
    run("rclone", "--config", empty, "--bwlimit", "60k", "copy", path, live.site.inbox)
    live.assert_rendered("rclone.txt")


def test_unison(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished file leaves both sides."""
    needs("unison")
    monkeypatch.setenv("UNISON", str(tmp_path / "unison"))
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("Unison never empties a folder.\n")
    shutil.copy2(live.write("unison.txt"), mine)
    unison = ("unison", mine, live.site.inbox, "-batch", "-auto", "-times", "-ui", "text")
    run(*unison)
    live.assert_rendered("unison.txt")
    run(*unison)
    assert ["README.md"] == [path.name for path in mine.iterdir()]


@dataclass
class Sshd:
    """An OpenSSH server on loopback."""

    port: int
    options: tuple[str, ...]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An SSH server with its own keys, for this user only."""
    needs("sshd", "ssh-keygen", "scp", "sftp")
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    path = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    server = subprocess.Popen([str(path), "-D", "-e", "-f", str(folder / "sshd_config")])
    try:
        await_that(lambda: is_open(port), "sshd")
        known = ("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known")
        yield Sshd(port, ("-i", str(folder / "user"), "-o", "LogLevel=ERROR", *known))
    finally:
        server.terminate()
        server.wait()


def is_open(port: int) -> bool:
    """Return whether a port of loopback is open."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.parametrize("protocol", ["-O", "-s"], ids=["scp", "scp over sftp"])
def test_scp(protocol: str, live: Live, sshd: Sshd) -> None:
    """It writes in place, with pauses."""
    name = f"scp{protocol}.txt"
    path = live.write(name)
    where = f"127.0.0.1:{live.site.inbox}/"
    run("scp", protocol, "-P", str(sshd.port), "-l", "400", *sshd.options, path, where)
    live.assert_rendered(name)


def test_sftp(live: Live, sshd: Sshd, tmp_path: Path) -> None:
    """It writes in place, in any order."""
    path = live.write("sftp.txt")
    (tmp_path / "batch").write_text(f"put -p {path} {live.site.inbox}/sftp.txt\n")
    options = ("-P", str(sshd.port), "-l", "400", "-b", tmp_path / "batch", *sshd.options)
    run("sftp", *options, "127.0.0.1")
    live.assert_rendered("sftp.txt")


@pytest.fixture
def samba(live: Live, tmp_path: Path) -> Iterator[int]:
    """A Samba server on loopback that shares the inbox; return its port."""
    needs("smbd", "smbclient")
    port = free_port()
    folders = ("private dir", "lock directory", "state directory", "cache directory",
               "pid directory", "ncalrpc dir")  # fmt: skip
    (tmp_path / "smb").mkdir()
    (tmp_path / "smb.conf").write_text(
        "[global]\n"
        + "".join(f"{name} = {tmp_path}/smb\n" for name in folders)
        + f"smb ports = {port}\nbind interfaces only = yes\ninterfaces = 127.0.0.1\n"
        "map to guest = bad user\nguest account = root\nlog level = 0\ndisable spoolss = yes\n"
        f"log file = {tmp_path}/smb/log\nload printers = no\nserver role = standalone\n"
        f"[inbox]\npath = {live.site.inbox}\nread only = no\nguest ok = yes\nforce user = root\n"
    )
    path = shutil.which("smbd", path=f"{os.environ['PATH']}:/usr/sbin")
    command = [str(path), "--foreground", f"--configfile={tmp_path}/smb.conf"]
    # It makes a session of its own, and has to: at its end it ends its whole group.
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_that(lambda: is_open(port) or server.poll() is not None, "smbd")
        yield port
    finally:
        server.terminate()
        server.wait()


def test_samba(live: Live, samba: int) -> None:
    """A client sends a file, and a folder with a file, to a shared inbox."""
    for name in ("samba.txt", "folder.txt"):
        live.write(name)
    commands = f"lcd {live.sender}; put samba.txt; put folder.txt"
    share = ("//127.0.0.1/inbox", "-p", str(samba), "-N", "-U", "%")
    run("smbclient", *share, "-c", commands)
    live.assert_rendered("samba.txt", "folder.txt")


MOUNT = """
import socket, subprocess, sys
a, b = socket.socketpair()
server = subprocess.Popen(["/usr/lib/openssh/sftp-server"], stdin=a, stdout=a)
options = ["-f", "-o", "passive,dir_cache=no,attr_timeout=0,entry_timeout=0"]
client = subprocess.Popen(["sshfs", ":" + sys.argv[1], sys.argv[2], *options], stdin=b, stdout=b)
a.close()
b.close()
client.wait()
server.terminate()
"""
"""Mounts a folder by way of sftp over a pair of sockets, until it is unmounted."""


@dataclass
class Blind:
    """A folder, and a mount of it that reports no events."""

    real: Path
    seen: Path


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[Blind]:
    """A mount without events."""
    needs("sshfs", "sftp-server", "fusermount3")
    made = Blind(tmp_path / "real", tmp_path / "seen")
    made.real.mkdir()
    made.seen.mkdir()
    mounting = subprocess.Popen([sys.executable, "-c", MOUNT, str(made.real), str(made.seen)])
    try:
        await_that(lambda: os.path.ismount(made.seen), "the mount")
        yield made
    finally:
        run("fusermount3", "-u", "-z", made.seen)
        mounting.wait(60)


def test_a_share_without_events(
    blind: Blind, tiny_pipeline: Path, start: Callable[[Site], Daemon]
) -> None:
    """A scan finds files of others; `reeldrop check` says so."""
    site = make_site(blind.seen / "site", tiny_pipeline)
    site.configure("settle_seconds: 0.5", "scan_seconds: 0.5", "idle_scan_seconds: 3600")
    rows = site.command("check").stdout
    assert "fuse.sshfs reports changes by this machine only" in rows
    running = start(site)
    running.wait_for("ready")
    for name in ("first", "second"):
        (blind.real / "site" / "inbox" / f"{name}.txt").write_text(f"the {name} horse\n")
        await_that((site.results / name / f"{name}.txt").exists, f"the {name}")
        assert (blind.real / "site" / "results" / name / f"the_{name}_horse.mp4").exists()
    assert 0 == running.stop()


@pytest.fixture
def start() -> Iterator[Callable[[Site], Daemon]]:
    """Start daemons that end with the test."""
    started: list[Daemon] = []

    def start(site: Site) -> Daemon:
        started.append(Daemon(site))
        return started[-1]

    yield start
    for daemon in started:
        daemon.process.kill()
        daemon.process.wait()
