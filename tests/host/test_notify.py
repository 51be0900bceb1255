"""notify: what systemd is told, over a real datagram socket."""

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
    """The socket that systemd listens on, named in the environment as systemd names it."""
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
    """Return what has come so far: on this machine a datagram is there once it is sent."""
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096))
        except BlockingIOError:
            return messages


def test_each_state_is_one_datagram(systemd: socket.socket) -> None:
    """The words are those of sd_notify(3)."""
    notifier = Notifier.from_environment()
    notifier.ready()
    notifier.progress()
    notifier.status("rendering 大.txt 1/2")
    notifier.stopping()
    expected = [b"READY=1", b"WATCHDOG=1", "STATUS=rendering 大.txt 1/2".encode(), b"STOPPING=1"]
    assert expected == received(systemd)


def test_the_same_status_is_sent_once(systemd: socket.socket) -> None:
    """Steps that change nothing in the line do not talk to systemd; a change back does."""
    notifier = Notifier.from_environment()
    for text in ("idle", "idle", "busy", "busy", "idle"):
        notifier.status(text)
    assert [b"STATUS=idle", b"STATUS=busy", b"STATUS=idle"] == received(systemd)


def test_progress_is_sent_every_time(systemd: socket.socket) -> None:
    """The watchdog lives on repetition."""
    notifier = Notifier.from_environment()
    notifier.progress()
    notifier.progress()
    assert [b"WATCHDOG=1"] * 2 == received(systemd)


def test_names_that_are_no_utf_8(systemd: socket.socket) -> None:
    """A file name with undecodable bytes is shown with escapes, and never an error."""
    Notifier.from_environment().status("rendering \udcff.txt")
    assert [b"STATUS=rendering \\udcff.txt"] == received(systemd)


@pytest.mark.parametrize("address", [None, ""])
def test_without_systemd_nothing_happens(address: str | None) -> None:
    """A process that systemd did not start has nobody to tell."""
    notifier = Notifier(address)
    notifier.ready()
    notifier.status("idle")
    notifier.progress()
    notifier.stopping()


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says whether there is a systemd."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier.from_environment().ready()


def test_a_socket_that_is_gone_stops_no_work(tmp_path: Path) -> None:
    """Neither a missing socket nor one that nobody reads is an error."""
    Notifier(str(tmp_path / "nobody")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "deaf"))
    Notifier(str(tmp_path / "deaf")).ready()


def test_a_full_socket_does_not_block(systemd: socket.socket) -> None:
    """Where systemd does not read, what it has no room for is dropped; the work goes on."""
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
    """A line break in a file's name would begin another assignment: it is sent as a space."""
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
    """What the environment has for another process does not count: sd_watchdog_enabled(3)."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert expected == Notifier.from_environment().watchdog_seconds
