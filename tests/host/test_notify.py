"""notify: the messages to systemd, over a real datagram socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from reeldrop.host.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A socket like systemd's, named in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        if request.param == "path":
            name = str(tmp_path / "notify")
            listener.bind(name)
        else:
            name = f"@reeldrop-test-{os.getpid()}-{tmp_path.name}"
            listener.bind("\0" + name[1:])
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listener


def received(listener: socket.socket) -> list[bytes]:
    """Return the datagrams so far; on one machine a sent datagram is there at once."""
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096))
        except BlockingIOError:
            return messages


def test_each_state_is_one_datagram(systemd: socket.socket) -> None:
    """The states are those of sd_notify(3)."""
    notifier = Notifier.from_environment()
    notifier.ready()
    notifier.progress()
    notifier.status("rendering 大.txt 1/2")
    notifier.stopping()
    expected = [b"READY=1", b"WATCHDOG=1", "STATUS=rendering 大.txt 1/2".encode(), b"STOPPING=1"]
    assert expected == received(systemd)


def test_the_same_status_is_sent_once(systemd: socket.socket) -> None:
    """A status line is sent only if it differs from the last one."""
    notifier = Notifier.from_environment()
    for text in ("idle", "idle", "busy", "busy", "idle"):
        notifier.status(text)
    assert [b"STATUS=idle", b"STATUS=busy", b"STATUS=idle"] == received(systemd)


def test_progress_is_sent_every_time(systemd: socket.socket) -> None:
    """WATCHDOG=1 is sent at each call."""
    notifier = Notifier.from_environment()
    notifier.progress()
    notifier.progress()
    assert [b"WATCHDOG=1"] * 2 == received(systemd)


def test_names_that_are_no_utf_8(systemd: socket.socket) -> None:
    """A file name that is not UTF-8 is escaped in the status line."""
    Notifier.from_environment().status("rendering \udcff.txt")
    assert [b"STATUS=rendering \\udcff.txt"] == received(systemd)


@pytest.mark.parametrize("address", [None, ""])
def test_without_systemd_nothing_happens(address: str | None) -> None:
    """Without a socket's address, nothing is sent."""
    notifier = Notifier(address)
    notifier.ready()
    notifier.status("idle")
    notifier.progress()
    notifier.stopping()


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without $NOTIFY_SOCKET, there is no systemd."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier.from_environment().ready()


def test_a_socket_that_is_gone_stops_no_work(tmp_path: Path) -> None:
    """A missing or unread socket raises no error."""
    Notifier(str(tmp_path / "nobody")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "deaf"))
    Notifier(str(tmp_path / "deaf")).ready()


def test_a_full_socket_does_not_block(systemd: socket.socket) -> None:
    """If the socket is full, a repeated state is dropped."""
    notifier = Notifier.from_environment()
    sent = 0
    systemd.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def send_much() -> None:
        nonlocal sent
        for _ in range(2000):
            notifier.progress()
            sent += 1

    thread = threading.Thread(target=send_much, daemon=True)
    thread.start()
    thread.join(20)
    assert 2000 == sent
    assert 0 < len(received(systemd)) < 2000


def test_a_name_cannot_add_a_state_of_its_own(systemd: socket.socket) -> None:
    """A line break in a file name is sent as a space, because it would begin another state."""
    Notifier.from_environment().status("rendering a\nWATCHDOG=trigger\nMAINPID=1 of 2")
    assert [b"STATUS=rendering a WATCHDOG=trigger MAINPID=1 of 2"] == received(systemd)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    environment: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables with the pid of another process are ignored: sd_watchdog_enabled(3)."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert expected == Notifier.from_environment().watchdog_seconds
